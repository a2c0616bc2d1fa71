"""The process of the detector node: what must happen before other imports."""

from __future__ import annotations

from collections.abc import Callable
import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from mbv2ssd_ros.ros.memory import keep_large_buffers

if TYPE_CHECKING:  # it imports numpy; the handlers must be set before
    from mbv2ssd_ros.latency import Recorder

_interrupted = False


def main(args: list[str] | None = None, recorder: Recorder | None = None) -> int:
    """
    Run the detector node until SIGINT, SIGTERM or the end of its terminal.

    args: the command line without the name of the program; None for that of the process.
    Returns 0, or 1 where autostart failed and exit_on_failed_autostart is set.
    """
    # Python's KeyboardInterrupt could be raised anywhere: in an import, a frame, a transition.
    # From rclpy.init on, the handlers of rclpy end the spinning.
    _handle(_leave)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, _hang_up)
    keep_large_buffers()
    from mbv2ssd_ros.ros.detector_node import run  # takes seconds on a small computer
    _handle(_interrupt)
    code = run(sys.argv[1:] if args is None else args, lambda: _interrupted, recorder)
    # A second Ctrl-C, or the one of `ros2 launch` after the one of the terminal, would reach the
    # interpreter after it removed the handlers.
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
    End as on SIGTERM, so that no shared memory is left.

    rclpy wakes up for SIGINT and SIGTERM only; after SIGHUP the next report of the node wakes it,
    within a second.
    """
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == '__main__':
    sys.exit(main())
