"""Tables in, as plain functions: validate a file, and profile what its columns give.

Each takes paths and settings and returns plain data; the command line prints it. Nothing is written before the whole
table is known to be fit, except the quarantine, which says why it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import polars as pl

from fraudloop.data.columns import ColumnMap
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED, Ingested, Resources, check_writable, read, write_table
from fraudloop.data.summary import prometheus
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.needs import LABELS, needs
from fraudloop.domain.transaction import FIELDS, TRANSACTION_SCHEMA
from fraudloop.door.pan import TokenKey
from fraudloop.errors import InputError
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.segments import CHANNEL

QUANTILES: Final = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)

#: A column with at most this many different values is shown by its most frequent ones.
_FEW: Final = 50


@dataclass(frozen=True, slots=True)
class Validated:
    """A table that was read: its report, and the rules of business that it breaks (empty: fit)."""

    ingested: Ingested
    failures: tuple[str, ...]

    @property
    def report(self) -> dict[str, Any]:
        return self.ingested.report


def column_map(spec: str | Path | ColumnMap, settings: Settings, segments: Iterable[str] = ()) -> ColumnMap:
    """The column map of a preset's name or TOML file, with the zone of the settings where it states none; a map is itself.

    segments: columns to bring along for reports alone; those that the map does not know are taken under their own name.
    """
    mapped = spec if isinstance(spec, ColumnMap) else ColumnMap.load(spec, settings.zone)
    known = {*TRANSACTION_SCHEMA, *FIELDS, *mapped.shape.extra, CHANNEL}
    more = {name: name for name in segments if name not in known}
    return replace(mapped, shape=replace(mapped.shape, segments={**mapped.shape.segments, **more})) if more else mapped


def resources(columns: ColumnMap, settings: Settings) -> Resources:
    """Rates and token key of a map under these settings."""
    tokens = TokenKey() if settings.token_key is None else TokenKey(settings.token_key_id, settings.token_key)
    return Resources.of(columns, settings.base_currency, tokens)


def validate(path: str | Path, columns: str | Path, settings: Settings, *, labels: Path | None = None, profiles: Path | None = None,
             quarantine: Path | None = None, max_rejected: float = DEFAULT_MAX_REJECTED, out: Path | None = None, metrics: Path | None = None,
             progress: Progress = silent) -> Validated:  # fmt: skip
    """Read a table through the door and hold it to its contracts.

    out: where the accepted transactions go, in canonical columns, if the table is fit. metrics: where the counts go as
    Prometheus text. InputError (exit code 2) if the file is no table or too many rows are bad.
    """
    if out is not None:
        check_writable(out)
    mapped = column_map(columns, settings)
    ingested = read(
        path, mapped, quarantine, max_rejected, labels=labels, profiles=profiles, resources=resources(mapped, settings), progress=progress
    )
    failures = tuple(f"{f['rule']}: {f['message']}" for f in ingested.report["findings"] if f["failure"])
    if metrics is not None:
        try:
            metrics.write_text(prometheus(ingested.report), "utf-8")
        except OSError as error:
            raise InputError(f"{metrics}: cannot be written ({error.strerror})") from error
    if out is not None and not failures:
        write_table(ingested.transactions, out)
    return Validated(ingested, failures)


def profile(
    path: str | Path, columns: str | Path, features: str | Path | None, settings: Settings, *, progress: Progress = silent
) -> dict[str, Any]:
    """What a table's columns give: statistics by column, and the features that it lacks for want of which column.

    `columns`: by canonical or extra column: type, null share, distinct values, quantiles or most frequent values.
    `features`: which of the set can be had. `missing`: fields that some feature lacks, with those features, and the
    unused column with the most similar name.
    """
    mapped = column_map(columns, settings)
    spec = features if features is not None else mapped.features
    wanted = FeatureSet.load(spec)
    ingested = read(path, mapped, max_rejected=1.0, resources=resources(mapped, settings), progress=progress)
    table = ingested.transactions
    given = {name for name in table.columns if table[name].null_count() < table.height}
    if "amount_minor" in given:
        given.add("amount")
    if ingested.labels.height:
        given.add(LABELS)
    lacking: dict[str, list[str]] = {}
    have = []
    for name, fields in needs(wanted).items():
        absent = [f for f in fields if f not in given]
        for field in absent:
            lacking.setdefault(field, []).append(name)
        if not absent:
            have.append(name)
    ignored = ingested.report["ignored_columns"]
    return {
        "file": str(path),
        "rows": ingested.report["counts"]["transactions"],
        "columns": {name: _statistics(table[name]) for name in _shown(table, mapped)},
        "features": {"set": str(spec), "wanted": len(wanted.features), "given": have},
        "missing": [
            {"column": field, "features": names, "perhaps": _perhaps(field, ignored)}
            for field, names in sorted(lacking.items(), key=lambda item: (-len(item[1]), item[0]))
        ],
        "ignored_columns": ignored,
        "warnings": ingested.report["warnings"],
    }


def _shown(table: pl.DataFrame, columns: ColumnMap) -> list[str]:
    made = {"zone_offset", "rate_version", "received_at", "flow"} - set(columns.shape.fields)
    return [n for n in table.columns if n not in made and (n not in TRANSACTION_SCHEMA or table[n].null_count() < table.height)]


def _statistics(column: pl.Series) -> dict[str, Any]:
    dtype = column.dtype
    present = column.drop_nulls()
    out: dict[str, Any] = {
        "type": str(dtype),
        "null_share": column.null_count() / len(column) if len(column) else 0.0,
        "distinct": present.n_unique(),
    }
    if dtype.is_numeric():
        out["quantiles"] = {f"{q:g}": present.quantile(q, "nearest") for q in QUANTILES} if len(present) else {}
    elif isinstance(dtype, pl.Datetime):
        out["quantiles"] = {f"{q:g}": str(value) for q in (0.0, 0.5, 1.0) if (value := present.quantile(q, "nearest")) is not None}
    elif out["distinct"] <= _FEW:
        top = present.cast(pl.String).value_counts(sort=True).head(5)
        out["frequent"] = dict(top.iter_rows())
    return out


def _perhaps(field: str, columns: list[str]) -> str | None:
    """The unused column whose name is most like the field's, or one of its other names."""
    folded: Mapping[str, str] = {c.casefold(): c for c in columns}
    for name in (field, *FIELDS.get(field, ())):
        close = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
        if close:
            return folded[close[0]]
    return None
