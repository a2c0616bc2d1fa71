"""The layouts for Foxglove and RViz show topics that the node of config/detector.yaml has."""

import json
import re

import pytest
import yaml

from helpers.needs import need
from helpers.paths import ROOT

CONFIG = ROOT / 'config'
FOXGLOVE = json.loads((CONFIG / 'foxglove_layout.json').read_text())
RVIZ = yaml.safe_load((CONFIG / 'detector.rviz').read_text())


@pytest.fixture
def topics():
    """Return topic -> type, of a node named detector with the shipped parameters."""
    camera = yaml.safe_load((CONFIG / 'detector.yaml').read_text())[
        '/**']['ros__parameters']['camera']
    detections = f'/{camera["detections_topic"]}'
    return {
        f'/{camera["image_topic"]}': 'Image', detections: 'Detection2DArray',
        f'{detections}/debug_image': 'Image',
        f'{detections}/debug_image/compressed': 'CompressedImage',
        '/diagnostics': 'DiagnosticArray', '/detector/status': 'DetectorStatus'}


def panels(kind):
    """Return the settings of all Foxglove panels of a kind."""
    return [settings for name, settings in FOXGLOVE['configById'].items()
            if name.partition('!')[0] == kind]


def leaves(layout):
    """Return the names of the panels in a layout."""
    if isinstance(layout, str):
        return [layout]
    return leaves(layout['first']) + leaves(layout['second'])


def test_foxglove_shows_every_panel_once():
    assert sorted(leaves(FOXGLOVE['layout'])) == sorted(FOXGLOVE['configById'])


def test_foxglove_shows_image_detections_and_diagnostics(topics):
    assert [topics[panel['imageMode']['imageTopic']] for panel in panels('Image')] == [
        'CompressedImage']
    assert [topics[panel['topicPath']] for panel in panels('RawMessages')] == [
        'Detection2DArray']
    shown = panels('DiagnosticSummary') + panels('DiagnosticStatusPanel')
    assert [topics[panel['topicToRender']] for panel in shown] == ['DiagnosticArray'] * 2


def test_foxglove_plots_fields_of_the_typed_status(topics):
    values = [path['value'] for panel in panels('Plot') for path in panel['paths']]
    assert len(values) == 4
    fields = re.findall(r'^\S+ (\w+)', (ROOT / 'msg/msg/CameraStatus.msg').read_text(), re.M)
    for value in values:
        topic, field = re.fullmatch(r'(/[\w/]+)\.cameras\[0\]\.(\w+)', value).groups()
        assert (topics[topic], field in fields) == ('DetectorStatus', True), value


def test_foxglove_selects_the_status_of_the_camera():
    need('diagnostic_msgs')
    from std_msgs.msg import Header

    from mbv2ssd_ros.frames import FrameCounters
    from mbv2ssd_ros.ros.camera_monitor import CameraReport
    from mbv2ssd_ros.ros.diagnostics import diagnostics, NodeReport
    camera = CameraReport(
        'camera', 0, '', False, False, FrameCounters().counts(), 0.0, 0.0, {}, None, 0)
    status = diagnostics(NodeReport('/detector', 'active', '', cameras=(camera,)), Header()).status
    selected = panels('DiagnosticStatusPanel')[0]
    assert (selected['selectedHardwareId'], selected['selectedName']) in [
        (one.hardware_id, one.name) for one in status]


def test_rviz_shows_the_image_with_and_without_boxes(topics):
    displays = RVIZ['Visualization Manager']['Displays']
    assert {display['Class'] for display in displays} == {'rviz_default_plugins/Image'}
    shown = {display['Topic']['Value']: display['Enabled'] for display in displays}
    assert shown == {'/camera/detections/debug_image': True, '/camera/image_raw': False}
    assert set(shown) <= set(topics)
