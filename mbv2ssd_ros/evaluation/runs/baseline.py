"""Compare two evaluations, to see whether the detector became worse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any
import zlib

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_ros.evaluation.results import ImageResult

MUST_AGREE = ('classes', 'curve_threshold', 'score_threshold')  # or figures mean other things
_WIDTH = 26


@dataclass(frozen=True)
class Change:
    """One figure before and after, in points of 100."""

    name: str
    before: float | None  # None without objects
    after: float | None
    decides: bool  # whether a drop makes the evaluation fail

    @property
    def difference(self) -> float | None:
        """Gain, negative for a drop; None where one side has no figure."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before

    def is_worse(self, max_drop: float) -> bool:
        """Whether it decides, and fell by more than max_drop points or is gone."""
        if not self.decides or self.before is None:
            return False
        return self.after is None or self.before - self.after > max_drop + 1e-9


def read_metrics(path: Path) -> dict[str, Any]:
    """Read the metrics.json of an earlier evaluation with ground truth, or raise DataError."""
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as err:
        raise DataError(f'{path}: cannot be read as metrics.json of an evaluation: {err}') from err
    if not isinstance(found, dict) or not {'accuracy', 'complete', 'frames'} <= found.keys():
        raise DataError(f'{path}: not the metrics.json of evaluate_bag: accuracy, complete or '
                        'frames is missing')
    if found['accuracy'] is None:
        raise DataError(f'{path}: was made without ground truth and has no mAP to compare with')
    return found


def require_agreement(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> None:
    """Raise ConfigError where a value of `new` differs from the `accuracy` of a baseline."""
    for key, value in new.items():
        if old[key] != value:
            raise ConfigError(f'{where}: {key} is {old[key]}, here it is {value}; the two '
                              'cannot be compared')


def changes(before: Mapping[str, Any], after: Mapping[str, Any], where: str,
            same: Sequence[str] = MUST_AGREE) -> list[Change]:
    """
    Compare the metrics of a baseline, from the file `where`, with those of now.

    Returns the means first, of which VOC and COCO mAP decide, then each class. ConfigError: the
    two cannot be compared, since they differ in a value that must be the same.
    """
    old, new = before['accuracy'], after['accuracy']
    if new is None:
        raise ConfigError('a comparison needs ground truth: give --ground-truth')
    if not before['complete']:
        raise ConfigError(f'{where}: is incomplete ({before.get("incomplete_because")}); compare '
                          'with a complete evaluation')
    require_agreement(old, {key: new[key] for key in MUST_AGREE if key in same}, where)
    point = 'at_score_threshold'
    rows = [('mAP@0.5', old['map_50'], new['map_50'], True),
            ('COCO mAP', old['coco']['ap'], new['coco']['ap'], True),
            *((f'{name} at the threshold', old['overall'][point][name],
               new['overall'][point][name], False) for name in ('precision', 'recall', 'f1')),
            *((f'AP@0.5 {name}', old['ap_50'][name], new['ap_50'][name], False)
              for name in new['classes'] if new['objects'][name] or old['objects'][name])]
    return [Change(name, _points(a), _points(b), decides) for name, a, b, decides in rows]


def truth_checksum(results: Iterable[ImageResult]) -> int:
    """Return a CRC of what is annotated in the frames that are scored."""
    checksum = 0
    for result in results:
        truth = result.truth
        for part in (result.name.encode(), truth.boxes_xyxy.astype('<f4').tobytes(),
                     truth.labels.astype('<i4').tobytes(), truth.difficult.tobytes()):
            checksum = zlib.crc32(part, checksum)
    return checksum


def data_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """List how frames and ground truth differ, which makes figures incomparable."""
    found = []
    objects = {name: count for name, count in before['accuracy']['objects'].items()
               if count != after['accuracy']['objects'].get(name)}
    if objects:
        found.append('the ground truth had ' + ', '.join(
            f'{count} {name} (now {after["accuracy"]["objects"].get(name, 0)})'
            for name, count in objects.items()))
    elif before.get('truth_checksum', after['truth_checksum']) != after['truth_checksum']:
        found.append('the ground truth, or which frames are scored, is not the same')
    old, new = before['frames'].get('scored'), after['frames'].get('scored')
    if old != new:
        found.append(f'{old} frames were scored before, {new} now')
    return found


def notes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """List what may make a comparison of metrics less than exact."""
    same = before.get('inputs', {}).get('bag') == after.get('inputs', {}).get('bag')
    return [] if same else ['the files of the bags are not the same']


def table(found: list[Change], max_drop: float | None, titles: tuple[str, str]) -> str:
    """Return a comparison as lines of text; with max_drop, in points, what is worse is marked."""
    lines = [f'{"":<{_WIDTH}} {titles[0]:>10} {titles[1]:>10} {"change":>8}']
    for change in found:
        difference = '' if change.difference is None else f'{change.difference:+.2f}'
        line = (f'{change.name:<{_WIDTH}} {_figure(change.before):>10} '
                f'{_figure(change.after):>10} {difference:>8}')
        if max_drop is not None and change.is_worse(max_drop):
            line += f'  worse by more than {max_drop:g}'
        lines.append(line)
    return '\n'.join(lines)


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _figure(points: float | None) -> str:
    return 'none' if points is None else f'{points:.2f}'
