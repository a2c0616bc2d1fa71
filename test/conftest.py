"""What keeps tests from disturbing each other, and where they find the shared data."""

import importlib.util
import os
from pathlib import Path
import sys
import tempfile

import pytest

from helpers.crowding import cores
from helpers.dispositions import reset_signals
from helpers.domains import Domain
from helpers.needs import count_by_folder, skip_without_needs, TestFile
from helpers.paths import ROOT
from helpers.shared_memory import belongs_to_domain, remove_stale_files, stale_files

if importlib.util.find_spec('mbv2ssd_ros') is None:  # not installed, and started elsewhere
    sys.path.insert(0, str(ROOT))
    os.environ['PYTHONPATH'] = os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')  # before a test imports onnxruntime


def pytest_configure(config):
    """Give this process, and every one it starts, a ROS domain and a log folder of its own."""
    if is_controller(config):  # runs no test; its workers inherit what it ignores, as nohup wants
        config.stale_before = set(stale_files())
        return
    reset_signals()
    domain = Domain()
    config.add_cleanup(domain.release)
    os.environ['ROS_DOMAIN_ID'] = str(domain.number)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ.setdefault('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    logs = tempfile.TemporaryDirectory(prefix='mbv2ssd-ros-log-')
    config.add_cleanup(logs.cleanup)
    os.environ['ROS_LOG_DIR'] = logs.name


def is_controller(config):
    """Tell whether this process gives the tests to workers of pytest-xdist."""
    return bool(config.getoption('tx', None)) and not hasattr(config, 'workerinput')


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Take as many workers as there are cores, at most 8; with a single core none."""
    return min(cores(), 8) if cores() > 1 else 0


# A file may need what is not there. No plugin is asked: ROS's would import it, and fail.
if hasattr(pytest, 'version_tuple'):
    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(module_path, parent):
        """Collect a file our way."""
        return TestFile.from_parent(parent, path=module_path)
else:  # pytest 6, of Ubuntu 22.04
    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(path, parent):
        """Collect a file our way."""
        return TestFile.from_parent(parent, fspath=path)


def pytest_runtest_setup(item):
    """Skip what cannot run here."""
    skip_without_needs(item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Report what was skipped so by folder."""
    outcome = yield
    count_by_folder(item, call, outcome.get_result())


@pytest.fixture(scope='session', autouse=True)
def shared_memory_left_clean(request):
    """
    Fail when the tests left Fast DDS shared memory behind.

    A participant that is killed cannot remove its files from /dev/shm, and enough of them fill
    the memory of the machine: end nodes with SIGINT and wait for them. The ports of our domain
    are surely ours; any other file is in continuous integration, where nobody else makes one.
    """
    remove_stale_files()
    before = set(stale_files())
    yield
    domain_id = int(os.environ['ROS_DOMAIN_ID'])
    all_ours = 'CI' in os.environ and not hasattr(request.config, 'workerinput')
    left = [path for path in stale_files() if path not in before
            and (all_ours or belongs_to_domain(path, domain_id))]
    if left:
        pytest.fail(removed(left), pytrace=False)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Look in continuous integration, after all workers, for what no worker could call its own."""
    if is_controller(session.config) and 'CI' in os.environ:
        if left := [path for path in stale_files() if path not in session.config.stale_before]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            session.config.get_terminal_writer().line(f'\nERROR {removed(left)}')


def removed(left):
    """Remove files of shared memory; return what is to be said of them."""
    for path in left:
        path.unlink(missing_ok=True)
    return (f'{len(left)} shared memory files were left behind, such as {left[0]}: a node was '
            'killed; end it with SIGINT and wait for it')


@pytest.fixture(scope='session')
def shared_data():
    """Return the folder of the shared data; skip where it is absent."""
    folder = Path(os.environ.get('MBV2SSD_SHARED', ROOT.parent / 'shared')) / 'data'
    if not folder.is_dir():
        pytest.skip(f'no shared data: {folder} is absent, set MBV2SSD_SHARED to its parent')
    return folder
