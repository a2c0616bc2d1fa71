"""One backend shared by several detectors, whose other work then overlaps with inference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import time

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.output_summary import Outputs


class SharedBackend:
    """
    The backend of one of several detectors, each in a thread of its own.

    One further thread runs all inferences back to back, without waiting until the outputs of the
    last one are used.
    """

    def __init__(self, backend: Backend, inference: ThreadPoolExecutor) -> None:
        """Share a backend; inference has one thread, the same for all that share it."""
        self._backend, self._inference = backend, inference
        self.name, self.detail, self.contract = backend.name, backend.detail, backend.contract
        self.max_batch, self.max_concurrency = backend.max_batch, 1  # an instance a detector
        self.self_test = backend.self_test
        self.infer_ms = 0.0  # of the last inference, without the wait before it

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """Run the network in its turn; see Backend.infer."""
        (boxes, scores), self.infer_ms = self._inference.submit(self._timed, images).result()
        return boxes, scores

    def close(self) -> None:
        """Close the backend, for all that share it."""
        self._backend.close()

    def _timed(self, images: NDArray[np.uint8]) -> tuple[Outputs, float]:
        started = time.perf_counter()
        boxes, scores = self._backend.infer(images)
        infer_ms = 1e3 * (time.perf_counter() - started)
        if self._backend.max_concurrency == 1:  # the next inference writes to the same memory
            boxes, scores = boxes.copy(), scores.copy()
        return (boxes, scores), infer_ms
