"""An index over the log: what it holds, what it answers, and the one that fills it. No SQL here, and no personal field anywhere in it.

    log ──Reader──▶ Indexer: groups ─▶ Rows ─▶ Index.write(rows, watermark)      one transaction a batch, the watermark in it

An index holds facts by LSN and keyed 64-bit fingerprints to find them by; the record itself, its reasons, its vector and
whatever is personal stay in the log, which the index gives the place of. So an erasure has nothing to do here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple, Protocol

import numpy as np

from fraudloop.door.identity import DEFAULT_KEY, hash_texts
from fraudloop.errors import LedgerError
from fraudloop.ledger.files import Files
from fraudloop.ledger.groups import SEGMENT_BYTES, SegmentHeader
from fraudloop.ledger.log import Group, Reader, segments, unread
from fraudloop.ledger.records import Activated, Changed, Configured, Erased, Labelled, Listed, Record, Transacted, decode_all
from fraudloop.ledger.standing import Standing
from fraudloop.limits import INDEX_BATCH_RECORDS
from fraudloop.telemetry import Progress, silent


class Key(IntEnum):
    """What a payment is looked up by."""

    TRANSACTION = 0
    CUSTOMER = 1
    MERCHANT = 2


class Payment(NamedTuple):
    """A payment and its decision. customer, merchant: fingerprints. outcome and all after it are None where nothing was decided."""

    lsn: int
    received_us: int
    time_us: int
    transaction_id: str
    customer: int | None
    merchant_id: str | None
    merchant: int | None
    amount_base: int | None
    outcome: int | None
    tier: int | None
    decided: int | None
    fraud_score: float | None
    risk_score: float | None
    version: int | None


class Version(NamedTuple):
    """What decided: kept once, and named by number in payments. Numbers are given in the order of the log."""

    version: int
    model: str | None
    rules: str
    policy: str
    plan: str
    build: str
    slot: str


class Lookup(NamedTuple):
    """A fingerprint of a payment."""

    kind: int
    key: int
    lsn: int


class LabelRow(NamedTuple):
    """A label. payment: LSN of its payment. before, after: the label in force."""

    lsn: int
    payment: int
    transaction_id: str
    is_fraud: bool
    source: str
    known_us: int
    reason: str | None
    received_us: int
    before: int
    after: int


class Control(NamedTuple):
    """A record of what was put in force, listed, changed or erased. state: hash, `set`, `removed` or the new mode."""

    lsn: int
    kind: str
    what: str
    name: str
    state: str | None
    who: str
    why: str
    received_us: int


class Place(NamedTuple):
    """Where a group lies."""

    first_lsn: int
    segment: str
    offset: int


class Watermark(NamedTuple):
    """Everything below `next_lsn` of the log `log_id` is in the index. digest: of the group before it and all before that. standing:
    what holds for the next record (`Standing.encode`). received_us: the newest arrival, for the lag."""

    log_id: str
    next_lsn: int
    digest: str
    standing: str
    received_us: int


@dataclass(slots=True)
class Rows:
    """What a run of the log adds to an index, in the order of the log; lookups sorted by (kind, key, LSN)."""

    payments: list[Payment] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)
    labels: list[LabelRow] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ask:
    """Which payments a page is to show. from_us, until_us: of arrival, [from, until). outcomes: numbers of outcomes; None: any, and those
    only absorbed. customer, merchant: fingerprints (`fingerprint`). risk_min, risk_max: both included."""

    from_us: int | None = None
    until_us: int | None = None
    outcomes: frozenset[int] | None = None
    customer: int | None = None
    merchant: int | None = None
    risk_min: float | None = None
    risk_max: float | None = None


class Index(Protocol):
    """What every store does alike (`tests/contract/test_index.py`)."""

    def watermark(self) -> Watermark | None:
        """How far it is filled; None if it is empty."""
        ...

    def versions(self) -> list[Version]:
        """All, by number."""
        ...

    def write(self, rows: Rows, watermark: Watermark, after_lsn: int) -> None:
        """Add all rows and the watermark, or nothing. LedgerError if the index is not filled up to `after_lsn`: another one fills it."""
        ...

    def payments(self, transaction: int) -> list[Payment]:
        """Payments of a fingerprint of transaction ids, newest first; nearly always at most one."""
        ...

    def page(self, ask: Ask, *, before_lsn: int | None = None, limit: int = 50) -> list[Payment]:
        """The newest payments below an LSN, newest first; the LSN of the last one is the `before_lsn` of the next page."""
        ...

    def labels(self, payment_lsn: int) -> list[LabelRow]:
        """The labels of a payment, in the order they came."""
        ...

    def controls(self, *, after_lsn: int = -1, limit: int = 1_000) -> list[Control]:
        """Control records above an LSN, in order."""
        ...

    def place(self, lsn: int) -> Place | None:
        """The group that holds an LSN; None if it is not indexed."""
        ...

    def drop_before(self, lsn: int) -> None:
        """Forget all below an LSN that begins a segment, as retention removes it from the log."""
        ...

    def clear(self) -> None:
        """Forget everything."""
        ...

    def close(self) -> None:
        """Let go of the store; a second call does nothing."""
        ...


def fingerprint(text: str, key: bytes = DEFAULT_KEY) -> int:
    """What an id is looked up by: the first half of its keyed hash, as a signed number.

    >>> fingerprint("t1") == fingerprint("t1"), fingerprint("t1") == fingerprint("t2")
    (True, False)
    """
    return int(hash_texts([text], key)[0, 0].astype(np.int64))


class Reading:
    """Records into rows, in the order of the log: a fold that starts from what stands and the versions so far."""

    def __init__(self, standing: Standing, versions: Sequence[Version], key: bytes) -> None:
        self.standing, self._key = standing, key
        self._versions = {version[1:]: version.version for version in versions}
        self._received_us = 0

    def rows(self, groups: Sequence[Group], from_lsn: int = 0) -> Rows:
        """Of some groups; records below `from_lsn` were read before."""
        out = Rows()
        ids: list[str | None] = []
        customers: list[bytes] = []
        for group in groups:
            out.places.append(Place(group.first_lsn, group.segment, group.offset))
            for lsn, record in enumerate(decode_all(group.records), group.first_lsn):
                if lsn < from_lsn:
                    continue
                if isinstance(record, Transacted):
                    self._payment(lsn, record, out, ids, customers)
                elif isinstance(record, Labelled):
                    out.labels.append(
                        LabelRow(
                            lsn, record.lsn, record.transaction_id, record.is_fraud, record.source, record.known_us, record.reason,
                            record.received_us, record.before, record.after,
                        )
                    )  # fmt: skip
                else:
                    self.standing = self.standing.after(record)
                    control = control_of(lsn, record)
                    if control is not None:
                        out.controls.append(control)
        self._look_up(out, ids, customers)
        return out

    def _payment(self, lsn: int, record: Transacted, out: Rows, ids: list[str | None], customers: list[bytes]) -> None:
        standing = self.standing
        try:
            row = dict(zip(standing.columns, record.row, strict=True))
        except ValueError as error:
            raise LedgerError(
                f"LSN {lsn}: a payment of {len(record.row)} values under {len(standing.columns)} columns; verify the log", lsn=lsn
            ) from error
        identity, merchant, customer = row.get("transaction_id"), row.get("merchant_id"), row.get("customer_id")
        ids += (str(identity), None if merchant is None else str(merchant), None if customer is None else str(customer))
        hashed = b""
        if record.hashes and "customer_id" in standing.hashed:
            at = 16 * standing.hashed.index("customer_id")
            hashed = record.hashes[at : at + 8]
        customers.append(hashed)
        decision, version = record.decision, None
        if decision is not None:
            said = (decision.model, decision.rules, decision.policy, decision.plan, decision.build, decision.slot)
            version = self._versions.get(said)
            if version is None:
                version = self._versions[said] = len(self._versions)
                out.versions.append(Version(version, *said))
        base = row.get("amount_base")
        out.payments.append(
            Payment(
                lsn, record.received_us, _whole(row.get("timestamp")), str(identity), None, None if merchant is None else str(merchant), None,
                base if isinstance(base, int) else None,
                *((None,) * 6 if decision is None else (
                    decision.outcome, decision.tier, decision.decided, decision.fraud_score, decision.risk_score, version)),
            )
        )  # fmt: skip

    def _look_up(self, out: Rows, ids: list[str | None], customers: list[bytes]) -> None:
        """Fingerprints of all payments at once, into their rows and, sorted, into the lookups."""
        if not out.payments:
            return
        hashes = hash_texts(ids, self._key)
        keys = np.ascontiguousarray(hashes[:, 0]).view(np.int64).reshape(-1, 3)
        known = hashes.any(axis=1).reshape(-1, 3)
        for at, hashed in enumerate(customers):
            if hashed:
                keys[at, 2] = np.frombuffer(hashed, np.int64)[0]
                known[at, 2] = any(hashed)
        lsns = np.array([payment.lsn for payment in out.payments], np.int64)
        for kind, column in ((Key.TRANSACTION, 0), (Key.CUSTOMER, 2), (Key.MERCHANT, 1)):
            which = known[:, column]
            key, lsn = keys[which, column], lsns[which]
            order = np.lexsort((lsn, key))
            out.lookups += [Lookup(int(kind), k, n) for k, n in zip(key[order].tolist(), lsn[order].tolist(), strict=True)]
        rows = zip(out.payments, keys.tolist(), known.tolist(), strict=True)
        out.payments = [p._replace(customer=k[2] if has[2] else None, merchant=k[1] if has[1] else None) for p, k, has in rows]


def control_of(lsn: int, record: Record) -> Control | None:
    """The row of a control record; None for every other.

    >>> control_of(7, Changed("mode", "service", "observe", "first day", 5)).state
    'observe'
    """
    if isinstance(record, Activated):
        return Control(lsn, "Activated", record.what, "", record.hash, record.who, record.why, record.received_us)
    if isinstance(record, Listed):
        name, state = f"{record.entity}:{record.id}", "removed" if record.removed else "set"
        return Control(lsn, "Listed", record.list, name, state, record.who, record.why, record.received_us)
    if isinstance(record, Changed):
        return Control(lsn, "Changed", record.what, record.name, record.state, "", record.why, record.received_us)
    if isinstance(record, Erased):
        return Control(lsn, "Erased", "personal", record.subject.hex(), str(record.generation), record.who, record.why, record.received_us)
    if isinstance(record, Configured):
        return Control(lsn, "Configured", "columns", f"{len(record.columns)} columns", record.key_id, "", "", 0)
    return None


@dataclass(frozen=True, slots=True)
class Lag:
    """How far an index is behind its log. bytes: of segments not read yet; 0 means that nothing is. seconds: since the arrival of the newest
    record in it, 0 where it is not behind."""

    bytes: int
    seconds: float


class Indexer:
    """Fills an index from a log, from the watermark on; one at a time for an index. It may be killed at any point.

    files: of the log. key: of the id hash. begin: what stands at the log's first LSN where retention has removed what was before. patient:
    beside a writer, whose own flushes are waited for.
    """

    def __init__(
        self, files: Files, index: Index, *, key: bytes = DEFAULT_KEY, begin: Standing | None = None, patient: bool = False
    ) -> None:
        self._files, self._index, self._key, self._patient = files, index, key, patient
        #: Groups that were read and may not be on disk yet.
        self._ahead: list[Group] = []
        self._begin = begin or Standing()
        self._reader: Reader | None = None
        self._reading = Reading(self._begin, (), key)
        self._mark: Watermark | None = None
        self._log_id = ""

    def step(self, records: int = INDEX_BATCH_RECORDS) -> int:
        """Index at least so many records, if there are so many; how many were. 0: it has caught up, or what is left was appended just now.

        LedgerError: the log is not the one that was indexed, or was cut: `fraudloop ledger reindex` makes the index anew.
        """
        reader = self._open()
        if reader is None:
            return 0
        after = self._mark.next_lsn if self._mark is not None else self._ahead[0].first_lsn if self._ahead else reader.next_lsn
        groups = list(self._ahead)
        if not groups or groups[-1].next_lsn - after < records:
            for group in reader.read():
                groups.append(group)
                if group.next_lsn - after >= records:
                    break
        if not groups:
            return 0
        # A power failure must not leave the index ahead of its log. A later group tells what was on disk when it was written; asking
        # the disk would hold up the writer's own flush.
        durable = max(group.durable_lsn for group in groups)
        ready = [group for group in groups if group.next_lsn <= durable]
        if not ready:
            # Only at the end of the log: of a history that was imported with few flushes no group tells.
            at_the_end = groups[-1].next_lsn - after < records
            if self._patient and self._mark is not None and at_the_end and len(groups) > len(self._ahead):
                self._ahead = groups
                return 0
            self._files.sync(groups[-1].segment)
            ready = groups
        self._ahead = groups[len(ready) :]
        groups, count = ready, ready[-1].next_lsn - after
        rows = self._reading.rows(groups, after)
        newest = max([p.received_us for p in rows.payments] or [0])
        received = max(newest, self._mark.received_us if self._mark else 0)
        mark = Watermark(
            self._log_id, groups[-1].next_lsn, groups[-1].digest.hex(), self._reading.standing.encode().decode(), received
        )  # fmt: skip
        self._index.write(rows, mark, after if self._mark is not None else -1)
        self._mark = mark
        return count

    def catch_up(self, progress: Progress = silent) -> int:
        """Index until nothing is left; how many records."""
        done = 0
        while count := self.step():
            done += count
            progress("index", done, 0)
        if done:
            progress("index", done, done)
        return done

    def lag(self, now_us: int) -> Lag:
        """How far behind it is now."""
        self._open()
        behind = 0
        here = self._reader.place if self._reader is not None else None
        for segment in segments(self._files):
            if here is None or (segment.first_lsn, segment.epoch) > here[0]:
                behind += unread(self._files, segment.name)
            elif (segment.first_lsn, segment.epoch) == here[0]:
                behind += unread(self._files, segment.name, here[1])
        received = self._mark.received_us if self._mark else 0
        return Lag(behind, max(0, now_us - received) / 1e6 if behind and received else 0.0)

    def _open(self) -> Reader | None:
        """The reader at the watermark; None while the log is empty. LedgerError if it is not the log that was indexed."""
        if self._reader is not None:
            return self._reader
        row = segments(self._files)
        if not row:
            if self._index.watermark() is not None:
                raise LedgerError(
                    "the index is of a log that is not there any more; restore the log, or make the index anew: fraudloop ledger reindex"
                )
            return None
        log_id = SegmentHeader.decode(self._files.read(row[0].name, 0, SEGMENT_BYTES), row[0].name).log_id.hex()
        mark = self._index.watermark()
        if mark is not None and mark.log_id != log_id:
            raise LedgerError("the index is of another log; make it anew: fraudloop ledger reindex", index=mark.log_id, log=log_id)
        reader = Reader(self._files, mark.next_lsn if mark is not None else row[0].first_lsn)
        if reader.seek() and mark is not None and reader.digest.hex() != mark.digest:
            raise LedgerError(
                f"the index holds records up to LSN {mark.next_lsn} that this log does not: it was cut, or restored from a copy; "
                "make the index anew: fraudloop ledger reindex",
                lsn=mark.next_lsn,
            )
        self._reader, self._mark, self._log_id = reader, mark, log_id
        standing = Standing.decode(mark.standing) if mark is not None else self._begin
        self._reading = Reading(standing, self._index.versions(), self._key)
        return reader


def mask_of(outcomes: frozenset[int] | None) -> int | None:
    """Outcomes as bits, for a query."""
    return None if outcomes is None else sum(1 << outcome for outcome in outcomes)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
