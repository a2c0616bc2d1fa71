"""What keeps ROS tests from disturbing each other, and where tests find the shared data."""

import os
from pathlib import Path
import tempfile

import pytest
from shared_memory import belongs_to_domain, remove_stale_files, stale_files

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config):
    """Give this test run, and every process it starts, a ROS domain and log folder of its own."""
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % 100)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ.setdefault('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    logs = tempfile.TemporaryDirectory(prefix='mbv2ssd-ros-log-')
    config.add_cleanup(logs.cleanup)
    os.environ['ROS_LOG_DIR'] = logs.name


@pytest.fixture(scope='session', autouse=True)
def shared_memory_left_clean():
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
    left = [path for path in stale_files() if path not in before
            and ('CI' in os.environ or belongs_to_domain(path, domain_id))]
    for path in left:
        path.unlink(missing_ok=True)
    if left:
        pytest.fail(f'{len(left)} shared memory files were left behind, such as {left[0]}: a node '
                    f'was killed; end it with SIGINT and wait for it', pytrace=False)


@pytest.fixture(scope='session')
def shared_data():
    """Return the folder of the shared data; skip where it is absent."""
    folder = Path(os.environ.get('MBV2SSD_SHARED', ROOT.parent / 'shared')) / 'data'
    if not folder.is_dir():
        pytest.skip(f'no shared data: {folder} is absent, set MBV2SSD_SHARED to its parent')
    return folder
