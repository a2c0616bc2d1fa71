"""Images on the training device: the same views and boxes as painted by OpenCV."""

import numpy as np
import pytest
import torch

from helpers.model_settings import small_run
from helpers.painted_views import draws_of, extent, GEOMETRY, objects_of, painted
from helpers.synthetic import SHAPES, write_world
from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import AugmentConfig
from mbv2ssd_train.data.augment.geometry import draw_views, Views, WHOLE
from mbv2ssd_train.data.loading.device import DeviceLoader, sample, sampling_of
from mbv2ssd_train.data.loading.loader import open_loader, TrainLoader
from mbv2ssd_train.data.sources.open import open_dataset

CPU = torch.device('cpu')
UNCHANGED = np.hstack([np.eye(3), np.zeros((3, 1))]).astype(np.float32)


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    """Eleven images in two sets."""
    root = write_world(tmp_path_factory.mktemp('world'), train=7, more=4)
    return [open_dataset(root, split, SHAPES) for split in ('train', 'more')]


def config_of(batch_size=4, keep='device', **sections):
    return small_run('.', training={'batch_size': batch_size}, data={'keep': keep}, **sections)


def loader(world, rank=0, world_size=1, **settings):
    return DeviceLoader(world, config_of(**settings), CPU, rank, world_size)


def view(window, mirrored=False, colours=UNCHANGED):
    return Views(np.array([window], float), np.array([mirrored]), colours[None])


def sample_views(images, views, size_hw):
    return sample(images, sampling_of(views, tuple(images.shape[2:]), size_hw))


def planar(image):
    """Turn (H, W, 3) into (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def test_a_view_of_the_whole_image_in_its_own_size_is_the_image(noise):
    np.testing.assert_array_equal(sample_views(planar(noise), view(WHOLE), (12, 20))[0], noise)


def test_a_mirrored_view_runs_from_right_to_left(noise):
    found = sample_views(planar(noise), view(WHOLE, mirrored=True), (12, 20))[0]
    np.testing.assert_array_equal(found, noise[:, ::-1])


def test_a_window_on_whole_pixels_shows_these_pixels(noise):
    # columns 5 to 14 of 20, rows 3 to 8 of 12
    found = sample_views(planar(noise), view((0.25, 0.25, 0.5, 0.5)), (6, 10))[0]
    np.testing.assert_array_equal(found, noise[3:9, 5:15])


def test_outside_of_the_image_it_is_grey(noise):
    # the image in the middle of a canvas of twice its sides
    found = sample_views(planar(noise), view((-0.5, -0.5, 2, 2)), (24, 40))[0].numpy()
    np.testing.assert_array_equal(found[6:18, 10:30], noise)
    found[6:18, 10:30] = 128
    assert (found == 128).all()


@pytest.mark.parametrize('times', [4, 8])
def test_a_view_of_small_scale_skips_no_pixel(times):
    stripes = np.zeros((16, 32, 3), np.uint8)
    stripes[:, ::4] = 200  # one column of four, which bilinear sampling alone would not meet
    found = sample_views(planar(stripes), view(WHOLE), (16 // times, 32 // times))
    assert (found == 50).all()


def test_colours_change_as_by_the_matrix(noise):
    colours = np.array([[0.5, 0, 0, 10], [0, 0, 1, 0], [0, 2, 0, -100]], np.float32)
    found = sample_views(planar(noise), view(WHOLE, colours=colours), (12, 20))[0].numpy()
    red, green, blue = np.moveaxis(noise.astype(float), -1, 0)
    expected = np.stack([red / 2 + 10, blue, np.clip(2 * green - 100, 0, 255)], axis=-1)
    assert np.abs(found - expected).max() <= 0.5


@pytest.mark.parametrize('resize_mode', ['stretch', 'letterbox'])
@pytest.mark.parametrize('steps', GEOMETRY)
def test_painted_rectangles_stay_under_their_boxes(steps, resize_mode):
    size_hw, slot_hw = (120, 200), (96, 160)
    images, boxes = zip(*(painted(seed, size_hw) for seed in range(25)))
    views, left = draw_views(objects_of(*boxes), [size_hw] * 25, slot_hw, GEOMETRY[steps],
                             draws_of(25), resize_mode)
    slots = sample_views(torch.cat([planar(image[..., ::-1]) for image in images]), views,
                         slot_hw).numpy()
    seen = 0
    for slot, row, labels in zip(slots, left.boxes_xyxy, left.labels):
        for box, label in zip(row[labels > 0], labels[labels > 0]):
            found, expected = extent(slot, label), box * [160, 96, 160, 96]
            if found is None:  # thinner than the filter
                assert (expected[2:] - expected[:2]).min() < 4
                continue
            np.testing.assert_allclose(found, expected, atol=1.6)
            seen += 1
    assert seen > 25


STRONG = {'expand': 0.5, 'crop': 0.7, 'photometric': 0.5}


def test_it_shows_what_the_threads_show(world):
    """Same images, boxes and labels; pixels differ by the filter, at most at edges."""
    ours = list(loader(world, augment=STRONG).epoch(1))
    theirs = list(TrainLoader(world, config_of(keep='memory', augment=STRONG)).epoch(1))
    assert len(ours) == len(theirs) == 2
    for found, expected in zip(ours, theirs):
        assert found.sources == expected.sources
        assert torch.equal(found.labels, expected.labels)
        assert torch.equal(found.difficult, expected.difficult)
        torch.testing.assert_close(found.boxes_xyxy, expected.boxes_xyxy, atol=1e-6, rtol=0)
        difference = (found.images.float() - expected.images.float()).abs()
        assert difference.mean() < 8 and difference.median() <= 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_a_gpu_shows_what_the_cpu_shows(world):
    settings = {'augment': {**STRONG, 'input_sizes_hw': [[64, 96], [32, 64]]}}
    ours = list(DeviceLoader(world, config_of(**settings), torch.device('cuda')).epoch(1))
    for found, expected in zip(ours, loader(world, **settings).epoch(1), strict=True):
        assert found.images.device.type == found.boxes_xyxy.device.type == 'cuda'
        torch.testing.assert_close(found.boxes_xyxy.cpu(), expected.boxes_xyxy, atol=0, rtol=0)
        # a rounding of float32 may turn one grey value into the next
        assert (found.images.cpu().int() - expected.images.int()).abs().max() <= 1


def test_an_epoch_can_be_repeated_and_taken_up_in_the_middle(world):
    first, again = (list(loader(world, augment=STRONG).epoch(2)) for _ in range(2))
    rest = list(loader(world, augment=STRONG).epoch(2, 1))
    for found, expected in [*zip(again, first, strict=True), *zip(rest, first[1:], strict=True)]:
        assert found.sources == expected.sources
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.boxes_xyxy, expected.boxes_xyxy)


def test_processes_share_batches(world):
    whole = next(loader(world).epoch(0))
    parts = [next(loader(world, rank=rank, world_size=2).epoch(0)) for rank in range(2)]
    assert parts[0].sources + parts[1].sources == whole.sources[::2] + whole.sources[1::2]
    assert torch.equal(parts[1].images, whole.images[1::2])
    with pytest.raises(ConfigError, match='multiple of 3'):
        loader(world, world_size=3)


def test_sizes_change_from_batch_to_batch(world):
    sizes = [[64, 96], [32, 64]]
    batches = [batch for epoch in range(4) for batch in loader(
        world, augment={'input_sizes_hw': sizes}).epoch(epoch)]
    assert {tuple(batch.images.shape[1:3]) for batch in batches} == {(64, 96), (32, 64)}


def test_images_that_do_not_fit_are_refused_before_they_are_read(world, monkeypatch):
    monkeypatch.setattr('mbv2ssd_train.data.loading.device.KEEP_BYTES', 10 ** 5)
    # 64 x 96 pixels with a spare of 1.3: 84 x 124
    with pytest.raises(DataError, match=r'11 images of 124 x 84 pixels take 0\.0 GB on cpu, '
                                        r'0\.0 GB may be used; choose data\.keep: memory'):
        loader(world)


def test_a_gpu_keeps_a_fifth_of_what_is_free_for_the_network(world, monkeypatch):
    needed = 11 * 3 * 84 * 124
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (needed * 5 // 4 - 5, 10 ** 12))
    with pytest.raises(DataError, match='11 images .* on cuda, '):
        DeviceLoader(world, config_of(), torch.device('cuda'))


def test_a_broken_image_is_named(tmp_path):
    root = write_world(tmp_path, train=3)
    (root / 'JPEGImages/train0001.png').write_bytes(b'no image')
    with pytest.raises(DataError, match=r'train0001\.png: does not decode'):
        loader([open_dataset(root, 'train', SHAPES)])


@pytest.mark.parametrize(('keep', 'kind'), [('device', DeviceLoader), ('memory', TrainLoader),
                                            ('none', TrainLoader)])
def test_the_configuration_chooses_the_loader(world, keep, kind):
    assert type(open_loader(world, config_of(keep=keep), CPU)) is kind


def test_images_without_objects_are_batched(world):
    views, left = draw_views(objects_of([], []), [(90, 120)] * 2, (64, 96), AugmentConfig(),
                             draws_of(2))
    assert left.labels.shape == (2, 0)
    assert sample_views(torch.zeros((2, 3, 84, 124), dtype=torch.uint8), views,
                        (64, 96)).shape == (2, 64, 96, 3)
