"""Checks before a run: the data, and batches large enough for BatchNorm."""

from __future__ import annotations

from mbv2ssd_ros.core.errors import ConfigError, DataError
from mbv2ssd_train.config import TrainConfig
from mbv2ssd_train.data.dataset import Dataset, refuse_overlap
from mbv2ssd_train.data.sources.open import open_dataset


def open_datasets(config: TrainConfig) -> tuple[list[Dataset], Dataset]:
    """
    Open the training sets and the validation set.

    Raises DataError where they are missing, wrong or share an image.
    """
    data = config.data
    train = [open_dataset(data.root, split, data.classes, data.keep == 'memory')
             for split in data.train]
    validation = open_dataset(data.root, data.val, data.classes, data.keep != 'none')
    refuse_overlap(train, validation)
    if not any((~record.difficult).any() for dataset in train for record in dataset.records):
        raise DataError(f'{data.root}: no object in {", ".join(data.train)} that is not '
                        'difficult; nothing to train on')
    if sum(len(dataset) for dataset in train) < 2:
        raise DataError(f'{data.root}: one image in {", ".join(data.train)}; BatchNorm needs two')
    if not any((~record.difficult).any() for record in validation.records):
        raise DataError(f'{data.root}: no object in {data.val} that is not difficult, so that no '
                        'mAP can be measured there; choose another data.val')
    return train, validation


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
