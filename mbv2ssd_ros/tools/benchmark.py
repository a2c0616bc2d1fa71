"""
Measure the way from a camera to the detections, with camera, node and subscriber as processes.

Three things are measured in turns, round after round, so that a machine that becomes slower
becomes slower for all of them:

  inference    Backend.infer alone, on the same pictures, at the camera's rate, in its own process
  transport    image published -> image received by a subscriber that does nothing
  end to end   image published -> detections received

overhead_ms is what is left of each end-to-end time after the medians of inference and transport
are taken away; its p50 is p50(end to end) - p50(inference) - p50(transport). It contains the
resize, NMS, all of the node's Python, and the way of the detections to the subscriber.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import platform
import sys
import tempfile
import time
from typing import Any

import numpy as np

from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError
from mbv2ssd_ros.ros.model_file import find_model
from mbv2ssd_ros.tools.arguments import domain_id, positive, size_wh, whole
from mbv2ssd_ros.tools.image_source import open_source
from mbv2ssd_ros.tools.processes import ending, ProcessError, Program, ros_environment
from mbv2ssd_ros.tools.shipped import shipped_path

PROGRAM = 'benchmark'
IMAGE_TOPIC, DETECTIONS_TOPIC = '/camera/image_raw', '/camera/detections'
TRANSPORT_TOPIC = '/transport/image_raw'  # the same images, but the node does not listen
WARM_UP_FRAMES = 5  # at the start of every measurement: after a pause caches are cold
START_TIMEOUT_S = 30.0
LAST_ARRIVAL_S = 0.5  # how long after the last image something may still arrive
SATURATION_S = 3.0
SATURATION_START_HZ, SATURATION_END_HZ = 200.0, 1600.0
SATURATED_BELOW = 0.9  # of the frames are answered: more would not be

Sent = list[tuple[int, int]]  # stamp and time in nanoseconds of each image
Received = list[tuple[int, int, int]]  # stamp, time in nanoseconds, detections of each arrival


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the program.

    Args:
        argv: without the program's name; None: those of this process.

    Returns:
        The exit code: 1 when it could not be measured.
    """
    args = _parser().parse_args(argv)
    try:
        if args.json is not None:
            _check_writable(args.json)
        result = measure(args)
    except Mbv2SsdError as err:
        print(f'{PROGRAM}: error: {err}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'{PROGRAM}: interrupted; nothing was written', file=sys.stderr)
        return 1
    print(table(result))
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=2) + '\n')
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """
    Start everything, measure, end everything.

    Args:
        args: of the command line.

    Returns:
        What goes into the JSON file.

    Raises:
        ProcessError: a process failed; its log is quoted.
        ConfigError: no such model.
    """
    model = find_model(args.model)
    if not model.is_file():
        raise ConfigError(f'--model {model}: no such file; expected an ONNX file made by '
                          '`mbv2ssd_train export`')
    if args.images is None:
        args.images = shipped_path('config/demo/images')
    open_source(args.images)  # an error now, not in a log
    load_before = os.getloadavg()[0]
    programs: list[Program] = []
    with tempfile.TemporaryDirectory(prefix='mbv2ssd_benchmark_') as folder, ending(programs):
        bench = _start(args, model, Path(folder), programs)
        _say('waiting for the first detections')
        bench.wait_until_answered()
        samples = Samples()
        for number in range(args.rounds):
            _say(f'round {number + 1} of {args.rounds}: inference, transport, end to end')
            bench.round(samples, -(-args.frames // args.rounds))
        _say('saturation')
        saturated_fps, offered_hz = bench.saturate()
        rss_mb = resident_mb(bench.node.pid)
    return {
        **summary(samples), 'saturated_fps': round(saturated_fps, 1),
        'saturated_offered_hz': offered_hz, 'rss_mb': round(rss_mb, 1),
        'config': {
            'model': model.name, 'backend': samples.backend, 'size': '{}x{}'.format(*args.size),
            'rate_hz': args.rate, 'frames': args.frames, 'rounds': args.rounds,
            'images': args.images.name, 'reliable': args.reliable},
        'machine': {**machine(), 'load_before': round(load_before, 2)}}


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


class Bench:
    """The processes of the benchmark."""

    def __init__(self, args: argparse.Namespace, camera: Program, node: Program,
                 listener: Program, inference: Program) -> None:
        """
        Keep them.

        Args:
            args: of the command line.
            camera: publishes.
            node: the detector.
            listener: subscribes.
            inference: has the backend alone.
        """
        self._rate_hz = args.rate
        self._camera, self.node = camera, node
        self._listener, self._inference = listener, inference

    def wait_until_answered(self) -> None:
        """
        Publish until detections and images come back, so that everybody knows everybody.

        Raises:
            ProcessError: they did not within START_TIMEOUT_S.
        """
        for topic, what in ((IMAGE_TOPIC, 'detections of the node'),
                            (TRANSPORT_TOPIC, 'images')):
            deadline = time.monotonic() + START_TIMEOUT_S
            while not self._exchange(topic, 3, self._rate_hz)[1]:
                self.node.check()
                if time.monotonic() > deadline:
                    raise ProcessError(
                        f'no {what} within {START_TIMEOUT_S:g} s; the node: {self.node.tail()}')

    def round(self, samples: Samples, frames: int) -> None:
        """
        Measure each of the three once.

        Args:
            samples: gets the results.
            frames: of each measurement.
        """
        answer = self._inference.ask(
            {'count': frames + WARM_UP_FRAMES, 'rate_hz': self._rate_hz},
            START_TIMEOUT_S + 2 * frames / self._rate_hz)
        samples.infer += answer['ms'][WARM_UP_FRAMES:]
        samples.backend = answer['backend']
        sent, received = self._exchange(TRANSPORT_TOPIC, frames + WARM_UP_FRAMES, self._rate_hz)
        samples.transport += latencies_ms(sent[WARM_UP_FRAMES:], received)
        samples.transport_sent += frames
        cpu_s, wall_s = cpu_seconds(self.node.pid), time.monotonic()
        sent = self._publish(IMAGE_TOPIC, frames + WARM_UP_FRAMES, self._rate_hz)
        samples.node_wall_s += time.monotonic() - wall_s
        samples.node_cpu_s += cpu_seconds(self.node.pid) - cpu_s
        received = self._collect(len(sent))
        samples.end_to_end += latencies_ms(sent[WARM_UP_FRAMES:], received)
        samples.end_to_end_sent += frames
        measured = {stamp for stamp, _ in sent[WARM_UP_FRAMES:]}
        samples.detections += sum(count for stamp, _, count in received if stamp in measured)

    def saturate(self) -> tuple[float, float]:
        """
        Publish faster and faster until the node does not answer every frame.

        Returns:
            Answers in a second, and the frames in a second that were offered then.
        """
        offered_hz = SATURATION_START_HZ
        while True:
            count = round(SATURATION_S * offered_hz)
            sent, received = self._exchange(IMAGE_TOPIC, count, offered_hz)
            seconds = 1e-9 * (sent[-1][1] - sent[0][1])
            answered = len(latencies_ms(sent, received))
            if answered < SATURATED_BELOW * count or offered_hz >= SATURATION_END_HZ:
                return answered / seconds, len(sent) / seconds
            offered_hz *= 2

    def _exchange(self, topic: str, count: int, rate_hz: float) -> tuple[Sent, Received]:
        sent = self._publish(topic, count, rate_hz)
        return sent, self._collect(count)

    def _publish(self, topic: str, count: int, rate_hz: float) -> Sent:
        answer = self._camera.ask({'topic': topic, 'count': count, 'rate_hz': rate_hz},
                                  START_TIMEOUT_S + 2 * count / rate_hz)
        sent: Sent = answer['sent']
        return sent

    def _collect(self, count: int) -> Received:
        """Take what has arrived, once it is so many or no more can be expected."""
        answer = self._listener.ask({'count': count, 'timeout_s': LAST_ARRIVAL_S}, START_TIMEOUT_S)
        received: Received = answer['received']
        return received


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


def _start(args: argparse.Namespace, model: Path, folder: Path, programs: list[Program]) -> Bench:
    environment = ros_environment(folder, args.domain_id)
    # The size of the shared memory counts on the sender's side; with the default one best effort
    # images are lost. The node runs as users run it.
    profile = {'FASTRTPS_DEFAULT_PROFILES_FILE': str(
        shipped_path('config/fastdds_large_images.xml'))}
    images = ['--images', str(args.images), '--size', '{}x{}'.format(*args.size)]
    reliable = ['--reliable'] if args.reliable else []

    def role(name: str, *arguments: str, extra: Mapping[str, str] | None = None) -> Program:
        program = Program('mbv2ssd_ros.tools.benchmark_roles', [name, *arguments],
                          {**environment, **(extra or {})}, folder / f'{name}.log', pipes=True)
        programs.append(program)
        return program

    node = Program(
        'mbv2ssd_ros.ros.node',
        ['--ros-args', '--params-file', str(shipped_path('config/detector.yaml')),
         '-p', 'autostart:=true', '-p', f'model_path:={model.resolve()}',
         '-p', f'camera.qos_reliability:={"reliable" if args.reliable else "best_effort"}'],
        environment, folder / 'node.log')
    programs.append(node)
    return Bench(
        args,
        camera=role('camera', *images, '--topics', IMAGE_TOPIC, TRANSPORT_TOPIC, *reliable,
                    extra=profile),
        node=node,
        listener=role('listener', '--image-topic', TRANSPORT_TOPIC,
                      '--detections-topic', DETECTIONS_TOPIC, *reliable),
        inference=role('inference', *images, '--model', str(model)))


def _lost(result: Mapping[str, Any], what: str) -> str:
    return f'{result[f"{what}_lost"]} of {result[f"{what}_sent"]}'


def _check_writable(path: Path) -> None:
    if not path.parent.is_dir():
        raise ConfigError(f'--json {path}: the folder {path.parent} does not exist')
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigError(f'--json {path}: cannot be written')


def _say(text: str) -> None:
    print(f'{PROGRAM}: {text}', file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    parser.add_argument('--model', default='', metavar='FILE',
                        help='ONNX file (default: the model shipped with the package)')
    parser.add_argument('--images', type=Path, metavar='PATH',
                        help='what the camera sees (default: the demo images)')
    parser.add_argument('--size', type=size_wh, default=(640, 480), metavar='WxH',
                        help='of the camera (default 640x480)')
    parser.add_argument('--rate', type=positive, default=30.0, metavar='HZ',
                        help='of the camera (default %(default)g)')
    parser.add_argument('--frames', type=whole, default=300, metavar='N',
                        help='of each measurement, over all rounds (default %(default)s)')
    parser.add_argument('--rounds', type=whole, default=3, metavar='N',
                        help='(default %(default)s)')
    parser.add_argument('--reliable', action='store_true',
                        help='reliable QoS for the images (default: best effort)')
    parser.add_argument('--domain-id', type=domain_id, metavar='0..101',
                        help='ROS_DOMAIN_ID of the processes (default: one of their own)')
    return parser


if __name__ == '__main__':
    sys.exit(main())
