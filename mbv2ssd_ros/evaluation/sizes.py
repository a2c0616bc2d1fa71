"""Recall by the size of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.evaluation.coco import LARGE_FROM_PX, none_for_nan, SMALL_BELOW_PX
from mbv2ssd_ros.evaluation.matching import Matches

_INF = float('inf')
Limits = tuple[tuple[str, float, float], ...]  # name, from, below
# side of a square of the object's area, in pixels of the original image: COCO's sizes
_IN_PIXELS: Limits = (
    ('small', 0.0, SMALL_BELOW_PX), ('medium', SMALL_BELOW_PX, LARGE_FROM_PX),
    ('large', LARGE_FROM_PX, _INF))
# the same as a share of a square of the image's area: what the network sees after the resize
_IN_SHARES: Limits = (
    ('up to 5 %', 0.0, 0.05), ('5 to 10 %', 0.05, 0.1), ('10 to 20 %', 0.1, 0.2),
    ('20 to 40 %', 0.2, 0.4), ('40 to 60 %', 0.4, 0.6), ('above 60 %', 0.6, _INF))


@dataclass(frozen=True)
class SizeBucket:
    """Objects of one class, or of all, in a range of sizes."""

    name: str
    objects: int
    found: int

    @property
    def recall(self) -> float:
        """Share of the objects that are found; nan without any."""
        return self.found / self.objects if self.objects else float('nan')

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {'size': self.name, 'objects': self.objects, 'found': self.found,
                'recall': none_for_nan(self.recall)}


def recall_by_pixels(matches: Matches, score_threshold: float, label: int | None
                     ) -> tuple[SizeBucket, ...]:
    """Sort the objects of one class, or of all (None), by their size in the original image."""
    return _recall(matches, matches.objects.areas_px, _IN_PIXELS, score_threshold, label)


def recall_by_share(matches: Matches, score_threshold: float, label: int | None
                    ) -> tuple[SizeBucket, ...]:
    """Sort the objects of one class, or of all (None), by their share of the image."""
    return _recall(matches, matches.objects.image_shares, _IN_SHARES, score_threshold, label)


def _recall(matches: Matches, areas: NDArray[np.float64], limits: Limits, score_threshold: float,
            label: int | None) -> tuple[SizeBucket, ...]:
    """Count all objects but difficult ones; a size on a limit belongs to the larger bucket."""
    objects, sides = matches.objects, np.sqrt(areas)
    counted = ~objects.difficult & (True if label is None else objects.labels == label)
    found = objects.found_at > score_threshold
    chosen = [(name, counted & (sides >= lower) & (sides < upper))
              for name, lower, upper in limits]
    return tuple(SizeBucket(name, int(np.count_nonzero(rows)),
                            int(np.count_nonzero(rows & found))) for name, rows in chosen)
