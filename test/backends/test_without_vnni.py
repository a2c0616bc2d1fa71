"""
Integers on x86-64 without VNNI, emulated: computed right, or refused.

The shipped files for a CPU are opened as they are, with weights of 8 bits as older ones had, and
with such weights and the claim that they cannot saturate, which switches exact kernels off.
"""

import json
import os
import platform
import shutil
import subprocess
import sys

import pytest

from helpers.changed_models import called_free_of_saturation, changed, eight_bits, NAMES, proved
from helpers.trt_doubles import ListLog
from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.backends.base import LoadContext
from mbv2ssd_ros.core.contract import SATURATION_FREE_KEY
from mbv2ssd_ros.core.onnx_metadata import with_metadata
from mbv2ssd_ros.core.output_summary import LIMITS
from mbv2ssd_train.onnx_files.model_file import renew_self_test

QEMU = shutil.which('qemu-x86_64-static') or shutil.which('qemu-x86_64')
EXACT = 'session.x64quantprecision'
pytestmark = [
    pytest.mark.skipif(QEMU is None, reason='needs qemu-x86_64-static (apt install qemu-user-stat'
                       'ic)'),
    pytest.mark.skipif(platform.machine() != 'x86_64', reason='emulates x86-64 with the Python of '
                       'this environment, which is none')]
PROGRAM = '''
import json, logging, sys
from mbv2ssd_ros.backends import BackendOptions, open_backend
from mbv2ssd_ros.backends.base import LoadContext
from mbv2ssd_ros.backends.saturation import kernels_saturate
from mbv2ssd_ros.core.output_summary import LIMITS
from mbv2ssd_ros.core.errors import BackendError
from mbv2ssd_ros.core.processor import describe_processor

class Log(list):
    def info(self, message): pass
    warning = list.append

def opened(path):
    log = Log()
    try:
        found = open_backend('onnxruntime', path, BackendOptions(), LoadContext(log)).self_test
    except BackendError as err:
        return {'error': str(err), 'warnings': log}
    return {'share': max(found.shares(LIMITS['int8']).values()), 'warnings': log}

print(json.dumps({'processor': describe_processor(), 'saturates': kernels_saturate(),
                  'files': {path: opened(path) for path in sys.argv[1:]}}))
'''


def older(path):
    """Write a copy with weights of 8 bits that nobody vouches for."""
    target = changed(path, eight_bits)
    target.write_bytes(with_metadata(target.read_bytes(), SATURATION_FREE_KEY, '0', 'older'))
    renew_self_test(target)
    return target


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Return for each shipped model its file as it is, an older one, and one that lies."""
    folder = tmp_path_factory.mktemp('cpu')
    found = {}
    for name in NAMES:
        path = proved(f'{name}_int8_cpu.onnx', folder)
        old = older(path)
        found[name] = (path, old, changed(old, called_free_of_saturation))
    return found


@pytest.fixture(scope='module')
def emulated(files):
    """Open all of them on a Haswell."""
    paths = [str(path) for one in files.values() for path in one]
    # An environment's Python may replace itself as it starts, and the kernel would start the new
    # one without QEMU: these variables of ours say that it has done so.
    environment = {**os.environ, '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1'}
    found = subprocess.run(
        [QEMU, '-cpu', 'Haswell', sys.executable, '-c', PROGRAM, *paths], env=environment,
        capture_output=True, text=True, timeout=280, check=False)
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout.splitlines()[-1])
    assert 'with AVX2, without VNNI' in report['processor']  # else nothing was emulated
    return report


def test_integer_kernels_saturate_there(emulated):
    assert emulated['saturates'] is True


@pytest.mark.parametrize('name', NAMES)
def test_the_shipped_file_is_right_there(files, emulated, name):
    assert emulated['files'][str(files[name][0])]['share'] < 0.5


@pytest.mark.parametrize('name', NAMES)
def test_an_older_file_is_made_exact_and_told_of(files, emulated, name):
    found = emulated['files'][str(files[name][1])]
    assert found['share'] < 0.5
    line, = found['warnings']
    assert EXACT in line and 'x86-64 with AVX2, without VNNI' in line


@pytest.mark.parametrize('name', NAMES)
def test_a_file_that_saturates_is_refused_by_twice_the_limit(files, emulated, name):
    found = emulated['files'][str(files[name][2])]
    assert found['warnings'] == []
    assert 'fails its self-test' in found['error'], found
    text = found['error'].partition('mean logarithm of the scores ')[2]
    assert float(text.split()[0]) > 2 * LIMITS['int8'].log_score
    assert 'x86-64 with AVX2, without VNNI' in found['error']


@pytest.mark.parametrize('name', NAMES)
def test_on_this_processor_each_is_right_unless_it_saturates_too(files, name):
    from mbv2ssd_ros.backends.saturation import kernels_saturate
    if kernels_saturate():
        pytest.skip('this processor has no VNNI either')
    for path in files[name]:
        log = ListLog()
        backend = open_backend('onnxruntime', path, BackendOptions(), LoadContext(log))
        assert max(backend.self_test.shares(LIMITS['int8']).values()) < 0.5
        assert log.lines == []
