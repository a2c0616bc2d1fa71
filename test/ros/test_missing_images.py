"""Why nothing comes, in words."""

from types import SimpleNamespace

import pytest

from mbv2ssd_ros.ros import missing_images
from mbv2ssd_ros.ros.missing_images import (
    image_topics,
    incompatible_qos,
    mismatch,
    mixed_publishers,
    nothing_arrives,
    Publisher,
    WantedCamera,
)

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
TOPIC = '/front/image_raw'


def wanted(transport='raw', reliability='best_effort', topic=TOPIC):
    return WantedCamera('front', topic, transport, reliability)


def publisher(node='/driver', kind=IMAGE, durability='VOLATILE'):
    return Publisher(node, kind, 'BEST_EFFORT', durability)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """Stand on a machine with one user and much shared memory."""
    monkeypatch.setattr(missing_images, 'other_users', lambda: [])
    monkeypatch.setattr(missing_images, 'room_bytes', lambda: 2 ** 30)


@pytest.mark.parametrize(('nodes', 'named'), [
    (['/driver'], '/driver'), (['/robot/driver', '/bag'], '/robot/driver, /bag'),
    (['/driver', '/driver'], '/driver')])  # the old one is not yet forgotten
def test_publishers_are_named_once_as_people_know_them(nodes, named):
    assert str(incompatible_qos(wanted(reliability='reliable'), map(publisher, nodes))) == (
        f'{named} offers BEST_EFFORT images on /front/image_raw, front.qos_reliability asks for '
        'RELIABLE, so none arrives; set front.qos_reliability to best_effort')


def info(name, namespace='/', kind=IMAGE):
    """Make rclpy's description of a publisher."""
    policy = SimpleNamespace(name='BEST_EFFORT')
    return SimpleNamespace(
        node_name=name, node_namespace=namespace, topic_type=kind,
        qos_profile=SimpleNamespace(reliability=policy, durability=policy))


def test_the_debug_images_of_a_detector_and_topics_without_publishers_are_left_out():
    node = SimpleNamespace(
        get_publishers_info_by_topic=lambda topic: [] if topic == '/gone' else [
            info('_NODE_NAME_UNKNOWN_', '_NODE_NAMESPACE_UNKNOWN_')],
        get_topic_names_and_types=lambda: [
            ('/a', [IMAGE]), ('/gone', [IMAGE]), ('/scan', ['sensor_msgs/msg/LaserScan']),
            ('/d/debug_image', [IMAGE]), ('/d/debug_image/compressed', [COMPRESSED])])
    found = image_topics(node)
    assert {topic: [one.node for one in there] for topic, there in found.items()} == {
        '/a': ['a node without a name']}


def test_of_many_topics_those_are_offered_that_are_most_like_the_one_asked_for():
    topics = {f'/arm/depth_{number}/points_as_image': [publisher()] for number in range(9)}
    found = mismatch(wanted(), {**topics, '/robot/front/image_raw': [publisher()]})
    assert found.found.startswith(
        'no publisher on /front/image_raw; sensor_msgs/msg/Image is published on '
        '/robot/front/image_raw, /arm/depth_')


@pytest.mark.parametrize(('asked', 'there', 'kind', 'transport'), [
    (wanted(), f'{TOPIC}/compressed', COMPRESSED, 'compressed'),
    (wanted('compressed', topic=f'{TOPIC}/compressed'), TOPIC, IMAGE, 'raw')])
def test_the_twin_of_image_transport_is_offered_with_both_parameters(
        asked, there, kind, transport):
    found = mismatch(asked, {there: [publisher(kind=kind)]})
    assert f'the same camera publishes {kind} on {there}' in found.found
    assert found.remedy == (
        f'set front.transport to {transport} and front.image_topic to {there}')


def test_a_camera_of_another_user_needs_one_user_or_udp(monkeypatch):
    found = nothing_arrives(wanted(), [publisher('a node without a name')])
    assert 'may run as another user, or in another container' in found.found
    assert 'UDPv4' in found.remedy
    monkeypatch.setattr(missing_images, 'other_users', lambda: ['user root'])
    assert 'may run as user root' in nothing_arrives(wanted(), [publisher()]).found


def test_a_latched_image_is_not_awaited_forever():
    found = nothing_arrives(wanted(), [publisher(durability='TRANSIENT_LOCAL')])
    assert 'latched image' in found.found and 'publish it again' in found.remedy


def test_dockers_shared_memory_is_too_small_for_the_profile_of_large_images(monkeypatch):
    assert 'fastdds_large_images.xml' in nothing_arrives(wanted(), [publisher()]).remedy
    monkeypatch.setattr(missing_images, 'room_bytes', lambda: 64 * 2 ** 20)
    found = nothing_arrives(wanted(), [publisher()])
    assert '/dev/shm has 67 MB' in found.remedy and '--shm-size=1g' in found.remedy
    assert 'fastdds_large_images.xml' not in found.remedy


def test_two_nodes_on_one_topic_mix_and_a_restarted_one_does_not():
    assert mixed_publishers(wanted(), [publisher(), publisher()]) is None
    found = mixed_publishers(wanted(), [publisher(), publisher('/bag')])
    assert found.found.startswith('2 nodes publish on /front/image_raw: /driver, /bag')


def test_a_camera_that_came_back_with_another_type_is_named_while_the_old_one_is_listed():
    reason = nothing_arrives(wanted(), [publisher('/old'), publisher('/new', COMPRESSED)])
    assert str(reason) == (
        f"/new publishes {COMPRESSED} on {TOPIC}, front.transport is 'raw' and expects {IMAGE}; "
        'set front.transport to compressed')
