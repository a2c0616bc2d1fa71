"""A training run: epochs of steps, evaluations, checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
import time
from typing import Any

import numpy as np
import torch

from mbv2ssd_ros.core.errors import DataError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.identity import keep
from mbv2ssd_train.data.loading.batch import Batch
from mbv2ssd_train.data.loading.loader import open_loader
from mbv2ssd_train.data.report.mosaic import draw_batch, draw_results
from mbv2ssd_train.deploy.contract import build_contract, build_network
from mbv2ssd_train.deploy.torch_backend import TorchBackend
from mbv2ssd_train.evaluate import detect_all, Evaluation, summarise
from mbv2ssd_train.learner import Learner, StepResult
from mbv2ssd_train.model.cost import count_macs, count_parameters
from mbv2ssd_train.model.deploy import DeployModel
from mbv2ssd_train.process.distributed import World
from mbv2ssd_train.process.progress import ProgressBar
from mbv2ssd_train.process.signals import Preempted, StopRequest
from mbv2ssd_train.run.checkpoint import (
    Checkpoint,
    load_checkpoint,
    random_state,
    restore_random_state,
    RunState,
)
from mbv2ssd_train.run.checkpoint_store import CheckpointStore
from mbv2ssd_train.run.data_record import DataRecord
from mbv2ssd_train.run.folder import RunFolder
from mbv2ssd_train.run.recorder import Recorder
from mbv2ssd_train.teacher import load_teacher
from mbv2ssd_train.training_data import (
    compare_data,
    open_datasets,
    read_inherited,
    refuse_single_images,
)
from mbv2ssd_train.weights.start import load_start

_DRAWN_IMAGES = 8  # of the validation split, the same at every evaluation


class Trainer:
    """One run: data, learner and progress."""

    def __init__(self, config: TrainConfig, runs: Path, resume: bool = False,
                 world: World | None = None) -> None:
        """
        Open the data, build the network, restore the state to resume; by default one process.

        Raises DataError where data or weights are missing or wrong or training and validation
        overlap, ConfigError where resume does not fit the run folder.
        """
        self.config = config
        self._world = (world or World()).on(config.training.device)
        torch.manual_seed(config.seed)
        torch.use_deterministic_algorithms(config.training.deterministic, warn_only=True)
        # otherwise torch fills every new tensor first: an eighth of a step
        torch.utils.deterministic.fill_uninitialized_memory = False
        if config.training.threads:
            torch.set_num_threads(config.training.threads)
        train_sets, validation = open_datasets(config)
        # a resumed run needs no initial weights, whose files may have moved
        found = self._world.together(lambda: [compare_data(
            config, train_sets, validation, None if resume else read_inherited(config))]
            if self._world.is_main else [])
        self.data, measured, self.data_note = self._world.gather(found)[0]
        self._validation = keep(validation, np.array(measured))
        self.loader = open_loader(
            train_sets, config, self._world.device, self._world.rank, self._world.size)
        refuse_single_images(config, sum(map(len, train_sets)), self._world.size)
        network = build_network(config)
        self.start_report = '' if resume else load_start(network, config)
        self.learner = Learner(network, config, self.total_steps, self._world,
                               load_teacher(config, self._world.device))
        self.state = RunState()
        self._stop = StopRequest('finishing this step, then saving' if self._world.is_main else '')
        self.folder = RunFolder(runs, config)
        self._checkpoints = self._world.together(lambda: self._open_folder(resume))
        if resume:
            self._restore(load_checkpoint(self.folder.last))

    def _open_folder(self, resume: bool) -> CheckpointStore | None:
        if not self._world.is_main:
            return None
        self.folder.open(resume, begun_with=self.start_report)
        return CheckpointStore(self.folder.checkpoints, self.config.training.keep_checkpoints)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.config.training.epochs * len(self.loader)

    def describe(self) -> str:
        """Return the size of the run in one line."""
        network, model = self.learner.network, self.config.model
        rates = sorted({group['peak_lr'] for group in self.learner.optimizer.param_groups})
        priors = sum(level.count for level in model.prior_levels())
        teacher = self.learner.teacher
        return (f'{len(self.loader)} batches an epoch, steps {self.state.step} to '
                f'{self.total_steps}, {count_parameters(network) / 1e6:.2f} M parameters, '
                f'{count_macs(network, model.input_size_hw) / 1e6:.0f} MMAC, {priors} priors, '
                f'learning rates {", ".join(f"{rate:g}" for rate in rates)}, on '
                f'{self._world.size} x {self._world.device} in {self.learner.precision}'
                f'{teacher.describe(self.config.distill.only) if teacher else ""}')

    def run(self) -> None:
        """
        Train to the end; evaluate, save and record.

        Raises:
            NotFiniteError: names the images of the batch that broke the loss.
            Preempted: SIGINT or SIGTERM arrived; the state is saved.
            DataError: an image cannot be read; the state is saved.
            SystemExit: a second signal arrived; nothing is saved.
        """
        config, length = self.config.training, len(self.loader)
        with self._final_status(), self._stop, self._world.lost_connections():
            self._set_status('running')  # handlers first, then the status
            bar = ProgressBar(self.config.name, self.total_steps, self.state.step,
                              shown=self._world.is_main)
            with self._open_recorder() as recorder, bar, self._save_on_interruption():
                if not self.state.step:  # a first look before hours of training
                    self._world.together(partial(self._draw_first_batch, recorder))
                elif not self.state.batch:  # interrupted between an epoch and its evaluation
                    self._end_epoch(self.state.epoch, recorder, bar)
                for epoch in range(self.state.epoch, config.epochs):
                    if self._is_over():
                        break
                    started = time.monotonic()
                    batches = self.loader.epoch(epoch, self.state.batch)
                    for index in range(self.state.batch + 1, length + 1):
                        batch = self._world.together(partial(next, batches))
                        # forward, loss, backward, finite check, optimizer, moving average
                        result = self.learner.learn(batch)
                        ends = index == length
                        self.state = replace(self.state, step=self.learner.step,
                                             epoch=epoch + ends, batch=0 if ends else index)
                        bar.advance(f'loss {result.loss:.2f} (class {result.class_loss:.2f}, '
                                    f'box {result.box_loss:.2f})')
                        if recorder and self.state.step % config.log_every == 0:
                            self._log(recorder, result, batch, time.monotonic() - started)
                        started = time.monotonic()
                        self._raise_when_preempted()
                        if not ends and self.state.step % config.save_every == 0:
                            self.save()
                    self._end_epoch(epoch + 1, recorder, bar)

    def _end_epoch(self, epoch: int, recorder: Recorder | None, bar: ProgressBar) -> None:
        """Evaluate where due, keep the best weights, write the checkpoint."""
        config = self.config.training
        due = epoch == config.epochs or epoch % config.eval_every == 0
        if due and epoch > self.state.evaluated_epoch:
            result = self.evaluate()
            if recorder:
                step = self.state.step
                recorder.evaluation(step, epoch, result.to_dict())
                recorder.weights(step, self.learner.network)
                recorder.images('detections', step, draw_results(
                    self._validation, result.results[:_DRAWN_IMAGES]))
            bar.write(f'epoch {epoch}: mAP@0.5 {result.map_50:.4f} (area), '
                      f'{result.map_50_11point:.4f} (11-point) on {result.split}, '
                      f'{result.images} images')
            better = result.map_50 > self.state.best_map
            self.state = replace(
                self.state, evaluated_epoch=epoch,
                best_map=result.map_50 if better else self.state.best_map,
                best_epoch=epoch if better else self.state.best_epoch,
                stale_evaluations=0 if better else self.state.stale_evaluations + 1)
            if better:
                self._write(best_map=result.map_50)
        self.save()
        if self._is_over():
            bar.write(f'no better mAP in {self.state.stale_evaluations} evaluations '
                      '(training.patience): the run ends')

    def _is_over(self) -> bool:
        return 0 < self.config.training.patience <= self.state.stale_evaluations

    def _log(self, recorder: Recorder, result: StepResult, batch: Batch, seconds: float) -> None:
        images = len(batch) * self._world.size
        recorder.train_step(
            self.state.step, self.state.step / len(self.loader),
            {**asdict(result), 'loss': result.loss,
             'positives_mean': result.positives / images,
             'input_height_px': float(batch.images.shape[1]),
             'images_per_s': images / seconds})

    def _draw_first_batch(self, recorder: Recorder | None) -> None:
        if recorder:
            batch = next(iter(self.loader.epoch(0)))
            recorder.images('first_batch', 0, draw_batch(batch, self.config.data.classes))

    def _open_recorder(self) -> AbstractContextManager[Recorder | None]:
        if not self._world.is_main:
            return nullcontext()
        return closing(Recorder(self.folder.path, self.total_steps, self.state.step))

    @contextmanager
    def _save_on_interruption(self) -> Iterator[None]:
        """Save a run that can be resumed; the bar still lasts, its terminal may be gone."""
        try:
            yield
        except (Preempted, DataError):  # an unreadable image can be replaced
            self.save()
            raise

    @contextmanager
    def _final_status(self) -> Iterator[None]:
        """Write how the run ended and unlock its folder."""
        try:
            yield
            self._set_status('success')
        except Preempted as err:
            self._set_status('preempted', reason=str(err))
            raise
        except SystemExit:
            self._set_status('preempted', reason='stopped at once by a second signal; resume '
                             'from the last checkpoint with --resume')
            raise
        except BaseException as err:
            self._set_status('failed', reason=f'{err!r}')
            raise
        finally:
            self.folder.close()

    def _set_status(self, status: str, **facts: Any) -> None:
        if self._world.is_main:
            measured = self.state.best_map >= 0
            self.folder.set_status(
                status, step=self.state.step,
                best_map_50=self.state.best_map if measured else None, **facts)

    def _raise_when_preempted(self) -> None:
        if signum := self._world.largest(self._stop.signum):
            raise Preempted(signum)

    def evaluate(self) -> Evaluation:
        """
        Measure the averaged weights on the validation split, shared by the processes.

        Raises Preempted after SIGINT or SIGTERM.
        """
        backend = TorchBackend(
            DeployModel(self.learner.average.module, self.config.model),
            build_contract(self.config, None))
        indices = self._world.share(range(len(self._validation)))
        found = self._world.together(lambda: list(detect_all(
            backend, self._validation, self.config.evaluation.detection_settings(),
            self._until_signal, indices)))
        self._raise_when_preempted()
        return summarise(self._validation, self._world.gather(found))

    def _until_signal(self, items: Iterable[Any], _: int) -> Iterator[Any]:
        for item in items:
            yield item
            if self._stop.signum:  # --resume evaluates again
                return

    def save(self) -> None:
        """
        Write the checkpoint of this step.

        Raises NotFiniteError before writing, or CheckpointError, e.g. where the disk is full.
        """
        self._write(best_map=None)

    def _write(self, best_map: float | None) -> None:
        self.learner.check_weights()
        self._world.together(lambda: self._write_file(best_map))

    def _write_file(self, best_map: float | None) -> None:
        if self._checkpoints is None:
            return
        checkpoint = Checkpoint(
            config=self.config.to_yaml(), fingerprints=self.config.fingerprints(),
            class_names=self.config.data.classes, state=asdict(self.state),
            model=self.learner.network.state_dict(),
            averaged=self.learner.average.module.state_dict(), learner=self.learner.state(),
            random=random_state(), map_50=best_map, data=self.data.to_dict())
        if best_map is None:
            self._checkpoints.save(self.state.step, checkpoint.save)
        else:
            self._checkpoints.save_best(checkpoint.save)

    def _restore(self, checkpoint: Checkpoint) -> None:
        checkpoint.require_run(self.folder.last)
        if checkpoint.fingerprints != self.config.fingerprints():
            raise DataError(
                f'{self.folder.last}: fingerprints {checkpoint.fingerprints}, those of this '
                f'configuration are {self.config.fingerprints()}; it is of another run. Restore '
                'the checkpoint of this run, or start a run with model.weights')
        if checkpoint.data:  # one of an older version does not say
            before = DataRecord.from_dict(checkpoint.data)
            before.refuse_changes(self.data)
            self.data = replace(self.data, inherited=before.inherited)
        self.state = checkpoint.parsed_state()
        self.learner.restore(
            self.state.step, checkpoint.model, checkpoint.averaged, checkpoint.learner)
        restore_random_state(checkpoint.random)
