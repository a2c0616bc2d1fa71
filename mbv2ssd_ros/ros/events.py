"""Events of the middleware, under the name of this version of rclpy."""

from __future__ import annotations

from collections.abc import Callable

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ['NO_EVENTS', 'on_matched', 'PublisherEventCallbacks', 'SubscriptionEventCallbacks']

# By default rclpy waits for two events of each publisher, to log subscribers with an incompatible
# quality of service. The executor checks them in each cycle (all 16: 113 us a cycle; without
# them 76), so only the detections have them.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)


def on_matched(callback: Callable[[], None]) -> PublisherEventCallbacks | None:
    """Call back when a subscriber comes or goes; None where rclpy cannot tell (Humble)."""
    try:
        return PublisherEventCallbacks(matched=lambda status: callback())
    except TypeError:
        return None
