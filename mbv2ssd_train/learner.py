"""One step of learning: forward, loss, backward, finite check, step, average."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple
import warnings

import numpy as np
import torch
from torch import nn, Tensor
from torch.nn.parallel import DistributedDataParallel

from mbv2ssd_ros.core.errors import DataError, Mbv2SsdError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.loading.batch import Batch
from mbv2ssd_train.loss.criterion import Criterion, LossSums
from mbv2ssd_train.loss.distill import add_up, Distillation
from mbv2ssd_train.model.deploy import Normalisation
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.model.sync_batch_norm import synchronise_batch_norm
from mbv2ssd_train.optimizer import (
    average_weights,
    build_optimizer,
    schedule_factor,
    set_learning_rates,
)
from mbv2ssd_train.process.distributed import World
from mbv2ssd_train.process.precision import choose_precision, has_bf16, LOW_PRECISION
from mbv2ssd_train.teacher import Teacher

_LEAST_SCALE = 2.0 ** -14  # of a loss; a gradient that still overflows is not a number


class NotFiniteError(Mbv2SsdError):
    """Loss, gradient or weights are infinite or undefined; no checkpoint has them."""


@dataclass(frozen=True)
class StepResult:
    """Measurements of a step, over the images of all processes."""

    class_loss: float
    box_loss: float
    gradient_norm: float
    learning_rate: float  # the largest of the groups
    positives: int  # priors that learnt an object
    negatives: int  # priors that learnt background
    positives_min: int  # of the images of this process
    positives_max: int
    images_without_positives: int
    teacher_loss: float  # distance to the teacher, part of both losses

    @property
    def loss(self) -> float:
        """The minimised loss."""
        return self.class_loss + self.box_loss


class _Sums(NamedTuple):
    """Sums over the images of a step: tensors () on the device, then numbers."""

    class_loss: Any
    box_loss: Any
    normaliser: Any
    positives: Any
    negatives: Any
    images_without_positives: Any
    teacher_loss: Any


def _sums_of(loss: LossSums) -> _Sums:
    return _Sums(*(value.detach().float() for value in _Sums(
        class_loss=loss.class_sums.sum(),
        box_loss=loss.box_sums.sum(),
        normaliser=loss.normaliser,
        positives=loss.positives.sum(),
        negatives=loss.negatives.sum(),
        images_without_positives=(loss.positives == 0).sum(),
        teacher_loss=loss.teacher_sums.sum())))


class Learner:
    """Network, optimizer and moving average, and how they learn from a batch."""

    def __init__(self, network: SSD, config: TrainConfig, total_steps: int, world: World,
                 teacher: Teacher | None = None) -> None:
        """Move the network to its device, freeze parts of it in place, and build the rest."""
        self.config, self._total_steps, self._world = config, total_steps, world
        if config.training.sync_bn and world.size > 1:
            synchronise_batch_norm(network)
        self.network = network.to(world.device, memory_format=torch.channels_last)
        self.network.freeze(config.training.freeze_blocks, config.training.freeze_bn)
        self.optimizer = build_optimizer(self.network, config.optimizer)
        self.precision, self.warning = self._choose_precision()
        self.average = average_weights(self.network, config.training.ema_decay)
        self.step = 0
        self._criterion = Criterion(config).to(world.device)
        assert (teacher is None) == (config.distill.teacher is None)
        self.teacher = teacher
        self._distillation = Distillation(config.distill, config.sigmoid_scores)
        self._normalise = Normalisation(config.model.mean, config.model.std).to(world.device)
        # sums over priors are large: torch's 65536 would skip the first ten steps
        self._scaler = torch.amp.GradScaler(
            world.device.type, init_scale=1024.0, enabled=self.precision == 'fp16')
        self._parallel = self.network if world.size == 1 else _parallel(self.network)

    def _choose_precision(self) -> tuple[str, str]:
        """Return the precision, the same in all processes, and a warning or ''."""
        wanted, world = self.config.training.precision, self._world
        if wanted == 'auto' and (self.config.has_fake_quantization
                                 or world.largest(not has_bf16(world.device))):
            wanted = 'fp32'
        found, warning = choose_precision(
            wanted, self.network, self.config.model.input_size_hw, world.device)
        if wanted == 'auto' and world.largest(found == 'fp32'):
            found = 'fp32'
        return found, warning

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._world.device

    @property
    def _teacher_hash(self) -> str | None:
        return self.teacher.file_hash if self.teacher else None

    def learn(self, batch: Batch) -> StepResult:
        """
        Learn from this process's share of a batch.

        The loss is divided by the normaliser (e.g. positives) of the whole batch: any number of
        processes and parts gives the result of one pass, except for BatchNorm, which sees each
        part alone. A NotFiniteError names the images, before the weights change.
        """
        self.network.train()
        set_learning_rates(self.optimizer, schedule_factor(
            self.step, self._total_steps, self.config.schedule))
        self._criterion.progress = self.step / self._total_steps
        self.optimizer.zero_grad()
        batch = batch.to(self._world.device)
        parts = batch.parts(self.config.training.accumulate)
        losses = [self._backward(part, last=part is parts[-1]) for part in parts]
        sums = self._world.sum(torch.stack([
            torch.stack(column).sum()
            for column in zip(*map(_sums_of, losses), strict=True)]))
        normaliser = _Sums(*sums).normaliser.clamp(min=1)
        gradient_norm = self._rescale_gradients(self._world.size / normaliser)
        positives = torch.cat([loss.positives for loss in losses])
        ends = torch.stack([positives.min(), positives.max()]).float()
        # the only wait for the device in a step
        *numbers, norm, fewest, most = torch.cat([sums, gradient_norm[None], ends]).tolist()
        self._check_finite(numbers, norm, losses, batch)
        if np.isfinite(norm):
            # not by the scaler: where it skips the first step, PyTorch's fused SGD continues
            # with uninitialised momentum
            self.optimizer.step()
        self._scaler.update()
        self._average_statistics()
        self.average.update_parameters(self.network)
        self.step += 1
        found = _Sums(*numbers)
        divisor = max(found.normaliser, 1)
        return StepResult(
            class_loss=found.class_loss / divisor,
            box_loss=found.box_loss / divisor,
            gradient_norm=norm,
            learning_rate=max(group['lr'] for group in self.optimizer.param_groups),
            positives=int(found.positives),
            negatives=int(found.negatives),
            positives_min=int(fewest),
            positives_max=int(most),
            images_without_positives=int(found.images_without_positives),
            teacher_loss=found.teacher_loss / divisor)

    def state(self) -> dict[str, Any]:
        """Return the state to resume from, without the weights."""
        return {'optimizer': self.optimizer.state_dict(), 'scaler': self._scaler.state_dict(),
                'teacher': self._teacher_hash, 'precision': self.precision}

    def restore(self, step: int, model: dict[str, Any], averaged: dict[str, Any],
                state: dict[str, Any]) -> None:
        """Resume from an earlier state; raises DataError where the teacher is another one."""
        if self.teacher and state.get('teacher') != self._teacher_hash:
            raise DataError(
                f'{self.teacher.path}: another teacher than the run began with: its hash is '
                f'{self._teacher_hash}, that was {state.get("teacher")}. Put the former file '
                'back, or begin another run with model.weights')
        self.network.load_state_dict(model)
        self.average.module.load_state_dict(averaged)
        self.average.n_averaged.fill_(step)
        self.optimizer.load_state_dict(state['optimizer'])
        self._scaler.load_state_dict(state['scaler'])
        # as it began, also on another machine
        self.precision = state.get('precision', self.precision)
        self.step = step

    def check_weights(self) -> None:
        """Raise NotFiniteError, which names the first weight that is not finite."""
        for name, value in self.network.state_dict().items():
            if not torch.isfinite(value).all():
                raise NotFiniteError(f'step {self.step}: {name} is no longer finite; no '
                                     'checkpoint is written. Lower optimizer.learning_rate')

    def _backward(self, part: Batch, last: bool) -> LossSums:
        low = LOW_PRECISION.get(self.precision)
        with self._gradients_stay_here(unless=last):
            with torch.autocast(part.images.device.type, low, enabled=low is not None):
                loc, conf_logits = self._parallel(self._normalise(part.images))
                answer = self.teacher(part.images) if self.teacher else None
            loss = self._compare(loc, conf_logits, part, answer)
            self._scaler.scale((loss.class_sums + loss.box_sums).sum()).backward()
        return loss

    def _compare(self, loc: Tensor, conf_logits: Tensor, part: Batch,
                 answer: tuple[Tensor, Tensor] | None) -> LossSums:
        """Compare predictions with the objects, the teacher, or both."""
        if answer is None:
            return self._criterion(loc, conf_logits, part)
        taught = self._distillation(loc, conf_logits, *answer)
        if self.config.distill.only:
            return taught
        return add_up(self._criterion(loc, conf_logits, part), taught, self.config.distill.weight)

    def _gradients_stay_here(self, unless: bool) -> AbstractContextManager[Any]:
        """Add up over parts first, so that processes exchange gradients once a step."""
        if unless or not isinstance(self._parallel, DistributedDataParallel):
            return nullcontext()
        return self._parallel.no_sync()

    def _rescale_gradients(self, factor: Tensor) -> Tensor:
        """Undo the loss scaling, divide by the normaliser, clip; return the norm before."""
        self._scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        torch._foreach_mul_(gradients, factor)
        limit = self.config.optimizer.clip_norm or float('inf')
        return nn.utils.clip_grad_norm_(self.network.parameters(), limit)

    def _check_finite(self, sums: list[float], norm: float, losses: list[LossSums], batch: Batch
                      ) -> None:
        if not np.isfinite(sums).all():
            totals = torch.cat([loss.class_sums + loss.box_sums for loss in losses])
            broken = torch.nonzero(~torch.isfinite(totals)).flatten().tolist()
            names = ', '.join(batch.sources[k] for k in broken) or 'images of another process'
            raise NotFiniteError(
                f'step {self.step}: the loss is not finite on {names}; look at their boxes, or '
                'lower optimizer.learning_rate. The weights were not changed')
        # a scaled loss may overflow fp16; the step is skipped and the scale halved
        can_scale_less = self._scaler.is_enabled() and self._scaler.get_scale() > _LEAST_SCALE
        if not np.isfinite(norm) and not can_scale_less:
            raise NotFiniteError(
                f'step {self.step}: the gradient is {norm}; images: '
                f'{", ".join(batch.sources)}. Lower optimizer.learning_rate')

    def _average_statistics(self) -> None:
        if self._world.size > 1 and not self.config.training.sync_bn:
            self._world.average_([buffer for buffer in self.network.buffers()
                                  if buffer.is_floating_point()])


def _parallel(network: nn.Module) -> nn.Module:
    """Add up gradients over processes; BatchNorm's statistics are averaged after each step."""
    with warnings.catch_warnings():  # not every PyTorch has its successor forward_sync_buffers
        warnings.filterwarnings('ignore', message='.*broadcast_buffers', category=FutureWarning)
        return DistributedDataParallel(network, broadcast_buffers=False)

