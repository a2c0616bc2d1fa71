"""The tests for a device run here on doubles, so that an owner of one gets tests that work."""

import os
from pathlib import Path
import subprocess
import sys

import pytest
from trt_doubles import DOUBLES

ROOT = Path(__file__).parents[2]
SAMPLE = ('batch_size_up or (heals_by_itself and empty) or (ends_well and closed) or agrees '
          'or red_cell')


@pytest.mark.slow
def test_the_hardware_tests_pass_on_doubles_and_report(tmp_path):
    found = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-m', 'hardware', 'test/hardware', '-k',
         SAMPLE], cwd=ROOT, capture_output=True, text=True, timeout=250,
        env={**os.environ, 'PYTHONPATH': str(DOUBLES),
             'MBV2SSD_HARDWARE_REPORT': str(tmp_path / 'report.json')})
    assert found.returncode == 0, found.stdout
    report = (tmp_path / 'report.json').read_text()
    assert '"tensorrt": "10.3.0"' in report and '"not_passed": {}' in report


def test_without_tensorrt_each_hardware_test_is_skipped_and_says_why():
    found = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-m', 'hardware', 'test/hardware', '-k',
         'batch_size_up'], cwd=ROOT, capture_output=True, text=True, timeout=100,
        env={**os.environ, 'PYTHONPATH': ''})
    assert found.returncode == 0, found.stdout
    if '1 passed' not in found.stdout:  # where there is a GPU after all
        assert 'SKIPPED' in found.stdout and 'backend tensorrt: ' in found.stdout
