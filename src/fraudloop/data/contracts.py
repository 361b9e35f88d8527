"""Contracts of tables, as Pandera schemas in three layers: types; ranges and formats; business.

The door has converted the values already; a contract states what then holds, independently of it, and what the
business expects on top. Everything that fails is collected: rows to refuse, and findings about the table as a whole.
Pandera brings pandas, so it is loaded when a contract is first checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from fraudloop.data.columns import Expectations
from fraudloop.domain.country import COUNTRIES
from fraudloop.domain.label import LABEL_SCHEMA, SOURCE_RANKS
from fraudloop.domain.transaction import COUNTRY_FIELDS, ID_FIELDS, REQUIRED, STATUSES, TEXT_FIELDS, TRANSACTION_SCHEMA
from fraudloop.door.table import REJECTED_SCHEMA, polars_schema
from fraudloop.errors import InputError
from fraudloop.limits import (
    AMOUNT_MINOR_MAX,
    DEGREE_E7,
    ID_BYTES_MAX,
    TEXT_BYTES_MAX,
    TIMESTAMP_MAX_US,
    TIMESTAMP_MIN_US,
    UTC_OFFSET_MAX_MINUTES,
    UTC_OFFSET_MIN_MINUTES,
)

LAYERS: Final = ("types", "ranges", "business")


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule of a contract that did not hold: `rows` it concerns (0 where it is the table's as a whole), and whether
    it is a failure (the table is not fit) or a remark."""

    layer: str
    rule: str
    message: str
    rows: int
    failure: bool


@dataclass(frozen=True, slots=True)
class Checked:
    """What a contract found. `bad`: row index in the table (Int64) and `column`, `rule`, `reason` of each failing value."""

    bad: pl.DataFrame
    findings: tuple[Finding, ...]


_BAD_SCHEMA: Final = {"at": pl.Int64(), "column": pl.String(), "rule": pl.String(), "reason": pl.String()}


def check_transactions(table: pl.DataFrame, expect: Expectations, extra: Mapping[str, pl.DataType]) -> Checked:
    """Layers `types` and `ranges` of canonical transactions, row by row.

    extra: types of the user's own columns. A wrong type is a programmer's error and raises AssertionError.
    """
    pa = _pandera()
    _types(pa, table, {**polars_schema(TRANSACTION_SCHEMA), **extra}, REQUIRED)
    rules = _transaction_rules(pa, expect)
    return _run(pa, table, {n: r for n, r in rules.items() if n in table.columns})


def check_labels(labels: pl.DataFrame) -> Checked:
    """All layers of canonical labels; `transaction_time` (null: no such transaction) stands beside LABEL_SCHEMA."""
    pa = _pandera()
    _types(pa, labels.select(list(LABEL_SCHEMA)), polars_schema(LABEL_SCHEMA), ("transaction_id", "is_fraud", "source", "known_at"))
    table = labels.with_columns(
        has_transaction=pl.col("transaction_time").is_not_null(),
        lead_us=(pl.col("known_at") - pl.col("transaction_time")).dt.total_microseconds(),
    )
    rules = {
        "transaction_id": [_length(pa, "transaction_id", ID_BYTES_MAX)],
        "source": [_rule(pa, "source.unknown", f"none of {', '.join(SOURCE_RANKS)}", pa.Check.isin(list(SOURCE_RANKS)))],
        "known_at": [_time(pa, "known_at")],
        "has_transaction": [_rule(pa, NO_TRANSACTION, "no such transaction in the table", pa.Check.eq(True))],
        "lead_us": [_rule(pa, "label.before_transaction", "known before its transaction took place", pa.Check.ge(0))],
    }
    out = _run(pa, table, rules)
    own = {"has_transaction": "transaction_id", "lead_us": "known_at"}
    return Checked(out.bad.with_columns(pl.col("column").replace(own)), out.findings)


#: A label whose transaction is not in the table. It is left out, but does not count as a bad row: a file of labels
#: often covers more than the table.
NO_TRANSACTION: Final = "label.no_transaction"


def check_business(summary: Mapping[str, float | int | None], expect: Expectations) -> tuple[Finding, ...]:
    """The layer `business` of the table as a whole.

    summary: `fraud_rate` (None where nothing is labelled), `out_of_order_rows`, `unknown_currency_rows`, `no_rate_rows`.
    """
    pa = _pandera()
    low, high = expect.fraud_rate
    rules = {
        "fraud_rate": (_rule(pa, "fraud_rate", f"outside the expected {low:.4%} to {high:.4%}", pa.Check.in_range(low, high)), True),
        "out_of_order_rows": (_rule(pa, "time_order", "rows are dated before the row above them", pa.Check.eq(0)), expect.sorted_by_time),
        "unknown_currency_rows": (_rule(pa, "currency.known", "rows have no currency that ISO 4217 knows", pa.Check.eq(0)), False),
        "no_rate_rows": (
            _rule(pa, "currency.rate", "rows have no exchange rate, so no amount in the base currency", pa.Check.eq(0)),
            False,
        ),
    }
    frame = pl.DataFrame({n: pl.Series([summary[n]], dtype=pl.Float64 if n == "fraud_rate" else pl.Int64) for n in rules})
    findings = []
    for row in _run(pa, frame, {n: [r] for n, (r, _) in rules.items()}).bad.iter_rows(named=True):
        value = summary[row["column"]]
        shown = f"{value:.4%}" if row["column"] == "fraud_rate" else f"{value:,}"
        findings.append(
            Finding(
                "business",
                row["rule"],
                f"{shown} {row['reason']}",
                0 if row["column"] == "fraud_rate" else int(value or 0),
                rules[row["column"]][1],
            )
        )
    return tuple(findings)


def as_rejected(checked: Checked, table: str, rows: pl.Series, columns: Mapping[str, str]) -> pl.DataFrame:
    """Failing values as REJECTED_SCHEMA: `rows` gives the source row of each table row, `columns` the source's names.

    Values are left out: what a contract refuses was converted already, and the source row says where it stands.
    """
    bad = checked.bad
    return bad.select(
        pl.lit(table).alias("table"),
        rows.gather(bad["at"]).alias("row"),
        pl.col("column").replace(dict(columns)),
        "rule",
        "reason",
        pl.lit(None, dtype=pl.String).alias("value"),
    ).select(list(REJECTED_SCHEMA))


def _pandera() -> Any:
    try:
        import pandera.polars as pa
    except ImportError as error:
        raise InputError("checking tables by contract needs Pandera: install fraudloop[data]") from error
    return pa


def _transaction_rules(pa: Any, expect: Expectations) -> dict[str, list[Any]]:
    rules: dict[str, list[Any]] = {name: [_length(pa, name, ID_BYTES_MAX)] for name in ID_FIELDS}
    rules |= {name: [_length(pa, name, TEXT_BYTES_MAX)] for name in TEXT_FIELDS}
    rules |= {name: [_time(pa, name)] for name in ("timestamp", "received_at")}
    for name in ("utc_offset", "zone_offset"):
        rules[name] = [_range(pa, name, UTC_OFFSET_MIN_MINUTES, UTC_OFFSET_MAX_MINUTES)]
    for name in ("latitude", "home_latitude"):
        rules[name] = [_range(pa, name, -90 * DEGREE_E7, 90 * DEGREE_E7)]
    for name in ("longitude", "home_longitude"):
        rules[name] = [_range(pa, name, -180 * DEGREE_E7, 180 * DEGREE_E7)]
    for name in COUNTRY_FIELDS:
        rules[name] = [_rule(pa, f"{name}.unknown", "no ISO 3166 alpha-2 code", pa.Check.isin(list(COUNTRIES)))]
    rules["amount_minor"] = [_range(pa, "amount_minor", -AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX)]
    rules["currency"] = [_rule(pa, "currency.format", "not a code of three letters", pa.Check.str_matches("^[A-Z]{3}$"))]
    rules["status"] = [_rule(pa, "status.unknown", f"none of {', '.join(STATUSES)}", pa.Check.isin(list(STATUSES)))]
    for name, (low, high) in expect.ranges.items():
        rules.setdefault(name, []).append(_range(pa, name, low, high, "expect."))
    for name, values in expect.values.items():
        rules.setdefault(name, []).append(_rule(pa, f"expect.{name}.values", "none of the expected values", pa.Check.isin(list(values))))
    return rules


def _rule(pa: Any, rule: str, reason: str, check: Any) -> Any:
    """The check under our own rule; Pandera gives `error` back with each failing value."""
    check.error = f"{rule}\n{reason}"
    return check


def _range(pa: Any, name: str, low: float, high: float, prefix: str = "") -> Any:
    return _rule(pa, f"{prefix}{name}.range", f"not within {low:,} to {high:,}", pa.Check.in_range(low, high))


def _length(pa: Any, name: str, most: int) -> Any:
    inside = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).str.len_bytes().is_between(1, most)))
    return _rule(pa, f"{name}.length", f"not 1 to {most:,} bytes long", inside)


def _time(pa: Any, name: str) -> Any:
    inside = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).to_physical().is_between(TIMESTAMP_MIN_US, TIMESTAMP_MAX_US)))
    return _rule(pa, f"{name}.range", "before 1970 or after 2099", inside)


def _types(pa: Any, table: pl.DataFrame, schema: Mapping[str, pl.DataType], required: tuple[str, ...]) -> None:
    columns = {name: pa.Column(dtype, nullable=name not in required) for name, dtype in schema.items()}
    try:
        pa.DataFrameSchema(columns, strict=True, ordered=True).validate(table, lazy=True)
    except pa.errors.SchemaErrors as errors:
        wrong = errors.failure_cases.select("column", "check").unique().sort("column", "check").rows()
        raise AssertionError(f"the door gave a table that breaks its own contract: {wrong}") from None


def _run(pa: Any, table: pl.DataFrame, rules: Mapping[str, list[Any]]) -> Checked:
    """Check columns; those without any value are passed over."""
    used = {n: r for n, r in rules.items() if table[n].null_count() < table.height}
    none = pl.DataFrame(schema=_BAD_SCHEMA)
    if not used:
        return Checked(none, ())
    schema = pa.DataFrameSchema({n: pa.Column(None, checks=r, nullable=True) for n, r in used.items()}, strict=False)
    try:
        schema.validate(table.select(list(used)), lazy=True)
    except pa.errors.SchemaErrors as errors:
        parts = pl.col("check").str.split_exact("\n", 1)
        bad = errors.failure_cases.select(
            pl.col("index").cast(pl.Int64).alias("at"), "column",
            parts.struct.field("field_0").alias("rule"), parts.struct.field("field_1").alias("reason"),
        ).sort("at", maintain_order=True)  # fmt: skip
        found = bad.group_by("rule", "reason", maintain_order=True).len().iter_rows()
        return Checked(bad, tuple(Finding("ranges", rule, reason, rows, failure=False) for rule, reason, rows in found))
    return Checked(none, ())
