"""Matching by IoU, against a loop over priors and with cases worked out by hand."""

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
import torch

from helpers.matching_cases import (
    boxes_of,
    iou,
    learnt_boxes,
    objects_of,
    priors_of,
    random_boxes,
    random_image,
    rearranged,
)
from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss.assign.iou import assign_by_iou

CONFIG = MatchConfig()  # positive from 0.5, ignored from 0.4
# four strips side by side, each a quarter of the width
STRIPS = torch.tensor([[k / 4, 0, (k + 1) / 4, 1] for k in range(4)])


def match(boxes, labels, difficult=None, priors=STRIPS, config=CONFIG):
    """Return labels and boxes of each prior of one image."""
    objects = objects_of((boxes, labels, difficult))
    targets = assign_by_iou(priors_of(priors), objects, config)
    return targets.labels[0], learnt_boxes(targets, objects)[0]


def slow_match(priors, boxes, labels, difficult, config):
    """Ask each prior in turn which object is its own; (label, object or None) for each."""
    overlap = [[iou(prior, box) for box in boxes] for prior in priors]
    easy_ones = [n for n in range(len(boxes)) if not difficult[n]]
    wanted_by = {}  # prior -> the objects that have it as their best
    for n in easy_ones:
        best = max(range(len(priors)), key=lambda p: overlap[p][n])
        wanted_by.setdefault(best, []).append(n)
    found = []
    for p, row in enumerate(overlap):
        if p in wanted_by:
            winner = max(wanted_by[p], key=lambda n: row[n])
            found.append((labels[winner], winner))
            continue
        best = max(easy_ones, key=lambda n: row[n], default=None)
        if best is not None and row[best] >= config.match_iou:
            found.append((labels[best], best))
        else:
            found.append((-1 if max(row, default=0) >= config.ignore_iou else 0, None))
    return found


def match_image(priors, boxes, labels, difficult, config):
    """Match one image as the package did before it matched batches; labels and boxes."""
    wanted, wanted_boxes = torch.zeros(len(priors), dtype=torch.int64), torch.zeros_like(priors)
    if not len(boxes):
        return wanted, wanted_boxes
    start = torch.maximum(boxes[:, None, :2], priors[None, :, :2])
    end = torch.minimum(boxes[:, None, 2:], priors[None, :, 2:])
    shared = (end - start).clamp(min=0).prod(dim=-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(dim=-1) for b in (boxes, priors)]
    overlap = shared / (areas[0][:, None] + areas[1][None] - shared)
    wanted[(overlap >= config.ignore_iou).any(dim=0)] = -1
    if difficult.all():
        return wanted, wanted_boxes
    overlap, boxes, labels = overlap[~difficult], boxes[~difficult], labels[~difficult]
    best, which = overlap.max(dim=0)
    own, own_prior = overlap.max(dim=1)
    for index in own.argsort(stable=True).tolist():
        which[own_prior[index]], best[own_prior[index]] = index, 1.0
    positive = best >= config.match_iou
    wanted[positive] = labels[which[positive]]
    wanted_boxes[positive] = boxes[which[positive]]
    return wanted, wanted_boxes


def test_an_object_takes_the_prior_that_it_covers():
    labels, boxes = match(STRIPS[2:3], [7])
    assert labels.tolist() == [0, 0, 7, 0] and labels.dtype == torch.int64
    assert boxes[2].tolist() == STRIPS[2].tolist()


def test_every_object_gets_its_best_prior_however_little_it_overlaps():
    # a tenth of the height of strip 1: IoU 0.1
    labels, boxes = match(boxes_of([0.25, 0, 0.5, 0.1]), [3])
    assert labels.tolist() == [0, 3, 0, 0]
    torch.testing.assert_close(boxes[1], torch.tensor([0.25, 0, 0.5, 0.1]))


def test_a_prior_between_the_thresholds_learns_nothing():
    # strip 1 and 45 hundredths of strip 2
    priors = torch.cat([STRIPS[1:2], boxes_of([0.25, 0, 0.5, 0.45], [0.25, 0, 0.5, 0.39])])
    labels, _ = match(STRIPS[1:2], [5], priors=priors)
    assert labels.tolist() == [5, -1, 0]


def test_a_prior_exactly_at_a_threshold_reaches_it():
    priors = boxes_of([0, 0, 1, 1], [0, 0, 1, 0.5], [0, 0, 1, 0.25])
    config = MatchConfig(match_iou=0.5, ignore_iou=0.25)
    labels, _ = match(boxes_of([0, 0, 1, 1]), [5], priors=priors, config=config)
    assert labels.tolist() == [5, 5, -1]


def test_priors_on_a_difficult_object_learn_nothing():
    labels, _ = match(STRIPS[:2], [5, 6], difficult=[False, True])
    assert labels.tolist() == [5, -1, 0, 0]


def test_a_difficult_object_forces_no_prior():
    # too small for the ignore threshold: as if it were not there
    labels, _ = match(boxes_of([0.25, 0, 0.5, 0.1]), [3], difficult=[True])
    assert labels.tolist() == [0, 0, 0, 0]


def test_where_two_objects_want_one_prior_the_better_match_has_it():
    worse, better = [0, 0, 0.25, 0.6], [0, 0, 0.25, 0.9]
    for order, winner in (([worse, better], 2), ([better, worse], 1)):
        labels, boxes = match(boxes_of(*order), [1, 2])
        assert labels.tolist() == [winner, 0, 0, 0]
        torch.testing.assert_close(boxes[0], torch.tensor(better))


def test_without_objects_everything_is_background():
    # next to an image with one, so that there is an empty place
    targets = assign_by_iou(priors_of(STRIPS), objects_of(
        (STRIPS[2:3], [7], None), (boxes_of(), [], None)), CONFIG)
    assert targets.labels.tolist() == [[0, 0, 7, 0], [0, 0, 0, 0]]


def test_an_empty_place_is_no_object_even_where_every_overlap_counts():
    config = MatchConfig(ignore_iou=0.0)
    targets = assign_by_iou(priors_of(STRIPS), objects_of(
        (STRIPS[2:3], [7], None), (boxes_of(), [], None)), config)
    assert targets.labels.tolist() == [[-1, -1, 7, -1], [0, 0, 0, 0]]


def test_a_prior_whose_centre_is_outside_its_object_is_ignored_where_asked():
    # both overlap the left half by 0.5 or more; the centre of the second is on its border
    priors = boxes_of([0, 0, 0.5, 1], [0, 0, 1, 1])
    for wanted, second in ((False, 4), (True, -1)):
        config = MatchConfig(center_in_object=wanted)
        labels, _ = match(boxes_of([0, 0, 0.5, 1]), [4], priors=priors, config=config)
        assert labels.tolist() == [4, second]


def test_the_best_prior_is_kept_although_its_centre_is_outside():
    labels, _ = match(boxes_of([0, 0, 0.1, 1]), [4], config=MatchConfig(center_in_object=True))
    assert labels.tolist() == [4, 0, 0, 0]


def test_an_object_keeps_its_best_priors_where_their_number_is_limited():
    # shares of the object: 0.6, 1, 0.8, 0.7
    priors = torch.tensor([[0, 0, 1, share] for share in (0.6, 1.0, 0.8, 0.7)])
    config = MatchConfig(max_positives_per_object=2)
    labels, _ = match(boxes_of([0, 0, 1, 1]), [5], priors=priors, config=config)
    assert labels.tolist() == [-1, 5, 5, -1]


def test_a_limit_counts_for_each_object_alone():
    config = MatchConfig(max_positives_per_object=1)
    labels, _ = match(STRIPS[1:3], [5, 6], config=config)
    assert labels.tolist() == [0, 5, 6, 0]


def random_case(seed):
    generator = torch.Generator().manual_seed(seed)
    priors = random_boxes(generator, 80, 0.3 + 0.2 * (seed % 3))
    images = [random_image(generator, count) for count in (seed % 6, 0, 4)]
    return priors, images


@pytest.mark.parametrize('seed', range(12))
def test_equals_the_loop_over_priors(seed):
    priors, images = random_case(seed)
    config = MatchConfig(match_iou=0.45, ignore_iou=0.3)
    objects = objects_of(*images)
    targets = assign_by_iou(priors_of(priors), objects, config)
    learnt = learnt_boxes(targets, objects)
    for row, (boxes, labels, difficult) in enumerate(images):
        expected = slow_match(
            priors.tolist(), boxes.tolist(), labels.tolist(), difficult.tolist(), config)
        assert targets.labels[row].tolist() == [label for label, _ in expected]
        for prior, (label, owner) in enumerate(expected):
            if label > 0:
                assert learnt[row, prior].tolist() == boxes[owner].tolist()


@pytest.mark.parametrize('seed', range(12))
def test_a_batch_is_its_images_one_by_one_to_the_bit(seed):
    priors, images = random_case(seed)
    objects = objects_of(*images)
    targets = assign_by_iou(priors_of(priors), objects, CONFIG)
    expected = [match_image(priors, *image, CONFIG) for image in images]
    assert torch.equal(targets.labels, torch.stack([labels for labels, _ in expected]))
    assert torch.equal(learnt_boxes(targets, objects), torch.stack([b for _, b in expected]))


@pytest.mark.parametrize('config', [
    CONFIG, MatchConfig(center_in_object=True), MatchConfig(max_positives_per_object=3)])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_neither_order_nor_empty_places_matter(config, seed):
    priors, images = random_case(seed)
    objects = objects_of(*images)
    moved = rearranged(objects, torch.Generator().manual_seed(seed))
    one, other = (assign_by_iou(priors_of(priors), item, config) for item in (objects, moved))
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(learnt_boxes(one, objects), learnt_boxes(other, moved))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), limit=st.integers(0, 4))
def test_every_object_has_a_prior_and_no_more_than_the_limit(seed, limit):
    priors, images = random_case(seed)
    objects = objects_of(*images)
    targets = assign_by_iou(
        priors_of(priors), objects, MatchConfig(max_positives_per_object=limit))
    for row, (boxes, _, difficult) in enumerate(images):
        best = [max(range(80), key=lambda p, box=box: iou(priors[p].tolist(), box))
                for box in boxes.tolist()]
        for n in range(len(boxes)):
            count = int((targets.positive[row] & (targets.objects[row] == n)).sum())
            rivals = [m for m in range(len(boxes)) if m != n and not difficult[m]]
            if difficult[n]:
                assert count == 0
            elif all(best[m] != best[n] for m in rivals):
                assert count >= 1
            assert not limit or count <= limit
