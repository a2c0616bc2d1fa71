"""The predictors of a TensorFlow graph, for the order and encoding of this package's priors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_ros.core.priors import level_priors, PriorLevel
from mbv2ssd_train.weights.tensorflow.keys import class_scope, loc_scope, PRIORS, SIZE_VARIANCE
from mbv2ssd_train.weights.tensorflow.layers import Array, Graph, tensor

_SAME_SHAPE = 1e-3  # relative; TensorFlow's ratio 1/3 is 0.3333


def predictors(
        graph: Graph, levels: Sequence[PriorLevel], columns: Sequence[int]) -> dict[str, Tensor]:
    """
    Return weight and bias of the predictors of all maps, for the priors of `levels`.

    Of the class predictors the score `columns` are kept: a sigmoid of one does not depend on the
    others. DataError: a layer is missing, or the prior boxes of the graph are others.
    """
    left, count = _priors(graph), sum(level.count for level in levels)
    if len(left) != count:
        raise DataError(f'it has {len(left)} prior boxes, expected {count}')
    found = {}
    for number, level in enumerate(levels):
        order, growth = _compare(left[:level.count], level)
        left = left[level.count:]
        loc = _our_offsets(_predictor(graph, loc_scope(number), order), growth)
        scores = _predictor(graph, class_scope(number), order)[:, list(columns)]
        for name, values in (('loc_heads', loc), ('conf_heads', scores)):
            rows = values.reshape(-1, values.shape[-1])
            found[f'{name}.{number}.1.weight'] = tensor(rows[:, :-1, None, None])
            found[f'{name}.{number}.1.bias'] = tensor(rows[:, -1])
    return found


def _priors(graph: Graph) -> Array:
    """Return (P, 4) cxcywh."""
    corners = graph.take(PRIORS, 3)[0, :, [1, 0, 3, 2]].T.astype(np.float64)
    low, high = corners[:, :2], corners[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def _compare(theirs: Array, level: PriorLevel) -> tuple[list[int], Array]:
    """Return the order of their shapes as ours, and their sizes relative to ours, (A, 2)."""
    ours = level_priors(level).astype(np.float64).reshape(-1, len(level.shapes_wh), 4)
    theirs = theirs.reshape(ours.shape)
    distance = np.abs(np.log(theirs[0, None, :, 2:] / ours[0, :, None, 2:])).sum(axis=2)
    order: list[int] = distance.argmin(axis=1).tolist()
    theirs = theirs[:, order]
    if not (np.allclose(theirs[..., 2:], ours[..., 2:], rtol=_SAME_SHAPE)
            and np.allclose(theirs[..., :2], ours[..., :2], atol=1e-5)):
        raise DataError(f'its prior boxes on the map of {level.feature_size_hw} cells are others')
    return order, theirs[0, :, 2:] / ours[0, :, 2:]


def _predictor(graph: Graph, scope: str, order: Sequence[int]) -> Array:
    """Return (A, values, C + 1): the weights of the shapes of a cell, the bias at the end."""
    kernel, bias = graph.take(f'{scope}/weights', 4)[0, 0], graph.take(f'{scope}/biases', 1)
    if kernel.shape[1] != len(bias) or len(bias) % len(order):
        raise DataError(f'its predictor {scope!r} has {kernel.shape[1]} outputs and {len(bias)} '
                        f'biases for {len(order)} prior boxes a cell')
    rows = np.concatenate([kernel, bias[None]]).T
    return rows.reshape(len(order), -1, len(kernel) + 1)[order]


def _our_offsets(values: Array, growth: Array) -> Array:
    """
    Convert predictors (A, 4, C + 1) of dy, dx, dh, dw to dx, dy, dw, dh that mean the same boxes.

    growth: (A, 2), width and height of their prior boxes relative to ours.
    """
    changed = values[:, [1, 0, 3, 2]].astype(np.float64)
    changed[:, :2] *= growth[:, :, None]
    changed[:, 2:, -1] += np.log(growth) / SIZE_VARIANCE
    return changed
