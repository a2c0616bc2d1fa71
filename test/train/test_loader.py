"""Batches: the same for the same seed, epoch and place, whatever came before."""

import numpy as np
import pytest
from synthetic import SHAPES, write_world
import torch

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import AugmentConfig
from mbv2ssd_train.data.loader import TrainLoader
from mbv2ssd_train.data.sources import open_dataset


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Eleven images in two sets."""
    root = write_world(tmp_path_factory.mktemp('world'), train=7, more=4)
    return [open_dataset(root, split, SHAPES) for split in ('train', 'more')]


def loader(world, batch_size=3, seed=1, **augmentation):
    return TrainLoader(world, (64, 96), batch_size, AugmentConfig(**augmentation), seed)


def by_source(batches):
    """Return image and boxes of each image file."""
    return {source: (image.numpy(), boxes.numpy())
            for batch in batches
            for source, image, boxes in zip(batch.sources, batch.images, batch.boxes_xyxy)}


def assert_same(found, expected):
    assert found.sources == expected.sources
    assert torch.equal(found.images, expected.images)
    for part in ('boxes_xyxy', 'labels', 'difficult'):
        for one, other in zip(getattr(found, part), getattr(expected, part), strict=True):
            assert torch.equal(one, other)


def test_a_batch_has_what_the_loss_needs(world):
    batch = next(iter(loader(world).epoch(0)))
    assert batch.images.shape == (3, 64, 96, 3) and batch.images.dtype == torch.uint8
    assert [boxes.dtype for boxes in batch.boxes_xyxy] == [torch.float32] * 3
    assert [labels.dtype for labels in batch.labels] == [torch.int64] * 3
    assert [flags.dtype for flags in batch.difficult] == [torch.bool] * 3


def test_the_last_smaller_batch_is_left_out(world):
    batches = list(loader(world).epoch(0))
    assert len(batches) == len(loader(world)) == 3
    assert len(set(sum((batch.sources for batch in batches), ()))) == 9


def test_one_batch_holds_what_there_is(world):
    batches = list(loader(world, batch_size=64).epoch(0))
    assert len(batches) == 1 and len(set(batches[0].sources)) == 11


def test_all_epochs_together_show_every_image(world):
    seen = {source for epoch in range(6) for batch in loader(world).epoch(epoch)
            for source in batch.sources}
    assert len(seen) == 11


def test_epochs_and_seeds_differ_in_order_and_in_pixels(world):
    first, second, other = (loader(world, seed=seed, batch_size=11).epoch(epoch)
                            for seed, epoch in ((1, 0), (1, 1), (2, 0)))
    first, second, other = next(first), next(second), next(other)
    for different in (second, other):
        assert different.sources != first.sources
        pairs = by_source([first]), by_source([different])
        assert any((pairs[0][s][0] != pairs[1][s][0]).any() for s in first.sources)


def test_the_same_epoch_twice_is_the_same(world):
    for found, expected in zip(loader(world).epoch(3), loader(world).epoch(3), strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize('first_batch', [1, 2, 3])
def test_an_epoch_taken_up_in_the_middle_goes_on_the_same(world, first_batch):
    whole = list(loader(world).epoch(2))
    rest = list(loader(world).epoch(2, first_batch))
    assert len(rest) == 3 - first_batch
    for found, expected in zip(rest, whole[first_batch:], strict=True):
        assert_same(found, expected)


def test_an_image_does_not_depend_on_its_batch(world):
    together = by_source(loader(world, batch_size=11).epoch(4))
    alone = by_source(loader(world, batch_size=1).epoch(4))
    assert together.keys() == alone.keys()
    for source, (image, boxes) in together.items():
        np.testing.assert_array_equal(image, alone[source][0])
        np.testing.assert_array_equal(boxes, alone[source][1])


def test_an_epoch_given_up_early_ends(world):
    batches = loader(world, batch_size=1).epoch(0)
    next(batches)
    batches.close()
    assert list(batches) == []


def test_a_broken_image_is_named(tmp_path):
    root = write_world(tmp_path, train=3)
    (root / 'JPEGImages/train0001.png').write_bytes(b'no image')
    broken = loader([open_dataset(root, 'train', SHAPES)])
    with pytest.raises(DataError, match=r'train0001\.png: does not decode'):
        list(broken.epoch(0))
