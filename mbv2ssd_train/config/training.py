"""The loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mbv2ssd_train.config.section import Section


class TrainingConfig(Section):
    """The loop."""

    local_keys = frozenset({'threads', 'device', 'save_every', 'keep_checkpoints', 'log_every'})

    epochs: int = Field(60, ge=1, description='times that every image is seen')
    batch_size: int = Field(
        16, ge=2, description='images of a step, of all processes together')
    accumulate: int = Field(
        1, ge=1, description='parts of a batch that go through the network one after the other, '
        'where all at once do not fit into memory')
    precision: Literal['fp32', 'bf16', 'fp16'] = Field(
        'fp32', description='bf16 is faster on a CPU with AVX512-bf16 or AMX and on a GPU; fp16 '
        'is for older GPUs and scales the loss')
    device: str = Field(
        'auto', pattern=r'^(auto|cpu|cuda(:\d+)?)$', description='auto: a GPU where there is one')
    freeze_blocks: int = Field(0, ge=0, le=19, description='first features.* that do not learn')
    freeze_bn: bool = Field(
        False, description='BatchNorm of the backbone: its statistics stay as they are')
    sync_bn: bool = Field(
        False, description='BatchNorm over the images of all processes, for few images in each')
    deterministic: bool = Field(
        True, description='the same weights from the same seed, on a GPU too, where it is slower')
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description='of the averaged weights, which are evaluated; 0 = off')
    threads: int = Field(0, ge=0, description='of torch; 0 = all cores')
    eval_every: int = Field(5, ge=1, description='epochs between evaluations')
    patience: int = Field(
        0, ge=0, description='evaluations without a better mAP after which the run ends; 0 = off')
    save_every: int = Field(500, ge=1, description='steps between checkpoints within an epoch')
    keep_checkpoints: int = Field(
        3, ge=1, description='newest ones that are kept, beside the best')
    log_every: int = Field(50, ge=1, description='steps between lines of metrics.jsonl')
