"""The thread of the debug images."""

import threading
from types import SimpleNamespace

import numpy as np
from std_msgs.msg import Header

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.ros.debug_image import DebugImages

TIMEOUT_S = 5.0
IMAGE = SourceImage(np.zeros((2, 3, 3), np.uint8), 'bgr')
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.intp))


class Viewer:
    """Subscribes to every camera's debug images and, while its gate is closed, takes none."""

    def __init__(self):
        self.seen = []
        self.gate = threading.Event()
        self.asked, self.done = threading.Event(), threading.Event()

    def camera(self, index):
        """Make what DebugImages sees of a camera."""
        def publish(message):
            self.asked.set()
            assert self.gate.wait(TIMEOUT_S)
            self.seen.append(message.header.frame_id)
            if message.header.frame_id == 'last':
                self.done.set()
        return SimpleNamespace(
            index=index, debug_compressed=SimpleNamespace(get_subscription_count=lambda: 0),
            debug_image=SimpleNamespace(get_subscription_count=lambda: 1, publish=publish))


def test_the_camera_that_waited_longest_is_drawn_first_and_its_newest_image_only():
    viewer, errors = Viewer(), []
    debug_images = DebugImages(['background', 'red'], errors.append)
    front, rear, side = (viewer.camera(index) for index in range(3))

    def offer(camera, name):
        debug_images.offer(camera, IMAGE, NOTHING, Header(frame_id=name), max_rate_hz=0)
    offer(front, 'first')
    assert viewer.asked.wait(TIMEOUT_S)  # it is under way; the others wait
    offer(rear, 'too late')
    offer(side, 'last')
    offer(rear, 'second')
    viewer.gate.set()
    assert viewer.done.wait(TIMEOUT_S)
    debug_images.stop()
    assert viewer.seen == ['first', 'second', 'last']
    assert errors == []
