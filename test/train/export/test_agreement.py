"""When two models say the same: partners of detections, and how far they may be apart."""

import dataclasses
import re

import numpy as np
import pytest

from helpers.small_graph import CONTRACT
from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_train.export.agreement import (
    Agreement,
    LIMITS,
    measure_agreement,
    pair_up,
    shortfalls,
)

SAME = Agreement(images=1, box_max=0.0, score_max=0.0, detections=4, alone=0, iou_mean=1.0,
                 iou_min=1.0, pair_score_mean=0.0, pair_score_max=0.0)
LEFT, RIGHT = (0.0, 0.0, 0.4, 0.5), (0.6, 0.0, 1.0, 0.5)


def detections(*rows):
    """Of (box, score, label)."""
    boxes, scores, labels = zip(*rows) if rows else ((), (), ())
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
                      np.array(labels, np.intp))


class Fixed:
    """A model that answers the same to everything: one prior for each row of scores."""

    contract = dataclasses.replace(CONTRACT, priors_per_level=(2,))

    def __init__(self, boxes, scores):
        self.answer = (np.array([boxes], np.float32), np.array([scores], np.float32))

    def infer(self, images):
        return self.answer


def test_partners_have_the_same_class_and_overlap():
    found = pair_up(detections((LEFT, 0.9, 1), (RIGHT, 0.8, 2)),
                    detections((RIGHT, 0.7, 2), (LEFT, 0.6, 2)))
    assert found.alone == 1  # the left one is another class there
    assert found.ious == pytest.approx([1.0]) and found.score_differences == pytest.approx([0.1])


def test_an_overlap_below_a_half_is_no_partner():
    # (0, 0, 0.4, 0.5) against its upper 40 %: IoU 0.4
    assert pair_up(detections((LEFT, 0.9, 1)), detections(((0, 0, 0.4, 0.2), 0.9, 1))).alone == 1


def test_a_partner_serves_once():
    twice = detections((LEFT, 0.9, 1), (LEFT, 0.8, 1))
    assert pair_up(twice, detections((LEFT, 0.9, 1))).alone == 1


def test_a_weak_detection_needs_no_partner_but_can_be_one():
    weak = detections((LEFT, 0.3, 1))
    assert pair_up(weak, detections()).alone == 0
    assert pair_up(detections((LEFT, 0.4, 1)), weak).score_differences == pytest.approx([0.1])


def test_detections_of_both_models_count():
    first = Fixed([LEFT, RIGHT], [[0.1, 0.9, 0], [0.2, 0, 0.8]])
    second = Fixed([LEFT, RIGHT], [[0.15, 0.85, 0], [0.9, 0, 0.1]])
    image = np.zeros((4, 6, 3), np.uint8)
    found = measure_agreement(first, second, [image, image])
    assert (found.images, found.detections, found.alone) == (2, 6, 2)  # 2 + 1, on two images
    assert found.pair_score_mean == pytest.approx(0.05)
    assert (found.box_max, found.score_max) == (0, pytest.approx(0.7))


def test_no_detection_at_all_agrees():
    nothing = Fixed([LEFT, RIGHT], [[1, 0, 0], [1, 0, 0]])
    found = measure_agreement(nothing, nothing, [np.zeros((4, 6, 3), np.uint8)])
    assert (found.detections, found.alone_share, found.iou_min) == (0, 0, 1)
    assert shortfalls(found, LIMITS['fp32']) == []


@pytest.mark.parametrize('precision', LIMITS)
def test_the_same_is_within_all_limits(precision):
    assert shortfalls(SAME, LIMITS[precision]) == []


@pytest.mark.parametrize('change, said', [
    ({'alone': 1}, 'detections without partner: 1 of 4 .allowed: at most 0.'),
    ({'iou_mean': 0.9}, 'overlap with the partner: 0.9000'),
    ({'pair_score_mean': 0.2}, 'scores of partners differ by: 0.2000'),
    ({'box_max': 0.01}, 'boxes of priors differ by: 1.0e-02 .*at most 1e-04'),
    ({'score_max': float('nan')}, 'scores of priors differ by: nan')])
def test_each_difference_between_float32_models_is_told(change, said):
    found, = shortfalls(dataclasses.replace(SAME, **change), LIMITS['fp32'])
    assert re.search(said, found)


@pytest.mark.parametrize('alone, detections, fine', [
    (1, 4, True), (2, 4, False), (2, 200, True), (3, 200, False)])
def test_of_a_few_detections_in_float16_one_may_be_alone(alone, detections, fine):
    found = shortfalls(dataclasses.replace(SAME, alone=alone, detections=detections),
                       LIMITS['fp16'])
    assert (found == []) == fine
