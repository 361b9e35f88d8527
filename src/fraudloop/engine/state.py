"""Everything that the log says up to a position: the entities' state, which ids were seen, labels in force, lists, what is active.

Live, recovered and standing by it is the same: a fold over records in order. It reads no clock, and no file but the snapshot it is told to.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.entries import Entries
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.batch import Batcher
from fraudloop.door.identity import DEFAULT_KEY, hash_texts
from fraudloop.door.row import Row
from fraudloop.engine.known import Known
from fraudloop.errors import LedgerError, RefoldNeeded, SnapshotError
from fraudloop.features.derive import derive
from fraudloop.features.fold import Fold, Vectors
from fraudloop.features.plan import compile_plan
from fraudloop.ledger.log import Group
from fraudloop.ledger.positions import Positions
from fraudloop.ledger.records import (
    Activated,
    Changed,
    Configured,
    Labelled,
    Listed,
    Profiled,
    Record,
    Transacted,
    decode,
    decode_all,
    encode,
)

#: Layout of the files of a snapshot.
SNAPSHOT_SCHEMA: Final = 1


@dataclass(slots=True)
class State:
    """key: 16 bytes of the id hash. next_lsn: everything below it is in here. received_us: the newest arrival.

    known: fingerprint of a transaction id -> LSN. labels: LSN of a payment -> LSN of its last label. positions: where records lie.
    columns: of rows. active: what was put in force last, by kind, with its LSN. entries: of the block, allow and watch lists.
    """

    key: bytes = DEFAULT_KEY
    next_lsn: int = 0
    received_us: int = 0
    columns: tuple[str, ...] = ()
    known: Known = field(default_factory=Known)
    labels: Known = field(default_factory=Known)
    positions: Positions = field(default_factory=Positions)
    active: dict[str, tuple[int, Activated]] = field(default_factory=dict)
    entries: Entries = field(default_factory=Entries)
    #: By name of a file, how many of its events were imported.
    imports: dict[str, int] = field(default_factory=dict)
    fold: Fold | None = None
    batcher: Batcher | None = None
    #: Where the log is folded anew under more features than were active then: these, from the beginning.
    wider: FeatureSet | None = None
    #: Of the chain of the log up to here, as far as this state was read from it; empty where it was not.
    chain: bytes = b""

    # --- the fold over records -----------------------------------------------------------------------------------

    def apply(self, group: Group) -> None:
        """Absorb a group of the log; LedgerError if it is not the next one."""
        records = decode_all(group.records)
        skip = max(0, self.next_lsn - group.first_lsn)
        if group.first_lsn > self.next_lsn:
            raise LedgerError(f"LSN {self.next_lsn} is missing: the log goes on at {group.first_lsn}", lsn=self.next_lsn)
        self.note(group.first_lsn, records, group.segment, group.offset, skip)
        self._absorb(records[skip:])

    def note(self, first_lsn: int, records: Sequence[Record], segment: str, offset: int, skip: int = 0) -> None:
        """Where a group lies, and the ids in it; what the records change is for `_absorb`, or was done live."""
        if not skip:
            self.positions.add(first_lsn, segment, offset)
        ids, lsns = [], []
        for lsn, record in enumerate(records[skip:], first_lsn + skip):
            if isinstance(record, Transacted):
                ids.append(str(record.row[0]))
                lsns.append(lsn)
            elif isinstance(record, Activated):
                self.active[record.what] = (lsn, record)
            elif isinstance(record, Labelled):
                self.labels.put(np.array([record.lsn]), np.array([lsn]))
        if ids:
            self.known.put(self.fingerprints(ids), np.array(lsns, np.int64))
        self.next_lsn = first_lsn + len(records)

    def _absorb(self, records: Iterable[Record]) -> None:
        run: list[Transacted] = []
        for record in records:
            if isinstance(record, Transacted):
                run.append(record)
                continue
            if run:
                self._absorb_transactions(run)
                run = []
            self.change(record)
        if run:
            self._absorb_transactions(run)

    def _absorb_transactions(self, run: Sequence[Transacted]) -> None:
        self.step([dict(zip(self.columns, record.row, strict=True)) for record in run], [record.received_us for record in run])

    def step(self, rows: Sequence[Row], received_us: Sequence[int]) -> Vectors:
        """Absorb payments in order; their vectors."""
        assert self.fold is not None and self.batcher is not None, "features are active before the first payment"
        self.received_us = max(self.received_us, received_us[-1])
        return self.fold.step(self.batcher.events(rows, received_us))

    def change(self, record: Record) -> None:
        """What any record but a payment changes."""
        if isinstance(record, Configured):
            self.columns = tuple(record.columns)
        elif isinstance(record, Listed):
            self.entries.apply(record)
        elif isinstance(record, Activated):
            if record.what == "features":
                self._plan(FeatureSet.from_dict(record.body))
        elif isinstance(record, Changed):
            if record.what == "import":
                self.imports[record.name] = int(record.state)
        else:
            assert isinstance(record, Labelled | Profiled), "every kind of record is known"

    def _plan(self, features: FeatureSet) -> None:
        """Fold under these features from here on. RefoldNeeded where the kept events do not hold what they ask for."""
        if self.wider is not None and _covers(self.wider, features):
            if self.fold is None:
                self.use(Fold(compile_plan(self.wider)))
            return
        if self.fold is None:
            self.use(Fold(compile_plan(features)))
        elif self.fold.plan.features.hash != features.hash:
            try:
                self.use(derive(self.fold, compile_plan(features)))
            except RefoldNeeded as error:
                raise RefoldNeeded(str(error), features=features, **error.fields) from error

    def use(self, fold: Fold) -> None:
        """Go on with this fold, which holds the same events."""
        self.fold, self.batcher = fold, Batcher(fold.plan.features, self.key)

    @property
    def features(self) -> FeatureSet:
        """What the vectors hold."""
        assert self.fold is not None, "features are active"
        return self.fold.plan.features

    def digest(self) -> str:
        """A fingerprint of all that later decisions read of the entities: equal states have equal digests."""
        assert self.fold is not None, "features are active"
        return self.fold.digest()

    # --- ids -----------------------------------------------------------------------------------------------------

    def fingerprints(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Half of the keyed hash of each transaction id, int64 [n]."""
        return np.ascontiguousarray(hash_texts(ids, self.key)[:, 0]).view(np.int64)

    def row_of(self, record: Transacted) -> dict[str, Any]:
        """The canonical row of a record under the columns in force."""
        return dict(zip(self.columns, record.row, strict=True))

    # --- snapshots -----------------------------------------------------------------------------------------------

    def snapshot(self, folder: Path) -> Path:
        """Write a snapshot into a folder of snapshots, under the name of its LSN; it is there whole or not at all."""
        target = folder / f"{self.next_lsn:020d}"
        fresh = folder / f".{self.next_lsn:020d}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        parts = {"known": self.known.rows(), "labels": self.labels.rows()}
        head = {
            "schema": SNAPSHOT_SCHEMA, "next_lsn": self.next_lsn, "received_us": self.received_us, "columns": self.columns, "chain": self.chain,
            "positions": self.positions.to_dict(), "active": [(lsn, encode(record)) for lsn, record in self.active.values()],
            "entries": [encode(record) for record in self.entries], "imports": self.imports, "key": hashlib.blake2b(self.key, digest_size=8).digest(),
            "parts": {name: (len(rows), _digest(rows)) for name, rows in parts.items()}, "fold": self.fold is not None,
        }  # fmt: skip
        for name, rows in parts.items():
            _write(fresh / f"{name}.rows", rows)
        if self.fold is not None:
            self.fold.snapshot(fresh / "fold.state")
        body = msgspec.msgpack.encode(head)
        _write(fresh / "state.msgpack", np.frombuffer(hashlib.blake2b(body).digest() + body, np.uint8))
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        _sync(folder)
        return target

    @staticmethod
    def restore(path: Path, key: bytes) -> State:
        """The state of a snapshot; SnapshotError if it is damaged, of another version, or hashed with another key."""
        try:
            data = (path / "state.msgpack").read_bytes()
        except OSError as error:
            raise SnapshotError(f"{path}: cannot be read ({error.strerror}); an older snapshot or the log itself will do") from error
        if hashlib.blake2b(data[64:]).digest() != data[:64]:
            raise SnapshotError(f"{path}: damaged; an older snapshot or the log itself will do")
        head: dict[str, Any] = msgspec.msgpack.decode(data[64:])
        if head["schema"] != SNAPSHOT_SCHEMA:
            raise SnapshotError(f"{path}: snapshot schema {head['schema']}, this build reads {SNAPSHOT_SCHEMA}; the log is read instead")
        if head["key"] != hashlib.blake2b(key, digest_size=8).digest():
            raise SnapshotError(f"{path}: its ids are hashed with another key (FRAUDLOOP_HASH_KEY)")
        out = State(key, int(head["next_lsn"]), int(head["received_us"]), tuple(head["columns"]))
        out.chain = head["chain"]
        for name, known in (("known", out.known), ("labels", out.labels)):
            count, digest = head["parts"][name]
            try:
                rows = np.fromfile(path / f"{name}.rows", np.int64).reshape(-1, 2)
            except (OSError, ValueError) as error:
                raise SnapshotError(f"{path}: {name}.rows cannot be read ({error})") from error
            if len(rows) != count or _digest(rows) != digest:
                raise SnapshotError(f"{path}: {name}.rows is damaged")
            known.put(np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1]))
        out.positions = Positions.from_dict(head["positions"])
        for lsn, body in head["active"]:
            record = decode(body)
            assert isinstance(record, Activated), "what is active was activated"
            out.active[record.what] = (lsn, record)
        out.imports = dict(head["imports"])
        for body in head["entries"]:
            out.change(decode(body))
        if head["fold"]:
            out.use(Fold.restore(path / "fold.state"))
        return out


def _covers(wider: FeatureSet, features: FeatureSet) -> bool:
    have = {feature.hash for feature in wider.features}
    return all(feature.hash in have for feature in features.features)


def _digest(rows: NDArray[np.int64]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(rows).data, digest_size=32).digest()


def _write(path: Path, rows: NDArray[Any]) -> None:
    with path.open("wb") as file:
        rows.tofile(file)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
