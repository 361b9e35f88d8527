"""The door for one transaction at a time: what `door.table` does to a table, in microseconds for an ordinary body.

Ordinary is a body whose values are already written as the canonical ones are (text without blanks around it, ISO times,
ISO codes, plain amounts). Such a body is read here; every other one, and every bad one, goes through `door.table` itself
as a table of one row. So there is one meaning: this way may decline, but never differ.
"""

from __future__ import annotations

import json
import math
import re
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import polars as pl

from fraudloop.domain.country import BY_NAME
from fraudloop.domain.money import EXPONENTS, AmountError, exponent_of, to_minor
from fraudloop.domain.transaction import (
    COUNTRY_FIELDS,
    DEFAULT_FLOW,
    FIELDS,
    FLAG_FIELDS,
    ID_FIELDS,
    OUTSIDE_BODY,
    PLACES,
    STATUSES,
    TEXT_FIELDS,
    TRANSACTION_SCHEMA,
)
from fraudloop.door.canonical import BODY_VERSION
from fraudloop.door.pan import MAY_HOLD_PAN, TokenKey, holds_pan
from fraudloop.door.rates import BASE_SCALE, RateTable
from fraudloop.door.shape import Shape
from fraudloop.door.table import admit
from fraudloop.errors import ColumnMapError
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

#: A canonical value: a time is microseconds since 1970 UTC.
Value = str | int | float | bool | None
Row = dict[str, Value]

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})", re.ASCII)
_PLAIN_AMOUNT = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,4})?", re.ASCII)
_DOUBLE = struct.Struct("<d")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COUNTRIES: Final[Mapping[str, str]] = {name.upper(): code for name, code in BY_NAME.items() if len(name) <= 3 and name.isascii()}
_KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(ID_FIELDS, "id"), **dict.fromkeys(TEXT_FIELDS, "word"), **dict.fromkeys(FLAG_FIELDS, "flag"), **dict.fromkeys(COUNTRY_FIELDS, "country"),
    "status": "status", "currency": "currency", "amount": "amount", "timestamp": "time", "received_at": "time", "utc_offset": "offset",
    "latitude": "degrees90", "longitude": "degrees180", "home_latitude": "degrees90", "home_longitude": "degrees180",
}  # fmt: skip


class _Strange(Exception):
    """A value is not written as the canonical ones are."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a body was not taken: the field as the body names it, the rule it breaks, and the reason in words."""

    field: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Admission:
    """row: the canonical transaction, or None if it was refused; refusals say why. notes: as `table.Admitted.notes`."""

    row: Row | None
    refusals: tuple[Refusal, ...] = ()
    notes: Counter[str] = field(default_factory=Counter)


class RowDoor:
    """The door of one shape, rate table and token key, prepared once.

    >>> door = RowDoor(Shape(), RateTable.sample())
    >>> door.admit({"id": "t1", "timestamp": "2026-01-31T12:00:00Z", "amount": "9.99", "currency": "EUR"}).row["amount_base"]
    999
    >>> [refusal.field for refusal in door.admit({"id": "t1", "timestamp": "soon", "amount": 1}).refusals]
    ['timestamp']
    """

    def __init__(self, shape: Shape, rates: RateTable, tokens: TokenKey | None = None) -> None:
        self.shape, self.rates, self.tokens = shape, rates, tokens
        self._columns: dict[str, tuple[str, str]] = {}
        if shape.aliases:
            for name, others in FIELDS.items():
                for column in (name, *others):
                    if name not in shape.constants and name not in shape.ignore and name not in shape.fields:
                        self._columns.setdefault(column, (name, _KINDS[name]))
        for name, column in shape.fields.items():
            self._columns[column] = (name, _KINDS[name])
        for name, number in shape.numbers.items():
            self._columns[number.column] = (name, "number" if number.scale is None else f"exact{number.scale}")
        for name, column in {**shape.categories, **shape.segments}.items():
            self._columns[column] = (name, "word")
        # What a shape says beyond names is for the other way.
        self._plain = not (
            shape.constants or shape.values or shape.formats or shape.unit or shape.minor or shape.round_finer or shape.negative
        )
        self._plain &= shape.decimal == "." and shape.thousands == "" and shape.zone == "UTC"
        self._needed = {*shape.fields.values(), *shape.extra.values()}
        self._extra = tuple(shape.extra)
        self._empty: Row = dict.fromkeys((*TRANSACTION_SCHEMA, *self._extra))
        self._to_base = _BaseAmounts(rates)

    def admit(self, body: Mapping[str, Any]) -> Admission:
        """A transaction from a decoded JSON object; values are text, numbers, truth values, null, or objects one level deep."""
        if self._plain:
            try:
                return self._ordinary(body)
            except _Strange:
                pass
        return self._by_table(body)

    def _ordinary(self, body: Mapping[str, Any]) -> Admission:
        row = dict(self._empty)
        amount: Any = None
        seen = set()
        columns = self._columns
        for column, value in _flat(body):
            found = columns.get(column)
            if found is None:
                # Dropped, once it is sure that no card number is in it.
                if value is not None and not isinstance(value, bool):
                    _no_card(value)
                continue
            name, kind = found
            if name in seen:
                raise _Strange  # two names of one field: which counts is for the shape to say
            seen.add(name)
            if value is None:
                continue
            if kind == "amount":
                amount = value
            elif kind == "time":
                row[name], offset = _time(value)
                if name == "timestamp":
                    row["utc_offset"] = offset
            elif kind == "offset":
                raise _Strange
            else:
                row[name] = _value(kind, value)
        if self._needed and not self._needed <= {column for column, _ in _flat(body)}:
            raise _Strange
        currency = row["currency"]
        row["amount_minor"] = minor = _minor(amount, exponent_of(currency if isinstance(currency, str) else None))
        if row["transaction_id"] is None or row["timestamp"] is None:
            raise _Strange
        notes: Counter[str] = Counter()
        for a, b in PLACES:
            if (row[a] is None) != (row[b] is None):
                raise _Strange
        time_us = row["timestamp"]
        assert isinstance(time_us, int) and isinstance(minor, int)
        base, version = self._to_base(minor, currency if isinstance(currency, str) else None, time_us)
        if base is None:
            raise _Strange
        row["amount_base"], row["rate_version"] = base, version
        if row["received_at"] is None:
            row["received_at"] = time_us
        if row["flow"] is None:
            row["flow"] = DEFAULT_FLOW
        row["zone_offset"] = 0
        return Admission(row, (), notes)

    def _by_table(self, body: Mapping[str, Any]) -> Admission:
        """Through the door for tables."""
        refusals: list[Refusal] = []
        columns: dict[str, pl.Series] = {}
        for column, value in _flat(body):
            known = column in self._columns or column in self._needed
            if isinstance(value, dict | list):
                if known:
                    refusals.append(
                        Refusal(column, f"{self._columns[column][0]}.format", "must be a single value, not an object or a list")
                    )
                    continue
                value = json.dumps(value, ensure_ascii=False)
            if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
                value = str(value)
            columns[column] = pl.Series(column, [value])
        present = {self._columns[column][0] for column in columns if column in self._columns}
        for name in ("transaction_id", "timestamp", "amount"):
            if name not in present and name not in self.shape.constants and not any(r.rule.startswith(f"{name}.") for r in refusals):
                refusals.append(Refusal(name, f"{name}.missing", "has no value"))
        for column in sorted(self._needed - columns.keys()):
            columns[column] = pl.Series(column, [None], dtype=pl.String)
        if refusals:
            return Admission(None, tuple(refusals))
        try:
            done = admit(pl.DataFrame(list(columns.values())), self.shape, self.rates, self.tokens, where="the body")
        except ColumnMapError as error:
            name = str(error.fields.get("column", "timestamp"))
            return Admission(None, (Refusal(name, f"{name}.format", str(error)),))
        if done.rejected_rows:
            return Admission(
                None, tuple(Refusal(r["column"], r["rule"], r["reason"]) for r in done.rejected.iter_rows(named=True)), done.notes
            )
        table = done.accepted.with_columns(pl.col(pl.Datetime).to_physical()).drop("row")
        return Admission(table.row(0, named=True), (), done.notes)


def body_hash(row: Row) -> bytes:
    """The canonical hash of a row, 16 bytes: `canonical.body_hashes` of it.

    >>> body_hash({"transaction_id": "t1", "amount_minor": 5, "country": None}).hex()[:8]
    '94051281'
    """
    parts = []
    for name in sorted(row):
        value = row[name]
        if value is None or name in OUTSIDE_BODY:
            continue
        if value is True or value is False:
            text = "true" if value else "false"
        elif isinstance(value, float):
            # The bits, as a whole number; both zeros are one.
            text = str(int.from_bytes(_DOUBLE.pack(value + 0.0), "little", signed=True))
        else:
            text = str(value)
        parts.append(f"{name}={len(text.encode())}:{text}")
    return blake2b(BODY_VERSION + "".join(parts).encode(), digest_size=16).digest()


class _BaseAmounts:
    """`RateTable.convert_columns` for one amount, with the rates of each currency looked up beforehand."""

    def __init__(self, rates: RateTable) -> None:
        self.base = rates.base
        self._by_code: dict[str, tuple[list[int], list[int], list[str]]] = {}
        for rate in rates.rates:
            starts, values, versions = self._by_code.setdefault(rate.currency, ([], [], []))
            starts.append(rate.valid_from_us)
            values.append(rate.value)
            versions.append(rate.version)

    def __call__(self, amount_minor: int, currency: str | None, time_us: int) -> tuple[int | None, str | None]:
        if currency not in self._by_code or currency not in EXPONENTS:
            return None, None
        own = self._in_force(currency, time_us)
        if own is None:
            return None, None
        value, divisor = 1, 1
        if currency != self.base:
            base = self._in_force(self.base, time_us)
            if base is None:
                return None, None
            value, divisor = own[0], base[0]
        bottom = divisor * 10 ** EXPONENTS[currency]
        whole, rest = divmod(amount_minor * value * 10**BASE_SCALE, bottom)
        whole += 2 * rest > bottom or (2 * rest == bottom and whole % 2 == 1)
        return (whole if abs(whole) <= AMOUNT_MINOR_MAX else None), own[1]

    def _in_force(self, currency: str, time_us: int) -> tuple[int, str] | None:
        starts, values, versions = self._by_code[currency]
        at = bisect_right(starts, time_us) - 1
        return None if at < 0 else (values[at], versions[at])


def _flat(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The fields of a body, those of objects with dotted names, one level deep."""
    out = []
    for name, value in body.items():
        if isinstance(value, dict):
            out += [(f"{name}.{inner}", part) for inner, part in value.items()]
        else:
            out.append((name, value))
    return out


def _holds_card(text: str) -> bool:
    return MAY_HOLD_PAN.search(text) is not None and holds_pan(text)


def _no_card(value: object) -> None:
    """_Strange if a card number might be in it."""
    if isinstance(value, str):
        if _holds_card(value):
            raise _Strange
    elif isinstance(value, int | float):
        if not -1e12 < value < 1e12:
            raise _Strange
    else:
        raise _Strange


def _value(kind: str, value: Any) -> Value:
    """A canonical value of a kind; _Strange if it is not written as one."""
    if kind in ("id", "word"):
        return _text(value, ID_BYTES_MAX if kind == "id" else TEXT_BYTES_MAX)
    if kind == "flag":
        if value is True or value is False:
            return bool(value)
    elif kind == "country":
        code = _COUNTRIES.get(value.upper()) if isinstance(value, str) and value.isascii() else None
        if code is not None:
            return code
    elif kind == "status":
        if value in STATUSES:
            return str(value)
    elif kind == "currency":
        if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha():
            return value.upper()
    elif kind in ("degrees90", "degrees180"):
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= (90 if kind == "degrees90" else 180):
            return round(float(value) * DEGREE_E7)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if kind == "number":
            if math.isfinite(value) and abs(value) < 2**53:
                return float(value)
        else:
            return _minor(value, int(kind.removeprefix("exact")), negative=True)
    raise _Strange


def _text(value: object, most: int) -> str:
    """Text as it is: printable ASCII without blanks around it, and no card number in it."""
    if not isinstance(value, str) or not value or not value.isascii() or len(value) > most or value.strip() != value or _holds_card(value):
        raise _Strange
    return value


def _minor(value: object, exponent: int, *, negative: bool = False) -> int:
    if isinstance(value, str):
        if not _PLAIN_AMOUNT.fullmatch(value):
            raise _Strange
    elif not isinstance(value, int | float) or isinstance(value, bool) or not (negative or value >= 0):
        raise _Strange
    try:
        return to_minor(value, exponent)
    except AmountError as error:
        raise _Strange from error


def _time(value: object) -> tuple[int, int | None]:
    """Microseconds since 1970, and the minutes of the offset that the value gives (`Z` and `-00:00` give none)."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise _Strange
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise _Strange from error
    since = moment - _EPOCH
    time_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if not TIMESTAMP_MIN_US <= time_us <= TIMESTAMP_MAX_US:
        raise _Strange
    if value.endswith(("Z", "-00:00")):
        return time_us, None
    ahead = moment.utcoffset()
    assert ahead is not None
    minutes = ahead.days * 1_440 + ahead.seconds // 60
    if not UTC_OFFSET_MIN_MINUTES <= minutes <= UTC_OFFSET_MAX_MINUTES:
        raise _Strange
    return time_us, minutes
