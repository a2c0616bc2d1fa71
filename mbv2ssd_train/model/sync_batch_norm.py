"""BatchNorm over the images of all processes; torch has it for GPUs only."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed, nn, Tensor


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is summed too."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _Sum.forward(ctx, grad)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d with the mean and variance of the whole batch, over all processes."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape; in eval mode as BatchNorm2d."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        ones = values.new_full((1,), values[:, 0].numel())
        sums = _Sum.apply(torch.cat([values.sum(dim=(0, 2, 3)), ones]))
        count = sums[-1]
        centred = values - (sums[:-1] / count)[:, None, None]
        variance = _Sum.apply(centred.square().sum(dim=(0, 2, 3))) / count
        self._remember((sums[:-1] / count).detach(), (variance * count / (count - 1)).detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        new = float(self.momentum or 0.0)
        self.running_mean.lerp_(mean, new)  # type: ignore[union-attr]
        self.running_var.lerp_(unbiased_variance, new)  # type: ignore[union-attr]
        self.num_batches_tracked.add_(1)  # type: ignore[union-attr]


def synchronise_batch_norm(network: nn.Module) -> None:
    """Turn every BatchNorm, in place, into one over all processes; weights and names stay."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d
