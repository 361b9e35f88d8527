"""Splits by time: whole days of a zone, the gap of the label delay, folds before the test days, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.errors import InputError
from fraudloop.training.splits import Period, choose_periods, final_split, midnight_us, validation_folds

DAY = 86_400_000_000
WEEK = 7 * DAY


def test_a_period_is_whole_days_of_its_zone_both_included() -> None:
    begin, end = Period.parse("2024-03-30..2024-04-01").bounds_us("Europe/Berlin")  # summer time begins on March 31
    assert datetime.fromtimestamp(begin / 1e6, UTC) == datetime(2024, 3, 29, 23, tzinfo=UTC)
    assert datetime.fromtimestamp(end / 1e6, UTC) == datetime(2024, 4, 1, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["2024-01-01", "2024-01-01..", "2024-01-01...2024-01-02", "2024-13-01..2024-13-02", "2024-01-02..2024-01-01", "a..b", ""]
)
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="period"):
        Period.parse(text)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(InputError, match="Nowhere"):
        midnight_us(date(2024, 1, 1), "Nowhere/City")


def test_the_handbooks_periods_and_folds() -> None:
    train, test = choose_periods(
        Period.parse("2018-07-25..2018-07-31"), Period.parse("2018-08-08..2018-08-14"), date(2018, 4, 1), date(2018, 9, 30), WEEK
    )
    assert final_split(train, test, WEEK, "UTC").cut_us == midnight_us(date(2018, 8, 8), "UTC")
    folds = validation_folds(train, date(2018, 4, 1), WEEK, "UTC", 4, 7)
    assert [str(f.train) for f in folds] == [
        "2018-07-11..2018-07-17",
        "2018-07-04..2018-07-10",
        "2018-06-27..2018-07-03",
        "2018-06-20..2018-06-26",
    ]
    assert [str(f.test) for f in folds] == [
        "2018-07-25..2018-07-31",
        "2018-07-18..2018-07-24",
        "2018-07-11..2018-07-17",
        "2018-07-04..2018-07-10",
    ]


@given(
    days=st.integers(2, 300),
    delay=st.integers(0, 40 * 24),
    folds=st.integers(1, 6),
    fold_days=st.integers(1, 10),
)
def test_no_fold_reaches_the_days_after_training_or_labels_it_could_not_have(days: int, delay: int, folds: int, fold_days: int) -> None:
    first, delay_us = date(2024, 1, 1), delay * 3_600_000_000
    last = first + timedelta(days=days - 1)
    try:
        train, test = choose_periods(None, None, first, last, delay_us)
    except InputError:
        return
    assert train.first == first and test.last == last
    assert midnight_us(test.first, "UTC") >= final_split(train, test, delay_us, "UTC").cut_us
    for fold in validation_folds(train, first, delay_us, "UTC", folds, fold_days):
        assert first <= fold.train.first and fold.test.last <= train.last < test.first
        assert fold.train.last < fold.test.first
        if fold.gap:
            assert midnight_us(fold.train.last + timedelta(days=1), "UTC") + delay_us <= midnight_us(fold.test.first, "UTC") == fold.cut_us


def test_by_default_the_last_fifth_tests_after_the_label_delay() -> None:
    train, test = choose_periods(None, None, date(2024, 1, 1), date(2024, 4, 9), WEEK)  # 100 days
    assert (str(train), str(test)) == ("2024-01-01..2024-03-13", "2024-03-21..2024-04-09")


def test_a_missing_period_is_what_is_left() -> None:
    first, last = date(2024, 1, 1), date(2024, 4, 9)
    assert choose_periods(None, Period.parse("2024-03-01..2024-03-07"), first, last, WEEK)[0] == Period.parse("2024-01-01..2024-02-22")
    assert choose_periods(Period.parse("2024-01-10..2024-02-01"), None, first, last, WEEK)[1] == Period.parse("2024-02-09..2024-04-09")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("2024-01-01..2024-02-01", "2024-02-08..2024-02-10", "the first test day is 2024-02-09"),
        ("2023-01-01..2023-02-01", "2024-03-01..2024-03-07", "--train .* outside the data, which goes from 2024-01-01 to 2024-04-09"),
        ("2024-01-01..2024-02-01", "2025-03-01..2025-03-07", "--test .* outside the data"),
        (None, "2024-01-05..2024-01-07", "no day is left to train on"),
        ("2024-03-01..2024-04-05", None, "no day is left to test on"),
    ],
)
def test_periods_that_cannot_be_are_refused_with_those_that_can(train: str | None, test: str | None, message: str) -> None:
    given_train, given_test = (None if text is None else Period.parse(text) for text in (train, test))
    with pytest.raises(InputError, match=message):
        choose_periods(given_train, given_test, date(2024, 1, 1), date(2024, 4, 9), WEEK)


def test_too_few_days_say_so() -> None:
    with pytest.raises(InputError, match=r"8 days of transactions .* too few"):
        choose_periods(None, None, date(2024, 1, 1), date(2024, 1, 8), WEEK)
