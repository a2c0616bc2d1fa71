"""`mbv2ssd_train train`: learn from annotated images."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'train', help='learn from annotated images',
        description='Train a detector. The run folder RUNS/NAME_FINGERPRINT holds the whole '
        'configuration, metrics.jsonl, status.json and the checkpoints last.pt and best.pt.')
    verb.add_argument('config', help='YAML; config/train/ has examples')
    verb.add_argument('overrides', nargs='*', metavar='key.path=value',
                      help='replace a value of the file, e.g. training.epochs=5')
    verb.add_argument('--runs', type=Path, default=Path('runs'), help='parent of the run folders')
    verb.add_argument('--resume', action='store_true', help='go on with this very experiment')
    verb.add_argument('--print-config', action='store_true',
                      help='print every key with its value and meaning, as YAML, and stop')
    verb.add_argument('--dry-run', action='store_true',
                      help='build everything, make one step, print sizes and stop')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_train.config import load_config
    config = load_config(options.config, tuple(options.overrides))
    if options.print_config:
        print(config.to_explained_yaml(), end='')
        return
    # Imported here: only this needs PyTorch's training half.
    from mbv2ssd_train.dry_run import dry_run
    from mbv2ssd_train.engine import Trainer
    if options.dry_run:
        for line in dry_run(config):
            print(line)
        return
    trainer = Trainer(config, options.runs, options.resume)
    print(f'{trainer.folder.path}: {trainer.describe()}')
    print(f'look at what it learns from: {trainer.draw_first_batch()}')
    trainer.run()
    print(f'best mAP@0.5 {trainer.best_map:.4f} on {config.data.val}: {trainer.folder.best}\n'
          f'next: mbv2ssd_train export --checkpoint {trainer.folder.best} --output model.onnx')
