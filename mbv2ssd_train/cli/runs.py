"""`mbv2ssd_train runs`: list the runs of a folder and their progress."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from mbv2ssd_train.cli.options import add_runs

if TYPE_CHECKING:
    from mbv2ssd_train.run.folder import RunSummary


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'runs', help='list runs with status, step and best mAP',
        description='List the run folders, last modified first. A run whose process died is '
        '`interrupted`; resume it with train --resume.')
    add_runs(verb)
    verb.add_argument('--tag', help='only runs with this value in experiment.tags')
    verb.add_argument('--json', action='store_true', help='print JSON instead of a table')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_train.run.folder import describe_runs
    found = [row for row in describe_runs(options.runs)
             if options.tag is None or options.tag in row.experiment.get('tags', ())]
    if options.json:
        print(json.dumps([row.to_dict() for row in found], indent=1))
    elif not found:
        print(f'no runs in {options.runs}')
    else:
        _print_table(found)


def _print_table(found: list[RunSummary]) -> None:
    width = max(len(row.name) for row in found)
    print(f'{"run":<{width}}  {"status":<11}  {"step":>13}  best mAP@0.5  last change')
    for row in found:
        step = f'{row.step}/{"?" if row.total_steps is None else row.total_steps}'
        best = '-' if row.best_map_50 is None else f'{row.best_map_50:.4f}'
        print(f'{row.name:<{width}}  {row.status:<11}  {step:>13}  {best:>12}  {row.time}')
        if remark := row.fault or row.experiment.get('description'):
            print(f'    {remark}')
