"""The door for tables: an outside frame of any shape becomes canonical rows, and rows that cannot be become rejections
with row, column, rule and reason.

One row or ten million, from a file or a request: the same function. It knows no file and raises only when the table
as a whole does not fit its shape; a bad value is a rejection. No card number leaves it, in either part of its answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from fraudloop.domain import label, profile
from fraudloop.domain.money import EXPONENTS
from fraudloop.domain.transaction import (
    COUNTRY_FIELDS,
    DEFAULT_FLOW,
    FIELDS,
    FLAG_FIELDS,
    ID_FIELDS,
    PLACES,
    STATUSES,
    TEXT_FIELDS,
    TRANSACTION_SCHEMA,
)
from fraudloop.door import convert
from fraudloop.door.convert import Converted, Fault
from fraudloop.door.pan import TokenKey, find_pans, hide, tokenise
from fraudloop.door.rates import RateTable
from fraudloop.door.shape import Shape

_TYPES: Final[Mapping[str, pl.DataType]] = {
    "String": pl.String(), "Datetime(us, UTC)": pl.Datetime("us", "UTC"), "Int16": pl.Int16(), "Int32": pl.Int32(),
    "Int64": pl.Int64(), "Float64": pl.Float64(), "Boolean": pl.Boolean(),
}  # fmt: skip

#: Columns of rejections: `row` is the index in the source, `column` its own name there, `value` what stood there,
#: shortened and with long runs of digits masked.
REJECTED_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "table": pl.String(), "row": pl.Int64(), "column": pl.String(), "rule": pl.String(), "reason": pl.String(), "value": pl.String(),
}  # fmt: skip

_EXPONENT: Final = "#exponent"

CARD_RULE: Final = "card_number"
CARD_REASON: Final = "holds a card number; only id columns may, and there a token replaces it"

_Converter = Callable[[str, pl.Expr, pl.DataType], Converted]


@dataclass(frozen=True, slots=True)
class Admitted:
    """What came of a table.

    accepted: canonical rows behind a first column `row` (Int64, the row in the source). rejected: REJECTED_SCHEMA, one
    row for each fault, in order of row. rejected_rows: how many source rows that is. notes: how often something was
    seen that is no fault: `card_number.tokenised`, `currency.unknown`, `amount_base.no_rate`, `place.half`.
    """

    accepted: pl.DataFrame
    rejected: pl.DataFrame
    rejected_rows: int
    notes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class _Found:
    """One rule broken in a column: `bad` says in which rows; a secret value is not shown even masked."""

    column: str
    rule: str
    reason: str
    bad: pl.Series
    secret: bool = False


@dataclass(frozen=True, slots=True)
class _Source:
    """The types of an outside frame's columns, its shape, and the column of each field."""

    schema: Mapping[str, pl.DataType]
    shape: Shape
    fields: Mapping[str, str]

    def read(self, name: str, by: _Converter) -> Converted:
        """A field converted from its column or constant; nothing where it has neither."""
        if name in self.fields:
            return self.column(name, self.fields[name], by)
        if name in self.shape.constants:
            return by(name, pl.lit(self.shape.constants[name], dtype=pl.String), pl.String())
        return Converted({})

    def column(self, name: str, column: str, by: _Converter) -> Converted:
        """A column converted, its own words replaced by ours first."""
        source, dtype = pl.col(column), self.schema[column]
        words = self.shape.values.get(name)
        if words:
            source, dtype = source.cast(pl.String).str.strip_chars().replace(dict(words)), pl.String()
        return by(name, source, dtype)

    def time(self, name: str, offset: str | None = None) -> Converted:
        shape = self.shape
        return self.read(
            name,
            lambda n, e, t: convert.time(
                n, e, t, zone=shape.zone, formats=shape.formats, unit=shape.unit, ambiguous=shape.ambiguous, offset=offset
            ),
        )

    def place(self, latitude: str, longitude: str) -> dict[str, Converted]:
        return {
            latitude: self.read(latitude, lambda n, e, t: convert.degrees(n, e, t, 90)),
            longitude: self.read(longitude, lambda n, e, t: convert.degrees(n, e, t, 180)),
        }


def polars_schema(schema: Mapping[str, str]) -> dict[str, pl.DataType]:
    """Polars types of a schema of the domain.

    >>> polars_schema(TRANSACTION_SCHEMA)["amount_minor"]
    Int64
    """
    return {name: _TYPES[dtype] for name, dtype in schema.items()}


def flatten(frame: pl.DataFrame) -> pl.DataFrame:
    """Fields of structs as columns with dotted names (`device.id`), one level deep."""
    inner = [
        pl.col(name).struct.field(part.name).alias(f"{name}.{part.name}")
        for name, dtype in frame.schema.items()
        if isinstance(dtype, pl.Struct)
        for part in dtype.fields
    ]
    if not inner:
        return frame
    structs = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Struct)]
    return frame.with_columns(inner).drop(structs)


def admit(
    frame: pl.DataFrame, shape: Shape, rates: RateTable, tokens: TokenKey | None = None, *, first_row: int = 0, where: str = "table"
) -> Admitted:
    """Transactions from an outside frame.

    frame: any columns, structs one level deep. shape: what they mean. rates: for amount_base; where there is no rate it
    is null. tokens: the key for card numbers in ids; None is the default key. first_row: the source row of the frame's
    first. ColumnMapError if the frame does not fit the shape.

    >>> one = pl.DataFrame({"transaction_id": ["t1"], "timestamp": ["2026-01-31T12:00:00Z"], "amount": ["9.99"], "currency": ["EUR"]})
    >>> admit(one, Shape(), RateTable.sample()).accepted["amount_base"].to_list()
    [999]
    """
    frame = flatten(frame)
    fields = shape.resolve(frame.columns, FIELDS, ("transaction_id", "timestamp", "amount"), where)
    source = _Source(frame.schema, shape, fields)
    parts: dict[str, Converted] = {}
    for name in ID_FIELDS:
        parts[name] = source.read(name, convert.identifier)
    for name in TEXT_FIELDS:
        parts[name] = source.read(name, convert.word)
    for name in FLAG_FIELDS:
        parts[name] = source.read(name, convert.flag)
    for name in COUNTRY_FIELDS:
        parts[name] = source.read(name, convert.country)
    parts["status"] = source.read("status", lambda n, e, t: convert.choice(n, e, t, STATUSES))
    parts["currency"] = source.read("currency", convert.currency)
    exponent = pl.lit(0, dtype=pl.Int64)
    if not shape.minor:
        exponent = convert.exponents(pl.lit(shape.constants["currency"])) if "currency" in shape.constants else pl.col(_EXPONENT)
    parts["amount"] = source.read(
        "amount",
        lambda _, e, t: convert.amount(
            e, t, exponent, decimal=shape.decimal, thousands=shape.thousands, round_finer=shape.round_finer, negative=shape.negative
        ),
    )
    for latitude, longitude in PLACES:
        parts |= source.place(latitude, longitude)
    given_offset = "utc_offset" in fields or "utc_offset" in shape.constants
    parts["timestamp"] = source.time("timestamp", None if given_offset else "utc_offset")
    parts["received_at"] = source.time("received_at")
    if given_offset:
        parts["utc_offset"] = source.read("utc_offset", convert.utc_offset)
    extra_types: dict[str, pl.DataType] = {}
    for name, number in shape.numbers.items():
        parts[name] = source.column(name, number.column, _number(number.scale))
        extra_types[name] = pl.Float64() if number.scale is None else pl.Int64()
    for name, column in {**shape.categories, **shape.segments}.items():
        parts[name] = source.column(name, column, convert.word)
        extra_types[name] = pl.String()

    columns = {**fields, **shape.extra}
    table, faults = _evaluate(
        frame, parts, columns, {"transaction_id": "transaction_id", "timestamp": "timestamp", "amount": "amount_minor"}
    )
    notes: Counter[str] = Counter()
    table = _tokens(table, [n for n in ID_FIELDS if n in table.columns], tokens, notes)
    used = set(columns.values())
    faults += _cards(
        frame, [c for n, c in columns.items() if n not in ID_FIELDS and n not in NO_TEXT] + [c for c in frame.columns if c not in used]
    )
    bad, rejected = _rejections(frame, faults, "transactions", first_row)
    table = _with_nulls(table, {**polars_schema(TRANSACTION_SCHEMA), **extra_types}, frame.height, first_row)
    accepted = table.filter(~bad) if bad.any() else table
    return Admitted(_complete(accepted, shape, rates, notes), rejected, int(bad.sum()), notes)


def admit_labels(
    frame: pl.DataFrame, shape: Shape, tokens: TokenKey | None = None, *, first_row: int = 0, where: str = "labels", settled: bool = False
) -> Admitted:
    """Labels from an outside frame, by LABEL_SCHEMA; `known_at` and `source` stay null where the frame has none.

    settled: the ids came through the door already, so no card number is looked for in them.
    """
    frame = flatten(frame)
    fields = shape.resolve(frame.columns, label.FIELDS, ("transaction_id", "is_fraud"), where)
    source = _Source(frame.schema, shape, fields)
    parts = {
        "transaction_id": source.read("transaction_id", convert.identifier),
        "is_fraud": source.read("is_fraud", convert.flag),
        "source": source.read("source", lambda n, e, t: convert.choice(n, e, t, tuple(label.SOURCE_RANKS))),
        "known_at": source.time("known_at"),
        "reason": source.read("reason", convert.word),
    }
    return _simple(
        frame,
        parts,
        fields,
        ("transaction_id", "is_fraud"),
        label.LABEL_SCHEMA,
        None if settled else "transaction_id",
        tokens,
        "labels",
        first_row,
    )


def admit_profiles(
    frame: pl.DataFrame, shape: Shape, tokens: TokenKey | None = None, *, first_row: int = 0, where: str = "profiles"
) -> Admitted:
    """Profiles from an outside frame, by PROFILE_SCHEMA."""
    frame = flatten(frame)
    fields = shape.resolve(frame.columns, profile.FIELDS, profile.REQUIRED, where)
    source = _Source(frame.schema, shape, fields)
    parts = {
        "entity": source.read("entity", convert.word),
        "id": source.read("id", convert.identifier),
        "time": source.time("time"),
        "home_country": source.read("home_country", convert.country),
        **source.place("home_latitude", "home_longitude"),
        "opened_at": source.time("opened_at"),
        "utc_offset": source.read("utc_offset", convert.utc_offset),
        "segment": source.read("segment", convert.word),
    }
    return _simple(frame, parts, fields, profile.REQUIRED, profile.PROFILE_SCHEMA, "id", tokens, "profiles", first_row)


#: Converted to numbers, times or flags: no text of theirs goes on.
NO_TEXT: Final = frozenset({"timestamp", "received_at", "utc_offset", "amount", "latitude", "longitude", "home_latitude", "home_longitude", *FLAG_FIELDS,
                             "time", "opened_at", "known_at", "is_fraud"})  # fmt: skip


def _simple(frame: pl.DataFrame, parts: dict[str, Converted], fields: Mapping[str, str], required: Sequence[str], schema: Mapping[str, str],
            key: str | None, tokens: TokenKey | None, table_name: str, first_row: int) -> Admitted:  # fmt: skip
    table, faults = _evaluate(frame, parts, fields, {n: n for n in required})
    notes: Counter[str] = Counter()
    table = _tokens(table, [key] if key is not None else [], tokens, notes)
    faults += _cards(frame, [c for n, c in fields.items() if n not in (key, "transaction_id") and n not in NO_TEXT])
    bad, rejected = _rejections(frame, faults, table_name, first_row)
    table = _with_nulls(table, polars_schema(schema), frame.height, first_row)
    return Admitted(table.filter(~bad) if bad.any() else table, rejected, int(bad.sum()), notes)


def _number(scale: int | None) -> _Converter:
    return lambda n, e, t: convert.number(n, e, t, scale)


def _evaluate(
    frame: pl.DataFrame, parts: Mapping[str, Converted], columns: Mapping[str, str], required: Mapping[str, str]
) -> tuple[pl.DataFrame, list[_Found]]:
    """All conversions and fault tests of a frame in one pass; a required value that is null without a fault is one."""
    values: dict[str, pl.Expr] = {}
    tests: list[tuple[str, Fault]] = []
    for name, part in parts.items():
        values |= part.values
        tests += [(name, fault) for fault in part.faults]
    work = frame
    if (code := parts.get("currency")) is not None and "amount" in parts:
        # The decimals of an amount hang on the currency beside it.
        for step in code.steps:
            work = work.with_columns(e.alias(n) for n, e in step.items())
        work = work.with_columns(convert.exponents(code.values.get("currency", pl.lit(None, dtype=pl.String))).alias(_EXPONENT))
    for level in range(max(len(part.steps) for part in parts.values())):
        step = {n: e for part in parts.values() if level < len(part.steps) for n, e in part.steps[level].items()}
        work = work.with_columns(e.alias(n) for n, e in step.items())
    anchor = pl.int_range(pl.len(), dtype=pl.Int64).alias("row")
    done = work.select(
        anchor, *(e.alias(n) for n, e in values.items()), *(f.bad.fill_null(False).alias(f"!{i}") for i, (_, f) in enumerate(tests))
    )
    found: list[_Found] = []
    for i, (name, fault) in enumerate(tests):
        bad = done[f"!{i}"]
        if bad.any():
            found.append(_Found(columns.get(name, name), fault.rule, fault.reason, bad))
    for name, value in required.items():
        missing = done[value].is_null()
        if missing.any():
            for i, (at, _) in enumerate(tests):
                if at == name:
                    missing = missing & ~done[f"!{i}"]
            if missing.any():
                found.append(_Found(columns.get(name, name), f"{name}.missing", "has no value", missing))
    return done.select(*values), found


def _tokens(table: pl.DataFrame, names: Sequence[str], tokens: TokenKey | None, notes: Counter[str]) -> pl.DataFrame:
    for name in names:
        column, touched = tokenise(table[name], tokens or TokenKey())
        if touched:
            table = table.with_columns(column.alias(name))
            notes["card_number.tokenised"] += touched
    return table


def _cards(frame: pl.DataFrame, columns: Sequence[str]) -> list[_Found]:
    """Card numbers where none may be."""
    found = []
    for name in dict.fromkeys(columns):
        values, dtype = frame[name], frame.schema[name]
        if dtype.is_integer() or dtype.is_float():
            # Numbers below 10**12 have fewer than 13 digits.
            large = (values.cast(pl.Float64) >= 1e12).fill_null(False)
            if not large.any():
                continue
            values = pl.select(pl.when(large).then(values).cast(pl.UInt64, strict=False).cast(pl.String)).to_series()
        elif isinstance(dtype, pl.Categorical | pl.Enum):
            values = values.cast(pl.String)
        elif dtype != pl.String:
            continue
        bad = find_pans(values)
        if bad.any():
            found.append(_Found(name, CARD_RULE, CARD_REASON, bad, secret=True))
    return found


def _rejections(frame: pl.DataFrame, faults: Sequence[_Found], table: str, first_row: int) -> tuple[pl.Series, pl.DataFrame]:
    """Which rows are bad, and each fault as a row of REJECTED_SCHEMA."""
    bad = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    out = []
    for fault in faults:
        bad = bad | fault.bad
        rows = fault.bad.arg_true().cast(pl.Int64)
        if fault.secret or fault.column not in frame.columns:
            shown: list[str | None] = [None] * len(rows)
        else:
            shown = [None if v is None else hide(str(v)) for v in frame[fault.column].gather(rows).to_list()]
        out.append(
            pl.DataFrame({"row": rows + first_row, "value": pl.Series(shown, dtype=pl.String)}).select(
                pl.lit(table).alias("table"),
                "row",
                pl.lit(fault.column).alias("column"),
                pl.lit(fault.rule).alias("rule"),
                pl.lit(fault.reason).alias("reason"),
                "value",
            )
        )
    rejected = pl.concat(out).sort("row", maintain_order=True) if out else pl.DataFrame(schema=dict(REJECTED_SCHEMA))
    return bad, rejected


def _with_nulls(table: pl.DataFrame, schema: Mapping[str, pl.DataType], height: int, first_row: int) -> pl.DataFrame:
    """The columns of a schema in order, behind `row`."""
    rows = pl.int_range(first_row, first_row + height, dtype=pl.Int64, eager=True).alias("row")
    have = set(table.columns)
    return (
        pl.DataFrame({"row": rows})
        .hstack(table)
        .select("row", *((pl.col(n).cast(t) if n in have else pl.lit(None, dtype=t).alias(n)) for n, t in schema.items()))
    )


def _complete(table: pl.DataFrame, shape: Shape, rates: RateTable, notes: Counter[str]) -> pl.DataFrame:
    """Defaults, pairs and what follows from the rest: zone offsets, amounts in the base currency."""
    whole = [(a, b) for a, b in PLACES if table[a].null_count() < table.height or table[b].null_count() < table.height]
    for a, b in whole:
        half = int((table[a].is_null() != table[b].is_null()).sum())
        if half:
            notes["place.half"] += half
            both = pl.col(a).is_not_null() & pl.col(b).is_not_null()
            table = table.with_columns(pl.when(both).then(a).alias(a), pl.when(both).then(b).alias(b))
    base = rates.convert_columns(table["amount_minor"], table["currency"], table["timestamp"].to_physical())
    missing = base["amount_base"].null_count()
    if missing:
        notes["amount_base.no_rate"] += missing
        known = table["currency"].is_in(list(EXPONENTS)).fill_null(False)
        notes["currency.unknown"] += table.height - int(known.sum())
    return table.with_columns(
        base["amount_base"],
        base["rate_version"],
        pl.col("received_at").fill_null(pl.col("timestamp")),
        pl.col("flow").fill_null(DEFAULT_FLOW),
        convert.zone_offset(pl.col("timestamp"), shape.zone).alias("zone_offset"),
    )
