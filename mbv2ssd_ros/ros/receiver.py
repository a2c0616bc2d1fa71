"""
The thread that receives the images of one camera.

Between the arrival of a message and its callback, and again after it, rclpy's executor checks all
that the node owns: 0.25 ms at 30 Hz. This thread waits for one subscription only. rclpy has no
public API for that; `WaitSetUnavailable` means that this version of it differs.
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
from rclpy.impl import implementation_singleton
from rclpy.subscription import Subscription

_FOREVER = -1
_ERROR_PAUSE_S = 0.01  # a repeating error must not take a whole core


class WaitSetUnavailable(Exception):
    """Raised where rclpy lacks private functions that the receiver needs; an executor works."""


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
    exception in a callback costs the message and goes to `log_error`.

    Raises:
        RuntimeError: the context is shut down.
        WaitSetUnavailable: see there.
    """

    def __init__(self, subscription: Subscription, context: Context,
                 log_error: Callable[[str], None]) -> None:
        self._handle, self._events = subscription.handle, subscription.event_handlers
        self._callback = subscription.callback
        self._context = context
        self._log_error = log_error
        self._stopping = False
        self._stop = GuardCondition(None, None, context=context)
        with self._handle, self._stop.handle, context.handle:
            try:
                self._wait_set = implementation_singleton.rclpy_implementation.WaitSet(
                    1, 1, 0, 0, 0, len(self._events), context.handle)
                self._wait(0)
                self._take = partial(
                    self._handle.take_message, subscription.msg_type, subscription.raw)
            except (AttributeError, TypeError) as err:
                raise WaitSetUnavailable(str(err)) from err
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

    def _wait(self, timeout_ns: int) -> None:
        """Wait for a message, an event or the stop."""
        wait_set = self._wait_set
        wait_set.clear_entities()
        wait_set.add_subscription(self._handle)
        wait_set.add_guard_condition(self._stop.handle)
        for event in self._events:
            event.add_to_wait_set(wait_set)
        wait_set.wait(timeout_ns)

    def _run(self) -> None:
        context = self._context
        # entered: not destroyed before this thread ends
        with self._handle, self._stop.handle, context.handle:
            while not self._stopping:
                try:
                    self._wait(_FOREVER)
                    taken = None if self._stopping else self._take()
                    if taken is not None:
                        self._callback(*taken)
                    del taken  # frees its memory for the next one
                    for event in self._events:
                        if event.is_ready(self._wait_set):
                            event.callback(event.take_data())
                except Exception:  # a bug must cost its message, not the thread
                    if not context.ok():
                        return
                    self._log_error(f'unexpected error:\n{traceback.format_exc()}')
                    time.sleep(_ERROR_PAUSE_S)
