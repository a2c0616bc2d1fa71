"""The processor: its integer instructions, and the fastest shipped model on it."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import statistics
import time

from mbv2ssd_ros.core.errors import Mbv2SsdError
from mbv2ssd_ros.tools.checkup.finding import Finding, OK, SKIPPED

BUDGET_S = 1.5
_FEWEST_ROUNDS = 3
_FOR_TENSORRT = '_int8_tensorrt'  # slow on any CPU


def processor() -> Iterator[Finding]:
    """Report the processor and missing instructions; the second one where ONNX Runtime is here."""
    from mbv2ssd_ros.core.processor import describe_processor
    name = describe_processor()
    threads = os.cpu_count() or 1
    lacking = '; INT8 gains less without it' if 'without' in name else ''
    yield Finding('processor', OK, f'{name}, {threads} threads{lacking}')
    from mbv2ssd_ros.backends.saturation import kernels_saturate
    if kernels_saturate():
        yield Finding('INT8 kernels', OK, 'saturate here. Files of this version cannot (`mbv2ssd_'
                      'train quantize --target cpu`); others are computed exactly, at 1.2 to 1.4 '
                      'times their time')
    else:
        yield Finding('INT8 kernels', OK, 'do not saturate here')


def fastest(budget_s: float = BUDGET_S) -> Iterator[Finding]:
    """
    Measure which of the shipped models for a CPU is fastest here, as the node runs them.

    The time for all together, after loading, is `budget_s`.
    """
    from mbv2ssd_ros.shipped import shipped_path
    try:
        paths = [path for path in sorted(shipped_path('models').glob('*.onnx'))
                 if not path.stem.endswith(_FOR_TENSORRT)]
        times, rounds = _times_ms(paths, budget_s)
    except Mbv2SsdError as err:
        yield Finding('shipped models', SKIPPED, str(err))
        return
    ranking = sorted(times, key=times.__getitem__)
    lines = tuple(f'{name} {times[name]:.1f} ms' for name in ranking)
    yield Finding('shipped models', OK, f'fastest here is {", ".join(lines)}; medians of {rounds} '
                  'images each, in turns, on one thread', details=lines)


def _times_ms(paths: list[Path], budget_s: float) -> tuple[dict[str, float], int]:
    """Return the median ms per image by file name, and the number of images."""
    import numpy as np

    from mbv2ssd_ros.backends import BackendOptions, open_backend
    backends = {path.stem: open_backend('onnxruntime', path, BackendOptions()) for path in paths}
    taken: dict[str, list[float]] = {name: [] for name in backends}
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (1, *backend.contract.input_size_hw, 3), np.uint8)
              for name, backend in backends.items()}
    deadline, rounds = time.monotonic() + budget_s, 0
    while rounds < _FEWEST_ROUNDS or time.monotonic() < deadline:
        for name, backend in backends.items():
            started = time.perf_counter()
            backend.infer(images[name])
            taken[name].append(1e3 * (time.perf_counter() - started))
        rounds += 1
    for backend in backends.values():
        backend.close()
    return {name: statistics.median(values) for name, values in taken.items()}, rounds
