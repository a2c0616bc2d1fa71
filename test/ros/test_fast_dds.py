"""The profile for large images reaches the Fast DDS that is here, whichever version it is."""

import os
import subprocess
import sys

import pytest

from helpers.needs import need
from helpers.paths import ROOT
from mbv2ssd_ros.ros.fast_dds import offer_profile, profile_variables

PROFILE = ROOT / 'config/fastdds_large_images.xml'
OF_2, OF_3 = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
PARTICIPANT = '''
import re
from pathlib import Path
import rclpy
rclpy.init()
node = rclpy.create_node('participant')
segments = re.findall(r'/dev/shm/fast(?:rtps|dds)_[0-9a-f]+$',
                      Path('/proc/self/maps').read_text(), re.MULTILINE)
print(max(Path(name).stat().st_size for name in segments))
node.destroy_node()
rclpy.shutdown()
'''


def lay(folder, *names):
    """Make a folder of libraries."""
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    return str(folder)


@pytest.mark.parametrize(('library', 'expected'), [
    ('libfastrtps.so.2.14', OF_2), ('libfastdds.so.3.2', OF_3)])
def test_the_library_on_the_path_tells_the_variable(tmp_path, library, expected):
    path = ':'.join([lay(tmp_path / 'cuda', 'libcudart.so'),
                     lay(tmp_path / 'ros', library, 'librosidl_typesupport_fastrtps_c.so')])
    assert profile_variables({'LD_LIBRARY_PATH': path}) == (expected,)


def test_the_first_of_two_installations_counts(tmp_path):
    path = ':'.join([lay(tmp_path / 'kilted', 'libfastdds.so.3.2'),
                     lay(tmp_path / 'jazzy', 'libfastrtps.so.2.14')])
    assert profile_variables({'LD_LIBRARY_PATH': path}) == (OF_3,)


def test_an_installation_that_cannot_be_found_is_offered_both():
    environment = {'LD_LIBRARY_PATH': ':/no/such/folder'}
    offer_profile(environment, PROFILE)
    assert environment.pop('LD_LIBRARY_PATH') == ':/no/such/folder'
    assert environment == {OF_2: str(PROFILE), OF_3: str(PROFILE)}


@pytest.mark.parametrize('name', [OF_2, OF_3, 'FASTDDS_BUILTIN_TRANSPORTS'])
def test_what_the_user_has_chosen_is_not_overridden(name):
    environment = {name: 'mine'}
    offer_profile(environment, PROFILE)
    assert environment == {name: 'mine'}


@pytest.mark.ros
def test_the_profile_that_is_offered_is_read_without_a_warning():
    need('rclpy')
    environment = {key: value for key, value in os.environ.items()
                   if key != 'FASTDDS_BUILTIN_TRANSPORTS'}
    offer_profile(environment, PROFILE)
    done = subprocess.run([sys.executable, '-c', PARTICIPANT], capture_output=True, text=True,
                          env={**environment, 'ROS_DOMAIN_ID': '103'}, check=True)
    assert int(done.stdout) >= 2 ** 26  # bytes, as the profile has it; half a million without
    assert done.stderr == ''
