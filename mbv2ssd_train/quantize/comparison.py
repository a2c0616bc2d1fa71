"""The cost and gain of INT8: a float model and its INT8 copy on the same images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
import time
from typing import Any

import numpy as np
import onnxruntime

from mbv2ssd_ros.backends.base import Backend
from mbv2ssd_ros.core.detections import DetectionSettings
from mbv2ssd_ros.core.metrics import mean_ap, precision_recall
from mbv2ssd_ros.core.processor import describe_processor
from mbv2ssd_train.data.dataset import Dataset
from mbv2ssd_train.deploy.open_model import open_model
from mbv2ssd_train.evaluate import evaluate, Evaluation, MATCH_IOU, Progress

_RUNS, _RESAMPLES = 60, 100


@dataclass(frozen=True)
class ModelFigures:
    """The measurements of one file."""

    path: str
    megabytes: float
    map_50: float
    infer_ms: float  # median of single images on one thread, interleaved with the other file


@dataclass(frozen=True)
class Comparison:
    """Two files on the same images and the same machine."""

    split: str
    images: int
    float_model: ModelFigures
    int8_model: ModelFigures
    processor: str  # that both were measured on; see describe_processor
    onnxruntime: str  # version
    drop_interval: tuple[float, float]  # points; 95 % of drops on images drawn with replacement

    @property
    def drop(self) -> float:
        """mAP points (of 100) that the INT8 file lost."""
        return 100 * (self.float_model.map_50 - self.int8_model.map_50)

    @property
    def is_small(self) -> bool:
        """Whether the images are few enough for their choice to decide about a point."""
        return self.images < 1000

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `quantize --json`."""
        return {**asdict(self), 'drop': self.drop}


def compare(float_path: Path, int8_path: Path, dataset: Dataset, settings: DetectionSettings,
            progress: Progress) -> Comparison:
    """
    Measure both files on images that neither was trained nor calibrated on.

    `progress` wraps the batches of each evaluation.
    """
    paths = (float_path, int8_path)
    backends = [open_model(path) for path in paths]
    times = _times_in_turns(backends)
    found = [evaluate(backend, dataset, settings, progress) for backend in backends]
    floats, integers = (
        ModelFigures(path.name, path.stat().st_size / 1e6, each.map_50, infer_ms)
        for path, each, infer_ms in zip(paths, found, times, strict=True))
    return Comparison(dataset.name, len(dataset), floats, integers, describe_processor(),
                      onnxruntime.__version__, drop_interval(*found))


def drop_interval(first: Evaluation, second: Evaluation) -> tuple[float, float]:
    """
    Return the 2.5 and 97.5 percentiles of the drop in mAP, in points, by the bootstrap.

    Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979; the images are drawn with
    replacement, the same ones for both.
    """
    rng, labels = np.random.default_rng(0), range(1, len(first.class_names) + 1)
    drops = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(first.images, size=first.images)
        maps = [mean_ap(precision_recall((each.results[index].pair for index in drawn), labels,
                                         MATCH_IOU)) for each in (first, second)]
        drops.append(100 * (maps[0] - maps[1]))
    low, high = np.nanpercentile(drops, [2.5, 97.5])
    return float(low), float(high)


def _times_in_turns(backends: list[Backend]) -> list[float]:
    """Time single images, backends interleaved, so that a slow minute affects both."""
    rng = np.random.default_rng(0)
    height, width = backends[0].contract.input_size_hw
    image = rng.integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    times = np.empty((_RUNS, len(backends)))
    for run in range(_RUNS):
        for column, backend in enumerate(backends):
            started = time.perf_counter()
            backend.infer(image)
            times[run, column] = time.perf_counter() - started
    return [float(ms) for ms in 1e3 * np.median(times, axis=0)]
