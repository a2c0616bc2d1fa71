"""
Whether a model file answers on another processor as its float32 file does here.

The limits lie between what good and what saturating files show; docs/machines.md has the figures.
"""

from dataclasses import dataclass

import numpy as np

from mbv2ssd_ros.core.boxes import iou_matrix

SURE = 0.6  # a detection of this score in one answer has to be in the other, from 0.35 there
MOST_DIFFERENCE = {'fp32': 1e-4, 'int8': 0.5}  # of any score of any prior
LEAST_IOU = {'fp32': 0.999, 'int8': 0.8}


@dataclass(frozen=True)
class Agreement:
    """Two answers, compared."""

    difference: float  # largest of any score of any prior
    sure: int  # detections that have to be in both
    matched: int  # those that are
    worst_iou: float  # of those that are

    def problems(self, precision):
        """Return what is beyond the limits of a precision, as text."""
        return [text for wrong, text in (
            (not self.difference <= MOST_DIFFERENCE[precision],
             f'scores differ by {self.difference:.4f}, limit {MOST_DIFFERENCE[precision]}'),
            (self.matched < self.sure,
             f'{self.sure - self.matched} of {self.sure} detections are in one answer only'),
            (self.worst_iou < LEAST_IOU[precision],
             f'IoU {self.worst_iou:.3f}, limit {LEAST_IOU[precision]}')) if wrong]


def compare(reference, answer):
    """
    Compare two answers to the same images.

    Args:
        reference: arrays as answers.py writes them.
        answer: the same.
    """
    overlaps = [*_overlaps(reference, answer), *_overlaps(answer, reference)]
    matched = [overlap for overlap in overlaps if overlap > 0.5]
    return Agreement(float(np.abs(reference['scores'] - answer['scores']).max()),
                     len(overlaps), len(matched), float(min(matched, default=1.0)))


def _overlaps(one, other):
    """Yield the best IoU of each sure detection with one of its image and class in the other."""
    for row in np.flatnonzero(one['confidences'] >= SURE):
        same = ((other['images'] == one['images'][row])
                & (other['labels'] == one['labels'][row]))
        yield iou_matrix(one['boxes_xyxy'][row:row + 1],
                         other['boxes_xyxy'][same]).max(initial=0)
