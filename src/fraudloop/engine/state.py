"""Everything that the log says up to a position: the entities' state, which ids were seen, labels in force, lists, what is active.

Live, recovered and standing by it is the same: a fold over records in order. It reads no clock, and no file but the snapshot it is told to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.batch import Batcher
from fraudloop.door.identity import DEFAULT_KEY, hash_texts
from fraudloop.door.row import Row
from fraudloop.engine.known import Known
from fraudloop.errors import LedgerError
from fraudloop.features.fold import Fold, Vectors
from fraudloop.features.plan import compile_plan
from fraudloop.ledger.log import Group
from fraudloop.ledger.positions import Positions
from fraudloop.ledger.records import Activated, Changed, Configured, Labelled, Listed, Profiled, Record, Transacted, decode_all


@dataclass(slots=True)
class State:
    """key: 16 bytes of the id hash. next_lsn: everything below it is in here. received_us: the newest arrival.

    known: fingerprint of a transaction id -> LSN. labels: LSN of a payment -> LSN of its last label. positions: where records lie.
    columns: of rows. active: what was put in force last, by kind. entries: (list, entity, id) -> the entry.
    """

    key: bytes = DEFAULT_KEY
    next_lsn: int = 0
    received_us: int = 0
    columns: tuple[str, ...] = ()
    known: Known = field(default_factory=Known)
    labels: Known = field(default_factory=Known)
    positions: Positions = field(default_factory=Positions)
    active: dict[str, tuple[int, Activated]] = field(default_factory=dict)
    entries: dict[tuple[str, str, str], Listed] = field(default_factory=dict)
    fold: Fold | None = None
    batcher: Batcher | None = None

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
            place = (record.list, record.entity, record.id)
            if record.removed:
                self.entries.pop(place, None)
            else:
                self.entries[place] = record
        elif isinstance(record, Activated):
            if record.what == "features":
                self._plan(FeatureSet.from_dict(record.body))
        else:
            assert isinstance(record, Labelled | Profiled | Changed), "every kind of record is known"

    def _plan(self, features: FeatureSet) -> None:
        self.fold = Fold(compile_plan(features))
        self.batcher = Batcher(features, self.key)

    # --- ids -----------------------------------------------------------------------------------------------------

    def fingerprints(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Half of the keyed hash of each transaction id, int64 [n]."""
        return np.ascontiguousarray(hash_texts(ids, self.key)[:, 0]).view(np.int64)

    def row_of(self, record: Transacted) -> dict[str, Any]:
        """The canonical row of a record under the columns in force."""
        return dict(zip(self.columns, record.row, strict=True))
