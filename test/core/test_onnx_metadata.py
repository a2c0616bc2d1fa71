"""Reading and setting metadata without ONNX's libraries, against those."""

from hypothesis import given, strategies
import onnx
import pytest

from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.core.errors import ContractError
from mbv2ssd_ros.core.onnx_metadata import read_metadata, with_metadata


@pytest.fixture
def content(tmp_path):
    """Return a model with two entries, one of them long and not ASCII."""
    path = write_tiny_model(tmp_path / 'tiny.onnx')
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {'contract': 'ü' * 20_000, 'other': ''})
    return model.SerializeToString()


def entries(content):
    """Read with onnx."""
    return {item.key: item.value for item in onnx.load_from_string(content).metadata_props}


def test_the_entries_are_those_that_onnx_reads(content):
    assert read_metadata(content, 'm') == entries(content) == {'contract': 'ü' * 20_000,
                                                               'other': ''}


@pytest.mark.parametrize('key', ['new', 'contract', 'other'])
@pytest.mark.parametrize('size', [0, 1, 127, 128, 40_000])
def test_an_entry_is_set_once_and_everything_else_stays(content, key, size):
    changed = with_metadata(content, key, 'x' * size, 'm')
    assert entries(changed) == {**entries(content), key: 'x' * size}
    before, after = (onnx.load_from_string(one) for one in (content, changed))
    for model in (before, after):
        del model.metadata_props[:]
    assert after.SerializeToString() == before.SerializeToString()
    graph = onnx.load_from_string(content).graph.SerializeToString()
    assert graph in changed  # not even written anew


def test_what_is_unknown_to_onnx_stays_too(content):
    unknown = b'\xf8\x7f\x05'  # field 2047, a number
    assert with_metadata(unknown + content, 'a', 'b', 'm').startswith(unknown)


@pytest.mark.parametrize(('damaged', 'message'), [
    (b'words', 'm.onnx: cannot be read as ONNX'),
    (b'\0', 'byte 0 begins no field'),
    (b'\x3a\x05abc', 'it ends within the field at byte 0'),  # a graph of 5 bytes that has 3
    (b'\x3a\xff', 'it ends within a number'),
    (b'\x08' + b'\xff' * 11, 'a number of more than 64 bits'),
    (b'\x72\x04\x0a\x02k\xff', 'm.onnx: damaged, it has text that is not UTF-8'),
])
def test_what_is_no_onnx_file_is_refused_by_name(damaged, message):
    for call in (lambda: read_metadata(damaged, 'm.onnx'),
                 lambda: with_metadata(damaged, 'a', 'b', 'm.onnx')):
        with pytest.raises(ContractError, match=message):
            call()


def test_a_file_that_was_cut_is_refused_or_lacks_entries(content):
    whole = read_metadata(content, 'm')
    for end in range(0, len(content), 997):
        try:
            assert read_metadata(content[:end], 'm').items() <= whole.items()
        except ContractError:
            pass


@given(strategies.binary(max_size=60))
def test_no_bytes_cause_another_error(content):
    try:
        read_metadata(content, 'm')
    except ContractError:
        pass
