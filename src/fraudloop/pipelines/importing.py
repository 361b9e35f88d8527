"""`ledger import`: a company's history, labels and profiles into log and state, as if they had been told one by one.

The file goes through the door as every table does, gets its order as `docs/semantics.md`, "Order", has it, and is appended in large groups.
Each group says how far it came, so a run that was stopped goes on where it was. Nothing is decided.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from fraudloop.clock import Clock, SystemClock
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED, Ingested, read
from fraudloop.domain.label import DEFAULT_SOURCE, Label
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.assemble import assemble
from fraudloop.door.events import LABEL, PROFILE, TRANSACTION, Events
from fraudloop.door.identity import hash_column
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.intake import last_label, settled
from fraudloop.engine.service import Service
from fraudloop.engine.snapshots import write
from fraudloop.errors import InputError
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.records import Changed, Labelled, Record, decode, encode
from fraudloop.pipelines.data import column_map, resources
from fraudloop.pipelines.sealers import Sealers, runs_of
from fraudloop.pipelines.shift import arrivals, part, shift_us, shifted
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent

#: Events of a group. Larger ones are lost as a whole when torn, and their bytes must stay below LOG_GROUP_BYTES_MAX.
_GROUP_EVENTS: Final = 2_048

#: Events whose records are made together, some groups; and how many of such runs are worth the start of a process.
_RUN_EVENTS: Final = 4 * _GROUP_EVENTS
_RUNS_MIN: Final = 12


@dataclass(frozen=True, slots=True)
class Imported:
    """What is in the log now. transactions, labels, profiles: appended by this run; already: events that an earlier run of the same
    file had appended; rejected: rows that could not be used. seconds: of appending and folding; next_lsn: where the log goes on; shift_us: what was
    added to every time."""

    transactions: int
    labels: int
    profiles: int
    already: int
    rejected: int
    seconds: float
    next_lsn: int
    digest: str
    report: dict[str, Any]
    shift_us: int = 0


def import_file(
    path: Path,
    config: ServeConfig,
    *,
    columns: str | Path = "native",
    labels: Path | None = None,
    profiles: Path | None = None,
    shift: str | None = None,
    until_us: int | None = None,
    max_rejected: float = DEFAULT_MAX_REJECTED,
    settings: Settings | None = None,
    clock: Clock | None = None,
    processes: int = 0,
    progress: Progress = silent,
) -> Imported:
    """Append a file to the log of a data folder, and write a snapshot of the state after it.

    shift: `now` or a duration that is added to every time of the file (`pipelines.shift`); what then lies after now is left out. until_us: only
    what arrived, and what was known, by then, in times after the shift. processes: that seal records beside this one (`pipelines.sealers`:
    the main module must begin nothing on import); a small file starts none.

    The service of that folder must not run (LedgerError). InputError if the file's events are older than what the log has:
    history comes before live traffic, because the log's order is the order of arrival.
    """
    settings, clock = settings or Settings(), clock or SystemClock()
    mapped = column_map(columns, settings)
    ingested = read(
        path, mapped, None, max_rejected, labels=labels, profiles=profiles, resources=resources(mapped, settings), progress=progress
    )
    moved_us = 0
    if ingested.transactions.height and (shift is not None or until_us is not None):
        now_us = clock.now_us()
        moved_us = shift_us(shift, int(arrivals(ingested.transactions).max()), now_us)  # type: ignore[arg-type]
        ends = [end for end in (until_us, None if shift is None else now_us) if end is not None]
        ingested = part(shifted(ingested, moved_us), until_us=min(ends))
    if not ingested.transactions.height:
        raise InputError(f"{path}: no transactions to import")
    names = (*TRANSACTION_SCHEMA, *mapped.shape.extra)
    files = FolderFiles(config.log)
    past = _PastClock(_first_us(ingested), clock)
    service = Service.open(
        config, files, BundleStore(settings.store), past, lambda lsn: None, key=settings.hash_key, columns={**TRANSACTION_SCHEMA, **mapped.shape.types}, units={"amount": settings.base_currency}, progress=progress,
    )  # fmt: skip
    try:
        run = _Run(
            service,
            ingested,
            names,
            _source_of(path, labels, profiles, moved_us=moved_us),
            settings.hash_key,
            config.folder / "vault",
            processes,
            moved_us,
        )
        found = run.append(progress)
    finally:
        service.close()
    write(config.snapshots, service.engine.state)
    return found


class _PastClock:
    """A new log begins when its history does: what is put in force at its start is in force for all of it."""

    def __init__(self, first_us: int, clock: Clock) -> None:
        self._first_us, self._clock = first_us, clock

    def now_us(self) -> int:
        return self._first_us

    def elapsed_ns(self) -> int:
        return self._clock.elapsed_ns()


def _first_us(ingested: Ingested) -> int:
    table = ingested.transactions
    first = int(table["timestamp"].dt.timestamp("us").min())  # type: ignore[arg-type]
    told = [int(frame[name].dt.timestamp("us").min()) for frame, name in ((ingested.profiles, "time"),) if frame.height]  # type: ignore[arg-type]
    return max(0, min([first, *told]))


class _Run:
    """One file on its way into one log."""

    def __init__(
        self, service: Service, ingested: Ingested, names: Sequence[str], source: str, key: bytes, vault: Path, processes: int = 0, moved_us: int = 0
    ) -> None:  # fmt: skip
        self.moved_us, self.vault, self.processes = moved_us, vault, processes
        self.service, self.engine, self.source = service, service.engine, source
        state = self.engine.state
        self.ingested = ingested
        table = ingested.transactions
        self.ids = np.ascontiguousarray(hash_column(table["transaction_id"], key)[:, 0]).view(np.int64)
        self.done = state.imports.get(source, 0)
        if not self.done:
            known = state.known.get(self.ids)
            if bool((known >= 0).any()):
                first = table["transaction_id"][int(np.argmax(known >= 0))]
                raise InputError(
                    f"{int((known >= 0).sum()):,} of these payments are in the log already, the first is {first!r}; leave them out",
                    transaction_id=first,
                )
        segments = [name for name in ingested.transactions.columns if name not in TRANSACTION_SCHEMA and name not in names]
        self.events: Events = assemble(table.drop(segments), ingested.labels, ingested.profiles, state.features, key)
        if self.done < len(self.events) and int(self.events.received_us[self.done]) < state.received_us:
            raise InputError(
                f"the log has arrivals up to {_time(state.received_us)}, and this file begins at {_time(int(self.events.received_us[self.done]))}; "
                "history is imported before live traffic: into an empty data folder"
            )
        self._columns(_rows_of(table, names))
        #: LSN of a payment -> its last label, of this run.
        self.last: dict[int, Labelled] = {}
        #: LSN -> the payments that have labels, as far as this run appended them.
        self.payments: dict[int, Record] = {}
        self.labels = ingested.labels.select(
            "transaction_id", "is_fraud", pl.col("source").fill_null(DEFAULT_SOURCE), pl.col("known_at").dt.timestamp("us"), "reason"
        )
        self.profiles = ingested.profiles.with_columns(pl.col(pl.Datetime).dt.timestamp("us"))
        self.of_id = _places(table["transaction_id"], self.labels["transaction_id"])
        self.has_label = np.zeros(table.height, np.bool_)
        self.has_label[self.of_id[self.of_id >= 0]] = True

    def _columns(self, rows: pl.DataFrame) -> None:
        """What records hold in the open and what sealed; hashes: for each hashed column its place among the events' keys, or the hashes."""
        state = self.engine.state
        sealing, batcher = state.sealing, state.batcher
        assert batcher is not None, "features are active"
        sealed = () if sealing is None else sealing.sealed
        self.public = rows.with_columns(pl.lit(None).alias(name) for name in sealed)
        self.personal = rows.select(sealed)
        places = {batcher.key_columns[name]: at for at, name in enumerate(self.events.key_names)}
        self.hashes = [
            (places[name], None) if name in places else (-1, hash_column(rows[name], state.key))
            for name in (() if sealing is None else sealing.hashed)
        ]

    def append(self, progress: Progress) -> Imported:
        events, state, log = self.events, self.engine.state, self.engine.log
        assert state.fold is not None
        lsn_of = np.full(len(self.ids), -1, np.int64)
        if self.done:
            before = events[: self.done]
            lsn_of[before.row[before.kind == TRANSACTION]] = state.known.get(self.ids[before.row[before.kind == TRANSACTION]])
        counts = {TRANSACTION: 0, LABEL: 0, PROFILE: 0}
        start, already, total = time.monotonic(), self.done, len(events)
        for begin, payments in self._groups():
            part = events[begin : begin + _GROUP_EVENTS]
            end = begin + len(part)
            first = log.next_lsn
            paid = np.flatnonzero(part.kind == TRANSACTION)
            rows = part.row[paid]
            lsn_of[rows] = first + paid
            received = part.received_us.tolist()
            told = payments
            if len(paid) < len(part):
                told = [b""] * len(part)
                for at, record in zip(paid.tolist(), payments, strict=True):
                    told[at] = record
            for at in np.flatnonzero(self.has_label[rows]).tolist():
                self.payments[first + int(paid[at])] = decode(payments[at])
            labels = np.flatnonzero(part.kind == LABEL)
            of = np.empty(len(labels), np.int64)
            for number, at in enumerate(labels.tolist()):
                label = self._label(int(part.row[at]), received[at], lsn_of)
                told[at], of[number] = encode(label), label.lsn
            for at in np.flatnonzero(part.kind == PROFILE).tolist():
                told[at] = encode(state.profiled(self.profiles.row(int(part.row[at]), named=True), received[at]))
            mark = Changed("import", self.source, str(end), "", received[-1])
            state.fold.step(part)
            log.append(log.epoch, [*told, encode(mark)])
            self._note(first, rows, lsn_of, of, first + labels, mark)
            if begin // _GROUP_EVENTS % 64 == 63:
                self.engine.flusher.wanted()  # beside the work
            if self.engine.failed is not None:
                raise self.engine.failed
            for kind in counts:
                counts[kind] += int(np.count_nonzero(part.kind == kind))
            progress("importing", end, total)
        log.flush()
        return Imported(
            counts[TRANSACTION], counts[LABEL], counts[PROFILE], already, self.ingested.rejected.height + self.events.rejected.height,  # type: ignore[attr-defined]
            time.monotonic() - start, log.next_lsn, state.digest(), self.ingested.report, self.moved_us,
        )  # fmt: skip

    def _groups(self) -> Iterator[tuple[int, list[bytes]]]:
        """Where each group of events begins, and the records of its payments."""
        state, total = self.engine.state, len(self.events)
        begins = [*range(self.done, total, _RUN_EVENTS)]
        processes = self.processes if len(begins) > _RUNS_MIN else 0
        with Sealers(state.sealing, state.vault, self.vault, processes) as sealers:
            runs = runs_of(self.public, self.personal, self.hashes, map(self._span, begins))
            for begin, records in zip(begins, sealers.records(runs), strict=True):
                at = 0
                for group in range(begin, min(total, begin + _RUN_EVENTS), _GROUP_EVENTS):
                    count = int(np.count_nonzero(self.events.kind[group : min(group + _GROUP_EVENTS, begin + _RUN_EVENTS)] == TRANSACTION))
                    yield group, records[at : at + count]
                    at += count

    def _span(self, begin: int) -> tuple[Any, Any, Any]:
        """The payments of a run: their rows, the keys of their events, when they arrived."""
        part = self.events[begin : begin + _RUN_EVENTS]
        paid = np.flatnonzero(part.kind == TRANSACTION)
        return part.row[paid], part.keys[paid], part.received_us[paid]

    def _note(self, first: int, rows: Any, lsn_of: Any, labelled: Any, label_lsns: Any, mark: Changed) -> None:
        """As `State.note`, for many at once. labelled: the payments that labels are of, label_lsns: where these lie; mark: the last record."""
        state, log = self.engine.state, self.engine.log
        state.positions.add(first, *log.place)
        state.chain = log.digest
        state.known.put(self.ids[rows], lsn_of[rows])
        if len(labelled):
            state.labels.put(labelled, label_lsns)
        state.change(mark)
        state.next_lsn = log.next_lsn
        state.received_us = max(state.received_us, mark.received_us)

    def _label(self, row: int, received_us: int, lsn_of: Any) -> Labelled:
        """The record of a label, settled as one that arrives alone is."""
        state, files = self.engine.state, self.engine.log.files
        transaction_id, is_fraud, source, known_us, reason = self.labels.row(row)
        lsn = int(lsn_of[self.of_id[row]])
        payment: Any = self.payments.get(lsn)
        if payment is None:
            payment = decode(state.positions.read(files, lsn))
        before = self.last.get(lsn)
        if before is None and self.done:
            found = last_label(state, files, lsn)
            before = None if found is None else found[1]
        label = Label(transaction_id, bool(is_fraud), int(known_us), source, reason)
        record = self.last[lsn] = settled(lsn, payment, label, received_us, before)
        return record


def _rows_of(table: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The columns of the log in their order, times in microseconds; a payment without a time of arrival arrived when it took place."""
    have = set(table.columns)
    frame = table.select([pl.col(name) if name in have else pl.lit(None).alias(name) for name in names])
    return frame.with_columns(pl.coalesce("received_at", "timestamp").alias("received_at")).with_columns(
        pl.col(pl.Datetime).dt.timestamp("us")
    )


def _places(ids: pl.Series, wanted: pl.Series) -> Any:
    """The row of each wanted id, -1 where there is none."""
    left = pl.DataFrame({"id": wanted})
    right = pl.DataFrame({"id": ids}).with_row_index("at")
    return left.join(right, on="id", how="left", maintain_order="left")["at"].cast(pl.Int64).fill_null(-1).to_numpy()


def _source_of(*paths: Path | None, moved_us: int = 0) -> str:
    """A name for the content of some files, at the times that they are given."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        if path is None:
            digest.update(b"-")
            continue
        with Path(path).open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    if moved_us:
        digest.update(b"%d" % moved_us)
    return digest.hexdigest()


def _time(us: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(us // 1_000_000))
