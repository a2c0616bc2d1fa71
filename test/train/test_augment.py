"""Augmentation: boxes stay on their objects, colours change as they are told to."""

import cv2
import numpy as np
import pytest

from mbv2ssd_ros.core.image import ImageGeometry, resize_into, SourceImage
from mbv2ssd_train.config import AugmentConfig
from mbv2ssd_train.data.augment import (
    augment,
    change_colours,
    cut,
    drop_small,
    flip,
    Objects,
    random_crop,
    random_expansion,
    render,
    Window,
)

OFF = AugmentConfig(flip=0, expand=0, crop=0, photometric=0)
BGR = {1: (255, 0, 0), 2: (0, 255, 0), 3: (0, 0, 255)}  # what object of a label is painted in


def objects_of(boxes, labels=None, difficult=None):
    count = len(boxes)
    return Objects(np.array(boxes, np.float32).reshape(-1, 4),
                   np.array(labels or range(1, count + 1), np.intp),
                   np.array(difficult or [False] * count, bool))


def painted(seed, size_hw=(120, 200)):
    """Three rectangles beside each other on dark grey; return pixels and objects."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    pixels, boxes = np.full((height, width, 3), 40, np.uint8), []
    for label, left in zip((1, 2, 3), np.linspace(0, width, 4)[:3].astype(int)):
        x1, x2 = left + np.sort(rng.choice(np.arange(0, width // 3, 5), 2, replace=False))
        y1, y2 = np.sort(rng.choice(np.arange(0, height, 5), 2, replace=False))
        x2, y2 = x2 + 5, y2 + 5  # 10 pixels at least
        pixels[y1:y2, x1:x2] = BGR[label]
        boxes.append([x1 / width, y1 / height, x2 / width, y2 / height])
    return pixels, objects_of(boxes)


def extent(rgb, label):
    """Return the box of what is painted in a label's colour, in pixels, or None."""
    own = rgb[..., ::-1].astype(int) @ (np.array(BGR[label]) / 255)
    others = rgb.sum(axis=-1) - own
    ys, xs = np.nonzero((own > 140) & (others < 140))
    return (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None


GEOMETRY = {
    'expand': AugmentConfig(flip=0, expand=1, crop=0, photometric=0),
    'crop': AugmentConfig(flip=0, expand=0, crop=1, photometric=0),
    'flip': AugmentConfig(flip=1, expand=0, crop=0, photometric=0),
    'all': AugmentConfig(flip=0.5, expand=1, crop=1, photometric=0)}


@pytest.mark.parametrize('resize_mode', ['stretch', 'letterbox'])
@pytest.mark.parametrize('steps', GEOMETRY)
@pytest.mark.parametrize('size_hw', [(120, 200), (210, 90)])
def test_painted_rectangles_stay_under_their_boxes(steps, size_hw, resize_mode):
    seen = 0
    for seed in range(25):
        pixels, objects = painted(seed, size_hw)
        slot = np.empty((96, 160, 3), np.uint8)
        left = augment(pixels, objects, slot, GEOMETRY[steps], np.random.default_rng(seed),
                       resize_mode)
        for box, label in zip(left.boxes_xyxy, left.labels):
            found = extent(slot, label)
            expected = box * [160, 96, 160, 96]
            if found is None:  # thinner than the filter
                assert (expected[2:] - expected[:2]).min() < 3
                continue
            # edges are placed on whole pixels of the source and of the slot
            np.testing.assert_allclose(found, expected, atol=2.1)
            seen += 1
    assert seen > 25


@pytest.mark.parametrize('seed', range(40))
def test_boxes_are_inside_the_image_and_have_sides(seed):
    pixels, objects = painted(seed)
    slot = np.empty((64, 96, 3), np.uint8)
    left = augment(pixels, objects, slot, AugmentConfig(expand=0.7), np.random.default_rng(seed))
    boxes = left.boxes_xyxy
    assert boxes.dtype == np.float32 and boxes.shape == (len(left.labels), 4)
    assert (boxes >= 0).all() and (boxes <= 1).all()
    sides = (boxes[:, 2:] - boxes[:, :2]) * [96, 64]
    assert (sides >= AugmentConfig().min_box_px - 1e-4).all()
    assert len(left.difficult) == len(left.labels)


@pytest.mark.parametrize('resize_mode', ['stretch', 'letterbox'])
@pytest.mark.parametrize('size_hw', [(120, 200), (210, 90), (96, 160), (33, 7)])
def test_without_steps_the_network_sees_what_it_sees_on_the_robot(size_hw, resize_mode):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    objects = objects_of([[0.1, 0.2, 0.7, 0.9]])
    slot, expected = np.empty((2, 96, 160, 3), np.uint8)
    left = augment(pixels, objects, slot, OFF, rng, resize_mode)
    geometry = resize_into(SourceImage(pixels, 'bgr'), resize_mode, expected)
    np.testing.assert_array_equal(slot, expected)
    height, width = size_hw
    in_pixels = objects.boxes_xyxy * np.array([width, height] * 2, np.float32)
    np.testing.assert_allclose(left.boxes_xyxy, geometry.to_network(in_pixels), atol=1e-6)
    assert geometry == ImageGeometry(size_hw, (96, 160), resize_mode)


def test_the_source_is_not_changed():
    pixels, objects = painted(0)
    before = pixels.copy(), objects.boxes_xyxy.copy()
    augment(pixels, objects, np.empty((64, 96, 3), np.uint8), AugmentConfig(),
            np.random.default_rng(0))
    np.testing.assert_array_equal(pixels, before[0])
    np.testing.assert_array_equal(objects.boxes_xyxy, before[1])


def test_the_outcome_is_rgb():
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[..., 0] = 255  # blue
    slot = np.empty((10, 20, 3), np.uint8)
    augment(pixels, objects_of([]), slot, OFF, np.random.default_rng(0))
    assert (slot == [0, 0, 255]).all()


def test_an_image_without_objects_is_augmented_too():
    pixels = np.full((30, 50, 3), 90, np.uint8)
    slot = np.empty((64, 96, 3), np.uint8)
    for seed in range(20):
        left = augment(pixels, objects_of([]), slot, AugmentConfig(), np.random.default_rng(seed))
        assert left.boxes_xyxy.shape == (0, 4)


def test_an_object_is_kept_when_its_centre_is_in_the_crop():
    # the left half of the image; centres at 0.45, 0.55 and exactly on the border
    objects = objects_of([[0.2, 0, 0.7, 0.5], [0.3, 0, 0.8, 0.5], [0.25, 0.25, 0.75, 0.5]])
    left = cut(objects, Window(0, 0, 0.5, 1))
    assert left.labels.tolist() == [1]
    np.testing.assert_allclose(left.boxes_xyxy, [[0.4, 0, 1, 0.5]], atol=1e-6)


def test_flags_stay_with_their_objects():
    objects = objects_of([[0.6, 0.1, 0.9, 0.4], [0.1, 0.1, 0.3, 0.4], [0.1, 0.5, 0.4, 0.9]],
                         labels=[5, 6, 7], difficult=[False, False, True])
    left = cut(objects, Window(0, 0, 0.5, 1))
    assert left.labels.tolist() == [6, 7] and left.difficult.tolist() == [False, True]


def test_flip_mirrors_x_only():
    mirrored = flip(objects_of([[0.1, 0.2, 0.4, 0.9]])).boxes_xyxy
    np.testing.assert_allclose(mirrored, [[0.6, 0.2, 0.9, 0.9]], atol=1e-6)


def test_small_boxes_go_by_their_shorter_side_in_network_pixels():
    # 100 x 50: 0.02 wide is 2 px, 0.03 high is 1.5 px
    objects = objects_of([[0.5, 0.5, 0.52, 0.9], [0.5, 0.5, 0.9, 0.53], [0.1, 0.1, 0.4, 0.4]])
    assert drop_small(objects, (100, 50), 1.9).labels.tolist() == [1, 3]


@pytest.mark.parametrize('least_iou', [0.1, 0.5, 0.8])
def test_a_crop_overlaps_an_object_as_much_as_was_drawn(least_iou):
    config = AugmentConfig(crop_ious=(least_iou,), crop_min_scale=0.3)
    objects = objects_of([[0.1, 0.2, 0.8, 0.9], [0.7, 0.1, 0.9, 0.2]])
    drawn = 0
    for seed in range(40):
        window = random_crop(objects, config, np.random.default_rng(seed))
        if window == Window():
            continue
        drawn += 1
        x1, y1 = window.left, window.top
        x2, y2 = x1 + window.width, y1 + window.height
        assert 0 <= x1 < x2 <= 1 + 1e-6 and 0 <= y1 < y2 <= 1 + 1e-6
        assert min(window.width, window.height) >= 0.3
        assert 0.5 <= window.width / window.height <= 2
        overlaps = []
        for a1, b1, a2, b2 in objects.boxes_xyxy.tolist():
            shared = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
            area = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1)
            overlaps.append(shared / (area - shared))
        assert max(overlaps) >= least_iou - 1e-6
        assert len(cut(objects, window).labels)
    assert drawn > 5


def test_where_no_crop_fits_the_image_stays_whole():
    objects = objects_of([[0.4, 0.4, 0.41, 0.41]])  # no crop of 0.3 overlaps it by 0.9
    config = AugmentConfig(crop_ious=(0.9,), crop_min_scale=0.3)
    assert random_crop(objects, config, np.random.default_rng(0)) == Window()


@pytest.mark.parametrize('seed', range(10))
def test_an_expansion_holds_the_whole_image(seed):
    window = random_expansion(4.0, np.random.default_rng(seed))
    assert window.width == window.height and 1 <= window.width <= 4
    left, top, right, bottom = window.inside(np.array([[0, 0, 1, 1]], np.float32))[0]
    assert 0 <= left < right <= 1 + 1e-6 and 0 <= top < bottom <= 1 + 1e-6
    assert right - left == pytest.approx(1 / window.width, rel=1e-5)


@pytest.mark.parametrize('window', [
    Window(-20, -30, 50, 50), Window(0.9, 0.99, 0.001, 0.001), Window(-0.999, 0, 1, 1),
    Window(0.5, -40, 0.01, 80)])
def test_extreme_windows_are_rendered(window):
    slot = np.zeros((24, 36, 3), np.uint8)
    render(np.full((11, 17, 3), 250, np.uint8), window, slot)
    assert set(np.unique(slot)) <= {128, 250} and (slot == 250).any()


class Draws:
    """Randomness that always draws the upper end, and chances that always come."""

    def uniform(self, low, high, size):
        """Return the upper end."""
        return np.full(size, float(high))

    def random(self, size):
        """Return zeros."""
        return np.zeros(size)


def changed(image, **strengths):
    settings = {'brightness': 0, 'contrast': 0, 'saturation': 0, 'hue_degrees': 0, **strengths}
    result = image.copy()
    change_colours(result, AugmentConfig(photometric=1, **settings), Draws())
    return result


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def test_no_strength_changes_no_colour(noise):
    np.testing.assert_array_equal(changed(noise), noise)


def test_a_hue_turn_of_120_degrees_moves_the_channels_on(noise):
    found = changed(noise, hue_degrees=120).astype(int)
    assert min(np.abs(found - np.roll(noise, shift, axis=-1)).max() for shift in (1, 2)) <= 1


def test_without_saturation_everything_is_grey(noise):
    result = noise.copy()

    class Downwards(Draws):
        def uniform(self, low, high, size):
            return np.full(size, float(low))

    change_colours(result, AugmentConfig(
        photometric=1, brightness=0, contrast=0, saturation=1, hue_degrees=0), Downwards())
    assert np.ptp(result.astype(int), axis=-1).max() <= 1
    np.testing.assert_allclose(
        result[..., 0], cv2.cvtColor(noise, cv2.COLOR_BGR2GRAY), atol=1)


def test_brightness_adds_a_share_of_white_and_stops_there():
    image = np.array([[[0, 100, 250]]], np.uint8)
    assert changed(image, brightness=0.2).tolist() == [[[51, 151, 255]]]


def test_contrast_multiplies():
    image = np.array([[[10, 100, 250]]], np.uint8)
    assert changed(image, contrast=0.5).tolist() == [[[15, 150, 255]]]


@pytest.mark.parametrize('seed', range(5))
def test_grey_stays_grey_under_hue_and_saturation(seed):
    image = np.full((4, 6, 3), 77, np.uint8)
    change_colours(image, AugmentConfig(photometric=1, brightness=0, contrast=0),
                   np.random.default_rng(seed))
    assert np.abs(image.astype(int) - 77).max() <= 1


def test_colours_change_no_box():
    pixels, objects = painted(3)
    slots = np.empty((2, 64, 96, 3), np.uint8)
    strong = AugmentConfig(photometric=1, flip=0.5)
    plain = strong.model_copy(update={'photometric': 0.0})
    coloured, kept = (augment(pixels, objects, slot, config, np.random.default_rng(5))
                      for slot, config in zip(slots, (strong, plain)))
    np.testing.assert_array_equal(coloured.boxes_xyxy, kept.boxes_xyxy)
    assert (slots[0] != slots[1]).any()
