"""Images in, detections in source pixels out. No ROS, no threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import time

import numpy as np

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.detections import Detections, DetectionSelector, DetectionSettings
from mbv2ssd_ros.core.errors import ShapeError
from mbv2ssd_ros.core.image import resize_into, SourceImage


@dataclass(frozen=True)
class StageTimes:
    """What one batch cost, in milliseconds."""

    preprocess_ms: float
    infer_ms: float
    postprocess_ms: float


class Detector:
    """
    A backend with pre- and postprocessing; ConfigError if settings name an unknown class.

    Owns the batch buffer, so one detector serves one thread at a time; several may share a
    backend that allows it (`Backend.max_concurrency`).
    """

    def __init__(self, backend: Backend, settings: DetectionSettings | None = None) -> None:
        contract = backend.contract
        self._backend = backend
        self._selector = DetectionSelector(contract, settings or DetectionSettings())
        self._buffer = np.zeros((backend.max_batch, *contract.input_size_hw, 3), dtype=np.uint8)
        self.last_times = StageTimes(0.0, 0.0, 0.0)

    @property
    def contract(self) -> ModelContract:
        """The contract of the model file."""
        return self._backend.contract

    @property
    def settings(self) -> DetectionSettings:
        """What counts as a detection."""
        return self._selector.settings

    @settings.setter
    def settings(self, settings: DetectionSettings) -> None:
        # one assignment: a detect() under way finishes with the selector it started with
        self._selector = DetectionSelector(self.contract, settings)

    def detect(self, images: Sequence[SourceImage]) -> list[Detections]:
        """
        Find the objects in 1 to `backend.max_batch` images (else ShapeError) of any sizes.

        Boxes are in pixels of their image and inside it. BackendError: the engine failed, or the
        model computes nonsense.
        """
        if not 1 <= len(images) <= len(self._buffer):
            raise ShapeError(f'{len(images)} images, expected 1 to {len(self._buffer)}')
        selector, started = self._selector, time.perf_counter()
        batch = self._buffer[:len(images)]
        geometries = [
            resize_into(image, self.contract.resize_mode, slot)
            for image, slot in zip(images, batch, strict=True)]
        resized = time.perf_counter()
        boxes, scores = self._backend.infer(batch)
        inferred = time.perf_counter()
        results = [
            selector.select_in_source(image_boxes, image_scores, geometry)
            for geometry, image_boxes, image_scores in zip(
                geometries, boxes, scores, strict=True)]
        self.last_times = StageTimes(
            1e3 * (resized - started), 1e3 * (inferred - resized),
            1e3 * (time.perf_counter() - inferred))
        return results
