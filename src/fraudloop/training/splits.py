"""Splits by time: which days train, which wait for their labels, which test; and the folds before them for choices.

    train A..B            label delay             test C..D
    |==================|- - - - - - - - - - -|=============|
                       ^ end of B            ^ cut: labels of day B are known; the test may begin here

Days are whole days of a zone, both ends included. Nothing here is random, and nothing reads a table but its days.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fraudloop.errors import InputError
from fraudloop.limits import DAY_US, SECOND_US

_PERIOD = re.compile(r"^(\d{4}-\d{2}-\d{2})\.\.(\d{4}-\d{2}-\d{2})$")

#: Share of the days that tests when no periods are given.
TEST_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days, both included.

    >>> week = Period.parse("2018-07-25..2018-07-31")
    >>> week.days, str(week)
    (7, '2018-07-25..2018-07-31')
    """

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise InputError(f"period {self}: ends before it begins")

    def __str__(self) -> str:
        return f"{self.first.isoformat()}..{self.last.isoformat()}"

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @staticmethod
    def parse(text: str, where: str = "period") -> Period:
        """Read `A..B`; InputError says how to write it."""
        found = _PERIOD.match(text.strip())
        try:
            days = [date.fromisoformat(part) for part in found.groups()] if found else []
        except ValueError:
            days = []
        if not days:
            raise InputError(f"{where}: {text!r} is not a period; write two days like 2018-07-25..2018-07-31")
        return Period(days[0], days[1])

    def bounds_us(self, zone: str) -> tuple[int, int]:
        """Microseconds since 1970 UTC of the first day's midnight and of the midnight after the last, in `zone`."""
        return midnight_us(self.first, zone), midnight_us(self.last + timedelta(days=1), zone)


def midnight_us(day: date, zone: str) -> int:
    """Microseconds since 1970 UTC at which a day begins in a zone."""
    try:
        local = datetime.combine(day, time(), ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"{zone!r} is not an IANA time zone like Europe/Berlin") from error
    return int(local.timestamp()) * SECOND_US


def day_of_us(time_us: int, zone: str) -> date:
    """The day in a zone at microseconds since 1970 UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).astimezone(ZoneInfo(zone)).date()


@dataclass(frozen=True, slots=True)
class Split:
    """Training and test days. `cut_us`: until then labels count for training. `gap`: False only where history is too
    short for a label delay between training and validation days (then the labels are those of the real cut)."""

    train: Period
    test: Period
    cut_us: int
    gap: bool = True


def default_periods(first: date, last: date, delay_us: int) -> tuple[Period, Period]:
    """The last fifth of the days tests, the label delay waits, the rest trains; InputError if nothing is left."""
    days = (last - first).days + 1
    wait = delay_days(delay_us)
    test = max(1, round(days * TEST_SHARE))
    if days - test - wait < 1:
        raise InputError(
            f"{days} days of transactions ({first} to {last}) are too few for {test} test days after a label delay of {wait} days; "
            "give a shorter --label-delay, or --train and --test"
        )
    begins = last - timedelta(days=test - 1)
    return Period(first, begins - timedelta(days=wait + 1)), Period(begins, last)


def delay_days(delay_us: int) -> int:
    """Whole days that cover a delay."""
    return -(-delay_us // DAY_US)


def choose_periods(train: Period | None, test: Period | None, first: date, last: date, delay_us: int) -> tuple[Period, Period]:
    """Complete what was not given, and check it against the days that the table has and against the label delay.

    InputError names the period, why it cannot be used and the nearest that can.
    """
    wait = delay_days(delay_us)
    if train is None and test is None:
        train, test = default_periods(first, last, delay_us)
    elif train is None:
        assert test is not None, "one of them is given here"
        end = test.first - timedelta(days=wait + 1)
        if end < first:
            raise InputError(f"--test {test}: no day is left to train on before it ({first} is the first day, the label delay {wait} days)")
        train = Period(first, end)
    elif test is None:
        begin = train.last + timedelta(days=wait + 1)
        if begin > last:
            raise InputError(f"--train {train}: no day is left to test on after it ({last} is the last day, the label delay {wait} days)")
        test = Period(begin, last)
    for name, period in (("--train", train), ("--test", test)):
        if period.last < first or period.first > last:
            raise InputError(f"{name} {period}: outside the data, which goes from {first} to {last}")
    earliest = train.last + timedelta(days=wait + 1)
    if test.first < earliest:
        raise InputError(
            f"--test {test}: begins before the labels of the training days are known; with a label delay of {wait} days "
            f"after {train.last} the first test day is {earliest}"
        )
    return train, test


def validation_folds(train: Period, first: date, delay_us: int, zone: str, folds: int, days: int) -> list[Split]:
    """Folds before the test: fold k validates on `days` days, the newest at the end of the training days, each
    older one `days` earlier; it trains on as many days as the real training has, ending the label delay before.

        fold 1:        |== train ==|- delay -|= validate =|      <- ends with the last training day
        fold 2:  |== train ==|- delay -|= validate =|

    Training days before the table begins are cut off; a fold keeps at least as many training days as it validates on
    (or all that the real training has, if those are fewer). Where no fold fits, one without a gap is made: the last
    quarter of the training days validates. The list is empty for fewer than two training days.
    """
    wait = delay_days(delay_us)
    out = []
    for k in range(folds):
        last = train.last - timedelta(days=k * days)
        begin = last - timedelta(days=days - 1)
        end = begin - timedelta(days=wait + 1)
        start = max(first, end - timedelta(days=train.days - 1))
        if (end - start).days + 1 < min(days, train.days):
            break
        out.append(Split(Period(start, end), Period(begin, last), midnight_us(begin, zone)))
    if not out and train.days >= 2:
        held = max(1, train.days // 4)
        begin = train.last - timedelta(days=held - 1)
        cut = midnight_us(train.last + timedelta(days=1), zone) + delay_us
        out.append(Split(Period(train.first, begin - timedelta(days=1)), Period(begin, train.last), cut, gap=False))
    return out


def final_split(train: Period, test: Period, delay_us: int, zone: str) -> Split:
    """The split that trains the model itself: labels count until the label delay after the last training day."""
    return Split(train, test, midnight_us(train.last + timedelta(days=1), zone) + delay_us)
