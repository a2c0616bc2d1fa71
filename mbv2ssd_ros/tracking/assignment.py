"""Which detection belongs to which track: the pairs with the largest sum of overlaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pairs = list[tuple[int, int]]


def assign(gain: NDArray[np.float64], least: float) -> Pairs:
    """
    Pair rows and columns of (N, M) gains above `least`, the sum of gains as large as can be.

    Most rows and columns have one candidate each and are paired at once; what competes is solved
    by shortest augmenting paths (Jonker and Volgenant, Computing 38, 1987).
    """
    possible = gain > least
    if not possible.any():
        return []
    single = possible & (possible.sum(1) == 1)[:, None] & (possible.sum(0) == 1)
    pairs: Pairs = list(zip(*(found.tolist() for found in single.nonzero())))
    rest = possible & ~single
    if rest.any():
        rows, columns = np.flatnonzero(rest.any(1)), np.flatnonzero(rest.any(0))
        some = np.where(rest, gain, 0.0)[np.ix_(rows, columns)]
        pairs += [(int(rows[row]), int(columns[column])) for row, column in _best(some)
                  if rest[rows[row], columns[column]]]
    return pairs


def _best(gain: NDArray[np.float64]) -> Pairs:
    """Return the pairs of the largest sum; every row of the smaller side gets one."""
    if gain.shape[0] > gain.shape[1]:
        return [(row, column) for column, row in _best(gain.T)]
    cost = (gain.max() - gain).tolist()
    height, width = gain.shape
    free = height  # mark of a column without a row
    row_price, column_price = [0.0] * (height + 1), [0.0] * (width + 1)
    row_of = [free] * (width + 1)  # the last column is where each path starts
    for row in range(height):
        row_of[width], column = row, width
        shortest, before = [float('inf')] * width, [width] * width
        unseen = set(range(width))
        while row_of[column] != free:
            current = row_of[column]
            for other in unseen:
                length = cost[current][other] - row_price[current] - column_price[other]
                if length < shortest[other]:
                    shortest[other], before[other] = length, column
            nearest = min(unseen, key=shortest.__getitem__)
            step = shortest[nearest]
            for seen in (*(set(range(width)) - unseen), width):
                row_price[row_of[seen]] += step
                column_price[seen] -= step
            for other in unseen:
                shortest[other] -= step
            unseen.discard(nearest)
            column = nearest
        while column != width:
            row_of[column] = row_of[before[column]]
            column = before[column]
    return [(row, column) for column, row in enumerate(row_of[:width]) if row != free]
