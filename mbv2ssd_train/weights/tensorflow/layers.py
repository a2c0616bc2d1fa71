"""The layers of a TensorFlow graph under this package's names, BatchNorm folded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.weights.graph_model import Weights
from mbv2ssd_train.weights.tensorflow.keys import normalised_layers

_EPS = 1e-3  # of TensorFlow's BatchNorms

Array = NDArray[Any]


class Graph:
    """The arrays of a graph; keeps track of float32 ones not yet taken (int32 ones steer it)."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._left = {name for name, value in weights.items() if value.dtype == np.float32}

    def __contains__(self, name: str) -> bool:
        return name in self._weights

    def take(self, name: str, dimensions: int) -> Array:
        """Return an array; DataError if it is missing or has other `dimensions`."""
        value = self._weights.get(name)
        if value is None or value.ndim != dimensions:
            found = 'nothing' if value is None else f'the shape {value.shape}'
            raise DataError(f'expected {name!r} with {dimensions} dimensions, found {found}')
        self._left.discard(name)
        return value

    def require_all_taken(self) -> None:
        """Raise DataError if weights were not taken: the graph has more than the network."""
        if self._left:
            raise DataError(f'it has {len(self._left)} unknown weights, such as '
                            f'{min(self._left)!r}')


def folded_layers(graph: Graph) -> dict[str, Tensor]:
    """
    Return weight and bias of all convolutions but the predictors; DataError if one is missing.

    Most BatchNorms of the graph are folded already, fully or partly.
    """
    folded = {}
    for ours, scope in normalised_layers():
        if f'{scope}/depthwise_weights' in graph:
            kernel = graph.take(f'{scope}/depthwise_weights', 4).transpose(2, 3, 0, 1)
            gain, shift = _normalisation(graph, f'{scope}/BatchNorm')
            kernel = kernel * gain[:, None, None, None]
        else:
            kernel = graph.take(f'{scope}/Conv2D/merged_input', 4).transpose(3, 2, 0, 1)
            shift = graph.take(f'{scope}/BatchNorm/batchnorm/sub', 1)
        folded[f'{ours}.weight'], folded[f'{ours}.bias'] = tensor(kernel), tensor(shift)
    return folded


def _normalisation(graph: Graph, scope: str) -> tuple[Array, Array]:
    """Return gain and shift of a BatchNorm that is partly folded, or not at all."""
    if f'{scope}/gamma' not in graph:
        return graph.take(f'{scope}/batchnorm/mul', 1), graph.take(f'{scope}/batchnorm/sub', 1)
    mean, variance = (graph.take(f'{scope}/moving_{name}', 1) for name in ('mean', 'variance'))
    gain = graph.take(f'{scope}/gamma', 1) / np.sqrt(variance + _EPS)
    return gain, graph.take(f'{scope}/beta', 1) - mean * gain


def tensor(values: Array) -> Tensor:
    """Copy an array to float32."""
    return torch.from_numpy(np.array(values, np.float32, order='C'))
