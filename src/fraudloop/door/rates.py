"""Exchange rates: a versioned table and exact conversion of minor units to the base currency.

    amount_base = round_half_even(amount_minor x rate(currency) x 10**2 / (rate(base) x 10**exponent(currency)))

in whole numbers: a rate is the value of one major unit in the table's pivot, an exact decimal, valid from its day on
until the next. It reads a table given as text; it never fetches one.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.domain.money import EXPONENTS
from fraudloop.errors import InputError
from fraudloop.limits import AMOUNT_MINOR_MAX

#: Decimals of amount_base: hundredths of the base currency, whatever its own exponent, because the feature sets
#: declare one scale for it.
BASE_SCALE: Final = 2

#: Rates are held as integers in units of 10**-RATE_SCALE.
RATE_SCALE: Final = 12
_RATE_MAX: Final = 10**6
SAMPLE_VERSION: Final = "sample-1"
_COLUMNS: Final = ("currency", "valid_from", "rate", "version")


@dataclass(frozen=True, slots=True)
class Rate:
    """From `valid_from_us` on one major unit of `currency` is worth `value` * 10**-RATE_SCALE of the pivot."""

    currency: str
    valid_from_us: int
    value: int
    version: str


@dataclass(frozen=True, slots=True)
class RateTable:
    """Rates by currency in order of time, and the base currency that amounts are converted to."""

    base: str
    rates: tuple[Rate, ...]

    @staticmethod
    def from_csv(text: str, base: str, where: str = "rate table") -> RateTable:
        """Read `currency,valid_from,rate,version` rows; `valid_from` is a day (00:00 UTC) or an ISO 8601 time.

        InputError names the row. The base needs rates of its own; the table's pivot has the rate 1.
        """
        reader = csv.DictReader(line for line in io.StringIO(text) if not line.startswith("#"))
        if reader.fieldnames is None or sorted(reader.fieldnames) != sorted(_COLUMNS):
            raise InputError(f"{where}: the columns must be {', '.join(_COLUMNS)}; found {', '.join(reader.fieldnames or ())}")
        return RateTable.of((_rate(row, f"{where}, row {i}") for i, row in enumerate(reader, 1)), base, where)

    @staticmethod
    def of(rates: Iterable[Rate], base: str, where: str = "rate table") -> RateTable:
        """Sort and check."""
        ordered = tuple(sorted(rates, key=lambda r: (r.currency, r.valid_from_us)))
        for a, b in itertools.pairwise(ordered):
            if (a.currency, a.valid_from_us) == (b.currency, b.valid_from_us):
                raise InputError(f"{where}: {a.currency} has two rates from the same time; keep one")
        if not any(r.currency == base for r in ordered):
            raise InputError(f"{where}: base currency {base!r} has no rate in it; the table's own pivot has the rate 1")
        return RateTable(base, ordered)

    @staticmethod
    def load(path: str | Path, base: str) -> RateTable:
        try:
            return RateTable.from_csv(Path(path).read_text("utf-8"), base, str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: the rate table cannot be read ({error})") from error

    @staticmethod
    def sample(base: str = "EUR") -> RateTable:
        """The table that ships: rounded rates of about 150 currencies, one for all times. To try things, not for books.

        >>> RateTable.sample().convert(10_000, "USD", 1_700_000_000_000_000)[1]
        'sample-1'
        """
        return _sample(base)

    @property
    def is_sample(self) -> bool:
        """Whether these are the rates that ship."""
        return any(r.version == SAMPLE_VERSION for r in self.rates)

    def convert(self, amount_minor: int, currency: str | None, time_us: int) -> tuple[int | None, str | None]:
        """(amount in hundredths of the base, rate version), or (None, None) where there is no rate.

        >>> RateTable.sample().convert(5716, "EUR", 0)
        (5716, 'sample-1')
        """
        frame = self.convert_columns(
            pl.Series([amount_minor], dtype=pl.Int64), pl.Series([currency], dtype=pl.String), pl.Series([time_us], dtype=pl.Int64)
        )
        return frame["amount_base"][0], frame["rate_version"][0]

    def convert_columns(self, amount_minor: pl.Series, currency: pl.Series, time_us: pl.Series) -> pl.DataFrame:
        """The same for n rows: a frame of `amount_base` Int64 and `rate_version` String, null where there is no rate.

        amount_minor, time_us: Int64; currency: String. Null, unknown and unlisted currencies, and times before a
        currency's first rate, have no rate. An amount in the base itself is not converted. One that the rate takes beyond
        AMOUNT_MINOR_MAX is null too, with its rate's version.
        """
        codes = [c for c in currency.unique().to_list() if c in EXPONENTS]
        if codes == [self.base] and EXPONENTS[self.base] == BASE_SCALE and self._only_version is not None:
            frame = pl.DataFrame({"a": amount_minor, "known": currency.is_not_null() & (currency == self.base)})
            return frame.select(amount_base=pl.when("known").then("a"), rate_version=pl.when("known").then(pl.lit(self._only_version)))
        times, text = time_us.to_numpy(), currency.to_numpy()
        base_at = self._in_force(self.base, times)
        value, divisor = np.zeros(len(times), np.int64), np.ones(len(times), np.int64)
        unit, at = np.ones(len(times), np.int64), np.full(len(times), -1, np.int64)
        rates = np.array([r.value for r in self.rates], np.int64)
        for code in codes:
            rows = np.flatnonzero(text == code)
            at[rows] = self._in_force(code, times[rows])
            unit[rows] = 10 ** EXPONENTS[code]
            if code == self.base:
                value[rows] = 1
            else:
                at[rows[base_at[rows] < 0]] = -1
                value[rows], divisor[rows] = rates[at[rows]], rates[base_at[rows]]
        wide = pl.Int128
        frame = pl.DataFrame({"a": amount_minor, "value": value, "divisor": divisor, "unit": unit, "at": at})
        top = pl.col("a").cast(wide) * pl.col("value").cast(wide) * 10**BASE_SCALE
        frame = frame.with_columns(bottom=pl.col("divisor").cast(wide) * pl.col("unit").cast(wide)).with_columns(
            q=top // pl.col("bottom"), r=top % pl.col("bottom")
        )
        twice = 2 * pl.col("r")
        up = (twice > pl.col("bottom")) | ((twice == pl.col("bottom")) & (pl.col("q") % 2 == 1))
        versions = pl.Series([r.version for r in self.rates], dtype=pl.String)
        known = pl.col("at") >= 0
        in_base = pl.col("q") + up.cast(wide)
        return frame.select(
            amount_base=pl.when(known & (in_base.abs() <= AMOUNT_MINOR_MAX)).then(in_base.cast(pl.Int64, strict=False)),
            rate_version=pl.when(known).then(pl.lit(versions).gather(pl.col("at").clip(0))),
        )

    @property
    def _only_version(self) -> str | None:
        """The version of the base currency's rates, if it has one rate, valid at all times."""
        own = [r for r in self.rates if r.currency == self.base]
        return own[0].version if len(own) == 1 and own[0].valid_from_us <= 0 else None

    def _in_force(self, currency: str, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of a currency's rate in force at each time, -1 before the first."""
        rows = [i for i, r in enumerate(self.rates) if r.currency == currency]
        starts = np.array([self.rates[i].valid_from_us for i in rows], np.int64)
        at = np.searchsorted(starts, times, side="right") - 1
        return np.where(at < 0, -1, at + (rows[0] if rows else 0)).astype(np.int64)


def sample_text() -> str:
    """The table that ships, as CSV."""
    return (resources.files("fraudloop.door") / "rates_sample.csv").read_text("utf-8")


@lru_cache(maxsize=8)
def _sample(base: str) -> RateTable:
    return RateTable.from_csv(sample_text(), base, "sample rates")


def _rate(row: dict[str, str], where: str) -> Rate:
    code = (row["currency"] or "").strip()
    if code not in EXPONENTS:
        raise InputError(f"{where}: {code!r} is not an ISO 4217 code")
    try:
        rate = Decimal(row["rate"].strip())
        scaled = rate.scaleb(RATE_SCALE)
        good = rate.is_finite() and 0 < rate <= _RATE_MAX and scaled == scaled.to_integral_value()
    except (InvalidOperation, AttributeError):
        good = False
    if not good:
        raise InputError(
            f"{where}: rate {row['rate']!r} must be a decimal above 0, at most {_RATE_MAX:,}, with at most {RATE_SCALE} decimals"
        )
    try:
        when = datetime.fromisoformat((row["valid_from"] or "").strip())
    except ValueError as error:
        raise InputError(f"{where}: valid_from {row['valid_from']!r} is not a day like 2026-01-31") from error
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    version = (row["version"] or "").strip()
    if not version:
        raise InputError(f"{where}: a rate needs a version")
    return Rate(code, int((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000, int(scaled), version)
