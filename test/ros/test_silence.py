"""Why nothing comes, in words."""

from types import SimpleNamespace

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')
from mbv2ssd_ros.ros.silence import incompatible_qos  # noqa: E402

CAMERA = SimpleNamespace(
    image_topic='/front/image_raw',
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
