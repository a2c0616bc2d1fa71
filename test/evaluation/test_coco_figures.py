"""COCO's figures against pycocotools, and by hand."""

from contextlib import redirect_stdout
import io
from math import isnan
import sys

import numpy as np
import pytest

from helpers.needs import need
from helpers.scenes import CAT, DOG, NAMES, random_scenes, scene, square
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.evaluation.coco import coco_figures

pytestmark = pytest.mark.needs('faster_coco_eval')


FIGURES = ('ap', 'ap_50', 'ap_75', 'ap_small', 'ap_medium', 'ap_large',
           'ar_1', 'ar_10', 'ar_100', 'ar_small', 'ar_medium', 'ar_large')


def reference(results, names):
    """Return the twelve figures of pycocotools, its data written here and not by our code."""
    coco = need('pycocotools.coco')
    from pycocotools.cocoeval import COCOeval
    truth, objects, found = coco.COCO(), [], []
    for result in results:
        for (x1, y1, x2, y2), label, hard in zip(
                result.truth.boxes_xyxy.tolist(), result.truth.labels, result.truth.difficult):
            objects.append({'id': len(objects) + 1, 'image_id': result.index,
                            'category_id': int(label), 'bbox': [x1, y1, x2 - x1, y2 - y1],
                            'area': (x2 - x1) * (y2 - y1), 'iscrowd': int(hard)})
        for (x1, y1, x2, y2), label, score in zip(
                result.detections.boxes_xyxy.tolist(), result.detections.labels,
                result.detections.scores.tolist()):
            found.append({'image_id': result.index, 'category_id': int(label), 'score': score,
                          'bbox': [x1, y1, x2 - x1, y2 - y1]})
    truth.dataset = {
        'info': {}, 'images': [{'id': result.index} for result in results],
        'categories': [{'id': k + 1, 'name': name} for k, name in enumerate(names)],
        'annotations': objects}
    with redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(FIGURES, evaluation.stats))


@pytest.mark.parametrize('seed', range(5))
def test_all_figures_equal_those_of_pycocotools(seed):
    results, names = random_scenes(seed, images=40, classes=3), ('cat', 'dog', 'owl')
    expected = reference(results, names)
    figures = coco_figures(results, names)
    for name in FIGURES:
        value = getattr(figures, name)
        # exact but for the order of summation
        assert (-1 if isnan(value) else value) == pytest.approx(expected[name], abs=1e-12), name


def test_a_box_found_at_half_its_size_counts_for_one_iou_of_ten():
    results = [scene(0, [(CAT, 0.9, (0, 0, 20, 10))], [(CAT, square(0, 0))])]
    figures = coco_figures(results, NAMES)
    assert (figures.ap_50, figures.ap_75) == (pytest.approx(1), 0)
    assert figures.ap == pytest.approx(0.1) and figures.ap_of_class[CAT] == pytest.approx(0.1)
    assert isnan(figures.ap_of_class[DOG])


def test_sizes_are_areas_in_pixels():
    # 31, 33 and 97 pixels of side; only the middle one is found
    objects = [(CAT, square(0, 0, 31)), (CAT, square(200, 0, 33)), (CAT, square(0, 200, 97))]
    figures = coco_figures([scene(0, [(CAT, 0.9, square(200, 0, 33))], objects, (400, 600))],
                           NAMES)
    assert (figures.ar_small, figures.ar_medium, figures.ar_large) == (0, 1, 0)


def test_detections_in_a_crowd_are_left_out_and_it_is_not_missed():
    # two small boxes inside a crowd region have an IoU of 0.04 with it, but lie in it
    crowd = [(CAT, 0.95, square(10, 10)), (CAT, 0.94, square(40, 40))]
    results = [scene(0, [*crowd, (CAT, 0.5, square(150, 0))],
                     [(CAT, square(0, 0, 100), True), (CAT, square(150, 0))])]
    assert coco_figures(results, NAMES).ap == pytest.approx(1)


def test_no_detection_at_all_is_an_ap_of_zero():
    figures = coco_figures([scene(0, [], [(CAT, square(0, 0))])], NAMES)
    assert (figures.ap, figures.ar_100) == (0, 0)


def test_no_object_at_all_has_no_ap_and_is_null_in_json():
    figures = coco_figures([scene(0, [(CAT, 0.9, square(0, 0))])], NAMES)
    assert isnan(figures.ap)
    assert figures.to_dict(NAMES)['ap'] is None
    assert figures.to_dict(NAMES)['ap_of_class'] == {'cat': None, 'dog': None}


def test_only_a_hundred_detections_of_a_class_count():
    wrong = [(CAT, 0.9, square(0, 0))] * 100
    found = (CAT, 0.5, square(100, 50))
    objects = [(CAT, square(100, 50))]
    assert coco_figures([scene(0, [*wrong, found], objects)], NAMES).ap == 0
    assert coco_figures([scene(0, [*wrong[1:], found], objects)], NAMES).ap > 0


def test_the_order_of_images_does_not_matter():
    results = random_scenes(7)
    forward, backward = (coco_figures(r, NAMES) for r in (results, results[::-1]))
    np.testing.assert_allclose(backward.ap, forward.ap, rtol=1e-12)


def test_a_missing_library_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(ConfigError, match=r'faster-coco-eval.*mbv2ssd_ros\[eval\]'):
        coco_figures([], NAMES)
