"""`mbv2ssd_train train`: train a detector on annotated images."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_train.cli.eval import MAX_DETECTIONS, measure, SCORE_THRESHOLD
from mbv2ssd_train.cli.options import add_overrides, add_runs, HelpFormatter

if TYPE_CHECKING:  # they are slow to import
    from mbv2ssd_train.config import TrainConfig
    from mbv2ssd_train.process.distributed import World


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'train', help='train a detector on annotated images',
        description='Train a detector. The run folder RUNS/NAME_FINGERPRINT contains the full '
        'configuration, metrics.jsonl, TensorBoard events, plots, status.json and the checkpoints '
        'last.pt and best.pt. Ctrl-C saves and stops; --resume continues from exactly there.',
        formatter_class=HelpFormatter,
        epilog='examples:\n'
               '  mbv2ssd_train train config/train/own_boxes.yaml data.root=DATA\n'
               '  mbv2ssd_train train config.yaml model.weights=mbv2_ssdlite_voc.onnx\n'
               '  mbv2ssd_train train --resume\n'
               '  torchrun --nproc-per-node 2 -m mbv2ssd_train train config.yaml\n'
               'With several processes training.batch_size is the sum over all.')
    verb.add_argument('config', nargs='?',
                      help='YAML file; config/train/ has examples. Optional with --resume or '
                      '--run-from, which read that of the run')
    add_overrides(verb, 'training.epochs=5')
    add_runs(verb)
    verb.add_argument('--resume', action='store_true',
                      help='resume this experiment, or the latest run if CONFIG is not given')
    verb.add_argument('--run-from', metavar='PATH_OR_URL',
                      help='copy a run folder from elsewhere (a path, s3://, https://, ...) and '
                      'resume it')
    verb.add_argument('--print-config', action='store_true',
                      help='print every key with its value and description as YAML, and exit')
    verb.add_argument('--dry-run', action='store_true',
                      help='build everything, run one step, print sizes, and exit')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    _refuse_contradictions(options)
    if options.print_config:
        print(_load(options).to_explained_yaml(), end='')
    elif options.dry_run:
        # Imported here: only these need PyTorch's training half.
        from mbv2ssd_train.dry_run import dry_run
        for line in dry_run(_load(options)):
            print(line)
    else:
        from mbv2ssd_train.process.distributed import join_world
        with join_world() as world:
            config = (_load_run(_fetch(options, world), options.overrides) if options.run_from
                      else _load(options))
            _train(config, options.runs, options.resume or bool(options.run_from), world)


def _fetch(options: argparse.Namespace, world: World) -> Path:
    """Copy a run, in one process for all, and return its folder."""
    from mbv2ssd_train.run.remote import fetch_run
    found = world.together(
        lambda: str(fetch_run(options.run_from, options.runs)) if world.is_main else '')
    return Path(world.gather([found])[0])


def _train(config: TrainConfig, runs: Path, resume: bool, world: World) -> None:
    from mbv2ssd_train.engine import Trainer
    trainer = Trainer(config, runs, resume, world)
    if world.is_main:
        print(f'{trainer.folder.path}: {trainer.describe()}')
        for note in filter(None, (trainer.learner.warning, trainer.data_note,
                                  trainer.start_report)):
            print(note)
        if not trainer.state.step:
            print(f'check the training images: {trainer.folder.path}/images/first_batch.png')
        sys.stdout.flush()
    trainer.run()
    if world.is_main:
        print(f'best mAP@0.5 {trainer.state.best_map:.4f} on {config.data.val}: '
              f'{trainer.folder.best}', flush=True)
        if (plots := trainer.folder.path / 'plots' / 'results.png').is_file():
            print(f'plots: {plots}', flush=True)
        if config.data.test:
            measure(str(trainer.folder.best), config.data.root, config.data.test,
                    DetectionSettings(SCORE_THRESHOLD, max_detections=MAX_DETECTIONS),
                    report=trainer.folder.path / 'report', skip_learnt=True)
        print(f'next: mbv2ssd_train export --checkpoint {trainer.folder.best} --output model.onnx')


def _refuse_contradictions(options: argparse.Namespace) -> None:
    if options.config and '=' in options.config and not Path(options.config).exists():
        # train --resume data.root=elsewhere: the configuration is that of the run
        options.config, options.overrides = None, [options.config, *options.overrides]
    if options.config and Path(options.config).is_dir():
        raise ConfigError(f'{options.config}: is a folder; to resume that run pass '
                          f'{options.config}/config.yaml and --resume')
    if options.config and Path(options.config).suffix in ('.pt', '.onnx'):
        raise ConfigError(f'{options.config}: is a model, not a configuration; pass one with '
                          f'model.weights={options.config} to start from it. To resume a run '
                          'pass its config.yaml and --resume')
    if options.print_config and options.dry_run:
        raise ConfigError('--print-config and --dry-run: one at a time')
    if options.run_from and options.config:
        raise ConfigError(
            f'--run-from uses the configuration of the run; leave {options.config} out, or set '
            'model.weights in it to start another experiment from those weights')
    if options.run_from and (options.print_config or options.dry_run):
        raise ConfigError('--run-from trains; to inspect a configuration pass the config.yaml of '
                          'the run folder')
    if not (options.config or options.resume or options.run_from):
        raise ConfigError('no configuration given; config/train/ has examples')


def _load(options: argparse.Namespace) -> TrainConfig:
    """Read the given configuration, else that of the latest run."""
    from mbv2ssd_train.config import load_config
    if options.config:
        return load_config(options.config, tuple(options.overrides))
    from mbv2ssd_train.run.folder import latest_run
    return _load_run(latest_run(options.runs), options.overrides)


def _load_run(folder: Path, overrides: list[str]) -> TrainConfig:
    """Read the configuration of a run; only paths and devices may change."""
    from mbv2ssd_train.config import load_config
    config = load_config(folder / 'config.yaml', tuple(overrides))
    if not folder.name.endswith(config.recipe_fingerprint()):
        if not overrides:
            raise ConfigError(
                f'{folder}: its configuration has the fingerprint {config.recipe_fingerprint()} '
                'here: the folder was renamed, its config.yaml changed, or this is another '
                'version of the package. Restore it, or start another run with model.weights')
        raise ConfigError(
            f'{folder}: {" ".join(overrides)} would make it another experiment; a resumed run '
            'keeps its configuration except for paths and devices (data.root, '
            'training.device, ...). Start another run from its config.yaml')
    return config
