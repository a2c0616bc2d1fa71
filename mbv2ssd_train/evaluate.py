"""mAP of anything that can infer, with the run time's own resize, thresholds, NMS and metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
import threading
from typing import Any

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.detections import Detections, DetectionSettings
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.core.metrics import (
    GroundTruth,
    mean_ap,
    mean_ap_11point,
    precision_recall,
    PrecisionRecall,
)
from mbv2ssd_ros.detector import Detector
from mbv2ssd_train.data.dataset import Dataset

MATCH_IOU = 0.5
Result = tuple[Detections, GroundTruth]
Progress = Callable[[Iterable[Any], int], Iterable[Any]]  # items and their number


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and on what."""

    split: str
    images: int
    class_names: tuple[str, ...]
    curves: dict[int, PrecisionRecall]  # by 1-based label

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
            # a class without objects has none, and JSON has no nan
            'ap_50': {self.class_names[label - 1]: curve.average_precision
                      if curve.num_objects else None for label, curve in self.curves.items()},
            'objects': {self.class_names[label - 1]: curve.num_objects
                        for label, curve in self.curves.items()}}


def evaluate(backend: Backend, dataset: Dataset, settings: DetectionSettings,
             progress: Progress = lambda items, total: items) -> Evaluation:
    """
    Measure a model on a data set.

    Args:
        backend: the model.
        dataset: images and ground truth, of the model's classes in the model's order.
        settings: a low score threshold, so that the curve reaches its end.
        progress: wraps the batches, for a progress bar.

    Returns:
        The curves of every class.

    Raises:
        ConfigError: the model has other classes than the data.
    """
    names = backend.contract.object_names
    if names != dataset.class_names:
        raise ConfigError(
            f'the model knows {", ".join(names)}; the data set {dataset.name} is read with '
            f'{", ".join(dataset.class_names)}. Open it with the classes of the model')
    results = list(detect_all(backend, dataset, settings, progress))
    labels = range(1, len(names) + 1)
    return Evaluation(dataset.name, len(dataset), names, precision_recall(results, labels))


def detect_all(backend: Backend, dataset: Dataset, settings: DetectionSettings,
               progress: Progress) -> Iterator[Result]:
    """
    Run a model over a data set, on as many threads as the backend takes.

    Args:
        backend: the model.
        dataset: images.
        settings: of the selection.
        progress: wraps the batches.

    Yields:
        Detections and ground truth in pixels of each image, labelled as the data are, in the
        order of the data.
    """
    per_thread = threading.local()
    # labels of the data are 1-based; columns of a model without background begin with 0
    shift = 1 if backend.contract.background_index is None else 0

    def detect(indices: Sequence[int]) -> list[Result]:
        if not hasattr(per_thread, 'detector'):
            per_thread.detector = Detector(backend, settings)
        images = [SourceImage(dataset.image(index), 'bgr') for index in indices]
        return [
            (replace(detections, labels=detections.labels + shift),
             dataset.records[index].ground_truth(image.size_hw))
            for index, image, detections in zip(
                indices, images, per_thread.detector.detect(images), strict=True)]

    batches = [range(first, min(first + backend.max_batch, len(dataset)))
               for first in range(0, len(dataset), backend.max_batch)]
    with ThreadPoolExecutor(backend.max_concurrency, 'evaluate') as pool:
        try:
            for results in progress(pool.map(detect, batches), len(batches)):
                yield from results
        finally:  # an error, or Ctrl-C, does not wait for all images
            pool.shutdown(wait=False, cancel_futures=True)
