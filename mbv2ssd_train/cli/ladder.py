"""`mbv2ssd_train ladder`: run an ablation study and tabulate its results."""

from __future__ import annotations

import argparse
from pathlib import Path
import subprocess
import sys
from typing import TYPE_CHECKING

from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError
from mbv2ssd_train.cli.options import add_overrides, add_runs
from mbv2ssd_train.process.signals import StopRequest

if TYPE_CHECKING:
    from mbv2ssd_train.ladder.rows import Row

_PROGRAM = (sys.executable, '-m', 'mbv2ssd_train')
_POLL_S = 0.5


class LadderError(Mbv2SsdError):
    """Some rows failed, or a signal ended the ladder."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'ladder', help='run an ablation study, one change for each row, and write its table',
        description='Train every row of a ladder (NUMBER_ROW.yaml in FOLDER) that is not complete '
        'yet, one after the other; an interrupted row is resumed. RUNS/ladder.md and ladder.json '
        'contain the table and are updated after each row. Ctrl-C saves and stops; the same '
        'command resumes.')
    verb.add_argument('folder', type=Path, help='folder of rows, such as config/train/ladder')
    add_overrides(verb, 'seed=2; the table has the runs with these values, of any seed')
    add_runs(verb)
    verb.add_argument('--only', default='', metavar='ROW,ROW',
                      help='rows to train; the table has all rows')
    verb.add_argument('--table', action='store_true',
                      help='write the table of existing runs without training')
    verb.add_argument('--test', metavar='SPLIT',
                      help='evaluate the best checkpoint of the rows of --only once on this '
                      'split, which is used neither for training nor for validation')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_train.ladder.rows import choose_rows, collect, read_rows
    from mbv2ssd_train.ladder.table import write_table
    if options.test and not options.only:
        raise ConfigError('--test evaluates the rows of --only; name them')
    rows = read_rows(options.folder, options.runs, options.overrides)
    chosen = choose_rows(rows, [name for name in options.only.split(',') if name])
    failed = []
    for row in chosen:
        try:
            if not options.table and not _train(row, options):
                failed.append(row.name)
            elif options.test:
                _test(row, options)
        finally:  # also after a signal
            path = write_table(collect(rows, options.runs), options.runs, options.overrides)
    print(path.read_text(encoding='utf-8'), end='')
    print(f'table: {path}')
    if failed:
        raise LadderError(f'failed: {", ".join(failed)}; see their errors above. The same command '
                          'resumes them')


def _train(row: Row, options: argparse.Namespace) -> bool:
    """Train a row to its end; False where it fails."""
    from mbv2ssd_train.ladder.rows import SUCCESS
    from mbv2ssd_train.run.folder import read_status, RunFolder
    folder = RunFolder(options.runs, row.config)
    if folder.path.is_dir() and read_status(folder.path).status == SUCCESS:
        return True
    print(f'{row.name}: {row.change}', flush=True)
    # a process for each row keeps GPU memory, seeds and failures apart
    return _run_program(['train', str(row.path), *options.overrides, '--runs', str(options.runs),
                         *(['--resume'] if folder.last.exists() else [])]) == 0


def _test(row: Row, options: argparse.Namespace) -> None:
    from mbv2ssd_train.ladder.rows import read_test, TEST_FILE
    from mbv2ssd_train.run.folder import RunFolder
    data, folder = row.config.data, RunFolder(options.runs, row.config)
    if read_test(folder.path).get('split') == options.test:
        return
    if not folder.best.exists():
        raise ConfigError(f'{folder.best}: no checkpoint to evaluate; train {row.name} first')
    if _run_program(['eval', '--model', str(folder.best), '--data', data.root, '--split',
                     options.test, '--json', str(folder.path / TEST_FILE)]):
        raise LadderError(f'{row.name} could not be evaluated on {options.test}')


def _run_program(arguments: list[str]) -> int:
    """Run a verb in its own process, which gets each signal once; LadderError after one."""
    with StopRequest() as stop:
        process = subprocess.Popen([*_PROGRAM, *arguments], start_new_session=True)
        try:
            code = _wait(process, stop)
        except BaseException:  # a second signal ends both at once
            process.terminate()
            process.wait()
            raise
    if stop.signum:
        raise LadderError('stopped; the same command resumes', 128 + stop.signum)
    return code


def _wait(process: subprocess.Popen, stop: StopRequest) -> int:
    forwarded = False
    while True:
        try:
            return process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            if stop.signum and not forwarded:
                process.send_signal(stop.signum)
                forwarded = True
