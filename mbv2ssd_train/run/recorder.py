"""Record the measurements of a run: metrics.jsonl, TensorBoard, plots, images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
import sys
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn

from mbv2ssd_ros.core.errors import ShapeError
from mbv2ssd_train.run.metrics_file import MetricsFile, plain
from mbv2ssd_train.run.plots import BEGIN, draw_plots, EVALUATION, TRAIN

_DRAW_EVERY_S, _DRAW_SHARE = 60.0, 0.01  # largest share of a run's time for plots
_FLUSH_S = 10  # of TensorBoard's events, which a killed run may lose; metrics.jsonl loses none


def _warn(text: str) -> None:
    print(text, file=sys.stderr)


class Recorder:
    """
    Writes metrics.jsonl always, TensorBoard events and plots where their packages are installed.

    Every line of metrics.jsonl has `kind`, `step`, `epoch` and `elapsed_s`, the time since the run
    began, interruptions left out. The kinds are 'begin', with the total number of steps, 'train'
    and 'evaluation'. A resumed run's lines equal those of one that was never stopped, times apart.
    """

    def __init__(self, folder: Path, total_steps: int, step: int = 0,
                 warn: Callable[[str], None] = _warn) -> None:
        """
        Open the records of an existing folder; those of steps after `step` are dropped.

        `warn` gets a line about anything that cannot be recorded. Raises DataError where
        metrics.jsonl is broken.
        """
        self.folder, self._warn = folder, warn
        self._metrics = MetricsFile(folder / 'metrics.jsonl')
        kept = self._metrics.cut_after(step)
        # A run that was killed between its evaluation and its checkpoint evaluates once more.
        self._evaluated = {line['step'] for line in kept if line.get('kind') == EVALUATION}
        self._before_s = max((line.get('elapsed_s', 0.0) for line in kept), default=0.0)
        self._started = time.monotonic()
        self._draw_from = self._started + _DRAW_EVERY_S
        self._writer = self._open_tensorboard(step)
        self._can_draw = True
        if not any(line.get('kind') == BEGIN for line in kept):
            self._record(BEGIN, 0, 0.0, {'total_steps': total_steps})

    def train_step(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Record the values of a step (counted from 1); `epoch` has a fraction."""
        self._add_scalars(TRAIN, step, self._record(TRAIN, step, epoch, values))

    def evaluation(self, step: int, epoch: float, result: Mapping[str, Any]) -> None:
        """
        Record Evaluation.to_dict once; its numbers, at any depth, go to TensorBoard.

        An evaluation that was recorded before the run was resumed is skipped.
        """
        if step in self._evaluated:
            return
        self._evaluated.add(step)
        self._add_scalars(EVALUATION, step, self._record(EVALUATION, step, epoch, result))
        self._metrics.sync()
        if self._writer:
            self._writer.flush()
        if time.monotonic() > self._draw_from:
            self._draw()

    def images(self, tag: str, step: int, picture: NDArray[np.uint8]) -> None:
        """
        Record a picture, (H, W, 3) uint8 BGR, else ShapeError.

        The newest is images/TAG.png, all are in TensorBoard; a tag such as worst/0 makes folders.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ShapeError(f'picture {tag!r} is {picture.shape} {picture.dtype}, expected '
                             '(H, W, 3) uint8')
        path = self.folder / 'images' / f'{tag}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), picture):
            self._warn(f'{path}: cannot be written; is the disk full?')
        if self._writer:
            self._writer.add_image(tag, picture[..., ::-1].copy(), step, dataformats='HWC')

    def histogram(self, tag: str, step: int, tensor: torch.Tensor) -> None:
        """Record the finite values of weights or gradients, for TensorBoard alone."""
        if self._writer:
            values = tensor.detach().float()
            if len(values := values[torch.isfinite(values)]):
                self._writer.add_histogram(tag, values.cpu(), step)

    def weights(self, step: int, network: nn.Module) -> None:
        """Record a histogram of the weights of each child of a network."""
        for name, part in network.named_children():
            weights = [weight.detach().flatten() for weight in part.parameters()]
            if weights:
                self.histogram(f'weights/{name}', step, torch.cat(weights))

    def close(self) -> None:
        """Draw the plots a last time and wait until everything is on disk."""
        self._metrics.sync()
        self._draw()
        if self._writer:
            self._writer.close()
            self._writer = None

    def _record(self, kind: str, step: int, epoch: float, values: Mapping[str, Any]
                ) -> dict[str, Any]:
        elapsed = round(self._before_s + time.monotonic() - self._started, 2)
        own = {'kind': kind, 'step': step, 'epoch': epoch, 'elapsed_s': elapsed}
        found: dict[str, Any] = plain(values)
        assert not own.keys() & found.keys(), own.keys() & found.keys()
        self._metrics.append({**own, **found})
        return found

    def _add_scalars(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        if self._writer:
            for name, value in numbers_in(values):
                self._writer.add_scalar(f'{kind}/{name}', value, step)

    def _open_tensorboard(self, step: int) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as err:
            self._warn(f'no TensorBoard events are written ({err}): pip install tensorboard; '
                      'metrics.jsonl has all figures')
            return None
        return SummaryWriter(str(self.folder / 'tensorboard'), flush_secs=_FLUSH_S,
                             purge_step=step + 1 if step else None)

    def _draw(self) -> None:
        if not self._can_draw:
            return
        started = time.monotonic()
        try:
            draw_plots(self._metrics.path, self.folder / 'plots')
        except Exception as err:  # of matplotlib or the disk: a plot must not end a run
            self._can_draw = False
            self._warn(f'no plots are drawn: {err}; metrics.jsonl has all figures')
        now = time.monotonic()
        self._draw_from = now + max(_DRAW_EVERY_S, (now - started) / _DRAW_SHARE)


def numbers_in(values: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, float]]:
    """
    Yield name and number of a result's numbers, levels joined by '/'.

    Dicts are entered; texts, lists and None are left out.
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from numbers_in(value, f'{prefix}{name}/')
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f'{prefix}{name}', float(value)
