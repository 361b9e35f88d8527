"""`features`: from a table of past transactions to the numbers the service would have seen, row by row.

The only way from a file to features: training, scoring and evaluation go through it. Each step is a function of
another room; this one puts them one after the other and keeps memory in bounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fraudloop.data.columns import ColumnMap
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED, Ingested, check_writable, read
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.label import Label, effective
from fraudloop.door.assemble import assemble
from fraudloop.door.events import TRANSACTION, Events
from fraudloop.errors import InputError
from fraudloop.features.fold import Fold, Vectors
from fraudloop.features.plan import compile_plan
from fraudloop.pipelines.data import column_map, resources
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent

#: Columns beside the features: whether the transaction came in time for its windows, and the entities beyond the exact bound.
WINDOW_STATUS: Final = "window_status"
APPROXIMATE: Final = "approximate"
STATUS_WORDS: Final = ("in_time", "too_late", "too_early")

#: Events folded at a time. Smaller runs show progress more often, larger ones make larger row groups; 262,144 rows of
#: 60 features are 126 MB.
CHUNK_EVENTS: Final = 262_144

#: What a Parquet file of features says about itself.
_HASH: Final = b"fraudloop.features"
_DEFINITIONS: Final = b"fraudloop.definitions"
_SOURCE: Final = b"fraudloop.source"

#: Columns of the canonical table that a feature file does not repeat: the features stand for them.
_NOT_KEPT: Final = ("amount_minor", "rate_version", "zone_offset")


@dataclass(frozen=True, slots=True)
class Folded:
    """A table of features, and what reading and folding it told. withheld: its columns that no model may read."""

    table: pl.DataFrame
    labels: pl.DataFrame
    report: dict[str, Any]
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A file of features: rows, the fold's counters, the digest of the state after the last row."""

    path: Path
    rows: int
    features: tuple[str, ...]
    counts: dict[str, int]
    digest: str
    report: dict[str, Any]


def feature_table(
    path: str | Path, columns: str | Path, features: FeatureSet, *, settings: Settings | None = None, progress: Progress = silent
) -> pl.DataFrame:
    """One row a transaction, in source order: the canonical columns, the features (Float64, NaN = missing), `is_fraud`
    (the label in force at the end, null where nobody said anything) and `label_known_at`."""
    return fold_file(path, columns, features, settings=settings, progress=progress).table


def fold_file(
    path: str | Path, columns: str | Path | ColumnMap, features: FeatureSet, *, settings: Settings | None = None, labels: Path | None = None,
    profiles: Path | None = None, max_rejected: float = DEFAULT_MAX_REJECTED, segments: Sequence[str] = (), progress: Progress = silent,
) -> Folded:  # fmt: skip
    """Read a file through the door and fold it: `feature_table` with the labels and the report of the reading.

    segments: columns of the file that come along for reports; those that the map does not know go to `withheld`.

    InputError and its kinds say what in the file or the map cannot be used.
    """
    mapped = column_map(columns, settings or Settings(), [name for name in segments if name not in features.names])
    ingested, events = events_of(
        path, mapped, features, settings=settings, labels=labels, profiles=profiles, max_rejected=max_rejected, progress=progress
    )
    fold = Fold(compile_plan(features))
    rows = ingested.transactions.height
    values = np.empty((len(features.names), rows))
    status, approximate = np.zeros(rows, np.uint8), np.zeros(rows, np.uint32)
    done = 0
    for at, vectors in _steps(fold, events):
        values[:, at] = vectors.values.T
        status[at], approximate[at] = vectors.status, vectors.approximate
        done += len(at)
        progress("folding", done, rows)
    made = {name: pl.Series(name, values[i]) for i, name in enumerate(features.names)}
    table = _kept(ingested).with_columns(*made.values(), *_flags(status, approximate))
    table = table.join(labels_in_force(ingested.labels), on="transaction_id", how="left", maintain_order="left")
    return Folded(table, ingested.labels, {**ingested.report, "fold": fold.counts()}, tuple(mapped.shape.segments))


def features_file(
    path: str | Path, out: str | Path, columns: str | Path, features: str | Path | FeatureSet | None = None, *, settings: Settings | None = None,
    labels: Path | None = None, profiles: Path | None = None, max_rejected: float = DEFAULT_MAX_REJECTED, progress: Progress = silent,
) -> Written:  # fmt: skip
    """Fold a file into a Parquet or CSV file of features, in log order, a row group at a time.

    The file holds the canonical columns, the features, `window_status`, `approximate`, `is_fraud` and `label_known_at`.
    """
    out = Path(out)
    if out.suffix not in (".parquet", ".csv"):
        raise InputError(f"--out {out}: the name must end in .parquet or .csv")
    check_writable(out)
    feature_set = features_of(features, columns)
    ingested, events = events_of(
        path, columns, feature_set, settings=settings, labels=labels, profiles=profiles, max_rejected=max_rejected, progress=progress
    )
    beside = _kept(ingested).join(labels_in_force(ingested.labels), on="transaction_id", how="left", maintain_order="left")
    fold = Fold(compile_plan(feature_set))
    temporary = out.with_name(f".{out.name}.part")
    writer: pq.ParquetWriter | None = None
    done, total = 0, ingested.transactions.height
    try:
        with temporary.open("wb") as file:
            for at, vectors in _steps(fold, events):
                made = [pl.Series(name, np.ascontiguousarray(vectors.values[:, i])) for i, name in enumerate(feature_set.names)]
                chunk = beside[at].with_columns(*made, *_flags(vectors.status, vectors.approximate))
                if out.suffix == ".csv":
                    chunk.write_csv(file, include_header=done == 0)
                else:
                    arrow = chunk.to_arrow()
                    writer = writer or pq.ParquetWriter(file, _stamped(arrow.schema, feature_set, Path(path).name), compression="zstd")
                    writer.write_table(arrow.cast(writer.schema))
                done += len(at)
                progress("folding", done, total)
            if writer is not None:
                writer.close()
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    return Written(out, done, feature_set.names, fold.counts(), fold.digest(), ingested.report)


def features_of(features: str | Path | FeatureSet | None, columns: str | Path | ColumnMap) -> FeatureSet:
    """The feature set asked for, else the one that the column map names."""
    if isinstance(features, FeatureSet):
        return features
    if features is None:
        features = (columns if isinstance(columns, ColumnMap) else ColumnMap.load(columns)).features
    return FeatureSet.load(features)


def events_of(
    path: str | Path, columns: str | Path | ColumnMap, features: FeatureSet, *, settings: Settings | None = None, labels: Path | None = None,
    profiles: Path | None = None, max_rejected: float = DEFAULT_MAX_REJECTED, progress: Progress = silent,
) -> tuple[Ingested, Events]:  # fmt: skip
    """A file as events in log order, with the canonical tables they came from."""
    settings = settings or Settings()
    mapped = columns if isinstance(columns, ColumnMap) else column_map(columns, settings)
    ingested = read(
        path, mapped, None, max_rejected, labels=labels, profiles=profiles, resources=resources(mapped, settings), progress=progress
    )
    if not ingested.transactions.height:
        raise InputError(f"{path}: no transactions to fold")
    progress("putting in order", 0, 0)
    # What only reports may see is gone before any feature could be made of it.
    seen = ingested.transactions.drop(list(mapped.shape.segments))
    return ingested, assemble(seen, ingested.labels, ingested.profiles, features, settings.hash_key)


def labels_in_force(labels: pl.DataFrame) -> pl.DataFrame:
    """One row a labelled transaction: transaction_id, is_fraud, label_known_at, by `domain.label.effective`."""
    alone = labels.filter(pl.len().over("transaction_id") == 1).select(
        "transaction_id", "is_fraud", pl.col("known_at").alias("label_known_at")
    )
    several: dict[str, list[Label]] = {}
    for row in labels.filter(pl.len().over("transaction_id") > 1).iter_rows(named=True):
        moment = round(row["known_at"].timestamp() * 1_000_000)
        several.setdefault(row["transaction_id"], []).append(
            Label(row["transaction_id"], row["is_fraud"], moment, row["source"], row["reason"])
        )
    chosen = [label for label in (effective(own) for own in several.values()) if label is not None]
    more = pl.DataFrame(
        {
            "transaction_id": [c.transaction_id for c in chosen],
            "is_fraud": [c.is_fraud for c in chosen],
            "label_known_at": [c.known_at_us for c in chosen],
        },
        schema={"transaction_id": pl.String, "is_fraud": pl.Boolean, "label_known_at": pl.Int64},
    ).with_columns(pl.col("label_known_at").cast(pl.Datetime("us", "UTC")))
    return pl.concat([alone, more], how="vertical_relaxed")


def _steps(fold: Fold, events: Events) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Fold in runs; with each the source rows of its transactions. The vectors are overwritten by the next run."""
    rows = min(CHUNK_EVENTS, len(events))
    buffer = Vectors(np.empty((rows, len(fold.plan.names))), np.empty(rows, np.uint8), np.empty(rows, np.uint32))
    for begin in range(0, len(events), CHUNK_EVENTS):
        run = events[begin : begin + CHUNK_EVENTS]
        n = run.transactions
        out = Vectors(buffer.values[:n], buffer.status[:n], buffer.approximate[:n])
        yield run.row[run.kind == TRANSACTION], fold.step(run, out)


def _kept(ingested: Ingested) -> pl.DataFrame:
    """The canonical columns that hold anything, and the user's own."""
    empty = [
        name
        for name, column in zip(ingested.transactions.columns, ingested.transactions, strict=True)
        if column.null_count() == len(column)
    ]
    return ingested.transactions.drop([name for name in (*_NOT_KEPT, *empty) if name in ingested.transactions.columns])


def _flags(status: NDArray[np.uint8], approximate: NDArray[np.uint32]) -> tuple[pl.Series, pl.Series]:
    words = pl.Series(STATUS_WORDS)
    return words.gather(status).alias(WINDOW_STATUS), pl.Series(APPROXIMATE, approximate)


def _stamped(schema: pa.Schema, features: FeatureSet, source: str) -> pa.Schema:
    """The schema with the feature set that filled it, its hash, and the name of the file it was folded from."""
    told = {_HASH: features.hash.encode(), _DEFINITIONS: json.dumps(features.to_dict()).encode(), _SOURCE: source.encode()}
    return schema.with_metadata({**(schema.metadata or {}), **told})


def read_features(path: str | Path, features: FeatureSet) -> tuple[pl.DataFrame, str] | None:
    """The table of a Parquet file of `features_file` and the name of the file it was folded from; None for any other file.

    InputError if it was folded under definitions other than `features`, or lacks some of them.
    """
    try:
        told = pq.read_schema(path).metadata or {} if Path(path).suffix == ".parquet" else {}
    except (OSError, pa.ArrowInvalid):
        return None
    if _DEFINITIONS not in told:
        return None
    there = FeatureSet.from_dict(json.loads(told[_DEFINITIONS]), str(path))
    lacking = [name for name in features.names if name not in there.names]
    if lacking or there.select(features.names).hash != features.select(features.names).hash:
        what = f"lacks {', '.join(lacking[:5])}" if lacking else "defines some of the same names otherwise"
        raise InputError(f"{path}: was folded with a feature set that {what}; give the table of transactions instead")
    return pl.read_parquet(path), told.get(_SOURCE, b"").decode()
