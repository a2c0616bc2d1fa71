"""Pair frames with annotations, by stamp or by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pairing:
    """Indices of two lists, paired one to one."""

    pairs: tuple[tuple[int, int], ...]  # by the first index
    unpaired_first: tuple[int, ...]
    unpaired_second: tuple[int, ...]

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int]], first: Sequence[int], second: Sequence[int]
           ) -> Pairing:
        """Find the indices that are in no pair."""
        paired, also_paired = {a for a, _ in pairs}, {b for _, b in pairs}
        return cls(tuple(pairs), tuple(i for i in first if i not in paired),
                   tuple(i for i in second if i not in also_paired))


def pair_by_stamp(first_ns: Sequence[int], second_ns: Sequence[int], tolerance_ns: int
                  ) -> Pairing:
    """
    Pair mutual nearest neighbours in time that differ by at most the tolerance.

    Stamps may be in any order. Equal stamps pair in their order: the first with the first.
    """
    pairs: list[tuple[int, int]] = []
    if first_ns and second_ns:
        first, second = _numbered(first_ns), _numbered(second_ns)
        to_second, to_first = _nearest(first, second), _nearest(second, first)
        pairs = [(index, other) for index, other in enumerate(to_second.tolist())
                 if to_first[other] == index
                 and abs(first_ns[index] - second_ns[other]) <= tolerance_ns]
    return Pairing.of(pairs, range(len(first_ns)), range(len(second_ns)))


def pair_by_index(first: Sequence[int], second: Sequence[int]) -> Pairing:
    """Pair equal numbers; each occurs once in either list."""
    place = {number: index for index, number in enumerate(second)}
    return Pairing.of([(index, place[number]) for index, number in enumerate(first)
                       if number in place], range(len(first)), range(len(second)))


def _numbered(stamps_ns: Sequence[int]) -> NDArray[np.int64]:
    """(N, 2): the stamp, and how many equal ones came before it."""
    seen: dict[int, int] = {}
    rows = []
    for stamp in stamps_ns:
        rows.append((stamp, seen.get(stamp, 0)))
        seen[stamp] = rows[-1][1] + 1
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def _nearest(of: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.intp]:
    """(N,) index of the nearest stamp; of equal stamps the one with the same count before it."""
    order = np.lexsort((among[:, 1], among[:, 0]))
    stamps = among[order]
    nearest = np.empty(len(of), np.intp)
    for index, (stamp, place) in enumerate(of.tolist()):
        left = int(np.searchsorted(stamps[:, 0], stamp, side='left'))
        if left > 0 and (left == len(stamps)
                         or stamp - stamps[left - 1, 0] <= stamps[left, 0] - stamp):
            left = int(np.searchsorted(stamps[:, 0], stamps[left - 1, 0], side='left'))
        equal = int(np.searchsorted(stamps[:, 0], stamps[left, 0], side='right')) - left
        nearest[index] = order[left + min(place, equal - 1)]
    return nearest
