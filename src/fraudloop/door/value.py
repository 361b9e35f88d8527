"""One value of a decoded JSON body becoming one canonical value: `door.convert` for single values, without a table.

Each function takes text, a number, a truth value or None, gives the canonical value (None where there is none) and
raises `Wrong` with the rules that the value breaks, in the words and the order of `door.convert`. It knows no field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from fraudloop.domain.country import BY_NAME, UNKNOWN, alpha2
from fraudloop.domain.money import float_noise
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

Scalar = str | int | float | bool | None

#: White space of Unicode, which is what polars strips; `str.strip` takes four control characters more.
BLANKS: Final = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)

_TRUE: Final = frozenset({"true", "t", "yes", "y", "1", "1.0"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0", "0.0"})
_MISSING_WORDS: Final = frozenset({"nan", "null", "none", "n/a"})
_SHORT_NAMES: Final = {name.upper(): code for name, code in BY_NAME.items() if len(name) <= 3}
_CODE = re.compile(r"[A-Z]{3}")
_DECIMAL = re.compile(r"([+-]?)([0-9]*)\.?([0-9]*)")
_SCIENTIFIC = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][+-]?[0-9]{1,3}")
_NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_OFFSET = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})?")
_NO_OFFSET = re.compile(r"[Zz]|-00:?(?:00)?")
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?(?:[.,]([0-9]{1,18}))?)?"
    rf"[{BLANKS}]?([Zz]|[+-][0-9]{{2}}(?::?[0-9]{{2}})?)?"
)
_MONTH_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_INT64_DIGITS: Final = 18
_DIGITS_MAX: Final = 4_000  # Python reads no longer whole numbers; text of that length is none


class Wrong(Exception):
    """The value breaks rules: pairs of a rule's last word and the reason in words."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        self.faults = faults
        super().__init__(*faults)


def text_of(value: Scalar) -> str | None:
    """Any scalar as trimmed text, empty as None; whole floats as whole numbers.

    >>> text_of(" a "), text_of(5.0), text_of(True), text_of("  "), text_of(1e-5)
    ('a', '5', 'true', None, '0.00001')
    """
    if isinstance(value, str):
        return value.strip(BLANKS) or None
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if value != value:
        return None
    if abs(value) < 2**53 and value == int(value):
        return str(int(value))
    return _float_text(value)


def _float_text(value: float) -> str:
    """The shortest digits of a float as polars writes them: plain from 1e-5 to 1e16."""
    digits, mark, power = repr(value).partition("e")
    if not mark:
        return digits
    if power == "-05":
        sign = "-" if digits.startswith("-") else ""
        return f"{sign}0.0000{digits.lstrip('-').replace('.', '')}"
    return f"{digits}e{int(power):+d}"


def _bytes(text: str) -> int:
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise Wrong(("format", "holds half of a pair of surrogates, which is no text")) from None


def identifier(value: Scalar) -> str | None:
    """An id as text: any scalar, trimmed; whole floats lose their `.0`, others are refused."""
    text = text_of(value)
    if text is None:
        return None
    if isinstance(value, float) and not (abs(value) < 2**53 and value == int(value)):
        raise Wrong(("format", "a number with a fraction, or beyond 2**53, is no id"))
    if _bytes(text) > ID_BYTES_MAX:
        raise Wrong(("length", f"longer than {ID_BYTES_MAX:,} bytes"))
    return text


def word(value: Scalar) -> str | None:
    """A category or other short text."""
    text = text_of(value)
    if text is not None and _bytes(text) > TEXT_BYTES_MAX:
        raise Wrong(("length", f"longer than {TEXT_BYTES_MAX:,} bytes"))
    return text


def choice(value: Scalar, among: Sequence[str]) -> str | None:
    """One of a few words, whatever its case."""
    text = text_of(value)
    if text is None:
        return None
    text = text.lower()
    if text not in among:
        raise Wrong(("unknown", f"none of {', '.join(among)}"))
    return text


def currency(value: Scalar) -> str | None:
    """A currency code in capitals, known or not."""
    text = text_of(value)
    if text is None:
        return None
    text = text.upper()
    if not _CODE.fullmatch(text):
        raise Wrong(("format", "not a code of three letters"))
    return text


def country(value: Scalar) -> str | None:
    """ISO alpha-2 from alpha-2, alpha-3 or an English name; None where it says that the country is not known."""
    text = text_of(value)
    if text is None:
        return None
    code = _SHORT_NAMES.get(text.upper()) or (alpha2(text) if len(text) <= TEXT_BYTES_MAX else None)
    if code is None and text.lower() not in UNKNOWN:
        raise Wrong(("unknown", "no ISO 3166 code or English name of a country"))
    return code


def flag(value: Scalar) -> bool | None:
    """A yes or no."""
    if isinstance(value, bool):
        return value
    text = text_of(value)
    if text is None:
        return None
    text = text.lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise Wrong(("format", "neither yes nor no (true/false, yes/no, 1/0)"))


def degrees(value: Scalar, most: int) -> int | None:
    """Degrees from -most to most in units of 1e-7, nearest (ties to even); NaN is None."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float("inf") if abs(value) >= 2**1000 else float(value)  # NaN is not above anything
    else:
        text = text_of(value)
        if text is None:
            return None
        if not _FLOAT.fullmatch(text) and not _NOT_FINITE.fullmatch(text):
            raise Wrong(("format", "not a number"))
        number = float(text)
    if number != number:
        return None
    if not abs(number) <= most:
        raise Wrong(("range", f"not within -{most} to {most} degrees"))
    return round(number * DEGREE_E7)


def number(value: Scalar) -> float | None:
    """An extra number as a float; NaN and words for nothing are None."""
    if isinstance(value, int | float):
        given = float(value)
        if given != given:
            return None
        if given in (float("inf"), float("-inf")):
            raise Wrong(("finite", "not a finite number"))
        return given
    text = text_of(value)
    if text is None or text.lower() in _MISSING_WORDS:
        return None
    if _NOT_FINITE.fullmatch(text):
        raise Wrong(("finite", "not a finite number"))
    if not _NUMBER.fullmatch(text):
        raise Wrong(("format", "not a number"))
    given = float(text)
    if given in (float("inf"), float("-inf")):
        raise Wrong(("finite", "not a finite number"))
    return given


def exact(value: Scalar, scale: int, *, round_finer: bool = False, limit: int = AMOUNT_MINOR_MAX, missing_ok: bool = False) -> int | None:
    """A decimal number as an integer in units of 10**-scale, exactly. missing_ok: words for nothing and NaN are None.

    >>> exact("1e3", 2), exact(57.16, 2), exact("007.10", 2), exact(" ", 2)
    (100000, 5716, 710, None)
    """
    if isinstance(value, float):
        return _exact_float(value, scale, round_finer, limit, missing_ok)
    too_large = ("range", f"beyond {limit:,} in smallest units")
    power: int = 10**scale
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) > limit // power:
            raise Wrong(too_large)
        return value * power
    text = text_of(value)
    if text is None:
        return None
    if isinstance(value, str) and _SCIENTIFIC.fullmatch(text):
        text = plain_digits(text)
    parts = _DECIMAL.fullmatch(text)
    if parts is None or not (parts[2] or parts[3]):
        if missing_ok and text.lower() in _MISSING_WORDS:
            return None
        if _NOT_FINITE.fullmatch(text):
            raise Wrong(("finite", "not a finite number"))
        raise Wrong(("format", "not a decimal number"))
    before, after = parts[2].lstrip("0"), parts[3].rstrip("0")
    if len(before) > _INT64_DIGITS:
        raise Wrong(too_large)
    step = 10 ** (_INT64_DIGITS - scale)
    tail, beyond = int(after[:_INT64_DIGITS].ljust(_INT64_DIGITS, "0")), len(after) > _INT64_DIGITS
    head = int(before or "0")
    size: int
    size, rest = head * power + tail // step, tail % step
    is_exact = rest == 0 and not beyond
    if round_finer:
        size += 2 * rest > step or (2 * rest == step and (beyond or size % 2 == 1))
        is_exact = True
    if head > limit // power or size > limit:
        raise Wrong(too_large)
    if not is_exact:
        raise Wrong(("finer", "more decimals than it can have"))
    return -size if parts[1] == "-" else size


def _exact_float(value: float, scale: int, round_finer: bool, limit: int, missing_ok: bool) -> int | None:
    if value != value and missing_ok:
        return None
    if value - value != 0:
        raise Wrong(("finite", "not a finite number"))
    scaled = value * float(10**scale)
    if not abs(scaled) < 2 * limit or abs(whole := round(scaled)) > limit:
        raise Wrong(("range", f"beyond {limit:,} in smallest units"))
    if not round_finer and abs(scaled - whole) > float_noise(whole):
        raise Wrong(("finer", "more decimals than it can have"))
    return whole


def plain_digits(text: str) -> str:
    """A number like 1.5e3 in plain digits, near enough to be judged: beyond 40 digits it is too large, below 60 places no amount.

    >>> plain_digits("1.5e3"), plain_digits("-1e-3")
    ('1500', '-0.001')
    """
    value = Decimal(text)
    if value == 0 or value.adjusted() < -60:
        # Too small to matter but not nothing: a digit behind all that can be kept.
        return "0" if value == 0 else ("-" if value < 0 else "") + "0." + "0" * 20 + "1"
    return format(value, "f") if value.adjusted() <= 40 else "9" * 40


def amount(value: Scalar, exponent: int, *, round_finer: bool = False, negative: bool = False) -> int | None:
    """Minor units of an amount with `exponent` decimals, exactly."""
    minor = exact(value, exponent, round_finer=round_finer)
    if minor is not None and minor < 0 and not negative:
        raise Wrong(("negative", 'below zero; say negative = "allow" in the column map if refunds are written so'))
    return minor


def utc_offset(value: Scalar) -> int | None:
    """Minutes ahead of UTC, from a whole number of minutes or text like +02:00."""
    wrong = ("format", "neither minutes nor an offset like +02:00")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and (value - value != 0 or abs(value) >= 2.0**63 or value != int(value)):
            # A fraction is cut off before the range is looked at, by both ways of reading.
            cut = int(value) if value - value == 0 and abs(value) < 2.0**63 else 0
            raise Wrong(wrong, *_beyond(cut))
        minutes: int | None = int(value)
    else:
        text = text_of(value)
        if text is None:
            return None
        minutes = _offset_minutes(text)
        if minutes is None:
            if not _WHOLE.fullmatch(text) or len(text) > _DIGITS_MAX or not -(2**63) <= int(text) < 2**63:
                raise Wrong(wrong)
            minutes = int(text)
    assert minutes is not None
    if faults := _beyond(minutes):
        raise Wrong(*faults)
    return minutes


def _beyond(minutes: int) -> list[tuple[str, str]]:
    inside = UTC_OFFSET_MIN_MINUTES <= minutes <= UTC_OFFSET_MAX_MINUTES
    return [] if inside else [("range", "beyond -12:00 to +14:00")]


def _offset_minutes(text: str) -> int | None:
    """Minutes of Z, +02, +0200, +02:00; None for other text."""
    if text in ("Z", "z"):
        return 0
    parts = _OFFSET.fullmatch(text)
    if parts is None:
        return None
    minutes = int(parts[3] or 0)
    if minutes >= 60:
        return None
    return (int(parts[2]) * 60 + minutes) * (-1 if parts[1] == "-" else 1)


def time(
    value: Scalar, *, zone: str = "UTC", unit: str | None = None, ambiguous: str = "earliest", offset: bool = False
) -> tuple[int, int | None] | None:
    """Microseconds since 1970 UTC, and the offset in minutes that the value itself gives; None where nothing is given.

    offset: whether an offset beyond the zones of the world is wrong. Numbers need `unit`; with it text is a number too.

    >>> time("2026-01-31T12:00:00.5+02:00"), time(1769860800.5, unit="s")
    ((1769853600500000, 120), (1769860800500000, None))
    """
    own: int | None = None
    if unit is None and isinstance(value, str):
        text = text_of(value)
        if text is None:
            return None
        found = _iso(text, zone, ambiguous)
        if found is None:
            raise Wrong(("format", "not a time like ISO 8601"))
        at, own = found
        if at is None:
            raise Wrong(("gap", f"no such local time in {zone}: a clock skips it, or goes through it twice"))
    else:
        assert unit is not None
        if value is None or (isinstance(value, float) and value != value):
            return None
        epoch = _epoch(value, unit)
        if epoch is None:
            if text_of(value) is None:
                return None
            raise Wrong(("format", f"not a number of {unit} since 1970"))
        at = epoch
    faults = []
    if not TIMESTAMP_MIN_US <= at <= TIMESTAMP_MAX_US:
        faults.append(("range", "before 1970 or after 2099; is the unit right?"))
    if offset and own is not None and not UTC_OFFSET_MIN_MINUTES <= own <= UTC_OFFSET_MAX_MINUTES:
        faults.append(("offset", "an offset from UTC beyond -12:00 to +14:00"))
    if faults:
        raise Wrong(*faults)
    return at, own


def _iso(text: str, zone: str, ambiguous: str) -> tuple[int | None, int | None] | None:
    """(microseconds, own offset) of ISO 8601 text, None if it is none; (None, None) for a local time that there is not."""
    parts = _ISO.fullmatch(text)
    if parts is None:
        return None
    year, month, day = int(parts[1]), int(parts[2]), int(parts[3])
    hour, minute, second = int(parts[4] or 0), int(parts[5] or 0), int(parts[6] or 0)
    if not 1 <= month <= 12 or not 1 <= day <= _days_of(year, month) or hour > 23 or minute > 59 or second > 59:
        return None
    fraction = int(parts[7][:6].ljust(6, "0")) if parts[7] else 0
    local = (_days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000_000 + fraction
    tail = parts[8]
    if tail is None:
        if zone == "UTC":
            return local, None
        return _localised(local, zone, ambiguous), None
    minutes = _offset_minutes(tail)
    if minutes is None:
        return None
    return local - minutes * 60_000_000, None if _NO_OFFSET.fullmatch(tail) else minutes


def _days_of(year: int, month: int) -> int:
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return _MONTH_DAYS[month - 1] + leap


def _days_since_1970(year: int, month: int, day: int) -> int:
    """Days of the Gregorian calendar, year 0 included, which Python's dates lack (400 years are 146,097 days)."""
    if year == 0:
        return datetime(400, month, day, tzinfo=UTC).toordinal() - 146_097 - _EPOCH.toordinal()
    return datetime(year, month, day, tzinfo=UTC).toordinal() - _EPOCH.toordinal()


def _localised(local_us: int, zone: str, ambiguous: str) -> int | None:
    """UTC of a local time of `zone`, None where there is none."""
    if not TIMESTAMP_MIN_US - 86_400_000_000 <= local_us <= TIMESTAMP_MAX_US + 86_400_000_000:
        return local_us  # out of range, in whichever zone
    info = _zone(zone)
    naive = _EPOCH.replace(tzinfo=None) + timedelta(microseconds=local_us)
    offsets = [naive.replace(tzinfo=info, fold=fold).utcoffset() for fold in (0, 1)]
    early, late = ((local_us - _us(offset)) for offset in offsets)
    real = [at for at in (early, late) if at + _us(_at(at, info).utcoffset()) == local_us]
    if not real or (early != late and ambiguous == "refuse"):
        return None
    return late if ambiguous == "latest" else early


@lru_cache(maxsize=16)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _at(time_us: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=time_us)).astimezone(zone)


def _us(offset: timedelta | None) -> int:
    assert offset is not None
    return offset // _US


def zone_offset(time_us: int, zone: str) -> int:
    """Minutes that local time of `zone` is ahead of UTC at a time.

    >>> zone_offset(1769860800000000, "Europe/Berlin")
    60
    """
    if zone == "UTC":
        return 0
    seconds = _us(_at(time_us, _zone(zone)).utcoffset()) // 1_000_000
    return seconds // 60 if seconds >= 0 else -(-seconds // 60)


def _epoch(value: Any, unit: str) -> int | None:
    """Microseconds of a number since 1970 in a unit, None if it is none."""
    factor = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[unit]
    if isinstance(value, int) and not isinstance(value, bool):
        if unit == "ns":
            return value // 1_000
        return value * factor if -(2**62) // factor <= value <= 2**62 // factor else None
    if isinstance(value, float):
        scaled = value * float(factor)
        if not abs(scaled) < 2.0**62:
            return None
        whole = round(scaled)
        return whole // 1_000 if unit == "ns" else whole
    text = text_of(value)
    if text is None:
        return None
    scale = {"s": 6, "ms": 3, "us": 0, "ns": 0}[unit]
    if unit == "ns":
        # Nanoseconds of today have 19 digits: the last three are cut before they become a number.
        text = re.sub(r"^\+?([0-9]+)", r"000\1", text)
        text = re.sub(r"^([0-9]+)[0-9]{3}(?:\.[0-9]*)?\Z", r"\1", text)
    else:
        text = re.sub(r"^([+-]?[0-9]+\.[0-9]{" + str(scale) + r"})[0-9]+\Z", r"\1", text)
    try:
        return exact(text, scale, limit=9 * 10**_INT64_DIGITS)
    except Wrong:
        return None
