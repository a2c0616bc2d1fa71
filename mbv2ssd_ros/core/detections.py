"""From the two outputs of a model to the objects in an image: thresholds, NMS, a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from operator import itemgetter
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import BackendError, ConfigError, ShapeError
from mbv2ssd_ros.core.image import ImageGeometry
from mbv2ssd_ros.core.nms import nms_best_first

_score_of = itemgetter(0)
_Candidate = tuple[float, int, int]  # score, label, row of the prior
_Found = tuple[list[float], float, int]  # box as the model gives it, score, label

# What an evaluation keeps for its curves, which end where detections were dropped.
CURVE_THRESHOLD, CURVE_MAX_DETECTIONS = 0.02, 200

# Both a score and its background may be rounded up, to fp16 or to whole 255ths.
_ROUNDING = 5e-3
# Up to this many priors plain Python finds the candidates faster than numpy.
_FEW_ROWS = 64
_NONSENSE = 'The model computes nonsense: export it again, or try another backend or precision.'


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, best first."""

    boxes_xyxy: NDArray[np.float32]  # (K, 4), normalised or pixels, as the maker documents
    scores: NDArray[np.float32]  # (K,) in [0, 1], descending
    labels: NDArray[np.intp]  # (K,) index into the contract's class_names
    ids: NDArray[np.int64] | None = None  # (K,) of tracks, 0 without one; None: not tracked

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.ids is not None and self.ids.shape != (count,):
            raise ShapeError(f'detections with {count} scores need ids ({count},), found '
                             f'{self.ids.shape}')
        if self.boxes_xyxy.shape != (count, 4) or self.labels.shape != (count,):
            raise ShapeError(
                f'detections with {count} scores need boxes ({count}, 4) and labels ({count},), '
                f'found {self.boxes_xyxy.shape} and {self.labels.shape}')

    def __len__(self) -> int:
        return len(self.scores)

    def track_names(self) -> list[str]:
        """Return the ids as text, '' without one."""
        if self.ids is None:
            return [''] * len(self)
        return [str(number) if number else '' for number in self.ids.tolist()]


@dataclass(frozen=True)
class DetectionSettings:
    """What counts as a detection: run-time settings, checked; thresholds are in [0, 1]."""

    score_threshold: float = 0.35
    nms_iou: float = 0.45
    max_detections: int = 100
    max_candidates: int = 400  # before NMS, whose cost grows with their square
    class_allow: frozenset[str] | None = None  # None: every class
    class_thresholds: tuple[tuple[str, float], ...] = ()  # replaces score_threshold for a class
    class_agnostic: bool = False  # True: NMS over all classes together

    def __post_init__(self) -> None:
        for name, value in (('score_threshold', self.score_threshold), ('nms_iou', self.nms_iou),
                            *((f'class_thresholds[{c}]', t) for c, t in self.class_thresholds)):
            if not 0 <= value <= 1:
                raise ConfigError(f'{name} is {value}, expected a number from 0 to 1')
        for name, count in (('max_detections', self.max_detections),
                            ('max_candidates', self.max_candidates)):
            if count < 1:
                raise ConfigError(f'{name} is {count}, expected at least 1')
        seen: dict[str, float] = {}
        for name, threshold in self.class_thresholds:
            if name in seen:
                raise ConfigError(
                    f'class_thresholds names {name!r} twice, with {seen[name]} and {threshold}')
            seen[name] = threshold


class DetectionSelector:
    """
    Settings resolved for one model's classes: what `select` needs for each frame.

    ConfigError where the settings name a class that the model does not know.
    """

    def __init__(self, contract: ModelContract, settings: DetectionSettings) -> None:
        self.settings = settings
        self._contract = contract
        self._thresholds = np.full(contract.num_classes, settings.score_threshold, np.float32)
        for name, threshold in settings.class_thresholds:
            self._thresholds[self._index(name, 'class_thresholds')] = threshold
        if settings.class_allow is not None:
            allowed = [self._index(name, 'class_allow') for name in sorted(settings.class_allow)]
            refused = np.ones(contract.num_classes, dtype=bool)
            refused[allowed] = False
            self._thresholds[refused] = np.inf
        if contract.background_index is not None:
            self._thresholds[contract.background_index] = np.inf
        self._plain_thresholds: list[float] = self._thresholds.tolist()
        # A class above t leaves less than 1 - t for the background. An array, because numpy takes
        # 10 us longer to compare with a number.
        self._background_below = np.array(
            1.0 - float(self._thresholds.min()) + _ROUNDING, np.float32)

    def admits(self, detections: Detections) -> NDArray[np.bool_]:
        """Return (K,): which of some detections have a score above their class's threshold."""
        return detections.scores > self._thresholds[detections.labels]

    def select(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> Detections:
        """
        Find at most `max_detections` objects, in the coordinates of `boxes`.

        boxes (P, 4) float32 xyxy are normalised to the network input, scores (P, C) float32 are
        probabilities. The background column comes first: it alone rules out nearly all priors, and
        reading one column costs a tenth of reading all. BackendError where a candidate's score is
        no probability or its box is not finite: an empty result would look like an empty scene.
        """
        found = self._found(boxes, scores)
        return _detections([box for box, _, _ in found], found)

    def select_in_source(self, boxes: NDArray[np.float32], scores: NDArray[np.float32],
                         geometry: ImageGeometry) -> Detections:
        """As select, in source pixels; boxes only in a letterbox's padding are left out."""
        found = self._found(boxes, scores)
        inside = _detections([geometry.to_source_box(*box) for box, _, _ in found], found)
        seen = [index for index, (x1, y1, x2, y2) in enumerate(inside.boxes_xyxy.tolist())
                if x2 > x1 and y2 > y1]
        if len(seen) == len(found):
            return inside
        return Detections(inside.boxes_xyxy[seen], inside.scores[seen], inside.labels[seen])

    def _found(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> list[_Found]:
        """
        Find the objects, best first.

        In plain Python as soon as few numbers are left: caches are cold after an inference, and
        then each step of numpy takes longer than such a list.
        """
        candidates = self._candidates(scores)
        if not candidates:
            return []
        candidates.sort(key=_score_of, reverse=True)  # equal ones stay in their order
        # a sum with nan is nan, and nan makes the order meaningless
        if candidates[0][0] > 1 + _ROUNDING or math.isnan(sum(map(_score_of, candidates))):
            self._refuse_score(candidates)
        del candidates[self.settings.max_candidates:]
        values, labels, rows = zip(*candidates)
        corners = boxes.take(rows, 0).tolist()
        if not math.isfinite(sum(map(sum, corners))):
            _refuse_box(rows, corners)
        classes = [0] * len(labels) if self.settings.class_agnostic else labels
        kept = nms_best_first(corners, classes, self.settings.nms_iou)
        return [(corners[index], values[index], labels[index])
                for index in kept[:self.settings.max_detections]]

    def _candidates(self, scores: NDArray[np.float32]) -> list[_Candidate]:
        """
        Return the scores above their class's threshold, and NaN scores.

        Equal scores come in the order of their priors; of many scores the best are enough.
        Written as 'not at most', because a comparison with NaN is false.
        """
        background = self._contract.background_index
        if background is None:
            # numpy finds flat indices in a whole table several times as fast as pairs
            flat = np.flatnonzero(~(scores <= self._thresholds))
            return self._candidates_at(scores, *np.divmod(flat, self._contract.num_classes))
        rows = (~(scores[:, background] >= self._background_below)).nonzero()[0]
        if len(rows) > _FEW_ROWS:
            above, labels = (~(scores[rows] <= self._thresholds)).nonzero()
            return self._candidates_at(scores, rows[above], labels)
        thresholds = self._plain_thresholds
        return [(score, label, row) for row in rows.tolist()
                for label, score in enumerate(scores[row].tolist())
                if not score <= thresholds[label]]

    def _candidates_at(self, scores: NDArray[np.float32], rows: NDArray[np.intp],
                       labels: NDArray[np.intp]) -> list[_Candidate]:
        """Return the best of many candidates, or all when a score is NaN."""
        values = scores[rows, labels]
        best_first = (-values).argsort(kind='stable')[:self.settings.max_candidates]
        if not np.isnan(values).any():
            rows, labels, values = rows[best_first], labels[best_first], values[best_first]
        return list(zip(values.tolist(), labels.tolist(), rows.tolist(), strict=True))

    def _refuse_score(self, candidates: list[_Candidate]) -> NoReturn:
        score, label, row = next(one for one in candidates if not one[0] <= 1 + _ROUNDING)
        raise BackendError(
            f'the score of prior {row}, class {self._contract.class_names[label]!r} is {score}, '
            f'expected a probability. {_NONSENSE}')

    def _index(self, name: str, parameter: str) -> int:
        if name not in self._contract.object_names:
            raise ConfigError(
                f'{parameter}: the model knows no class {name!r}; it knows '
                f'{", ".join(self._contract.object_names)}')
        return self._contract.class_names.index(name)


def _detections(boxes: Sequence[Sequence[float]], found: Sequence[_Found]) -> Detections:
    _, scores, labels = zip(*found) if found else ((), (), ())
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
                      np.array(labels, np.intp))


def _refuse_box(rows: Sequence[int], boxes: Sequence[Sequence[float]]) -> NoReturn:
    row, box = next((row, box) for row, box in zip(rows, boxes, strict=True)
                    if not all(map(math.isfinite, box)))
    raise BackendError(
        f'the box of prior {row} is {box}, expected four finite numbers. {_NONSENSE}')
