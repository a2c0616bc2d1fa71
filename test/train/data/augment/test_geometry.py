"""Augmentation: boxes stay on their objects, colours change as drawn."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from helpers.painted_views import draws_of, extent, GEOMETRY, objects_of, painted
from mbv2ssd_ros.core.image import ImageGeometry, resize_into, SourceImage
from mbv2ssd_train.config import AugmentConfig
from mbv2ssd_train.data.augment.colours import colour_changes
from mbv2ssd_train.data.augment.geometry import (
    crops_of,
    cut,
    draw_views,
    expansions,
    inside,
    large_enough,
    mirror,
    Objects,
    Views,
    WHOLE,
)
from mbv2ssd_train.data.augment.render import render

OFF = AugmentConfig(flip=0, expand=0, crop=0, photometric=0)


def augmented(images, objects, config, draws, size_hw=(96, 160), resize_mode='stretch'):
    """Return slots (RGB) and the objects that are left."""
    views, left = draw_views(objects, [image.shape[:2] for image in images], size_hw, config,
                             draws, resize_mode)
    slots = np.empty((len(images), *size_hw, 3), np.uint8)
    render(images, views, slots)
    return slots, left


@pytest.mark.parametrize('resize_mode', ['stretch', 'letterbox'])
@pytest.mark.parametrize('steps', GEOMETRY)
@pytest.mark.parametrize('size_hw', [(120, 200), (210, 90)])
def test_painted_rectangles_stay_under_their_boxes(steps, size_hw, resize_mode):
    images, boxes = zip(*(painted(seed, size_hw) for seed in range(25)))
    slots, left = augmented(images, objects_of(*boxes), GEOMETRY[steps], draws_of(25),
                            resize_mode=resize_mode)
    seen = 0
    for slot, row, labels in zip(slots, left.boxes_xyxy, left.labels):
        for box, label in zip(row[labels > 0], labels[labels > 0]):
            found, expected = extent(slot, label), box * [160, 96, 160, 96]
            if found is None:  # thinner than the filter
                assert (expected[2:] - expected[:2]).min() < 3
                continue
            # edges are placed on whole pixels of the source and of the slot
            np.testing.assert_allclose(found, expected, atol=2.1)
            seen += 1
    assert seen > 25


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2 ** 32), expand=st.sampled_from([0, 0.5, 1]),
       crop=st.sampled_from([0, 0.5, 1]), flip=st.sampled_from([0, 0.5, 1]),
       size_hw=st.sampled_from([(120, 200), (210, 90)]),
       resize_mode=st.sampled_from(['stretch', 'letterbox']))
def test_boxes_taken_back_to_the_source_are_what_the_window_shows_of_them(
        seed, expand, crop, flip, size_hw, resize_mode):
    _, boxes = zip(*(painted(seed + k, size_hw) for k in range(8)))
    config = AugmentConfig(expand=expand, crop=crop, flip=flip, min_box_px=0)
    views, left = draw_views(objects_of(*boxes), [size_hw] * 8, (64, 96), config,
                             draws_of(8, seed), resize_mode)
    for image in range(8):
        x, y, width, height = views.windows[image]
        for box, label in zip(left.boxes_xyxy[image], left.labels[image]):
            if label:
                x1, y1, x2, y2 = box
                if views.mirrored[image]:
                    x1, x2 = 1 - x2, 1 - x1
                back = [x + x1 * width, y + y1 * height, x + x2 * width, y + y2 * height]
                a1, b1, a2, b2 = boxes[image][label - 1]
                expected = [max(a1, x), max(b1, y), min(a2, x + width), min(b2, y + height)]
                np.testing.assert_allclose(back, expected, atol=1e-5)


def test_boxes_are_inside_the_image_and_have_sides():
    _, boxes = zip(*(painted(seed) for seed in range(40)))
    _, left = draw_views(objects_of(*boxes), [(120, 200)] * 40, (64, 96),
                         AugmentConfig(expand=0.7), draws_of(40))
    real = left.labels > 0
    assert left.boxes_xyxy.dtype == np.float32 and 40 < real.sum() <= 120
    assert (left.boxes_xyxy >= 0).all() and (left.boxes_xyxy <= 1).all()
    sides = (left.boxes_xyxy[real, 2:] - left.boxes_xyxy[real, :2]) * [96, 64]
    assert (sides >= AugmentConfig().min_box_px - 1e-4).all()
    assert (left.boxes_xyxy[~real] == 0).all() and not left.difficult[~real].any()


@pytest.mark.parametrize('resize_mode', ['stretch', 'letterbox'])
@pytest.mark.parametrize('size_hw', [(120, 200), (210, 90), (96, 160), (33, 7)])
def test_without_steps_the_network_sees_what_it_sees_on_the_robot(size_hw, resize_mode):
    pixels = np.random.default_rng(0).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    objects = objects_of([[0.1, 0.2, 0.7, 0.9]])
    slots, left = augmented([pixels], objects, OFF, draws_of(1), resize_mode=resize_mode)
    expected = np.empty((96, 160, 3), np.uint8)
    geometry = resize_into(SourceImage(pixels, 'bgr'), resize_mode, expected)
    np.testing.assert_array_equal(slots[0], expected)
    in_pixels = objects.boxes_xyxy[0] * np.array([*size_hw[::-1]] * 2, np.float32)
    np.testing.assert_allclose(left.boxes_xyxy[0], geometry.to_network(in_pixels), atol=1e-6)
    assert geometry == ImageGeometry(size_hw, (96, 160), resize_mode)


def test_the_sources_are_not_changed():
    pixels, boxes = painted(0)
    objects, before = objects_of(boxes), pixels.copy()
    boxes_before = objects.boxes_xyxy.copy()
    augmented([pixels], objects, AugmentConfig(photometric=1, flip=1), draws_of(1))
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(objects.boxes_xyxy, boxes_before)


def test_the_outcome_is_rgb():
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[..., 0] = 255  # blue
    slots, _ = augmented([pixels], objects_of([]), OFF, draws_of(1), (10, 20))
    assert (slots == [0, 0, 255]).all()


def test_images_without_objects_are_augmented_too():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    slots, left = augmented([pixels] * 20, objects_of(*[[]] * 20), AugmentConfig(), draws_of(20))
    assert left.boxes_xyxy.shape == (20, 0, 4)
    assert len({slot.tobytes() for slot in slots}) == 20


def test_an_image_does_not_depend_on_those_beside_it():
    _, boxes = zip(*(painted(seed) for seed in range(6)))
    config, draws = AugmentConfig(photometric=1), draws_of(6)
    together, objects = draw_views(objects_of(*boxes), [(120, 200)] * 6, (64, 96), config, draws)
    alone, own = draw_views(objects_of(boxes[4]), [(120, 200)], (64, 96), config, draws[4:5])
    np.testing.assert_array_equal(together.windows[4], alone.windows[0])
    np.testing.assert_array_equal(together.colours[4], alone.colours[0])
    count = own.labels.shape[1]
    np.testing.assert_array_equal(objects.boxes_xyxy[4, :count], own.boxes_xyxy[0])
    assert (objects.labels[4, count:] == 0).all()


def test_an_object_is_kept_when_its_centre_is_in_the_crop():
    # the left half of the image; centres at 0.45, 0.55 and exactly on the border
    boxes = np.array([[[0.2, 0, 0.7, 0.5], [0.3, 0, 0.8, 0.5], [0.25, 0.25, 0.75, 0.5]]],
                     np.float32)
    found, kept = cut(np.array([[0, 0, 0.5, 1.0]]), boxes)
    assert kept.tolist() == [[True, False, False]]
    np.testing.assert_allclose(found[0, 0], [0.4, 0, 1, 0.5], atol=1e-6)


def test_flags_stay_with_their_objects_and_places_are_closed_up():
    boxes = np.array([[[0.1] * 4, [0.2] * 4, [0.3] * 4], [[0.4] * 4, [0] * 4, [0] * 4]],
                     np.float32)
    objects = Objects(boxes, np.array([[5, 6, 7], [8, 0, 0]]),
                      np.array([[False, False, True], [True, False, False]]))
    left = objects.only(np.array([[False, True, True], [True, True, True]]))
    assert left.labels.tolist() == [[6, 7], [8, 0]]
    assert left.difficult.tolist() == [[False, True], [True, False]]
    np.testing.assert_allclose(left.boxes_xyxy[..., 0], [[0.2, 0.3], [0.4, 0]])


def test_a_mirrored_box_changes_x_only():
    np.testing.assert_allclose(mirror(np.array([0.1, 0.2, 0.4, 0.9])), [0.6, 0.2, 0.9, 0.9])


def test_small_boxes_go_by_their_shorter_side_in_network_pixels():
    # 100 x 50: 0.02 wide is 2 px, 0.03 high is 1.5 px
    boxes = np.array([[[0.5, 0.5, 0.52, 0.9], [0.5, 0.5, 0.9, 0.53], [0.1, 0.1, 0.4, 0.4]]])
    assert large_enough(boxes, (50, 100), 1.9).tolist() == [[True, False, True]]


@pytest.mark.parametrize('least_iou', [0.1, 0.5, 0.8])
def test_a_crop_overlaps_an_object_as_much_as_was_drawn(least_iou):
    config = AugmentConfig(crop_ious=(least_iou,), crop_min_scale=0.3)
    boxes = [[0.1, 0.2, 0.8, 0.9], [0.7, 0.1, 0.9, 0.2]]
    objects = objects_of(*[boxes] * 40)
    windows = crops_of(objects.boxes_xyxy, objects.labels > 0, config, draws_of(40))
    drawn = windows[(windows != WHOLE).any(axis=1)]
    assert len(drawn) > 5
    for x1, y1, width, height in drawn:
        x2, y2 = x1 + width, y1 + height
        assert 0 <= x1 < x2 <= 1 + 1e-6 and 0 <= y1 < y2 <= 1 + 1e-6
        assert min(width, height) >= 0.3 and 0.5 <= width / height <= 2
        overlaps, holds = [], []
        for a1, b1, a2, b2 in boxes:
            shared = max(min(x2, a2) - max(x1, a1), 0) * max(min(y2, b2) - max(y1, b1), 0)
            area = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1)
            overlaps.append(shared / (area - shared))
            holds.append(x1 < (a1 + a2) / 2 < x2 and y1 < (b1 + b2) / 2 < y2)
        assert max(overlaps) >= least_iou - 1e-5 and any(holds)


def test_where_no_crop_fits_the_image_stays_whole():
    config = AugmentConfig(crop_ious=(0.9,), crop_min_scale=0.3)
    objects = objects_of([[0.4, 0.4, 0.41, 0.41]])  # no crop of 0.3 overlaps it by 0.9
    windows = crops_of(objects.boxes_xyxy, objects.labels > 0, config, draws_of(1))
    assert windows.tolist() == [WHOLE.tolist()]


def test_the_place_of_an_absent_object_does_not_count():
    """A place without an object has a box of zeros, which no crop needs to hold."""
    config = AugmentConfig(crop_ious=(0.0,), crop_min_scale=0.5)
    alone = objects_of([[0.8, 0.8, 0.9, 0.9]])
    padded = objects_of([[0.8, 0.8, 0.9, 0.9]], [[0, 0, 1, 1]] * 3)
    draws = draws_of(2)
    expected = crops_of(alone.boxes_xyxy, alone.labels > 0, config, draws[:1])
    found = crops_of(padded.boxes_xyxy, padded.labels > 0, config, draws)
    np.testing.assert_array_equal(found[0], expected[0])


def test_an_expansion_holds_the_whole_image():
    windows = expansions(AugmentConfig(expand_max=4), draws_of(50))
    assert (windows[:, 2] == windows[:, 3]).all()
    assert 1 <= windows[:, 2].min() < 1.5 and 3.5 < windows[:, 2].max() <= 4
    left, top, right, bottom = inside(windows, np.tile(
        np.array([0, 0, 1, 1], np.float32), (50, 1, 1)))[:, 0].T
    assert min(left.min(), top.min()) >= 0 and max(right.max(), bottom.max()) <= 1 + 1e-6
    np.testing.assert_allclose(right - left, 1 / windows[:, 2], rtol=1e-5)


def test_steps_come_as_often_as_asked():
    config = AugmentConfig(flip=0.25, expand=0.5, crop=0, photometric=0.3, expand_max=2)
    views, _ = draw_views(objects_of(*[[]] * 2000), [(30, 50)] * 2000, (32, 48), config,
                          draws_of(2000))
    assert abs(views.mirrored.mean() - 0.25) < 0.05
    zoomed = views.windows[:, 2] > 1
    assert abs(zoomed.mean() - 0.5) < 0.05 and abs(views.windows[zoomed, 2].mean() - 1.5) < 0.05
    brightened = views.colours[:, 0, 3] != 0
    assert abs(brightened.mean() - 0.3) < 0.05
    # evenly from -0.125 to 0.125 of white: half of the changes are above half of that
    assert abs((np.abs(views.colours[brightened, 0, 3]) > 255 / 16).mean() - 0.5) < 0.06


@pytest.mark.parametrize('window', [
    (-20, -30, 50, 50), (0.9, 0.99, 0.001, 0.001), (-0.999, 0, 1, 1), (0.5, -40, 0.01, 80)])
def test_extreme_windows_are_rendered(window):
    slots = np.zeros((1, 24, 36, 3), np.uint8)
    unchanged = np.hstack([np.eye(3), np.zeros((3, 1))])[None].astype(np.float32)
    render([np.full((11, 17, 3), 250, np.uint8)],
           Views(np.array([window], float), np.array([False]), unchanged), slots)
    assert set(np.unique(slots)) <= {128, 250} and (slots == 250).any()


def changed(image, end=1.0, **strengths):
    """Render an image (RGB) with every change at one end of its range; return RGB."""
    settings = {'brightness': 0, 'contrast': 0, 'saturation': 0, 'hue_degrees': 0, **strengths}
    colours = colour_changes(AugmentConfig(photometric=1, **settings), np.full((1, 4), end),
                             np.zeros((1, 4)))  # chances that always come
    slots = np.empty((1, *image.shape), np.uint8)
    render([image[..., ::-1]], Views(WHOLE[None], np.array([False]), colours), slots)
    return slots[0]


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def test_no_strength_changes_no_colour(noise):
    np.testing.assert_array_equal(changed(noise), noise)


def test_a_hue_turn_of_120_degrees_moves_the_channels_on(noise):
    found = changed(noise, hue_degrees=120).astype(int)
    assert np.abs(found - np.roll(noise, 1, axis=-1)).max() <= 1  # red becomes green


def test_without_saturation_everything_is_grey(noise):
    found = changed(noise, end=0.0, saturation=1).astype(int)
    assert np.ptp(found, axis=-1).max() <= 1
    np.testing.assert_allclose(found[..., 0], noise @ [0.299, 0.587, 0.114], atol=1)


def test_brightness_adds_a_share_of_white_and_stops_there():
    image = np.array([[[0, 100, 250]]], np.uint8)
    assert changed(image, brightness=0.2).tolist() == [[[51, 151, 255]]]


def test_contrast_multiplies():
    image = np.array([[[10, 100, 250]]], np.uint8)
    assert changed(image, contrast=0.5).tolist() == [[[15, 150, 255]]]


def test_grey_stays_grey_under_hue_and_saturation():
    amounts = np.random.default_rng(0).random((20, 4))
    colours = colour_changes(AugmentConfig(photometric=1, brightness=0, contrast=0), amounts,
                             np.zeros((20, 4)))
    np.testing.assert_allclose(colours[:, :, :3] @ [77, 77, 77], 77, atol=1e-3)


def test_colours_change_no_box():
    pixels, boxes = painted(3)
    strong = AugmentConfig(photometric=1, flip=0.5)
    plain = strong.model_copy(update={'photometric': 0.0})
    (coloured, with_colours), (original, without) = (
        augmented([pixels], objects_of(boxes), config, draws_of(1)) for config in (strong, plain))
    np.testing.assert_array_equal(with_colours.boxes_xyxy, without.boxes_xyxy)
    assert (coloured != original).any()
