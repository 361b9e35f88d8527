"""Exchange rates: the table that ships, versions in time, and what is no table."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from fraudloop.domain.money import CURRENCIES
from fraudloop.door.rates import RateTable
from fraudloop.errors import InputError
from fraudloop.limits import AMOUNT_MINOR_MAX

TABLE = "currency,valid_from,rate,version\nEUR,1970-01-01,1,a\nUSD,2020-01-01,0.5,a\nUSD,2021-01-01,0.25,b\nJPY,2020-01-01,0.005,a\n"


def us(year: int, month: int = 1, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1_000_000


def test_the_sample_has_more_than_fifty_current_currencies() -> None:
    codes = {r.currency for r in RateTable.sample().rates}
    assert sum(CURRENCIES[c].current for c in codes) > 50
    assert RateTable.sample().is_sample
    assert not RateTable.from_csv(TABLE, "EUR").is_sample


def test_the_rate_in_force_at_the_time_is_taken_and_its_version_told() -> None:
    table = RateTable.from_csv(TABLE, "EUR")
    at = [us(2019, 12, 31), us(2020), us(2021) - 1, us(2021), us(2030)]
    assert [table.convert(1_000, "USD", t) for t in at] == [(None, None), (500, "a"), (500, "a"), (250, "b"), (250, "b")]


def test_halves_go_to_the_even_cent() -> None:
    table = RateTable.from_csv(TABLE, "EUR")
    assert [table.convert(n, "USD", us(2020))[0] for n in (1, 3, 5, -1, -3)] == [0, 2, 2, 0, -2]


def test_the_base_itself_is_not_converted_and_is_in_hundredths() -> None:
    table = RateTable.from_csv(TABLE, "EUR")
    assert table.convert(57, "EUR", 0) == (57, "a")
    assert RateTable.from_csv(TABLE, "JPY").convert(150, "JPY", us(2020)) == (15_000, "a")


def test_another_base_goes_across_the_pivot() -> None:
    dollars = RateTable.from_csv(TABLE, "USD")
    assert dollars.convert(100, "EUR", us(2020)) == (200, "a")
    assert dollars.convert(100, "EUR", us(2019)) == (None, None)  # the base has no rate yet
    assert dollars.convert(10_000, "JPY", us(2021)) == (20_000, "a")


def test_an_amount_that_the_rate_makes_too_large_is_null_and_keeps_its_version() -> None:
    dollars = RateTable.from_csv(TABLE, "USD")
    assert dollars.convert(AMOUNT_MINOR_MAX // 2, "EUR", us(2020)) == (AMOUNT_MINOR_MAX, "a")
    assert dollars.convert(AMOUNT_MINOR_MAX // 2 + 1, "EUR", us(2020)) == (None, "a")
    assert dollars.convert(-AMOUNT_MINOR_MAX, "EUR", us(2020)) == (None, "a")


def test_no_rate_is_null_and_never_a_guess() -> None:
    table = RateTable.sample()
    frame = table.convert_columns(pl.Series([1, 2, 3]), pl.Series(["XXX", None, "QQQ"]), pl.Series([0, 0, 0]))
    assert frame.rows() == [(None, None)] * 3
    assert table.convert_columns(pl.Series([], dtype=pl.Int64), pl.Series([], dtype=pl.String), pl.Series([], dtype=pl.Int64)).height == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("currency,", "code,"), "columns must be"),
        (("USD,2020", "USX,2020"), "not an ISO 4217"),
        (("0.5", "-1"), "decimal above 0"),
        (("0.5", "0.0000000000001"), "decimals"),
        (("0.5", "nan"), "decimal above 0"),
        (("2021-01-01", "soon"), "not a day"),
        (("2021-01-01", "2020-01-01"), "two rates"),
        ((",b\n", ",\n"), "version"),
        (("EUR,1970-01-01,1,a\n", ""), "base currency"),
    ],
)
def test_a_table_that_is_none_is_refused_and_says_where(change: tuple[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RateTable.from_csv(TABLE.replace(*change), "EUR")
