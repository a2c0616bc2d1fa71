"""A window on the screen, where a display and an OpenCV with windows are available."""

from __future__ import annotations

from collections.abc import Callable
import os
import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ConfigError

_TITLE = 'mbv2ssd_train predict (q ends)'
_END_KEYS = (ord('q'), 27)  # Escape
_LOOK_MS = 50  # polling interval of a waiting window


class Window:
    """
    Shows pictures until it is closed; `stop` is polled while it waits for a key.

    Raises ConfigError where there is no display or this OpenCV has no windows.
    """

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        # checked first: an OpenCV with Qt aborts the process where there is no display
        if sys.platform.startswith('linux') and not (
                os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY')):
            raise ConfigError('--show: no display here (DISPLAY and WAYLAND_DISPLAY are not set); '
                              'leave it out and look at the files in the output folder')
        try:
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
        except cv2.error as err:
            raise ConfigError(
                f'--show: this OpenCV ({cv2.__version__}) cannot open windows, as '
                'opencv-python-headless cannot; put opencv-python in its place, or leave --show '
                'out and look at the files in the output folder') from err

    def show(self, image_bgr: NDArray[np.uint8], until_key: bool) -> bool:
        """
        Show an (H, W, 3) picture; False after q, Escape or closing the window.

        `until_key`: stay until a key is pressed.
        """
        cv2.imshow(_TITLE, image_bgr)
        key = cv2.waitKey(1)
        while until_key and key < 0 and self._is_open() and not self._stop():
            key = cv2.waitKey(_LOOK_MS)
        return (key & 0xFF) not in _END_KEYS and self._is_open()

    def _is_open(self) -> bool:
        return cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()
