"""Publish images as a camera driver does: transport, QoS, messages, pace, discovery."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
import time
from typing import Any, TypeVar

from mbv2ssd_ros.ros.fast_dds import offer_profile
from mbv2ssd_ros.shipped import shipped_path
from mbv2ssd_ros.tools.cli.program import say

QOS_DEPTH = 5
SETTLE_S = 0.3  # discovery is not symmetric: we may see a subscriber that does not see us yet
_ACKNOWLEDGED_S = 5.0  # upper bound, for subscribers on a busy machine
Item = TypeVar('Item')


def share_large_images(environment: MutableMapping[str, str]) -> None:
    """
    Give Fast DDS room for images, unless the user has chosen a transport.

    With its default shared memory a best effort image of 720p is lost nearly always. The sender's
    side counts. Changes the environment; call it before rclpy is imported.
    """
    offer_profile(environment, shipped_path('config/fastdds_large_images.xml'))


def camera_qos(reliable: bool) -> Any:
    """Return the QoS of an image topic: reliable, or as camera drivers have it."""
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    return QoSProfile(
        depth=QOS_DEPTH, reliability=ReliabilityPolicy.RELIABLE if reliable
        else ReliabilityPolicy.BEST_EFFORT)


def with_data(message: Any, data: Any) -> Any:
    """Copy bytes into the empty array of a new message; assigning an ndarray takes 40 ms (VGA)."""
    message.data.frombytes(memoryview(data).cast('B'))
    return message


def paced(items: Iterable[Item], rate_hz: float) -> Iterator[Item]:
    """Hold each item back until it is due; resume after a stall without a burst."""
    due = time.monotonic()
    for item in items:
        time.sleep(max(0.0, due - time.monotonic()))
        yield item
        due = max(due + 1 / rate_hz, time.monotonic())


def wait_for(program: str, what: str, missing: Callable[[], list[str]]) -> None:
    """Wait until no topic is missing any more; print them whenever they change."""
    awaited: list[str] = []
    while topics := missing():
        if topics != awaited:
            awaited = topics
            say(program, f'waiting for {what} {", ".join(topics)}; --no-wait starts at once')
        time.sleep(0.02)


def let_frames_arrive(publisher: Any, reliable: bool) -> None:
    """Wait for the last frames, acknowledged if reliable: shared memory goes with its writer."""
    if reliable:
        from rclpy.duration import Duration
        deadline = time.monotonic() + _ACKNOWLEDGED_S
        while time.monotonic() < deadline:
            if publisher.wait_for_all_acked(Duration(seconds=0.1)):  # delays signals
                break
    else:
        time.sleep(0.2)
