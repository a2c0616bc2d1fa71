"""Events of the middleware, under the name of this version of rclpy."""

from __future__ import annotations

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = ['NO_EVENTS', 'PublisherEventCallbacks', 'SubscriptionEventCallbacks']

# By default rclpy waits for two events of each publisher, to log subscribers with an incompatible
# quality of service. The executor checks them in each cycle (all 16: 113 us a cycle; without
# them 76), so only the detections have them.
NO_EVENTS = PublisherEventCallbacks(use_default_callbacks=False)
