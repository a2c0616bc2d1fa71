"""The contract inside a model file: what is written is read, and nothing else is."""

import dataclasses
import json

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from mbv2ssd_ros.core.contract import ModelContract, Provenance
from mbv2ssd_ros.core.errors import ContractError

CONTRACT = ModelContract(
    schema_version=1, input_size_hw=(240, 320), channel_order='rgb', resize_mode='stretch',
    class_names=('background', 'cat', 'dog'), background_index=0, priors_per_level=(400, 100),
    arch_fingerprint='5f0c', precision='fp32',
    provenance=Provenance('0.1.0', 'seed: 1\n', ('voc07', 'voc12'), 'map_50 on val', 0.61))


def changed(**values):
    """Return the JSON of the contract with other values in it."""
    return json.dumps({**json.loads(CONTRACT.to_json()), **values})


def with_provenance(**values):
    """Return the JSON of the contract with other values in its provenance."""
    found = json.loads(CONTRACT.to_json())
    return json.dumps({**found, 'provenance': {**found['provenance'], **values}})


def test_what_is_written_is_read():
    assert ModelContract.from_json(CONTRACT.to_json(), 'ssd.onnx') == CONTRACT


def test_a_sigmoid_model_keeps_its_missing_background():
    contract = dataclasses.replace(
        CONTRACT, background_index=None, class_names=('cat', 'dog'), resize_mode='letterbox',
        precision='int8')
    assert ModelContract.from_json(contract.to_json(), 'ssd.onnx') == contract


@settings(deadline=None)
@given(names=st.lists(st.text(min_size=1), min_size=1, unique=True).filter(
           lambda names: 'background' not in names),
       size=st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
       priors=st.lists(st.integers(1, 9999), min_size=1), text=st.text(),
       metric=st.floats(allow_nan=False, allow_infinity=False))
def test_any_contract_survives_the_way_through_json(names, size, priors, text, metric):
    contract = ModelContract(
        1, size, 'rgb', 'letterbox', ('background', *names), 0, tuple(priors), text, 'fp16',
        Provenance(text, text, (text,), text, metric))
    assert ModelContract.from_json(contract.to_json(), 'ssd.onnx') == contract


def test_the_json_is_the_same_for_the_same_contract():
    text = CONTRACT.to_json()
    assert text == ModelContract.from_json(text, 'ssd.onnx').to_json()
    assert list(json.loads(text)) == sorted(json.loads(text))


def test_priors_add_up_and_classes_count_the_background():
    assert (CONTRACT.num_priors, CONTRACT.num_classes) == (500, 3)


def test_labels_count_from_one_with_and_without_a_background():
    without = dataclasses.replace(CONTRACT, background_index=None, class_names=('cat', 'dog'))
    for contract in (CONTRACT, without):
        column = contract.class_names.index('dog')
        assert column + contract.label_offset == 2


def test_object_names_leave_out_only_the_background():
    assert CONTRACT.object_names == ('cat', 'dog')
    assert dataclasses.replace(
        CONTRACT, background_index=None, class_names=('cat', 'dog')).object_names == ('cat', 'dog')


# strict keys

@pytest.mark.parametrize('key', [
    field.name for field in dataclasses.fields(ModelContract) if field.name != 'schema_version'])
def test_a_missing_key_is_named(key):
    found = json.loads(CONTRACT.to_json())
    del found[key]
    with pytest.raises(ContractError, match=rf"^ssd.onnx: contract lacks the keys \['{key}'\]$"):
        ModelContract.from_json(json.dumps(found), 'ssd.onnx')


@pytest.mark.parametrize('key', [field.name for field in dataclasses.fields(Provenance)])
def test_a_missing_key_of_the_provenance_is_named(key):
    found = json.loads(CONTRACT.to_json())
    del found['provenance'][key]
    with pytest.raises(ContractError, match=rf"^ssd.onnx: provenance lacks the keys \['{key}'\]$"):
        ModelContract.from_json(json.dumps(found), 'ssd.onnx')


def test_an_unknown_key_is_named():
    with pytest.raises(ContractError, match=r"ssd.onnx: contract has unknown keys \['means'\]"):
        ModelContract.from_json(changed(means=[127, 127, 127]), 'ssd.onnx')


def test_an_unknown_key_of_the_provenance_is_named():
    with pytest.raises(ContractError, match=r"ssd.onnx: provenance has unknown keys \['host'\]"):
        ModelContract.from_json(with_provenance(host='pc'), 'ssd.onnx')


# versions

@pytest.mark.parametrize(('version', 'shown'), [
    (0, '0'), (2, '2'), (None, 'None'), ('1', "'1'"), (True, 'True'), (1.0, '1.0'),
    ([1], r'\[1\]')])
def test_another_version_is_refused_with_both_versions(version, shown):
    with pytest.raises(ContractError, match=f'^ssd.onnx: .*version {shown}, .*reads version 1;'):
        ModelContract.from_json(changed(schema_version=version), 'ssd.onnx')


def test_a_contract_without_version_is_refused():
    found = json.loads(CONTRACT.to_json())
    del found['schema_version']
    with pytest.raises(ContractError, match='^ssd.onnx: .*version None, .*reads version 1;'):
        ModelContract.from_json(json.dumps(found), 'ssd.onnx')


def test_of_a_newer_version_with_other_keys_the_version_is_the_reason():
    with pytest.raises(ContractError, match='version 2, .*install the matching package'):
        ModelContract.from_json(changed(schema_version=2, something_new=1), 'ssd.onnx')


def test_a_contract_made_in_code_has_the_version_of_the_package():
    with pytest.raises(ContractError, match='version 7, .*reads version 1'):
        dataclasses.replace(CONTRACT, schema_version=7)


# types

@pytest.mark.parametrize(('key', 'value', 'shown'), [
    ('input_size_hw', '240x320', "'240x320'"),
    ('input_size_hw', [240.0, 320], r'\[240.0, 320\]'),
    ('input_size_hw', [True, 320], r'\[True, 320\]'),
    ('input_size_hw', [240], r'\(240,\)'),
    ('input_size_hw', [3, 240, 320], r'\(3, 240, 320\)'),
    ('channel_order', None, 'None'),
    ('resize_mode', 1, '1'),
    ('class_names', 'cat', "'cat'"),
    ('class_names', ['background', 3], r"\['background', 3\]"),
    ('class_names', {'0': 'cat'}, "{'0': 'cat'}"),
    ('background_index', False, 'False'),
    ('background_index', '0', "'0'"),
    ('background_index', 0.0, '0.0'),
    ('priors_per_level', 500, '500'),
    ('priors_per_level', [400, '100'], r"\[400, '100'\]"),
    ('priors_per_level', [400, True], r'\[400, True\]'),
    ('arch_fingerprint', 5, '5'),
    ('precision', ['fp32'], r"\['fp32'\]"),
])
def test_a_value_of_another_type_is_shown_with_what_was_expected(key, value, shown):
    with pytest.raises(ContractError, match=f'^ssd.onnx: {key} is {shown}, expected '):
        ModelContract.from_json(changed(**{key: value}), 'ssd.onnx')


@pytest.mark.parametrize(('key', 'value', 'shown'), [
    ('package_version', 1, '1'),
    ('config', {'seed': 1}, "{'seed': 1}"),
    ('datasets', 'voc07', "'voc07'"),
    ('datasets', [7], r'\[7\]'),
    ('metric', None, 'None'),
    ('metric_value', '0.6', "'0.6'"),
    ('metric_value', True, 'True'),
])
def test_a_value_of_another_type_in_the_provenance_is_shown(key, value, shown):
    with pytest.raises(ContractError, match=f'^ssd.onnx: {key} is {shown}, expected '):
        ModelContract.from_json(with_provenance(**{key: value}), 'ssd.onnx')


def test_a_whole_metric_value_is_read_as_a_float():
    contract = ModelContract.from_json(with_provenance(metric_value=1), 'ssd.onnx')
    assert isinstance(contract.provenance.metric_value, float)


@pytest.mark.parametrize('value', [None, 0.0])  # older files have 0.0
def test_what_was_not_measured_has_no_value(value):
    contract = ModelContract.from_json(
        with_provenance(metric='not measured', metric_value=value), 'ssd.onnx')
    assert contract.provenance.metric_value is None
    assert contract.provenance.measured == 'not measured'


@pytest.mark.parametrize(('provenance', 'shown'), [(None, 'NoneType'), ([], 'list'), ('x', 'str')])
def test_a_provenance_that_is_no_object_is_refused(provenance, shown):
    with pytest.raises(ContractError, match=f'^ssd.onnx: provenance is {shown}, expected'):
        ModelContract.from_json(changed(provenance=provenance), 'ssd.onnx')


@pytest.mark.parametrize(('text', 'shown'), [
    ('', 'not JSON'), ('{"a": ', 'not JSON'), ('\0', 'not JSON'),
    ('[' * 100_000, 'not JSON'),  # deeper than the parser's stack
    ('9' * 5000, 'not JSON|is int'),  # longer than int() takes from Python 3.11 on
    ('[]', 'contract is list'), ('"v1"', 'contract is str'), ('null', 'contract is NoneType'),
], ids=['empty', 'truncated', 'nul', 'deep', 'long-number', 'list', 'string', 'null'])
def test_what_is_no_json_object_is_refused(text, shown):
    with pytest.raises(ContractError, match=f'^ssd.onnx: .*({shown})'):
        ModelContract.from_json(text, 'ssd.onnx')


# values

@pytest.mark.parametrize(('key', 'value', 'message'), [
    ('channel_order', 'bgr', "channel_order is 'bgr', expected one of rgb"),
    ('resize_mode', 'crop', "resize_mode is 'crop', expected one of stretch, letterbox"),
    ('precision', 'fp8', "precision is 'fp8', expected one of fp32, fp16, int8"),
    ('input_size_hw', [0, 320], r'input_size_hw \(0, 320\) must be positive'),
    ('input_size_hw', [240, -1], r'input_size_hw \(240, -1\) must be positive'),
    ('priors_per_level', [], r'priors_per_level \(\) must be positive'),
    ('priors_per_level', [400, 0], r'priors_per_level \(400, 0\) must be positive'),
    ('class_names', ['background', 'cat', 'cat'], "duplicates: .*'cat', 'cat'"),
    ('class_names', ['cat', 'dog'], r"first class must be 'background'; .*\('cat',\)"),
    ('class_names', ['background'], 'names no object class'),
    ('class_names', [], r"first class must be 'background'; .*\(\)"),
    ('background_index', 1, 'background_index is 1, expected 0 or null'),
    ('background_index', -1, 'background_index is -1, expected 0 or null'),
    ('background_index', None, "class_names has 'background', .*background_index is null"),
])
def test_a_value_out_of_range_is_refused(key, value, message):
    with pytest.raises(ContractError, match=f'^ssd.onnx: .*{message}'):
        ModelContract.from_json(changed(**{key: value}), 'ssd.onnx')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_metric_that_json_cannot_express_is_refused_before_it_is_written(value):
    with pytest.raises(ContractError, match=f'metric_value is {value}, expected a finite number'):
        dataclasses.replace(CONTRACT.provenance, metric_value=value)


# outputs

def test_outputs_as_described_pass():
    CONTRACT.check_outputs(('B', 500, 4), (None, 500, 3), 'ssd.onnx')


@pytest.mark.parametrize(('boxes', 'scores', 'message'), [
    (('B', 300, 4), ('B', 300, 3),
     r"'boxes' has 300 priors, its contract describes 500 \(400 \+ 100\)"),
    (('B', 500, 4), ('B', 300, 3), r"'scores' has 300 priors, its contract describes 500"),
    (('B', 'P', 4), ('B', 500, 3), r"'boxes' has P priors, its contract describes 500"),
    (('B', 500, 5), ('B', 500, 3), r"'boxes' has 5 columns, its contract describes 4 box corners"),
    (('B', 500, 4), ('B', 500, 21),
     r"'scores' has 21 columns, its contract describes 3 classes: background, cat, dog"),
    (('B', 500, 4), (500, 3), r"'scores' has shape \(500, 3\), expected \(batch, 500, 3\)"),
    (('B', 500, 1, 4), ('B', 500, 3), r"'boxes' has shape \('B', 500, 1, 4\), expected"),
])
def test_outputs_that_disagree_are_named_with_both_values(boxes, scores, message):
    with pytest.raises(ContractError, match=f'^ssd.onnx: output {message}'):
        CONTRACT.check_outputs(boxes, scores, 'ssd.onnx')
