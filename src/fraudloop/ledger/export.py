"""The log as tables, a folder a day (by arrival, UTC): payments with decisions and features, labels, control records, profiles.

    2026-01-31/payments.parquet    a row a payment; a further payments-2.parquet where columns or features changed that day
               labels.parquet, controls.parquet, profiles.parquet
               manifest.json       LSNs, digest, rows and hash of each file; written last

A day is written aside and gets its name at once, when a record of a later day is there. What is sealed stays sealed
(`personal`, `hashes`), so that an erasure reaches exports too; `read_payments` opens it with the vault. pyarrow is loaded when something
is written, polars when something is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from fraudloop.domain.outcome import Outcome
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.errors import LedgerError
from fraudloop.gently import GentleFile
from fraudloop.ledger.files import Files
from fraudloop.ledger.groups import SEGMENT_BYTES, SegmentHeader
from fraudloop.ledger.index import control_of
from fraudloop.ledger.log import Reader, segments
from fraudloop.ledger.personal import Vault, sealing_of, unseal_rows
from fraudloop.ledger.records import Decision, Labelled, Profiled, Record, Transacted, decode_all
from fraudloop.ledger.standing import Standing
from fraudloop.limits import DAY_US, EXPORT_ROWS
from fraudloop.scoring.durable import Disk
from fraudloop.telemetry import Progress, silent

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

MANIFEST: Final = "manifest.json"
METADATA: Final = b"fraudloop.export"
_PARTIAL: Final = ".partial"
_ASIDE: Final = ".writing"
_DAY: Final = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

#: Fields of a decision as columns, `decision_` before each, with their types in Arrow. `vector` stands as features.
DECISION: Final = {
    "outcome": "string", "tier": "string", "decided": "int8", "fraud_score": "double", "risk_score": "double", "hits": "words", "reasons": "reasons",
    "deferred": "bool", "why": "words", "status": "int64", "approximate": "int64", "model": "string", "rules": "string", "policy": "string", "plan": "string",
    "build": "string", "slot": "string", "control": "double", "latency_us": "int64", "method": "string",
}  # fmt: skip

LABELS: Final = {
    "lsn": "int64", "payment_lsn": "int64", "transaction_id": "string", "is_fraud": "bool", "source": "string", "known_at": "time", "reason": "string",
    "logged_at": "time", "before": "int8", "after": "int8", "in_force_at": "time", "before_known_at": "time", "rank": "int64",
}  # fmt: skip
CONTROLS: Final = {
    "lsn": "int64", "kind": "string", "what": "string", "name": "string", "state": "string", "who": "string", "why": "string", "logged_at": "time", "record": "string",
}  # fmt: skip
PROFILES: Final = {"lsn": "int64", "logged_at": "time", "profile": "string", "personal": "binary", "hashes": "binary"}

_ARROW: Final = {
    "String": "string", "Datetime(us, UTC)": "time", "Int8": "int8", "Int16": "int16", "Int32": "int32", "Int64": "int64", "Boolean": "bool", "Float64": "double",
}  # fmt: skip


class Day(msgspec.Struct, frozen=True):
    """What the folder of a day covers. first_lsn, next_lsn: its records, [first, next). digest: of the log up to `digest_lsn`, the end of the
    group that holds its last record. files: rows and hash of each. standing: what holds for the record after it."""

    day: str
    log_id: str
    first_lsn: int
    next_lsn: int
    digest: str
    digest_lsn: int
    payments: int
    labels: int
    controls: int
    profiles: int
    partial: bool
    files: dict[str, dict[str, Any]]
    standing: Standing


def days(out: Path) -> list[Day]:
    """The whole days that a folder holds, in order."""
    if not out.is_dir():
        return []
    return [_manifest(folder) for folder in sorted(out.iterdir()) if _DAY.match(folder.name) and folder.is_dir()]


def export(
    files: Files, out: Path, *, begin: Standing | None = None, partial: bool = False, disk: Disk | None = None, progress: Progress = silent
) -> list[Day]:
    """Write the days that are over and not there yet, in order; what was written. It goes on after the last day there.

    begin: what stands at the log's first LSN, where retention has removed what was before. partial: also the day that is not over, as
    `<day>.partial`, replaced by the next export. LedgerError: the days there are of another log, or the log no longer holds what follows them.
    """
    disk = disk or Disk()
    row = segments(files)
    if not row:
        return []
    log_id = SegmentHeader.decode(files.read(row[0].name, 0, SEGMENT_BYTES), row[0].name).log_id.hex()
    out.mkdir(parents=True, exist_ok=True)
    for folder in list(out.iterdir()):
        if folder.name.endswith((_ASIDE, _PARTIAL)):
            disk.remove_tree(folder)
    there = days(out)
    standing, from_lsn = begin or Standing(), row[0].first_lsn
    if there:
        standing, from_lsn = there[-1].standing, there[-1].next_lsn
        if there[-1].log_id != log_id:
            raise LedgerError(f"{out}: these days are of another log; export this one to another folder", log=log_id)
    reader = Reader(files, from_lsn)
    written: list[Day] = []
    current: _Writing | None = None
    waiting: list[tuple[int, Record, Standing]] = []  # records without a time belong to the day of the next that has one
    done = 0
    for group in reader.read():
        for lsn, record in enumerate(decode_all(group.records), group.first_lsn):
            if lsn < from_lsn:
                continue
            at_us = int(getattr(record, "received_us", 0))
            day = day_of(at_us) if at_us else ""
            if current is not None and day > current.day:
                files.sync(group.segment)
                written.append(current.finish(lsn, standing, reader.digest.hex(), group.next_lsn, partial=False))
                current = None
            standing = standing.after(record)
            waiting.append((lsn, record, standing))
            if current is None and day:
                current = _Writing(out, day, log_id, waiting[0][0], disk)
            if current is not None:
                for held in waiting:
                    current.add(*held)
                waiting = []
            done += 1
        progress("export", done, 0)
    if current is not None:
        if partial:
            written.append(current.finish(reader.next_lsn, standing, reader.digest.hex(), reader.next_lsn, partial=True))
        else:
            current.drop()
    return written


def read_payments(folder: Path, vault: Vault | None = None) -> pl.DataFrame:
    """The payments of a day's folder. vault: opens what is sealed; without it, and of erased subjects, personal columns are null."""
    import polars as pl

    parts = []
    manifest = _manifest(folder)
    for name in manifest.files:
        if name.startswith("payments"):
            frame = pl.read_parquet(folder / name)
            parts.append(frame if vault is None else _opened(frame, _sealed_columns(folder / name), vault))
    return pl.concat(parts, how="diagonal_relaxed") if parts else pl.DataFrame()


def check(folder: Path) -> Day:
    """The manifest of a day whose files are as they were written; LedgerError names one that is not."""
    manifest = _manifest(folder)
    for name, said in manifest.files.items():
        try:
            found = _hash(folder / name)
        except OSError as error:
            raise LedgerError(f"{folder / name}: cannot be read ({error.strerror})") from error
        if found != said["blake2b"]:
            raise LedgerError(f"{folder / name}: was changed since it was written; restore it from a copy")
    return manifest


def day_of(at_us: int) -> str:
    """The UTC day of a time.

    >>> day_of(1_767_225_600_000_000)
    '2026-01-01'
    """
    return (_EPOCH + timedelta(days=at_us // DAY_US)).strftime("%Y-%m-%d")


# --- writing --------------------------------------------------------------------------------------------------------


class _Parquet:
    """A Parquet file under way, written so that the log's flushes beside it do not wait."""

    def __init__(self, path: Path, schema: Any) -> None:
        import pyarrow.parquet as pq

        self._file = GentleFile(path)
        self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")

    def write(self, batch: Any) -> None:
        self._writer.write_batch(batch)

    def close(self, metadata: dict[bytes, bytes]) -> None:
        """On disk when it returns."""
        with self._file:
            self._writer.add_key_value_metadata(metadata)
            self._writer.close()
            self._file.sync()

    def drop(self) -> None:
        with self._file:
            self._writer.close()


class _Table:
    """Rows of one Parquet file, at most EXPORT_ROWS of them in memory."""

    def __init__(self, path: Path, schema: dict[str, str]) -> None:
        self.path, self.rows, self._schema = path, 0, schema
        self._held: list[Sequence[Any]] = []
        self._writer: _Parquet | None = None

    def add(self, row: Sequence[Any]) -> None:
        self._held.append(row)
        self.rows += 1
        if len(self._held) >= EXPORT_ROWS:
            self._flush()

    def close(self, metadata: bytes) -> None:
        self._flush()
        assert self._writer is not None, "there is a batch, if an empty one"
        self._writer.close({METADATA: metadata})

    def drop(self) -> None:
        if self._writer is not None:
            self._writer.drop()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = list(zip(*self._held, strict=True)) or [()] * len(self._schema)
        arrays = [pa.array(values, _type(kind)) for values, kind in zip(columns, self._schema.values(), strict=True)]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(self._schema))
        if self._writer is None:
            self._writer = _Parquet(self.path, batch.schema)
        self._writer.write(batch)
        self._held = []


class _Payments:
    """Payments under one standing; `fits` says whether one more goes in."""

    def __init__(self, path: Path, standing: Standing) -> None:
        self.path, self.rows, self.standing = path, 0, standing
        self._held: list[tuple[int, Transacted]] = []
        self._writer: _Parquet | None = None
        self._schema: Any = None
        self._sealed = bool(standing.sealed)
        own = {*standing.columns, *_payment_names()}
        self.features = tuple(f"feature_{name}" if name in own else name for name in standing.features)

    def fits(self, standing: Standing) -> bool:
        mine = self.standing
        return (mine.columns, mine.types, mine.sealed, mine.hashed, mine.features) == (
            standing.columns, standing.types, standing.sealed, standing.hashed, standing.features,
        )  # fmt: skip

    def add(self, lsn: int, record: Transacted) -> None:
        self._held.append((lsn, record))
        self.rows += 1
        if len(self._held) >= EXPORT_ROWS:
            self._flush()

    def close(self, metadata: bytes) -> None:
        self._flush()
        standing = msgspec.json.encode({"sealed": self.standing.sealed, "hashed": self.standing.hashed, "columns": self.standing.columns})
        assert self._writer is not None, "there is a batch, if an empty one"
        self._writer.close({METADATA: metadata, b"fraudloop.sealing": standing})

    def drop(self) -> None:
        if self._writer is not None:
            self._writer.drop()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._held:
            return
        standing, records = self.standing, [record for _, record in self._held]
        names, arrays = ["lsn", "logged_at"], [pa.array([lsn for lsn, _ in self._held], pa.int64())]
        arrays.append(pa.array([record.received_us for record in records], _type("time")))
        types = standing.types or ("",) * len(standing.columns)
        for at, (name, kind) in enumerate(zip(standing.columns, types, strict=True)):
            said = _ARROW.get(kind or TRANSACTION_SCHEMA.get(name, ""))
            values = [record.row[at] for record in records]
            if said is None:  # a log that does not say: as the values are, and in the part that is being written as they were
                known = None if self._schema is None else self._schema.field(name).type
                arrays.append(pa.array(values, known or _inferred(name, values)))
            else:
                arrays.append(pa.array(values, _type(said)))
            names.append(name)
        if self._sealed:
            names += ["personal", "hashes"]
            arrays += [pa.array([r.personal for r in records], pa.binary()), pa.array([r.hashes for r in records], pa.binary())]
        for name, kind in DECISION.items():
            names.append(f"decision_{name}")
            arrays.append(pa.array([None if r.decision is None else _told(r.decision, name) for r in records], _type(kind)))
        vectors, absent = self._vectors([record.decision for record in records])
        for at, name in enumerate(self.features):
            names.append(name)
            arrays.append(pa.array(vectors[:, at], pa.float64(), mask=absent))
        batch = pa.RecordBatch.from_arrays(arrays, names=names)
        if self._writer is None:
            self._schema = batch.schema
            self._writer = _Parquet(self.path, batch.schema)
        self._writer.write(batch)
        self._held = []

    def _vectors(self, decisions: Sequence[Decision | None]) -> tuple[np.ndarray, np.ndarray]:
        """float64 [n, features], and where there is none."""
        absent = np.array([decision is None for decision in decisions])
        width = len(self.features)
        out = np.full((len(decisions), width), np.nan)
        raw = b"".join(decision.vector for decision in decisions if decision is not None)
        count = int(np.count_nonzero(~absent))
        if len(raw) != 8 * width * count:
            raise LedgerError(
                f"LSN {self._held[0][0]} and after: vectors are not those of the {width} features in force; verify the log",
                lsn=self._held[0][0],
            )
        out[~absent] = np.frombuffer(raw, np.float64).reshape(count, width)
        return out, absent


class _Writing:
    """A day that is being written aside."""

    def __init__(self, out: Path, day: str, log_id: str, first_lsn: int, disk: Disk) -> None:
        self.day, self._out, self._log_id, self._first, self._disk = day, out, log_id, first_lsn, disk
        self._folder = out / f"{day}{_ASIDE}"
        disk.make_folder(self._folder)
        self._labels = _Table(self._folder / "labels.parquet", LABELS)
        self._controls = _Table(self._folder / "controls.parquet", CONTROLS)
        self._profiles = _Table(self._folder / "profiles.parquet", PROFILES)
        self._parts: list[_Payments] = []

    def add(self, lsn: int, record: Record, standing: Standing) -> None:
        if isinstance(record, Transacted):
            if not self._parts or not self._parts[-1].fits(standing):
                number = len(self._parts) + 1
                self._parts.append(
                    _Payments(self._folder / ("payments.parquet" if number == 1 else f"payments-{number}.parquet"), standing)
                )
            self._parts[-1].add(lsn, record)
        elif isinstance(record, Labelled):
            self._labels.add(
                (
                    lsn, record.lsn, record.transaction_id, record.is_fraud, record.source, record.known_us, record.reason, record.received_us,
                    record.before, record.after, record.time_us, record.before_known_us, record.rank,
                )
            )  # fmt: skip
        elif isinstance(record, Profiled):
            self._profiles.add((lsn, record.received_us, _json(record.row), record.personal, record.hashes))
        else:
            control = control_of(lsn, record)
            assert control is not None, "every other kind is a control record"
            self._controls.add((*control, _json(msgspec.structs.asdict(record))))

    def finish(self, next_lsn: int, standing: Standing, digest: str, digest_lsn: int, *, partial: bool) -> Day:
        covers = _json(
            {"day": self.day, "log_id": self._log_id, "first_lsn": self._first, "next_lsn": next_lsn, "digest": digest, "digest_lsn": digest_lsn, "partial": partial}
        ).encode()  # fmt: skip
        tables: list[_Table | _Payments] = [*self._parts, *(t for t in (self._labels, self._controls, self._profiles) if t.rows)]
        for table in tables:
            table.close(covers)
        files = {table.path.name: {"rows": table.rows, "blake2b": _hash(table.path)} for table in tables}
        day = Day(
            self.day, self._log_id, self._first, next_lsn, digest, digest_lsn, sum(part.rows for part in self._parts), self._labels.rows,
            self._controls.rows, self._profiles.rows, partial, files, standing,
        )  # fmt: skip
        self._disk.write(self._folder / MANIFEST, msgspec.json.format(msgspec.json.encode(day), indent=2) + b"\n")
        self._disk.sync_folder(self._folder)
        self._disk.rename(self._folder, self._out / (self.day + (_PARTIAL if partial else "")))
        self._disk.sync_folder(self._out)
        return day

    def drop(self) -> None:
        """Not to be kept after all."""
        tables: list[_Table | _Payments] = [*self._parts, self._labels, self._controls, self._profiles]
        for table in tables:
            table.drop()
        self._disk.remove_tree(self._folder)


def _payment_names() -> tuple[str, ...]:
    return ("lsn", "logged_at", "personal", "hashes", *(f"decision_{name}" for name in DECISION))


def _told(decision: Decision, name: str) -> Any:
    value = getattr(decision, name)
    if name in ("outcome", "tier"):
        return Outcome(value).name
    if name == "reasons":
        return [{"code": r.code, "text": r.text, "contribution": r.contribution, "source": r.source, "share": r.share} for r in value]
    return value


def _type(kind: str) -> pa.DataType:
    import pyarrow as pa

    if kind == "time":
        return pa.timestamp("us", "UTC")
    if kind == "words":
        return pa.list_(pa.string())
    if kind == "reasons":
        named = [
            ("code", pa.string()),
            ("text", pa.string()),
            ("contribution", pa.float64()),
            ("source", pa.string()),
            ("share", pa.float64()),
        ]
        return pa.list_(pa.struct(named))
    return pa.type_for_alias(kind)


def _inferred(name: str, values: Sequence[Any]) -> pa.DataType:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    for kind, found in ((str, pa.string()), (bool, pa.bool_())):
        if kinds == {kind}:
            return found
    if kinds and kinds <= {int, float}:
        return pa.int64() if kinds == {int} else pa.float64()
    if not kinds:
        return pa.string()
    raise LedgerError(f"column {name!r} holds values of several kinds, and the log does not say its type; verify the log")


def _hash(path: Path) -> str:
    hashed = blake2b(digest_size=32)
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            hashed.update(part)
    return hashed.hexdigest()


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# --- reading --------------------------------------------------------------------------------------------------------


def _manifest(folder: Path) -> Day:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Day)
    except (OSError, msgspec.MsgspecError) as error:
        raise LedgerError(f"{folder}: no day of an export, or its {MANIFEST} is damaged; remove the folder and export again") from error


def _sealed_columns(path: Path) -> dict[str, tuple[str, ...]]:
    import pyarrow.parquet as pq

    found: dict[str, tuple[str, ...]] = msgspec.json.decode(
        pq.read_metadata(path).metadata[b"fraudloop.sealing"], type=dict[str, tuple[str, ...]]
    )
    return found


def _opened(frame: pl.DataFrame, standing: dict[str, tuple[str, ...]], vault: Vault) -> pl.DataFrame:
    import polars as pl

    if not standing["sealed"]:
        return frame
    sealing = sealing_of(standing["columns"], standing["sealed"], standing["hashed"])
    held = zip(frame.select(sealing.columns).rows(), frame["personal"].to_list(), frame["hashes"].to_list(), strict=True)
    rows = unseal_rows(sealing, vault, list(held))
    return frame.with_columns(
        pl.Series(name, [row[name] for row in rows], dtype=frame.schema[name]) for name in sealing.sealed
    )  # fmt: skip
