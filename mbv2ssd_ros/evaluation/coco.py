"""
COCO's average precision and recall, computed by faster-coco-eval.

Objects marked `difficult` (COCO's own `iscrowd` among them) become `iscrowd` for COCO: they do
not count as missed, and detections with half of their area on one of them are ignored. VOC has no
such regions, so the two protocols differ there.

COCO takes the size of an object from the area of its mask. Here it is the area of the box, in
pixels of the original image, so that AP and AR of a size can differ a little from COCO's own
evaluation; those over all sizes do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import missing_package
from mbv2ssd_ros.evaluation.results import ImageResult

SMALL_BELOW_PX, LARGE_FROM_PX = 32, 96  # side of a square of the area that limits a size
_SIZES = ('all', 'small', 'medium', 'large')
_MAX_DETECTIONS = (1, 10, 100)  # of a class, in an image
_MOST_AT_ONCE = 50_000  # detections passed to COCO's code


@dataclass(frozen=True)
class CocoFigures:
    """The twelve figures of COCO and its AP of each class; nan where there is no object."""

    ap: float  # mean over IoU 0.50, 0.55, ... 0.95
    ap_50: float
    ap_75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_1: float  # with one detection of a class in an image
    ar_10: float
    ar_100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    ap_of_class: dict[int, float]  # by label

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return plain values by name, None for nan; label k is class_names[k - 1]."""
        figures = {key: none_for_nan(value) for key, value in asdict(self).items()
                   if key != 'ap_of_class'}
        return {**figures, 'ap_of_class': {
            class_names[label - 1]: none_for_nan(ap) for label, ap in self.ap_of_class.items()}}


def none_for_nan(value: float) -> float | None:
    """Prepare a figure for JSON, which has no nan."""
    return None if np.isnan(value) else float(value)


def coco_figures(results: Sequence[ImageResult], class_names: Sequence[str]) -> CocoFigures:
    """Measure as COCO does; ConfigError: faster-coco-eval is not installed."""
    library = coco_library()
    # COCO measures each class separately; all at once take 1.5 KB of memory for each detection
    tables = [_evaluated(library, results, class_names, labels)
              for labels in _groups(results, len(class_names))]
    return _figures(np.concatenate([precision for precision, _ in tables], axis=2),
                    np.concatenate([recall for _, recall in tables], axis=1))


def _evaluated(library: Any, results: Sequence[ImageResult], class_names: Sequence[str],
               labels: range) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision (IoU, recall, class, size, max) and recall (IoU, class, size, max)."""
    truth, found = coco_datasets(results, class_names, labels)
    evaluation = library.COCOeval_faster(_DataSet(truth), _DataSet(found), 'bbox')
    evaluation.params.maxDets = list(_MAX_DETECTIONS)
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval['precision']), np.asarray(evaluation.eval['recall'])


class _DataSet:
    """
    The methods of a data set that COCO's code calls when it measures all of it.

    Its own class also builds indices for parts: a tenth of the time of its figures.
    """

    def __init__(self, content: dict[str, Any]) -> None:
        self._content = content

    def getImgIds(self) -> list[int]:
        return [image['id'] for image in self._content['images']]

    def getCatIds(self) -> list[int]:
        return [category['id'] for category in self._content['categories']]

    def getAnnIds(self, **_: object) -> range:
        return range(len(self._content['annotations']))

    def loadAnns(self, ids: range) -> list[dict[str, Any]]:
        annotations: list[dict[str, Any]] = self._content['annotations']
        assert len(ids) == len(annotations), ids
        return annotations


def _groups(results: Sequence[ImageResult], num_classes: int) -> list[range]:
    """Split the labels into ranges of at most _MOST_AT_ONCE detections, or of one class."""
    counts = np.zeros(num_classes + 1, np.intp)
    for result in results:
        counts += np.bincount(result.detections.labels, minlength=num_classes + 1)
    groups, first, together = [], 1, 0
    for label in range(1, num_classes + 1):
        if label > first and together + counts[label] > _MOST_AT_ONCE:
            groups.append(range(first, label))
            first, together = label, 0
        together += int(counts[label])
    return [*groups, range(first, num_classes + 1)]


def coco_library() -> Any:
    """Import faster-coco-eval; ConfigError where it is not installed."""
    try:
        import faster_coco_eval
    except ImportError as err:
        raise missing_package('COCO mAP', 'faster-coco-eval', 'eval', err) from err
    return faster_coco_eval


def coco_datasets(results: Sequence[ImageResult], class_names: Sequence[str],
                  labels: range | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    Convert results to two COCO data sets: with the objects, and with the detections.

    Both have the same images and categories, of which the ids are index + 1 and the label. labels
    chooses classes; None takes all.
    """
    labels = range(1, len(class_names) + 1) if labels is None else labels
    common = {
        'images': [{'id': result.index + 1, 'file_name': result.name,
                    'height': result.size_hw[0], 'width': result.size_hw[1]}
                   for result in results],
        'categories': [{'id': label, 'name': class_names[label - 1]} for label in labels]}
    objects: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for result in results:
        truth, detections = result.truth, result.detections
        for items, source, key, values in (
                (objects, truth, 'iscrowd', truth.difficult.astype(int)),
                (found, detections, 'score', detections.scores)):
            rows = (source.labels >= labels.start) & (source.labels < labels.stop)
            if rows.any():
                items += _annotations(result, source.boxes_xyxy[rows], source.labels[rows],
                                      len(items), key, values[rows])
    return ({'info': {}, **common, 'annotations': objects},
            {'info': {}, **common, 'annotations': found})


def _annotations(result: ImageResult, boxes_xyxy: NDArray[np.float32], labels: NDArray[np.intp],
                 before: int, key: str, values: NDArray[Any]) -> list[dict[str, Any]]:
    boxes = boxes_xyxy.astype(np.float64)
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)  # xywh
    areas = boxes[:, 2] * boxes[:, 3]
    # ids count from 1: COCO takes an object with the id 0 for unmatched
    return [{'id': number, 'image_id': result.index + 1, 'category_id': label, 'bbox': box,
             'area': area, 'iscrowd': 0, key: value}
            for number, (label, box, area, value) in enumerate(
                zip(labels.tolist(), boxes.tolist(), areas.tolist(), values.tolist(),
                    strict=True), start=before + 1)]


def _figures(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> CocoFigures:
    """Average precision (IoU, recall, class, size, max) and recall (IoU, class, size, max)."""
    def ap(values: NDArray[np.float64], size: str = 'all') -> float:
        return _mean(values[..., _SIZES.index(size), -1])

    def ar(size: str = 'all', most: int = 100) -> float:
        return _mean(recall[..., _SIZES.index(size), _MAX_DETECTIONS.index(most)])

    return CocoFigures(
        ap=ap(precision), ap_50=ap(precision[0]), ap_75=ap(precision[5]),
        ap_small=ap(precision, 'small'), ap_medium=ap(precision, 'medium'),
        ap_large=ap(precision, 'large'), ar_1=ar(most=1), ar_10=ar(most=10), ar_100=ar(),
        ar_small=ar('small'), ar_medium=ar('medium'), ar_large=ar('large'),
        ap_of_class={label: ap(precision[:, :, label - 1])
                     for label in range(1, precision.shape[2] + 1)})


def _mean(values: NDArray[np.float64]) -> float:
    measured = values[values > -1]  # -1 where there is no object
    return float(measured.mean()) if measured.size else float('nan')
