"""
The process of one engine alone, with nothing else in memory.

Its first line describes the model, or the error. Then it answers commands, one JSON object a
line, and ends with its input.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
import sys
from typing import Any

import cv2
import numpy as np

from mbv2ssd_ros.backends import BackendOptions, open_backend, OrtOptions
from mbv2ssd_ros.core.errors import Mbv2SsdError
from mbv2ssd_ros.core.image import resize_into, SourceImage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.tools.benchmarking.figures import resident_mb
from mbv2ssd_ros.tools.benchmarking.roles import serve
from mbv2ssd_ros.tools.benchmarking.timing import timed
from mbv2ssd_ros.tools.playing.image_source import open_source, passes


def main() -> int:
    """Load the model of the options, in JSON, and serve until standard input ends."""
    try:
        engine = _Engine(**json.loads(sys.argv[1]))
    except Mbv2SsdError as err:
        print(json.dumps({'error': str(err)}), flush=True)
        return 0
    try:
        print(json.dumps(engine.described), flush=True)
        serve(engine.measure)
    except KeyboardInterrupt:
        pass
    finally:
        engine.backend.close()
    return 0


class _Engine:
    """A loaded model, and images for it."""

    def __init__(self, model: str, backend: str, threads: int, images: str,
                 size_wh: tuple[int, int]) -> None:
        cv2.setNumThreads(1)  # as in the node
        self.backend = open_backend(
            backend, model, BackendOptions(ort=OrtOptions(threads=threads)))
        contract = self.backend.contract
        self._detector = Detector(self.backend)
        self._infer_ms: list[float] = []
        self._images = [SourceImage(frame.image_bgr, 'bgr')
                        for frame in passes(open_source(Path(images), size_wh), repeat=False)]
        self._inputs = np.zeros((len(self._images), 1, *contract.input_size_hw, 3), dtype=np.uint8)
        for image, slot in zip(self._images, self._inputs):
            resize_into(image, contract.resize_mode, slot[0])
        provenance = contract.provenance
        self.described = {
            'backend': self.backend.name, 'detail': self.backend.detail,
            'precision': contract.precision, 'input_size_hw': contract.input_size_hw,
            'classes': len(contract.object_names), 'priors': contract.num_priors,
            'metric': provenance.metric, 'metric_value': provenance.metric_value}

    def measure(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run the measurement of a command."""
        step = {'infer': self._infer, 'detect': self._detect}[command['what']]
        timed(step, range(command['warm_up']), command['rate_hz'])
        self._infer_ms = []  # of the same images as a detection
        times_ms, fps = timed(step, range(command['count']), command['rate_hz'])
        return {'ms': times_ms, 'infer_ms': self._infer_ms, 'fps': fps,
                'rss_mb': resident_mb(os.getpid())}

    def _infer(self, number: int) -> None:
        self.backend.infer(self._inputs[number % len(self._inputs)])

    def _detect(self, number: int) -> None:
        self._detector.detect([self._images[number % len(self._images)]])
        self._infer_ms.append(self._detector.last_times.infer_ms)


if __name__ == '__main__':
    sys.exit(main())
