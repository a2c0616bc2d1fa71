"""Which precision the device computes fast."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
import time

import torch
from torch import nn

LOW_PRECISION = {'bf16': torch.bfloat16, 'fp16': torch.float16}
_IMAGES = 2
_SLOWER = 1.1  # than float32: emulated bfloat16 takes 30 times as long
_CPU_FLAGS = {'avx512_bf16', 'amx_bf16', 'bf16'}  # the last one is ARM's


def choose_precision(wanted: str, network: nn.Module, size_hw: tuple[int, int],
                     device: torch.device) -> tuple[str, str]:
    """
    Return the precision to train in, and a warning or ''.

    `auto` becomes bf16 where the device has instructions for it and a CPU is not slower with them,
    else fp32. A precision that was asked for is kept; the warning says that it is slow on this
    CPU. The network and the random state stay as they are.
    """
    if wanted == 'auto':
        if not has_bf16(device):
            return 'fp32', ''
        if device.type == 'cpu' and _slow(network, size_hw, 'bf16'):
            return 'fp32', ''
        return 'bf16', ''
    slow = _slow(network, size_hw, wanted) if wanted != 'fp32' and device.type == 'cpu' else ''
    return wanted, slow and (f'training.precision={wanted} is slow on this processor: {slow}; '
                             'auto or fp32 is faster')


def has_bf16(device: torch.device, cpuinfo: Path = Path('/proc/cpuinfo')) -> bool:
    """Return whether a GPU (Ampere or later) or the CPU has instructions for bfloat16."""
    if device.type == 'cuda':
        return torch.cuda.get_device_capability(device) >= (8, 0)
    try:
        lines = cpuinfo.read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError:  # not Linux
        return False
    flags = next((line for line in lines if line.lower().startswith(('flags', 'features'))), '')
    return not _CPU_FLAGS.isdisjoint(flags.split())


def _slow(network: nn.Module, size_hw: tuple[int, int], precision: str) -> str:
    """Return both speeds where a step on the CPU takes longer than in float32, else ''."""
    full_s, low_s = (step_seconds(network, size_hw, name) for name in ('fp32', precision))
    if low_s <= _SLOWER * full_s:
        return ''
    return (f'{_IMAGES / low_s:.1f} images/s, in float32 {_IMAGES / full_s:.1f} (forward and '
            f'backward, {_IMAGES} images)')


def step_seconds(network: nn.Module, size_hw: tuple[int, int], precision: str) -> float:
    """Time forward and backward of a copy of the network on the CPU; the second of two."""
    copy, low = deepcopy(network).train(), LOW_PRECISION.get(precision)
    images = torch.zeros((_IMAGES, 3, *size_hw)).to(memory_format=torch.channels_last)
    for _ in range(2):
        started = time.perf_counter()
        with torch.autocast('cpu', low, enabled=low is not None):
            outputs = copy(images)
        torch.stack([output.float().sum() for output in outputs]).sum().backward()
        seconds = time.perf_counter() - started
    return seconds
