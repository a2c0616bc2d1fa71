"""Priors of a batch that a loss reads, as rows of a table."""

from __future__ import annotations

import torch
from torch import Tensor


def on_host(tensor: Tensor) -> bool:
    """Return whether values can be read without waiting for a device."""
    return tensor.device.type == 'cpu'


class Selection:
    """The selected priors of a (B, P) bool mask as K rows."""

    def __init__(self, wanted: Tensor) -> None:
        # On a GPU the rows are all priors: waiting for the number of selected ones costs more.
        # `chosen` marks the rows that count.
        self._shape = wanted.shape
        flat = wanted.flatten()
        self._few = on_host(wanted)
        self.rows = flat.nonzero()[:, 0] if self._few \
            else torch.arange(len(flat), device=wanted.device)  # (K,)
        self.chosen = flat[self.rows] if self._few else flat  # (K,) bool

    @property
    def images(self) -> Tensor:
        """(K,) image of each row."""
        return self.rows.div(self._shape[1], rounding_mode='floor')

    @property
    def priors(self) -> Tensor:
        """(K,) prior of each row."""
        return self.rows.remainder(self._shape[1])

    def of(self, values: Tensor, otherwise: Tensor | float = 0.0) -> Tensor:
        """Take the rows, (K) or (K, D), of (B, P) or (B, P, D); `otherwise` as in only()."""
        rows = values.flatten(0, 1)
        # no index where the rows are all: its gradient sorts them on a deterministic GPU
        return self.only(rows[self.rows] if self._few else rows, otherwise)

    def only(self, rows: Tensor, otherwise: Tensor | float = 0.0) -> Tensor:
        """Put `otherwise` into rows that do not count: nothing infinite, no gradient."""
        chosen = self.chosen if rows.dim() == 1 else self.chosen[:, None]
        return torch.where(chosen, rows, otherwise)

    def scatter(self, rows: Tensor) -> Tensor:
        """Put rows (K,), 0 where they do not count, back into (B, P) zeros."""
        if not self._few:
            return rows.view(self._shape)
        places = rows.new_zeros(self._shape.numel())
        return places.index_copy(0, self.rows, rows).view(self._shape)

    def image_sums(self, rows: Tensor) -> Tensor:
        """Sum rows (K,), 0 where they do not count, to (B,), always in the same order."""
        return self.scatter(rows).sum(dim=1)
