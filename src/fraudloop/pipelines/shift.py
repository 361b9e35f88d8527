"""Old tables brought to now: all times of a table moved by one amount, and the part of it that is wanted.

    the table      ●──●───●──●──────●──●●─●───●──●
    moved by whole weeks    ●──●───●──●──────●──●●─●───●──●
                                         since   until    now
                            ├─ import ───────────┤        │      known by `until`: what came later is not told
                                                  ├─replay┤      after `since`; what lies after now is left out

A service takes its own clock as the time of arrival, so a payment dated more than 24 h before it is too late for its history. Moved by whole weeks,
every payment keeps its hour of the day, its day of the week and its distance to every other one, so windows are what they were.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import polars as pl

from fraudloop.data.ingest import Ingested
from fraudloop.domain.definitions import parse_duration_us
from fraudloop.errors import InputError
from fraudloop.limits import DAY_US, HOUR_US, LATENESS_MAX_US

WEEK_US: Final = 7 * DAY_US

#: As `--shift` and in messages: the fewest whole weeks that bring the end of a table up to now or beyond.
NOW: Final = "now"

#: How far before now a replay begins unless told: an hour below the lateness that features know, so that none becomes too late under way.
REPLAY_BEFORE_US: Final = LATENESS_MAX_US - HOUR_US


def shift_us(text: str | None, last_us: int, now_us: int) -> int:
    """Microseconds to add to every time of a table whose last payment took place at `last_us`. text: None, `now` or a duration like 574d.

    >>> shift_us("now", 0, 3 * WEEK_US - 1) // WEEK_US, shift_us("now", 0, 3 * WEEK_US) // WEEK_US, shift_us("36h", 0, 0) // HOUR_US
    (3, 3, 36)
    >>> shift_us("now", 5, 0)
    0
    """
    if text is None:
        return 0
    if text == NOW:
        return max(0, -(-(now_us - last_us) // WEEK_US)) * WEEK_US
    return parse_duration_us(text, "--shift")


def shifted(ingested: Ingested, by_us: int) -> Ingested:
    """All times moved: of payments, their arrival, labels and profiles."""
    if not by_us:
        return ingested
    move = pl.col(pl.Datetime) + pl.duration(microseconds=by_us)
    return replace(
        ingested,
        transactions=ingested.transactions.with_columns(move),
        labels=ingested.labels.with_columns(move),
        profiles=ingested.profiles.with_columns(move),
    )


def part(ingested: Ingested, since_us: int | None = None, until_us: int | None = None) -> Ingested:
    """Payments that arrived after `since_us` and not after `until_us`; their labels and all profiles, as far as known by then."""
    payments = ingested.transactions
    arrived = arrivals(payments)
    keep = pl.repeat(value=True, n=payments.height, eager=True)
    if since_us is not None:
        keep &= arrived > since_us
    if until_us is not None:
        keep &= arrived <= until_us
    payments = payments.filter(keep)
    labels = ingested.labels.filter(pl.col("transaction_id").is_in(payments["transaction_id"].implode()))
    profiles = ingested.profiles
    if until_us is not None:
        labels = labels.filter(pl.col("known_at").dt.timestamp("us") <= until_us)
        profiles = profiles.filter(pl.col("time").dt.timestamp("us") <= until_us)
    return replace(ingested, transactions=payments, labels=labels, profiles=profiles)


def arrivals(payments: pl.DataFrame) -> pl.Series:
    """When each payment arrived, in microseconds: when it took place, unless the table says."""
    return payments["received_at"].fill_null(payments["timestamp"]).dt.timestamp("us")


def time_us(text: str, where: str) -> int:
    """A time with an offset, as in 2026-01-31T12:00:00Z.

    >>> time_us("1970-01-01T00:00:01Z", "--until")
    1000000
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{where} {text}: is no time; write it like 2026-01-31T12:00:00Z") from error
    if found.tzinfo is None:
        raise InputError(f"{where} {text}: says no offset; write it like 2026-01-31T12:00:00Z")
    since = found.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
