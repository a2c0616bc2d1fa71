"""Parameter groups, the learning-rate schedule, and the average of the weights."""

from __future__ import annotations

from collections.abc import Sequence
import math

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from mbv2ssd_train.config import OptimizerConfig, ScheduleConfig
from mbv2ssd_train.model.ssd import SSD


def build_optimizer(model: SSD, config: OptimizerConfig) -> torch.optim.Optimizer:
    """
    Give backbone and heads their own learning rates, and vectors no weight decay.

    At the rate of the heads, pretrained layers forget: 26 against 2 mAP after three epochs. A
    factor in the gradient would do nothing under AdamW, hence groups; `peak_lr` keeps their full
    rate.
    """
    groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # one number for each channel is a vector, whatever its shape
            key = (name.startswith('backbone.'), parameter.numel() > len(parameter))
            groups.setdefault(key, []).append(parameter)
    settings = []
    for (in_backbone, is_matrix), parameters in sorted(groups.items()):
        rate = config.learning_rate * (config.backbone_factor if in_backbone else 1.0)
        settings.append({'params': parameters, 'lr': rate, 'peak_lr': rate,
                         'weight_decay': config.weight_decay if is_matrix else 0.0})
    if config.name == 'adamw':
        return torch.optim.AdamW(settings, betas=(config.momentum, 0.99), fused=True)
    return torch.optim.SGD(settings, lr=config.learning_rate, momentum=config.momentum,
                           nesterov=config.momentum > 0, fused=True)


def schedule_factor(step: int, total_steps: int, config: ScheduleConfig) -> float:
    """Return the share in [0, 1] of the full rate for a 0-based step: warm-up, then down."""
    warmup = round(total_steps * config.warmup_fraction)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.name == 'cosine':
        progress = (step - warmup) / max(total_steps - warmup, 1)
        share = 0.5 * (1 + math.cos(math.pi * progress))
        return config.final_factor + (1 - config.final_factor) * share
    if config.name == 'multistep':
        drops = sum(step >= round(total_steps * share) for share in config.milestones)
    elif config.name == 'step':
        drops = step // max(round(total_steps * config.step_fraction), 1)
    else:
        drops = 0
    return float(config.drop ** drops)


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Apply a factor of the schedule to all groups."""
    for group in optimizer.param_groups:
        group['lr'] = group['peak_lr'] * factor


def average_weights(model: SSD, decay: float) -> AveragedModel:
    """
    Start an exponential moving average of weights and BatchNorm statistics.

    The first step is copied; then the decay grows from 2/11 to its full value, so that the random
    start is forgotten; 0 copies the newest weights. Call update_parameters(model) after every
    step.
    """
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], _: Tensor) -> None:
        made = int(average.n_averaged)  # in main memory; the argument is on the device
        if averages[0].is_floating_point():  # as all others: torch groups them by type
            new = 1 - min(decay, (1 + made) / (10 + made))
            torch._foreach_lerp_(averages, values, new)  # a few kernels on a GPU, not hundreds
        else:  # BatchNorm's batch counter
            torch._foreach_copy_(averages, values)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average
