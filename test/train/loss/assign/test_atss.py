"""ATSS against a loop over objects and levels, and with cases worked out by hand."""

import statistics

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
    random_image,
    rearranged,
    rescue,
    wide_priors,
)
from mbv2ssd_ros.core.priors import PriorLevel
from mbv2ssd_train.config import MatchConfig
from mbv2ssd_train.loss.assign.atss import assign_by_atss, nearest_priors
from mbv2ssd_train.loss.assign.targets import PriorBoxes

PRIORS = wide_priors()


def config_of(**changes):
    return MatchConfig(method='atss', **changes)


def slow_candidates(box, cells):
    """Return the priors of the nearest cells of each level, measured in pixels."""
    x, y = (box[0] + box[2]) / 2 * 96, (box[1] + box[3]) / 2 * 64
    found, first = [], 0
    for level in PRIORS.levels:
        rows, columns = level.feature_size_hw
        away = []
        for cell in range(rows * columns):
            cell_x = (cell % columns + 0.5) / columns * 96
            cell_y = (cell // columns + 0.5) / rows * 64
            away.append(((cell_x - x) ** 2 + (cell_y - y) ** 2, cell))
        for _, cell in sorted(away)[:cells]:
            found += [first + cell * 2, first + cell * 2 + 1]
        first += rows * columns * 2
    return found


def slow_owners(boxes, difficult, cells):
    """Ask each object in turn for its priors; object or None of each prior."""
    priors = PRIORS.xyxy.tolist()
    overlap = [[iou(box, prior) for prior in priors] for box in boxes]
    easy = [n for n in range(len(boxes)) if not difficult[n]]
    owners = [None] * len(priors)
    for n in easy:
        candidates = slow_candidates(boxes[n], cells)
        found = [overlap[n][p] for p in candidates]
        threshold = statistics.mean(found) + statistics.stdev(found)
        for p in candidates:
            x, y = PRIORS.cxcywh[p, :2].tolist()
            rival = owners[p]
            if overlap[n][p] >= threshold and holds(boxes[n], x, y) \
                    and (rival is None or overlap[n][p] > overlap[rival][p]):
                owners[p] = n
    rescue(owners, overlap, easy)
    return owners, overlap


def test_near_is_measured_in_pixels():
    # two cells side by side, two one above the other, all half an image from the middle:
    # on an image twice as wide as high those above and below are nearer
    level = PriorLevel((3, 3), ((0.2, 0.2),))
    priors = PriorBoxes.of((level,), (100, 200))
    centre = boxes_of([0.4, 0.4, 0.6, 0.6])[None]
    assert sorted(nearest_priors(priors, centre, 3)[0, 0].tolist()) == [1, 4, 7]


def test_every_level_offers_its_nearest_cells_with_all_their_shapes():
    # the middle of the image lies nearest to the middle columns; a level of 2 x 2 has no more
    levels = (PriorLevel((1, 5), ((0.2, 0.2), (0.3, 0.3))), PriorLevel((2, 2), ((0.5, 0.5),)))
    found = nearest_priors(PriorBoxes.of(levels, (64, 96)), boxes_of([0.4, 0.4, 0.6, 0.6])[None],
                           5)
    assert sorted(found[0, 0].tolist()) == [*range(10), 10, 11, 12, 13]


def test_the_threshold_is_mean_and_deviation_of_the_candidates():
    # IoU with the four cells of one row: 1, 0, 0, 0. Mean 0.25, deviation 0.5, threshold 0.75
    level = PriorLevel((1, 4), ((0.25, 1.0),))
    objects = objects_of((boxes_of([0.25, 0, 0.5, 1]), [3], None))
    targets = assign_by_atss(PriorBoxes.of((level,), (64, 96)), objects, config_of())
    assert targets.labels.tolist() == [[0, 3, 0, 0]]


def test_a_prior_takes_part_only_with_its_centre_inside():
    # IoU of the two cells 0.5 and 0.5: both reach the threshold of 0.5, neither centre is inside
    level = PriorLevel((1, 2), ((0.5, 1.0),))
    priors = PriorBoxes.of((level,), (64, 96))
    third = 1 / 3
    objects = objects_of((boxes_of([0.5 - third / 2, 0, 0.5 + third / 2, 1]), [3], None))
    labels = assign_by_atss(priors, objects, config_of()).labels[0].tolist()
    assert sorted(labels) == [0, 3]  # one of them, since an object does not go empty


def test_priors_near_a_difficult_object_learn_nothing():
    level = PriorLevel((1, 4), ((0.25, 1.0),))
    objects = objects_of((boxes_of([0.25, 0, 0.5, 1], [0.75, 0, 1, 1]), [3, 2], [True, False]))
    targets = assign_by_atss(PriorBoxes.of((level,), (64, 96)), objects, config_of())
    assert targets.labels.tolist() == [[0, -1, 0, 2]]


def test_without_objects_everything_is_background():
    objects = objects_of((boxes_of(), [], None), (boxes_of([0.1, 0.2, 0.5, 0.7]), [1], None))
    targets = assign_by_atss(PRIORS, objects, config_of())
    assert not targets.labels[0].any() and targets.labels[1].any()


@pytest.mark.parametrize('seed', range(10))
def test_equals_the_loop_over_objects(seed):
    generator = torch.Generator().manual_seed(seed)
    images = [random_image(generator, count) for count in (1 + seed % 5, 3)]
    objects, config = objects_of(*images), config_of(atss_cells=1 + seed % 4, ignore_iou=0.3)
    targets = assign_by_atss(PRIORS, objects, config)
    learnt = learnt_boxes(targets, objects)
    for row, (boxes, labels, difficult) in enumerate(images):
        owners, overlap = slow_owners(boxes.tolist(), difficult.tolist(), config.atss_cells)
        for prior, owner in enumerate(owners):
            if owner is None:
                near = any(overlap[n][prior] >= 0.3 for n in range(len(boxes)) if difficult[n])
                assert targets.labels[row, prior] == (-1 if near else 0)
            else:
                assert targets.labels[row, prior] == labels[owner]
                assert learnt[row, prior].tolist() == boxes[owner].tolist()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_neither_order_nor_empty_places_matter(seed):
    generator = torch.Generator().manual_seed(seed)
    objects = objects_of(random_image(generator, seed % 5), random_image(generator, 3))
    moved = rearranged(objects, generator)
    one, other = (assign_by_atss(PRIORS, item, config_of()) for item in (objects, moved))
    assert torch.equal(one.labels, other.labels)
    assert torch.equal(learnt_boxes(one, objects), learnt_boxes(other, moved))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_object_has_a_prior_however_small_it_is(seed):
    # one object in each quarter of the image, from a hundredth of it to all of it
    generator = torch.Generator().manual_seed(seed)
    size = 0.005 + 0.45 * torch.rand(4, 2, generator=generator) ** 2
    quarter = torch.tensor([[0, 0], [0.5, 0], [0, 0.5], [0.5, 0.5]])
    corner = quarter + (0.5 - size) * torch.rand(4, 2, generator=generator)
    objects = objects_of((torch.cat([corner, corner + size], dim=1), [1, 2, 3, 4], None))
    labels = assign_by_atss(PRIORS, objects, config_of()).labels
    assert set(labels.unique().tolist()) >= {1, 2, 3, 4}
