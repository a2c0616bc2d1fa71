"""Detections as messages."""

import numpy as np
import pytest
from std_msgs.msg import Header

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.ros.detection_messages import DetectionMessages


def detections(*found):
    """Make detections of (x1, y1, x2, y2, score, label)."""
    rows = np.array(found, np.float32).reshape(-1, 6)
    return Detections(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.intp))


@pytest.fixture
def messages():
    """Make messages of two classes."""
    return DetectionMessages(('background', 'cat', 'dog'))


def test_a_box_is_centre_and_size(messages):
    box = messages.message(detections((10, 20, 30, 60, 0.5, 2)), Header()).detections[0].bbox
    assert (box.center.position.x, box.center.position.y) == (20.0, 40.0)
    assert (box.size_x, box.size_y) == (20.0, 40.0)


def test_a_label_is_its_name_and_the_score_is_a_number(messages):
    found = messages.message(detections((0, 0, 1, 1, 0.5, 2)), Header()).detections[0]
    hypothesis = found.results[0].hypothesis
    assert (hypothesis.class_id, hypothesis.score) == ('dog', 0.5)


def test_every_part_has_the_header_of_the_image(messages):
    found = messages.message(detections((0, 0, 2, 2, 0.7, 2)), Header(frame_id='lens'))
    assert (found.header.frame_id, found.detections[0].header.frame_id) == ('lens', 'lens')


def test_nothing_found_is_an_empty_list(messages):
    messages.message(detections((0, 0, 1, 1, 0.9, 1)), Header())
    assert messages.message(detections(), Header()).detections == []
