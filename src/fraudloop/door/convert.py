"""One outside column becoming one inside column: text, flags, times, amounts, degrees, countries, numbers.

Each function takes a polars expression and its type and gives the converted expression with the faults that a value
can have. A fault is a Boolean expression with a rule and a reason; values are never raised about. No file, no map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import polars as pl

from fraudloop.domain.country import BY_NAME, UNKNOWN, alpha2
from fraudloop.domain.money import EXPONENTS, FLOAT32_NOISE, FLOAT_LAST_PLACES, FLOAT_NOISE, FLOAT_NOISE_MAX, UNKNOWN_EXPONENT
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

UTC_TIME: Final = pl.Datetime("us", "UTC")
_TRUE: Final = ("true", "t", "yes", "y", "1", "1.0")
_FALSE: Final = ("false", "f", "no", "n", "0", "0.0")
_ISO: Final = (
    r"^([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:[.,]([0-9]{1,18}))?)?\s?([Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)?$"
)
_PLAIN_AMOUNT: Final = r"^([+-]?)([0-9]*)\.?([0-9]*)$"
_SCIENTIFIC: Final = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,3}$"
_NOT_FINITE: Final = r"(?i)^[+-]?(?:nan|inf|infinity)$"
_NUMBER: Final = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?$"
_MISSING_WORDS: Final = ("nan", "null", "none", "n/a")
_INT64_DIGITS: Final = 18


@dataclass(frozen=True, slots=True)
class Fault:
    """What can be wrong with a value of a column: `bad` is a Boolean expression, true where it is."""

    rule: str
    reason: str
    bad: pl.Expr


@dataclass(frozen=True, slots=True)
class Converted:
    """The expressions that a column becomes, by name, with the faults to look for beside them.

    steps: columns to add to the frame first, one mapping after the other, that the expressions speak of. Without them
    each expression would hold all that it is made of, over and over, and planning it would cost far more than doing it.
    """

    values: dict[str, pl.Expr]
    faults: tuple[Fault, ...] = ()
    steps: tuple[dict[str, pl.Expr], ...] = ()


class _Steps:
    """Columns in between, one column's conversion: each call adds them behind those before."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done: list[dict[str, pl.Expr]] = []

    def add(self, **columns: pl.Expr) -> tuple[pl.Expr, ...]:
        named = {f"{self.name}#{len(self.done)}{label}": column for label, column in columns.items()}
        self.done.append(named)
        return tuple(pl.col(name) for name in named)

    def give(self, values: dict[str, pl.Expr], faults: Sequence[Fault] = ()) -> Converted:
        return Converted(values, tuple(faults), tuple(self.done))


def _text(source: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Any scalar type as trimmed text, empty as null; whole floats as whole numbers."""
    if dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum):
        text = source.cast(pl.String)
    elif dtype.is_float():
        whole = source.is_finite() & (source.abs() < 2**53) & (source.round() == source)
        return (
            pl.when(source.is_nan())
            .then(None)
            .when(whole)
            .then(source.cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(source.cast(pl.String))
        )
    elif dtype == pl.Binary:
        text = source.cast(pl.String, strict=False)
    elif dtype == pl.Null:
        return source.cast(pl.String)
    elif dtype.is_nested():
        raise ColumnMapError(f"a column of type {dtype} holds no single values; name one of its fields with a dot, like device.id")
    else:
        return source.cast(pl.String)
    text = text.str.strip_chars()
    return pl.when(text != "").then(text)


def identifier(name: str, source: pl.Expr, dtype: pl.DataType) -> Converted:
    """An id as text: any scalar, trimmed; whole floats lose their `.0` (a column of ints with gaps), others are refused."""
    steps = _Steps(name)
    (text,) = steps.add(text=_text(source, dtype))
    faults = [Fault(f"{name}.length", f"longer than {ID_BYTES_MAX:,} bytes", text.str.len_bytes() > ID_BYTES_MAX)]
    if dtype.is_float():
        faults.append(Fault(f"{name}.format", "a number with a fraction, or beyond 2**53, is no id", text.str.contains(r"[^0-9-]")))
    return steps.give({name: text}, faults)


def word(name: str, source: pl.Expr, dtype: pl.DataType) -> Converted:
    """A category or other short text."""
    steps = _Steps(name)
    (text,) = steps.add(text=_text(source, dtype))
    return steps.give(
        {name: text}, [Fault(f"{name}.length", f"longer than {TEXT_BYTES_MAX:,} bytes", text.str.len_bytes() > TEXT_BYTES_MAX)]
    )


def choice(name: str, source: pl.Expr, dtype: pl.DataType, among: Sequence[str]) -> Converted:
    """One of a few words, whatever its case."""
    steps = _Steps(name)
    (text,) = steps.add(text=_text(source, dtype).str.to_lowercase())
    return steps.give({name: text}, [Fault(f"{name}.unknown", f"none of {', '.join(among)}", ~text.is_in(list(among)))])


def currency(name: str, source: pl.Expr, dtype: pl.DataType) -> Converted:
    """A currency code in capitals. One that ISO 4217 does not know is kept: it has no rate, and that is reported."""
    steps = _Steps(name)
    (text,) = steps.add(text=_text(source, dtype).str.to_uppercase())
    return steps.give({name: text}, [Fault(f"{name}.format", "not a code of three letters", ~text.str.contains("^[A-Z]{3}$"))])


def country(name: str, source: pl.Expr, dtype: pl.DataType) -> Converted:
    """ISO alpha-2 from alpha-2, alpha-3 or an English name; ZZ, XX, `unknown` and the like are null."""
    steps = _Steps(name)
    (text,) = steps.add(text=_text(source, dtype))
    (code,) = steps.add(code=text.str.to_uppercase().replace_strict(_SHORT_NAMES, default=None, return_dtype=pl.String))
    (named,) = steps.add(named=pl.when(code.is_null()).then(text).map_batches(_countries, return_dtype=pl.String))
    strange = text.is_not_null() & code.is_null() & named.is_null() & ~text.str.to_lowercase().is_in(sorted(UNKNOWN))
    return steps.give(
        {name: pl.coalesce(code, named)}, [Fault(f"{name}.unknown", "no ISO 3166 code or English name of a country", strange)]
    )


_SHORT_NAMES: Final = {n.upper(): c for n, c in BY_NAME.items() if len(n) <= 3}


def _countries(names: pl.Series) -> pl.Series:
    distinct = names.drop_nulls().unique()
    found = {name: code for name in distinct.to_list() if (code := alpha2(name)) is not None}
    return (
        names.replace_strict(found, default=None, return_dtype=pl.String)
        if found
        else pl.Series(names.name, [None] * len(names), dtype=pl.String)
    )


def flag(name: str, source: pl.Expr, dtype: pl.DataType) -> Converted:
    """A yes or no: Boolean, 0/1, or true/false, t/f, yes/no, y/n in any case."""
    if dtype == pl.Boolean:
        return Converted({name: source})
    steps = _Steps(name)
    (text,) = steps.add(text=_text(source, dtype).str.to_lowercase())
    (value,) = steps.add(value=pl.when(text.is_in(_TRUE)).then(True).when(text.is_in(_FALSE)).then(False))
    return steps.give(
        {name: value}, [Fault(f"{name}.format", "neither yes nor no (true/false, yes/no, 1/0)", text.is_not_null() & value.is_null())]
    )


def degrees(name: str, source: pl.Expr, dtype: pl.DataType, most: int) -> Converted:
    """Degrees from -most to most as Int32 in units of 1e-7, nearest (ties to even); NaN is null."""
    steps = _Steps(name)
    faults = []
    if dtype.is_numeric():
        (number,) = steps.add(number=source.cast(pl.Float64))
    else:
        (text,) = steps.add(text=_text(source, dtype))
        (number,) = steps.add(number=text.cast(pl.Float64, strict=False))
        faults.append(Fault(f"{name}.format", "not a number", text.is_not_null() & number.is_null()))
    (value,) = steps.add(value=pl.when(number.is_nan()).then(None).otherwise(number))
    inside = value.abs() <= most
    scaled = pl.when(inside).then((value * DEGREE_E7).round(0, mode="half_to_even")).cast(pl.Int32, strict=False)
    return steps.give({name: scaled}, [Fault(f"{name}.range", f"not within -{most} to {most} degrees", ~inside), *faults])


def number(name: str, source: pl.Expr, dtype: pl.DataType, scale: int | None) -> Converted:
    """An extra number: Float64 (NaN is null, infinite refused), or with `scale` exact Int64 in units of 10**-scale, as
    large as an amount may be: the squares of a full window of them still fit 128 bits."""
    steps = _Steps(name)
    if scale is not None:
        return _exact(steps, name, source, dtype, pl.lit(scale, dtype=pl.Int64), round_finer=False, limit=AMOUNT_MINOR_MAX, missing_ok=True)
    if dtype == pl.Boolean:
        return Converted({name: source.cast(pl.Float64)})
    if dtype.is_numeric():
        (value,) = steps.add(value=source.cast(pl.Float64))
        known = pl.when(value.is_nan()).then(None).otherwise(value)
        return steps.give({name: known}, [Fault(f"{name}.finite", "not a finite number", value.is_infinite())])
    (text,) = steps.add(text=_text(source, dtype))
    missing, not_finite = steps.add(missing=text.str.to_lowercase().is_in(_MISSING_WORDS), not_finite=text.str.contains(_NOT_FINITE))
    (value,) = steps.add(value=pl.when(~missing & text.str.contains(_NUMBER)).then(text).cast(pl.Float64, strict=False))
    return steps.give(
        {name: value},
        [
            Fault(f"{name}.finite", "not a finite number", not_finite & ~missing | value.is_infinite()),
            Fault(f"{name}.format", "not a number", text.is_not_null() & value.is_null() & ~missing & ~not_finite),
        ],
    )


def amount(
    source: pl.Expr, dtype: pl.DataType, exponent: pl.Expr, *, decimal: str, thousands: str, round_finer: bool, negative: bool
) -> Converted:
    """`amount_minor`: exact minor units, `exponent` being the decimals of each row's currency (0: minor units already)."""
    steps = _Steps("amount")
    if dtype == pl.String and (thousands or decimal != "."):
        text = source.str.strip_chars()
        if thousands:
            text = text.str.replace_all(thousands, "", literal=True)
        if decimal != ".":
            # A point left over would be read as a decimal mark: make it unreadable.
            text = text.str.replace_all(".", "x", literal=True).str.replace(decimal, ".", literal=True)
        source = text
    out = _exact(steps, "amount", source, dtype, exponent, round_finer=round_finer, limit=AMOUNT_MINOR_MAX, missing_ok=False)
    value, faults = out.values["amount"], list(out.faults)
    if not negative:
        faults.append(Fault("amount.negative", 'below zero; say negative = "allow" in the column map if refunds are written so', value < 0))
    return steps.give({"amount_minor": value}, faults)


def exponents(currency: pl.Expr) -> pl.Expr:
    """Decimals of each currency code: Int64, never null."""
    return currency.replace_strict(dict(EXPONENTS), default=UNKNOWN_EXPONENT, return_dtype=pl.Int64)


def _exact(
    steps: _Steps, name: str, source: pl.Expr, dtype: pl.DataType, exponent: pl.Expr, *, round_finer: bool, limit: int, missing_ok: bool
) -> Converted:
    """Int64 = value * 10**exponent, exactly, from whole numbers, decimals, text or floats.

    A float stands for the nearest whole number of smallest units, if it is no further from it than a few roundings
    leave (`domain.money.float_noise`); else it is finer. Text and decimals are exact.
    """
    finer, range_reason = "more decimals than it can have", f"beyond {limit:,} in smallest units"
    power, step = steps.add(
        power=exponent.replace_strict({e: 10**e for e in range(19)}, return_dtype=pl.Int64),
        step=exponent.replace_strict({e: 10 ** (18 - e) for e in range(19)}, return_dtype=pl.Int64),
    )
    if dtype.is_integer():
        (whole,) = steps.add(whole=source.cast(pl.Int64, strict=False))
        (fits,) = steps.add(fits=whole.is_between(-(limit // power), limit // power).fill_null(False))
        return steps.give({name: pl.when(fits).then(whole * power)}, [Fault(f"{name}.range", range_reason, source.is_not_null() & ~fits)])
    if dtype.is_float():
        x, scaled = steps.add(x=source.cast(pl.Float64), scaled=source.cast(pl.Float64) * power.cast(pl.Float64))
        (r,) = steps.add(r=scaled.round(0, mode="half_to_even"))
        noise = FLOAT32_NOISE if dtype == pl.Float32 else FLOAT_NOISE
        most = pl.max_horizontal(pl.lit(FLOAT_NOISE_MAX), r.abs() * FLOAT_LAST_PLACES)
        near = (scaled - r).abs() <= pl.min_horizontal(r.abs() * noise, most)
        finite, fits, exact = steps.add(finite=x.is_finite(), fits=r.abs() <= limit, exact=pl.lit(True) if round_finer else near)
        return steps.give(
            {name: pl.when(finite & fits & exact).then(r).cast(pl.Int64, strict=False)},
            [
                Fault(f"{name}.finite", "not a finite number", x.is_infinite() if missing_ok else ~finite),
                Fault(f"{name}.range", range_reason, finite & ~fits),
                Fault(f"{name}.finer", finer, finite & fits & ~exact),
            ],
        )
    if dtype.is_decimal():
        source, dtype = source.cast(pl.String), pl.String()
    (text,) = steps.add(text=_text(source, dtype))
    if dtype == pl.String:
        # Powers of ten are rare in text: those alone go through Python's decimals, into plain digits.
        scientific = pl.when(text.str.contains(_SCIENTIFIC)).then(text).map_batches(_plain_digits, return_dtype=pl.String)
        (text,) = steps.add(plain=scientific.fill_null(text))
    sign, before, after, readable, not_finite, missing = steps.add(
        sign=text.str.extract(_PLAIN_AMOUNT, 1),
        before=text.str.extract(_PLAIN_AMOUNT, 2).str.strip_chars_start("0"),
        after=text.str.extract(_PLAIN_AMOUNT, 3).str.strip_chars_end("0"),
        readable=text.str.contains(_PLAIN_AMOUNT) & text.str.contains("[0-9]"),
        not_finite=text.str.contains(_NOT_FINITE),
        missing=text.str.to_lowercase().is_in(_MISSING_WORDS) if missing_ok else pl.lit(False),
    )
    short, head, tail, beyond = steps.add(
        short=before.str.len_bytes() <= _INT64_DIGITS,
        head=pl.when((before.str.len_bytes() <= _INT64_DIGITS) & (before != "")).then(before).cast(pl.Int64, strict=False).fill_null(0),
        tail=pl.when(readable).then(after.str.slice(0, 18).str.pad_end(18, "0")).cast(pl.Int64, strict=False),
        beyond=after.str.slice(18).str.contains("[1-9]").fill_null(False),
    )
    within, size, rest = steps.add(within=short & (head <= limit // power), size=head * power + tail // step, rest=tail % step)
    exact = (rest == 0) & ~beyond
    if round_finer:
        double = rest * 2
        up = (double > step) | ((double == step) & (beyond | (size % 2 == 1)))
        (size,) = steps.add(rounded=size + up.cast(pl.Int64))
        exact = pl.lit(True)
    fits, exact = steps.add(fits=within & (size <= limit), exact=exact)
    value = pl.when(readable & fits & exact).then(pl.when(sign == "-").then(-size).otherwise(size))
    return steps.give(
        {name: value},
        [
            Fault(f"{name}.finite", "not a finite number", not_finite & ~missing),
            Fault(f"{name}.format", "not a decimal number", text.is_not_null() & ~readable & ~not_finite & ~missing),
            Fault(f"{name}.range", range_reason, readable & ~fits),
            Fault(f"{name}.finer", finer, readable & fits & ~exact),
        ],
    )


def _plain_digits(texts: pl.Series) -> pl.Series:
    """Texts like 1.5e3 in plain digits; null stays null."""

    def plain(text: str) -> str:
        value = Decimal(text)
        if value == 0 or value.adjusted() < -60:
            # Too small to matter but not nothing: a digit behind all that can be kept.
            return "0" if value == 0 else ("-" if value < 0 else "") + "0." + "0" * 20 + "1"
        return format(value, "f") if value.adjusted() <= 40 else "9" * 40

    distinct = texts.drop_nulls().unique().to_list()
    if not distinct:
        return texts
    return texts.replace_strict({t: plain(t) for t in distinct}, default=None, return_dtype=pl.String)


def time(
    name: str,
    source: pl.Expr,
    dtype: pl.DataType,
    *,
    zone: str,
    formats: tuple[str, ...],
    unit: str | None,
    ambiguous: str,
    offset: str | None = None,
) -> Converted:
    """Datetime(us, UTC); with `offset` also that column: the offset that the value itself gives, in minutes.

    Text is tried with each of `formats`, then as ISO 8601 with or without an offset; a time without one is of `zone`.
    `Z` and `-00:00` say the moment and not the local offset (RFC 9557), so they give none. Numbers need `unit`. Finer
    than a microsecond is cut off, toward the past. The 60th second of a minute is refused.
    """
    steps = _Steps(name)
    faults: list[Fault] = []
    own: pl.Expr = pl.lit(None, dtype=pl.Int16)
    gap_reason = f"no such local time in {zone}: a clock skips it, or goes through it twice"
    if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
        aware = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
        (micro,) = steps.add(micro=source.cast(pl.Datetime("us", aware)))
        if aware is None:
            (value,) = steps.add(value=_localised(micro, zone, ambiguous))
            faults.append(Fault(f"{name}.gap", gap_reason, micro.is_not_null() & value.is_null()))
        else:
            (value,) = steps.add(value=micro.dt.convert_time_zone("UTC"))
            if aware != "UTC":
                own = zone_offset(value, aware)
    elif dtype.is_numeric() or (dtype == pl.String and unit is not None and not formats):
        if unit is None:
            raise ColumnMapError(
                f'{name} holds numbers of type {dtype}; say what they are under [time]: unit = "s", "ms" or "us" since 1970'
            )
        given, micro = _epoch(steps, source, dtype, unit)
        (value,) = steps.add(value=micro.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
        faults.append(Fault(f"{name}.format", f"not a number of {unit} since 1970", given & value.is_null()))
    elif dtype == pl.String:
        (text,) = steps.add(text=_text(source, dtype))
        value, own, gap = _parse(steps, text, zone, formats, ambiguous)
        like = " or ".join((*formats, "ISO 8601"))
        faults.append(Fault(f"{name}.format", f"not a time like {like}", text.is_not_null() & value.is_null() & ~gap))
        faults.append(Fault(f"{name}.gap", gap_reason, gap))
    elif dtype == pl.Null:
        value = source.cast(UTC_TIME)
    else:
        raise ColumnMapError(f"{name} has type {dtype}; a time is text, a number with a unit, or a timestamp")
    inside = value.to_physical().is_between(TIMESTAMP_MIN_US, TIMESTAMP_MAX_US)
    faults.append(Fault(f"{name}.range", "before 1970 or after 2099; is the unit right?", ~inside))
    out = {name: value}
    if offset is not None:
        out[offset] = own
        faults.append(
            Fault(
                f"{name}.offset",
                "an offset from UTC beyond -12:00 to +14:00",
                ~own.is_between(UTC_OFFSET_MIN_MINUTES, UTC_OFFSET_MAX_MINUTES),
            )
        )
    return steps.give(out, faults)


def zone_offset(value: pl.Expr, zone: str) -> pl.Expr:
    """Minutes that local time of `zone` was ahead of UTC at each time: Int16."""
    if zone == "UTC":
        return pl.when(value.is_not_null()).then(pl.lit(0, dtype=pl.Int16))
    local = value.dt.convert_time_zone(zone)
    return (local.dt.base_utc_offset() + local.dt.dst_offset()).dt.total_minutes().cast(pl.Int16)


def utc_offset(name: str, source: pl.Expr, dtype: pl.DataType) -> Converted:
    """Minutes ahead of UTC, from a whole number of minutes or text like +02:00."""
    steps = _Steps(name)
    if dtype.is_numeric():
        (value,) = steps.add(value=source.cast(pl.Int64, strict=False))
        bad = source.is_not_null() & ((value != source) | value.is_null())
    else:
        (text,) = steps.add(text=_text(source, dtype))
        (value,) = steps.add(value=pl.coalesce(_offset_minutes(text), text.cast(pl.Int64, strict=False)))
        bad = text.is_not_null() & value.is_null()
    inside = value.is_between(UTC_OFFSET_MIN_MINUTES, UTC_OFFSET_MAX_MINUTES)
    return steps.give(
        {name: pl.when(inside).then(value).cast(pl.Int16)},
        [
            Fault(f"{name}.format", "neither minutes nor an offset like +02:00", bad),
            Fault(f"{name}.range", "beyond -12:00 to +14:00", ~inside),
        ],
    )


def _localised(naive: pl.Expr, zone: str, ambiguous: str) -> pl.Expr:
    """UTC of local times of `zone`, null where there is none."""
    if zone == "UTC":
        return naive.dt.replace_time_zone("UTC")
    if ambiguous == "latest":
        value = naive.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
    elif ambiguous == "refuse":
        value = naive.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    else:
        value = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return value.dt.convert_time_zone("UTC")


def _epoch(steps: _Steps, source: pl.Expr, dtype: pl.DataType, unit: str) -> tuple[pl.Expr, pl.Expr]:
    """Which values are given, and microseconds (Int64) of numbers since 1970, null where they are none."""
    if dtype == pl.String or dtype.is_decimal():
        # Through exact decimals: 1711843200.123456 s has more digits than a float keeps.
        scale = {"s": 6, "ms": 3, "us": 0, "ns": 0}[unit]
        (text,) = steps.add(text=_text(source.cast(pl.String), pl.String()))
        if unit == "ns":
            # Nanoseconds of today have 19 digits: the last three are cut before they become a number.
            cut = text.str.replace(r"^\+?([0-9]+)", "000${1}").str.replace(r"^([0-9]+)[0-9]{3}(?:\.[0-9]*)?$", "${1}")
        else:
            cut = text.str.replace(r"^([+-]?[0-9]+\.[0-9]{" + str(scale) + r"})[0-9]+$", "${1}")
        out = _exact(
            steps, "t", cut, pl.String(), pl.lit(scale, dtype=pl.Int64), round_finer=False, limit=9 * 10**_INT64_DIGITS, missing_ok=False
        )
        return text.is_not_null(), out.values["t"]
    if dtype.is_float():
        (x,) = steps.add(x=source.cast(pl.Float64))
        scaled = x * {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1.0}[unit]
        (whole,) = steps.add(whole=pl.when(scaled.abs() < 2.0**62).then(scaled.round()).cast(pl.Int64, strict=False))
        return source.is_not_null() & ~x.is_nan(), whole // 1_000 if unit == "ns" else whole
    (whole,) = steps.add(whole=source.cast(pl.Int64, strict=False))
    factor = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[unit]
    fits = whole.is_between(-(2**62) // factor, 2**62 // factor)
    return source.is_not_null(), whole // 1_000 if unit == "ns" else pl.when(fits).then(whole * factor)


def _offset_minutes(text: pl.Expr) -> pl.Expr:
    """Minutes of Z, +02, +0200, +02:00; null for other text."""
    parts = text.str.extract_groups(r"^(?<s>[+-])(?<h>[0-9]{2}):?(?<m>[0-9]{2})?$")
    hours = parts.struct.field("h").cast(pl.Int64, strict=False)
    minutes = parts.struct.field("m").cast(pl.Int64, strict=False).fill_null(0)
    sign = pl.when(parts.struct.field("s") == "-").then(-1).otherwise(1)
    return pl.when(text.str.to_uppercase() == "Z").then(0).when(minutes < 60).then(sign * (hours * 60 + minutes))


_CLOCK_LETTERS: Final = ("%H", "%I", "%T", "%R", "%X", "%s", "%c", "%k", "%l")


def _parse(steps: _Steps, text: pl.Expr, zone: str, formats: tuple[str, ...], ambiguous: str) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """(UTC, own offset in minutes, gap) of texts: the first of `formats` that reads them, else ISO 8601."""
    value: pl.Expr = pl.lit(None, dtype=UTC_TIME)
    own: pl.Expr = pl.lit(None, dtype=pl.Int16)
    gap: pl.Expr = pl.lit(False)
    for form in formats:
        if any(z in form for z in ("%z", "%:z", "%#z")):
            tail = text.str.extract(r"([+-][0-9]{2}(?::?[0-9]{2})?)\D*$")
            read, offset = steps.add(
                read=text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False),
                offset=pl.when(~tail.str.contains("^-00:?(?:00)?$")).then(_offset_minutes(tail)).cast(pl.Int16, strict=False),
            )
            value, own = steps.add(
                value=pl.coalesce(value, read), own=pl.when(value.is_null() & read.is_not_null()).then(offset).otherwise(own)
            )
        else:
            with_clock = any(c in form for c in _CLOCK_LETTERS)
            naive = (
                text.str.to_datetime(form, time_unit="us", strict=False)
                if with_clock
                else text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
            )
            (naive,) = steps.add(naive=naive)
            (read,) = steps.add(read=_localised(naive, zone, ambiguous))
            value, gap = steps.add(value=pl.coalesce(value, read), gap=gap | (value.is_null() & naive.is_not_null() & read.is_null()))
    day, clock, fraction, tail = steps.add(
        day=text.str.extract(_ISO, 1),
        clock=text.str.extract(_ISO, 2).fill_null("00:00"),
        fraction=text.str.extract(_ISO, 3).str.slice(0, 6).str.pad_end(6, "0").cast(pl.Int64, strict=False).fill_null(0),
        tail=text.str.extract(_ISO, 4),
    )
    whole = pl.when(clock.str.len_bytes() == 5).then(clock + ":00").otherwise(clock)
    naive, minutes = steps.add(
        naive=pl.when(~clock.str.ends_with(":60"))
        .then(day + "T" + whole)
        .str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False),
        minutes=_offset_minutes(tail),
    )
    (naive,) = steps.add(naive=(naive.to_physical() + fraction).cast(pl.Datetime("us")))
    local, moment = steps.add(
        local=_localised(pl.when(tail.is_null()).then(naive), zone, ambiguous),
        moment=(naive.to_physical() - minutes * 60_000_000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    )
    says = tail.is_not_null() & ~tail.str.contains("^(?:[Zz]|-00:?(?:00)?)$")
    value, own, gap = steps.add(
        value=pl.coalesce(value, pl.when(tail.is_null()).then(local).otherwise(moment)),
        own=pl.when(value.is_null() & says).then(minutes.cast(pl.Int16, strict=False)).otherwise(own),
        gap=gap | (value.is_null() & tail.is_null() & naive.is_not_null() & local.is_null()),
    )
    return value, own, gap.fill_null(False)
