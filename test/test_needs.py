"""The suite runs where something is not installed: what needs it is skipped, with the reason."""

import os
from pathlib import Path
import re
import subprocess
import sys

import pytest

from helpers.needs import COMES_WITH
from helpers.paths import ROOT

PYTEST = '''
import sys
sys.modules.update(dict.fromkeys({hidden}, None))  # import finds nothing
import pytest
sys.exit(pytest.main({arguments}))
'''
# as ROS's launch_testing does: it imports each file to look for a launch description in it
IMPORTS_FILES = '''
from _pytest.pathlib import import_path

def pytest_pycollect_makemodule(module_path, parent):
    import_path(module_path, root=parent.config.rootpath, consider_namespace_packages=False)
'''


def run(hidden, *arguments, cwd=ROOT, plugins=''):
    """Run pytest as it comes, without plugins of others and where modules are not installed."""
    code = PYTEST.format(hidden=sorted(hidden), arguments=['-o', 'addopts=-ra', *arguments])
    return subprocess.run(
        [sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True, timeout=200,
        env={**os.environ, 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1', 'PYTHONPATH': plugins})


def skipped(text):
    """Return {(folder, what it needs): tests} of pytest's summary."""
    found = re.findall(r'^SKIPPED \[(\d+)\] (\S+): needs (\S+) \((?:the|ROS|what)', text, re.M)
    return {(Path(folder).name, name): int(count) for count, folder, name in found}


def test_every_file_can_be_collected_with_the_bare_requirements():
    found = run(COMES_WITH, '--collect-only', '-q')
    assert found.returncode == 0, found.stdout
    assert 'test/core/test_nms.py::' in found.stdout
    assert 'test/train/model/test_ssd.py::not_imported' in found.stdout


@pytest.mark.parametrize('plugin', ['', '-pimports_files'])
def test_one_part_runs_and_the_others_say_what_they_need(tmp_path, plugin):
    (tmp_path / 'imports_files.py').write_text(IMPORTS_FILES)
    files = [str(ROOT / 'test' / name) for name in (
        'core/test_priors.py', 'ros/test_skipped.py', 'train/test_box_coder.py',
        'train/test_optimizer.py', 'test_latency.py')]
    found = run({'pydantic', 'torch', 'rclpy'}, *files, *filter(None, [plugin]), cwd=tmp_path,
                plugins=str(tmp_path))
    assert found.returncode == 0, found.stdout
    assert skipped(found.stdout) == {
        ('train', 'torch'): 1, ('train', 'pydantic'): 1, ('ros', 'rclpy'): 1}
    assert re.search(r'^=* \d\d+ passed, 3 skipped', found.stdout.splitlines()[-1])


def test_a_test_that_needs_something_only_when_it_runs_is_skipped_alone():
    found = run({'faster_coco_eval'}, 'test/evaluation/test_analysis.py')
    assert found.returncode == 0, found.stdout
    assert skipped(found.stdout) == {('evaluation', 'faster_coco_eval'): 3}
    assert re.search(r'\d+ passed, 3 skipped', found.stdout)


def test_what_everybody_has_is_an_error_where_it_is_not(tmp_path):
    found = run({'cv2'}, 'test/core/test_image.py')
    assert found.returncode == 2
    assert 'ModuleNotFoundError: import of cv2 halted' in found.stdout
