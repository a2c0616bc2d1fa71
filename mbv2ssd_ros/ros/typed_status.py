"""The state of the node as mbv2ssd_msgs/DetectorStatus, where that package is installed."""

from __future__ import annotations

import importlib
import math
from pathlib import PurePath
from typing import Any

from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from mbv2ssd_ros.latency import Percentiles
from mbv2ssd_ros.ros.camera_monitor import CameraReport, LEVEL_NAMES
from mbv2ssd_ros.ros.diagnostics import NodeReport

_AGE = 'age_at_publish'
_UNKNOWN = Percentiles(math.nan, math.nan, math.nan)


def status_messages() -> Any | None:
    """Return the module mbv2ssd_msgs.msg; None where it is not installed."""
    try:
        return importlib.import_module('mbv2ssd_msgs.msg')
    except ImportError:
        return None


def detector_status(messages: Any, report: NodeReport, header: Header) -> Any:
    """Write a report as mbv2ssd_msgs/DetectorStatus."""
    return messages.DetectorStatus(
        header=header, model=PurePath(report.model).name,
        model_fingerprint=report.model_fingerprint, backend=report.backend,
        backend_detail=report.backend_detail,
        cameras=[_camera_status(messages, camera) for camera in report.cameras])


def _camera_status(messages: Any, camera: CameraReport) -> Any:
    stages = {stage: spread for stage, spread in camera.spread.items() if stage != _AGE}
    age = camera.spread.get(_AGE, _UNKNOWN)
    return messages.CameraStatus(
        name=camera.name, level=camera.level, state=LEVEL_NAMES[camera.level],
        reason=camera.reason, received=camera.counts.received, published=camera.counts.published,
        in_flight=camera.counts.in_flight, drop_reasons=list(camera.counts.dropped),
        drop_counts=list(camera.counts.dropped.values()),
        input_rate_hz=camera.input_rate_hz, output_rate_hz=camera.output_rate_hz,
        stages=list(stages),
        p50_ms=[spread.p50_ms for spread in stages.values()],
        p95_ms=[spread.p95_ms for spread in stages.values()],
        p99_ms=[spread.p99_ms for spread in stages.values()],
        age_at_publish_p50_ms=age.p50_ms, age_at_publish_p95_ms=age.p95_ms,
        age_at_publish_p99_ms=age.p99_ms, last_image_stamp=camera.last_stamp or Time())
