"""From the two outputs of a model to the objects in an image: thresholds, NMS, a fixed order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
import math
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.errors import BackendError, ConfigError, ShapeError
from mbv2ssd_ros.core.nms import nms_best_first

# Both a score and its background may be rounded up, to fp16 or to whole 255ths.
_ROUNDING = 5e-3
_NONSENSE = 'The model computes nonsense: export it again, or try another backend or precision.'


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, best first."""

    boxes_xyxy: NDArray[np.float32]  # (K, 4), normalised or pixels: the maker says which
    scores: NDArray[np.float32]  # (K,) in [0, 1], descending
    labels: NDArray[np.intp]  # (K,) index into the contract's class_names

    def __post_init__(self) -> None:
        count = len(self.scores)
        if self.boxes_xyxy.shape != (count, 4) or self.labels.shape != (count,):
            raise ShapeError(
                f'detections with {count} scores need boxes ({count}, 4) and labels ({count},), '
                f'found {self.boxes_xyxy.shape} and {self.labels.shape}')

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class DetectionSettings:
    """
    What counts as a detection: the run-time parameters that are not baked into a model.

    Checked when made. Thresholds are probabilities in [0, 1].
    """

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
    """Settings applied to one model's classes: what `select` needs for each frame, ready made."""

    def __init__(self, contract: ModelContract, settings: DetectionSettings) -> None:
        """
        Resolve class names.

        Args:
            contract: of the model.
            settings: what counts as a detection.

        Raises:
            ConfigError: a class name that the model does not know.
        """
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
        # A class above t leaves less than 1 - t for the background. An array, because numpy takes
        # 10 us longer to compare with a number.
        self._background_below = np.array(
            1.0 - float(self._thresholds.min()) + _ROUNDING, np.float32)

    def select(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> Detections:
        """
        Find the objects in one image's outputs.

        Looks at the background column first: it alone rules out nearly all priors, and reading
        one column costs a tenth of reading all.

        Args:
            boxes: (P, 4) float32 xyxy, normalised to the network input.
            scores: (P, C) float32 probabilities.

        Returns:
            At most `max_detections`, in the coordinates of `boxes`.

        Raises:
            BackendError: a candidate's score is no probability or its box is not finite, so the
                model computes nonsense; an empty result would look like an empty scene.
        """
        rows, labels = self._candidates(scores)
        if len(rows) == 0:
            return _nothing()
        values = scores[rows, labels]
        best_first = (-values).argsort(kind='stable')  # nan comes last
        best, worst = values.item(best_first[0]), values.item(best_first[-1])
        if not best <= 1 + _ROUNDING or worst != worst:
            self._refuse_score(rows, labels, values)
        best_first = best_first[:self.settings.max_candidates]
        rows, labels, values = rows[best_first], labels[best_first], values[best_first]
        found = boxes[rows]
        # From here on plain Python: with few candidates and cold caches each call of numpy
        # takes longer than the whole list.
        corners = found.tolist()
        if not all(map(math.isfinite, chain.from_iterable(corners))):
            _refuse_box(rows, found)
        classes = [0] * len(corners) if self.settings.class_agnostic else labels.tolist()
        kept = nms_best_first(corners, classes, self.settings.nms_iou)
        index = np.array(kept[:self.settings.max_detections], dtype=np.intp)
        return Detections(found[index], values[index], labels[index])

    def _candidates(self, scores: NDArray[np.float32]
                    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """
        Return rows and columns of the scores above their class's threshold, and those of nan.

        Written as 'not at most', because a comparison with nan is false.
        """
        background = self._contract.background_index
        if background is None:
            # numpy finds flat indices in a whole table several times as fast as pairs
            flat = np.flatnonzero(~(scores <= self._thresholds))
            row, label = np.divmod(flat, self._contract.num_classes)
            return row, label
        rows = (~(scores[:, background] >= self._background_below)).nonzero()[0]
        if len(rows) == 0:  # most frames of most cameras
            return rows, rows
        # the same comparison once more: its code is in the caches now
        row, label = (~(self._thresholds >= scores[rows])).nonzero()
        return rows[row], label

    def _refuse_score(self, rows: NDArray[np.intp], labels: NDArray[np.intp],
                      values: NDArray[np.float32]) -> NoReturn:
        first = int(np.argmin(values <= 1 + _ROUNDING))
        raise BackendError(
            f'the score of prior {rows[first]}, class '
            f'{self._contract.class_names[labels[first]]!r} is {values[first]}, expected a '
            f'probability. {_NONSENSE}')

    def _index(self, name: str, parameter: str) -> int:
        if name not in self._contract.object_names:
            raise ConfigError(
                f'{parameter}: the model knows no class {name!r}; it knows '
                f'{", ".join(self._contract.object_names)}')
        return self._contract.class_names.index(name)


def _nothing() -> Detections:
    return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.intp))


def _refuse_box(rows: NDArray[np.intp], boxes: NDArray[np.float32]) -> NoReturn:
    first = int(np.argmin(np.isfinite(boxes).all(axis=1)))
    raise BackendError(
        f'the box of prior {rows[first]} is {boxes[first].tolist()}, expected four finite '
        f'numbers. {_NONSENSE}')
