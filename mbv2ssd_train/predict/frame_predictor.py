"""Predict on one picture: detect, draw, crop, show."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.detections import Detections
from mbv2ssd_ros.core.drawing import draw_detections
from mbv2ssd_ros.core.image import SourceImage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_train.predict.crops import save_crops
from mbv2ssd_train.predict.options import PredictOptions
from mbv2ssd_train.predict.window import Window


class FramePredictor:
    """
    A detector with the output options of a picture, and a window if one is wanted.

    `stop` is polled while the window waits for a key; `stack` closes it. Raises ConfigError where
    there is no display.
    """

    def __init__(self, detector: Detector, options: PredictOptions, stop: Callable[[], bool],
                 stack: ExitStack) -> None:
        self.class_names = detector.contract.class_names
        self.was_closed = False  # by the user, to end the run
        self._detector, self._options = detector, options
        self._window = Window(stop) if options.show else None
        if self._window:
            stack.callback(self._window.close)

    def predict(self, name: str, image_bgr: NDArray[np.uint8], until_key: bool
                ) -> tuple[Detections, NDArray[np.uint8]]:
        """
        Detect in an (H, W, 3) picture, write its crops and show it, if wanted.

        Returns boxes in pixels and the picture, with boxes drawn for 'annotated' or a window.
        `until_key`: the window waits for a key.
        """
        detections = self._detector.detect([SourceImage(image_bgr, 'bgr')])[0]
        drawn = image_bgr
        if self._options.save == 'annotated' or self._window:
            drawn = draw_detections(image_bgr, detections.boxes_xyxy, detections.scores,
                                    [self.class_names[label] for label in detections.labels])
        if self._options.save == 'crops':
            save_crops(self._options.output / 'crops', name, image_bgr, detections,
                       self.class_names)
        if self._window and not self._window.show(drawn, until_key):
            self.was_closed = True
        return detections, drawn
