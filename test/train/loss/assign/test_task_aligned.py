"""Task-aligned assignment against a loop over objects, and with cases worked out by hand."""

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import torch

from helpers.matching_cases import (
    boxes_of,
    holds,
    iou,
    learnt_boxes,
    objects_of,
    priors_of,
    random_boxes,
    random_image,
    rearranged,
    rescue,
    wide_priors,
)
from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss.assign.task_aligned import assign_by_alignment

PRIORS = wide_priors()
# three priors around the centre of an object that is the left half of the image
OBJECT = boxes_of([0, 0, 0.5, 1])
INSIDE = priors_of(boxes_of([0.1, 0.1, 0.4, 0.9], [0.2, 0.2, 0.3, 0.8], [0, 0, 0.5, 0.9],
                            [0.5, 0, 1, 1]))


def config_of(**changes):
    return MatchConfig(method='task_aligned', **changes)


def align(predicted, scores, config, objects=None):
    """Match INSIDE to one object of class 1, or to others."""
    return assign_by_alignment(INSIDE, objects or objects_of((OBJECT, [1], None)),
                               predicted[None], torch.tensor(scores)[None, :, None], config)


def slow_assignment(priors, boxes, labels, difficult, predicted, scores, config):
    """Ask each object in turn; owner (or None) and wanted score of each prior."""
    overlap = [[iou(box, prior) for prior in predicted] for box in boxes]
    aligned = [[scores[p][labels[n] - 1] ** config.score_power * overlap[n][p] ** config.iou_power
                for p in range(len(priors))] for n in range(len(boxes))]
    easy = [n for n in range(len(boxes)) if not difficult[n]]
    owners = [None] * len(priors)
    for n in easy:
        allowed = [p for p, box in enumerate(priors) if holds(
            boxes[n], (box[0] + box[2]) / 2, (box[1] + box[3]) / 2)]
        for p in sorted(allowed, key=lambda p: -aligned[n][p])[:config.aligned_priors]:
            rival = owners[p]
            if aligned[n][p] > 0 and (rival is None or overlap[n][p] > overlap[rival][p]):
                owners[p] = n
    own_overlap = [[iou(box, prior) for prior in priors] for box in boxes]
    given_away = rescue(owners, own_overlap, easy)
    wanted = [0.0] * len(priors)
    for n in easy:
        mine = [p for p, owner in enumerate(owners) if owner == n and p not in given_away]
        for p in mine:
            wanted[p] = aligned[n][p] / max(aligned[n][q] for q in mine) \
                * max(overlap[n][q] for q in mine)
    for p in given_away:
        wanted[p] = own_overlap[owners[p]][p]
    return owners, wanted


def test_the_best_aligned_priors_with_their_centre_inside_are_positive():
    # the fourth prior predicts best of all, but its centre is elsewhere
    predicted = boxes_of([0, 0, 0.5, 1], [0, 0, 0.5, 0.8], [0, 0, 0.5, 0.4], [0, 0, 0.5, 1])
    targets = align(predicted, [0.5, 0.5, 0.5, 0.9], config_of(aligned_priors=2))
    assert targets.labels.tolist() == [[1, 1, 0, 0]]


def test_a_better_score_makes_up_for_a_worse_box():
    # with beta 1: 0.9 * 0.5 above 0.4 * 1
    predicted = boxes_of([0, 0, 0.5, 0.5], [0, 0, 0.5, 1], [0.6, 0, 0.7, 1], [0.6, 0, 0.7, 1])
    config = config_of(aligned_priors=1, iou_power=1.0)
    targets = align(predicted, [0.9, 0.4, 0.9, 0.9], config)
    assert targets.labels.tolist() == [[1, 0, 0, 0]]


def test_the_best_of_an_object_is_to_score_its_largest_iou():
    # alignment 0.2 * 0.8 = 0.16 and 0.8 * 0.5 = 0.4: scores of 0.16 / 0.4 * 0.8 and 0.8
    predicted = boxes_of([0, 0, 0.5, 0.8], [0, 0, 0.5, 0.5], [0.6, 0, 0.7, 1], [0.6, 0, 0.7, 1])
    targets = align(predicted, [0.2, 0.8, 0.5, 0.5], config_of(iou_power=1.0))
    assert targets.labels.tolist() == [[1, 1, 0, 0]]
    torch.testing.assert_close(targets.alignment[0, :2], torch.tensor([0.32, 0.8]))


def test_an_object_that_no_prediction_meets_takes_the_prior_that_overlaps_it_most():
    # the third prior is nine tenths of the object, and is to score that
    nowhere = boxes_of(*[[0.9, 0.9, 0.95, 0.95]] * 4)
    targets = align(nowhere, [0.5] * 4, config_of())
    assert targets.labels.tolist() == [[0, 0, 1, 0]]
    assert targets.alignment[0, 2].item() == pytest.approx(0.9)


def test_priors_near_a_difficult_object_learn_nothing():
    # the first prior covers 0.24 of 0.5, the second 0.06 of 0.5, the third nine tenths
    objects = objects_of((OBJECT, [1], [True]))
    targets = align(boxes_of(*[[0, 0, 0.5, 1]] * 4), [0.5] * 4, config_of(), objects)
    assert targets.labels.tolist() == [[-1, 0, -1, 0]]


def random_case(seed):
    generator = torch.Generator().manual_seed(seed)
    images = [random_image(generator, count) for count in (1 + seed % 5, 0, 3)]
    predicted = torch.stack([random_boxes(generator, 60) for _ in images])
    return images, predicted, torch.rand(3, 60, 3, generator=generator)


@pytest.mark.parametrize('seed', range(10))
def test_equals_the_loop_over_objects(seed):
    images, predicted, scores = random_case(seed)
    config = config_of(aligned_priors=1 + seed, score_power=0.5, iou_power=2.0 + seed % 3)
    objects = objects_of(*images)
    targets = assign_by_alignment(PRIORS, objects, predicted, scores, config)
    learnt = learnt_boxes(targets, objects)
    for row, (boxes, labels, difficult) in enumerate(images):
        owners, wanted = slow_assignment(
            PRIORS.xyxy.tolist(), boxes.tolist(), labels.tolist(), difficult.tolist(),
            predicted[row].tolist(), scores[row].tolist(), config)
        assert targets.alignment[row].tolist() == pytest.approx(wanted, abs=1e-5)
        for prior, owner in enumerate(owners):
            expected = 0 if owner is None else labels[owner]
            assert max(targets.labels[row, prior], 0) == expected
            if owner is not None:
                assert learnt[row, prior].tolist() == boxes[owner].tolist()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_neither_order_nor_empty_places_matter(seed):
    images, predicted, scores = random_case(seed)
    objects = objects_of(*images)
    moved = rearranged(objects, torch.Generator().manual_seed(seed))
    one, other = (assign_by_alignment(PRIORS, item, predicted, scores, config_of())
                  for item in (objects, moved))
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(learnt_boxes(one, objects), learnt_boxes(other, moved))
    torch.testing.assert_close(one.alignment, other.alignment)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), exponent=st.integers(-40, 0))
def test_wanted_scores_are_shares_however_small_the_alignments(seed, exponent):
    images, predicted, scores = random_case(seed)
    targets = assign_by_alignment(
        PRIORS, objects_of(*images), predicted, scores * 10.0 ** exponent, config_of())
    assert ((targets.alignment >= 0) & (targets.alignment <= 1)).all()
    assert (targets.alignment[targets.positive] > 0).float().mean() > 0.5 \
        or not targets.positive.any()
