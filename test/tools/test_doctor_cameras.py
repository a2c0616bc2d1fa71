"""What the doctor says of cameras: on facts made up here, then beside real nodes."""

import dataclasses
import json

import pytest

from helpers.needs import need
from helpers.paths import ROOT
from helpers.tiny_model import write_tiny_model
from mbv2ssd_ros.core.errors import ConfigError
from mbv2ssd_ros.ros.missing_images import Publisher, WantedCamera
from mbv2ssd_ros.tools.checkup.camera_state import (
    camera_findings,
    ImageTopic,
    subscribed,
    topic_findings,
)
from mbv2ssd_ros.tools.checkup.finding import ERROR, OK, SKIPPED, WARNING
from mbv2ssd_ros.tools.checkup.network import detectors_named, duplicated
from mbv2ssd_ros.tools.checkup.parameter_file import full_topic, judge, read_overrides

CONFIG = ROOT / 'config'
IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
TOPIC = '/front/image_raw'


def topic(kind=IMAGE, reliability='BEST_EFFORT', nodes=('/driver',), name=TOPIC, **more):
    """Make a topic of 640 x 480 at 30 Hz."""
    facts = {'received': 60, 'rate_hz': 30.0, 'size_wh': (640, 480), 'encoding': 'bgr8',
             'message_bytes': 921664, 'age_s': 0.01, **more}
    return ImageTopic(name, tuple(Publisher(node, kind, reliability) for node in nodes), **facts)


def wanted(transport='raw', reliability='best_effort', where=TOPIC):
    """Make what a node asks for."""
    return WantedCamera('front', where, transport, reliability)


def verdicts(camera, *topics):
    """Return level and text of what is said of a camera."""
    return [(found.level, found.text, found.next_step)
            for found in camera_findings(camera, 'p.yaml', topics)]


# Judgements --------------------------------------------------------------------------------------

def test_a_topic_is_described_with_size_encoding_rate_reliability_and_node():
    found = list(topic_findings([topic()], 2.0))
    assert [(finding.level, finding.text) for finding in found] == [
        (OK, f'{IMAGE} 640x480 bgr8, 30.0 Hz, BEST_EFFORT, from /driver')]


def test_no_topic_at_all_is_no_fault_of_the_machine():
    assert [finding.level for finding in topic_findings([], 2.0)] == [SKIPPED]


@pytest.mark.parametrize(('more', 'text'), [
    ({'received': 0, 'rate_hz': 0.0}, 'nothing arrived within 2 s'),
    ({'received': 50, 'lost': 10}, '10 of 60 images were lost on the way'),
    ({'age_s': 3.25}, 'stamps are 3.2 s old'),
    ({'age_s': -40.0}, 'stamps are 40.0 s ahead of this clock')])
def test_a_topic_with_a_fault_is_a_warning_that_names_it(more, text):
    found = list(topic_findings([topic(**more)], 2.0))
    assert found[0].level == WARNING and text in found[0].text


def test_few_losses_and_images_without_a_stamp_are_no_fault():
    found = list(topic_findings([topic(received=95, lost=5, age_s=None)], 2.0))
    assert [finding.level for finding in found] == [OK]


@pytest.mark.parametrize(('camera', 'seen'), [
    (wanted(), topic()), (wanted(), topic(reliability='RELIABLE')),
    (wanted(reliability='reliable'), topic(reliability='RELIABLE')),
    (wanted('compressed'), topic(COMPRESSED))])
def test_what_matches_is_ok(camera, seen):
    assert [level for level, _, _ in verdicts(camera, seen)] == [OK]


def test_a_publisher_that_offers_less_than_is_asked_for_is_named_with_both_sides():
    level, text, step = verdicts(wanted(reliability='reliable'), topic())[0]
    assert level == ERROR
    assert text == ('/driver offers BEST_EFFORT images on /front/image_raw, '
                    'front.qos_reliability asks for RELIABLE, so none arrives')
    assert step == 'set front.qos_reliability to best_effort'


@pytest.mark.parametrize(('transport', 'kind', 'right'), [
    ('raw', COMPRESSED, 'compressed'), ('compressed', IMAGE, 'raw')])
def test_the_wrong_type_is_named_with_the_transport_that_fits(transport, kind, right):
    level, text, step = verdicts(wanted(transport), topic(kind))[0]
    assert level == ERROR and step == f'set front.transport to {right}'
    assert f"/driver publishes {kind} on {TOPIC}, front.transport is '{transport}'" in text


def test_nobody_on_the_topic_lists_the_topics_of_the_right_type():
    others = [topic(name='/a'), topic(COMPRESSED, name='/b'), topic(name='/c')]
    level, text, step = verdicts(wanted(), *others)[0]
    assert (level, text) == (
        ERROR, f'no publisher on {TOPIC}; {IMAGE} is published on /a, /c')
    assert 'set front.image_topic' in step


@pytest.mark.parametrize(('transport', 'there', 'kind', 'other'), [
    ('raw', '/x/image/compressed', COMPRESSED, 'compressed'),
    ('compressed', '/x/image', IMAGE, 'raw')])
def test_the_same_camera_in_the_other_form_is_found(transport, there, kind, other):
    asked = '/x/image' if transport == 'raw' else '/x/image/compressed'
    step = verdicts(wanted(transport, where=asked), topic(kind, name=there))[0][2]
    assert step == f'set front.transport to {other} and front.image_topic to {there}'


def test_nobody_at_all_says_so():
    assert verdicts(wanted('compressed', where='/x'), topic())[0][1] == (
        f'no publisher on /x, nor {COMPRESSED} on any other topic')


def test_two_publishers_on_a_topic_are_a_warning_that_names_both():
    found = verdicts(wanted(), topic(nodes=('/left', '/right')))
    assert [level for level, _, _ in found] == [WARNING, OK]
    assert '2 nodes publish on /front/image_raw: /left, /right' in found[0][1]


def test_a_publisher_of_which_nothing_arrives_is_an_error():
    level, text, step = verdicts(wanted(), topic(received=0))[0]
    assert level == ERROR and '/driver is there' in text and 'fastdds_large_images' in step


def test_a_remapped_camera_is_compared_with_what_its_node_subscribes_to():
    front, rear = wanted(), WantedCamera('rear', '/rear', 'raw', 'best_effort')
    twin = WantedCamera('side', '/side', 'compressed', 'best_effort')
    assert subscribed([front], {'/lens': [IMAGE], '/diagnostics': ['x']}) == (
        [dataclasses.replace(front, topic='/lens')], [])
    assert subscribed([front, rear], {'/rear': [IMAGE], '/lens': [IMAGE]}) == (
        [rear, dataclasses.replace(front, topic='/lens')], [])
    assert subscribed([front, twin], {'/a': [IMAGE], '/b': [COMPRESSED]})[1] == []
    assert subscribed([front, rear], {'/a': [IMAGE], '/b': [IMAGE]}) == ([], ['front', 'rear'])


class GraphWithNames:
    """The part of a node that knows the names of others."""

    def __init__(self, *names):
        self._names = names

    def get_node_names_and_namespaces(self):
        return [(name, namespace) for namespace, name in self._names]


def test_detectors_are_found_by_either_name_and_namesakes_are_told():
    graph = GraphWithNames(('/', 'detector'), ('/robot', 'detector'), ('/robot', 'detector'),
                           ('/', 'camera'), ('/', 'camera'))
    assert detectors_named(graph, 'detector') == ['/detector', '/robot/detector']
    assert detectors_named(graph, '/detector') == ['/detector']
    assert duplicated(graph, 'detector') == ('/robot/detector',)
    assert duplicated(graph, '/detector') == ()


# Parameter files ---------------------------------------------------------------------------------

@pytest.mark.parametrize(('pattern', 'node', 'fits'), [
    ('/**', '/robot/detector', True), ('detector', '/detector', True),
    ('/detector', '/detector', True), ('detector', '/robot/detector', False),
    ('/*/detector', '/robot/detector', True), ('/*/detector', '/a/b/detector', False),
    ('/**/detector', '/a/b/detector', True), ('camera', '/detector', False)])
def test_sections_name_nodes_as_ros_reads_them(tmp_path, pattern, node, fits):
    path = tmp_path / 'p.yaml'
    path.write_text(f'{pattern}:\n  ros__parameters:\n    a: 1\n    b: {{c: 2}}\n')
    if fits:
        assert read_overrides(path, node) == {'a': 1, 'b.c': 2}
    else:
        with pytest.raises(ConfigError, match=f'no section is for the node {node}; its sections'):
            read_overrides(path, node)


def test_nested_names_and_later_sections(tmp_path):
    path = tmp_path / 'p.yaml'
    path.write_text('/**:\n  ros__parameters: {a: 1, b: 1}\n'
                    'robot:\n  detector:\n    ros__parameters: {b: 2}\n')
    assert read_overrides(path, '/robot/detector') == {'a': 1, 'b': 2}


@pytest.mark.parametrize('content', ['a: [', '- 1', '', 'detector:\n  parameters: {}\n'])
def test_a_file_without_parameters_is_refused_by_name(tmp_path, content):
    path = tmp_path / 'p.yaml'
    path.write_text(content)
    with pytest.raises(ConfigError, match=f'{path}: '):
        read_overrides(path, '/detector')


@pytest.mark.parametrize(('name', 'expected'), [
    ('/lens/image', '/lens/image'), ('camera/image_raw', '/robot/camera/image_raw')])
def test_relative_topics_are_in_the_namespace_of_the_node(name, expected):
    assert full_topic(name, '/robot/') == expected


@pytest.mark.parametrize(('line', 'level', 'text'), [
    ('score_threshold: 1', OK, '1 parameters are set'),
    ('score_treshold: 0.5', ERROR, "no parameter 'score_treshold'; did you mean 'score_thresh"),
    ('frobnicate: 0.5', WARNING, "'frobnicate' is not one of this node"),
    ('front: {transport: raw, max_rate_hz: 1.0}', WARNING,
     'the parameters of front are not used: cameras has only camera'),
    ('score_threshold: high', ERROR, "score_threshold is 'high', expected float"),
    ('nms_iou: 1.5', ERROR, 'nms_iou is 1.5, expected 0.0 to 1.0'),
    ('cameras: front', ERROR, "cameras is 'front', expected names"),
    ('backend: tensorflow', ERROR, "backend is 'tensorflow', expected one of auto")])
def test_a_parameter_file_is_checked_as_the_node_does(tmp_path, line, level, text):
    need('rcl_interfaces')
    path = tmp_path / 'p.yaml'
    path.write_text(f'/**:\n  ros__parameters:\n    {line}\n')
    found = list(judge(path, '/detector'))
    assert [(finding.level, text in finding.text) for finding in found] == [(level, True)]


@pytest.mark.parametrize('name', ['detector', 'multi_camera'])
def test_the_shipped_parameter_files_are_well(name):
    need('rcl_interfaces')
    found = list(judge(CONFIG / f'{name}.yaml', '/detector'))
    assert [finding.level for finding in found] == [OK]


# Beside real nodes -------------------------------------------------------------------------------

def params_file(folder, **camera):
    """Write a parameter file for one camera `front`."""
    path = folder / 'p.yaml'
    lines = ''.join(f'      {name}: {value}\n' for name, value in camera.items())
    path.write_text(f'/**:\n  ros__parameters:\n    cameras: [front]\n    front:\n{lines}')
    return path


def publish(graph, kind, reliability, size_hw=(48, 80), rate_hz=20):
    """Publish images on TOPIC while the graph is served."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image
    height, width = size_hw
    message = kind(format='jpeg')
    if kind is Image:
        message = Image(height=height, width=width, step=3 * width, encoding='rgb8')
        message.data.frombytes(bytes(3 * height * width))
    publisher = graph.node.create_publisher(
        kind, TOPIC, QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability]))

    def send():
        message.header.stamp = graph.node.get_clock().now().to_msg()
        publisher.publish(message)
    return graph.node.create_timer(1 / rate_hz, send)


def examined(graph, tmp_path, *arguments):
    """Run the doctor beside the graph; return its report."""
    out = tmp_path / 'report.json'
    program = graph.start('doctor', '--quick', '--listen', '2', '--json', out, *arguments)
    ended = graph.run(program)
    assert 'Traceback' not in ended.output
    report = json.loads(out.read_text())
    assert ended.code == (1 if report['verdict'] == 'error' else 0)
    return {found['subject']: (found['level'], found['text']) for found in report['findings']}


@pytest.mark.ros
def test_a_camera_is_measured_and_fits_the_parameter_file(graph, tmp_path):
    from sensor_msgs.msg import Image
    publish(graph, Image, 'BEST_EFFORT')
    path = params_file(tmp_path, image_topic=TOPIC)
    found = examined(graph, tmp_path, '--params-file', path)
    level, text = found[TOPIC]
    assert level == OK and text.startswith(f'{IMAGE} 80x48 rgb8, ')
    assert 12 <= float(text.split(', ')[1].removesuffix(' Hz')) <= 28  # a busy machine stalls
    assert text.endswith('BEST_EFFORT, from /test')
    assert found['camera front (p.yaml)'][0] == OK


@pytest.mark.ros
def test_incompatible_quality_of_service_is_found_on_the_network(graph, tmp_path):
    from sensor_msgs.msg import Image
    publish(graph, Image, 'BEST_EFFORT')
    path = params_file(tmp_path, image_topic=TOPIC, qos_reliability='reliable')
    level, text = examined(graph, tmp_path, '--params-file', path)['camera front (p.yaml)']
    assert level == ERROR and '/test offers BEST_EFFORT' in text and 'asks for RELIABLE' in text


@pytest.mark.ros
def test_a_running_node_is_asked_and_its_own_words_are_passed_on(graph, tmp_path):
    from sensor_msgs.msg import CompressedImage

    from mbv2ssd_ros.tools.cli.processes import Program
    model = write_tiny_model(tmp_path / 'tiny.onnx')
    graph._programs.append(Program(
        'mbv2ssd_ros.ros.node', [
            '--ros-args', '-r', '__ns:=/robot', '-p', 'autostart:=true', '-p',
            f'model_path:={model}', '-p', 'cameras:=[front]', '-p',
            f'front.image_topic:={TOPIC}', '-p', 'silence_timeout_s:=0.5'],
        graph.environment, tmp_path / 'node.log'))
    publish(graph, CompressedImage, 'RELIABLE')
    log = tmp_path / 'node.log'
    graph.wait_for(lambda: 'no image for' in log.read_text(), 'complaint of the node')
    found = examined(graph, tmp_path)
    assert found['node /robot/detector'] == (OK, 'is active')
    level, text = found['camera front (/robot/detector)']
    assert level == ERROR and f"front.transport is 'raw' and expects {IMAGE}" in text
    level, text = found['/robot/detector: camera front']
    assert level == ERROR and text.startswith('no image for')


@pytest.mark.ros
def test_without_cameras_and_nodes_it_says_so_within_seconds(graph, tmp_path):
    found = examined(graph, tmp_path)
    assert found['cameras'][0] == found['detector'][0] == SKIPPED
