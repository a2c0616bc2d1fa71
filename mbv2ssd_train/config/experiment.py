"""A whole experiment and its two fingerprints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
import yaml

from mbv2ssd_train.config.augment import AugmentConfig
from mbv2ssd_train.config.data import DataConfig
from mbv2ssd_train.config.distill import DistillConfig
from mbv2ssd_train.config.evaluation import EvaluationConfig
from mbv2ssd_train.config.loss import LossConfig
from mbv2ssd_train.config.match import MatchConfig
from mbv2ssd_train.config.model import ModelConfig
from mbv2ssd_train.config.optimizer import OptimizerConfig
from mbv2ssd_train.config.quantize import QuantizeConfig
from mbv2ssd_train.config.schedule import ScheduleConfig
from mbv2ssd_train.config.section import Section
from mbv2ssd_train.config.training import TrainingConfig


class ExperimentConfig(Section):
    """Notes for people; no result depends on them."""

    description: str = Field('', description='what the experiment tries, and why')
    author: str = Field('', description='person to ask about it')
    created: str = Field('', description='date of creation')
    tags: tuple[str, ...] = Field((), description='tags for `runs --tag`')


class TrainConfig(Section):
    """A whole experiment."""

    name: str = Field(
        pattern=r'^[A-Za-z0-9][A-Za-z0-9._-]*$', description='name of the run folder')
    seed: int = Field(1, ge=0, description='seed of weights, order and augmentation')
    experiment: ExperimentConfig = ExperimentConfig()
    data: DataConfig
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    match: MatchConfig = MatchConfig()
    loss: LossConfig = LossConfig()
    distill: DistillConfig = DistillConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    quantize: QuantizeConfig = QuantizeConfig()

    @model_validator(mode='after')
    def _quantized_from_a_model(self) -> TrainConfig:
        if not self.has_fake_quantization:
            return self
        key = 'quantize.ranges_from' if self.is_quantization_aware else 'quantize.weights_only'
        if not self.model.weights:
            raise ValueError(f'{key} is set but not model.weights: name the trained model that '
                             'is to be quantised')
        if self.training.precision not in ('auto', 'fp32'):
            raise ValueError(f'training.precision is {self.training.precision}; with {key} it '
                             'must be fp32')
        if self.training.freeze_bn or self.training.sync_bn:
            raise ValueError('training.freeze_bn and training.sync_bn have no effect with '
                             f'{key}, which folds every BatchNorm')
        return self

    @property
    def is_quantization_aware(self) -> bool:
        """Whether maps and weights are fake-quantized, and the export is an INT8 file."""
        return self.quantize.ranges_from is not None

    @property
    def has_fake_quantization(self) -> bool:
        """Whether it trains with fake-quantized weights and folded BatchNorms."""
        return self.is_quantization_aware or self.quantize.weights_only

    @property
    def sigmoid_scores(self) -> bool:
        """Whether each class has its own sigmoid; otherwise all share a softmax."""
        return self.loss.classification != 'cross_entropy'

    @property
    def score_columns(self) -> int:
        """Columns of the class predictions; a softmax has one for the background."""
        return len(self.data.classes) + (0 if self.sigmoid_scores else 1)

    def to_yaml(self) -> str:
        """Write every key with its value, defaults included."""
        return yaml.safe_dump(self.model_dump(mode='json'), sort_keys=False, width=99)

    def to_explained_yaml(self) -> str:
        """Write what to_yaml writes, with the meaning of every key as a comment."""
        lines: list[str] = []
        for key, value in self.model_dump(mode='json').items():
            section = getattr(self, key)
            if isinstance(section, Section):
                lines.append(f'{key}:  # {" ".join((section.__doc__ or "").split())}')
                lines += [f'  {_explained(section, name, item)}' for name, item in value.items()]
            else:
                lines.append(_explained(self, key, value))
        return '\n'.join(lines) + '\n'

    def fingerprints(self) -> dict[str, str]:
        """Return both fingerprints as files store them."""
        return {'arch': self.arch_fingerprint(), 'recipe': self.recipe_fingerprint()}

    def arch_fingerprint(self) -> str:
        """Hash what decides whether weights can be loaded; the same on every machine."""
        return _fingerprint({**self.model.shape_of_weights(),
                             'score_columns': self.score_columns,
                             'sigmoid_scores': self.sigmoid_scores})

    def recipe_fingerprint(self) -> str:
        """
        Hash all that the result depends on, without the folders of files.

        Defaults are left out, so that a new key changes no fingerprint.
        """
        found: dict[str, Any] = {}
        for key, value in self.model_dump(
                mode='json', exclude={'experiment'}, exclude_defaults=True).items():
            section = getattr(self, key)
            found[key] = _without_places(section, value) if isinstance(section, Section) else value
        # fp32 was the default once: what began then keeps its fingerprint
        precision = found.get('training', {}).pop('precision', 'auto')
        if precision != 'fp32':
            found.setdefault('training', {})['precision'] = precision
        return _fingerprint({key: value for key, value in found.items() if value != {}})


def _without_places(section: Section, values: dict[str, Any]) -> dict[str, Any]:
    return {key: Path(value).name if value and key in section.path_keys else value
            for key, value in values.items() if key not in section.local_keys}


def _explained(section: Section, key: str, value: Any) -> str:
    # dump a list of one item: YAML ends a single value with a document mark
    text = yaml.safe_dump([value], default_flow_style=True, width=float('inf')).strip()[1:-1]
    return f'{key}: {text}  # {type(section).model_fields[key].description}'


def _fingerprint(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
