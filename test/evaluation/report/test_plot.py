"""Charts put things where they belong."""

from xml.etree import ElementTree

import numpy as np
import pytest

from mbv2ssd_ros.evaluation.report.plot import Axis, count_axis, Plot, unit_axis

X, Y = unit_axis('recall'), unit_axis('precision')


def parsed(markup):
    """Return the element."""
    return ElementTree.fromstring(markup)


def points(path):
    """Return the corners of a path."""
    numbers = path.get('d').replace('M', ' ').replace('L', ' ').split()
    return list(zip(map(float, numbers[::2]), map(float, numbers[1::2])))


def test_places_along_a_unit_axis():
    assert X.places([0, 0.25, 1]).tolist() == [0, 0.25, 1]
    assert X.places([-1, 2]).tolist() == [0, 1]


def test_a_logarithmic_axis_gives_each_decade_the_same_length():
    axis = Axis('n', 1, 1000, (1, 10, 100, 1000), True)
    np.testing.assert_allclose(axis.places([1, 10, 100, 1000]), [0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(('largest', 'top'), [(0, 10), (1, 10), (10, 10), (11, 100), (3e5, 1e6)])
def test_counts_reach_up_to_a_power_of_ten_and_zero_lies_below_one(largest, top):
    axis = count_axis('n', largest)
    assert axis.upper == top and axis.ticks[-1] == top and axis.ticks[0] == 1
    assert axis.places([0])[0] == 0 < axis.places([1])[0]


def test_a_line_goes_right_with_x_and_up_with_y():
    (x0, y0), (x1, y1) = points(parsed(Plot(X, Y).line([0, 1], [0, 1])))
    assert x1 > x0 and y1 < y0  # y of a picture points down


def test_a_line_is_interrupted_where_there_is_no_value():
    path = parsed(Plot(X, Y).line([0, 0.2, 0.4, 0.6, 0.8], [1, 1, np.nan, 1, 1]))
    assert path.get('d').count('M') == 2 and path.get('d').count('L') == 2


def test_steps_are_flat_over_each_bin():
    corners = points(parsed(Plot(X, Y).steps([0, 0.5, 1], [1, 0])))
    assert corners[0][1] == corners[1][1] and corners[2][1] == corners[3][1]
    assert corners[1][0] == corners[2][0] and corners[0][1] < corners[2][1]


def test_a_line_and_a_dot_of_one_value_meet():
    plot = Plot(X, Y)
    corner, dot = points(parsed(plot.line([0.3], [0.7])))[0], parsed(plot.dot(0.3, 0.7, 'here'))
    assert corner == (float(dot.get('cx')), float(dot.get('cy')))
    assert float(parsed(plot.rule(0.3, 'there')).get('x1')) == corner[0]


def test_a_chart_is_well_formed_named_and_has_ticks_where_they_belong():
    plot = Plot(X, count_axis('detections', 2000))
    chart = parsed(plot.svg([plot.line([0], [1], '<dog>')], 'of <dogs>', id='c'))
    assert chart.get('aria-label') == 'of <dogs>' and chart.get('id') == 'c'
    texts = [text.text for text in chart.iter('text')]
    assert texts == ['0', '0.2', '0.4', '0.6', '0.8', '1', 'recall',
                     '1', '10', '100', '1k', '10k', 'detections']
    assert [title.text for title in chart.iter('title')] == ['<dog>']
