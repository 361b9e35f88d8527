"""Which ids were seen, and at which LSN: an open table of 64-bit fingerprints, 16 bytes a row, in memory.

A fingerprint is half of a keyed hash. Two ids may share one (among a billion ids, one new id in twenty billion meets another's), so
a hit is a place to look, not a proof: the caller compares the record there. It knows no log.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit

Ints = NDArray[np.int64]

#: Rows that are in use at most: three of four.
_FULL_OF_FOUR = 3
_ROWS_MIN = 1 << 12


class Known:
    """Fingerprint -> LSN, the newest LSN of a fingerprint.

    >>> known = Known()
    >>> known.put(np.array([7, 8]), np.array([0, 1]))
    >>> known.get(np.array([8, 9])).tolist()
    [1, -1]
    """

    def __init__(self) -> None:
        self._rows = np.zeros((_ROWS_MIN, 2), np.int64)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def get(self, fingerprints: Ints) -> Ints:
        """The LSN of each, int64 [n]; -1 where it was not seen."""
        out = np.empty(len(fingerprints), np.int64)
        _get(self._rows, fingerprints, out)
        return out

    def put(self, fingerprints: Ints, lsns: Ints) -> None:
        """Note each with its LSN, in place of an earlier one."""
        need = self._used + len(fingerprints)
        rows = len(self._rows)
        while need * 4 > rows * _FULL_OF_FOUR:
            rows *= 2
        if rows > len(self._rows):
            larger = np.zeros((rows, 2), np.int64)
            _move(self._rows, larger)
            self._rows = larger
        self._used += int(_put(self._rows, fingerprints, lsns))

    def drop_before(self, lsn: int) -> None:
        """Forget what is older than an LSN, as retention removes it."""
        kept = self._rows[self._rows[:, 1] > lsn]
        self._rows, self._used = np.zeros((_ROWS_MIN, 2), np.int64), 0
        self.put(np.ascontiguousarray(kept[:, 0]), kept[:, 1] - 1)

    def drop_from(self, lsn: int) -> None:
        """Forget an LSN and all behind it: what was noted of a log that has lost its end."""
        kept = self._rows[(self._rows[:, 1] != 0) & (self._rows[:, 1] <= lsn)]
        self._rows, self._used = np.zeros((_ROWS_MIN, 2), np.int64), 0
        self.put(np.ascontiguousarray(kept[:, 0]), kept[:, 1] - 1)

    def rows(self) -> Ints:
        """What is in use, int64 [n, 2] of fingerprint and LSN."""
        used: Ints = self._rows[self._rows[:, 1] != 0]
        used[:, 1] -= 1
        return used


@njit
def _get(rows: Any, fingerprints: Any, out: Any) -> None:
    mask = len(rows) - 1
    for i in range(len(fingerprints)):
        x = fingerprints[i]
        at = x & mask
        while rows[at, 1] != 0 and rows[at, 0] != x:
            at = (at + 1) & mask
        out[i] = rows[at, 1] - 1


@njit
def _put(rows: Any, fingerprints: Any, lsns: Any) -> Any:
    mask = len(rows) - 1
    new = 0
    for i in range(len(fingerprints)):
        x = fingerprints[i]
        at = x & mask
        while rows[at, 1] != 0 and rows[at, 0] != x:
            at = (at + 1) & mask
        if rows[at, 1] == 0:
            new += 1
        rows[at, 0] = x
        rows[at, 1] = lsns[i] + 1
    return new


@njit
def _move(rows: Any, larger: Any) -> None:
    mask = len(larger) - 1
    for i in range(len(rows)):
        if rows[i, 1] != 0:
            at = rows[i, 0] & mask
            while larger[at, 1] != 0:
                at = (at + 1) & mask
            larger[at, 0] = rows[i, 0]
            larger[at, 1] = rows[i, 1]


def warm() -> None:
    """Run every kernel once."""
    known = Known()
    one = np.ones(1, np.int64)
    known.put(one, one)
    _move(known._rows, np.zeros((2 * _ROWS_MIN, 2), np.int64))
    known.get(one)
