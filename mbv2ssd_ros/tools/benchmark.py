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
compared with the targets of this package for two cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    resident_mb,
    Samples,
    Saturation,
    shared_mb,
    summary,
    table,
)
from mbv2ssd_ros.tools.benchmarking.run import (
    CameraSettings,
    Engine,
    Graph,
    Setup,
    TRANSPORT_TOPIC,
    WARM_UP,
)
from mbv2ssd_ros.tools.benchmarking.targets import comparison, targets
from mbv2ssd_ros.tools.cli.json_file import check_writable, write_json
from mbv2ssd_ros.tools.cli.processes import ending, ProcessError, Program
from mbv2ssd_ros.tools.cli.program import log, model_file, run
from mbv2ssd_ros.tools.cli.settings import (
    domain_option,
    flag,
    json_option,
    model_option,
    option,
    read,
)
from mbv2ssd_ros.tools.playing.image_source import open_source

PROGRAM = 'benchmark'
SATURATION_S = 3.0
SATURATED_SHARE = 1.5  # offered images per inference of the bare backend,
MOST_OFFERED_HZ = 1600.0  # limited to what our camera can publish
BARE_RUNS = 150


@dataclass(frozen=True, kw_only=True)
class Settings(CameraSettings):
    """What is measured, and how often."""

    json: Path | None = json_option()
    model: str = model_option()
    backend: str = option('--backend', choices=BACKENDS, default='auto',
                          help='what runs the model (default %(default)s)')
    cameras: int = option('--cameras', type=int, choices=range(1, 9), default=4, metavar='1..8',
                          help='that publish at the same instant, in the second part; 1: no '
                          'second part (default %(default)s)')
    reliable: bool = flag('--reliable', 'reliable QoS for the images (default: best effort)')
    check: bool = flag('--check', 'exit code 1 where a target is missed')
    domain_id: int | None = domain_option()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 1 when it could not measure, or with --check missed a target."""
    settings = read(Settings, argv, PROGRAM, __doc__)
    return run(PROGRAM, lambda: _benchmark(settings), 'interrupted; nothing was written',
               interrupted_code=1)


def _benchmark(settings: Settings) -> int:
    check_writable(settings.json)
    result = measure(settings)
    write_json(settings.json, result)
    print(table(result))
    if result['cameras'] is not None:
        print(f'\n{cameras_table(result["cameras"])}')
    print(f'\n{comparison(result["targets"])}')
    return int(settings.check and not all(target['ok'] for target in result['targets']))


def measure(settings: Settings) -> dict[str, Any]:
    """
    Start all processes, measure, end them; return the content of the JSON file.

    Raises ProcessError with the end of the log when a process failed.
    """
    setup = Setup(
        model=model_file(settings.model), backend=settings.backend,
        images=settings.images or shipped_path('config/demo/images'), size_wh=settings.size,
        rate_hz=settings.rate, reliable=settings.reliable, domain_id=settings.domain_id)
    open_source(setup.images)  # fail here, not in a log
    load_before = os.getloadavg()[0]
    programs: list[Program] = []
    with tempfile.TemporaryDirectory(prefix='mbv2ssd_benchmark_') as folder, ending(programs):
        bench = Bench(setup, Path(folder), programs)
        samples = Samples()
        for number in range(settings.rounds):
            log(PROGRAM, f'round {number + 1} of {settings.rounds}: inference, transport, end to '
                'end')
            bench.round(samples, -(-settings.frames // settings.rounds))
        log(PROGRAM, 'saturation')
        saturation = bench.saturate()
        pid = bench.graph.node.pid
        rss_mb, rss_shared_mb = resident_mb(pid), shared_mb(pid)
        record = bench.graph.end_node()
    result = {
        **summary(samples, saturation, record), 'rss_mb': round(rss_mb, 1),
        'rss_shared_mb': round(rss_shared_mb, 1),
        'cameras': None,
        'config': {
            'model': setup.model.name, 'backend': bench.engine.described['detail'],
            'precision': bench.engine.described['precision'], 'size': setup.size,
            'rate_hz': settings.rate, 'frames': settings.frames, 'rounds': settings.rounds,
            'images': setup.images.name, 'reliable': settings.reliable},
        'machine': {**machine(), 'load_before': round(load_before, 2)}}
    if settings.cameras > 1:
        log(PROGRAM, f'{settings.cameras} cameras')
        result['cameras'] = measure_cameras(setup, settings.cameras, settings.frames)
    result['targets'] = targets(result)
    return result


class Bench:
    """A node with one camera, and the same engine alone."""

    def __init__(self, setup: Setup, folder: Path, programs: list[Program]) -> None:
        """Start the processes and wait for the first detections; the caller ends `programs`."""
        self.graph = Graph(setup, folder, programs)
        self.engine = Engine(setup, folder / 'inference.log', programs)
        if 'error' in self.engine.described:
            raise ProcessError(f'{setup.model}: {self.engine.described["error"]}')
        self._rate_hz = setup.rate_hz
        log(PROGRAM, 'waiting for the first detections')
        self.graph.wait_until_answered(self.graph.topics, 'detections of the node')
        self.graph.wait_until_answered([TRANSPORT_TOPIC], 'images')

    def round(self, samples: Samples, frames: int) -> None:
        """Measure inference, transport and end to end once, with that many frames each."""
        samples.infer += self.engine.measure('infer', frames, self._rate_hz)['ms']
        sent, received = self.graph.exchange([TRANSPORT_TOPIC], WARM_UP + frames)
        samples.transport += latencies_ms(sent[WARM_UP:], received)
        samples.transport_sent += frames
        pid = self.graph.node.pid
        cpu_s, wall_s = cpu_seconds(pid), time.monotonic()
        sent = self.graph.publish(self.graph.topics, WARM_UP + frames)
        samples.node_wall_s += time.monotonic() - wall_s
        samples.node_cpu_s += cpu_seconds(pid) - cpu_s
        received, sent = self.graph.collect(len(sent)), sent[WARM_UP:]
        samples.end_to_end += latencies_ms(sent, received)
        samples.stamps += answered_stamps(sent, received)
        samples.end_to_end_sent += frames
        measured = {stamp for stamp, _ in sent}
        samples.detections += sum(count for stamp, _, count in received if stamp in measured)

    def saturate(self) -> Saturation:
        """Publish faster than the node can answer, just after measuring the bare backend."""
        bare_hz = self.engine.measure('infer', BARE_RUNS, 0.0)['fps']
        offered_hz = min(MOST_OFFERED_HZ, SATURATED_SHARE * bare_hz)
        sent, received = self.graph.exchange(
            self.graph.topics, round(SATURATION_S * offered_hz), offered_hz)
        return Saturation(sent, received, BARE_RUNS / bare_hz, BARE_RUNS)


if __name__ == '__main__':
    sys.exit(main())
