"""The fold: events in log order go in, vectors come out, the state of every key moves on.

One `Fold` is used for everything: a table of history, a live micro-batch, a restart from a snapshot, a what-if. It owns
the memory that the kernel works in; it reads no clock and no file but the snapshot it is told to.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.events import Events
from fraudloop.errors import InputError, SnapshotError
from fraudloop.features import kernel
from fraudloop.features import layout as at
from fraudloop.features.plan import Plan, compile_plan
from fraudloop.gently import GentleFile

_MAGIC: Final = b"fraudloop-state\n"
_VERSION: Final = 3

#: Of the SHA-256 at the end: processors have instructions for it, and a state is gigabytes.
_CHECK_BYTES: Final = 32
_FIRST_BYTES: Final = 64 << 20
_LARGE_PAGE: Final = 2 << 20

#: Rows of a key table that go over into a larger one for each key of an event. It begins half full and may be three fifths full, so a tenth
#: of its rows in new keys are to come: with ten rows for each it is over by then.
_COPIED_A_KEY: Final = 10


#: Laid out behind the end of an arena where somebody does that: of blocks some seconds of ten thousand events each, of the places of headers, of which
#: an event has at most one new a column, more than that.
_AHEAD_BYTES: Final = 1 << 24
_AHEAD_SLOTS_BYTES: Final = 1 << 22


@dataclass(slots=True)
class _Growth:
    """A key table on its way into a larger one. counters: by key space the code of the newest key when that began; copied: rows so far.
    missed: more keys came at once behind the copying than were listed."""

    table: NDArray[np.int64]
    counters: NDArray[np.int64]
    copied: int = 0
    missed: bool = False


class Vectors(msgspec.Struct, frozen=True, gc=False):
    """What the fold gives for the transactions among some events, in their order.

    values: float64 [transactions, features], NaN where a feature is undefined.
    status: uint8 [transactions]; 0 in time, 1 too late, 2 too early (decided with state features missing, not absorbed).
    approximate: uint32 [transactions]; bit e is set where the key of entity e is beyond the exact bound.
    """

    values: NDArray[np.float64]
    status: NDArray[np.uint8]
    approximate: NDArray[np.uint32]


def _whole_pages(size: int) -> int:
    """Bytes of whole large pages. Linux lays a mapping of such a size out on their border, also when it moves it: otherwise
    a move splits all large pages into small ones, and every key misses the TLB."""
    return -(-size // _LARGE_PAGE) * _LARGE_PAGE


class _Arena:
    """Zeroed int64 words that grow without being copied: an anonymous mapping that the system moves by its page table."""

    def __init__(self, size: int) -> None:
        self._map = mmap.mmap(-1, _whole_pages(max(size, _FIRST_BYTES)), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._advise()
        self.words: NDArray[np.int64] = np.frombuffer(self._map, dtype=np.int64)
        #: Bytes from the beginning that were written or that somebody was told to lay out.
        self.laid_out = 0

    def reach(self, used: int, more: int, ahead: Callable[[int, int], None]) -> bool:
        """Keep at least half of `more` bytes behind the first `used` laid out, and there; whether it had to grow."""
        if used + more // 2 <= self.laid_out:
            return False
        end = _whole_pages(used + more)
        grown = end > self.words.nbytes
        if grown:
            self.grow(max(self.words.size * 3 // 2, end // 8))
        ahead(self.words.ctypes.data + self.laid_out, end - self.laid_out)
        self.laid_out = end
        return grown

    def _advise(self) -> None:
        # Large pages: a state of a million keys otherwise misses the TLB at every key.
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # not offered here: slower, not wrong
                self._map.madvise(mmap.MADV_HUGEPAGE)

    def grow(self, words: int) -> None:
        size = _whole_pages(words * 8)
        del self.words
        try:
            self._map.resize(size)
        except (SystemError, OSError, ValueError, BufferError):
            # No mremap on this system: copy.
            old = self._map
            self._map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self._map[: len(old)] = old[:]
        self._advise()
        self.words = np.frombuffer(self._map, dtype=np.int64)


def _checked(array: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """The array as the kernel can take it: itself, or a copy if it is read-only or not in C order."""
    assert array.dtype == dtype and array.shape == shape, (
        f"an array of {array.dtype} {array.shape} where {np.dtype(dtype)} {shape} is meant"
    )
    return array if array.flags.carray else np.require(array, requirements=("C", "A", "W"))


class Fold:
    """The state of every key under one plan.

    >>> from fraudloop.door.assemble import assemble
    >>> fold = Fold(compile_plan(FeatureSet.load("handbook")))
    >>> fold.transactions
    0
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._width = len(plan.names)
        self._arena = _Arena((at.C_BLOCKS + int(plan.general[at.G_RESERVE]) * 3) * 8)
        self._arena.words[at.C_TOP] = at.C_BLOCKS
        self._table = np.zeros((4096, at.T_WORDS), dtype=np.int64)
        #: Where the header of each key lies, in the order in which keys came.
        self._slots = _Arena(0)
        self._growth: _Growth | None = None
        #: The table after this one, where it is there already.
        self._larger: NDArray[np.int64] | None = None
        self._ahead: Callable[[int, int], None] | None = None
        self._note_sizes()
        self._bind()

    def _note_sizes(self) -> None:
        words = self._arena.words
        words[at.C_CAPACITY], words[at.C_TABLE_ROWS], words[at.C_SLOTS_ROWS] = len(words), len(self._table), len(self._slots.words)

    def _bind(self) -> None:
        plan = self.plan
        self._tables = (plan.entities, plan.novelty, plan.streams, plan.fields, plan.windows, plan.accumulators, plan.outputs)
        self._plan = (plan.general, np.array(plan.key_spaces, dtype=np.int64))
        keys = len(plan.key_names)
        self._work = (
            np.zeros((kernel._BLOCK, keys), dtype=np.int64),
            np.zeros((kernel._BLOCK, keys), dtype=np.int64),
            np.zeros(at.SCRATCH_HASH, dtype=np.int64),
            np.zeros(at.FRESH_ROWS, dtype=np.int64),
        )
        self._x = (np.zeros(at.X_COUNT), np.zeros(max(1, len(plan.novelty))))
        self._columns: tuple[tuple[str, ...], tuple[str, ...], NDArray[np.int64], NDArray[np.int64]] | None = None

    # --- folding -------------------------------------------------------------------------------------------------

    def look_ahead(self, ahead: Callable[[int, int], None]) -> None:
        """Have memory laid out before it is written from now on. ahead: told, between two steps, the address and the bytes of what soon will
        be; it may have the system lay that out, in a thread of its own, but must not change what is there."""
        self._ahead = ahead
        words = self._arena.words
        self._arena.laid_out, self._slots.laid_out = _whole_pages(8 * int(words[at.C_TOP])), _whole_pages(8 * int(words[at.C_SLOTS]))
        del words  # an arena cannot grow while somebody holds its words
        self._reach()

    def step(self, events: Events, out: Vectors | None = None) -> Vectors:
        """Absorb events in order and give the vectors of the transactions among them.

        `out` may be given to be filled instead of new arrays. Columns of `events` that the plan needs and that are not
        there count as missing. The result does not depend on how a log is cut into steps. Arrays that are read-only or not
        in C order are copied.
        """
        n = events.transactions
        if out is None:
            out = Vectors(np.empty((n, self._width)), np.zeros(n, np.uint8), np.zeros(n, np.uint32))
        columns = self._columns_of(events)
        # The kernel reads and writes through plain pointers: what it is told of shapes must be so.
        rows = len(events)
        given = (
            _checked(events.kind, np.uint8, (rows,)),
            _checked(events.time_us, np.int64, (rows,)),
            _checked(events.received_us, np.int64, (rows,)),
            _checked(events.keys, np.uint64, (rows, len(events.key_names), 2)),
            _checked(events.numbers, np.int64, (rows, len(events.number_names))),
        )
        for filled, dtype, shape in (
            (out.values, np.float64, (n, self._width)),
            (out.status, np.uint8, (n,)),
            (out.approximate, np.uint32, (n,)),
        ):
            assert _checked(filled, dtype, shape) is filled, "arrays to be filled must be writable and in C order"
        done = row = 0
        while True:
            done, row = kernel.step(
                (self._arena.words, self._table, self._slots.words), self._tables, self.plan.missing, self._plan, given, columns,
                self._work, self._x, (out.values, out.status, out.approximate), done, row,
            )  # fmt: skip
            if done == len(events):
                self._grow(rows)
                if self._ahead is not None:
                    self._reach()
                return out
            self._make_room()

    def _columns_of(self, events: Events) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._columns is None or self._columns[0] != events.key_names or self._columns[1] != events.number_names:

            def where(names: tuple[str, ...], given: tuple[str, ...]) -> NDArray[np.int64]:
                return np.array([given.index(n) if n in given else -1 for n in names], dtype=np.int64)

            self._columns = (
                events.key_names,
                events.number_names,
                where(self.plan.key_names, events.key_names),
                where(self.plan.number_names, events.number_names),
            )
        return self._columns[2], self._columns[3]

    def _make_room(self) -> None:
        """Grow what the kernel found too small for the next events."""
        words = self._arena.words
        more = kernel._BLOCK * len(self.plan.key_names)
        if (int(words[at.C_KEYS]) + more) * 5 > len(self._table) * 3:
            self._end_growth()
        if int(words[at.C_SLOTS]) + more > len(self._slots.words):
            self._slots.grow(2 * len(self._slots.words))
        reserve = int(self.plan.general[at.G_RESERVE])
        if int(words[at.C_TOP]) + 2 * reserve > len(words):
            del words
            self._arena.grow(max(len(self._arena.words) * 3 // 2, len(self._arena.words) + 3 * reserve))
        self._note_sizes()

    def _reach(self) -> None:
        """Keep some of the arenas behind their ends laid out, and enough of them there."""
        assert self._ahead is not None, "asked only where somebody lays out"
        top, slots = int(self._arena.words[at.C_TOP]), int(self._arena.words[at.C_SLOTS])
        grown = self._arena.reach(8 * top, _AHEAD_BYTES, self._ahead)
        if self._slots.reach(8 * slots, _AHEAD_SLOTS_BYTES, self._ahead) or grown:
            self._note_sizes()

    def _grow(self, events: int) -> None:
        """Copy a key table that is half full into a larger one, some rows with each event, so that no event waits for all of them. The larger
        one is there a little before, that somebody may lay it out."""
        keys, rows = int(self._arena.words[at.C_KEYS]), len(self._table)
        self._take_fresh()
        if self._growth is None:
            if self._ahead is not None and self._larger is None and keys * 9 > rows * 4:
                self._larger = self._twice()
                self._ahead(self._larger.ctypes.data, self._larger.nbytes)
            if keys * 2 <= rows:
                return
            self._growth = self._begin_growth()
        growth = self._growth
        # An event has at most one new key a column: a tenth of the rows, until the table is full, comes with as many events as are enough.
        end = min(rows, growth.copied + _COPIED_A_KEY * len(self.plan.key_names) * events)
        kernel.copy_rows(self._table, growth.copied, end, np.zeros_like(growth.counters), growth.table)
        growth.copied = end
        if end == rows:
            self._end_growth()
            self._note_sizes()

    def _end_growth(self) -> None:
        """Go on with the larger table: what was not copied yet, now."""
        self._take_fresh()
        growth, rows = self._growth, len(self._table)
        if growth is None:
            growth = self._begin_growth()
        if growth.missed:  # of a step of very many events, as none is that somebody waits for
            kernel.copy_rows(self._table, 0, growth.copied, growth.counters, growth.table)
        kernel.copy_rows(self._table, growth.copied, rows, np.zeros_like(growth.counters), growth.table)
        self._table, self._growth = growth.table, None

    def _take_fresh(self) -> None:
        """Copy the keys that came behind the copying since the last call."""
        words, growth = self._arena.words, self._growth
        came, words[at.C_FRESH] = int(words[at.C_FRESH]), 0
        if growth is None or not came:
            return
        if came > at.FRESH_ROWS:
            growth.missed = True
        else:
            kernel.copy_listed(self._table, self._work[3], came, growth.copied, growth.table)

    def _begin_growth(self) -> _Growth:
        larger, self._larger = self._twice() if self._larger is None else self._larger, None
        return _Growth(larger, self._counters())

    def _twice(self) -> NDArray[np.int64]:
        return np.zeros((2 * len(self._table), at.T_WORDS), dtype=np.int64)

    def _counters(self) -> NDArray[np.int64]:
        """By key space the code of its newest key."""
        return self._arena.words[at.C_COUNTERS : at.C_COUNTERS + at.C_SPACES].copy()

    # --- what it holds -------------------------------------------------------------------------------------------

    @property
    def transactions(self) -> int:
        """Transactions read so far, those too late or too early included."""
        return int(self._arena.words[at.C_TRANSACTIONS])

    @property
    def received_us(self) -> int:
        """The newest `received` so far: the clock by which later events are late or early."""
        return int(self._arena.words[at.C_RECEIVED])

    def counts(self) -> dict[str, int]:
        """Counters of the state: what was read, what is held."""
        words = self._arena.words
        names = {
            "transactions": at.C_TRANSACTIONS, "absorbed": at.C_ABSORBED, "too_late": at.C_LATE, "too_early": at.C_EARLY,
            "labels": at.C_LABELS, "profiles": at.C_PROFILES, "keys": at.C_KEYS, "headers": at.C_SLOTS, "approximate_streams": at.C_HOT,
        }  # fmt: skip
        return {name: int(words[c]) for name, c in names.items()}

    def size_bytes(self) -> int:
        """Bytes in use for keys and their events: blocks, headers and the key table's rows."""
        words = self._arena.words
        return int(words[at.C_LIVE_WORDS]) * 8 + int(words[at.C_KEYS]) * (at.T_WORDS * 8 + 8)

    def digest(self) -> str:
        """A fingerprint of the state, 32 hex digits, kept up event by event: equal states have equal digests."""
        words = self._arena.words
        lo, hi = (int(words[c]) & (2**64 - 1) for c in (at.C_DIGEST, at.C_DIGEST + 1))
        counted = [
            int(words[c])
            for c in (at.C_RECEIVED, at.C_TRANSACTIONS, at.C_ABSORBED, at.C_LATE, at.C_EARLY, at.C_LABELS, at.C_PROFILES, at.C_KEYS)
        ]
        return hashlib.sha256(f"{lo:016x}{hi:016x}{counted}".encode()).hexdigest()[:32]

    def verify(self) -> bool:
        """Whether the running digest equals the one computed from the state: a check of the memory itself."""
        words = self._arena.words
        lo, hi = kernel.recompute_digest((words, self._table, self._slots.words), self._tables)
        return bool(lo == words[at.C_DIGEST] and hi == words[at.C_DIGEST + 1])

    def _take_digest(self) -> None:
        """Set the running digest from the state: the state was made otherwise than event by event."""
        words = self._arena.words
        words[at.C_DIGEST], words[at.C_DIGEST + 1] = kernel.recompute_digest((words, self._table, self._slots.words), self._tables)

    # --- snapshots -----------------------------------------------------------------------------------------------

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a file, atomically: a reader sees the old file or the whole new one. One writer at a time: the
        file beside it that a killed one leaves behind is written over by the next.

        Raises OSError, naming the file, when it cannot be written; the old one stays.
        """
        target = Path(path)
        temporary = target.with_name(f".{target.name}.new")
        try:
            with GentleFile(temporary) as file:
                for chunk in self._chunks():
                    file.write(chunk)
                file.sync()
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _chunks(self) -> Iterator[bytes | memoryview]:
        top = int(self._arena.words[at.C_TOP])
        slots = int(self._arena.words[at.C_SLOTS])
        used = self._table[self._table[:, at.T_CODE] != 0]
        head = {
            "version": _VERSION,
            "features": self.plan.features.to_dict(),
            "tables": _tables_hash(self.plan),
            "words": top,
            "slots": slots,
            "keys": len(used),
            "digest": self.digest(),
        }
        parts = (self._arena.words[:top], self._slots.words[:slots], np.ascontiguousarray(used))
        text = json.dumps(head).encode()
        check = hashlib.sha256(text)
        yield _MAGIC + len(text).to_bytes(8, "little") + text
        for part in parts:
            view = part.reshape(-1).view(np.uint8).data
            for begin in range(0, len(view), 1 << 24):
                check.update(view[begin : begin + (1 << 24)])
                yield view[begin : begin + (1 << 24)]
        yield check.digest()

    @classmethod
    def restore(cls, path: str | os.PathLike[str]) -> Fold:
        """The state of a snapshot.

        Raises SnapshotError when the file is cut short, changed, of another version or not a snapshot at all.
        """
        try:
            with Path(path).open("rb") as file:
                return cls._read(file, str(path))
        except OSError as error:
            raise SnapshotError(f"{path}: cannot be read ({error.strerror}); fold the log again") from error

    @classmethod
    def _read(cls, file: BinaryIO, where: str) -> Fold:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise SnapshotError(f"{where}: not a snapshot of fraudloop; fold the log again")
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length < 1 << 24 else b""
        try:
            head = json.loads(text)
            if head["version"] != _VERSION:
                raise SnapshotError(f"{where}: snapshot version {head['version']}, this build reads {_VERSION}; fold the log again")
            words, slots, keys = (int(head[k]) for k in ("words", "slots", "keys"))
        except (ValueError, KeyError, TypeError) as error:
            raise SnapshotError(f"{where}: the snapshot's head is damaged; fold the log again") from error
        left = os.fstat(file.fileno()).st_size - file.tell()
        if min(words, slots, keys) < 0 or left != (words + slots + keys * at.T_WORDS) * 8 + _CHECK_BYTES:
            raise SnapshotError(f"{where}: the snapshot is cut short; fold the log again")
        # Nothing in the file is believed before the checksum at its end.
        check = hashlib.sha256(text)
        arena = _Arena(words * 8)
        headers = _Arena((slots + 1) * 16)
        table = np.empty((keys, at.T_WORDS), dtype=np.int64)
        # One piece is hashed while the next one is read.
        with ThreadPoolExecutor(1) as beside:
            for part in (arena.words[:words], headers.words[:slots], table):
                view = part.reshape(-1).view(np.uint8).data
                for begin in range(0, len(view), 1 << 24):
                    piece = view[begin : begin + (1 << 24)]
                    file.readinto(piece)  # type: ignore[attr-defined]
                    beside.submit(check.update, piece)
        if file.read(_CHECK_BYTES) != check.digest():
            raise SnapshotError(f"{where}: the snapshot's checksum does not fit; fold the log again")
        try:
            plan = compile_plan(FeatureSet.from_dict(head["features"], where))
        except (InputError, ValueError, KeyError, TypeError) as error:
            raise SnapshotError(f"{where}: this build does not know all features of the snapshot; fold the log again") from error
        if head.get("tables") != _tables_hash(plan):
            raise SnapshotError(f"{where}: made by a build that lays its state out in another way; fold the log again")
        fold = cls(plan)
        fold._arena = arena
        fold._arena.grow(max(len(arena.words), words + 3 * int(plan.general[at.G_RESERVE])))
        # Of the size that the table had: it doubles where three of five rows would be taken.
        rows = 4096
        while (keys + kernel._BLOCK * len(plan.key_names)) * 5 > rows * 3:
            rows *= 2
        fold._table = np.zeros((rows, at.T_WORDS), dtype=np.int64)
        fold._slots = headers
        fold._note_sizes()
        kernel.copy_rows(table, 0, keys, np.zeros(at.C_SPACES, np.int64), fold._table)
        fold._work[2][:] = 0
        fold._arena.words[at.C_EPOCH] = fold._arena.words[at.C_FRESH] = 0
        return fold


def _tables_hash(plan: Plan) -> str:
    """What the words of a state mean: it changes with the features and with how a build lays them out."""
    digest = hashlib.sha256()
    for table in (
        plan.entities,
        plan.novelty,
        plan.streams,
        plan.fields,
        plan.windows,
        plan.accumulators,
        plan.outputs,
        plan.missing,
        plan.general,
    ):
        digest.update(f"{table.shape}".encode() + table.tobytes())
    return digest.hexdigest()[:32]


def fold_all(features: FeatureSet, events: Events) -> tuple[Vectors, Fold]:
    """Vectors of all transactions among events, from an empty state.

    >>> import numpy as np
    >>> from fraudloop.door.events import Events
    >>> none = Events(*(np.empty((0, *shape), dtype) for shape, dtype in (((), "u1"), ((), "i8"), ((), "i8"), ((0, 2), "u8"), ((0,), "i8"), ((), "i8"))), (), ())
    >>> fold_all(FeatureSet.load("handbook"), none)[0].values.shape
    (0, 15)
    """
    fold = Fold(compile_plan(features))
    return fold.step(events), fold
