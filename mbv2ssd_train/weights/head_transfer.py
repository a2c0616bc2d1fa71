"""
Transfer of heads between detectors: boxes by prior, classes by name.

Without the transfer, one different class or prior box would reset the heads to random weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
import math

import torch
from torch import Tensor

from mbv2ssd_ros.core.priors import Shape
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.model.heads import NO_OBJECT_LOGIT

# COCO names: VOC names
_SYNONYMS = {'airplane': 'aeroplane', 'motorcycle': 'motorbike', 'dining table': 'diningtable',
             'potted plant': 'pottedplant', 'couch': 'sofa', 'tv': 'tvmonitor'}
# Size counts less than aspect: a predictor of tall boxes does not suit wide ones, but its bias
# corrects another size.
_SIZE_SHARE = 0.3
_HEADS = ('loc_heads', 'conf_heads')
_PREDICTORS = {'ssdlite': ('1.weight', '1.bias'), 'ssd': ('weight', 'bias')}


@dataclass(frozen=True)
class Scores:
    """The meaning of the columns of a network's class predictions."""

    classes: tuple[str, ...]  # without the background
    sigmoid: bool

    @property
    def columns(self) -> int:
        """Number of scores; a softmax has one for the background."""
        return len(self.classes) + (0 if self.sigmoid else 1)

    def difference(self, wanted: Scores) -> str:
        """Return why class predictions do not fit `wanted`, '' where they do."""
        if self.sigmoid != wanted.sigmoid:
            names = {False: 'softmax', True: 'sigmoid'}
            return f'{names[self.sigmoid]} -> {names[wanted.sigmoid]} scores'
        if self.columns != wanted.columns:
            return f'{self.columns} -> {wanted.columns} columns of scores'
        return '' if self.classes == wanted.classes else 'other classes'

    def index(self, name: str) -> int | None:
        """Find a class, also by its synonym; None where it is unknown."""
        known = [_SYNONYMS.get(one, one) for one in self.classes]
        wanted = _SYNONYMS.get(name, name)
        return known.index(wanted) if wanted in known else None


    def knows_one_of(self, names: Sequence[str]) -> bool:
        """Return whether any of these classes has a column."""
        return any(self.index(name) is not None for name in names)


@dataclass(frozen=True)
class HeadLayout:
    """The meaning of the rows of a network's predictors."""

    model: ModelConfig
    scores: Scores

    def shapes(self) -> list[tuple[Shape, ...]]:
        """Return the prior shapes of each map."""
        return [level.shapes_wh for level in self.model.prior_levels()]

    def differences(self, other: HeadLayout) -> list[str]:
        """Describe, for the log, what must be translated for the other network."""
        same_boxes = (self.shapes() == other.shapes()
                      and self.model.variances == other.model.variances
                      and self.model.first_stride == other.model.first_stride)
        changes = [] if same_boxes else ['boxes to the most similar priors']
        if self.scores.difference(other.scores):
            known = [name for name in other.scores.classes if self.scores.index(name) is not None]
            new = [name for name in other.scores.classes if name not in known]
            if known:
                changes.append(f'{len(known)} classes by name' + (
                    f', new {", ".join(new)}' if new else ''))
        return changes


def translate_heads(found: Mapping[str, Tensor], source: HeadLayout, target: HeadLayout
                    ) -> dict[str, Tensor]:
    """
    Translate predictors to the prior boxes and classes of another network.

    The predictors of a map come from the map of the same stride, those of a prior from the most
    similar one, scaled so that they decode to the same boxes, and those of a class from the class
    of that name. An unknown class or map starts with low scores: false detections of one map
    would dominate the loss.

    Returns:
        Weights by the names of the target. Maps unknown to the source have only the bias of their
        class predictors; there are no class predictors where it knows none of the classes.
    """
    translated = {name: value for name, value in found.items()
                  if name.partition('.')[0] not in _HEADS}
    predictors = _PREDICTORS[source.model.head]
    knows_a_class = source.scores.knows_one_of(target.scores.classes)
    if knows_a_class:
        bias = _PREDICTORS[target.model.head][1]
        translated.update({f'conf_heads.{level}.{bias}': _nothing(target.scores, len(shapes))
                           for level, shapes in enumerate(target.shapes())})
    for ours, theirs, priors in _matched_maps(source, target):
        for part in _HEADS:
            for layer, value in _layers_of(found, f'{part}.{theirs}.'):
                if layer in predictors and part == 'loc_heads':
                    value = _translate_boxes(value, priors, source.model, target.model)
                elif layer in predictors and not knows_a_class:
                    continue
                elif layer in predictors:
                    value = _translate_classes(value, priors, source.scores, target.scores)
                translated[f'{part}.{ours}.{layer}'] = value
    return translated


def _nothing(scores: Scores, shapes: int) -> Tensor:
    """Return the (shapes * columns,) bias of a map that expects no object."""
    bias = torch.full((shapes, scores.columns), NO_OBJECT_LOGIT)
    if not scores.sigmoid:
        bias[:, 0] = 0.0
    return bias.flatten()


@dataclass(frozen=True)
class _MatchedPrior:
    """A prior shape of the target and the most similar one of the source."""

    shape: Shape
    theirs: Shape
    index: int  # of theirs, in its map
    of: int  # shapes of that map


def _matched_maps(source: HeadLayout, target: HeadLayout
                  ) -> Iterator[tuple[int, int, list[_MatchedPrior]]]:
    """Yield target level, source level and matched priors of maps of the same stride."""
    theirs = source.shapes()
    finer = round(math.log2(target.model.first_stride / source.model.first_stride))
    for level, shapes in enumerate(target.shapes()):
        if 0 <= level + finer < len(theirs):
            candidates = theirs[level + finer]
            yield level, level + finer, [_match(shape, candidates) for shape in shapes]


def _match(shape: Shape, candidates: Sequence[Shape]) -> _MatchedPrior:
    def difference(index: int) -> float:
        wider, higher = (math.log(theirs / ours)
                         for theirs, ours in zip(candidates[index], shape, strict=True))
        return abs(wider - higher) + _SIZE_SHARE * abs(wider + higher)
    index = min(range(len(candidates)), key=difference)
    return _MatchedPrior(shape, candidates[index], index, len(candidates))


def _layers_of(weights: Mapping[str, Tensor], prefix: str) -> list[tuple[str, Tensor]]:
    return [(name.removeprefix(prefix), value) for name, value in weights.items()
            if name.startswith(prefix)]


def _rows_of(value: Tensor, priors: Sequence[_MatchedPrior]) -> Tensor:
    """Return rows (P, V, ...) of the matched priors from (A * V, ...)."""
    rows = value.reshape(priors[0].of, -1, *value.shape[1:])
    return rows[[prior.index for prior in priors]]


def _translate_boxes(value: Tensor, priors: Sequence[_MatchedPrior], source: ModelConfig,
                     target: ModelConfig) -> Tensor:
    """Scale predictions to gain * t + offset, which decode to the same boxes (SSD, eq. 2)."""
    rows = _rows_of(value, priors)
    (centre, size), (our_centre, our_size) = source.variances, target.variances
    ratios = torch.tensor([[theirs / ours for theirs, ours in zip(prior.theirs, prior.shape,
                                                                  strict=True)]
                           for prior in priors])  # (P, 2) of widths and of heights
    gain = torch.cat([ratios * centre / our_centre, torch.full_like(ratios, size / our_size)], 1)
    rows = rows * gain.reshape(*gain.shape, *[1] * (rows.ndim - 2))
    if value.ndim == 1:
        rows = rows + torch.cat([torch.zeros_like(ratios), ratios.log() / our_size], 1)
    return rows.reshape(-1, *value.shape[1:])


def _translate_classes(value: Tensor, priors: Sequence[_MatchedPrior], source: Scores,
                       target: Scores) -> Tensor:
    """Order the logits of the classes, each relative to that of the background."""
    rows = _rows_of(value, priors)
    nothing = torch.zeros_like(rows[:, 0]) if source.sigmoid else rows[:, 0]
    first = source.columns - len(source.classes)
    new = torch.full_like(nothing, NO_OBJECT_LOGIT if value.ndim == 1 else 0.0)
    found = [source.index(name) for name in target.classes]
    logits = [new if index is None else rows[:, first + index] - nothing for index in found]
    columns = logits if target.sigmoid else [nothing, *(logit + nothing for logit in logits)]
    return torch.stack(columns, 1).reshape(-1, *value.shape[1:])
