"""Figures of a benchmark from its measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
import os
from pathlib import Path
import platform
from typing import Any

import numpy as np

from mbv2ssd_ros.latency import STAGES
from mbv2ssd_ros.tools.cli.processes import ProcessError

Sent = list[tuple[int, int]]  # stamp and time in nanoseconds of each image
Received = list[tuple[int, int, int]]  # stamp, time in nanoseconds, detections of each arrival
Record = list[tuple[Any, ...]]  # by the node, per frame: stamp in ns, STAGES in ms

# the node's own stages around `infer`; the small rest is time between stages
OWN_STAGES = ('wait', 'convert', 'preprocess', 'postprocess', 'publish')


@dataclass
class Saturation:
    """The node with more images than it can answer, and the bare backend just before."""

    sent: Sent
    received: Received
    bare_seconds: float  # for bare_runs inferences, one after the other
    bare_runs: int


@dataclass
class Samples:
    """All measurements, in milliseconds unless the name has another unit."""

    infer: list[float] = field(default_factory=list)
    transport: list[float] = field(default_factory=list)
    end_to_end: list[float] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)  # of the frames of end_to_end
    transport_sent: int = 0
    end_to_end_sent: int = 0
    detections: int = 0
    node_cpu_s: float = 0.0
    node_wall_s: float = 0.0


def latencies_ms(sent: Sent, received: Received) -> list[float]:
    """Return the ms from sending to arrival of each sent frame that arrived, in sending order."""
    arrival_ns = {stamp: time_ns for stamp, time_ns, _ in received}
    return [1e-6 * (arrival_ns[stamp] - time_ns) for stamp, time_ns in sent
            if stamp in arrival_ns]


def answered_stamps(sent: Sent, received: Received) -> list[int]:
    """Return the stamps of the frames of `latencies_ms`, in the same order."""
    arrived = {stamp for stamp, _, _ in received}
    return [stamp for stamp, _ in sent if stamp in arrived]


def stages_of(stamps: Iterable[int], record: Record) -> dict[int, dict[str, float]]:
    """Find frames in the node's record: ms of each stage by stamp, unanswered frames left out."""
    wanted = set(stamps)
    return {stamp: dict(zip(STAGES, times_ms, strict=True))
            for stamp, *times_ms in record if stamp in wanted}


def own_ms(times_ms: Mapping[str, float]) -> float:
    """Return the node's own ms of a frame: from callback to end of publish, without inference."""
    return times_ms['total'] - times_ms['infer']


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99 in milliseconds; ProcessError without values."""
    if not values_ms:
        raise ProcessError('the node answered none of the frames that were to be summarised')
    return {f'p{q}': round(float(np.percentile(values_ms, q)), 3) for q in (50, 95, 99)}


def overheads_ms(samples: Samples) -> list[float]:
    """Subtract the median inference and transport from each end-to-end time."""
    known = float(np.median(samples.infer) + np.median(samples.transport))
    return [value - known for value in samples.end_to_end]


def summary(samples: Samples, saturation: Saturation, record: Record) -> dict[str, Any]:
    """Turn samples into percentiles, losses and CPU time; ProcessError when nothing arrived."""
    for what, values in (('images', samples.transport), ('detections', samples.end_to_end)):
        if not values:
            raise ProcessError(f'not one of the {what} measured arrived; with best effort QoS '
                               'and large images try --reliable')
    frames = stages_of(samples.stamps, record)
    transport_ms = float(np.median(samples.transport))
    return {
        'infer_ms': percentiles(samples.infer),
        'transport_ms': percentiles(samples.transport),
        'end_to_end_ms': percentiles(samples.end_to_end),
        'overhead_ms': percentiles(overheads_ms(samples)),
        'overhead_by_frame_ms': percentiles(_by_frame(
            samples.stamps, samples.end_to_end, frames, transport_ms)),
        'own_ms': percentiles([own_ms(times) for times in frames.values()]),
        'stages_ms': {stage: percentiles([times[stage] for times in frames.values()])
                      for stage in (*OWN_STAGES, 'infer')},
        **_saturated(saturation, record, transport_ms),
        'cpu_share': round(samples.node_cpu_s / samples.node_wall_s, 4),
        'detections_per_frame': round(samples.detections / len(samples.end_to_end), 2),
        'transport_lost': samples.transport_sent - len(samples.transport),
        'transport_sent': samples.transport_sent,
        'end_to_end_lost': samples.end_to_end_sent - len(samples.end_to_end),
        'end_to_end_sent': samples.end_to_end_sent}


def _by_frame(stamps: Sequence[int], end_to_end_ms: Sequence[float],
              frames: Mapping[int, Mapping[str, float]], transport_ms: float) -> list[float]:
    """Subtract from each end-to-end time its own inference, as the node measured it."""
    return [value - frames[stamp]['infer'] - transport_ms
            for stamp, value in zip(stamps, end_to_end_ms, strict=True) if stamp in frames]


def _saturated(run: Saturation, record: Record, transport_ms: float) -> dict[str, Any]:
    stamps, times = answered_stamps(run.sent, run.received), latencies_ms(run.sent, run.received)
    frames = stages_of((stamp for stamp, _ in run.sent), record)
    seconds = 1e-9 * (run.sent[-1][1] - run.sent[0][1])
    answered_hz, bare_hz = len(times) / seconds, run.bare_runs / run.bare_seconds
    return {
        'saturated_fps': round(answered_hz, 1),
        'saturated_offered_hz': round(len(run.sent) / seconds, 1),
        'saturated_bare_fps': round(bare_hz, 1),
        'saturated_share': round(answered_hz / bare_hz, 3),
        'saturated_end_to_end_ms': percentiles(times),
        'saturated_overhead_ms': percentiles(_by_frame(stamps, times, frames, transport_ms))}


def table(result: Mapping[str, Any]) -> str:
    """Format the result of measure() as lines."""
    config, machine_facts = result['config'], result['machine']
    lines = [
        f'{config["model"]} ({config["precision"]}, {config["backend"]}), {config["size"]} at '
        f'{config["rate_hz"]:g} Hz, {config["rounds"]} rounds, '
        f'{result["detections_per_frame"]:g} detections a frame',
        f'{machine_facts["cpu"]}, {machine_facts["cores"]} cores, load '
        f'{machine_facts["load_before"]:g} before the start',
        '',
        f'{"ms":20} {"p50":>8} {"p95":>8} {"p99":>8}   lost',
        spread_row('infer', result['infer_ms']),
        *(spread_row(name, result[f'{name}_ms'],
                     f'{result[f"{name}_lost"]} of {result[f"{name}_sent"]}')
          for name in ('transport', 'end_to_end')),
        spread_row('overhead', result['overhead_ms']),
        spread_row('overhead by frame', result['overhead_by_frame_ms']),
        spread_row('own part', result['own_ms']),
        *(spread_row(f'  {stage}', spread) for stage, spread in result['stages_ms'].items()),
        spread_row('saturated', result['saturated_end_to_end_ms']),
        spread_row('  overhead by frame', result['saturated_overhead_ms'])]
    return '\n'.join([
        *lines, '',
        f'saturated    {result["saturated_fps"]:8.1f} frames/s answered, '
        f'{result["saturated_offered_hz"]:.0f} offered, {result["saturated_bare_fps"]:.1f} '
        f'inferences/s bare: {result["saturated_share"]:.2f}',
        f'node         {result["rss_mb"]:8.1f} MB resident, {result["rss_shared_mb"]:.1f} of them '
        f'shared with cameras and subscribers, '
        f'{100 * result["cpu_share"]:.1f} % of one core at {config["rate_hz"]:g} Hz'])


def spread_row(name: str, spread: Mapping[str, float], note: str = '') -> str:
    """Format percentiles as a line of a table."""
    return (f'{name:20} {spread["p50"]:8.2f} {spread["p95"]:8.2f} {spread["p99"]:8.2f}   {note}'
            .rstrip())


def cpu_seconds(pid: int) -> float:
    """Return the seconds in user and kernel mode of all threads of a process, since its start."""
    # the name, in parentheses, may have spaces; utime and stime are fields 14 and 15
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def resident_mb(pid: int, name: str = 'VmRSS') -> float:
    """Return the resident memory of a process in MB, shared pages included."""
    for line in Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith(f'{name}:'):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessError(f'/proc/{pid}/status has no {name}: the node has ended')


def shared_mb(pid: int) -> float:
    """Return the part of the resident memory that is shared, such as with a camera, in MB."""
    return resident_mb(pid, 'RssShmem')


def machine() -> dict[str, Any]:
    """Describe the machine: processor, cores, kernel, Python."""
    cpu = platform.processor() or 'unknown processor'
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        names = [line.partition(':')[2].strip() for line in cpuinfo.read_text().splitlines()
                 if line.startswith(('model name', 'Model'))]
        cpu = names[0] if names else cpu
    return {'cpu': cpu, 'cores': os.cpu_count(), 'system': platform.platform(),
            'python': platform.python_version(),
            'rmw': os.environ.get('RMW_IMPLEMENTATION', 'default')}
