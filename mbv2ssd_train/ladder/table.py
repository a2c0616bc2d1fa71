"""The table of a ladder as Markdown and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mbv2ssd_ros.core.durable import write_json, write_whole
from mbv2ssd_train.ladder.rows import Result, SUCCESS

_HEAD = ('row', 'what it changes', 'seed', 'mAP@0.5', 'against', 'test', 'GMAC', 'M parameters',
         'epoch', 'time', 'run')


def write_table(results: Sequence[Result], folder: Path, overrides: Sequence[str] = ()) -> Path:
    """Write ladder.md and ladder.json; return the path of the former."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / 'ladder.json', [result.to_dict() for result in results])
    path = folder / 'ladder.md'
    write_whole(path, to_markdown(results, overrides))
    return path


def to_markdown(results: Sequence[Result], overrides: Sequence[str] = ()) -> str:
    """
    Return the table, then how and where each run was started and why some stopped.

    mAP is in points. The difference to `based_on` needs two complete runs of one seed. The
    override of a seed is not shown: the table has all seeds.
    """
    shared = ' '.join(text for text in overrides if not text.startswith('seed='))
    splits = ', '.join(sorted({result.split for result in results}))
    tests = sorted({result.test['split'] for result in results if result.test})
    lines = [f'mAP@0.5 (area) of the best epoch on `{splits}`, in points'
             + (f'; test: that checkpoint on `{", ".join(tests)}`' if tests else '') + '.'
             + (f' In all rows: `{shared}`.' if shared else ''), '',
             _line(_HEAD), _line('---' for _ in _HEAD)]
    lines += [_line(_cells(result, results)) for result in results]
    started = [result for result in results if result.command]
    if started:
        lines += ['', _line(('run', 'first start', 'machine', 'commit')),
                  _line('---' for _ in range(4))]
        lines += [_line(_origin(result)) for result in started]
    if broken := [result for result in results if result.reason]:
        lines += ['', _line(('run', 'why it has not come to its end')), _line(('---', '---'))]
        lines += [_line((f'`{result.run}`', str(result.reason))) for result in broken]
    return '\n'.join(lines) + '\n'


def _cells(result: Result, results: Sequence[Result]) -> list[str]:
    epoch = f'{result.best_epoch:g} of {result.epochs}' if result.best_epoch else (
        f'of {result.epochs}')
    return [
        result.row, result.change, str(result.seed), _points(result.map_50),
        _against(result, results), _points(result.test.get('map_50')),
        f'{result.macs / 1e9:.2f}', f'{result.parameters / 1e6:.2f}', epoch,
        _duration(result.elapsed_s),
        f'`{result.run}`' if result.status == SUCCESS else result.status]


def _against(result: Result, results: Sequence[Result]) -> str:
    """Compare with the row it is based on, once both runs are complete."""
    for other in results:
        if (other.row, other.seed) == (result.based_on, result.seed):
            if (other.status == result.status == SUCCESS and result.map_50 is not None
                    and other.map_50 is not None):
                return f'{other.row} {100 * (result.map_50 - other.map_50):+.1f}'
    return result.based_on or ''


def _origin(result: Result) -> list[str]:
    environment = result.environment
    machine = ', '.join(environment.get('gpus') or [environment.get('cpu') or 'unknown'])
    commit = str(environment.get('commit') or environment.get('mbv2ssd_ros') or 'unknown')
    return [f'`{result.run}`', f'`{result.command}`', machine, commit[:12]]


def _points(share: float | None) -> str:
    return '' if share is None else f'{100 * share:.1f}'


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ''
    minutes = round(seconds / 60)
    return f'{minutes // 60} h {minutes % 60} min' if minutes >= 60 else f'{minutes} min'


def _line(cells: Iterable[str]) -> str:
    return '| ' + ' | '.join(cell.replace('|', '/') for cell in cells) + ' |'
