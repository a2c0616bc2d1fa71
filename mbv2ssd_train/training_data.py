"""Checks before a run: the data, and batches large enough for BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.dataset import Dataset, refuse_overlap
from mbv2ssd_train.data.identity import (
    hash_annotations,
    identify,
    Learnt,
    names_of,
    no_images,
)
from mbv2ssd_train.data.sources.open import open_dataset
from mbv2ssd_train.deploy.open_model import read_learnt
from mbv2ssd_train.process.progress import with_progress
from mbv2ssd_train.run.data_record import DataRecord
from mbv2ssd_train.weights.files import find_weights


def open_datasets(config: TrainConfig) -> tuple[list[Dataset], Dataset]:
    """
    Open the training sets and the validation set.

    Raises DataError where they, or the test set, are missing, wrong or share an image.
    """
    data = config.data
    train = [open_dataset(data.root, split, data.classes, data.keep == 'memory')
             for split in data.train]
    validation = open_dataset(data.root, data.val, data.classes, data.keep != 'none')
    refuse_overlap(train, validation)
    if data.test:
        refuse_overlap([*train, validation], open_dataset(data.root, data.test, data.classes))
    refuse_without_objects(config, train, validation)
    _refuse_small_objects(train, config)
    return train, validation


def compare_data(config: TrainConfig, train: list[Dataset], validation: Dataset,
                 inherited: Learnt | None) -> tuple[DataRecord, list[bool], str]:
    """
    Identify all images, and choose those to measure on: no copies of training images.

    inherited is what the first weights learnt from, None for those of a run that is resumed.
    Returns the record, whether each validation image is measured, and a note or ''. Raises
    DataError where none is left or the first weights learnt from one.
    """
    seen = [identify(dataset, with_progress(f'identify the images of {dataset.name}'))
            for dataset in (*train, validation)]
    learnt, measured = Learnt(np.concatenate(seen[:-1])), seen[-1]
    same, alike = learnt.same(measured), learnt.alike(measured)
    total, notes = len(validation), []
    if same.all():
        raise DataError(f'{config.data.root}: every image of {validation.name} is a copy of one '
                        'in the training data; choose another data.val')
    if same.any():
        notes.append(f'{same.sum()} of {total} images of {validation.name} are copies of training '
                     f'images and not measured: {names_of(validation, same)}')
    if alike.any():
        notes.append(f'{alike.sum()} of {total} images of {validation.name} look like training '
                     f'images: {names_of(validation, alike)}')
    if inherited and (found := inherited.same(measured) & ~same).any():
        raise DataError(
            f'{config.model.weights or config.model.backbone_weights}: learnt from {found.sum()} '
            f'of the {total} images of {validation.name}: {names_of(validation, found)}; mAP '
            'measured there would be worthless. Choose another data.val or model.weights')
    record = DataRecord(learnt, Learnt(measured), inherited or Learnt(no_images()),
                        hash_annotations([*train, validation]))
    return record, (~same).tolist(), '; '.join(notes)


def read_inherited(config: TrainConfig) -> Learnt:
    """Return what the weights that a configuration starts with learnt from."""
    path = find_weights(config.model.weights or config.model.backbone_weights or '')
    is_detector = config.model.weights or path.suffix == '.onnx'  # not a classifier's backbone
    if not is_detector or not path.is_file():  # load_start refuses a missing file
        return Learnt(no_images())
    return read_learnt(path) or Learnt(no_images(), (path.name,))


def refuse_without_objects(config: TrainConfig, train: list[Dataset], validation: Dataset
                           ) -> None:
    """Raise DataError where nothing can be learnt or measured."""
    data = config.data
    if not any((~record.difficult).any() for dataset in train for record in dataset.records):
        raise DataError(f'{data.root}: no object in {", ".join(data.train)} that is not '
                        'difficult; nothing to train on')
    if sum(len(dataset) for dataset in train) < 2:
        raise DataError(f'{data.root}: one image in {", ".join(data.train)}; BatchNorm needs two')
    if not any((~record.difficult).any() for record in validation.records):
        raise DataError(f'{data.root}: no object in {data.val} that is not difficult, so that no '
                        'mAP can be measured there; choose another data.val')


def _refuse_small_objects(train: Sequence[Dataset], config: TrainConfig) -> None:
    """Raise DataError where every object is dropped for its size."""
    height, width = config.model.input_size_hw
    boxes = np.concatenate([record.boxes_xyxy for data in train for record in data.records])
    largest = float((np.diff(boxes.reshape(-1, 2, 2), axis=1) * (width, height)).min(2).max())
    if largest < config.augment.min_box_px:
        raise DataError(
            f'{config.data.root}: every object in {", ".join(config.data.train)} has a side below '
            f'augment.min_box_px, {config.augment.min_box_px:g} pixels of {width} x {height}, the '
            f'largest {largest:.2g}; enlarge model.input_size_hw, or cut the images into tiles')


def refuse_single_images(config: TrainConfig, images: int, processes: int) -> None:
    """Raise ConfigError where BatchNorm would get one image on a map of one cell."""
    training, model = config.training, config.model
    share = min(training.batch_size, images) // processes
    seen_at_once = share // min(training.accumulate, share)
    if training.sync_bn:
        seen_at_once *= processes
    sizes = config.augment.input_sizes_hw or (model.input_size_hw,)
    one_cell = any(model.prior_levels(size_hw)[-1].feature_size_hw == (1, 1) for size_hw in sizes)
    normalised = model.has_batch_norm and not config.has_fake_quantization
    if seen_at_once < 2 and one_cell and normalised:
        raise ConfigError(
            f'training.batch_size {training.batch_size}, shared by {processes} processes and '
            f'split into {training.accumulate} parts (training.accumulate), leaves one image in a '
            'part: its last map has one cell, and BatchNorm needs two values. Choose a larger '
            'batch, fewer parts, or training.sync_bn with several processes')
