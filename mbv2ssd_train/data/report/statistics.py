"""Statistics of a data set: objects, sizes, shapes, coverage by priors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.image import ImageGeometry
from mbv2ssd_train.config import ModelConfig
from mbv2ssd_train.data.dataset import Dataset
from mbv2ssd_train.data.report.coverage import best_priors, Coverage, suggest_priors, Suggestion

# by box area in pixels of the original image, as COCO
BUCKETS = ('small', 'medium', 'large')
_BUCKET_ENDS = (32 ** 2, 96 ** 2)
# by the square root of the share of the image that the box takes
SHARE_ENDS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
RATIO_ENDS = (1 / 5, 1 / 3, 1 / 2, 3 / 4, 4 / 3, 2, 3, 5)  # width over height in pixels
_QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


@dataclass(frozen=True)
class Statistics:
    """A split in numbers; objects are in the order of their images."""

    split: str
    class_names: tuple[str, ...]
    sizes_hw: NDArray[np.intp]  # (I, 2) of the original images
    objects_per_image: NDArray[np.intp]  # (I,)
    labels: NDArray[np.intp]  # (N,) 1-based
    difficult: NDArray[np.bool_]  # (N,)
    boxes_xyxy: NDArray[np.float32]  # (N, 4) normalised to the original image
    seen_xyxy: NDArray[np.float32]  # (N, 4) normalised to the network input
    model: ModelConfig
    coverage: Coverage  # of all objects, the difficult ones too
    suggestion: Suggestion | None

    @cached_property
    def sides_px(self) -> NDArray[np.float64]:
        """Width and height of the boxes in pixels of their original images; (N, 2)."""
        sizes_wh = np.repeat(self.sizes_hw[:, ::-1], self.objects_per_image, axis=0)
        sides = (self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]).astype(np.float64)
        return (sides * sizes_wh).round(3)  # as annotated, before float32

    @cached_property
    def buckets(self) -> NDArray[np.intp]:
        """Index into BUCKETS of every object; (N,)."""
        return np.searchsorted(_BUCKET_ENDS, self.sides_px.prod(axis=1), side='right')

    @cached_property
    def shares(self) -> NDArray[np.float32]:
        """Square root of the share of the image that each box takes; (N,)."""
        found: NDArray[np.float32] = np.sqrt(
            (self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]).prod(axis=1))
        return found

    @cached_property
    def ratios(self) -> NDArray[np.float64]:
        """Width over height of each box in pixels; (N,)."""
        return self.sides_px[:, 0] / self.sides_px[:, 1]

    def to_dict(self) -> dict[str, Any]:
        """Return what `data stats --json` writes; difficult objects need not be covered."""
        easy = ~self.difficult
        quantiles = np.quantile(self.sides_px, _QUANTILES, axis=0) if len(self.labels) else ()
        return {
            'split': self.split, 'images': len(self.sizes_hw), 'objects': len(self.labels),
            'difficult': int(self.difficult.sum()),
            'images_without_objects': int((self.objects_per_image == 0).sum()),
            'classes': {name: self._class(label)
                        for label, name in enumerate(self.class_names, start=1)},
            'sizes': {name: self._group(easy & (self.buckets == number))
                      for number, name in enumerate(BUCKETS)},
            'shares_of_the_image': _histogram(self.shares, SHARE_ENDS),
            'aspect_ratios': _histogram(self.ratios, RATIO_ENDS),
            'objects_per_image': {str(count): images for count, images in
                                  sorted(Counter(self.objects_per_image.tolist()).items())},
            'image_sizes_wh': {f'{width}x{height}': images for (height, width), images in
                               Counter(map(tuple, self.sizes_hw.tolist())).most_common()},
            'box_quantiles': {f'{q:g}': {'width_px': float(width), 'height_px': float(height)}
                              for q, (width, height) in zip(_QUANTILES, quantiles)},
            'priors': {
                **self._group(easy),
                'levels': [{'cells_hw': list(level.feature_size_hw),
                            **self._group(easy & (self.coverage.level == number))}
                           for number, level in enumerate(self.model.prior_levels())]},
            'suggestion': self._suggested(easy)}

    def _class(self, label: int) -> dict[str, Any]:
        own = self.labels == label
        images = np.repeat(np.arange(len(self.sizes_hw)), self.objects_per_image)
        return {'images': len(np.unique(images[own])), 'difficult': int(self.difficult[own].sum()),
                **self._group(own & ~self.difficult)}

    def _group(self, members: NDArray[np.bool_]) -> dict[str, Any]:
        """Count objects and measure their coverage; JSON has no nan."""
        group = Coverage(self.coverage.best_iou[members], self.coverage.level[members])
        some = bool(members.any())
        return {'objects': int(members.sum()), 'covered': group.share if some else None,
                'mean_best_iou': group.mean_iou if some else None}

    def _suggested(self, easy: NDArray[np.bool_]) -> dict[str, Any] | None:
        if self.suggestion is None:
            return None
        model = self.suggestion.model.model_dump(mode='json')
        return {'scales': model['scales'], 'aspect_ratios': model['aspect_ratios'],
                'covered': self.suggestion.coverage.share,
                'mean_best_iou': self.suggestion.coverage.mean_iou}


def measure(dataset: Dataset, model: ModelConfig) -> Statistics:
    """Measure a split against the prior boxes of a model; reads no image."""
    records = dataset.records
    boxes = np.concatenate([record.boxes_xyxy for record in records])
    difficult = np.concatenate([record.difficult for record in records])
    sizes_hw = np.array([record.size_hw for record in records])
    counts = np.array([len(record.labels) for record in records])
    seen = _as_the_network_sees(boxes, np.repeat(sizes_hw, counts, axis=0), model)
    return Statistics(
        dataset.name, dataset.class_names, sizes_hw, counts,
        np.concatenate([record.labels for record in records]), difficult, boxes, seen, model,
        best_priors(model.prior_levels(), seen), suggest_priors(model, seen[~difficult]))


def _as_the_network_sees(boxes_xyxy: NDArray[np.float32], sizes_hw: NDArray[np.intp],
                         model: ModelConfig) -> NDArray[np.float32]:
    if model.resize_mode == 'stretch':
        return boxes_xyxy
    seen = np.empty_like(boxes_xyxy)
    for height, width in np.unique(sizes_hw, axis=0).tolist():
        rows = (sizes_hw == (height, width)).all(axis=1)
        geometry = ImageGeometry((height, width), model.input_size_hw, model.resize_mode)
        seen[rows] = geometry.to_network(
            boxes_xyxy[rows] * np.array([width, height] * 2, dtype=np.float32))
    return seen


def _histogram(values: NDArray[Any], ends: Sequence[float]) -> dict[str, int]:
    """Count values up to each end, and above the last."""
    counts = np.bincount(np.searchsorted(ends, values), minlength=len(ends) + 1)
    names = [f'<={end:.3g}' for end in ends] + [f'>{ends[-1]:.3g}']
    return {name: int(count) for name, count in zip(names, counts)}
