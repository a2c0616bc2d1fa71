"""Why nothing comes, in words."""

from types import SimpleNamespace

import pytest
from sensor_msgs.msg import Image

from mbv2ssd_ros.ros.missing_images import incompatible_qos, why_no_images

CAMERA = SimpleNamespace(
    image_topic='/front/image_raw', message_type=Image,
    params=SimpleNamespace(name='front', qos_reliability='reliable'))


def publisher(name, namespace='/'):
    return SimpleNamespace(node_name=name, node_namespace=namespace)


@pytest.mark.parametrize(('publishers', 'named'), [
    ([publisher('driver')], '/driver'),
    ([publisher('driver', '/robot'), publisher('bag')], '/robot/driver, /bag'),
    ([publisher('driver'), publisher('driver')], '/driver'),  # the old one is not yet forgotten
    ([publisher('_NODE_NAME_UNKNOWN_', '_NODE_NAMESPACE_UNKNOWN_')], 'a node without a name'),
])
def test_publishers_are_named_once_as_people_know_them(publishers, named):
    assert incompatible_qos(CAMERA, publishers) == (
        f'{named} offers BEST_EFFORT images on /front/image_raw, front.qos_reliability asks for '
        'RELIABLE, so none arrives; set front.qos_reliability to best_effort')


def test_of_many_topics_those_are_offered_that_are_most_like_the_one_asked_for():
    topics = [f'/arm/depth_{number}/points_as_image' for number in range(9)] + [
        '/robot/front/image_raw']
    node = SimpleNamespace(
        get_publishers_info_by_topic=lambda topic: [], count_publishers=lambda topic: 1,
        get_topic_names_and_types=lambda: [(topic, ['sensor_msgs/msg/Image']) for topic in topics])
    assert why_no_images(node, CAMERA).startswith(
        'no publisher on /front/image_raw; sensor_msgs/msg/Image is published on '
        '/robot/front/image_raw, /arm/depth_')
