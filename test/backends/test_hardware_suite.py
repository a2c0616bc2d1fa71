"""The tests for a device run here on doubles, so that an owner of one gets tests that work."""

import json
import os
import re
import subprocess
import sys

import pytest

from helpers.paths import DOUBLES, ROOT

SAMPLE = ('batch_size_up or (heals_by_itself and empty) or (ends_well and closed) '
          'or (agrees and not int8) or red_cell')


@pytest.mark.slow
@pytest.mark.needs('onnx')
def test_the_hardware_tests_pass_on_doubles_and_report(tmp_path):
    found = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-m', 'hardware', 'test/hardware', '-k',
         SAMPLE], cwd=ROOT, capture_output=True, text=True, timeout=250,
        env={**os.environ, 'PYTHONPATH': str(DOUBLES),
             'MBV2SSD_HARDWARE_REPORT': str(tmp_path / 'report.json')})
    assert found.returncode == 0, found.stdout
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['machine']['tensorrt'] == '10.3.0' and report['not_passed'] == {}
    assert {'mbv2_ssdlite_voc.onnx', 'shipped_fp16.onnx'} <= report['measured'].keys()


def test_without_tensorrt_each_hardware_test_is_skipped_and_says_why(tmp_path):
    found = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-m', 'hardware', 'test/hardware', '-k',
         'batch_size_up'], cwd=ROOT, capture_output=True, text=True, timeout=100,
        env={**os.environ, 'PYTHONPATH': '',
             'MBV2SSD_HARDWARE_REPORT': str(tmp_path / 'report.json')})
    assert found.returncode == 0, found.stdout
    if '1 passed' not in found.stdout:  # where there is a GPU after all
        assert 'SKIPPED' in found.stdout and 'backend tensorrt: ' in found.stdout
        report = json.loads((tmp_path / 'report.json').read_text())
        assert 'tensorrt cannot be imported' in report['machine']['libraries']


def test_without_the_packages_of_the_page_they_are_skipped_too(tmp_path):
    (tmp_path / 'onnx.py').write_text('raise ModuleNotFoundError("absent", name="onnx")')
    found = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', 'test/hardware'], cwd=ROOT, capture_output=True,
        text=True, timeout=100, env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    assert re.search(r'SKIPPED .* test/hardware: needs onnx \(the extra `train`\)', found.stdout)
    assert not re.search('passed|failed|error', found.stdout.splitlines()[-1])
