"""The numbers of a micro-batch into the arrays of its events, by a kernel: `batch` takes them from rows one after another."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from fraudloop.compiled import njit
from fraudloop.door.events import MISSING
from fraudloop.limits import AMOUNT_MINOR_MAX


@njit
def spread(taken: Any, width: Any, numbers: Any, time_us: Any) -> Any:
    """`width` columns of numbers and one of times, one after another, into their arrays, MISSING beside them; -1, or the column of
    a number that is larger than an exact one may be: the squares of a full window of them fit 128 bits."""
    n = len(time_us)
    far = -1
    for j in range(width):
        for i in range(n):
            value = taken[j * n + i]
            if value > AMOUNT_MINOR_MAX or (value < -AMOUNT_MINOR_MAX and value != MISSING):
                far = j
            numbers[i, j] = value
    for i in range(n):
        for j in range(width, numbers.shape[1]):
            numbers[i, j] = MISSING
        time_us[i] = taken[width * n + i]
    return far


def warm() -> None:
    """Run every kernel once, in the shapes that are used."""
    spread(np.frombuffer(array("q", [1, 2]), np.int64), 1, np.empty((1, 2), np.int64), np.empty(1, np.int64))
