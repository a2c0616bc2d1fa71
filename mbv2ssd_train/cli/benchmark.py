"""`mbv2ssd_train benchmark`: measure the throughput of training."""

from __future__ import annotations

import argparse
from pathlib import Path

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.cli.options import add_overrides, write_json


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'benchmark', help='measure the throughput of training',
        description='Train alternately on the data of a configuration and on one batch in memory. '
        'Prints the images per second of both; the difference is the cost of reading, decoding '
        'and augmenting. Nothing is saved.')
    verb.add_argument('--train', required=True, metavar='CONFIG', help='YAML, as for train')
    add_overrides(verb, 'training.batch_size=32')
    verb.add_argument('--rounds', type=int, default=5, help='number of pairs of measurements, '
                      'default 5')
    verb.add_argument('--steps', type=int, default=20, help='steps of each measurement, default '
                      '20')
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
