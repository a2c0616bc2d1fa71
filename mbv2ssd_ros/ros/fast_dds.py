"""Names in Fast DDS 2 (ROS 2 Humble and Jazzy) and 3 (Kilted): variables and files."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
import re

# Environment variable for a profile, by the library that reads it. ROS 2 Kilted also accepts
# that of Fast DDS 2, with a warning; Fast DDS 2 knows only its own.
PROFILE_VARIABLES = {'libfastrtps.so': 'FASTRTPS_DEFAULT_PROFILES_FILE',
                     'libfastdds.so': 'FASTDDS_DEFAULT_PROFILES_FILE'}
TRANSPORTS_VARIABLE = 'FASTDDS_BUILTIN_TRANSPORTS'  # of both; overrules a profile
# A segment or port x in shared memory has a lock x_el or x_sl, which its owner holds while it
# lives. A process that opens a port holds the semaphore sem.x_mutex meanwhile.
FILE_NAME = re.compile(r'(?:sem\.)?(fast(?:rtps|dds)_(?:port\d+|[0-9a-f]+))(?:_el|_sl|_mutex)?')


def profile_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variable that the first Fast DDS on LD_LIBRARY_PATH reads; both without one."""
    for folder in filter(None, environment.get('LD_LIBRARY_PATH', '').split(':')):
        for library, name in PROFILE_VARIABLES.items():
            if any(Path(folder).glob(f'{library}*')):
                return (name,)
    return tuple(PROFILE_VARIABLES.values())


def offer_profile(environment: MutableMapping[str, str], path: Path) -> None:
    """Set a profile in the environment before Fast DDS is loaded, unless a transport is set."""
    chosen = (*PROFILE_VARIABLES.values(), TRANSPORTS_VARIABLE)
    if not any(environment.get(name) for name in chosen):
        environment.update(dict.fromkeys(profile_variables(environment), str(path)))
