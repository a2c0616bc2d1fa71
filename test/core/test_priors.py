"""Prior boxes: counts, cells worked out by hand, and the published formulas written as loops."""

from math import sqrt

import numpy as np
import pytest

from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.core.priors import (
    build_priors,
    clip_shapes,
    feature_sizes,
    grid_shapes,
    halving_levels,
    level_priors,
    linear_scales,
    lowest_shapes,
    PriorLevel,
    ssd300_levels,
    ssd_shapes,
)

SSDLITE_SCALES = linear_scales(0.2, 0.95, 6)
SSD300_SCALES = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
SSD300_RATIOS = ([2], [2, 3], [2, 3], [2, 3], [2], [2])
REFERENCE_RATIOS = ([2], [2, 3], [2, 3], [2], [2], [2])


def ssdlite_levels(size_hw):
    """SSDLite: six shapes in each cell of six maps."""
    return halving_levels(size_hw, 16, [
        ssd_shapes(scale, following, (2, 3))
        for scale, following in zip(SSDLITE_SCALES, (*SSDLITE_SCALES[1:], 1.0), strict=True)])


def ssd300(size_hw=(300, 300)):
    """SSD300 as trained on COCO."""
    return ssd300_levels(size_hw, [
        ssd_shapes(*scales, ratios) for scales, ratios in zip(
            zip(SSD300_SCALES[:-1], SSD300_SCALES[1:], strict=True), SSD300_RATIOS, strict=True)])


def reference300():
    """The reference design: two scales with three or five ratios in each cell of six maps."""
    return halving_levels((300, 300), 8, [
        grid_shapes(scale, following, ratios) for scale, following, ratios in zip(
            SSDLITE_SCALES, (*SSDLITE_SCALES[1:], 1.0), REFERENCE_RATIOS, strict=True)])


def slow_ssd_priors(sides, scales, ratios, cells=None):
    """
    SSD's default boxes as torchvision documents them, one number at a time.

    Shapes that are wider than the image stay so, as in the original Caffe implementation. Cells
    are those that span the image, where the map has others.
    """
    boxes = []
    for side, span, scale, following, level_ratios in zip(
            sides, cells or sides, scales[:-1], scales[1:], ratios, strict=True):
        for row in range(side):
            for column in range(side):
                centre = [(column + 0.5) / span, (row + 0.5) / span]
                boxes.append([*centre, scale, scale])
                boxes.append([*centre, sqrt(scale * following), sqrt(scale * following)])
                for ratio in level_ratios:
                    boxes.append([*centre, scale * sqrt(ratio), scale / sqrt(ratio)])
                    boxes.append([*centre, scale / sqrt(ratio), scale * sqrt(ratio)])
    return boxes


def test_x_runs_over_columns_on_a_wide_grid():
    level = PriorLevel(feature_size_hw=(1, 2), shapes_wh=((0.5, 0.2),))
    np.testing.assert_allclose(
        level_priors(level), [[0.25, 0.5, 0.5, 0.2], [0.75, 0.5, 0.5, 0.2]])


def test_y_runs_over_rows_on_a_tall_grid():
    level = PriorLevel(feature_size_hw=(2, 1), shapes_wh=((0.5, 0.2),))
    np.testing.assert_allclose(
        level_priors(level), [[0.5, 0.25, 0.5, 0.2], [0.5, 0.75, 0.5, 0.2]])


def test_shapes_of_a_cell_come_before_the_next_cell_and_columns_before_rows():
    priors = level_priors(PriorLevel((2, 2), ((0.1, 0.2), (0.3, 0.4))))
    cells = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    np.testing.assert_allclose(priors[:, :2], np.repeat(cells, 2, axis=0))
    np.testing.assert_allclose(priors[:, 2:], [[0.1, 0.2], [0.3, 0.4]] * 4, rtol=1e-6)


def test_levels_follow_each_other_from_the_first_to_the_last():
    priors = build_priors([PriorLevel((1, 2), ((0.1, 0.1),)), PriorLevel((1, 1), ((0.9, 0.8),))])
    np.testing.assert_allclose(
        priors, [[0.25, 0.5, 0.1, 0.1], [0.75, 0.5, 0.1, 0.1], [0.5, 0.5, 0.9, 0.8]])
    assert priors.dtype == np.float32


def test_a_level_counts_what_it_makes():
    level = PriorLevel((3, 5), ((0.1, 0.2), (0.3, 0.4)))
    assert level.count == len(level_priors(level)) == 30


def test_ssd_shapes_are_two_squares_then_each_ratio_lying_and_standing():
    # sqrt(0.2 * 0.8) = 0.4; ratio 4: 0.2 * 2 and 0.2 / 2
    np.testing.assert_allclose(
        ssd_shapes(0.2, 0.8, [4]), [(0.2, 0.2), (0.4, 0.4), (0.4, 0.1), (0.1, 0.4)])


def test_grid_shapes_run_over_the_ratios_of_the_first_scale_first():
    # sqrt(0.2 * 0.8) = 0.4
    np.testing.assert_allclose(grid_shapes(0.2, 0.8, [4]), [
        (0.2, 0.2), (0.4, 0.1), (0.1, 0.4), (0.4, 0.4), (0.8, 0.2), (0.2, 0.8)])


def test_the_lowest_shapes_are_a_square_of_half_the_scale_and_each_ratio():
    # ratio 4: 0.2 * 2 and 0.2 / 2
    np.testing.assert_allclose(lowest_shapes(0.2, [4]), [(0.1, 0.1), (0.4, 0.1), (0.1, 0.4)])


def test_clipped_shapes_are_no_longer_than_the_image_in_either_direction():
    assert clip_shapes([(1.2, 0.6), (0.5, 1.3), (0.3, 1.0)]) == (
        (1.0, 0.6), (0.5, 1.0), (0.3, 1.0))


def test_scales_are_evenly_spaced_from_the_smallest_to_the_largest():
    np.testing.assert_allclose(SSDLITE_SCALES, [0.2, 0.35, 0.5, 0.65, 0.8, 0.95])


def test_scales_may_be_equal():
    assert linear_scales(0.5, 0.5, 3) == (0.5, 0.5, 0.5)


def test_one_scale_is_the_smallest():
    assert linear_scales(0.3, 0.9, 1) == (0.3,)


@pytest.mark.parametrize(('size_hw', 'first_stride', 'expected'), [
    ((320, 320), 16, [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]),
    ((300, 300), 16, [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]),
    ((240, 320), 16, [(15, 20), (8, 10), (4, 5), (2, 3), (1, 2), (1, 1)]),
    ((33, 65), 8, [(5, 9), (3, 5), (2, 3)]),  # every halving rounds up
    ((7, 5), 1, [(7, 5), (4, 3)]),
])
def test_feature_sizes_halve_rounding_up(size_hw, first_stride, expected):
    assert list(feature_sizes(size_hw, first_stride, len(expected))) == expected


@pytest.mark.parametrize('first_stride', [12, 0, -16])
def test_a_stride_that_no_halving_makes_is_refused(first_stride):
    with pytest.raises(ConfigError, match=f'power of two, found {first_stride}'):
        feature_sizes((320, 320), first_stride, 6)


@pytest.mark.parametrize(('levels', 'count'), [
    (ssd300(), 8732),
    (reference300(), 13502),
    (ssdlite_levels((320, 320)), 3234),
    (ssdlite_levels((300, 300)), 3000),
    # (15*20 + 8*10 + 4*5 + 2*3 + 1*2 + 1) * 6 = 409 * 6
    (ssdlite_levels((240, 320)), 2454),
], ids=['SSD300', 'reference', 'SSDLite320', 'SSDLite300', 'SSDLite240x320'])
def test_published_counts(levels, count):
    assert build_priors(levels).shape == (count, 4)
    assert sum(level.count for level in levels) == count


def test_ssdlite320_equals_the_formula_of_torchvision():
    expected = slow_ssd_priors(
        (20, 10, 5, 3, 2, 1), (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0), [[2, 3]] * 6)
    np.testing.assert_allclose(build_priors(ssdlite_levels((320, 320))), expected, rtol=1e-6)


def test_ssd300_equals_the_formula_of_the_paper():
    # cells of 8, 16, 32, 64, 100 and 300 pixels
    expected = slow_ssd_priors((38, 19, 10, 5, 3, 1), SSD300_SCALES, SSD300_RATIOS,
                               cells=[300 / 8, 300 / 16, 300 / 32, 300 / 64, 300 / 100, 1])
    np.testing.assert_allclose(build_priors(ssd300()), expected, rtol=1e-6)


@pytest.mark.parametrize(('size_hw', 'expected'), [
    ((300, 300), [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3), (1, 1)]),
    # 360: 180, 90, 45, then 22 rounding down, 11, 6, 4, 2
    ((360, 300), [(45, 38), (22, 19), (11, 10), (6, 5), (4, 3), (2, 1)]),
    ((300, 512), [(38, 64), (19, 32), (10, 16), (5, 8), (3, 6), (1, 4)])])
def test_maps_of_ssd300_at_other_sizes(size_hw, expected):
    assert [level.feature_size_hw for level in ssd300(size_hw)] == expected


def test_cells_of_a_fixed_stride_have_their_centres_at_whole_strides_and_a_half():
    first = ssd300((360, 512))[0]  # 45 x 64 cells of 8 pixels, exactly
    centres = level_priors(first).reshape(45, 64, 4, 4)[:, :, 0, :2] * (512, 360)
    np.testing.assert_allclose(centres[0, 0], (4, 4), rtol=1e-5)
    np.testing.assert_allclose(centres[44, 63], (508, 356), rtol=1e-5)
    second = level_priors(ssd300((300, 300))[1]).reshape(19, 19, 6, 4)  # 304 pixels of 300
    np.testing.assert_allclose(second[18, 3, 0, :2] * 300, (56, 296), rtol=1e-5)


def test_an_image_too_small_for_ssd300_is_refused():
    with pytest.raises(ConfigError, match=r'feature map of \(1, 0\) cells .*larger input'):
        ssd300((300, 224))


def test_ssd300_has_six_levels_and_no_other_number():
    with pytest.raises(ConfigError, match='SSD300 has 6 maps, found prior shapes for 2'):
        ssd300_levels((300, 300), [((0.5, 0.5),)] * 2)


def test_the_last_cell_of_ssdlite320():
    # one cell: scale 0.95, sqrt(0.95 * 1) and 0.95 with ratios 2, 1/2, 3, 1/3
    last = build_priors(ssdlite_levels((320, 320)))[-6:]
    np.testing.assert_array_equal(last[:, :2], 0.5)
    np.testing.assert_allclose(last[:, 2:], [
        [0.95, 0.95], [0.974679, 0.974679], [1.343503, 0.671751], [0.671751, 1.343503],
        [1.645448, 0.548483], [0.548483, 1.645448]], rtol=1e-5)


def test_the_reference_has_a_grid_of_two_scales_and_three_or_five_ratios():
    shapes = [len(level.shapes_wh) for level in reference300()]
    assert shapes == [6, 10, 10, 6, 6, 6]


def test_a_wide_input_keeps_the_centres_of_every_level_evenly_spread():
    level = ssdlite_levels((240, 320))[0]  # 15 rows, 20 columns
    priors = level_priors(level).reshape(15, 20, 6, 4)
    np.testing.assert_allclose(priors[0, 0, :, :2], [[0.5 / 20, 0.5 / 15]] * 6, rtol=1e-6)
    np.testing.assert_allclose(priors[14, 19, :, :2], [[19.5 / 20, 14.5 / 15]] * 6, rtol=1e-6)


@pytest.mark.parametrize('size_hw', [(0, 4), (4, 0), (-1, 4)])
def test_a_level_without_cells_is_refused(size_hw):
    with pytest.raises(ConfigError, match=rf'feature map of \({size_hw[0]}, {size_hw[1]}\) cells'):
        PriorLevel(size_hw, ((0.5, 0.5),))


@pytest.mark.parametrize('shapes', [(), ((0.5, 0.0),), ((0.5, 0.5), (-0.1, 0.5))])
def test_a_shape_without_area_is_refused(shapes):
    with pytest.raises(ConfigError, match='positive .*found'):
        PriorLevel((2, 3), shapes)


@pytest.mark.parametrize(('smallest', 'largest'), [(0.0, 0.9), (0.9, 0.2), (float('nan'), 0.9)])
def test_scales_that_do_not_ascend_are_refused(smallest, largest):
    with pytest.raises(ConfigError, match=f'found {smallest} and {largest}'):
        linear_scales(smallest, largest, 6)


@pytest.mark.parametrize('count', [0, -1])
def test_no_scale_at_all_is_refused(count):
    with pytest.raises(ConfigError, match=f'at least one level, found {count}'):
        linear_scales(0.2, 0.9, count)


@pytest.mark.parametrize('make', [
    lambda: ssd_shapes(0.2, -0.3, [2]), lambda: grid_shapes(0.2, -0.3, [2])],
    ids=['ssd_shapes', 'grid_shapes'])
def test_a_scale_that_is_not_positive_is_refused(make):
    with pytest.raises(ConfigError, match=r'scales must be positive, found \(0.2, -0.3\)'):
        make()


@pytest.mark.parametrize('make', [
    lambda: ssd_shapes(0.2, 0.3, [2, 0]), lambda: grid_shapes(0.2, 0.3, [2, 0]),
    lambda: lowest_shapes(0.2, [2, 0])], ids=['ssd_shapes', 'grid_shapes', 'lowest_shapes'])
def test_a_ratio_that_is_not_positive_is_refused(make):
    with pytest.raises(ConfigError, match=r'ratios must be positive, found \(2, 0\)'):
        make()
