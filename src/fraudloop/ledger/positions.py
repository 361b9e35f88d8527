"""Where in which segment each group of a log lies, so that one record can be read by its LSN. In memory; made by reading on."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import Any

from fraudloop.errors import LedgerError
from fraudloop.ledger.files import Files
from fraudloop.ledger.groups import HEADER_BYTES, decode_header, decode_one


class Positions:
    """The groups of a log in order. 20 bytes a group: ten million payments in groups of ten are 20 MB.

    >>> from fraudloop.ledger.log import Log
    >>> from fraudloop.ledger.simulated import SimulatedFiles
    >>> log, positions = Log.open(SimulatedFiles()), Positions()
    >>> positions.add(log.append(log.epoch, [b"a", b"b"]), *log.place)
    >>> positions.read(log.files, 1)
    b'b'
    """

    def __init__(self) -> None:
        self._first = array("q")
        self._offset = array("q")
        self._segment = array("i")
        self._names: list[str] = []

    def __len__(self) -> int:
        return len(self._first)

    def add(self, first_lsn: int, segment: str, offset: int) -> None:
        """One more group, behind all others."""
        assert not self._first or first_lsn > self._first[-1], "groups come in order"
        if not self._names or self._names[-1] != segment:
            self._names.append(segment)
        self._first.append(first_lsn)
        self._offset.append(offset)
        self._segment.append(len(self._names) - 1)

    def place(self, lsn: int) -> tuple[str, int, int]:
        """Segment, offset and first LSN of the group that holds a record; LedgerError if it is not kept."""
        at = bisect_right(self._first, lsn) - 1
        if at < 0:
            raise LedgerError(f"LSN {lsn} is not among the groups that are kept", lsn=lsn)
        return self._names[self._segment[at]], self._offset[at], self._first[at]

    def read(self, files: Files, lsn: int) -> bytes:
        """The record of an LSN; LedgerError if it is no longer kept, or damaged."""
        segment, offset, first = self.place(lsn)
        try:
            header = decode_header(files.read(segment, offset, HEADER_BYTES))
            data = b"" if header is None else files.read(segment, offset + HEADER_BYTES, header.payload_bytes)
        except (OSError, KeyError) as error:
            raise LedgerError(f"{segment}: cannot be read for LSN {lsn}; was it removed by retention?", lsn=lsn) from error
        if header is None or header.first_lsn != first or not first <= lsn < header.next_lsn or len(data) < header.payload_bytes:
            raise LedgerError(f"{segment}: no group with LSN {lsn} at byte {offset}; verify the log", lsn=lsn)
        return decode_one(data, lsn - first)

    def drop_before(self, lsn: int) -> None:
        """Forget the groups whose records all lie below `lsn`, as retention removes them."""
        at = max(0, bisect_right(self._first, lsn) - 1)
        del self._first[:at], self._offset[:at], self._segment[:at]

    def drop_from(self, lsn: int) -> None:
        """Forget the groups from `lsn` on: what was noted of a log that has lost its end."""
        at = bisect_left(self._first, lsn)
        del self._first[at:], self._offset[at:], self._segment[at:]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`."""
        return {"first": self._first.tobytes(), "offset": self._offset.tobytes(), "segment": self._segment.tobytes(), "names": self._names}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Positions:
        """Of plain data."""
        out = Positions()
        out._first.frombytes(data["first"])
        out._offset.frombytes(data["offset"])
        out._segment.frombytes(data["segment"])
        out._names = list(data["names"])
        return out
