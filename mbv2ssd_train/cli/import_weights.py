"""`mbv2ssd_train import-weights`: torchvision's detectors as checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path

# The keys of torchvision_detectors.DETECTORS, which needs PyTorch: --help does without.
ARCHITECTURES = ('ssd300_vgg16', 'ssdlite320_mobilenet_v3_large')


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'import-weights', help="turn weights of torchvision's SSD detectors into a checkpoint",
        description="Turn a state dict of one of torchvision's detectors into a checkpoint that "
        'eval, predict and export take, and that training begins with by model.weights. Ids that '
        'COCO never used keep their column under the name `unused ID`.')
    verb.add_argument('architecture', choices=ARCHITECTURES, help="torchvision's name for it")
    verb.add_argument('--weights', required=True, type=Path,
                      help='state dict (.pth or .safetensors)')
    verb.add_argument('--output', required=True, type=Path, help='of the checkpoint (.pt)')
    verb.add_argument('--classes', nargs='+', metavar='NAME',
                      help="its classes in the order of its labels (default: COCO's 90)")
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from mbv2ssd_ros.core.errors import ConfigError
    from mbv2ssd_train.durable import partial_of, put_in_place
    from mbv2ssd_train.models import CHECKPOINT_SUFFIXES
    from mbv2ssd_train.weights.torchvision_import import import_weights
    if options.output.suffix not in CHECKPOINT_SUFFIXES:
        raise ConfigError(f'{options.output}: the name of a checkpoint ends in '
                          f'{" or ".join(CHECKPOINT_SUFFIXES)}')
    checkpoint = import_weights(options.architecture, options.weights, options.classes)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(partial_of(options.output))
    put_in_place(partial_of(options.output), options.output)
    print(f'{options.output}: {options.architecture} with {len(checkpoint.class_names)} classes\n'
          f'next: mbv2ssd_train export --checkpoint {options.output} --output model.onnx, or set '
          f'model.weights={options.output} to learn on')
