"""The cells of `make test-versions` are what setup.py and the docs say, and would fail."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
import re
import sys

import pytest

ROOT = Path(__file__).resolve().parent.parent
CAT = ['cat', 0.9, 0.0, 0.0, 100.0, 50.0]


@pytest.fixture(scope='module')
def versions():
    """Load .ci/versions."""
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader = SourceFileLoader('mbv2ssd_versions', str(ROOT / '.ci' / 'versions'))
    module = module_from_spec(spec_from_loader('mbv2ssd_versions', loader))
    loader.exec_module(module)
    sys.dont_write_bytecode = written
    return module


def differences(versions, model, expected, found):
    return list(versions.compare(model, {'a.jpg': expected}, {'a.jpg': found}))


def test_the_oldest_libraries_that_setup_asks_for_are_run(versions):
    asked = dict(re.findall(r"'([\w-]+)>=([\d.]+)',", (ROOT / 'setup.py').read_text()))
    assert asked['onnxruntime'] == min(
        (cell.onnxruntime for cell in versions.CELLS), key=lambda text: text.split('.')[1])
    first = versions.CELLS[0]
    assert (first.onnxruntime, first.opencv) == (
        asked['onnxruntime'], asked['opencv-python-headless'])
    assert first.numpy == '1.21.6' and asked['numpy'] == '1.21.5'  # see docs/versions.md


def test_every_cell_has_its_row_in_the_docs(versions):
    page = (ROOT / 'docs' / 'versions.md').read_text(encoding='utf-8').replace('**', '')
    rows = set(re.findall(r'^\| (3\.\d+)\.\d+ \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|', page,
                          re.MULTILINE))
    assert rows == {(cell.python, cell.onnxruntime, cell.numpy, cell.opencv.rpartition('.')[0])
                    for cell in versions.CELLS}


@pytest.mark.parametrize(('model', 'change', 'told'), [
    ('m.onnx', 0.001, 0), ('m.onnx', 0.01, 2), ('m_int8_cpu.onnx', 0.01, 0),
    ('m_int8_cpu.onnx', 0.03, 2), ('m_float16.onnx', 0.01, 0)])
def test_a_score_may_differ_by_as_much_as_its_precision_allows(versions, model, change, told):
    moved = ['cat', 0.9 - change, *CAT[2:]]
    assert len(differences(versions, model, [CAT], [moved])) == told  # each side has one more


@pytest.mark.parametrize('other', [
    [], [['dog', *CAT[1:]]], [['cat', 0.9, 0.0, 0.0, 100.0, 44.0]]])  # nothing, class, 0.88 IoU
def test_another_class_or_box_and_a_lost_object_are_told(versions, other):
    assert differences(versions, 'm_int8_cpu.onnx', [CAT], other)


def test_an_object_too_many_is_told_unless_it_is_close_to_the_threshold(versions):
    assert differences(versions, 'm.onnx', [], [CAT])
    assert differences(versions, 'm.onnx', [], [['cat', 0.36, *CAT[2:]]]) == []


def test_a_model_that_does_not_load_is_told_with_the_reason(versions):
    assert list(versions.compare('m.onnx', {'a.jpg': []}, 'cannot load it')) == ['cannot load it']


def test_a_python_that_is_not_here_is_absent(versions):
    with pytest.raises(versions.Absent, match='there is no Python 3.99'):
        versions.interpreter('3.99')
