"""
The training configuration: one YAML file, every key typed, unknown keys refused.

`mbv2ssd_train train CONFIG --print-config` prints every key with its value and meaning. Sizes are
pixels, fractions are of 1, learning rates are for the batch size of the same file.
"""

from mbv2ssd_train.config.augment import AugmentConfig
from mbv2ssd_train.config.data import DataConfig, VOC_CLASSES
from mbv2ssd_train.config.distill import DistillConfig
from mbv2ssd_train.config.evaluation import EvaluationConfig
from mbv2ssd_train.config.experiment import ExperimentConfig, TrainConfig
from mbv2ssd_train.config.loading import (
    load_config,
    parse_config,
    parse_data_section,
    parse_model_section,
)
from mbv2ssd_train.config.loss import LossConfig
from mbv2ssd_train.config.match import MatchConfig
from mbv2ssd_train.config.model import ModelConfig
from mbv2ssd_train.config.optimizer import OptimizerConfig
from mbv2ssd_train.config.quantize import QuantizeConfig
from mbv2ssd_train.config.schedule import ScheduleConfig
from mbv2ssd_train.config.training import TrainingConfig

__all__ = [
    'AugmentConfig', 'DataConfig', 'DistillConfig', 'EvaluationConfig', 'ExperimentConfig',
    'load_config', 'LossConfig', 'MatchConfig', 'ModelConfig', 'OptimizerConfig', 'parse_config',
    'parse_data_section', 'parse_model_section', 'QuantizeConfig', 'ScheduleConfig',
    'TrainConfig', 'TrainingConfig', 'VOC_CLASSES']
