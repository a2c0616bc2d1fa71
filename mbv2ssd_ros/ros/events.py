"""Events of the middleware, wherever this version of rclpy has them."""

from __future__ import annotations

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ['NO_EVENTS', 'PublisherEventCallbacks', 'SubscriptionEventCallbacks']

# By default rclpy waits for two events of every publisher, to log subscribers with an incompatible
# quality of service. The executor checks all of them between an image and its callback (all 16:
# 113 us a cycle; without them 76), so only the detections have them.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
