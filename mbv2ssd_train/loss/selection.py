"""Priors of a batch that a loss looks at, as rows of a table."""

from __future__ import annotations

import torch
from torch import Tensor


def on_host(tensor: Tensor) -> bool:
    """Whether values can be looked at without waiting for a device."""
    return tensor.device.type == 'cpu'


class Selection:
    """
    A few priors of many.

    On a CPU the rows are the priors that are asked for. Elsewhere they are all priors: how many
    are asked for is known on the device only, and to wait for it would cost more. Then `chosen`
    says which rows count.
    """

    def __init__(self, wanted: Tensor) -> None:
        """
        Select priors.

        Args:
            wanted: (B, P) bool.
        """
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
        """
        Take the rows of what there is for each prior.

        Args:
            values: (B, P) or (B, P, D).
            otherwise: harmless value for rows that do not count, so that nothing infinite comes
                of them; no gradient leaves them.

        Returns:
            (K,) or (K, D).
        """
        rows = values.flatten(0, 1)
        # not by index where these are all: its gradient would sort them on a deterministic GPU
        return self.only(rows[self.rows] if self._few else rows, otherwise)

    def only(self, rows: Tensor, otherwise: Tensor | float = 0.0) -> Tensor:
        """
        Put a harmless value into rows that do not count.

        Args:
            rows: (K,) or (K, D).
            otherwise: the value.

        Returns:
            As rows.
        """
        chosen = self.chosen if rows.dim() == 1 else self.chosen[:, None]
        return torch.where(chosen, rows, otherwise)

    def scatter(self, rows: Tensor) -> Tensor:
        """
        Put rows back in their places.

        Args:
            rows: (K,), 0 where they do not count.

        Returns:
            (B, P), 0 elsewhere.
        """
        if not self._few:
            return rows.view(self._shape)
        places = rows.new_zeros(self._shape.numel())
        return places.index_copy(0, self.rows, rows).view(self._shape)

    def image_sums(self, rows: Tensor) -> Tensor:
        """
        Add up the rows of each image, in the same order every time.

        Args:
            rows: (K,), 0 where they do not count.

        Returns:
            (B,).
        """
        return self.scatter(rows).sum(dim=1)
