"""Which ids were seen, and at which LSN: an open table of 64-bit fingerprints, 16 bytes a row, in memory.

A fingerprint is half of a keyed hash. Two ids may share one (among a billion ids, one new id in twenty billion meets another's), so
a hit is a place to look, not a proof: the caller compares the record there. It knows no log.

A table that is full goes over into one of twice its rows little by little, some rows with each id that is noted: at once it would stop
every payment for as long as the table is large.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit

Ints = NDArray[np.int64]

#: Rows that are in use at most: three of four.
_FULL_OF_FOUR = 3
_ROWS_MIN = 1 << 12

#: Rows in use when the next table is made, where somebody lays it out meanwhile: five of eight.
_NEXT_OF_EIGHT = 5

#: From how many bytes on a table is mapped by itself.
_MAPPED_BYTES: Final = 1 << 21

#: Rows that go over for each id that is noted. A table of R rows is over after R / 8 ids, when its successor is at most 7/16 full.
_GO_OVER = 8


class Known:
    """Fingerprint -> LSN, the newest LSN of a fingerprint.

    >>> known = Known()
    >>> known.put(np.array([7, 8]), np.array([0, 1]))
    >>> known.get(np.array([8, 9])).tolist()
    [1, -1]
    """

    def __init__(self) -> None:
        self._rows = _table(_ROWS_MIN)
        self._used = 0
        #: The table before, while it goes over: rows below `_over` are in the new one; what stands in both, the new one knows.
        self._old = self._rows[:0]
        self._over = 0
        #: The table after this one, where it is there already.
        self._next = self._rows[:0]
        self._ahead: Callable[[int, int], None] | None = None

    def look_ahead(self, ahead: Callable[[int, int], None]) -> None:
        """Have the next table laid out before it is written: each id that goes over would wait for a page of its own. ahead: told an address
        and bytes, as by `Fold.look_ahead`."""
        self._ahead = ahead

    def __len__(self) -> int:
        return len(self.rows())

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes + self._old.nbytes + self._next.nbytes

    def get(self, fingerprints: Ints) -> Ints:
        """The LSN of each, int64 [n]; -1 where it was not seen."""
        out = np.empty(len(fingerprints), np.int64)
        _get(self._rows, self._old, fingerprints, out)
        return out

    def put(self, fingerprints: Ints, lsns: Ints) -> None:
        """Note each with its LSN, in place of an earlier one."""
        n = len(fingerprints)
        if len(self._old):
            self._go_over(_GO_OVER * n)
        rows = len(self._rows)
        if (self._used + n) * 4 > rows * _FULL_OF_FOUR:
            self._go_over(len(self._old))  # a great many at once: what is left of the one before
            while (self._used + n) * 4 > rows * _FULL_OF_FOUR:
                rows *= 2
            self._old, self._over = self._rows, 0
            self._rows, self._used = self._next if len(self._next) == rows else _table(rows), 0
            self._next = self._rows[:0]
            self._go_over(_GO_OVER * n)
        self._used += int(_put(self._rows, fingerprints, lsns))
        if self._ahead is not None and not len(self._next) and self._used * 8 > len(self._rows) * _NEXT_OF_EIGHT:
            self._next = _table(2 * len(self._rows))
            self._ahead(self._next.ctypes.data, self._next.nbytes)

    def _go_over(self, most: int) -> None:
        """Take so many rows of the table before into the new one."""
        if not len(self._old):
            return
        end = min(len(self._old), self._over + most)
        self._used += int(_move(self._old, self._over, end, self._rows))
        self._over = end
        if end == len(self._old):
            self._old, self._over = self._rows[:0], 0

    def drop_before(self, lsn: int) -> None:
        """Forget what is older than an LSN, as retention removes it."""
        kept = self.rows()
        self._begin(kept[kept[:, 1] >= lsn])

    def drop_from(self, lsn: int) -> None:
        """Forget an LSN and all behind it: what was noted of a log that has lost its end."""
        kept = self.rows()
        self._begin(kept[kept[:, 1] < lsn])

    def _begin(self, kept: Ints) -> None:
        self._rows, self._used = _table(_ROWS_MIN), 0
        self._old, self._over, self._next = self._rows[:0], 0, self._rows[:0]
        self.put(np.ascontiguousarray(kept[:, 0]), np.ascontiguousarray(kept[:, 1]))

    def rows(self) -> Ints:
        """What is in use, int64 [n, 2] of fingerprint and LSN."""
        rows, used = self._rows, self._used
        if len(self._old):
            rows = rows.copy()
            used += int(_move(self._old, self._over, len(self._old), rows))
        out: Ints = rows[rows[:, 1] != 0]
        assert len(out) == used, "rows are counted as they are noted"
        out[:, 1] -= 1
        return out


def _table(rows: int) -> Ints:
    """Rows of zeros. Of a large table in small pages: a payment that is the first in a large one would wait until all of that is cleared."""
    if rows * 16 < _MAPPED_BYTES:
        return np.zeros((rows, 2), np.int64)
    memory = mmap.mmap(-1, rows * 16, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # of a kernel that has no large pages
            memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, np.int64).reshape(rows, 2)


@njit
def _get(rows: Any, old: Any, fingerprints: Any, out: Any) -> None:
    mask, old_mask = len(rows) - 1, len(old) - 1
    for i in range(len(fingerprints)):
        x = fingerprints[i]
        at = x & mask
        while rows[at, 1] != 0 and rows[at, 0] != x:
            at = (at + 1) & mask
        found = rows[at, 1]
        if found == 0 and old_mask > 0:
            at = x & old_mask
            while old[at, 1] != 0 and old[at, 0] != x:
                at = (at + 1) & old_mask
            found = old[at, 1]
        out[i] = found - 1


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
def _move(old: Any, begin: int, end: int, rows: Any) -> Any:
    """Take the rows of a table from `begin` to before `end` into another, but those that it knows; how many were taken."""
    mask = len(rows) - 1
    new = 0
    for i in range(begin, end):
        if old[i, 1] == 0:
            continue
        x = old[i, 0]
        at = x & mask
        while rows[at, 1] != 0 and rows[at, 0] != x:
            at = (at + 1) & mask
        if rows[at, 1] == 0:
            rows[at, 0], rows[at, 1] = x, old[i, 1]
            new += 1
    return new


def warm() -> None:
    """Run every kernel once."""
    known = Known()
    known.put(np.arange(_ROWS_MIN), np.arange(_ROWS_MIN))
    known.get(np.ones(1, np.int64))
