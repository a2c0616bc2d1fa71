"""Files of Fast DDS in /dev/shm that outlived the process that made them."""

import os
from pathlib import Path
import re
import time

FOLDER = Path('/dev/shm')
# A segment or port fastrtps_x comes with a lock fastrtps_x_el, a port with sem.fastrtps_x_mutex;
# from Fast DDS 3 on fastdds_x.
NAME = re.compile(r'(?:sem\.)?(fast(?:rtps|dds)_(?:port(?P<port>\d+)|[0-9a-f]+))(?:_el|_mutex)?$')


def stale_files(older_than_s=0.0):
    """Return our files of which no process has any part open or mapped; younger ones not."""
    newest = time.time() - older_than_s
    in_use = {match[1] for match in map(NAME.match, _open_names()) if match}
    return [
        path for path in sorted(FOLDER.iterdir())
        if (match := NAME.match(path.name)) and match[1] not in in_use
        and _is_ours_and_older(path, newest)]


def remove_stale_files():
    """Remove what earlier runs left; a process that starts now is given time to open its files."""
    for path in stale_files(older_than_s=30.0):
        path.unlink(missing_ok=True)


def belongs_to_domain(path, domain_id):
    """Tell whether a file is a port of a ROS domain; a killed participant leaves its ports."""
    match = NAME.match(path.name)
    first = 7400 + 250 * domain_id  # DDS-RTPS 2.3, 9.6.1.1
    return bool(match and match['port'] and first <= int(match['port']) < first + 250)


def _is_ours_and_older(path, newest):
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return status.st_uid == os.getuid() and status.st_mtime <= newest


def _open_names():
    """Return the names of files under FOLDER that a process has open or mapped."""
    mapped = re.compile(rf'{FOLDER}/(\S+)$', re.MULTILINE)
    names = set()
    for process in Path('/proc').glob('[0-9]*'):
        try:
            names.update(mapped.findall((process / 'maps').read_text()))
            for link in (process / 'fd').iterdir():
                names.update(mapped.findall(os.readlink(link)))
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return names
