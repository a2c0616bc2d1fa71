"""The state of the node as diagnostic_msgs/DiagnosticArray."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from mbv2ssd_ros.ros.camera_monitor import CameraReport, ERROR, OK, WARN

_LEVELS = (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR)


@dataclass(frozen=True)
class NodeReport:
    """The node as a whole; model and backend are empty while none is loaded."""

    node: str  # full name
    state: str  # of the lifecycle
    failure: str  # why the last transition failed; empty after one that worked
    warning: str = ''  # that the node waits to be configured
    model: str = ''  # path
    model_fingerprint: str = ''
    precision: str = ''
    backend: str = ''
    backend_detail: str = ''
    cameras: tuple[CameraReport, ...] = ()  # empty while inactive


def diagnostics(report: NodeReport, header: Header) -> DiagnosticArray:
    """Write a report for /diagnostics: one status for the node and one for each camera."""
    return DiagnosticArray(header=header, status=[
        _node_status(report), *(_camera_status(report.node, camera) for camera in report.cameras)])


def _node_status(report: NodeReport) -> DiagnosticStatus:
    level = ERROR if report.failure else WARN if report.warning else OK
    message = report.failure or report.warning or report.state
    return _status(f'{report.node}: detector', level, message, report.node, (
        ('state', report.state), ('model', report.model),
        ('model_fingerprint', report.model_fingerprint), ('precision', report.precision),
        ('backend', report.backend), ('backend_detail', report.backend_detail),
        ('cameras', len(report.cameras))))


def _camera_status(node: str, camera: CameraReport) -> DiagnosticStatus:
    counts = camera.counts
    values: list[tuple[str, Any]] = [
        ('received', counts.received), ('published', counts.published),
        ('dropped', sum(counts.dropped.values())), ('in_flight', counts.in_flight)]
    values += [(f'dropped.{reason}', count) for reason, count in counts.dropped.items()]
    values += [('input_rate_hz', f'{camera.input_rate_hz:.2f}'),
               ('output_rate_hz', f'{camera.output_rate_hz:.2f}'),
               ('stamps_not_increasing', camera.stamps_not_increasing)]
    for stage, spread in camera.spread.items():
        values += [(f'{stage}_ms.p50', f'{spread.p50_ms:.3f}'),
                   (f'{stage}_ms.p95', f'{spread.p95_ms:.3f}'),
                   (f'{stage}_ms.p99', f'{spread.p99_ms:.3f}')]
    message = camera.reason or f'{camera.output_rate_hz:.1f} detection messages a second'
    return _status(f'{node}: camera {camera.name}', camera.level, message, node, values)


def _status(name: str, level: int, message: str, hardware_id: str,
            values: Iterable[tuple[str, Any]]) -> DiagnosticStatus:
    return DiagnosticStatus(
        name=name, level=_LEVELS[level], message=message, hardware_id=hardware_id,
        values=[KeyValue(key=key, value=str(value)) for key, value in values])
