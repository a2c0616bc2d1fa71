"""
The thread in which the images of one camera arrive.

rclpy's executor checks everything that the node owns, between the arrival of a message and
its callback, and once more after it: 0.25 ms at 30 Hz. This thread waits for one subscription.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import threading
import time
import traceback
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.context import Context
from rclpy.guard_condition import GuardCondition
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.subscription import Subscription

_FOR_EVER = -1
_ERROR_PAUSE_S = 0.01  # an error that repeats for ever must not take a whole core


class NoExecutor(CallbackGroup):
    """Callback group that executors skip; for a receiver's subscription and its events."""

    def can_execute(self, entity: Any) -> bool:
        """Return False; the executor then does not even wait for it."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Return False; see can_execute."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Do nothing: nothing began."""


class Receiver:
    """
    Calls back for the messages and events of a subscription, in its own thread.

    The subscription is in the group NoExecutor; its callback gets each message and its info. An
    exception in a callback costs the message and goes to `log_error`. RuntimeError when the
    context is gone.
    """

    def __init__(self, subscription: Subscription, context: Context,
                 log_error: Callable[[str], None]) -> None:
        self._subscription = subscription
        self._context = context
        self._log_error = log_error
        self._stopping = False
        self._stop = GuardCondition(None, None, context=context)
        with context.handle:
            self._wait_set = _rclpy.WaitSet(
                1, 1, 0, 0, 0, len(subscription.event_handlers), context.handle)
        self._thread = threading.Thread(
            target=self._run, name=f'receive-{subscription.topic_name}', daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 1.5) -> bool:
        """
        End the thread; no callback begins afterwards.

        False when the callback under way did not end in time; the thread is left behind.
        """
        self._stopping = True
        self._stop.trigger()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        subscription, stop, context = self._subscription, self._stop.handle, self._context
        handle, events, wait_set = (
            subscription.handle, subscription.event_handlers, self._wait_set)
        # between a message and its callback caches are cold, and each name looked up costs
        take = partial(handle.take_message, subscription.msg_type, subscription.raw)
        callback = subscription.callback
        with handle, stop, context.handle:  # in use: not destroyed before this thread ends
            while not self._stopping:
                try:
                    wait_set.clear_entities()
                    wait_set.add_subscription(handle)
                    wait_set.add_guard_condition(stop)
                    for event in events:
                        event.add_to_wait_set(wait_set)
                    wait_set.wait(_FOR_EVER)
                    taken = None if self._stopping else take()
                    if taken is not None:
                        callback(*taken)
                    del taken  # frees its memory for the next one
                    for event in events:
                        if event.is_ready(wait_set):
                            event.callback(event.take_data())
                except Exception:  # a bug must cost its message, not the thread
                    if not context.ok():
                        return
                    self._log_error(f'unexpected error:\n{traceback.format_exc()}')
                    time.sleep(_ERROR_PAUSE_S)
