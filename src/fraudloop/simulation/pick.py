"""Weighted choice within groups, for many draws at once. Plain arithmetic over arrays; it draws no numbers itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Picker:
    """Items sorted by group with their weights summed up: `draw` turns a uniform number into an item of a group.

    item: int64 [n]. upto: float64 [n + 1], sums of weights in that order. first: int64 [groups + 1].
    """

    item: Ints
    upto: Floats
    first: Ints

    @classmethod
    def of(cls, group: Ints, weight: Floats, groups: int, items: Ints | None = None) -> Picker:
        """group, weight: [n]; a group below 0 leaves its item out. items: what to give back (default 0..n-1)."""
        order = np.argsort(group, kind="stable")
        order = order[np.searchsorted(group[order], 0) :]
        first = np.searchsorted(group[order], np.arange(groups + 1))
        upto = np.concatenate([[0.0], np.cumsum(weight[order], dtype=np.float64)])
        return cls(order if items is None else items[order], upto, first)

    def has(self, group: Ints) -> NDArray[np.bool_]:
        """Whether the group has an item at all."""
        return self.first[group + 1] > self.first[group]

    def weight(self) -> Floats:
        """Sum of weights of each group."""
        return self.upto[self.first[1:]] - self.upto[self.first[:-1]]

    def draw(self, group: Ints, uniform: Floats) -> Ints:
        """An item for each (group, uniform in [0, 1)); every group must have one.

        >>> picker = Picker.of(np.array([0, 1, 1]), np.array([1.0, 1.0, 3.0]), 2)
        >>> picker.draw(np.array([0, 1, 1]), np.array([0.9, 0.2, 0.3])).tolist()
        [0, 1, 2]
        """
        first, after = self.first[group], self.first[group + 1]
        low = self.upto[first]
        at = np.searchsorted(self.upto, low + uniform * (self.upto[after] - low), side="right") - 1
        item: Ints = self.item[np.clip(at, first, after - 1)]
        return item


def largest_remainder(total: int, shares: Floats) -> Ints:
    """Whole numbers that sum to `total` and are nearest to its shares.

    >>> largest_remainder(10, np.array([0.5, 0.25, 0.25])).tolist()
    [5, 3, 2]
    """
    exact = total * shares / shares.sum()
    whole: Ints = np.floor(exact).astype(np.int64)
    left = total - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    return whole
