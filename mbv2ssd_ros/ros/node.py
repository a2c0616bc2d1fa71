"""The process of the detector node: what must happen before anything is imported."""

from __future__ import annotations

from collections.abc import Callable
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from mbv2ssd_ros.ros.memory import keep_large_buffers

if TYPE_CHECKING:  # it loads numpy, before which the handlers must be set
    from mbv2ssd_ros.latency import Recorder

_interrupted = False


def main(args: list[str] | None = None, recorder: Recorder | None = None) -> int:
    """
    Run the detector node until SIGINT, SIGTERM or the end of its terminal.

    Returns 0, or 1 where autostart failed and exit_on_failed_autostart is set.
    """
    # Python's own KeyboardInterrupt could come anywhere, half way through an import, a frame
    # or a transition. From rclpy.init on, rclpy's handlers end the spinning in order.
    _handle(_leave)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, _hang_up)
    keep_large_buffers()
    from mbv2ssd_ros.ros.detector_node import run  # takes seconds on a small computer
    _handle(_interrupt)
    code = run(args, lambda: _interrupted, recorder)
    # A second Ctrl-C, or that of `ros2 launch` after that of the terminal, would reach the
    # interpreter after it has removed the handlers.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return code


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once: nothing exists yet that needs cleaning up."""
    os._exit(0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _interrupted
    _interrupted = True


def _hang_up(number: int, frame: FrameType | None) -> None:
    """
    End in order, or the shared memory of the node would stay behind.

    rclpy wakes up for SIGINT and SIGTERM only; here the node's report wakes it, every second.
    """
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == '__main__':
    sys.exit(main())
