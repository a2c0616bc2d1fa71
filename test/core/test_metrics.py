"""VOC average precision against a plain loop in exact fractions, and by hand."""

from fractions import Fraction
from math import isnan, nan

import numpy as np
import pytest

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.errors import ShapeError
from mbv2ssd_ros.core.metrics import (
    GroundTruth,
    match_image,
    mean_ap,
    mean_ap_11point,
    precision_recall,
    PrecisionRecall,
)

CAT, DOG = 1, 2
# 4 x 2 boxes far from each other: pixels of an image 200 wide and 20 high
BOXES = [[10 * i, 5, 10 * i + 4, 7] for i in range(20)]
NOWHERE = [100, 15, 104, 17]


def detections(boxes, scores, labels=None):
    """Detections of cats unless labels say otherwise."""
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
                      np.array(labels or [CAT] * len(scores), np.intp))


def truth(boxes, labels=None, difficult=None):
    """Return the ground truth of one image; cats unless labels say otherwise."""
    return GroundTruth(np.array(boxes, np.float32).reshape(-1, 4),
                       np.array(labels or [CAT] * len(boxes), np.intp),
                       np.array(difficult or [False] * len(boxes), bool))


def cat_curve(*results, match_iou=0.5):
    """Return the curve of the cats."""
    return precision_recall(results, [CAT], match_iou)[CAT]


# the devkit, in plain Python

def slow_iou(a, b):
    """IoU of two boxes as an exact fraction."""
    a, b = [Fraction(v) for v in a], [Fraction(v) for v in b]
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return Fraction(0)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (both - width * height)


def slow_matches(results, label, match_iou):
    """Return (true positives and false ones by descending score, number of objects)."""
    objects = [[(box, hard) for box, kind, hard in zip(
        t.boxes_xyxy.tolist(), t.labels, t.difficult, strict=True) if kind == label]
        for _, t in results]
    found = [(score, image, box) for image, (d, _) in enumerate(results)
             for box, score, kind in zip(d.boxes_xyxy.tolist(), d.scores, d.labels, strict=True)
             if kind == label]
    found.sort(key=lambda item: -item[0])  # stable, as the devkit's
    taken, matches = set(), []
    for _, image, box in found:
        best, best_iou = None, Fraction(-1)
        for index, (other, _) in enumerate(objects[image]):
            if slow_iou(box, other) > best_iou:
                best, best_iou = index, slow_iou(box, other)
        if best is None or best_iou < match_iou:
            matches.append(False)
        elif not objects[image][best][1]:
            matches.append((image, best) not in taken)
            taken.add((image, best))
    return matches, sum(not hard for image in objects for _, hard in image)


def slow_points(matches, count):
    """Return (recall, precision) after each detection, as exact fractions."""
    return [(Fraction(sum(matches[:n]), count), Fraction(sum(matches[:n]), n))
            for n in range(1, len(matches) + 1)]


def slow_area(points):
    """Sum the best precision at or after each step of the recall."""
    area, before = Fraction(0), Fraction(0)
    for index, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[index:])
        before = recall
    return area


def slow_11point(points):
    """Average the best precision from recall 0, 1/10, ... 1 on."""
    return sum(max((p for r, p in points if r >= Fraction(tenth, 10)), default=Fraction(0))
               for tenth in range(11)) / 11


def random_results(seed):
    """Images with objects of two classes, found well, badly, twice, or not at all."""
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(12):
        count = int(rng.integers(0, 6))
        boxes = np.sort(rng.integers(0, 40, (count, 2, 2)), axis=1).reshape(count, 4)
        boxes[:, 2:] += 4
        labels = rng.integers(CAT, DOG + 1, count)
        chosen = rng.integers(0, count, int(rng.integers(0, 8))) if count else []
        found = boxes[chosen] + rng.integers(-2, 3, (len(chosen), 4))
        found = np.concatenate([found, [[0, 0, 3, 9]]])  # and one that is mostly wrong
        kinds = np.where(rng.random(len(found)) < 0.9, [*labels[chosen], CAT], DOG)
        # few values, so that scores are often equal, within an image and between images
        scores = rng.integers(1, 10, len(found)) / 10
        results.append((detections(found, scores, kinds.tolist()), truth(
            boxes, labels.tolist(), (rng.random(count) < 0.2).tolist())))
    return results


@pytest.mark.parametrize('match_iou', [0.5, 0.75])
@pytest.mark.parametrize('seed', range(10))
def test_both_averages_equal_the_devkit_in_exact_fractions(seed, match_iou):
    results = random_results(seed)
    curves = precision_recall(results, [CAT, DOG], match_iou)
    for label in (CAT, DOG):
        matches, count = slow_matches(results, label, match_iou)
        points = slow_points(matches, count)
        assert curves[label].num_objects == count
        assert curves[label].correct.tolist() == matches
        assert curves[label].average_precision == pytest.approx(float(slow_area(points)))
        assert curves[label].average_precision_11point == pytest.approx(
            float(slow_11point(points)))


@pytest.mark.parametrize('count', [1, 3, 7, 10, 20, 30, 70, 100, 110])
def test_eleven_points_count_a_recall_of_exactly_a_tenth(count):
    for found in range(1, count + 1):
        curve = PrecisionRecall(np.ones(found), np.ones(found, bool), count)
        assert curve.average_precision == pytest.approx(found / count)
        assert curve.average_precision_11point == pytest.approx(
            (10 * found // count + 1) / 11), f'{found} of {count}'


# by hand

def test_two_objects_found_with_a_mistake_in_between():
    curve = cat_curve((detections([BOXES[0], NOWHERE, BOXES[1]], [0.9, 0.8, 0.7]),
                       truth(BOXES[:2])))
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(curve.recall, [1 / 2, 1 / 2, 1])
    assert curve.average_precision == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    # recall 0 to 0.5 are six points at 1, 0.6 to 1 five points at 2/3
    assert curve.average_precision_11point == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)


def test_everything_found_is_1_and_nothing_found_is_0():
    perfect = cat_curve((detections(BOXES[:3], [0.9, 0.8, 0.7]), truth(BOXES[:3])))
    assert (perfect.average_precision, perfect.average_precision_11point) == (1, 1)
    blind = cat_curve((detections([], []), truth(BOXES[:3])))
    assert (blind.average_precision, blind.average_precision_11point) == (0, 0)


def test_a_mistake_after_everything_is_found_costs_nothing():
    curve = cat_curve((detections([BOXES[0], NOWHERE], [0.9, 0.8]), truth(BOXES[:1])))
    assert curve.average_precision == 1


def test_a_second_detection_of_an_object_is_a_mistake():
    curve = cat_curve((detections([BOXES[0], BOXES[0]], [0.9, 0.8]), truth(BOXES[:1])))
    assert curve.correct.tolist() == [True, False]


def test_an_overlap_of_exactly_the_threshold_counts():
    half = [BOXES[0][0], 5, BOXES[0][0] + 2, 7]  # 2 x 2 of 4 x 2
    found = detections([half], [0.9]), truth(BOXES[:1])
    assert cat_curve(found, match_iou=0.5).correct.tolist() == [True]
    assert cat_curve(found, match_iou=np.nextafter(0.5, 1)).correct.tolist() == [False]


def test_a_detection_does_not_move_on_from_a_taken_object_to_the_next_best():
    # the second one lies best on the first object, and well enough on the other
    objects = truth([[0, 0, 10, 4], [2, 0, 12, 4]])
    found = detections([[0, 0, 10, 4], [0.5, 0, 10.5, 4]], [0.9, 0.8])
    assert cat_curve((found, objects)).correct.tolist() == [True, False]


def test_of_objects_in_the_same_place_the_first_is_looked_at():
    curve = cat_curve((detections([BOXES[0]] * 2, [0.9, 0.8]), truth([BOXES[0]] * 2)))
    assert curve.correct.tolist() == [True, False]
    hard_first = cat_curve((detections([BOXES[0]], [0.9]),
                            truth([BOXES[0]] * 2, difficult=[True, False])))
    assert hard_first.correct.tolist() == []


def test_a_difficult_object_is_not_missed_and_its_detections_are_left_out():
    curve = cat_curve((detections([BOXES[0], BOXES[1], BOXES[1]], [0.9, 0.8, 0.7]),
                       truth(BOXES[:2], difficult=[False, True])))
    assert (curve.num_objects, curve.correct.tolist()) == (1, [True])
    np.testing.assert_array_equal(curve.scores, np.float32([0.9]))


def test_an_object_of_another_class_does_not_make_a_detection_right():
    found = detections([BOXES[0]], [0.9], [DOG]), truth([BOXES[0]], [CAT])
    curves = precision_recall([found], [CAT, DOG])
    assert curves[DOG].correct.tolist() == [False]
    assert (curves[CAT].num_objects, len(curves[CAT].correct)) == (1, 0)


def test_an_object_of_another_image_does_not_make_a_detection_right():
    curve = cat_curve((detections([BOXES[0]], [0.9]), truth([])),
                      (detections([], []), truth([BOXES[0]])))
    assert (curve.correct.tolist(), curve.num_objects) == ([False], 1)


def test_scores_are_compared_over_all_images():
    curve = cat_curve((detections([NOWHERE], [0.5]), truth([])),
                      (detections([BOXES[0]], [0.9]), truth([BOXES[0]])))
    assert curve.correct.tolist() == [True, False]


def test_of_equal_scores_the_earlier_image_comes_first():
    wrong, right = (detections([NOWHERE], [0.5]), truth([])), (
        detections([BOXES[0]], [0.5]), truth([BOXES[0]]))
    assert cat_curve(wrong, right).correct.tolist() == [False, True]
    assert cat_curve(right, wrong).correct.tolist() == [True, False]


def test_detections_out_of_order_are_matched_best_first():
    # others' messages need not be sorted; the worse one must not take the object
    nearly = [BOXES[0][0] + 1, 5, BOXES[0][0] + 5, 7]  # IoU 3/5
    curve = cat_curve((detections([nearly, BOXES[0]], [0.3, 0.9]), truth(BOXES[:1])))
    np.testing.assert_array_equal(curve.scores, np.float32([0.9, 0.3]))
    assert curve.correct.tolist() == [True, False]


def test_an_object_without_area_is_never_found():
    curve = cat_curve((detections([[3, 5, 3, 5]], [0.9]), truth([[3, 5, 3, 5]])))
    assert (curve.correct.tolist(), curve.num_objects) == ([False], 1)


def test_the_unit_of_the_boxes_does_not_matter():
    pixels = random_results(0)
    to_unit = np.float32([1 / 64, 1 / 32, 1 / 64, 1 / 32])  # powers of two: exact
    unit = [(Detections(d.boxes_xyxy * to_unit, d.scores, d.labels),
             GroundTruth(t.boxes_xyxy * to_unit, t.labels, t.difficult)) for d, t in pixels]
    assert mean_ap(precision_recall(unit, [CAT, DOG])) == mean_ap(
        precision_recall(pixels, [CAT, DOG]))


# one image, detection by detection

def test_each_detection_keeps_its_place_and_names_the_object_it_looked_at():
    # a wrong class, the worse of two cats, the better one, a cat on a difficult one
    found = detections([BOXES[0], BOXES[0], BOXES[0], BOXES[1]], [0.9, 0.3, 0.8, 0.7],
                       [DOG, CAT, CAT, CAT])
    match = match_image(found, truth(BOXES[:2], difficult=[False, True]))
    assert match.correct.tolist() == [False, False, True, False]
    assert match.counts.tolist() == [True, True, True, False]
    assert match.objects.tolist() == [-1, 0, 0, 1]
    assert match.overlaps.tolist() == [0, 1, 1, 1]


def test_an_image_without_objects_or_detections_matches_nothing():
    alone = match_image(detections([BOXES[0]], [0.9]), truth([]))
    assert (alone.correct.tolist(), alone.objects.tolist()) == ([False], [-1])
    assert match_image(detections([], []), truth([BOXES[0]])).correct.tolist() == []


# classes without objects

def test_a_class_without_objects_has_no_average():
    curve = cat_curve((detections([NOWHERE], [0.9]), truth([])))
    assert isnan(curve.average_precision) and isnan(curve.average_precision_11point)


def test_a_class_of_difficult_objects_only_has_no_average():
    curve = cat_curve((detections([BOXES[0]], [0.9]), truth([BOXES[0]], difficult=[True])))
    assert isnan(curve.average_precision)


@pytest.mark.parametrize('mean', [mean_ap, mean_ap_11point])
def test_the_mean_leaves_out_classes_without_objects(mean):
    results = [(detections([BOXES[0], NOWHERE], [0.9, 0.9], [CAT, DOG]), truth([BOXES[0]]))]
    assert mean(precision_recall(results, [CAT, DOG])) == 1


@pytest.mark.parametrize('mean', [mean_ap, mean_ap_11point])
def test_the_mean_gives_every_class_the_same_weight(mean):
    # one cat, found; nineteen dogs, none found
    results = [(detections([BOXES[0]], [0.9]), truth(BOXES, [CAT] + [DOG] * 19))]
    assert mean(precision_recall(results, [CAT, DOG])) == 0.5


@pytest.mark.parametrize('mean', [mean_ap, mean_ap_11point])
@pytest.mark.parametrize('labels', [[], [CAT]])
def test_without_any_object_there_is_no_mean(mean, labels):
    assert mean(precision_recall([], labels)) == pytest.approx(nan, nan_ok=True)


def test_results_may_come_from_a_generator():
    found = (detections([BOXES[0]], [0.9]), truth([BOXES[0]]))
    assert mean_ap(precision_recall((found for _ in range(2)), [CAT])) == 1


@pytest.mark.parametrize(('boxes', 'difficult'), [((1, 4), 2), ((2, 5), 2), ((2, 4), 1)])
def test_ground_truth_of_different_lengths_is_refused(boxes, difficult):
    with pytest.raises(ShapeError, match=r'2 labels needs boxes \(2, 4\) and difficult \(2,\)'):
        GroundTruth(np.zeros(boxes), np.zeros(2, np.intp), np.zeros(difficult, bool))
