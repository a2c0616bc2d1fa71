"""Where the model file is looked for."""

from pathlib import Path
import sys

import pytest

from helpers.needs import need
from mbv2ssd_ros import shipped
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.shipped import DEFAULT_MODEL, find_model, SHIPPED_FOLDER


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Pretend that the source tree and sys.prefix are empty folders."""
    monkeypatch.setattr(
        shipped, '__file__', str(tmp_path / 'tree' / 'mbv2ssd_ros' / 'shipped.py'))
    monkeypatch.setattr(sys, 'prefix', str(tmp_path / 'prefix'))
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'ament'))
    return tmp_path


def put(folder, name=DEFAULT_MODEL):
    """Put a model below a share folder."""
    path = folder / SHIPPED_FOLDER / name
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_a_given_path_is_taken_as_it_is():
    assert find_model('some/model.onnx') == Path('some/model.onnx')


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv('HOME', '/home/robot')
    assert find_model('~/model.onnx') == Path('/home/robot/model.onnx')


def test_the_shipped_model_of_the_source_tree(tree):
    path = put(tree / 'tree')
    assert find_model('') == path


def test_the_shipped_model_of_a_pip_installation(tree):
    path = put(tree / 'prefix' / 'share' / 'mbv2ssd_ros')
    assert find_model('') == path


def test_the_shipped_model_of_a_colcon_installation(tree):
    need('ament_index_python')
    marker = tree / 'ament/share/ament_index/resource_index/packages/mbv2ssd_ros'
    marker.parent.mkdir(parents=True)
    marker.touch()
    path = put(tree / 'ament' / 'share' / 'mbv2ssd_ros')
    assert find_model('') == path


def test_a_shipped_model_by_its_name(tree):
    path = put(tree / 'prefix' / 'share' / 'mbv2ssd_ros', 'large.onnx')
    assert find_model('large.onnx') == path


def test_a_file_of_the_working_folder_comes_before_a_shipped_one(tree, monkeypatch):
    put(tree / 'tree', 'large.onnx')
    monkeypatch.chdir(tree)
    Path('large.onnx').touch()
    assert find_model('large.onnx') == Path('large.onnx')


def test_a_missing_model_is_an_error_that_says_where_it_was_looked_for(tree):
    with pytest.raises(ConfigError, match=f'none found.*{tree}/tree/models, .*/prefix/'):
        find_model('')


def test_an_unknown_name_is_an_error_that_says_which_there_are(tree):
    put(tree / 'tree')
    with pytest.raises(ConfigError, match=r'large\.onnx: .*package \(mbv2_ssdlite_voc\.onnx\)'):
        find_model('large.onnx')
