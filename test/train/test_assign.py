"""Matching and mining, against a loop over priors and with cases worked out by hand."""

import pytest
import torch

from mbv2ssd_train.assign import assign, match_image, mine_hard_negatives, pairwise_iou
from mbv2ssd_train.config import MatchConfig

CONFIG = MatchConfig()  # positive from 0.5, ignored from 0.4, three negatives for a positive
# four strips side by side, each a quarter of the width
STRIPS = torch.tensor([[k / 4, 0, (k + 1) / 4, 1] for k in range(4)])


def boxes_of(*xyxy):
    return torch.tensor(xyxy, dtype=torch.float32).reshape(-1, 4)


def easy(count):
    return torch.zeros(count, dtype=torch.bool)


def match(boxes, labels, difficult=None, priors=STRIPS, config=CONFIG):
    labels = torch.tensor(labels)
    flags = easy(len(labels)) if difficult is None else torch.tensor(difficult)
    return match_image(priors, boxes, labels, flags, config)


def iou(a, b):
    """IoU of two boxes, a number at a time."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height)


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


def test_iou_of_half_overlapping_boxes():
    # 1 x 1 and 1 x 1, moved by half a side: 0.5 / 1.5
    found = pairwise_iou(boxes_of([0, 0, 1, 1]), boxes_of([0.5, 0, 1.5, 1], [2, 2, 3, 3]))
    torch.testing.assert_close(found, torch.tensor([[1 / 3, 0.0]]))


def test_an_object_takes_the_prior_that_it_covers():
    labels, boxes = match(STRIPS[2:3], [7])
    assert labels.tolist() == [0, 0, 7, 0]
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
    labels, boxes = match(boxes_of(), [])
    assert labels.tolist() == [0, 0, 0, 0] and labels.dtype == torch.int64
    assert boxes.shape == (4, 4)


@pytest.mark.parametrize('seed', range(12))
def test_equals_the_loop_over_priors(seed):
    generator = torch.Generator().manual_seed(seed)

    def random_boxes(count):
        corner = 0.7 * torch.rand((count, 2), generator=generator)
        size = 0.1 + 0.2 * torch.rand((count, 2), generator=generator) * (1 + (seed % 3))
        return torch.cat([corner, corner + size], dim=1)

    priors, boxes = random_boxes(80), random_boxes(seed % 6)
    labels = torch.randint(1, 4, (len(boxes),), generator=generator)
    difficult = torch.rand(len(boxes), generator=generator) < 0.3
    config = MatchConfig(match_iou=0.45, ignore_iou=0.3)
    found_labels, found_boxes = match_image(priors, boxes, labels, difficult, config)
    expected = slow_match(
        priors.tolist(), boxes.tolist(), labels.tolist(), difficult.tolist(), config)
    assert found_labels.tolist() == [label for label, _ in expected]
    for prior, (label, owner) in enumerate(expected):
        if label > 0:
            assert found_boxes[prior].tolist() == boxes[owner].tolist()


def test_a_batch_is_its_images_one_by_one():
    images = [(STRIPS[2:3], torch.tensor([7])), (boxes_of(), torch.tensor([], dtype=torch.int64))]
    targets = assign(STRIPS, [b for b, _ in images], [n for _, n in images],
                     [easy(len(n)) for _, n in images], CONFIG)
    assert targets.labels.tolist() == [[0, 0, 7, 0], [0, 0, 0, 0]]
    assert targets.boxes_xyxy.shape == (2, 4, 4)


def test_the_three_hardest_negatives_are_chosen_for_a_positive():
    labels = torch.tensor([[2, 0, 0, 0, 0, 0, -1]])
    loss = torch.tensor([[9.0, 0.1, 0.5, 0.3, 0.2, 0.4, 8.0]])
    chosen = mine_hard_negatives(loss, labels, 3.0)
    assert chosen.tolist() == [[False, False, True, True, False, True, False]]


@pytest.mark.parametrize('seed', range(5))
def test_three_negatives_for_each_positive_of_the_same_image(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 12, (4, 300), generator=generator).clamp(max=1) \
        * (torch.rand(4, 300, generator=generator) < 0.2)
    loss = torch.rand(4, 300, generator=generator)
    before = loss.clone()
    chosen = mine_hard_negatives(loss, labels, 3.0)
    assert torch.equal(loss, before)
    for row, image in enumerate(labels):
        positives, negatives = int((image == 1).sum()), int((image == 0).sum())
        assert int(chosen[row].sum()) == min(3 * positives, negatives) > 0
        assert (image[chosen[row]] == 0).all()
        left = loss[row][(image == 0) & ~chosen[row]]
        assert not len(left) or loss[row][chosen[row]].min() >= left.max()


def test_an_image_without_objects_gives_as_many_negatives_as_one_positive_would():
    chosen = mine_hard_negatives(torch.rand(1, 50), torch.zeros(1, 50, dtype=torch.int64), 3.0)
    assert int(chosen.sum()) == 3


def test_where_negatives_are_few_all_are_taken():
    chosen = mine_hard_negatives(torch.rand(1, 4), torch.tensor([[1, 1, 0, -1]]), 3.0)
    assert chosen.tolist() == [[False, False, True, False]]
