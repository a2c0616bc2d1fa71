"""`mbv2ssd_train train`: learn from annotated images."""

from __future__ import annotations

import argparse
from pathlib import Path

from mbv2ssd_ros.core.errors import ConfigError


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'train', help='learn from annotated images',
        description='Train a detector. The run folder RUNS/NAME_FINGERPRINT holds the whole '
        'configuration, metrics.jsonl, TensorBoard events, plots, status.json and the checkpoints '
        'last.pt and best.pt. Ctrl-C saves and ends; --resume goes on exactly there.',
        epilog='On several GPUs or processes: torchrun --nproc-per-node 2 -m mbv2ssd_train train '
        'CONFIG; training.batch_size is that of all processes together.')
    verb.add_argument('config', nargs='?',
                      help='YAML; config/train/ has examples. With --resume or --run-from it may '
                      'be left out: the run brings its own')
    verb.add_argument('overrides', nargs='*', metavar='key.path=value',
                      help='replace a value of the file, e.g. training.epochs=5')
    verb.add_argument('--runs', type=Path, default=Path('runs'), help='parent of the run folders')
    verb.add_argument('--resume', action='store_true',
                      help='go on with this experiment; without CONFIG, with the latest run')
    verb.add_argument('--run-from', metavar='PATH_OR_URL',
                      help='copy a run folder from elsewhere (a path, s3://, https://, ...) and '
                      'go on with it')
    verb.add_argument('--print-config', action='store_true',
                      help='print every key with its value and meaning, as YAML, and stop')
    verb.add_argument('--dry-run', action='store_true',
                      help='build everything, make one step, print sizes and stop')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_train.config import load_config
    path, resume = _what_to_run(options)
    config = load_config(path, tuple(options.overrides))
    if options.print_config:
        print(config.to_explained_yaml(), end='')
        return
    # Imported here: only this needs PyTorch's training half.
    from mbv2ssd_train.distributed import join_world
    from mbv2ssd_train.dry_run import dry_run
    from mbv2ssd_train.engine import Trainer
    if options.dry_run:
        for line in dry_run(config):
            print(line)
        return
    with join_world(config.training.device) as world:
        trainer = Trainer(config, options.runs, resume, world)
        if world.is_main:
            print(f'{trainer.folder.path}: {trainer.describe()}')
            if trainer.start_report:
                print(trainer.start_report)
            print(f'look at what it learns from: {trainer.folder.path}/images/first_batch.png',
                  flush=True)
        trainer.run()
        if world.is_main:
            print(f'best mAP@0.5 {trainer.state.best_map:.4f} on {config.data.val}: '
                  f'{trainer.folder.best}\nnext: mbv2ssd_train export --checkpoint '
                  f'{trainer.folder.best} --output model.onnx')


def _what_to_run(options: argparse.Namespace) -> tuple[Path, bool]:
    """Choose the configuration file, and whether its run goes on."""
    if options.config and '=' in options.config and not Path(options.config).exists():
        raise ConfigError(f'{options.config!r} is no configuration file; overrides stand behind '
                          'one, and a run that goes on keeps its configuration')
    if options.run_from:
        if options.config:
            raise ConfigError(
                f'--run-from brings its own configuration; leave {options.config} out, or set '
                'model.weights in it to begin another experiment with those weights')
        from mbv2ssd_train.remote import fetch_run
        return fetch_run(options.run_from, options.runs) / 'config.yaml', True
    if options.config:
        return Path(options.config), options.resume
    if not options.resume:
        raise ConfigError('name a configuration; config/train/ has examples')
    from mbv2ssd_train.runs import latest_run
    return latest_run(options.runs) / 'config.yaml', True
