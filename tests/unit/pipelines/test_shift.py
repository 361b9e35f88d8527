"""Old tables brought to now: by whole weeks, all times alike, cut where the history ends and the replay begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.data.ingest import Ingested, read
from fraudloop.errors import DefinitionError, InputError
from fraudloop.limits import HOUR_US
from fraudloop.pipelines.shift import WEEK_US, arrivals, part, shift_us, shifted, time_us

START = datetime(2025, 3, 1, 9, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Ingested:
    folder: Path = tmp_path_factory.mktemp("shift")
    at = [START + timedelta(hours=h) for h in range(0, 48, 6)]
    pl.DataFrame(
        {
            "transaction_id": [f"t{n}" for n in range(8)],
            "timestamp": at,
            "customer_id": ["ann"] * 8,
            "amount": [1.5] * 8,
            "currency": ["EUR"] * 8,
        }
    ).write_parquet(folder / "payments.parquet")
    pl.DataFrame(
        {
            "transaction_id": ["t0", "t1", "t7"],
            "is_fraud": [True] * 3,
            "known_at": [at[2], at[6], at[7] + timedelta(days=20)],
            "source": ["chargeback"] * 3,
        }
    ).write_parquet(folder / "labels.parquet")
    return read(folder / "payments.parquet", "native", labels=folder / "labels.parquet")


def test_all_times_move_alike_and_payments_keep_hour_and_weekday(table: Ingested) -> None:
    now = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
    by = shift_us("now", int(arrivals(table.transactions).max()), round(now.timestamp()) * 1_000_000)  # type: ignore[arg-type]
    moved = shifted(table, by)
    assert by % WEEK_US == 0
    before, after = table.transactions["timestamp"], moved.transactions["timestamp"]
    assert (after - before).unique().to_list() == [timedelta(microseconds=by)]
    assert before.dt.hour().to_list() == after.dt.hour().to_list()
    assert before.dt.weekday().to_list() == after.dt.weekday().to_list()
    assert (moved.labels["known_at"] - table.labels["known_at"]).unique().to_list() == [timedelta(microseconds=by)]
    assert after.max() - timedelta(weeks=1) < now <= after.max()  # type: ignore[operator]


@given(last=st.integers(0, 2**50), age=st.integers(0, 2**50))
def test_now_is_the_fewest_weeks_that_reach_it(last: int, age: int) -> None:
    by = shift_us("now", last, last + age)
    assert by % WEEK_US == 0
    assert last + by >= last + age > last + by - WEEK_US


def test_a_table_that_reaches_beyond_now_stays_where_it_is() -> None:
    assert shift_us("now", 10, 5) == shift_us(None, 0, 10) == 0
    assert shift_us("36h", 0, 0) == 36 * HOUR_US
    with pytest.raises(DefinitionError, match="--shift"):
        shift_us("soon", 0, 0)


def test_history_and_replay_share_no_payment_and_leave_none_out(table: Ingested) -> None:
    cut = int(arrivals(table.transactions)[3])
    history, rest = part(table, until_us=cut), part(table, cut)
    assert history.transactions["transaction_id"].to_list() == ["t0", "t1", "t2", "t3"]
    assert rest.transactions["transaction_id"].to_list() == ["t4", "t5", "t6", "t7"]
    assert history.labels["transaction_id"].to_list() == ["t0"]  # the one of t1 was not known by then
    assert rest.labels["transaction_id"].to_list() == ["t7"]


@pytest.mark.parametrize("text", ["yesterday", "2026-01-31T12:00:00"])
def test_a_time_needs_its_offset(text: str) -> None:
    with pytest.raises(InputError, match="--until"):
        time_us(text, "--until")
    assert time_us("1970-01-01T02:00:00+01:00", "--until") == HOUR_US
