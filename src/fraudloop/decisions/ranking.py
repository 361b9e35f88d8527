"""The largest contributions of rows: by absolute size, then by the order that the columns are given in. One compiled kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit, plain


def rank(
    contributions: NDArray[np.float64], order: NDArray[np.int64], top: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """By row the places of the `top` largest contributions that are not 0, -1 where there are no more; the contributions there;
    the sum of all absolute contributions.

    contributions: float64 [n, columns]. order: the columns, those first that win a tie.

    >>> rank(np.array([[0.5, -2.0, 0.0, 0.5]]), np.arange(4), 3)
    (array([[1, 0, 3]]), array([[-2. ,  0.5,  0.5]]), array([3.]))
    """
    n = len(contributions)
    places, chosen, whole = np.empty((n, top), np.int64), np.empty((n, top)), np.empty(n)
    _rank(plain(contributions), order, places, chosen, whole)
    return places, chosen, whole


@njit
def _rank(
    contributions: NDArray[np.float64],
    order: NDArray[np.int64],
    places: NDArray[np.int64],
    chosen: NDArray[np.float64],
    whole: NDArray[np.float64],
) -> None:
    top = places.shape[1]
    for row in range(len(contributions)):
        found, total = 0, 0.0
        for at in range(len(order)):
            value = contributions[row, order[at]]
            size = abs(value)
            total += size
            if size == 0.0 or (found == top and (top == 0 or size <= abs(chosen[row, top - 1]))):
                continue
            place = min(found, top - 1)
            while place > 0 and size > abs(chosen[row, place - 1]):
                places[row, place], chosen[row, place] = places[row, place - 1], chosen[row, place - 1]
                place -= 1
            places[row, place], chosen[row, place] = order[at], value
            found = min(found + 1, top)
        whole[row] = total
        for place in range(found, top):
            places[row, place], chosen[row, place] = -1, 0.0


def warm() -> None:
    """Run the kernel once, so that its machine code is ready."""
    rank(np.zeros((1, 1)), np.zeros(1, np.int64), 1)
