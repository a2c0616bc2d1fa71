"""From what a benchmark measured to its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import os
from pathlib import Path
import platform
from typing import Any

import numpy as np

from mbv2ssd_ros.tools.processes import ProcessError

Sent = list[tuple[int, int]]  # stamp and time in nanoseconds of each image
Received = list[tuple[int, int, int]]  # stamp, time in nanoseconds, detections of each arrival


@dataclass
class Samples:
    """Everything that was measured, in milliseconds unless the name says otherwise."""

    infer: list[float] = field(default_factory=list)
    transport: list[float] = field(default_factory=list)
    end_to_end: list[float] = field(default_factory=list)
    transport_sent: int = 0
    end_to_end_sent: int = 0
    detections: int = 0
    node_cpu_s: float = 0.0
    node_wall_s: float = 0.0
    backend: str = ''


def latencies_ms(sent: Sent, received: Received) -> list[float]:
    """
    Match what was sent with what arrived.

    Args:
        sent: by the camera.
        received: by the listener, in any order.

    Returns:
        Milliseconds under way, of each frame sent that arrived.
    """
    arrival_ns = {stamp: time_ns for stamp, time_ns, _ in received}
    return [1e-6 * (arrival_ns[stamp] - time_ns) for stamp, time_ns in sent
            if stamp in arrival_ns]


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    """
    Summarise times.

    Args:
        values_ms: at least one.

    Returns:
        p50, p95 and p99 in milliseconds.
    """
    return {f'p{q}': round(float(np.percentile(values_ms, q)), 3) for q in (50, 95, 99)}


def overheads_ms(samples: Samples) -> list[float]:
    """
    Take the typical inference and transport away from each end-to-end time.

    Args:
        samples: of all three.

    Returns:
        One for each end-to-end time. A frame's own inference and transport are not known, so
        the tail of these values has the tails of all parts in it.
    """
    known = float(np.median(samples.infer) + np.median(samples.transport))
    return [value - known for value in samples.end_to_end]


def summary(samples: Samples) -> dict[str, Any]:
    """
    Turn samples into figures.

    Args:
        samples: with at least one of each.

    Returns:
        Percentiles, losses, CPU.

    Raises:
        ProcessError: nothing arrived.
    """
    for what, values in (('images', samples.transport), ('detections', samples.end_to_end)):
        if not values:
            raise ProcessError(f'not one of the {what} measured arrived; with best effort QoS '
                               'and large images try --reliable')
    return {
        'infer_ms': percentiles(samples.infer),
        'transport_ms': percentiles(samples.transport),
        'end_to_end_ms': percentiles(samples.end_to_end),
        'overhead_ms': percentiles(overheads_ms(samples)),
        'cpu_share': round(samples.node_cpu_s / samples.node_wall_s, 4),
        'detections_per_frame': round(samples.detections / len(samples.end_to_end), 2),
        'transport_lost': samples.transport_sent - len(samples.transport),
        'transport_sent': samples.transport_sent,
        'end_to_end_lost': samples.end_to_end_sent - len(samples.end_to_end),
        'end_to_end_sent': samples.end_to_end_sent}


def table(result: Mapping[str, Any]) -> str:
    """
    Make a result readable.

    Args:
        result: of measure().

    Returns:
        Lines.
    """
    config, machine_facts = result['config'], result['machine']
    lines = [
        f'{config["model"]} ({config["backend"]}), {config["size"]} at {config["rate_hz"]:g} Hz, '
        f'{config["rounds"]} rounds, {result["detections_per_frame"]:g} detections a frame',
        f'{machine_facts["cpu"]}, {machine_facts["cores"]} cores, load '
        f'{machine_facts["load_before"]:g} before the start',
        '',
        f'{"ms":12} {"p50":>8} {"p95":>8} {"p99":>8}   lost']
    for name, lost in (('infer', ''), ('transport', _lost(result, 'transport')),
                       ('end_to_end', _lost(result, 'end_to_end')), ('overhead', '')):
        row = result[f'{name}_ms']
        lines.append(f'{name:12} {row["p50"]:8.2f} {row["p95"]:8.2f} {row["p99"]:8.2f}   {lost}'
                     .rstrip())
    return '\n'.join([
        *lines, '',
        f'saturated    {result["saturated_fps"]:8.1f} frames/s answered, '
        f'{result["saturated_offered_hz"]:.0f} offered',
        f'node         {result["rss_mb"]:8.1f} MB resident, '
        f'{100 * result["cpu_share"]:.1f} % of one core at {config["rate_hz"]:g} Hz'])


def cpu_seconds(pid: int) -> float:
    """
    Read the CPU time of a process.

    Args:
        pid: of the process.

    Returns:
        Seconds in user and kernel mode, of all threads, since its start.
    """
    # the name, in parentheses, may have spaces; utime and stime are fields 14 and 15
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def resident_mb(pid: int) -> float:
    """
    Read the resident memory of a process.

    Args:
        pid: of the process.

    Returns:
        Megabytes, shared pages included.
    """
    for line in Path(f'/proc/{pid}/status').read_text().splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessError(f'/proc/{pid}/status has no VmRSS: the node has ended')


def machine() -> dict[str, Any]:
    """
    Describe the machine.

    Returns:
        Processor, cores, kernel, Python.
    """
    cpu = platform.processor() or 'unknown processor'
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.is_file():
        names = [line.partition(':')[2].strip() for line in cpuinfo.read_text().splitlines()
                 if line.startswith(('model name', 'Model'))]
        cpu = names[0] if names else cpu
    return {'cpu': cpu, 'cores': os.cpu_count(), 'system': platform.platform(),
            'python': platform.python_version(),
            'rmw': os.environ.get('RMW_IMPLEMENTATION', 'default')}


def _lost(result: Mapping[str, Any], what: str) -> str:
    return f'{result[f"{what}_lost"]} of {result[f"{what}_sent"]}'
