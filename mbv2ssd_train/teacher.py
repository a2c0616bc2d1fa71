"""A trained network for distillation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn, Tensor
from typing_extensions import Self

from mbv2ssd_ros.core.errors import ConfigError, DataError, one_line
from mbv2ssd_train.config import ModelConfig, parse_model_section, TrainConfig
from mbv2ssd_train.deploy.contract import open_checkpoint
from mbv2ssd_train.deploy.open_model import CHECKPOINT_SUFFIXES
from mbv2ssd_train.model.cost import count_macs, count_parameters
from mbv2ssd_train.model.deploy import Normalisation
from mbv2ssd_train.model.fold import fold_batch_norm
from mbv2ssd_train.model.ssd import SSD
from mbv2ssd_train.run.checkpoint import load_checkpoint
from mbv2ssd_train.weights.files import read_exported_float32, short_hash


class Teacher(nn.Module):
    """A frozen network: always in eval mode, and not part of checkpoints."""

    def __init__(self, network: SSD, model: ModelConfig, classes: tuple[str, ...], path: Path
                 ) -> None:
        super().__init__()
        self.network = fold_batch_norm(network).requires_grad_(False)
        self.model, self.classes, self.path = model, classes, path
        self.file_hash = short_hash(path)
        self._normalise = Normalisation(model.mean, model.std)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever the argument."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return loc (B, P, 4) and conf_logits (B, P, C) of (B, H, W, 3) uint8 RGB images."""
        loc, conf_logits = self.network(self._normalise(images))
        return loc, conf_logits

    def describe(self, alone: bool) -> str:
        """Return file and size, to follow a description of the run."""
        macs = count_macs(self.network, self.model.input_size_hw)
        return (f'; taught by {self.path}{" alone" if alone else ""} '
                f'({count_parameters(self.network) / 1e6:.2f} M parameters, '
                f'{macs / 1e6:.0f} MMAC)')


def load_teacher(config: TrainConfig, device: torch.device) -> Teacher | None:
    """
    Load the teacher of a configuration, if there is one.

    Raises DataError where the file is not a float32 model of ours, ConfigError where classes,
    priors or input differ, ContractError where the contract is broken.
    """
    if config.distill.teacher is None:
        return None
    path = Path(config.distill.teacher)
    if not path.is_file():
        raise DataError(f'{path.absolute()}: no such teacher; set distill.teacher to a checkpoint '
                        '(.pt) or an exported model (.onnx), or to null to train without one')
    teacher = (_checkpoint if path.suffix in CHECKPOINT_SUFFIXES else _exported)(path)
    if differences := list(_differences(teacher, config)):
        raise ConfigError(f'distill.teacher {path} does not fit this network: '
                          f'{"; ".join(differences)}. These must be equal')
    return teacher.to(device, memory_format=torch.channels_last)


def _checkpoint(path: Path) -> Teacher:
    checkpoint = load_checkpoint(path)
    config = checkpoint.parsed_config()
    return Teacher(open_checkpoint(checkpoint).model.network, config.model, config.data.classes,
                   path)


def _exported(path: Path) -> Teacher:
    weights, contract = read_exported_float32(
        path, 'a teacher is a checkpoint (.pt) or a float32 file of `mbv2ssd_train export`')
    model = parse_model_section(contract.provenance.config, str(path))
    network = fold_batch_norm(
        SSD(model, len(contract.class_names), contract.background_index is None))
    try:
        network.load_state_dict(weights)
    except RuntimeError as err:
        raise DataError(f'{path}: its weights are not those of its configuration: '
                        f'{one_line(err)[:300]}') from err
    return Teacher(network, model, contract.object_names, path)


def _differences(teacher: Teacher, config: TrainConfig) -> Iterator[str]:
    """Yield each difference of what teacher and network predict."""
    theirs, ours = teacher.model, config.model
    for key in ('input_size_hw', 'resize_mode', 'variances'):
        if (found := getattr(theirs, key)) != (wanted := getattr(ours, key)):
            yield f'its model.{key} is {found}, that of the network {wanted}'
    sizes_hw = config.augment.input_sizes_hw or (ours.input_size_hw,)
    if any(theirs.prior_levels(size_hw) != ours.prior_levels(size_hw) for size_hw in sizes_hw):
        yield f'its prior boxes are {_priors(theirs)}, those of the network {_priors(ours)}'
    if teacher.classes != config.data.classes:
        yield (f'its classes are {", ".join(teacher.classes)}, those of the network '
               f'{", ".join(config.data.classes)}')
    if teacher.network.sigmoid != config.sigmoid_scores:
        names = {False: 'a softmax', True: 'a sigmoid'}
        yield (f'its scores are of {names[teacher.network.sigmoid]}, those of the network of '
               f'{names[config.sigmoid_scores]} (loss.classification)')


def _priors(model: ModelConfig) -> str:
    """Describe a layout by more than its number of boxes."""
    counts = ', '.join(str(level.count) for level in model.prior_levels())
    return f'({counts}; scales {list(model.scales)}, ratios {list(model.aspect_ratios)})'
