"""
Build the TensorRT engine of a model, compare it with ONNX Runtime, keep it and measure it.

The detector node does the same when it is configured, but a build takes minutes on a Jetson: do
it once after every update of the model or of JetPack, as the user that runs the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import signal
import sys
import time
from typing import Any

from mbv2ssd_ros.backends.agreement import fixed_images
from mbv2ssd_ros.backends.base import Backend, LoadContext
from mbv2ssd_ros.backends.options import ANY_PRECISION, BackendOptions, TrtOptions
from mbv2ssd_ros.backends.trt.backend import TrtBackend
from mbv2ssd_ros.backends.trt.nvidia import load_nvidia
from mbv2ssd_ros.backends.trt.provider import Build
from mbv2ssd_ros.core.arguments import whole
from mbv2ssd_ros.core.contract import PRECISIONS
from mbv2ssd_ros.tools.benchmarking.figures import percentiles
from mbv2ssd_ros.tools.benchmarking.timing import timed
from mbv2ssd_ros.tools.cli.json_file import check_writable, write_json
from mbv2ssd_ros.tools.cli.program import model_file, run
from mbv2ssd_ros.tools.cli.settings import flag, option, read

PROGRAM = 'build_engine'


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is built, and whether it is measured."""

    model: str = option('--model', default='', metavar='FILE',
                        help='ONNX file of `mbv2ssd_train export` (default: the model that comes '
                        'with the package)')
    precision: str = option('--precision', default=ANY_PRECISION,
                            choices=(ANY_PRECISION, *PRECISIONS), help='what the model must be; '
                            'none is converted (default: %(default)s)')
    batch: int = option('--batch', type=whole, default=1, metavar='N',
                        help='images that may come together: as many as the node has cameras, or '
                        'the node builds another engine (default: %(default)s)')
    engine_cache_dir: str = option(
        '--engine-cache-dir', default='', metavar='FOLDER',
        help="as the node's parameter engine_cache_dir (default: ~/.cache/mbv2ssd)")
    build_only: bool = flag('--build-only', 'do not measure; fail when it cannot be kept')
    runs: int = option('--runs', type=whole, default=200, metavar='N', help='measured inferences '
                       'of each batch size (default: %(default)s)')
    json: Path | None = option('--json', type=Path, metavar='FILE',
                               help='write the measurements there')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; 1 when no engine was built or, with --build-only, none was kept."""
    settings = read(Settings, argv, PROGRAM, __doc__)
    return run(PROGRAM, lambda: build(settings), 'cancelled')


def build(settings: Settings, build_engine: Build | None = None) -> int:
    """
    Build or find the engine, then measure it; return the exit code.

    `build_engine` None: in a child process. Raises Mbv2SsdError when there is no engine.
    """
    check_writable(settings.json)
    path = model_file(settings.model)
    options = BackendOptions(
        precision=settings.precision, max_batch=settings.batch,
        trt=TrtOptions(engine_cache_dir=settings.engine_cache_dir))
    more = () if build_engine is None else (build_engine,)
    with _Interruption() as interruption:
        loading = LoadContext(_Printer(), lambda: interruption.came)
        backend = TrtBackend(path, options, loading, load_nvidia(), *more)
    try:
        kept = backend.engine_path
        print(f'engine: {kept or "not kept"}\n{backend.detail}', flush=True)
        if not settings.build_only:
            _report(backend, settings)
        return 1 if settings.build_only and kept is None else 0
    finally:
        backend.close()


def latencies_ms(backend: Backend, sizes: Sequence[int], runs: int) -> dict[str, dict[str, float]]:
    """
    Measure inference, from images in memory to boxes and scores in memory.

    Each batch size has `runs` runs after a tenth as many for warm-up. Returns p50, p95, p99 in ms
    for the whole batch, by batch size.
    """
    found = {}
    for size in sizes:
        batches = [fixed_images(size, backend.contract.input_size_hw)] * (runs + runs // 10)
        times_ms, _ = timed(backend.infer, batches)
        found[str(size)] = percentiles(times_ms[-runs:])
    return found


def _report(backend: TrtBackend, settings: Settings) -> None:
    found = latencies_ms(backend, range(1, settings.batch + 1), settings.runs)
    for size, times in found.items():
        print(f'batch of {size}: {times["p50"]:.2f} ms (p95 {times["p95"]:.2f}, '
              f'p99 {times["p99"]:.2f})')
    write_json(settings.json, {
        'backend': backend.detail, 'precision': backend.contract.precision,
        'input_size_hw': backend.contract.input_size_hw, 'runs': settings.runs, 'infer_ms': found})


class _Interruption:
    """
    Remembers SIGINT or SIGTERM while an engine is built.

    An exception at any moment could strike between the start of the child and the first line
    that would end it.
    """

    def __init__(self) -> None:
        self.came = False

    def __enter__(self) -> _Interruption:
        self._before = {number: signal.signal(number, self._note)
                        for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.came:  # also after a failed build: its error only repeats this
            raise KeyboardInterrupt

    def _note(self, number: int, frame: Any) -> None:
        self.came = True


class _Printer:
    """Prints the backend's log lines with the time since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def info(self, message: str, /) -> None:
        """Print a line."""
        print(f'[{time.monotonic() - self._started:5.0f} s] {message}', flush=True)

    def warning(self, message: str, /) -> None:
        """Print a line, marked as a warning."""
        self.info(f'warning: {message}')


if __name__ == '__main__':
    sys.exit(main())
