"""Several cameras that publish at the same instant: delays and drops of one node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
import tempfile
import time
from typing import Any

from mbv2ssd_ros.frames import DROP_REASONS
from mbv2ssd_ros.tools.benchmarking.figures import (
    answered_stamps,
    latencies_ms,
    percentiles,
    Received,
    Record,
    Sent,
    spread_row,
    stages_of,
)
from mbv2ssd_ros.tools.benchmarking.run import Graph, Setup, START_TIMEOUT_S, WARM_UP
from mbv2ssd_ros.tools.cli.processes import ending, ProcessError, Program

MAX_AGE_MS = 100.0  # three periods of a camera of 30 Hz
_REPORT_TIMEOUT_S = 5.0  # the node reports once a second
_SETTLE_S = 1.2  # a report then covers everything before

Drops = dict[str, int]  # of all cameras, by reason


@dataclass(frozen=True)
class CamerasRun:
    """Result of a number of instants at which every camera published."""

    cameras: int
    sent: Sent  # camera by camera at each instant
    received: Received
    before: Drops
    after: Drops
    record: Record


def measure_cameras(setup: Setup, cameras: int, frames: int) -> dict[str, Any]:
    """Start a node for several cameras, measure, end everything; see cameras_summary."""
    programs: list[Program] = []
    with tempfile.TemporaryDirectory(prefix='mbv2ssd_benchmark_') as folder, ending(programs):
        graph = Graph(setup, Path(folder), programs,
                      [f'camera{number + 1}' for number in range(cameras)], max_age_ms=MAX_AGE_MS)
        graph.wait_until_answered(graph.topics, 'detections for every camera')
        before = _read_drops(graph.listener)
        sent, received = graph.exchange(graph.topics, WARM_UP + frames)
        time.sleep(_SETTLE_S)
        after = _read_drops(graph.listener)
        return cameras_summary(
            CamerasRun(cameras, sent, received, before, after, graph.end_node()))


def cameras_summary(run: CamerasRun) -> dict[str, Any]:
    """
    Turn a run into figures; ProcessError when nothing arrived.

    Percentiles of the time end to end and of the age at publish; the oldest; images sent,
    answered and dropped by reason, warm-up included; images missing without a reason; the share
    of each camera in all answers.
    """
    measured = run.sent[WARM_UP * run.cameras:]
    times_ms = latencies_ms(measured, run.received)
    if not times_ms:
        raise ProcessError('several cameras: not one of the detections arrived; with best effort '
                           'QoS and large images try --reliable')
    stages = stages_of([stamp for stamp, _ in measured], run.record).values()
    ages_ms = [times['age_at_publish'] for times in stages]
    dropped = {reason: run.after[reason] - run.before[reason] for reason in DROP_REASONS}
    answered = set(answered_stamps(run.sent, run.received))
    by_camera = [sum(stamp in answered for stamp, _ in run.sent[number::run.cameras])
                 for number in range(run.cameras)]
    return {
        'cameras': run.cameras, 'max_age_ms': MAX_AGE_MS,
        'end_to_end_ms': percentiles(times_ms),
        'age_at_publish_ms': percentiles(ages_ms), 'oldest_ms': round(max(ages_ms), 3),
        'sent': len(run.sent), 'answered': len(answered),
        'dropped': dropped,
        'unexplained': len(run.sent) - len(answered) - sum(dropped.values()),
        'share_by_camera': [round(count / len(answered), 4) for count in by_camera]}


def cameras_table(found: Mapping[str, Any]) -> str:
    """Format the figures of cameras_summary as lines."""
    dropped = ', '.join(f'{count} {reason}' for reason, count in found['dropped'].items() if count)
    shares = ' '.join(f'{100 * share:.1f}' for share in found['share_by_camera'])
    return '\n'.join([
        f'{found["cameras"]} cameras, ms {"p50":>12} {"p95":>8} {"p99":>8}',
        spread_row('end_to_end', found['end_to_end_ms']),
        spread_row('age at publish', found['age_at_publish_ms']),
        f'{found["answered"]} of {found["sent"]} answered; dropped: {dropped or "none"}; '
        f'{found["unexplained"]} unexplained',
        f'the oldest was {found["oldest_ms"]:.1f} ms old; max_age_ms is {found["max_age_ms"]:g}',
        f'share of each camera, %: {shares}'])


def _read_drops(listener: Program) -> Drops:
    """Add up the counters of all cameras in the node's next report."""
    report = listener.ask({'diagnostics': True, 'timeout_s': _REPORT_TIMEOUT_S}, START_TIMEOUT_S)
    if report['diagnostics'] is None:
        raise ProcessError(
            f'the node sent nothing on /diagnostics within {_REPORT_TIMEOUT_S:g} s')
    cameras: Sequence[Mapping[str, str]] = [
        values for name, values in report['diagnostics'].items() if ': camera ' in name]
    return {reason: sum(int(values[f'dropped.{reason}']) for values in cameras)
            for reason in DROP_REASONS}
