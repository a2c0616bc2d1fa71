"""`mbv2ssd_train benchmark`: what training costs on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.cli.options import write_json


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'benchmark', help='measure the throughput of training',
        description='Train on the data of a configuration and, in turns, on one batch that stays '
        'in memory. Prints images a second of both: what is missing to the second is what '
        'reading, decoding and augmenting cost. Nothing is kept.')
    verb.add_argument('--train', required=True, metavar='CONFIG', help='YAML, as for train')
    verb.add_argument('overrides', nargs='*', metavar='key.path=value',
                      help='replace a value of the file')
    verb.add_argument('--rounds', type=int, default=5, help='pairs of measurements, default 5')
    verb.add_argument('--steps', type=int, default=20, help='of each measurement, default 20')
    verb.add_argument('--json', type=Path, help='write the figures to this file')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if options.rounds < 1 or options.steps < 1:
        raise ConfigError(f'--rounds {options.rounds} and --steps {options.steps} must be 1 or '
                          'more')
    from mbv2ssd_train.benchmark import measure_training
    from mbv2ssd_train.config import load_config
    config = load_config(options.train, tuple(options.overrides))
    found = measure_training(config, options.rounds, options.steps)
    print(f'train          {found.train_images_per_s:8.1f} images/s\n'
          f'resident batch {found.resident_images_per_s:8.1f} images/s\n'
          f'ratio          {found.ratio:8.3f}   medians of {found.rounds} rounds of '
          f'{found.steps} steps, batch {found.batch_size}, on {found.device}')
    if options.json:
        write_json(options.json, found.to_dict())
