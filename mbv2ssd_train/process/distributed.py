"""
Training on several processes, as torchrun starts them.

    torchrun --nproc-per-node 2 -m mbv2ssd_train train CONFIG

Every process computes its share of each batch, and the sums over all of them (gradients, losses,
stop requests) equal those of a single process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
import os
import re
import time
from typing import TypeVar

import torch
from torch import distributed, Tensor

from mbv2ssd_ros.core.errors import ConfigError, Mbv2SsdError

_TIMEOUT = timedelta(minutes=30)  # rank 0 may be decoding a whole validation set
_LOST = re.compile(r'closed by peer|reset by peer|Broken pipe')  # gloo's messages
Item = TypeVar('Item')
Found = TypeVar('Found')


class ProcessLostError(Mbv2SsdError):
    """Another process of the run has ended."""


class World:
    """The processes of a run; rank 0 writes files, local_rank counts on one machine."""

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0,
                 device: torch.device | None = None) -> None:
        self.rank, self.size, self._local_rank = rank, size, local_rank
        self.device = device or torch.device('cpu')

    def on(self, device: str) -> World:
        """Return the world on a device, see choose_device; ConfigError where it is missing."""
        chosen = choose_device(device, self._local_rank)
        if chosen.type == 'cuda':
            torch.cuda.set_device(chosen)
        return World(self.rank, self.size, self._local_rank, chosen)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return a tensor added up over all processes."""
        if self.size > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes, all in one message."""
        if self.size > 1 and tensors:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            distributed.all_reduce(flat)
            parts = (flat / self.size).split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def largest(self, value: int) -> int:
        """Return the largest of all processes' numbers."""
        if self.size == 1:
            return value
        found = torch.tensor(value, device=self.device)
        distributed.all_reduce(found, distributed.ReduceOp.MAX)
        return int(found)

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return every size-th item, beginning with the rank-th: no item twice, none left out."""
        return items[self.rank::self.size]

    def gather(self, items: list[Item]) -> list[Item]:
        """Return the items of all processes, those of rank 0 first."""
        if self.size == 1:
            return items
        shares: list[list[Item]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(shares, items)
        return [item for share in shares for item in share]

    def together(self, work: Callable[[], Found]) -> Found:
        """
        Run work in every process; where it fails in one, raise its error in all.

        Otherwise the others would wait for it and report lost connections.
        """
        fault: Exception | None = None
        try:
            found = work()
        except (Mbv2SsdError, OSError) as err:
            fault = err
        if self.largest(int(fault is not None)):
            faults = [each for each in self.gather([fault]) if each is not None]
            raise fault or faults[0]
        return found

    @contextmanager
    def lost_connections(self) -> Iterator[None]:
        """Raise ProcessLostError for a lost connection."""
        try:
            yield
        except RuntimeError as err:
            if not (isinstance(err, distributed.DistBackendError) or _LOST.search(str(err))):
                raise
            raise ProcessLostError(
                f'process {self.rank} of {self.size} lost its connection: another process has '
                'ended; see its error, then resume with --resume '
                f'({str(err).splitlines()[0]})') from err


@contextmanager
def join_world() -> Iterator[World]:
    """
    Join torchrun's processes, if any, while the context lasts; else a World of one.

    Raises ProcessLostError where another process ended; its output has the cause.
    """
    size, rank, local_rank = (int(os.environ.get(name, default)) for name, default in
                              (('WORLD_SIZE', 1), ('RANK', 0), ('LOCAL_RANK', 0)))
    if size == 1:
        yield World()
        return
    distributed.init_process_group(timeout=_TIMEOUT)  # gloo between CPUs, nccl between GPUs
    world = World(rank, size, local_rank)
    try:
        with world.lost_connections():
            yield world
    finally:
        # Gloo's thread needs the GIL to free the tensors of its last message and is joined by a
        # thread that holds it: without this pause one run of six hung here.
        time.sleep(0.1)
        distributed.destroy_process_group()


def choose_device(name: str, local_rank: int = 0) -> torch.device:
    """Return a device ('auto': a GPU if any; local_rank: its default number) or ConfigError."""
    count = torch.cuda.device_count()
    if name == 'cpu' or (name == 'auto' and not count):
        return torch.device('cpu')
    index = int(name.partition(':')[2] or local_rank)
    if index >= count:
        raise ConfigError(
            f'training.device is {name}, but this PyTorch {torch.__version__} finds {count} GPUs '
            f'and GPU {index} is asked for; set it to cpu, or start fewer processes')
    return torch.device('cuda', index)
