"""What counts as the same answer on another processor."""

from agreement import Agreement, compare
import numpy as np
import pytest

DOG, CAT = 12, 8
BOX = (100, 100, 200, 200)


def answer(*detections, scores=(0.9, 0.1)):
    """An answer to one image: detections are (label, score, box)."""
    labels, confidences, boxes = zip(*detections) if detections else ((), (), ())
    return {'scores': np.array([[scores]], np.float32),
            'images': np.zeros(len(detections), int), 'labels': np.array(labels, int),
            'confidences': np.array(confidences),
            'boxes_xyxy': np.array(boxes, np.float32).reshape(-1, 4)}


def test_equal_answers_agree():
    one = answer((DOG, 0.9, BOX))
    assert compare(one, one) == Agreement(0, sure=2, matched=2, worst_iou=1)
    assert compare(one, one).problems('fp32') == []


def test_the_largest_difference_of_any_score_counts():
    agreement = compare(answer(scores=(0.9, 0.1)), answer(scores=(0.8, 0.4)))
    assert agreement.difference == pytest.approx(0.3)
    assert agreement.problems('int8') == []
    assert agreement.problems('fp32') == ['scores differ by 0.3000, limit 0.0001']


def test_nan_is_no_agreement():
    agreement = compare(answer(), answer(scores=(np.nan, 0.1)))
    assert len(agreement.problems('int8')) == 1


@pytest.mark.parametrize('other', [
    answer(), answer((CAT, 0.9, BOX)), answer((DOG, 0.9, (300, 300, 400, 400)))],
    ids=['nothing', 'another class', 'another place'])
def test_a_sure_detection_has_to_be_in_both(other):
    for agreement in (compare(answer((DOG, 0.9, BOX)), other),
                      compare(other, answer((DOG, 0.9, BOX)))):
        assert agreement.matched == 0 and agreement.sure in (1, 2)
        assert 'in one answer only' in agreement.problems('int8')[0]


def test_a_detection_near_the_threshold_may_be_in_one_only():
    assert compare(answer((DOG, 0.59, BOX)), answer()).problems('int8') == []


def test_a_sure_detection_may_be_less_sure_in_the_other():
    agreement = compare(answer((DOG, 0.6, BOX)), answer((DOG, 0.35, BOX)))
    assert agreement == Agreement(0, sure=1, matched=1, worst_iou=1)


def test_a_box_of_three_quarters_is_too_far_off():
    agreement = compare(answer((DOG, 0.9, BOX)), answer((DOG, 0.9, (100, 100, 200, 175))))
    assert agreement.worst_iou == 0.75
    assert agreement.problems('int8') == ['IoU 0.750, limit 0.8']
