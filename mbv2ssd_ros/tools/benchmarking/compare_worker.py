"""
The process that `compare_models` starts for each model: one engine, and nothing else in memory.

Its first line says what was loaded, or why not. Then it answers commands, one JSON object a line,
and ends with its input.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import json
import os
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np

from mbv2ssd_ros.backends import BackendOptions, open_backend, OrtOptions
from mbv2ssd_ros.core.errors import Mbv2SsdError
from mbv2ssd_ros.core.image import resize_into, SourceImage
from mbv2ssd_ros.detector import Detector
from mbv2ssd_ros.tools.benchmarking.figures import resident_mb
from mbv2ssd_ros.tools.benchmarking.roles import run_paced, serve
from mbv2ssd_ros.tools.cli.arguments import size_wh
from mbv2ssd_ros.tools.playing.image_source import open_source

Step = Callable[[int], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog='compare_worker', description=__doc__)
    parser.add_argument('--model', required=True)
    parser.add_argument('--backend', required=True)
    parser.add_argument('--threads', type=int, required=True)
    parser.add_argument('--images', type=Path, required=True)
    parser.add_argument('--size', type=size_wh, required=True)
    args = parser.parse_args(argv)
    try:
        worker = _Worker(args)
    except Mbv2SsdError as err:
        print(json.dumps({'error': str(err)}), flush=True)
        return 0
    try:
        print(json.dumps(worker.described), flush=True)
        serve(worker.answer)
    except KeyboardInterrupt:
        pass
    finally:
        worker.backend.close()
    return 0


def timed(step: Step, count: int, rate_hz: float) -> tuple[list[float], float]:
    """
    Call a step `count` times at a rate; 0: one after the other.

    Returns the milliseconds of each run, and runs per second from the first to the end of the
    last.
    """
    times_ms: list[float] = []

    def one(number: int) -> None:
        started = time.perf_counter()
        step(number)
        times_ms.append(1e3 * (time.perf_counter() - started))
    began = time.perf_counter()
    if rate_hz:
        run_paced(count, rate_hz, one)
    else:
        for number in range(count):
            one(number)
    return times_ms, count / (time.perf_counter() - began)


class _Worker:
    """A loaded model, and images for it."""

    def __init__(self, args: argparse.Namespace) -> None:
        import cv2
        cv2.setNumThreads(1)  # as in the node
        self.backend = open_backend(
            args.backend, args.model, BackendOptions(ort=OrtOptions(threads=args.threads)))
        contract = self.backend.contract
        self._detector = Detector(self.backend)
        self._images, self._inputs = [], []
        for frame in open_source(args.images, args.size):
            image = SourceImage(frame.image_bgr, 'bgr')
            slot = np.zeros((1, *contract.input_size_hw, 3), dtype=np.uint8)
            resize_into(image, contract.resize_mode, slot[0])
            self._images.append(image)
            self._inputs.append(slot)
        provenance = contract.provenance
        self.described = {
            'backend': self.backend.name, 'detail': self.backend.detail,
            'precision': contract.precision, 'input_size_hw': contract.input_size_hw,
            'classes': len(contract.object_names), 'priors': contract.num_priors,
            'metric': provenance.metric, 'metric_value': provenance.metric_value}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Run the measurement of a command."""
        step = {'infer': self._infer, 'detect': self._detect}[command['what']]
        timed(step, command['warm_up'], command['rate_hz'])
        times_ms, fps = timed(step, command['count'], command['rate_hz'])
        return {'ms': times_ms, 'fps': fps, 'rss_mb': resident_mb(os.getpid())}

    def _infer(self, number: int) -> None:
        self.backend.infer(self._inputs[number % len(self._inputs)])

    def _detect(self, number: int) -> None:
        self._detector.detect([self._images[number % len(self._images)]])


if __name__ == '__main__':
    sys.exit(main())
