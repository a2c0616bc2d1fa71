"""The training loop: forward, loss, finite check, backward, step, average, log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
import signal
import time
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from mbv2ssd_ros.core.errors import DataError, Mbv2SsdError
from mbv2ssd_ros.core.priors import build_priors
from mbv2ssd_train.assign import assign
from mbv2ssd_train.box_coder import cxcywh_to_xyxy
from mbv2ssd_train.checkpoint import Checkpoint, load_checkpoint
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.batch import Batch
from mbv2ssd_train.data.dataset import Dataset, refuse_overlap
from mbv2ssd_train.data.loader import TrainLoader
from mbv2ssd_train.data.mosaic import draw_batch
from mbv2ssd_train.data.sources import open_dataset
from mbv2ssd_train.evaluate import evaluate, Evaluation
from mbv2ssd_train.handover import build_contract, build_network
from mbv2ssd_train.loss import multibox_loss, MultiboxLoss
from mbv2ssd_train.model.cost import count_macs, count_parameters
from mbv2ssd_train.model.deploy import DeployModel, Normalisation
from mbv2ssd_train.model.ssdlite import SSDLite
from mbv2ssd_train.optimizer import (
    average_weights,
    build_optimizer,
    schedule_factor,
    set_learning_rates,
)
from mbv2ssd_train.pretrained import load_backbone
from mbv2ssd_train.progress import ProgressBar
from mbv2ssd_train.runs import RunFolder
from mbv2ssd_train.torch_backend import TorchBackend


class NotFiniteError(Mbv2SsdError):
    """Loss, gradient or weights became infinite or undefined; no checkpoint has them."""


class Preempted(Mbv2SsdError):
    """A signal ended the run early; it can be resumed."""

    def __init__(self, signum: int) -> None:
        """
        Note the signal.

        Args:
            signum: its number.
        """
        super().__init__(
            f'stopped by {signal.Signals(signum).name}; the state is saved, go on with --resume')
        self.exit_code = 128 + signum


class Trainer:
    """One run: its data, its network, and where it stands."""

    def __init__(self, config: TrainConfig, runs: Path, resume: bool = False) -> None:
        """
        Open the data, build the network, take up an earlier state where asked.

        Args:
            config: of the experiment.
            runs: folder of run folders.
            resume: go on with the run of this very configuration.

        Raises:
            DataError: data or weights are missing or wrong, or training and validation overlap.
            ConfigError: resume does not fit what is there.
        """
        self.config = config
        self.folder = RunFolder(runs, config)
        torch.manual_seed(config.seed)
        if config.training.threads:
            torch.set_num_threads(config.training.threads)
        train_sets, self._validation = open_datasets(config)
        self.loader = TrainLoader(train_sets, config.model.input_size_hw,
                                  config.training.batch_size, config.augment, config.seed,
                                  config.model.resize_mode)
        self.network = build_network(config)
        if config.model.backbone_weights:
            load_backbone(self.network.backbone, config.model.backbone_weights)
        self.network.to(memory_format=torch.channels_last)
        _freeze_first(self.network, config.training.freeze_blocks)
        self._optimizer = build_optimizer(self.network, config.optimizer)
        self._average = average_weights(self.network, config.training.ema_decay)
        self._normalise = Normalisation(config.model.mean, config.model.std)
        self._priors = torch.from_numpy(build_priors(config.model.prior_levels()))
        self._priors_xyxy = cxcywh_to_xyxy(self._priors)
        self.step, self.best_map = 0, -1.0
        self._signal = 0
        self.folder.open(resume)
        if resume:
            self._restore(load_checkpoint(self.folder.last))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.config.training.epochs * len(self.loader)

    def draw_first_batch(self) -> Path:
        """
        Draw the first augmented batch, to look at before waiting for hours.

        Returns:
            The picture in the run folder.
        """
        path = self.folder.path / 'first_batch.png'
        batch = next(iter(self.loader.epoch(0)))
        cv2.imwrite(str(path), draw_batch(batch, self.config.data.classes))
        return path

    def describe(self) -> str:
        """Return the size of the run in one line."""
        macs = count_macs(self.network, self.config.model.input_size_hw)
        rates = sorted({group['peak_lr'] for group in self._optimizer.param_groups})
        return (f'{len(self.loader)} batches an epoch, steps {self.step} to {self.total_steps}, '
                f'{count_parameters(self.network) / 1e6:.2f} M parameters, '
                f'{macs / 1e6:.0f} MMAC, {len(self._priors)} priors, learning rates '
                f'{", ".join(f"{rate:g}" for rate in rates)}')

    def run(self) -> None:
        """
        Train to the end; evaluate, save and log on the way.

        Raises:
            NotFiniteError: names the images of the batch that broke the loss.
            Preempted: SIGINT or SIGTERM came; the state is saved.
            DataError: an image cannot be read; the state is saved.
        """
        handlers = {signum: signal.signal(signum, self._on_signal)
                    for signum in (signal.SIGINT, signal.SIGTERM)}
        self.folder.set_status('running', step=self.step)
        try:
            self._run_or_save()
        except Preempted as err:
            self.folder.set_status('preempted', step=self.step, reason=str(err))
            raise
        except BaseException as err:
            self.folder.set_status('failed', step=self.step, reason=f'{err!r}')
            raise
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
        self.folder.set_status('success', step=self.step, best_map_50=self.best_map)

    def _run_or_save(self) -> None:
        try:
            with ProgressBar(self.config.name, self.total_steps, self.step) as bar:
                self._run_epochs(bar)
        except (Preempted, DataError):  # once a broken image is mended, the run can go on
            self.save(self.folder.last)
            raise

    def train_step(self, batch: Batch) -> MultiboxLoss:
        """
        Learn from one batch.

        Args:
            batch: images and objects.

        Returns:
            Its loss.

        Raises:
            NotFiniteError: before the weights are changed.
        """
        config = self.config.training
        self.network.train()
        # layers that do not learn take up no statistics either
        _freeze_batch_norm(self.network.backbone if config.freeze_bn
                           else self.network.backbone.features[:config.freeze_blocks])
        set_learning_rates(self._optimizer, schedule_factor(
            self.step, self.total_steps, self.config.schedule))
        with torch.autocast('cpu', torch.bfloat16, enabled=config.precision == 'bf16'):
            loc, conf_logits = self.network(self._normalise(batch.images))
        boxes, labels, difficult = (
            [rows[kept] for rows, kept in zip(field, batch.labels > 0, strict=True)]
            for field in (batch.boxes_xyxy, batch.labels, batch.difficult))
        targets = assign(self._priors_xyxy, boxes, labels, difficult, self.config.match)
        loss = multibox_loss(loc, conf_logits, targets, self._priors,
                             self.config.model.variances, self.config.loss)
        _check_finite(loss, batch, self.step)
        self._optimizer.zero_grad()
        loss.total.backward()
        limit = self.config.optimizer.clip_norm or float('inf')
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        if not torch.isfinite(norm):
            raise NotFiniteError(f'step {self.step}: the gradient is {norm.item()}; images: '
                                 f'{", ".join(batch.sources)}. Lower optimizer.learning_rate')
        self._optimizer.step()
        self._average.update_parameters(self.network)
        self.step += 1
        return loss

    def evaluate(self) -> Evaluation:
        """
        Measure the averaged weights on the validation split.

        Returns:
            What was measured.

        Raises:
            Preempted: SIGINT or SIGTERM came.
        """
        backend = TorchBackend(
            DeployModel(self._average.module, self.config.model),
            build_contract(self.config, None))
        return evaluate(backend, self._validation, self.config.evaluation.detection_settings(),
                        self._until_signal)

    def _until_signal(self, items: Iterable[Any], _: int) -> Iterator[Any]:
        for item in items:
            yield item
            if self._signal:  # --resume evaluates again
                raise Preempted(self._signal)

    def save(self, path: Path, map_50: float | None = None) -> None:
        """
        Write a checkpoint.

        Args:
            path: of the file.
            map_50: of the averaged weights on the validation split, where it was measured.

        Raises:
            NotFiniteError: a weight is not finite; nothing is written.
        """
        for name, value in self.network.state_dict().items():
            if not torch.isfinite(value).all():
                raise NotFiniteError(f'step {self.step}: {name} is no longer finite; {path} is '
                                     'not written. Lower optimizer.learning_rate')
        Checkpoint(
            config=self.config.to_yaml(), step=self.step, model=self.network.state_dict(),
            averaged=self._average.module.state_dict(), optimizer=self._optimizer.state_dict(),
            best_map=self.best_map, map_50=map_50).save(path)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.network.load_state_dict(checkpoint.model)
        self._average.module.load_state_dict(checkpoint.averaged)
        self._average.n_averaged.fill_(checkpoint.step)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self.step, self.best_map = checkpoint.step, checkpoint.best_map

    def _run_epochs(self, bar: ProgressBar) -> None:
        per_epoch, started = len(self.loader), time.monotonic()
        if self.step and self.step % per_epoch == 0:
            # stopped behind the last step of an epoch, perhaps before it was evaluated
            self._end_epoch(self.step // per_epoch, bar)
        for epoch in range(self.step // per_epoch, self.config.training.epochs):
            for batch in self.loader.epoch(epoch, self.step % per_epoch):
                loss = self.train_step(batch)
                note = (f'loss {loss.total.item():.2f} (class {loss.class_loss.item():.2f}, '
                        f'box {loss.box_loss.item():.2f})')
                bar.advance(note)
                if self.step % 50 == 0:
                    self.folder.log(
                        step=self.step, epoch=self.step / per_epoch,
                        elapsed_s=round(time.monotonic() - started, 1),
                        class_loss=loss.class_loss.item(), box_loss=loss.box_loss.item(),
                        positives=loss.positives, negatives=loss.negatives,
                        learning_rate=max(g['lr'] for g in self._optimizer.param_groups))
                if self._signal:
                    raise Preempted(self._signal)
                if self.step % self.config.training.save_every == 0:
                    self.save(self.folder.last)
            self._end_epoch(epoch + 1, bar)

    def _end_epoch(self, epoch: int, bar: ProgressBar) -> None:
        config = self.config.training
        if epoch == config.epochs or epoch % config.eval_every == 0:
            self._evaluate_and_keep_best(epoch, bar)
        self.save(self.folder.last)

    def _evaluate_and_keep_best(self, epoch: int, bar: ProgressBar) -> None:
        result = self.evaluate()
        bar.write(f'epoch {epoch}: mAP@0.5 {result.map_50:.4f} (area), '
                  f'{result.map_50_11point:.4f} (11-point) on {result.split}, '
                  f'{result.images} images')
        self.folder.log(step=self.step, epoch=epoch, **result.to_dict())
        if result.map_50 > self.best_map:
            self.best_map = result.map_50
            self.save(self.folder.best, result.map_50)

    def _on_signal(self, signum: int, _: Any) -> None:
        if self._signal:  # the second one means now
            raise SystemExit(128 + signum)
        self._signal = signum


def open_datasets(config: TrainConfig) -> tuple[list[Dataset], Dataset]:
    """
    Open the training and validation data of a configuration.

    Args:
        config: names them.

    Returns:
        Training sets and the validation set.

    Raises:
        DataError: missing or wrong, or they share an image.
    """
    data = config.data
    train = [open_dataset(data.root, split, data.classes, data.keep_decoded)
             for split in data.train]
    validation = open_dataset(data.root, data.val, data.classes, data.keep_decoded)
    refuse_overlap(train, validation)
    if not any((~record.difficult).any() for dataset in train for record in dataset.records):
        raise DataError(f'{data.root}: no object in {", ".join(data.train)} that is not '
                        'difficult; nothing to learn')
    if sum(len(dataset) for dataset in train) < 2:
        raise DataError(f'{data.root}: one image in {", ".join(data.train)}; BatchNorm needs two')
    if not any((~record.difficult).any() for record in validation.records):
        raise DataError(f'{data.root}: no object in {data.val} that is not difficult, so that no '
                        'mAP can be measured there; choose another data.val')
    return train, validation


def _freeze_first(network: SSDLite, blocks: int) -> None:
    for layer in network.backbone.features[:blocks]:
        layer.requires_grad_(False)


def _freeze_batch_norm(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()


def _check_finite(loss: MultiboxLoss, batch: Batch, step: int) -> None:
    if torch.isfinite(loss.image_totals).all():
        return
    broken = np.flatnonzero(~torch.isfinite(loss.image_totals).numpy())
    raise NotFiniteError(
        f'step {step}: the loss is not finite on {", ".join(batch.sources[k] for k in broken)}; '
        'look at their boxes, or lower optimizer.learning_rate. The weights were not changed')
