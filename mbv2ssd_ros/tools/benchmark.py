"""
Measure the way from a camera to the detections, with camera, node and subscriber as processes.

Three things are measured in turns, round after round, so that a machine that becomes slower
becomes slower for all of them:

  inference    Backend.infer alone, on the same pictures, at the camera's rate, in its own process
  transport    image published -> image received by a subscriber that does nothing
  end to end   image published -> detections received

overhead is what is left of each end-to-end time after the medians of inference and transport
are taken away; its p50 is p50(end to end) - p50(inference) - p50(transport). It contains the
resize, NMS, all of the node's Python, and the way of the detections to the subscriber.
overhead by frame takes away the inference of the same frame, as the node measured it: a slow
inference is then no overhead.

own part is what the node measures itself, from the callback to the end of publish without the
inference, and below it are the stages it consists of.

saturated is with more images than can be answered: frames in a second as a share of what the
bare backend does one inference after the other, and latencies. An image then waits for the
inference under way, so one more inference is allowed for.

Then several cameras that publish at the same instant, in a node of their own. At the end all is
compared with what is asked of this package on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

from mbv2ssd_ros.backends.opening import BACKENDS
from mbv2ssd_ros.shipped import shipped_path
from mbv2ssd_ros.tools.benchmarking.cameras import cameras_table, measure_cameras
from mbv2ssd_ros.tools.benchmarking.figures import (
    answered_stamps,
    cpu_seconds,
    latencies_ms,
    machine,
    Received,
    Record,
    resident_mb,
    Samples,
    Saturation,
    Sent,
    shared_mb,
    summary,
    table,
)
from mbv2ssd_ros.tools.benchmarking.run import Processes, Setup, START_TIMEOUT_S
from mbv2ssd_ros.tools.benchmarking.targets import comparison, targets
from mbv2ssd_ros.tools.cli.arguments import domain_id, positive, size_wh, whole
from mbv2ssd_ros.tools.cli.json_file import check_writable, write_json
from mbv2ssd_ros.tools.cli.processes import ending, ProcessError, Program
from mbv2ssd_ros.tools.cli.program import log, model_file, run
from mbv2ssd_ros.tools.playing.image_source import open_source

PROGRAM = 'benchmark'
CAMERA = 'camera'
IMAGE_TOPIC, DETECTIONS_TOPIC = f'/{CAMERA}/image_raw', f'/{CAMERA}/detections'
TRANSPORT_TOPIC = '/transport/image_raw'  # the same images, not subscribed to by the node
WARM_UP_FRAMES = 5  # at the start of every measurement: after a pause caches are cold
LAST_ARRIVAL_S = 0.5  # wait for late arrivals after the last image
SATURATION_S = 3.0
SATURATED_SHARE = 1.5  # offered images per inference of the bare backend,
MOST_OFFERED_HZ = 1600.0  # limited to what our camera can publish
BARE_RUNS, BACK_TO_BACK_HZ = 150, 1e9
BARE_TIMEOUT_S = 120.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; the exit code is 1 when the node could not be measured."""
    args = _parser().parse_args(argv)
    return run(PROGRAM, lambda: _benchmark(args), 'interrupted; nothing was written',
               interrupted_code=1)


def _benchmark(args: argparse.Namespace) -> None:
    check_writable(args.json)
    result = measure(args)
    write_json(args.json, result)
    print(table(result))
    if result['cameras'] is not None:
        print(f'\n{cameras_table(result["cameras"])}')
    print(f'\n{comparison(result["targets"])}')


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """
    Start all processes, measure, end them; return the content of the JSON file.

    Raises ProcessError with the end of the log when a process failed.
    """
    model = model_file(args.model)
    setup = Setup(
        images=args.images or shipped_path('config/demo/images'), size_wh=args.size,
        rate_hz=args.rate, reliable=args.reliable, backend=args.backend,
        domain_id=args.domain_id)
    open_source(setup.images)  # fail here, not in a log
    load_before = os.getloadavg()[0]
    programs: list[Program] = []
    with tempfile.TemporaryDirectory(prefix='mbv2ssd_benchmark_') as folder, ending(programs):
        bench = start(setup, model, Path(folder), programs)
        log(PROGRAM, 'waiting for the first detections')
        bench.wait_until_answered()
        samples = Samples()
        for number in range(args.rounds):
            log(PROGRAM, f'round {number + 1} of {args.rounds}: inference, transport, end to end')
            bench.round(samples, -(-args.frames // args.rounds))
        log(PROGRAM, 'saturation')
        saturation = bench.saturate()
        rss_mb, rss_shared_mb = resident_mb(bench.node.pid), shared_mb(bench.node.pid)
        record = bench.end_node()
    result = {
        **summary(samples, saturation, record), 'rss_mb': round(rss_mb, 1),
        'rss_shared_mb': round(rss_shared_mb, 1),
        'cameras': None,
        'config': {
            'model': model.name, 'backend': samples.backend, 'precision': samples.precision,
            'size': '{}x{}'.format(*args.size),
            'rate_hz': args.rate, 'frames': args.frames, 'rounds': args.rounds,
            'images': setup.images.name, 'reliable': args.reliable},
        'machine': {**machine(), 'load_before': round(load_before, 2)}}
    if args.cameras > 1:
        log(PROGRAM, f'{args.cameras} cameras')
        result['cameras'] = measure_cameras(setup, args.cameras, args.frames, model)
    result['targets'] = targets(result)
    return result


class Bench:
    """The processes of the benchmark."""

    def __init__(self, rate_hz: float, processes: Processes, camera: Program, node: Program,
                 listener: Program, inference: Program | None) -> None:
        self._rate_hz = rate_hz
        self._camera, self.node = camera, node
        self._listener, self._inference = listener, inference
        self._processes = processes

    def wait_until_answered(self) -> None:
        """
        Publish until detections and images come back: discovery is then complete.

        Raises ProcessError when they do not come within START_TIMEOUT_S.
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
        """Measure inference, transport and end to end once, with that many frames each."""
        assert self._inference is not None
        answer = self._inference.ask(
            {'count': frames + WARM_UP_FRAMES, 'rate_hz': self._rate_hz},
            START_TIMEOUT_S + 2 * frames / self._rate_hz)
        samples.infer += answer['ms'][WARM_UP_FRAMES:]
        samples.backend, samples.precision = answer['backend'], answer['precision']
        sent, received = self._exchange(TRANSPORT_TOPIC, frames + WARM_UP_FRAMES, self._rate_hz)
        samples.transport += latencies_ms(sent[WARM_UP_FRAMES:], received)
        samples.transport_sent += frames
        cpu_s, wall_s = cpu_seconds(self.node.pid), time.monotonic()
        sent = self._publish(IMAGE_TOPIC, frames + WARM_UP_FRAMES, self._rate_hz)
        samples.node_wall_s += time.monotonic() - wall_s
        samples.node_cpu_s += cpu_seconds(self.node.pid) - cpu_s
        received = self._collect(len(sent))
        samples.end_to_end += latencies_ms(sent[WARM_UP_FRAMES:], received)
        samples.stamps += answered_stamps(sent[WARM_UP_FRAMES:], received)
        samples.end_to_end_sent += frames
        measured = {stamp for stamp, _ in sent[WARM_UP_FRAMES:]}
        samples.detections += sum(count for stamp, _, count in received if stamp in measured)

    def saturate(self) -> Saturation:
        """Publish faster than the node can answer, just after measuring the bare backend."""
        assert self._inference is not None
        bare = self._inference.ask(
            {'count': BARE_RUNS, 'rate_hz': BACK_TO_BACK_HZ}, BARE_TIMEOUT_S)
        offered_hz = min(MOST_OFFERED_HZ, SATURATED_SHARE * BARE_RUNS / bare['seconds'])
        sent, received = self._exchange(
            IMAGE_TOPIC, round(SATURATION_S * offered_hz), offered_hz)
        return Saturation(sent, received, bare['seconds'], BARE_RUNS)

    def end_node(self) -> Record:
        """End the node and read its record; ProcessError when it did not end well."""
        self.node.end()
        self.node.check()
        return self._processes.record()

    def exchange(self, count: int) -> tuple[Sent, Received]:
        """Publish images at the rate of the camera and collect the detections."""
        return self._exchange(IMAGE_TOPIC, count, self._rate_hz)

    def _exchange(self, topic: str, count: int, rate_hz: float) -> tuple[Sent, Received]:
        sent = self._publish(topic, count, rate_hz)
        return sent, self._collect(count)

    def _publish(self, topic: str, count: int, rate_hz: float) -> Sent:
        answer = self._camera.ask({'topics': [topic], 'count': count, 'rate_hz': rate_hz},
                                  START_TIMEOUT_S + 2 * count / rate_hz)
        sent: Sent = answer['sent']
        return sent

    def _collect(self, count: int) -> Received:
        """Take the arrivals, once there are `count` or no more can be expected."""
        answer = self._listener.ask({'count': count, 'timeout_s': LAST_ARRIVAL_S}, START_TIMEOUT_S)
        received: Received = answer['received']
        return received


def start(setup: Setup, model: Path, folder: Path, programs: list[Program],
          with_inference: bool = True) -> Bench:
    """
    Start camera, node and listener, and the backend alone.

    The processes are added to `programs`; the caller ends them. `with_inference=False` leaves
    the backend alone out; Bench.round cannot be used then.
    """
    processes = Processes(setup, folder, programs)
    return Bench(
        setup.rate_hz, processes,
        camera=processes.camera([IMAGE_TOPIC, TRANSPORT_TOPIC]),
        node=processes.node(model, [CAMERA]),
        listener=processes.listener(TRANSPORT_TOPIC, [DETECTIONS_TOPIC]),
        inference=processes.inference(model) if with_inference else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    parser.add_argument('--model', default='', metavar='FILE',
                        help='ONNX file (default: the model shipped with the package)')
    parser.add_argument('--backend', choices=BACKENDS, default='auto',
                        help='what runs the model (default %(default)s)')
    parser.add_argument('--images', type=Path, metavar='PATH',
                        help='what the camera sees (default: the demo images)')
    parser.add_argument('--size', type=size_wh, default=(640, 480), metavar='WxH',
                        help='of the camera (default 640x480)')
    parser.add_argument('--rate', type=positive, default=30.0, metavar='HZ',
                        help='of the camera (default %(default)g)')
    parser.add_argument('--frames', type=whole, default=300, metavar='N',
                        help='of each measurement, over all rounds (default %(default)s)')
    # With 3 rounds p50 of the overhead was 1.4 to 3.3 ms on the same quiet machine, whose cores
    # have slow seconds; with 10 it was 1.5 to 1.7.
    parser.add_argument('--rounds', type=whole, default=10, metavar='N',
                        help='(default %(default)s)')
    parser.add_argument('--cameras', type=int, choices=range(1, 9), default=4, metavar='1..8',
                        help='that publish at the same instant, in the second part; 1: no second '
                             'part (default %(default)s)')
    parser.add_argument('--reliable', action='store_true',
                        help='reliable QoS for the images (default: best effort)')
    parser.add_argument('--domain-id', type=domain_id, metavar='0..101',
                        help='ROS_DOMAIN_ID of the processes (default: one of their own)')
    return parser


if __name__ == '__main__':
    sys.exit(main())
