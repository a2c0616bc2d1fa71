"""Batches: the same for the same seed, epoch and place, whatever came before and whoever asks."""

import threading

import numpy as np
import pytest
import torch

from helpers.model_settings import small_run
from helpers.synthetic import SHAPES, write_world
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import AugmentConfig
from mbv2ssd_train.data.loading.loader import TrainLoader
from mbv2ssd_train.data.sources.open import open_dataset


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Eleven images in two sets."""
    root = write_world(tmp_path_factory.mktemp('world'), train=7, more=4)
    return [open_dataset(root, split, SHAPES) for split in ('train', 'more')]


def loader(world, batch_size=3, seed=1, rank=0, world_size=1, workers=2, **sections):
    config = small_run('.', seed=seed, training={'batch_size': batch_size},
                       data={'workers': workers}, **sections)
    return TrainLoader(world, config, rank, world_size)


def by_source(batches):
    """Return image and boxes of each image file."""
    return {source: (image.numpy(), boxes[labels > 0].numpy())
            for batch in batches
            for source, image, boxes, labels in zip(
                batch.sources, batch.images, batch.boxes_xyxy, batch.labels)}


def assert_same(found, expected):
    assert found.sources == expected.sources
    for part in ('images', 'boxes_xyxy', 'labels', 'difficult'):
        assert torch.equal(getattr(found, part), getattr(expected, part)), part


def test_a_batch_has_what_the_loss_needs(world):
    batch = next(iter(loader(world).epoch(0)))
    assert batch.images.shape == (3, 64, 96, 3) and batch.images.dtype == torch.uint8
    assert batch.boxes_xyxy.dtype == torch.float32 and batch.labels.dtype == torch.int64
    assert batch.difficult.dtype == torch.bool
    assert batch.boxes_xyxy.shape == (*batch.labels.shape, 4)
    assert batch.difficult.shape == batch.labels.shape and len(batch.labels) == 3


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
    first, second, other = (next(loader(world, seed=seed, batch_size=11).epoch(epoch))
                            for seed, epoch in ((1, 0), (1, 1), (2, 0)))
    for different in (second, other):
        assert different.sources != first.sources
        pairs = by_source([first]), by_source([different])
        assert any((pairs[0][s][0] != pairs[1][s][0]).any() for s in first.sources)


@pytest.mark.parametrize('workers', [1, 2, 4])
def test_the_same_epoch_is_the_same_whatever_the_number_of_workers(world, workers):
    for found, expected in zip(loader(world, workers=workers).epoch(3),
                               loader(world, workers=1).epoch(3), strict=True):
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
    others = by_source(loader(world, batch_size=2).epoch(4))
    assert others.keys() < together.keys() and len(others) == 10
    for source, (image, boxes) in others.items():
        np.testing.assert_array_equal(image, together[source][0])
        np.testing.assert_array_equal(boxes, together[source][1])


@pytest.mark.parametrize('world_size', [2, 3])
def test_the_processes_together_make_the_batches_of_one(world, world_size):
    settings = {'batch_size': 6, 'augment': {'input_sizes_hw': [[64, 96], [32, 64]]}}
    shares = [list(loader(world, rank=rank, world_size=world_size, **settings).epoch(1))
              for rank in range(world_size)]
    for whole, *parts in zip(loader(world, **settings).epoch(1), *shares, strict=True):
        for row in range(6):
            part = parts[row % world_size]
            assert part.sources[row // world_size] == whole.sources[row]
            assert torch.equal(part.images[row // world_size], whole.images[row])
            real = whole.labels[row] > 0
            own = part.labels[row // world_size] > 0
            assert torch.equal(part.labels[row // world_size][own], whole.labels[row][real])
            assert torch.equal(part.boxes_xyxy[row // world_size][own],
                               whole.boxes_xyxy[row][real])


def test_a_batch_that_cannot_be_shared_is_refused(world):
    with pytest.raises(ConfigError, match='batch_size is 3, .* shared by 2 .* multiple of 2'):
        loader(world, rank=0, world_size=2)


def test_processes_share_what_there_is_evenly(world):
    batches = [list(loader(world, 64, rank=rank, world_size=4).epoch(0)) for rank in range(4)]
    assert [[len(batch) for batch in share] for share in batches] == [[2]] * 4  # 8 of 11


def test_sizes_change_from_batch_to_batch(world):
    sizes = [[64, 96], [96, 64], [32, 96]]
    batches = [batch for epoch in range(5) for batch in loader(
        world, batch_size=2, augment={'input_sizes_hw': sizes}).epoch(epoch)]
    assert {tuple(batch.images.shape[1:3]) for batch in batches} == set(map(tuple, sizes))


def test_the_last_epochs_are_only_mirrored_where_asked(world):
    # of two epochs the second; with the same seed both mirror the same images
    plain = loader(world, augment={'expand': 0, 'crop': 0, 'photometric': 0})
    found = loader(world, augment={'plain_fraction': 0.5})
    for batch, expected in zip(found.epoch(1), plain.epoch(1), strict=True):
        assert_same(batch, expected)
    first, unchanged = next(found.epoch(0)), next(plain.epoch(0))
    assert first.sources == unchanged.sources
    assert not torch.equal(first.images, unchanged.images)


@pytest.mark.parametrize('epochs, fraction, first_plain', [
    (100, 0.05, 95), (10, 0.05, 10), (3, 1.0, 0), (3, 0.0, 3)])
def test_a_share_of_the_epochs_is_plain(epochs, fraction, first_plain):
    config = AugmentConfig(plain_fraction=fraction)
    plain = [epoch for epoch in range(epochs)
             if config.in_epoch(epoch, epochs).crop == 0]
    assert plain == list(range(first_plain, epochs))
    assert config.in_epoch(epochs - 1, epochs).flip == config.flip


def test_an_epoch_given_up_early_ends_with_its_threads(world):
    before = set(threading.enumerate())
    batches = loader(world, batch_size=2, workers=4).epoch(0)
    next(batches)
    assert len(set(threading.enumerate()) - before) > 0
    batches.close()
    assert set(threading.enumerate()) == before
    assert list(batches) == []


@pytest.mark.parametrize('workers', [1, 4])
def test_a_broken_image_is_named_and_leaves_no_thread(tmp_path, workers):
    root = write_world(tmp_path, train=3)
    (root / 'JPEGImages/train0001.png').write_bytes(b'no image')
    before = set(threading.enumerate())
    with pytest.raises(DataError, match=r'train0001\.png: does not decode'):
        list(loader([open_dataset(root, 'train', SHAPES)], workers=workers).epoch(0))
    assert set(threading.enumerate()) == before
