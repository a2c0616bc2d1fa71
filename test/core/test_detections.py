"""The selector against a loop over every prior and class, and what it does with bad outputs."""

import dataclasses

import numpy as np
import pytest

from mbv2ssd_ros.core import detections
from mbv2ssd_ros.core.contract import ModelContract, Provenance
from mbv2ssd_ros.core.detections import Detections, DetectionSelector, DetectionSettings
from mbv2ssd_ros.core.errors import BackendError, ConfigError, ShapeError
from mbv2ssd_ros.core.image import ImageGeometry

PRIORS = 40
CONTRACT = ModelContract(
    schema_version=1, input_size_hw=(240, 320), channel_order='rgb', resize_mode='stretch',
    class_names=('background', 'cat', 'dog', 'cow'), background_index=0,
    priors_per_level=(PRIORS,), arch_fingerprint='x', precision='fp32',
    provenance=Provenance('0', '', (), 'none', 0.0))
SIGMOID = dataclasses.replace(
    CONTRACT, background_index=None, class_names=('cat', 'dog', 'cow'))
CAT, DOG, COW = 1, 2, 3


def random_outputs(seed, contract):
    """Boxes that overlap a lot and scores from sure background to sure object, as a model's."""
    rng = np.random.default_rng(seed)
    centre, size = rng.uniform(0.2, 0.8, (PRIORS, 2)), rng.uniform(0.1, 0.5, (PRIORS, 2))
    boxes = np.clip(np.concatenate([centre - size / 2, centre + size / 2], axis=1), 0, 1)
    logits = rng.normal(0, 3, (PRIORS, contract.num_classes))
    if contract.background_index is None:
        scores = 1 / (1 + np.exp(-logits))
    else:
        scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return boxes.astype(np.float32), scores.astype(np.float32)


def iou(a, b):
    """IoU of two boxes given as lists."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (both - width * height)


def slow_select(boxes, scores, contract, settings):
    """Return (prior, label) of each detection, looking at one score after the other."""
    candidates = []
    for prior in range(len(scores)):
        for label, name in enumerate(contract.class_names):
            threshold = dict(settings.class_thresholds).get(name, settings.score_threshold)
            if label == contract.background_index or scores[prior, label] <= np.float32(threshold):
                continue
            if settings.class_allow is None or name in settings.class_allow:
                candidates.append((-scores[prior, label], prior, label))
    kept = []
    for _, prior, label in sorted(candidates)[:settings.max_candidates]:
        rivals = (k for k, other in kept if other == label or settings.class_agnostic)
        if all(iou(boxes[k].tolist(), boxes[prior].tolist()) <= settings.nms_iou for k in rivals):
            kept.append((prior, label))
    return kept[:settings.max_detections]


def assert_selects(expected, boxes, scores, contract, settings):
    """Compare with a list of (prior, label)."""
    found = DetectionSelector(contract, settings).select(boxes, scores)
    priors, labels = [p for p, _ in expected], [label for _, label in expected]
    assert found.labels.tolist() == labels
    np.testing.assert_array_equal(found.boxes_xyxy, boxes[priors].reshape(-1, 4))
    np.testing.assert_array_equal(found.scores, scores[priors, labels])


SETTINGS = [
    DetectionSettings(),
    DetectionSettings(score_threshold=0.0),
    DetectionSettings(score_threshold=0.01, nms_iou=0.2),
    DetectionSettings(score_threshold=0.95),
    DetectionSettings(score_threshold=1.0),
    DetectionSettings(class_agnostic=True),
    DetectionSettings(nms_iou=0.0),
    DetectionSettings(nms_iou=1.0),
    DetectionSettings(max_detections=3),
    DetectionSettings(max_detections=1),
    DetectionSettings(max_candidates=1),
    DetectionSettings(score_threshold=0.1, max_candidates=7),
    DetectionSettings(class_allow=frozenset(['dog'])),
    DetectionSettings(class_allow=frozenset(['cow', 'cat']), max_candidates=5),
    DetectionSettings(class_allow=frozenset()),
    DetectionSettings(score_threshold=0.9, class_thresholds=(('cat', 0.05), ('dog', 1.0))),
    DetectionSettings(class_thresholds=(('cat', 0.05),), class_allow=frozenset(['dog'])),
]


@pytest.mark.parametrize('settings', SETTINGS)
@pytest.mark.parametrize('contract', [CONTRACT, SIGMOID], ids=['softmax', 'sigmoid'])
@pytest.mark.parametrize('few_rows', [0, PRIORS], ids=['numpy', 'plain'])
@pytest.mark.parametrize('seed', range(5))
def test_select_equals_a_loop_over_every_prior_and_class(
        seed, few_rows, contract, settings, monkeypatch):
    monkeypatch.setattr(detections, '_FEW_ROWS', few_rows)
    boxes, scores = random_outputs(seed, contract)
    expected = slow_select(boxes, scores, contract, settings)
    assert_selects(expected, boxes, scores, contract, settings)


@pytest.mark.parametrize('source_size_hw', [(480, 640), (1080, 1920), (640, 480), (3, 500)])
@pytest.mark.parametrize('resize_mode', ['stretch', 'letterbox'])
@pytest.mark.parametrize('seed', range(5))
def test_select_in_source_is_select_mapped_to_the_source(seed, resize_mode, source_size_hw):
    outputs = random_outputs(seed, CONTRACT)
    geometry = ImageGeometry(source_size_hw, CONTRACT.input_size_hw, resize_mode)
    selector = DetectionSelector(CONTRACT, DetectionSettings(score_threshold=0.05))
    found, inside = selector.select(*outputs), selector.select_in_source(*outputs, geometry)
    x1, y1, x2, y2 = (mapped := geometry.to_source_pixels(found.boxes_xyxy)).T
    seen = (x2 > x1) & (y2 > y1)
    np.testing.assert_array_equal(inside.boxes_xyxy, mapped[seen])
    np.testing.assert_array_equal(inside.scores, found.scores[seen])
    np.testing.assert_array_equal(inside.labels, found.labels[seen])


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('threshold', [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize('rounded', [
    lambda scores: scores.astype(np.float16).astype(np.float32),
    lambda scores: np.round(scores * 255).astype(np.float32) / 255], ids=['fp16', 'uint8'])
def test_the_background_filter_loses_nothing_when_the_scores_were_rounded(
        seed, threshold, rounded):
    boxes, scores = random_outputs(seed, CONTRACT)
    settings = DetectionSettings(score_threshold=threshold, nms_iou=1.0)
    scores = rounded(scores)
    expected = slow_select(boxes, scores, CONTRACT, settings)
    assert_selects(expected, boxes, scores, CONTRACT, settings)


# one prior a row: the whole image, and a background that leaves the rest to one class

def one_score(score, label=DOG):
    """Outputs of two priors: one with this score, one that is background only."""
    boxes = np.array([[0, 0, 1, 0.5], [0, 0, 0.5, 1]], dtype=np.float32)
    scores = np.zeros((2, 4), dtype=np.float32)
    scores[:, 0] = 1, 1 - np.float32(score)
    scores[1, label] = score
    return boxes, scores


@pytest.mark.parametrize('threshold', [0.0, 1e-6, 0.001, 0.35, 0.5, 0.999, 0.9999999])
def test_the_next_float_above_the_threshold_is_found_and_the_threshold_is_not(threshold):
    selector = DetectionSelector(CONTRACT, DetectionSettings(score_threshold=threshold))
    exact = np.float32(threshold)
    assert len(selector.select(*one_score(exact))) == 0
    assert selector.select(*one_score(np.nextafter(exact, np.float32(2)))).labels.tolist() == [DOG]


def test_equal_background_and_score_rounded_up_together_are_found():
    # 0.5 and 0.5 as unsigned bytes: both become 128 / 255, a sum above 1
    boxes, scores = one_score(0.5)
    scores[1] = 128 / 255, 0, 128 / 255, 0
    assert len(DetectionSelector(CONTRACT, DetectionSettings(0.5)).select(boxes, scores)) == 1


def test_a_sure_background_is_never_a_detection():
    boxes, scores = one_score(0.0)
    assert len(DetectionSelector(CONTRACT, DetectionSettings(0.0)).select(boxes, scores)) == 0


def test_the_background_alone_rules_a_prior_out():
    # no softmax does this; it shows that only the background column is read of most priors
    boxes, scores = one_score(0.5)
    scores[0, DOG] = 0.9  # beside a background of 1
    found = DetectionSelector(CONTRACT, DetectionSettings()).select(boxes, scores)
    np.testing.assert_array_equal(found.boxes_xyxy, boxes[[1]])


def test_one_prior_may_be_two_classes():
    boxes, scores = one_score(0.6, CAT)
    scores[1, COW] = 0.4
    found = DetectionSelector(CONTRACT, DetectionSettings(0.3)).select(boxes, scores)
    assert found.labels.tolist() == [CAT, COW]
    np.testing.assert_array_equal(found.boxes_xyxy, boxes[[1, 1]])


def test_equal_scores_come_in_the_order_of_the_priors():
    boxes = np.array([[0, 0, 0.4, 0.2], [0.5, 0, 0.9, 0.2], [0, 0.5, 0.4, 0.7]], np.float32)
    scores = np.array([[0.5, 0.5, 0, 0]] * 3, dtype=np.float32)
    found = DetectionSelector(CONTRACT, DetectionSettings()).select(boxes, scores)
    np.testing.assert_array_equal(found.boxes_xyxy, boxes)


def test_the_cap_on_candidates_keeps_the_best_and_the_first_of_equals():
    boxes = np.array([[x / 8, 0, (x + 1) / 8, 0.5] for x in range(4)], np.float32)
    scores = np.zeros((4, 4), np.float32)
    scores[:, CAT] = 0.6, 0.7, 0.9, 0.7
    scores[:, 0] = 1 - scores[:, CAT]
    found = DetectionSelector(CONTRACT, DetectionSettings(max_candidates=2)).select(boxes, scores)
    np.testing.assert_array_equal(found.boxes_xyxy, boxes[[2, 1]])


def test_no_detection_has_the_shapes_of_many():
    found = DetectionSelector(CONTRACT, DetectionSettings()).select(*one_score(0.1))
    assert (found.boxes_xyxy.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))
    assert found.boxes_xyxy.dtype == found.scores.dtype == np.float32


def test_the_outputs_stay_as_they_were():
    boxes, scores = random_outputs(0, CONTRACT)
    before = boxes.copy(), scores.copy()
    DetectionSelector(CONTRACT, DetectionSettings(max_candidates=3)).select(boxes, scores)
    np.testing.assert_array_equal(boxes, before[0])
    np.testing.assert_array_equal(scores, before[1])


def test_detections_do_not_share_memory_with_the_outputs():
    # the next inference may write over the outputs while a message is still being made
    boxes, scores = random_outputs(0, CONTRACT)
    found = DetectionSelector(CONTRACT, DetectionSettings()).select(boxes, scores)
    assert not np.shares_memory(found.boxes_xyxy, boxes)
    assert not np.shares_memory(found.scores, scores)


# outputs that are no probabilities and no boxes

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize('threshold', [0.0, 0.35, 1.0])
def test_a_row_of_nan_is_an_error_and_not_an_empty_scene(threshold):
    boxes, scores = one_score(0.1)
    scores[1] = NAN  # what softmax makes of one NaN or +inf logit
    selector = DetectionSelector(CONTRACT, DetectionSettings(score_threshold=threshold))
    with pytest.raises(BackendError, match=r"score of prior 1, class 'background' is nan"):
        selector.select(boxes, scores)


@pytest.mark.parametrize('bad', [NAN, INF, 7.5, 1.0625])
def test_a_candidate_whose_score_is_no_probability_is_an_error(bad):
    boxes, scores = one_score(0.6)
    scores[1, COW] = bad  # 7.5: a logit, from a graph without softmax
    with pytest.raises(BackendError, match=f"score of prior 1, class 'cow' is {bad}"):
        DetectionSelector(CONTRACT, DetectionSettings()).select(boxes, scores)


@pytest.mark.parametrize('settings', [
    DetectionSettings(), DetectionSettings(score_threshold=1.0),
    DetectionSettings(class_allow=frozenset(['dog']))])
def test_nan_of_a_sigmoid_model_is_an_error_in_any_class(settings):
    boxes, scores = random_outputs(0, SIGMOID)
    scores[17, 2] = NAN
    with pytest.raises(BackendError, match=r"score of prior 17, class 'cow' is nan"):
        DetectionSelector(SIGMOID, settings).select(boxes, scores)


def test_a_score_above_1_by_rounding_is_none():
    boxes, scores = one_score(1.0)
    scores[1, DOG] = np.nextafter(np.float32(1), np.float32(2))
    assert len(DetectionSelector(CONTRACT, DetectionSettings()).select(boxes, scores)) == 1


@pytest.mark.parametrize('bad', [NAN, INF, -INF])
def test_a_detection_without_a_finite_box_is_an_error(bad):
    boxes, scores = one_score(0.6)
    boxes[1, 2] = bad
    with pytest.raises(BackendError, match=rf'box of prior 1 is \[0.0, 0.0, {bad}, 1.0\]'):
        DetectionSelector(CONTRACT, DetectionSettings()).select(boxes, scores)


# settings

@pytest.mark.parametrize(('values', 'message'), [
    ({'score_threshold': 1.01}, 'score_threshold is 1.01, expected a number from 0 to 1'),
    ({'score_threshold': -0.1}, 'score_threshold is -0.1'),
    ({'score_threshold': NAN}, 'score_threshold is nan'),
    ({'nms_iou': 45}, 'nms_iou is 45'),
    ({'max_detections': 0}, 'max_detections is 0, expected at least 1'),
    ({'max_candidates': -5}, 'max_candidates is -5, expected at least 1'),
    ({'class_thresholds': (('dog', 0.5), ('cat', 2.0))}, r'class_thresholds\[cat\] is 2.0'),
    ({'class_thresholds': (('cat', 0.5), ('cat', 0.6))},
     "class_thresholds names 'cat' twice, with 0.5 and 0.6"),
])
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        DetectionSettings(**values)


@pytest.mark.parametrize('values', [
    {'class_allow': frozenset(['dog', 'person'])}, {'class_thresholds': (('person', 0.5),)}])
def test_a_class_that_the_model_lacks_is_named_beside_those_it_has(values):
    with pytest.raises(ConfigError, match=(
            f"^{list(values)[0]}: .*no class 'person'; it knows cat, dog, cow$")):
        DetectionSelector(CONTRACT, DetectionSettings(**values))


def test_the_background_cannot_be_allowed():
    with pytest.raises(ConfigError, match="no class 'background'"):
        DetectionSelector(CONTRACT, DetectionSettings(class_allow=frozenset(['background'])))


@pytest.mark.parametrize(('boxes', 'labels'), [((2, 4), (3,)), ((3, 5), (3,)), ((3, 4), (3, 1))])
def test_detections_of_different_lengths_are_refused(boxes, labels):
    with pytest.raises(ShapeError, match=rf'3 scores need boxes \(3, 4\).*found \({boxes[0]}, '):
        Detections(np.zeros(boxes), np.zeros(3), np.zeros(labels, np.intp))
