"""Limits for the figures of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# On two x86 cores. Each is p50 and p99 of the overhead in ms, by the size of the images.
_OVERHEAD_MS = {'640x480': (1.3, 3.0), '1920x1080': (2.0, None)}
_OWN_MS = 0.5
_SATURATED_SHARE = 0.9
_SATURATED_MORE_MS = 3.0  # than one inference
_INT8_RESIDENT_MB = 180.0
_FOUR_CAMERAS_P95_MS = 20.0  # INT8 at 30 Hz
_UNEVEN_SHARE = 0.05

Target = dict[str, Any]


def targets(result: Mapping[str, Any]) -> list[Target]:
    """
    Compare the result of measure() with the limits for its configuration.

    Each has name, measured, the limit as `at_most` or `at_least`, and ok.
    """
    found = list(_one_camera(result))
    if result['cameras'] is not None:
        found += _several_cameras(result['cameras'], result['config'])
    return found


def comparison(found: Iterable[Target]) -> str:
    """Format targets as lines."""
    lines = ['targets of this package for two x86 cores; --check ends with 1 where one is missed',
             f'{"figure":44} {"measured":>9}   {"asked":14}']
    for one in found:
        bound = 'at_most' if 'at_most' in one else 'at_least'
        asked = f'{bound.replace("_", " ")} {one[bound]:g}'
        lines.append(f'{one["name"]:44} {one["measured"]:9.2f}   {asked:14} '
                     f'{"ok" if one["ok"] else "missed"}')
    return '\n'.join(lines)


def _one_camera(result: Mapping[str, Any]) -> Iterator[Target]:
    config = result['config']
    p50, p99 = _OVERHEAD_MS.get(config['size'], (None, None))
    if p50 is not None:
        yield _at_most('overhead p50, ms', result['overhead_ms']['p50'], p50)
    if p99 is not None:
        yield _at_most('overhead p99, ms', result['overhead_ms']['p99'], p99)
        yield _at_most('overhead by frame p99, ms', result['overhead_by_frame_ms']['p99'], p99)
        yield _at_most('own part p50, ms', result['own_ms']['p50'], _OWN_MS)
    yield _at_least('saturated, share of bare inference', result['saturated_share'],
                    _SATURATED_SHARE)
    yield _at_most('saturated, overhead by frame p99, ms', result['saturated_overhead_ms']['p99'],
                   round(result['infer_ms']['p50'] + _SATURATED_MORE_MS, 2))
    if config['precision'] == 'int8':
        yield _at_most('resident, MB', result['rss_mb'], _INT8_RESIDENT_MB)


def _several_cameras(found: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Target]:
    name = f'{found["cameras"]} cameras'
    if (found['cameras'], config['rate_hz'], config['precision']) == (4, 30.0, 'int8'):
        yield _at_most(f'{name}, end to end p95, ms', found['end_to_end_ms']['p95'],
                       _FOUR_CAMERAS_P95_MS)
    yield _at_most(f'{name}, unexplained drops', abs(found['unexplained']), 0)
    shares = found['share_by_camera']
    yield _at_most(f'{name}, largest share minus smallest',
                   round(max(shares) - min(shares), 4), _UNEVEN_SHARE)
    yield _at_most(f'{name}, oldest at publish, ms', found['oldest_ms'], found['max_age_ms'])


def _at_most(name: str, measured: float, limit: float) -> Target:
    return {'name': name, 'measured': measured, 'at_most': limit, 'ok': measured <= limit}


def _at_least(name: str, measured: float, limit: float) -> Target:
    return {'name': name, 'measured': measured, 'at_least': limit, 'ok': measured >= limit}
