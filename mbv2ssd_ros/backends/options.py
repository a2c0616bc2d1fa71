"""How backends may use the machine: what all of them read, and a section for each."""

from __future__ import annotations

from dataclasses import dataclass

from mbv2ssd_ros.core.contract import PRECISIONS
from mbv2ssd_ros.core.errors import ConfigError

ANY_PRECISION = 'auto'
CPU_PROVIDER = 'CPUExecutionProvider'


def _at_least_1(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f'{name} is {value}, expected at least 1')


@dataclass(frozen=True)
class OrtOptions:
    """For ONNX Runtime."""

    threads: int = 1  # of one inference on a CPU; 1 is as fast as 2 at camera pace
    spin: bool = False  # let waiting CPU threads spin: faster, at the price of a busy core
    workers: int = 2  # inferences at the same time on a CPU, one camera each
    providers: tuple[str, ...] = (CPU_PROVIDER,)  # the preferred one first

    def __post_init__(self) -> None:
        _at_least_1('threads', self.threads)
        _at_least_1('workers', self.workers)
        if not self.providers or len(set(self.providers)) != len(self.providers):
            raise ConfigError(
                f'providers is {list(self.providers)}, expected at least one and none twice, as '
                f"in ['{CPU_PROVIDER}']")


@dataclass(frozen=True)
class TrtOptions:
    """For TensorRT."""

    engine_cache_dir: str = ''  # folder of built engines; empty: in the user's cache


@dataclass(frozen=True)
class BackendOptions:
    """For any backend: each reads the common fields and its own section."""

    precision: str = ANY_PRECISION  # what the model must be, or 'auto'
    max_batch: int = 1  # images that may come together, as many as there are cameras
    ort: OrtOptions = OrtOptions()
    trt: TrtOptions = TrtOptions()

    def __post_init__(self) -> None:
        _at_least_1('max_batch', self.max_batch)
        if self.precision not in (ANY_PRECISION, *PRECISIONS):
            raise ConfigError(
                f'precision is {self.precision!r}, expected one of '
                f'{", ".join((ANY_PRECISION, *PRECISIONS))}')
