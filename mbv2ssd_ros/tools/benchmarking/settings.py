"""The camera of a benchmark, and how long it is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mbv2ssd_ros.core.arguments import positive, size_wh, whole
from mbv2ssd_ros.tools.cli.settings import option


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """A camera whose images are measured, round after round."""

    images: Path | None = option('--images', type=Path, metavar='PATH',
                                 help='what the camera sees (default: the demo images)')
    size: tuple[int, int] = option('--size', default=(640, 480), type=size_wh, metavar='WxH',
                                   help='of the camera (default 640x480)')
    rate: float = option('--rate', default=30.0, type=positive, metavar='HZ',
                         help='of the camera; a tight loop measures a machine that no robot has '
                         '(default %(default)g)')
    frames: int = option('--frames', default=300, type=whole, metavar='N',
                         help='of each measurement, over all rounds (default %(default)s)')
    # With 3 rounds p50 of the overhead was 1.4 to 3.3 ms on the same quiet machine, whose cores
    # have slow seconds; with 10 it was 1.5 to 1.7.
    rounds: int = option('--rounds', default=10, type=whole, metavar='N',
                         help='(default %(default)s)')
