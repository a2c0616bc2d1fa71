"""The configuration of the training loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mbv2ssd_train.config.section import Section


class TrainingConfig(Section):
    """The training loop."""

    local_keys = frozenset({'threads', 'device', 'save_every', 'keep_checkpoints', 'log_every'})

    epochs: int = Field(60, ge=1, description='passes over the training images')
    batch_size: int = Field(
        16, ge=2, description='images in a step, over all processes')
    accumulate: int = Field(
        1, ge=1, description='parts of a batch whose gradients are accumulated, where a whole '
        'batch does not fit into memory')
    precision: Literal['auto', 'fp32', 'bf16', 'fp16'] = Field(
        'auto', description='auto: bf16 on a GPU from Ampere on and on a CPU with AVX512-bf16 or '
        'AMX, else fp32; fp16 is for older GPUs and scales the loss')
    device: str = Field(
        'auto', pattern=r'^(auto|cpu|cuda(:\d+)?)$', description='auto: a GPU if there is one')
    freeze_blocks: int = Field(0, ge=0, le=19, description='number of first features.* to freeze')
    freeze_bn: bool = Field(
        False, description='freeze the BatchNorm statistics of the backbone')
    sync_bn: bool = Field(
        False, description='BatchNorm over all processes, for few images in each')
    deterministic: bool = Field(
        True, description='same weights from the same seed; slower on a GPU')
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description='decay of the moving average, which is evaluated; 0 = off')
    threads: int = Field(0, ge=0, description='threads of PyTorch; 0 = all cores')
    eval_every: int = Field(5, ge=1, description='epochs between evaluations')
    patience: int = Field(
        0, ge=0, description='evaluations without a better mAP before the run stops; 0 = off')
    save_every: int = Field(500, ge=1, description='steps between checkpoints within an epoch')
    keep_checkpoints: int = Field(
        3, ge=1, description='newest checkpoints to keep in addition to the best')
    log_every: int = Field(50, ge=1, description='steps between lines of metrics.jsonl')
