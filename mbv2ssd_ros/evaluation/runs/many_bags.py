"""
Several bags, one after the other, on several processes, or on a Dask cluster.

Each bag is evaluated into a folder of its own, then all together: the figures are those of one
long recording, whichever process did the work. A bag that fails does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import as_completed, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError, missing_package
from mbv2ssd_ros.evaluation.bags.parts import bags_in, stem_of
from mbv2ssd_ros.evaluation.results import ImageResult
from mbv2ssd_ros.evaluation.runs.journal import FILE_NAME as JOURNAL
from mbv2ssd_ros.evaluation.runs.run import latency_table
from mbv2ssd_ros.evaluation.runs.task import BagTask, INTERRUPTED, no_progress, perform, ProgressOf

BAG_PLACE = '{bag}'  # in the path of ground truth: the name of the bag without suffix


@dataclass(frozen=True)
class BagOutcome:
    """What a process sends back of its bag."""

    task: BagTask
    error: str = ''  # why it was not evaluated
    incomplete_because: str = ''  # why frames are missing
    class_names: tuple[str, ...] = ()
    model: str = ''
    topics: tuple[str, ...] = ()
    frames: dict[str, Any] = field(default_factory=dict)  # as in metrics.json
    map_50: float = float('nan')
    results: tuple[ImageResult, ...] = ()
    numbers: tuple[int, ...] = ()  # of the frame of each result
    times_ms: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def name(self) -> str:
        """Of the bag, and of the folder of its results."""
        return folder_name(self.task.bag)

    @property
    def problem(self) -> str:
        """Why it is not complete; empty where it is."""
        return self.error or self.incomplete_because


Workers = Callable[[Sequence[BagTask]], Iterable[BagOutcome]]  # outcomes in any order


def find_bags(paths: Sequence[Path]) -> list[Path]:
    """
    Replace folders of bags by their bags, sorted by name; results of evaluations are left out.

    A path that is neither stays: opening it reports what is missing. ConfigError: two bags have
    the same name, so that their results would be mixed.
    """
    found = [bag for path in paths for bag in (
        path.is_dir() and bags_in(path, lambda folder: (folder / JOURNAL).is_file()) or [path])]
    names: dict[str, Path] = {}
    for bag in found:
        name = folder_name(bag)
        if name in names:
            raise ConfigError(f'{names[name]} and {bag}: two bags of the same name; evaluate '
                              'them separately')
        names[name] = bag
    return found


def folder_name(bag: Path) -> str:
    """Name the folder of a bag's results: the name of the bag without suffix."""
    return stem_of(bag.resolve()) if bag.is_file() else bag.resolve().name


def tasks_for(bags: Sequence[Path], task: BagTask) -> list[BagTask]:
    """
    Make the tasks of several bags from what they have in common.

    Each writes to a folder of its own in task.output; {bag} in the path of the ground truth is
    replaced by the name of the bag.
    """
    def truth(bag: Path) -> Path | None:
        if task.ground_truth is None:
            return None
        return Path(str(task.ground_truth).replace(BAG_PLACE, folder_name(bag)))

    return [replace(task, bag=bag, output=task.output / folder_name(bag),
                    ground_truth=truth(bag)) for bag in bags]


def perform_one(task: BagTask, progress_of: ProgressOf = no_progress) -> BagOutcome:
    """Evaluate a bag in this process; an Mbv2SsdError is returned in the outcome."""
    try:
        found = perform(task, progress_of)
    except Mbv2SsdError as err:
        return BagOutcome(task, error=str(err))
    except Exception as err:  # of one bag: the others are still evaluated
        return _failed(task, err)
    analysis = found.analysis
    return BagOutcome(
        task, incomplete_because=found.incomplete_because, class_names=found.subject.class_names,
        model=found.subject.model, topics=found.topics, frames=found.to_dict()['frames'],
        map_50=analysis.map_50 if analysis else float('nan'),
        results=analysis.results if analysis else (),
        numbers=tuple(found.records[index].number for index in found.scored),
        times_ms=latency_table(found.records))


def one_process(progress_of: ProgressOf = no_progress) -> Workers:
    """Evaluate one bag after the other in this process, until one is interrupted."""
    def run(tasks: Sequence[BagTask]) -> Iterator[BagOutcome]:
        for task in tasks:
            outcome = perform_one(task, progress_of)
            yield outcome
            if outcome.incomplete_because.startswith(INTERRUPTED):
                return
    return run


def processes(count: int) -> Workers:
    """Distribute bags over processes of this machine."""
    def run(tasks: Sequence[BagTask]) -> Iterator[BagOutcome]:
        # a fork would copy the locks of inference libraries, but not the threads that hold them
        context = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(min(count, len(tasks)), context) as pool:
            futures = {pool.submit(perform_one, task): task for task in tasks}
            try:
                for future in as_completed(futures):
                    error = future.exception()
                    yield (future.result() if error is None
                           else _failed(futures[future], error))
            finally:  # Ctrl-C reaches the processes too, which write what they have
                pool.shutdown(wait=True, cancel_futures=True)
    return run


def cluster(address: str) -> Workers:
    """
    Distribute bags over the workers of a Dask cluster, by the address of its scheduler.

    Paths must mean the same files on all of its machines. ConfigError: distributed is not
    installed, or (from the function returned) no scheduler responds.
    """
    try:
        import distributed
    except ImportError as err:
        raise missing_package('a cluster', 'distributed', 'cluster', err) from err

    def run(tasks: Sequence[BagTask]) -> Iterator[BagOutcome]:
        try:
            client = distributed.Client(address, timeout='10s')
        except (OSError, ValueError, TimeoutError) as err:
            raise ConfigError(f'--scheduler {address}: no Dask scheduler responds: {err}'
                              ) from err
        with client:
            absolute = [_absolute(task) for task in tasks]
            futures = client.map(perform_one, absolute, pure=False)
            task_of = {future.key: task for future, task in zip(futures, tasks, strict=True)}
            for future in distributed.as_completed(futures):
                task = task_of[future.key]
                yield (replace(future.result(), task=task) if future.status == 'finished'
                       else _failed(task, future.exception()))
    return run


def _failed(task: BagTask, error: object) -> BagOutcome:
    return BagOutcome(task, error=f'{task.bag}: failed: {error!r}')


def _absolute(task: BagTask) -> BagTask:
    """Resolve paths here: a worker has another working folder."""
    return replace(
        task, bag=task.bag.absolute(), output=task.output.absolute(),
        model=task.model and task.model.absolute(),
        ground_truth=task.ground_truth and task.ground_truth.absolute())


def perform_all(tasks: Sequence[BagTask], workers: Workers,
                on_outcome: Callable[[BagOutcome], None] = lambda outcome: None
                ) -> list[BagOutcome]:
    """Evaluate all bags, calling on_outcome as they finish; return them in the order of tasks."""
    found = {}
    for outcome in workers(tasks):
        found[outcome.task] = outcome
        on_outcome(outcome)
    return [found.get(task) or BagOutcome(
        task, error=f'{task.bag}: not evaluated, {INTERRUPTED}') for task in tasks]
