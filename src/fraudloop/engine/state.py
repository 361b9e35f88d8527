"""Everything that the log says up to a position: the entities' state, which ids were seen, labels in force, lists, what is active.

Live, recovered and standing by it is the same: a fold over records in order. It reads no clock, and no file but the snapshot it is told to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.entries import Entries
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.batch import Batcher, Item, LabelChange
from fraudloop.door.events import LABEL, PROFILE, TOO_EARLY, TOO_LATE, TRANSACTION, Events
from fraudloop.door.identity import DEFAULT_KEY, hash_texts
from fraudloop.door.row import Row
from fraudloop.engine.known import Known
from fraudloop.errors import LedgerError, RefoldNeeded, SnapshotError
from fraudloop.features.derive import derive
from fraudloop.features.fold import Fold, Vectors
from fraudloop.features.plan import compile_plan
from fraudloop.gently import GentleFile, remove_tree
from fraudloop.ledger.log import Group
from fraudloop.ledger.personal import Sealing, Vault, sealing_of, with_hashes
from fraudloop.ledger.positions import Positions
from fraudloop.ledger.records import (
    Activated,
    Changed,
    Configured,
    Decision,
    Erased,
    Labelled,
    Listed,
    Profiled,
    Record,
    Transacted,
    decode,
    decode_all,
    encode,
)
from fraudloop.limits import LATENESS_MAX_US, SKEW_MAX_US

Event: TypeAlias = Transacted | Labelled | Profiled

#: Of n payments, uint64 [n, as many as are hashed of each, 2].
Hashes: TypeAlias = NDArray[np.uint64]

_ID: Final = "transaction_id"

#: Fields of a profile that are personal, where its entity's ids are; the record keeps their hashes in this order.
PROFILE_SEALED: Final = ("id", "home_country")

#: Layout of the files of a snapshot.
SNAPSHOT_SCHEMA: Final = 3


@dataclass(slots=True)
class State:
    """key: 16 bytes of the id hash. next_lsn: everything below it is in here. received_us: the newest arrival.

    known: fingerprint of a transaction id -> LSN. labels: LSN of a payment -> LSN of its last label. positions: where records lie.
    columns: of rows; types: theirs, empty where the log does not say. active: what was put in force last, by kind, with its LSN. entries: of the block, allow and watch lists.
    """

    key: bytes = DEFAULT_KEY
    next_lsn: int = 0
    received_us: int = 0
    columns: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    known: Known = field(default_factory=Known)
    labels: Known = field(default_factory=Known)
    positions: Positions = field(default_factory=Positions)
    active: dict[str, tuple[int, Activated]] = field(default_factory=dict)
    #: Every set of features that was active, by hash: what the vectors of its time hold.
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    entries: Entries = field(default_factory=Entries)
    #: By name of a file, how many of its events were imported.
    imports: dict[str, int] = field(default_factory=dict)
    fold: Fold | None = None
    batcher: Batcher | None = None
    #: Where the hashes of ids, and of what is sealed, stand among those that the batcher makes.
    _id_place: int = 0
    _sealed_places: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    #: Which columns are sealed in records, None if none are; and what they are sealed by.
    sealing: Sealing | None = None
    vault: Vault | None = None
    #: Whom the log says was erased: subject and generation of each key, in order. Whoever opens the vault sees to it that they are gone.
    erased: dict[tuple[bytes, int], None] = field(default_factory=dict)
    #: Where the log begins since retention removed what was before; ids below it are forgotten.
    first_lsn: int = 0
    #: Where the log is folded anew under more features than were active then: these, from the beginning.
    wider: FeatureSet | None = None
    #: Whether the state of the entities is gone, and what it was is folded anew beside: payments are decided on what they say themselves.
    gone: bool = False
    #: Told of memory that will be written soon (`Fold.look_ahead`), None where nobody lays it out.
    ahead: Callable[[int, int], None] | None = None
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

    def note(
        self, first_lsn: int, records: Sequence[Record], segment: str, offset: int, skip: int = 0, payments: NDArray[np.int64] | None = None
    ) -> None:
        """Where a group lies, and the ids in it; what the records change is for `_absorb`, or was done live. payments: the fingerprints of
        all records, where they are payments and these are known."""
        if payments is not None:
            self.positions.add(first_lsn, segment, offset)
            self.known.put(payments, np.arange(first_lsn, first_lsn + len(records)))
            self.next_lsn = first_lsn + len(records)
            return
        if not skip:
            self.positions.add(first_lsn, segment, offset)
        ids, lsns = [], []
        for lsn, record in enumerate(records[skip:], first_lsn + skip):
            if isinstance(record, Transacted):
                ids.append(str(record.row[0]))
                lsns.append(lsn)
            elif isinstance(record, Activated):
                self.active[record.what] = (lsn, record)
                if record.what == "features":
                    self.plans[str(record.hash)] = record.body
            elif isinstance(record, Labelled):
                self.labels.put(np.array([record.lsn]), np.array([lsn]))
        if ids:
            self.known.put(self.fingerprints(ids), np.array(lsns, np.int64))
        self.next_lsn = first_lsn + len(records)

    def _absorb(self, records: Iterable[Record]) -> None:
        run: list[Event] = []
        for record in records:
            if isinstance(record, Transacted | Labelled | Profiled):
                run.append(record)
                continue
            if run:
                self.fold_in(run)
                run = []
            self.change(record)
        if run:
            self.fold_in(run)

    def fold_in(self, run: Sequence[Event]) -> Vectors:
        """Absorb payments, labels and profiles in order; the vectors of the payments."""
        assert self.fold is not None and self.batcher is not None, "features are active before the first event"
        self.received_us = max(self.received_us, run[-1].received_us)
        if all(isinstance(record, Transacted) for record in run):
            rows = [dict(zip(self.columns, record.row, strict=True)) for record in run]
            events = self.batcher.events(rows, [record.received_us for record in run])
        else:
            events = self.batcher.mixed([self._item(record) for record in run])
        return self.fold.step(self._with_hashes(events, run))

    def _item(self, record: Event) -> Item:
        if isinstance(record, Transacted):
            return (TRANSACTION, dict(zip(self.columns, record.row, strict=True)), record.received_us)
        if isinstance(record, Profiled):
            return (PROFILE, record.row, record.received_us)
        payment = dict(zip(self.columns, record.row, strict=False))  # the payment may be of a time with a column more, or less, at the end
        moment = payment["timestamp"]
        assert isinstance(moment, int), "a payment has a time"
        absorbed = record.payment_received_us - LATENESS_MAX_US <= moment <= record.payment_received_us + SKEW_MAX_US
        change = LabelChange(payment, record.time_us, bool(record.before), bool(record.after), record.before_known_us, absorbed)
        return (LABEL, change, record.received_us)

    def _with_hashes(self, events: Events, run: Sequence[Event]) -> Events:
        """The events with the keys that the records hold in place of ids: those are sealed, and may be erased."""
        hashed = () if self.sealing is None else self.sealing.hashed
        if not hashed:
            return events
        assert self.batcher is not None
        columns = self.batcher.key_columns
        if all(isinstance(record, Transacted) for record in run):
            return with_hashes(events, columns, hashed, [record.hashes for record in run])
        entities = {columns[name]: at for at, name in enumerate(events.key_names) if name in self.batcher.entities}
        for at, record in enumerate(run):
            if isinstance(record, Profiled):
                if record.hashes:
                    kept = np.frombuffer(record.hashes, np.uint64).reshape(-1, 2)
                    for name, words in zip((str(record.row["entity"]), "home_country"), kept, strict=False):
                        events.keys[at, events.key_names.index(name)] = words
                continue
            words = np.frombuffer(record.hashes, np.uint64).reshape(-1, 2)
            for place, name in enumerate(events.key_names):
                column = columns[name]
                if column in hashed and (isinstance(record, Transacted) or entities.get(column) == place):
                    events.keys[at, place] = words[hashed.index(column)]
        return events

    def hashes(self, rows: Sequence[Row]) -> Hashes:
        """Of all in payments that arrive now that is hashed: keys of the events, ids, what is sealed."""
        assert self.batcher is not None, "features are active before the first payment"
        return self.batcher.hashes(rows)

    def events(self, rows: Sequence[Row], received_us: Sequence[int], hashes: Hashes) -> Events:
        """The events of payments that arrive now. hashes: of these rows."""
        assert self.batcher is not None, "features are active before the first payment"
        self.received_us = max(self.received_us, received_us[-1])
        return self.batcher.events(rows, received_us, hashes)

    def vectors(self, events: Events) -> Vectors:
        """Absorb payments in order; their vectors. Where the state is gone nothing is absorbed, and they hold what payments themselves say."""
        assert self.fold is not None, "features are active before the first payment"
        return _unseen(self.fold, events) if self.gone else self.fold.step(events)

    def unseen(self, records: Sequence[Transacted]) -> Vectors:
        """The vectors that payments of the log had, if they were decided while the state was gone."""
        assert self.batcher is not None, "features are active before the first payment"
        rows = [dict(zip(self.columns, record.row, strict=True)) for record in records]
        events = self.batcher.events(rows, [record.received_us for record in records])
        return _unseen(Fold(compile_plan(self.features)), self._with_hashes(events, records))

    def lose(self, next_lsn: int) -> None:
        """Go on without the state of the entities, behind a log that ends at `next_lsn`: what was noted beyond was never on disk."""
        self.known.drop_from(next_lsn)
        self.positions.drop_from(next_lsn)
        self.next_lsn = next_lsn
        self.use(Fold(compile_plan(self.features)))
        self.gone = True

    def records(
        self, rows: Sequence[Row], received_us: Sequence[int], decisions: Sequence[Decision | None], hashes: Hashes
    ) -> list[Transacted]:
        """What the log is told of payments: what is personal sealed, if it is to be. hashes: of these rows."""
        if self.sealing is None or self.vault is None:
            return [Transacted(tuple(row.values()), at, made) for row, at, made in zip(rows, received_us, decisions, strict=True)]
        sealed = self.sealing.seal(self.vault, rows, hashes.take(self._sealed_places, axis=1))
        return [Transacted(row, at, made, *parts) for (row, *parts), at, made in zip(sealed, received_us, decisions, strict=True)]

    def profiled(self, row: Row, received_us: int) -> Profiled:
        """What the log is told of a profile: whose it is and where they live sealed, if whose it is is sealed in payments."""
        if self.sealing is None or self.vault is None or self.batcher is None:
            return Profiled(dict(row), received_us)
        column = self.batcher.key_columns.get(str(row["entity"]))
        if column not in self.sealing.hashed:
            return Profiled(dict(row), received_us)
        hashes = hash_texts([row[name] for name in PROFILE_SEALED], self.key)  # type: ignore[misc]
        [blob] = self.vault.seal_many(hashes[:1], [msgspec.msgpack.encode([row[name] for name in PROFILE_SEALED])])
        return Profiled({**row, **dict.fromkeys(PROFILE_SEALED)}, received_us, blob, hashes.tobytes())

    def complete_erasures(self) -> None:
        """Destroy every key that the log says was: after a crash between the two, or when the vault came back from a copy."""
        if self.vault is not None and self.erased:
            self.vault.erase_many([(np.frombuffer(subject, np.uint64), generation) for subject, generation in self.erased])

    def change(self, record: Record) -> None:
        """What any record but a payment changes."""
        if isinstance(record, Configured):
            self.columns, self.types = tuple(record.columns), tuple(record.types)
            self.sealing = sealing_of(record.columns, record.sealed, record.hashed) if record.sealed else None
            if self.fold is not None:
                self.use(self.fold)
        elif isinstance(record, Listed):
            self.entries.apply(record)
        elif isinstance(record, Activated):
            if record.what == "features":
                self._plan(FeatureSet.from_dict(record.body))
        elif isinstance(record, Changed):
            if record.what == "import":
                self.imports[record.name] = int(record.state)
        elif isinstance(record, Erased):
            # The key itself is destroyed once this record is on disk: by who wrote it, and by every later start (`complete_erasures`).
            self.erased[record.subject, record.generation] = None
        else:
            assert not isinstance(record, Transacted), "payments are absorbed where their vectors are needed"
            self.fold_in([record])

    def _plan(self, features: FeatureSet) -> None:
        """Fold under these features from here on. RefoldNeeded where the kept events do not hold what they ask for."""
        if self.wider is not None:
            if not _covers(self.wider, features):
                features = self.wider = self.wider.merge(features)
            elif self.fold is None:
                features = self.wider
            else:
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
        hashed = () if self.sealing is None else self.sealing.hashed
        self.fold, self.batcher = fold, Batcher(fold.plan.features, self.key, (_ID, *hashed))
        self._id_place = self.batcher.place(_ID)
        self._sealed_places = np.array([self.batcher.place(name) for name in hashed], np.int64)
        if self.ahead is not None:
            fold.look_ahead(self.ahead)

    def look_ahead(self, ahead: Callable[[int, int], None]) -> None:
        """Have the memory of entities and ids laid out before it is written, also of a fold that takes this one's place."""
        self.ahead = ahead
        self.known.look_ahead(ahead)
        self.labels.look_ahead(ahead)
        if self.fold is not None:
            self.fold.look_ahead(ahead)

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

    def fingerprints_in(self, hashes: Hashes) -> NDArray[np.int64]:
        """The same of payments that arrive now. hashes: of their rows."""
        return np.ascontiguousarray(hashes[:, self._id_place, 0]).view(np.int64)

    def row_of(self, record: Transacted) -> dict[str, Any]:
        """The canonical row of a record under the columns in force; what was erased is None. Columns at the end that the record does not
        have, or that are no longer, are left out."""
        if self.sealing is None:
            return dict(zip(self.columns, record.row, strict=False))
        return dict(self.sealing.unseal(self.vault, record.row, record.personal, record.hashes))

    def row_beside(self, record: Transacted, row: Row) -> dict[str, Any]:
        """As `row_of`, for a comparison with `row`: what was erased is taken from it where its hash is the one that the record keeps."""
        out = self.row_of(record)
        sealing = self.sealing
        if sealing is None or not record.personal or any(out[name] is not None for name in sealing.sealed):
            return out
        kept = np.frombuffer(record.hashes, np.uint64).reshape(-1, 2)
        [told] = sealing.hashes([row], self.key)
        same = (kept == told).all(axis=1).tolist()
        for name in sealing.sealed:
            if name not in sealing.hashed or same[sealing.hashed.index(name)]:
                out[name] = row.get(name)
        return out

    # --- snapshots -----------------------------------------------------------------------------------------------

    def snapshot(self, folder: Path) -> Path:
        """Write a snapshot into a folder of snapshots, under the name of its LSN; it is there whole or not at all."""
        target = folder / f"{self.next_lsn:020d}"
        fresh = folder / f".{self.next_lsn:020d}.new"
        remove_tree(fresh)
        fresh.mkdir(parents=True)
        known = self.known.rows()
        parts = {"known": known[known[:, 1] >= self.first_lsn], "labels": self.labels.rows()}
        head = {
            "schema": SNAPSHOT_SCHEMA, "next_lsn": self.next_lsn, "received_us": self.received_us, "columns": self.columns, "types": self.types,
            "sealed": () if self.sealing is None else self.sealing.sealed, "hashed": () if self.sealing is None else self.sealing.hashed, "chain": self.chain,
            "positions": self.positions.to_dict(), "active": [(lsn, encode(record)) for lsn, record in self.active.values()],
            "entries": [encode(record) for record in self.entries if isinstance(record, Listed)], "imports": self.imports, "erased": list(self.erased), "first_lsn": self.first_lsn, "plans": self.plans, "key": hashlib.blake2b(self.key, digest_size=8).digest(),
            "parts": {name: (len(rows), _digest(rows)) for name, rows in parts.items()}, "fold": self.fold is not None,
        }  # fmt: skip
        for name, rows in parts.items():
            _write(fresh / f"{name}.rows", rows)
        if self.fold is not None:
            self.fold.snapshot(fresh / "fold.state")
        body = msgspec.msgpack.encode(head)
        _write(fresh / "state.msgpack", np.frombuffer(hashlib.blake2b(body).digest() + body, np.uint8))
        remove_tree(target)
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
        with ThreadPoolExecutor(1) as beside:
            # The entities are the most of it; ids and labels are read meanwhile.
            fold = beside.submit(Fold.restore, path / "fold.state") if head["fold"] else None
            return State._restored(path, key, head, fold)

    @staticmethod
    def _restored(path: Path, key: bytes, head: dict[str, Any], fold: Future[Fold] | None) -> State:
        out = State(key, int(head["next_lsn"]), int(head["received_us"]), tuple(head["columns"]), tuple(head.get("types", ())))
        out.chain = head["chain"]
        out.sealing = sealing_of(head["columns"], head["sealed"], head["hashed"]) if head["sealed"] else None
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
        out.imports, out.plans = dict(head["imports"]), dict(head["plans"])
        out.erased = {(bytes(subject), int(generation)): None for subject, generation in head["erased"]}
        out.first_lsn = int(head["first_lsn"])
        for body in head["entries"]:
            out.change(decode(body))
        if fold is not None:
            out.use(fold.result())
        return out


def _unseen(blank: Fold, events: Events) -> Vectors:
    """The vectors of payments of whose entities nothing is known: what the payments themselves say, all else missing, as of those that come
    too late. blank: a fold that has absorbed nothing, and does not here."""
    found = blank.step(msgspec.structs.replace(events, received_us=events.time_us + (LATENESS_MAX_US + 1)))
    late, early = events.time_us < events.received_us - LATENESS_MAX_US, events.time_us > events.received_us + SKEW_MAX_US
    found.status[:] = np.where(late, TOO_LATE, np.where(early, TOO_EARLY, 0))
    return found


def _covers(wider: FeatureSet, features: FeatureSet) -> bool:
    have = {feature.hash for feature in wider.features}
    return all(feature.hash in have for feature in features.features)


def _digest(rows: NDArray[np.int64]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(rows).data).digest()


def _write(path: Path, rows: NDArray[Any]) -> None:
    with GentleFile(path) as file:
        file.write(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
        file.sync()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
