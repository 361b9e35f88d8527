"""The door for one transaction at a time: what `door.table` does to a table, in microseconds.

Three ways with one meaning. The quick one takes a body in one pass and raises `Strange` at whatever it is not sure of; the exact one
reads the same body value by value with `door.value` and tells every fault; shapes that say more than one value can answer (own formats of
times, own words, marks in numbers) go through `door.table` itself, as a table of one row, which costs milliseconds. Before them
`door.glance` takes bodies that are written as the reference writes them, where the shape adds nothing to that.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from hashlib import blake2b
from math import gcd
from types import MappingProxyType
from typing import Any, Final

import msgspec
import polars as pl

from fraudloop.domain.money import EXPONENTS, FLOAT_NOISE, FLOAT_NOISE_MAX, UNKNOWN_EXPONENT
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
from fraudloop.door import value as values
from fraudloop.door.body import Refusal as Refusal
from fraudloop.door.body import Strange, card_in, check_time, holds_card, nested_text, read_object, scalar, scalars
from fraudloop.door.canonical import BODY_VERSION
from fraudloop.door.glance import Glance
from fraudloop.door.pan import TokenKey, hide
from fraudloop.door.rates import BASE_SCALE, RateTable
from fraudloop.door.shape import Shape
from fraudloop.door.table import CARD_REASON, CARD_RULE, NO_TEXT, admit
from fraudloop.door.value import Scalar, Wrong
from fraudloop.errors import ColumnMapError
from fraudloop.limits import (
    AMOUNT_MINOR_MAX,
    COLUMNS_MAX,
    DEGREE_E7,
    ID_BYTES_MAX,
    TIMESTAMP_MAX_US,
    TIMESTAMP_MIN_US,
    UTC_OFFSET_MAX_MINUTES,
    UTC_OFFSET_MIN_MINUTES,
    WORDS_REMEMBERED_MAX,
)

#: A canonical value: a time is microseconds since 1970 UTC.
Value = str | int | float | bool | None
Row = dict[str, Value]
Read = Callable[[Any], Any]

_REQUIRED: Final = ("transaction_id", "timestamp", "amount")
_DEGREES: Final = {"latitude": 90, "longitude": 180, "home_latitude": 90, "home_longitude": 180}
#: Ids become tokens, numbers show no text: no card number is refused in them.
_NOT_LOOKED_AT: Final = NO_TEXT | {*ID_FIELDS}
_DOUBLE = struct.Struct("<d")
_NO_NOTES: Final[Mapping[str, int]] = MappingProxyType({})
_POWERS: Final = tuple(10**n for n in range(10))
_FLOAT_POWERS: Final = tuple(float(10**n) for n in range(10))
_WORD_CHARACTERS_MAX: Final = 64

#: An amount as text with all its decimals is read at a glance up to so many characters: too few for a card number.
_PLAIN_AMOUNT_CHARACTERS_MAX: Final = 12


class Admission(msgspec.Struct, frozen=True):
    """row: the canonical transaction, or None if it was refused; refusals say why. notes: as `table.Admitted.notes`."""

    row: Row | None
    refusals: tuple[Refusal, ...] = ()
    notes: Mapping[str, int] = _NO_NOTES


class RowDoor:
    """The door of one shape, rate table and token key, prepared once.

    >>> door = RowDoor(Shape(), RateTable.sample())
    >>> door.admit({"id": "t1", "timestamp": "2026-01-31T12:00:00Z", "amount": "9.99", "currency": "EUR"}).row["amount_base"]
    999
    >>> [refusal.field for refusal in door.admit({"id": "t1", "timestamp": "soon", "amount": 1}).refusals]
    ['timestamp']
    >>> [refusal.rule for refusal in door.admit_bytes(b"[1, 2").refusals]
    ['body.json']
    """

    def __init__(self, shape: Shape, rates: RateTable, tokens: TokenKey | None = None) -> None:
        self.shape, self.rates, self.tokens = shape, rates, tokens
        self._told = _Columns(shape, rates, tokens or TokenKey())
        # Where the service says when a body came, the body's own word for it is a column like any that nobody reads.
        without = replace(
            shape,
            ignore=(*shape.ignore, "received_at"),
            fields={n: c for n, c in shape.fields.items() if n != "received_at"},
            constants={n: c for n, c in shape.constants.items() if n != "received_at"},
        )
        self._stamped = _Columns(without, rates, tokens or TokenKey())
        self._decode = msgspec.json.Decoder().decode
        self._glance = self._told.glanced()

    def glance(self, raw: bytes) -> Row | None:
        """The row that `admit_bytes` would give, for most payments in half the time; None where it has to be asked."""
        return None if self._glance is None else self._glance.row(raw)

    def admit(self, body: Mapping[str, Any], received_us: int | None = None) -> Admission:
        """A transaction from a decoded JSON object; values are text, numbers, truth values, null, or objects one level deep.

        received_us: when it arrived, in microseconds since 1970 UTC; a `received_at` in the body is then dropped.
        """
        columns = self._told if received_us is None else self._stamped
        if columns.is_plain:
            try:
                done = columns.quickly(body)
            except (Strange, Wrong, TypeError):  # a list has no hash
                done = columns.exactly(body)
        else:
            done = columns.by_table(body)
        if received_us is not None and done.row is not None:
            done.row["received_at"] = received_us
        return done

    def admit_bytes(self, raw: bytes, received_us: int | None = None) -> Admission:
        """The same from the bytes of a request. What is no JSON object is refused by `body.json` or `body.object`."""
        body = read_object(self._decode, raw)
        if isinstance(body, Refusal):
            return Admission(None, (body,))
        return self.admit(body, received_us)

    def _quickly(self, body: Mapping[str, Any]) -> Admission:
        return self._told.quickly(body)

    def _exactly(self, body: Mapping[str, Any]) -> Admission:
        return self._told.exactly(body)

    def _by_table(self, body: Mapping[str, Any]) -> Admission:
        return self._told.by_table(body)


class _Columns:
    """What a shape makes of a body: its columns and how each is read."""

    def __init__(self, shape: Shape, rates: RateTable, tokens: TokenKey) -> None:
        self.shape, self.rates, self.tokens = shape, rates, tokens
        numbers = {name: number.scale for name, number in shape.numbers.items()}
        words = {**shape.categories, **shape.segments}
        self._zone = shape.zone
        self._exact = _exact_readers(shape, numbers, tuple(words))
        quick = _quick_readers(shape, self._exact, numbers)
        #: The field that each column may be, by the column's name.
        self.names: dict[str, str] = {}
        if shape.aliases:
            for name, others in FIELDS.items():
                if name not in shape.constants and name not in shape.ignore and name not in shape.fields:
                    for column in (name, *others):
                        self.names.setdefault(column, name)
        mapped = {**shape.fields, **shape.extra}
        self.names.update({column: name for name, column in mapped.items()})
        self._needed = dict.fromkeys(mapped.values())
        self._aliased = [
            (name, tuple(column for column in (name, *others) if column not in self._needed))
            for name, others in FIELDS.items()
            if shape.aliases and name not in shape.fields and name not in shape.constants and name not in shape.ignore
        ]
        self._glance = quick
        self._quick = {column: (name, quick[name]) for column, name in self.names.items()}
        self._inside: dict[str, dict[str, tuple[str, Read]]] = {}
        for column, found in self._quick.items():
            for at in (i for i, c in enumerate(column) if c == "."):
                self._inside.setdefault(column[:at], {})[column[at + 1 :]] = found
        # What a shape says beyond names is for the other ways.
        self.is_plain = not (shape.values or shape.formats) and shape.decimal == "." and shape.thousands == ""
        self._is_quick = len(mapped) == len(self._needed) and not {*shape.constants} & {*_REQUIRED, "utc_offset", "currency", *_DEGREES}
        self._empty: Row = dict.fromkeys((*TRANSACTION_SCHEMA, *shape.extra))
        self._empty["flow"] = DEFAULT_FLOW
        self._empty["zone_offset"] = 0
        try:
            for name, text in shape.constants.items():
                if self._is_quick:
                    read = self._exact[name](text)
                    self._empty[name] = read[0] if isinstance(read, tuple) else read
        except Wrong:
            self._is_quick = False
        self._to_base = _BaseAmounts(rates)
        #: Decimals of amounts by currency, and of all others.
        self._exponents: dict[str, int] = {} if shape.minor else dict(EXPONENTS)
        self._exponent_else = 0 if shape.minor else UNKNOWN_EXPONENT

    def glanced(self) -> Glance | None:
        """What takes the usual bodies; None where the shape has columns, words or marks of its own."""
        shape = self.shape
        own = shape.fields or shape.extra or shape.constants or shape.ignore or not shape.aliases
        if own or not (self.is_plain and self._is_quick):
            return None
        return Glance(self._empty, self._glance, self._minor, self._exponents, self._exponent_else, self._to_base, shape.zone)

    # --- the quick way ----------------------------------------------------------------------------------------------

    def quickly(self, body: Mapping[str, Any]) -> Admission:
        """In one pass; `Strange` where it is not sure, `Wrong` or TypeError where a value cannot be read."""
        if not self._is_quick:
            raise Strange
        got: dict[str, Any] = {}
        columns = self._quick
        fields, dropped = len(body), 0
        for column, value in body.items():
            found = columns.get(column)
            if found is not None:
                name, read = found
                got[name] = read(value)
            elif type(value) is dict:
                fields += len(value) - 1
                inside = self._inside.get(column)
                for inner, part in value.items():
                    found = inside.get(inner) if inside is not None else None
                    if found is not None:
                        name, read = found
                        got[name] = read(part)
                    else:
                        dropped += 1
                        _no_card(part)
            else:
                dropped += 1
                _no_card(value)
        if len(got) != fields - dropped or fields > COLUMNS_MAX:
            raise Strange  # two names of one field: which counts is for the shape to say
        currency = got.get("currency")
        amount = got.pop("amount", None)
        minor = self._minor(amount, self._exponents.get(currency, self._exponent_else))  # type: ignore[arg-type]
        row = {**self._empty, **got}
        moment = got.get("timestamp")
        if minor is None or moment is None or row["transaction_id"] is None:
            raise Strange
        row["timestamp"] = time_us = moment[0]
        if moment[1] is not None and "utc_offset" not in got:
            row["utc_offset"] = moment[1]
        notes = _NO_NOTES
        if (row["latitude"] is None) != (row["longitude"] is None) or (row["home_latitude"] is None) != (row["home_longitude"] is None):
            notes = Counter(_whole_places(row))
        row["amount_minor"] = minor
        base, row["rate_version"] = self._to_base(minor, currency, time_us)
        row["amount_base"] = base
        if row["received_at"] is None:
            row["received_at"] = time_us
        if row["flow"] is None:
            row["flow"] = DEFAULT_FLOW
        if self._zone != "UTC":
            row["zone_offset"] = values.zone_offset(time_us, self._zone)
        if base is None:
            notes = {**notes, **_without_rate(currency)}
        return Admission(row, (), notes)

    def _minor(self, amount: Any, exponent: int) -> int | None:
        """Minor units of an amount, at a glance where it is written plainly."""
        if type(amount) is float and 0.0 <= amount < 1e9:
            scaled = amount * _FLOAT_POWERS[exponent]
            near = round(scaled)
            if scaled == near or abs(scaled - near) <= min(near * FLOAT_NOISE, FLOAT_NOISE_MAX):
                return near
        elif type(amount) is int and 0 <= amount < 1_000_000_000:
            return int(amount * _POWERS[exponent])
        elif type(amount) is str and len(amount) <= _PLAIN_AMOUNT_CHARACTERS_MAX:
            whole, _, part = amount.partition(".")
            if len(part) == exponent and whole.isdigit() and part.isdigit() and amount.isascii():
                return int(whole + part)
        return values.amount(scalar(amount), exponent, round_finer=self.shape.round_finer, negative=self.shape.negative)

    # --- the exact way ----------------------------------------------------------------------------------------------

    def exactly(self, body: Mapping[str, Any]) -> Admission:
        """Value by value, with all that is wrong."""
        columns, refusals = scalars(body, self.names, required=_REQUIRED, given=self.shape.constants, needed=self._needed)
        if refusals:
            return Admission(None, tuple(refusals))
        shape = self.shape
        fields = self._fields(columns)
        got: dict[str, Any] = {}
        wrong = set()
        for name in self._exact:
            column = fields.get(name)
            if column is None and name not in shape.constants:
                continue
            given = shape.constants[name] if column is None else columns[column]
            try:
                if name == "amount":
                    got[name] = self._minor(given, self._exponents.get(got.get("currency") or "", self._exponent_else))
                else:
                    got[name] = self._read(name, column or name, given, fields)
            except Wrong as error:
                wrong.add(name)
                refusals += [Refusal(hide(column or name), f"{name}.{rule}", reason) for rule, reason in error.faults]
            except ColumnMapError as error:
                return Admission(None, (Refusal(hide(column or name), f"{name}.format", str(error)),))
        for name in _REQUIRED:
            if got.get(name) is None and name not in wrong:
                refusals.append(Refusal(hide(fields.get(name, name)), f"{name}.missing", "has no value"))
        notes: Counter[str] = Counter()
        for name in ID_FIELDS:
            text = got.get(name)
            if text is not None and len(text) > 12 and holds_card(text):
                got[name] = self.tokens.token(text)
                notes["card_number.tokenised"] += 1
        looked_at = dict.fromkeys([c for n, c in fields.items() if n not in _NOT_LOOKED_AT])
        used = {*fields.values()}
        looked_at |= dict.fromkeys([c for c in columns if c not in used])
        for column in looked_at:
            given = columns[column]
            if (len(given) > 12 if type(given) is str else given is not None) and card_in(given):
                refusals.append(Refusal(hide(column), CARD_RULE, CARD_REASON))
        if refusals:
            return Admission(None, tuple(refusals), notes)
        return Admission(self._complete(got, notes), (), notes)

    def _complete(self, got: dict[str, Any], notes: Counter[str]) -> Row:
        row = dict.fromkeys(self._empty) | {name: value for name, value in got.items() if name != "amount"}
        time_us, own = got["timestamp"]
        row["timestamp"], row["amount_minor"] = time_us, got["amount"]
        if "utc_offset" not in got:
            row["utc_offset"] = own
        notes.update(_whole_places(row))
        currency = got.get("currency")
        row["amount_base"], row["rate_version"] = self._to_base(got["amount"], currency, time_us)
        if row["amount_base"] is None:
            notes.update(_without_rate(currency))
        row["received_at"] = time_us if row["received_at"] is None else row["received_at"]
        row["flow"] = row["flow"] or DEFAULT_FLOW
        row["zone_offset"] = values.zone_offset(time_us, self._zone)
        return row

    def _read(self, name: str, column: str, value: Scalar, fields: Mapping[str, str]) -> Any:
        """At a glance, and closely what that is not sure of or finds wrong. ColumnMapError for what no time can be."""
        try:
            return self._glance[name](value)
        except (Strange, Wrong):
            if name not in ("timestamp", "received_at"):
                return self._exact[name](value)
        shape = self.shape
        check_time(name, column, value, shape.unit)
        offset = name == "timestamp" and not ("utc_offset" in fields or "utc_offset" in shape.constants)
        moment = values.time(value, zone=shape.zone, unit=shape.unit, ambiguous=shape.ambiguous, offset=offset)
        return moment if name == "timestamp" or moment is None else moment[0]

    def _fields(self, columns: Mapping[str, Any]) -> dict[str, str]:
        """`Shape.resolve` for these columns."""
        shape = self.shape
        fields = {**shape.fields}
        for name, candidates in self._aliased:
            for column in candidates:
                if column in columns:
                    fields[name] = column
                    break
        return {**fields, **shape.extra}

    # --- the table's way --------------------------------------------------------------------------------------------

    def by_table(self, body: Mapping[str, Any]) -> Admission:
        """Through the door for tables."""
        columns, refusals = scalars(body, self.names, required=_REQUIRED, given=self.shape.constants, needed=self._needed)
        if refusals:
            return Admission(None, tuple(refusals))
        if not self.shape.formats:
            fields = self._fields(columns)
            for name in ("timestamp", "received_at"):
                if name in fields:
                    try:
                        check_time(name, fields[name], columns[fields[name]], self.shape.unit)
                    except ColumnMapError as error:
                        return Admission(None, (Refusal(hide(fields[name]), f"{name}.format", str(error)),))
        table = pl.DataFrame([pl.Series(n, [v], dtype=pl.String if v is None and n in self._needed else None) for n, v in columns.items()])
        try:
            done = admit(table, self.shape, self.rates, self.tokens, where="the body")
        except ColumnMapError as error:
            name = str(error.fields.get("column", "timestamp"))
            return Admission(None, (Refusal(hide(name), f"{name}.format", str(error)),))
        if done.rejected_rows:
            return Admission(
                None, tuple(Refusal(hide(r["column"]), r["rule"], r["reason"]) for r in done.rejected.iter_rows(named=True)), done.notes
            )
        accepted = done.accepted.with_columns(pl.col(pl.Datetime).to_physical()).drop("row")
        return Admission(accepted.row(0, named=True), (), done.notes)


def _exact_readers(shape: Shape, numbers: Mapping[str, int | None], words: tuple[str, ...]) -> dict[str, Read]:
    """How each field and extra column is read, in the order in which `door.table` looks at them."""
    read: dict[str, Read] = dict.fromkeys(ID_FIELDS, values.identifier)
    read |= dict.fromkeys(TEXT_FIELDS, values.word)
    read |= dict.fromkeys(FLAG_FIELDS, values.flag)
    read |= dict.fromkeys(COUNTRY_FIELDS, values.country)
    read |= {"status": partial(values.choice, among=STATUSES), "currency": values.currency, "amount": lambda amount: amount}
    read |= {name: partial(values.degrees, most=most) for name, most in _DEGREES.items()}
    for name in ("timestamp", "received_at"):
        read[name] = partial(values.time, zone=shape.zone, unit=shape.unit, ambiguous=shape.ambiguous, offset=name == "timestamp")
    read["utc_offset"] = values.utc_offset
    for name, scale in numbers.items():
        read[name] = values.number if scale is None else partial(values.exact, scale=scale, missing_ok=True)
    return read | dict.fromkeys(words, values.word)


def _quick_readers(shape: Shape, exact: Mapping[str, Read], numbers: Mapping[str, int | None]) -> dict[str, Read]:
    """The same, sooner: what is written as usual is taken at a glance, the rest is read exactly."""
    quick: dict[str, Read] = {name: _Words(read, {None: None}).__getitem__ for name, read in exact.items()}
    quick |= {name: _Words(exact[name], {None: None, True: True, False: False}).__getitem__ for name in FLAG_FIELDS}
    quick |= dict.fromkeys((*ID_FIELDS, "ip"), _identifier)
    quick["amount"] = exact["amount"]
    for name, most in _DEGREES.items():
        quick[name] = _latitude if most == 90 else _longitude
    quick["timestamp"] = _time_reader(exact["timestamp"], shape.unit)
    quick["received_at"] = _moment_reader(exact["received_at"], shape.unit)
    for name in numbers:
        quick[name] = partial(_small_number, exact=exact[name])
    return quick


class _Words(dict[Any, Any]):
    """What texts that come again and again were read as; bounded, and emptied when it is full."""

    def __init__(self, read: Read, known: Mapping[Any, Any]) -> None:
        super().__init__(known)
        self._known, self._read = known, read

    def __missing__(self, value: Any) -> Any:
        read = _plain(self._read(scalar(value)))
        if type(value) is str and len(value) <= _WORD_CHARACTERS_MAX:
            if len(self) >= WORDS_REMEMBERED_MAX:
                self.clear()
                self.update(self._known)
            self[value] = read
        return read


class _Minutes(dict[str, int]):
    """Microseconds since 1970 of `2026-01-31T12:00` as if it were UTC; bounded as `_Words`."""

    def __missing__(self, text: str) -> int:
        moment = values.time(text) if len(text) == 16 and text.isascii() and text[10] in "Tt " and text[13] == ":" else None
        if moment is None:
            raise Strange
        if len(self) >= WORDS_REMEMBERED_MAX:
            self.clear()
        self[text] = moment[0]
        return moment[0]


class _ToSeconds(dict[str, int]):
    """The same of `2026-01-31T12:00:05`: payments that come together were made together."""

    def __missing__(self, text: str) -> int:
        second = _SECONDS.get(text[16:])
        if second is None:
            raise Strange
        if len(self) >= WORDS_REMEMBERED_MAX:
            self.clear()
        found = self[text] = _MINUTES[text[:16]] + second
        return found


_MINUTES = _Minutes()
_TO_SECONDS = _ToSeconds()
_SECONDS: Final = {f":{second:02d}": second * 1_000_000 for second in range(60)}
_OFFSETS: Final = {
    f"{sign}{hours:02d}:{minutes:02d}": (hours * 60 + minutes) * (1 if sign == "+" else -1)
    for sign in "+-"
    for hours in range(15)
    for minutes in range(60)
    if UTC_OFFSET_MIN_MINUTES <= (hours * 60 + minutes) * (1 if sign == "+" else -1) <= UTC_OFFSET_MAX_MINUTES
}
#: What stands behind the seconds of most times, in microseconds.
_TAILS: Final = {"Z": 0, **{f".{thousandth:03d}Z": thousandth * 1_000 for thousandth in range(1_000)}}
del _OFFSETS["-00:00"]  # says the moment, and no offset


def _time_reader(exact: Read, unit: str | None) -> Read:
    """Microseconds since 1970 and the offset given, of 2026-01-31T12:00:00, fraction and Z or offset; the rest exactly."""
    minutes, seconds, offsets = _MINUTES, _SECONDS, _OFFSETS
    to_seconds, tails = _TO_SECONDS, _TAILS if unit is None else {}

    def read(value: Any) -> Any:
        if type(value) is str:
            part = tails.get(value[19:])
            if part is not None:
                at = to_seconds[value[:19]] + part
                return (at, None) if TIMESTAMP_MIN_US <= at <= TIMESTAMP_MAX_US else exact(value)
            second = seconds.get(value[16:19])
            tail = value[19:]
            if second is None or not tail or unit is not None:
                return exact(value)
            own = None
            if tail[-1] == "Z":
                digits = tail[1:-1]
            elif (own := offsets.get(tail[-6:])) is not None:
                digits = tail[1:-6]
                if len(tail) == 6:
                    tail = "Z"
            else:
                return exact(value)
            if tail != "Z":
                if tail[0] != "." or len(digits) > 18 or not digits.isdecimal() or not digits.isascii():
                    return exact(value)
                second += int(digits) if len(digits) == 6 else int(digits[:6].ljust(6, "0"))
            at = minutes[value[:16]] + second
            if own is not None:
                at -= own * 60_000_000
            return (at, own) if TIMESTAMP_MIN_US <= at <= TIMESTAMP_MAX_US else exact(value)
        value = scalar(value)
        if value is None:
            return None
        if isinstance(value, bool) or (unit is None and not isinstance(value, str)):
            raise Strange
        return exact(value)

    return read


def _moment_reader(exact: Read, unit: str | None) -> Read:
    """The same without the offset."""
    time = _time_reader(exact, unit)

    def read(value: Any) -> Any:
        moment = time(value)
        return None if moment is None else moment[0]

    return read


def _identifier(value: Any) -> str | None:
    """Printable text without blanks around it as it is; the rest exactly."""
    if type(value) is str and 0 < len(value) <= ID_BYTES_MAX and value.isascii() and value.strip() is value:
        if len(value) > 12 and holds_card(value):
            raise Strange
        return value
    found: str | None = _plain(values.identifier(scalar(value)))
    return found


def _plain(read: Any) -> Any:
    """What was read, if it is no text with a card number in it; else Strange."""
    if type(read) is str and len(read) > 12 and holds_card(read):
        raise Strange
    return read


def _latitude(value: Any) -> int | None:
    if type(value) is float and -90.0 <= value <= 90.0:
        return round(value * DEGREE_E7)
    return values.degrees(scalar(value), 90)


def _longitude(value: Any) -> int | None:
    if type(value) is float and -180.0 <= value <= 180.0:
        return round(value * DEGREE_E7)
    return values.degrees(scalar(value), 180)


def _small_number(value: Any, exact: Read) -> Any:
    """A number that is too small to hold a card number; text may hold one."""
    if value is not None and (isinstance(value, str) or not -1e12 < value < 1e12):
        raise Strange
    return exact(value)


def _no_card(value: object) -> None:
    """Strange if a card number is in a value that is dropped, or might be."""
    if type(value) is str:
        if len(value) > 12 and holds_card(value):
            raise Strange
    elif isinstance(value, int | float):
        if not -1e12 < value < 1e12 and card_in(scalar(value)):
            raise Strange
    elif value is not None:
        try:
            text = nested_text(value)
        except (RecursionError, ValueError) as error:
            raise Strange from error
        if holds_card(text):
            raise Strange


def _whole_places(row: Row) -> list[str]:
    """Leave out places of which one half is given alone; a note for each."""
    halves = [(a, b) for a, b in PLACES if (row[a] is None) != (row[b] is None)]
    for a, b in halves:
        row[a] = row[b] = None
    return ["place.half"] * len(halves)


def _without_rate(currency: str | None) -> dict[str, int]:
    return {"amount_base.no_rate": 1} if currency in EXPONENTS else {"amount_base.no_rate": 1, "currency.unknown": 1}


@lru_cache(maxsize=64)
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that belong to a body, in the order of its hash."""
    return tuple(sorted(name for name in names if name not in OUTSIDE_BODY))


def body_hash(row: Row) -> bytes:
    """The canonical hash of a row, 16 bytes: `canonical.body_hashes` of it.

    >>> body_hash({"transaction_id": "t1", "amount_minor": 5, "country": None}).hex()[:8]
    '94051281'
    """
    parts = []
    for name in _in_order(tuple(row)):
        value = row[name]
        if value is not None:
            text = value if type(value) is str else _as_text(value)
            parts.append(f"{name}={len(text) if text.isascii() else len(text.encode())}:{text}")
    return blake2b(BODY_VERSION + "".join(parts).encode(), digest_size=16).digest()


def same_body(one: Row, other: Row) -> bool:
    """Whether two canonical rows are one transaction told twice: exactly where `body_hash` of both is equal.

    >>> same_body({"transaction_id": "t1", "received_at": 5}, {"transaction_id": "t1", "received_at": 9, "flow": None})
    True
    """
    if one.keys() != other.keys():
        names: tuple[str, ...] = tuple({**one, **other})
    else:
        names = tuple(one)
    for name in _in_order(names):
        a, b = one.get(name), other.get(name)
        if a is b:
            continue
        if a is None or b is None:
            return False
        if type(a) is type(b) and type(a) is not float:
            if a != b:
                return False
        elif _as_text(a) != _as_text(b):
            return False
    return True


def _as_text(value: Value) -> str:
    """A value of a body as its hash takes it."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float):
        # The bits, as a whole number; both zeros are one.
        return str(int.from_bytes(_DOUBLE.pack(value + 0.0), "little", signed=True))
    return str(value)


class _BaseAmounts:
    """`RateTable.convert_columns` for one amount, with the rates of each currency looked up beforehand."""

    def __init__(self, rates: RateTable) -> None:
        rates_of: dict[str, list[tuple[int, int, str]]] = {}
        for rate in rates.rates:
            rates_of.setdefault(rate.currency, []).append((rate.valid_from_us, rate.value, rate.version))
        base = rates_of.get(rates.base, [])
        #: By currency: from when on, and (numerator, denominator, version) or None where there is no rate.
        self._by_code: dict[str, tuple[list[int], list[tuple[int, int, str] | None]]] = {}
        for code, own in rates_of.items():
            if code not in EXPONENTS:
                continue
            starts = sorted({start for start, _, _ in (own if code == rates.base else [*own, *base])})
            factors: list[tuple[int, int, str] | None] = []
            for start in starts:
                mine, theirs = _in_force(own, start), _in_force(base, start)
                if mine is None or (code != rates.base and theirs is None):
                    factors.append(None)
                    continue
                value, divisor = (1, 1) if code == rates.base or theirs is None else (mine[1], theirs[1])
                top, bottom = value * 10**BASE_SCALE, divisor * 10 ** EXPONENTS[code]
                shared = gcd(top, bottom)
                factors.append((top // shared, bottom // shared, mine[2]))
            self._by_code[code] = starts, factors

        #: Currencies whose minor units are those of the base: from when on for good, and the version.
        self._same = {
            code: (starts[-1], factors[-1][2])
            for code, (starts, factors) in self._by_code.items()
            if factors[-1] is not None and factors[-1][0] == factors[-1][1]
        }

    def __call__(self, amount_minor: int, currency: str | None, time_us: int) -> tuple[int | None, str | None]:
        same = self._same.get(currency)  # type: ignore[arg-type]
        if same is not None and time_us >= same[0]:
            return amount_minor, same[1]
        found = self._by_code.get(currency)  # type: ignore[arg-type]
        if found is None:
            return None, None
        starts, factors = found
        at = -1 if time_us >= starts[-1] else bisect_right(starts, time_us) - 1
        factor = factors[at] if at >= 0 or time_us >= starts[-1] else None
        if factor is None:
            return None, None
        top, bottom, version = factor
        if top == bottom:
            return amount_minor, version
        whole, rest = divmod(amount_minor * top, bottom)
        whole += 2 * rest > bottom or (2 * rest == bottom and whole % 2 == 1)
        return (whole if -AMOUNT_MINOR_MAX <= whole <= AMOUNT_MINOR_MAX else None), version


def _in_force(rates: list[tuple[int, int, str]], time_us: int) -> tuple[int, int, str] | None:
    at = bisect_right([start for start, _, _ in rates], time_us) - 1
    return rates[at] if at >= 0 else None
