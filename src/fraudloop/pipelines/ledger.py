"""What people do with a ledger: verify, show, audit, index, export, let go, erase. Each command of `fraudloop ledger` is one function here.

DATA/log/         segments, epoch, what stands at the beginning
index.sqlite the index, unless it is in PostgreSQL
export/      a folder a day
vault/       the keys of personal fields
snapshots/   of the engine
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from fraudloop.clock import Clock, SystemClock
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError, LedgerError
from fraudloop.ledger.export import Day, export
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.index import Index, Indexer, LabelRow, Lag, control_of, fingerprint
from fraudloop.ledger.log import Log, Reader, Verified, segments, verify
from fraudloop.ledger.personal import SUBJECTS, Vault, sealing_of, subject_of
from fraudloop.ledger.postgres_index import PostgresIndex
from fraudloop.ledger.records import MANY, Erased, Record, Transacted, decode, encode, kind_of
from fraudloop.ledger.retention import Plan, retain
from fraudloop.ledger.room import HeadRoom, disk_room
from fraudloop.ledger.sqlite_index import SqliteIndex
from fraudloop.ledger.standing import Standing, begin_of, standing_after
from fraudloop.limits import RETENTION_DAYS, STORE_TEXT_CHARACTERS_MAX
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent

LOG: Final = "log"
INDEX: Final = "index.sqlite"
EXPORT: Final = "export"
VAULT: Final = "vault"


@dataclass(frozen=True, slots=True)
class Shown:
    """A record with what is known of it. row, features: by name, of a payment. labels: as they came. erased: its personal fields were."""

    lsn: int
    kind: str
    record: dict[str, Any]
    row: dict[str, Any] | None = None
    features: dict[str, float] | None = None
    labels: tuple[dict[str, Any], ...] = ()
    erased: bool = False


@dataclass(frozen=True, slots=True)
class Audited:
    """A control record. digest: of the log up to `digest_lsn`, the end of its group: it stands for this record and all before it, so a log
    from which one was left out cannot have it."""

    lsn: int
    at: str | None
    kind: str
    what: str
    name: str
    state: str | None
    who: str
    why: str
    digest: str
    digest_lsn: int


@dataclass(frozen=True, slots=True)
class Indexed:
    """records: indexed now. next_lsn: up to where the index is filled. lag: of what came meanwhile."""

    records: int
    next_lsn: int
    lag: Lag


@dataclass(frozen=True, slots=True)
class ErasedNow:
    """lsn: of the record that says so. generation: of the key that was destroyed."""

    subject: str
    generation: int
    lsn: int


def verify_ledger(data: Path, progress: Progress = silent) -> Verified:
    """Check every digest and link of the log. LedgerError names file and byte of the first fault; InputError if there is no log."""
    return verify(files_of(data), progress)


def show_record(
    data: Path, *, lsn: int | None = None, transaction_id: str | None = None, settings: Settings | None = None, progress: Progress = silent
) -> Shown:
    """A record by its LSN, or the payment of an id. InputError if there is none. The index is used where there is one; without it the log is read."""
    files, key = files_of(data), (settings or Settings()).hash_key
    index = SqliteIndex(data / INDEX) if (data / INDEX).exists() else None
    try:
        if transaction_id is not None:
            lsn = _find(files, index, transaction_id, key, progress)
            if lsn is None:
                raise InputError(f"no payment {transaction_id!r} in {data}", transaction_id=transaction_id)
        assert lsn is not None, "an LSN or an id"
        record = _read(files, lsn)
        if not isinstance(record, Transacted):
            return Shown(lsn, type(record).__name__, _plain(record))
        standing = standing_at(files, lsn)
        vault = _vault_of(data, record)
        row = sealing_of(standing.columns, standing.sealed, standing.hashed).unseal(vault, record.row, record.personal, record.hashes)
        features = None
        if record.decision is not None:
            features = dict(zip(standing.features, np.frombuffer(record.decision.vector, np.float64).tolist(), strict=True))
        labels: list[LabelRow] = index.labels(lsn) if index is not None else []
        erased = bool(record.personal) and vault is not None and all(row[name] is None for name in standing.sealed)
        return Shown(lsn, "Transacted", _plain(record), row, features, tuple(label._asdict() for label in labels), erased)
    finally:
        if index is not None:
            index.close()


def audit(data: Path, *, after_lsn: int = -1, progress: Progress = silent) -> Iterator[Audited]:
    """Every control record above an LSN, in order, each with the digest of the log there. The whole log is read and checked on the way."""
    files = files_of(data)
    row = segments(files)
    reader = Reader(files, row[0].first_lsn)
    total, before, here = sum(files.size(segment.name) for segment in row), 0, row[0].name
    for group in reader.read():
        if group.segment != here:
            before, here = before + files.size(here), group.segment
        progress("audit", before + group.offset, total)
        for lsn, raw in enumerate(group.records, group.first_lsn):
            if lsn <= after_lsn or kind_of(raw) in MANY:
                continue
            control = control_of(lsn, decode(raw))
            assert control is not None, "what may not be many is a control record"
            at = _time(control.received_us) if control.received_us else None
            yield Audited(lsn, at, *control[1:7], reader.digest.hex(), group.next_lsn)
    progress("audit", total, total)


def index_ledger(
    data: Path,
    *,
    url: str | None = None,
    anew: bool = False,
    settings: Settings | None = None,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> Indexed:
    """Fill the index up to the log's end. url: of PostgreSQL instead of the file. anew: forget it first. A run that is killed is gone on with."""
    files = files_of(data)
    index = open_index(data, url)
    try:
        if anew:
            index.clear()
        indexer = Indexer(files, index, key=(settings or Settings()).hash_key, begin=begin_of(files))
        done = indexer.catch_up(progress)
        mark = index.watermark()
        return Indexed(done, mark.next_lsn if mark is not None else 0, indexer.lag((clock or SystemClock()).now_us()))
    finally:
        index.close()


def export_ledger(data: Path, *, out: Path | None = None, partial: bool = False, progress: Progress = silent) -> list[Day]:
    """Write the days that are over and not exported yet. out: another folder than DATA/export."""
    files = files_of(data)
    return export(files, out or data / EXPORT, begin=begin_of(files), partial=partial, progress=progress)


def retain_ledger(
    data: Path, *, snapshot_lsn: int, days: int = RETENTION_DAYS, url: str | None = None, dry: bool = False, clock: Clock | None = None, progress: Progress = silent,
) -> tuple[Plan, HeadRoom]:  # fmt: skip
    """Let go of segments older than `days`, as `ledger.retention` says; and how much room the disk then has."""
    files = files_of(data)
    index = open_index(data, url)
    try:
        now_us = (clock or SystemClock()).now_us()
        done = retain(
            files, data / EXPORT, index, snapshot_lsn=snapshot_lsn, now_us=now_us, retention_days=days, dry=dry, progress=progress
        )
        return done, disk_room(data)
    finally:
        index.close()


def erase(
    data: Path, column: str, text: str, *, who: str, why: str, settings: Settings | None = None, clock: Clock | None = None
) -> ErasedNow:
    """Make the personal fields of a subject unreadable for good: a record in the log says so first, then the key is destroyed.

    column: `customer_id`, or one of `ledger.personal.SUBJECTS` for payments that name no customer. The log must not be written by a service at
    the time (LedgerError): a running one holds the keys in memory and is told instead. InputError: nothing in this log is sealed.
    """
    for name, value in (("who", who), ("why", why), (column, text)):
        if not value.strip() or len(value) > STORE_TEXT_CHARACTERS_MAX:
            raise InputError(f"{name} has 1 to {STORE_TEXT_CHARACTERS_MAX:,} characters")
    if column not in SUBJECTS:
        raise InputError(f"{column!r} names no subject; it must be one of {', '.join(SUBJECTS)}")
    files = files_of(data)
    row = segments(files)
    standing = standing_after(begin_of(files), Reader(files, row[0].first_lsn).read()) if row else Standing()
    if not standing.sealed:
        raise InputError(f"{data}: the records of this log are not sealed, so nobody can be erased from it")
    subject = subject_of(column, text, (settings or Settings()).hash_key)
    vault = Vault.open(data / VAULT, make=False)
    try:
        log = Log.open(files)
    except LedgerError as error:
        files.close()
        raise LedgerError(f"{error}. A running service holds the keys in memory: tell it to erase, or stop it first") from error
    generation = vault.generation(subject)
    record = Erased(subject.tobytes(), generation, who, why, (clock or SystemClock()).now_us())
    lsn = log.append(log.epoch, [encode(record)])
    log.close()
    # From here on whoever opens vault and log together completes it (`complete_erasures`).
    vault.erase(subject, generation)
    vault.close()
    return ErasedNow(record.subject.hex(), generation, lsn)


def complete_erasures(data: Path) -> int:
    """Destroy every key that the log says was: after a crash between the two steps of `erase`, or when a vault came back from a copy.
    How many there are in the log."""
    files = files_of(data)
    row = segments(files)
    said = [
        (np.frombuffer(record.subject, np.uint64), record.generation)
        for group in (Reader(files, row[0].first_lsn).read() if row else ())
        for raw in group.records
        if kind_of(raw) not in MANY and isinstance(record := decode(raw), Erased)
    ]
    if said:
        vault = Vault.open(data / VAULT, make=False)
        vault.erase_many(said)
        vault.close()
    return len(said)


def open_index(data: Path, url: str | None = None) -> Index:
    """The index of a data folder: a file in it, or PostgreSQL by URL."""
    return PostgresIndex(url) if url else SqliteIndex(data / INDEX)


def files_of(data: Path) -> FolderFiles:
    """The log's folder; InputError if there is none."""
    if not (data / LOG).is_dir():
        raise InputError(f"{data}: no ledger, it has no folder {LOG}; name the data folder of a service")
    return FolderFiles(data / LOG)


def standing_at(files: FolderFiles, lsn: int) -> Standing:
    """What stands for the record at an LSN."""
    return standing_after(begin_of(files), Reader(files, segments(files)[0].first_lsn).read(), lsn)


def _read(files: FolderFiles, lsn: int) -> Record:
    row = segments(files)
    if row and row[0].first_lsn <= lsn:
        for group in Reader(files, lsn).read():
            if group.first_lsn <= lsn < group.next_lsn:
                return decode(group.records[lsn - group.first_lsn])
    kept = f"; it holds {row[0].first_lsn} and after" if row else ""
    raise InputError(f"no record with LSN {lsn} in this log{kept}", lsn=lsn)


def _find(files: FolderFiles, index: Index | None, name: str, key: bytes, progress: Progress) -> int | None:
    """The LSN of a payment: by the index, then in what the log has beyond it."""
    mark = index.watermark() if index is not None else None
    if index is not None and mark is not None:
        for payment in index.payments(fingerprint(name, key)):
            if payment.transaction_id == name:
                return payment.lsn
    row = segments(files)
    if not row:
        return None
    needle = name.encode()
    for group in Reader(files, mark.next_lsn if mark is not None else row[0].first_lsn).read():
        progress("search", group.next_lsn, 0)
        for lsn, raw in enumerate(group.records, group.first_lsn):
            if needle in raw and isinstance(record := decode(raw), Transacted) and name in record.row:
                return lsn
    return None


def _vault_of(data: Path, record: Transacted) -> Vault | None:
    return Vault.open(data / VAULT, make=False) if record.personal and (data / VAULT).is_dir() else None


def _plain(record: Record) -> dict[str, Any]:
    """A record as plain data; sealed bytes and vectors by their length only."""
    out: dict[str, Any] = msgspec.to_builtins(msgspec.structs.asdict(record), builtin_types=(bytes,))
    if isinstance(record, Transacted):
        del out["row"]
        if record.decision is not None:
            decision = msgspec.structs.asdict(record.decision)
            del decision["vector"]
            decision |= {"outcome": Outcome(record.decision.outcome).name, "tier": Outcome(record.decision.tier).name}
            decision["reasons"] = [msgspec.structs.asdict(reason) for reason in record.decision.reasons]
            out["decision"] = decision
    return {name: f"{len(value)} bytes" if isinstance(value, bytes) else value for name, value in out.items()}


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def facts(found: Any) -> dict[str, Any]:
    """A result as plain data for `--json`."""
    if isinstance(found, msgspec.Struct):
        out: dict[str, Any] = msgspec.to_builtins(found)
        return out
    return asdict(found)
