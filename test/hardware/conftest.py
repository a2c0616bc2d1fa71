"""
The tests that need TensorRT, pycuda and a GPU: `make test-jetson`.

They print a report at the end, to be attached to an issue; MBV2SSD_HARDWARE_REPORT names a file
for it, and then there is one also where every test was skipped.
"""

from collections import Counter
import json
import os
from pathlib import Path
import platform
import subprocess
import sys

import pytest

from helpers.needs import Missing
from helpers.paths import ROOT

HERE = Path(__file__).parent
REPORT = {'results': {}, 'measured': {}}
sys.path.insert(0, str(ROOT / 'test' / 'backends'))  # whose conformance tests run here, too


def pytest_collection_modifyitems(config, items):
    """Mark every test of this folder."""
    for item in items:
        if HERE in Path(item.fspath).parents:
            item.add_marker(pytest.mark.hardware)
            if config.pluginmanager.hasplugin('timeout'):
                item.add_marker(pytest.mark.timeout(3600))  # a build takes minutes on a Jetson


@pytest.fixture(scope='session')
def nvidia():
    """Return NVIDIA's libraries; skip with the reason where one is missing."""
    from mbv2ssd_ros.backends.trt.nvidia import load_nvidia
    from mbv2ssd_ros.core.errors import BackendError
    try:
        return load_nvidia()
    except BackendError as err:
        raise Missing(str(err)) from err


@pytest.fixture(scope='session')
def engine_folder(tmp_path_factory):
    """Return a folder of engines for the whole session: each is built once."""
    return tmp_path_factory.mktemp('engines')


@pytest.fixture(autouse=True)
def private_cache(monkeypatch, engine_folder):
    """Keep the engines of these tests away from those of the user."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(engine_folder))


@pytest.fixture
def measured():
    """Return a dict of what is measured; part of the report."""
    return REPORT['measured']


def pytest_runtest_logreport(report):
    """Take note of the result of each test of this folder."""
    if 'test/hardware/' in report.nodeid and (report.when == 'call' or report.skipped
                                              or report.failed):
        REPORT['results'][report.nodeid.partition('test/hardware/')[2]] = report.outcome


def pytest_terminal_summary(terminalreporter):
    """Print the report, where there is a GPU to be reported on, or somebody asks for a file."""
    results, path = REPORT['results'], os.environ.get('MBV2SSD_HARDWARE_REPORT')
    if not path and not {'passed', 'failed'} & set(results.values()):
        return
    text = json.dumps({
        'machine': machine(), 'tests': Counter(results.values()), 'not_passed': {
            name: outcome for name, outcome in results.items() if outcome != 'passed'},
        'measured': REPORT['measured']}, indent=2)
    terminalreporter.section('hardware report: attach it to an issue')
    terminalreporter.write_line(text)
    if path:
        Path(path).write_text(text + '\n', encoding='utf-8')


def machine():
    """Describe board, system and libraries; what is absent is said to be."""
    found = {
        'board': first_line('/proc/device-tree/model'),
        'l4t': first_line('/etc/nv_tegra_release'),
        'power_mode': output_of('nvpmodel', '-q'),
        'jetpack': output_of('dpkg-query', '--showformat=${Version}', '--show', 'nvidia-jetpack'),
        'kernel': platform.platform(), 'python': platform.python_version()}
    try:
        from mbv2ssd_ros.backends.trt.nvidia import describe_gpu, load_nvidia
        libraries = load_nvidia()
        import onnxruntime
        import pycuda
        found |= {
            'gpu': vars(describe_gpu(libraries.cuda)), 'tensorrt': libraries.trt.__version__,
            'driver': libraries.cuda.get_driver_version(), 'pycuda': pycuda.VERSION_TEXT,
            'onnxruntime': onnxruntime.__version__}
    except Exception as err:  # a report with a gap is better than none
        found['libraries'] = str(err)
    return found


def first_line(path):
    """Return the first line of a file, or why there is none."""
    try:
        return Path(path).read_text(errors='replace').strip('\0\n').splitlines()[0]
    except (OSError, IndexError) as err:
        return f'unknown ({err})'


def output_of(*command):
    """Return what a command prints, or why it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as err:
        return f'unknown ({err})'
    return ' '.join(done.stdout.split()) or f'unknown ({done.stderr.strip()})'
