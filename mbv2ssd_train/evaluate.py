"""mAP of any backend, with the run time's own resize, thresholds, NMS and metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
import threading
from typing import Any

import numpy as np

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.detections import Detections, DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.metrics import (
    mean_ap,
    mean_ap_11point,
    precision_recall,
    PrecisionRecall,
)
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.evaluation.results import ImageResult, in_order
from mbv2ssd_train.data.dataset import Dataset, ImageRecord

MATCH_IOU = 0.5
Progress = Callable[[Iterable[Any], int], Iterable[Any]]  # items and their number


@dataclass(frozen=True)
class Evaluation:
    """The measurement and its data."""

    split: str
    images: int
    class_names: tuple[str, ...]
    curves: dict[int, PrecisionRecall]  # by 1-based label
    results: tuple[ImageResult, ...] = field(repr=False)  # in the order of the data

    @property
    def map_50(self) -> float:
        """mAP at IoU 0.5, area under the curve."""
        return mean_ap(self.curves)

    @property
    def map_50_11point(self) -> float:
        """mAP at IoU 0.5, VOC2007's eleven points."""
        return mean_ap_11point(self.curves)

    def to_dict(self) -> dict[str, Any]:
        """Return what `eval --json` writes."""
        return {
            'split': self.split, 'images': self.images, 'match_iou': MATCH_IOU,
            'map_50': self.map_50, 'map_50_11point': self.map_50_11point,
            # a class without objects has no AP, and JSON has no nan
            'ap_50': {self.class_names[label - 1]: curve.average_precision
                      if curve.num_objects else None for label, curve in self.curves.items()},
            'objects': {self.class_names[label - 1]: curve.num_objects
                        for label, curve in self.curves.items()}}


def evaluate(backend: Backend, dataset: Dataset, settings: DetectionSettings,
             progress: Progress = lambda items, total: items) -> Evaluation:
    """
    Measure a model on a data set; use a low score threshold, so that the curve reaches its end.

    Raises ConfigError where classes or their order differ.
    """
    return summarise(dataset, detect_all(backend, dataset, settings, progress))


def summarise(dataset: Dataset, results: Iterable[ImageResult]) -> Evaluation:
    """
    Combine the results of one or more processes, in any order.

    Raises DataError where an image is missing or repeated.
    """
    ordered = in_order(results, len(dataset))
    labels = range(1, len(dataset.class_names) + 1)
    curves = precision_recall((result.pair for result in ordered), labels, MATCH_IOU)
    return Evaluation(dataset.name, len(dataset), dataset.class_names, curves, ordered)


def detect_all(backend: Backend, dataset: Dataset, settings: DetectionSettings,
               progress: Progress = lambda items, total: items,
               indices: Sequence[int] | None = None) -> Iterator[ImageResult]:
    """
    Iterate over picklable results in the order of the indices, on the threads of the backend.

    Process k of n takes the indices range(k, len, n): every image is detected exactly once, with
    no padding of shares. Raises ConfigError where classes or their order differ.
    """
    names = backend.contract.object_names
    if names != dataset.class_names:
        raise ConfigError(
            f'the model knows {", ".join(names)}; the data set {dataset.name} is read with '
            f'{", ".join(dataset.class_names)}. Open it with the classes of the model')
    chosen = range(len(dataset)) if indices is None else indices
    return _detect(backend, dataset, settings, progress, chosen)


def _detect(backend: Backend, dataset: Dataset, settings: DetectionSettings,
            progress: Progress, indices: Sequence[int]) -> Iterator[ImageResult]:
    per_thread = threading.local()
    shift = backend.contract.label_offset

    def detect(batch: Sequence[int]) -> list[ImageResult]:
        if not hasattr(per_thread, 'detector'):
            per_thread.detector = Detector(backend, settings)
        images = [SourceImage(dataset.image(index), 'bgr') for index in batch]
        return [
            _result(index, dataset.records[index], image, detections, shift)
            for index, image, detections in zip(
                batch, images, per_thread.detector.detect(images), strict=True)]

    batches = [indices[first:first + backend.max_batch]
               for first in range(0, len(indices), backend.max_batch)]
    with ThreadPoolExecutor(backend.max_concurrency, 'evaluate') as pool:
        try:
            for results in progress(pool.map(detect, batches), len(batches)):
                yield from results
        finally:  # an error, or Ctrl-C, does not wait for all images
            pool.shutdown(wait=False, cancel_futures=True)


def _result(index: int, record: ImageRecord, image: SourceImage, detections: Detections,
            shift: int) -> ImageResult:
    """Scale boxes to the original image, whose size the record has."""
    (height, width), (read_height, read_width) = record.size_hw, image.size_hw
    scale = np.array([width / read_width, height / read_height] * 2, dtype=np.float32)
    found = Detections(
        detections.boxes_xyxy * scale, detections.scores, detections.labels + shift)
    return ImageResult(
        index, record.image_id, record.size_hw, found, record.ground_truth(record.size_hw))
