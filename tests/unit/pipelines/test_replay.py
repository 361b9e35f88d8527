"""What is sent when: the order of the log, disorder from a seed, times of the replay or their own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from fraudloop.clock import SystemClock
from fraudloop.domain.label import LABEL_SCHEMA
from fraudloop.errors import InputError
from fraudloop.pipelines.exchange import Target
from fraudloop.pipelines.load import Sending
from fraudloop.pipelines.replay import DUPLICATE_AFTER_US, LABEL, LATE_BY_US, Disorder, Pace, order_of, sendings

START = datetime(2025, 3, 1, tzinfo=UTC)
TARGET = Target.of("http://h:1")


def payments(minutes: Sequence[float]) -> pl.DataFrame:
    times = pl.Series([START + timedelta(minutes=m) for m in minutes]).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {
            "transaction_id": [f"t{n}" for n in range(len(minutes))], "timestamp": times, "received_at": pl.Series([None] * len(minutes), dtype=pl.Datetime("us", "UTC")),
            "customer_id": [f"c{n % 3}" if n % 4 else None for n in range(len(minutes))], "amount_minor": [100 + n for n in range(len(minutes))], "currency": ["EUR"] * len(minutes),
        }
    )  # fmt: skip


def labels(at: dict[str, float]) -> pl.DataFrame:
    rows = {
        "transaction_id": list(at), "is_fraud": [True] * len(at), "known_at": [START + timedelta(minutes=m) for m in at.values()], "source": ["chargeback"] * len(at),
        "reason": [None] * len(at),
    }  # fmt: skip
    return pl.DataFrame(
        rows, schema_overrides={"known_at": pl.Datetime("us", "UTC"), "reason": pl.String, "transaction_id": pl.String}
    ).select(list(LABEL_SCHEMA))


def body(sending: Sending) -> dict[str, object]:
    found: dict[str, object] = json.loads(sending.data.partition(b"\r\n\r\n")[2])
    return found


def sent(table: pl.DataFrame, told: pl.DataFrame, pace: Pace, disorder: Disorder | None = None) -> list[Sending]:
    order = order_of(table, told, disorder or Disorder())
    return list(sendings(table, told, order, pace, TARGET, numbers={}, clock=SystemClock()))


def test_payments_go_by_time_and_then_by_row_and_labels_before_those_of_the_same_moment() -> None:
    found = sent(payments([5, 1, 1, 9]), labels({"t1": 5, "t2": 7}), Pace(rate=10.0, own_times=True))
    assert [(s.tag.kind, s.tag.row) for s in found] == [(0, 1), (0, 2), (LABEL, 0), (0, 0), (LABEL, 1), (0, 3)]
    assert [s.due_ns for s in found] == [n * 100_000_000 for n in range(6)]
    assert b"/feedback" in found[2].data and b"/score_transaction" in found[0].data
    assert body(found[2]) == {
        "transaction_id": "t1",
        "is_fraud": True,
        "source": "chargeback",
        "known_at": "2025-03-01T00:05:00Z",
        "reason": None,
    }
    assert body(found[0])["timestamp"] == "2025-03-01T00:01:00Z"


def test_a_label_goes_the_way_of_its_payment() -> None:
    found = sent(payments([0, 1, 2]), labels({"t0": 3, "t2": 3}), Pace(rate=10.0))
    keys = {(s.tag.kind, s.tag.row): s.key for s in found}
    assert keys[LABEL, 0] == keys[0, 0] == "#t0"
    assert keys[LABEL, 1] == keys[0, 2] == "c2"


def test_disorder_is_what_was_asked_for_and_the_same_for_a_seed() -> None:
    table = payments([n / 10 for n in range(4_000)])
    none = labels({})
    given = Disorder(0.05, 0.1, 0.02, seed=9)
    order, again, other = (order_of(table, none, d) for d in (given, given, Disorder(0.05, 0.1, 0.02, seed=10)))
    assert np.array_equal(order.row, again.row) and not np.array_equal(order.row, other.row)
    assert sorted(order.row[~order.copy].tolist()) == list(range(4_000))
    assert 150 < order.copy.sum() < 250
    after = order.arrival_us - order.time_us[order.row]
    assert after.min() == 0 and after.max() <= LATE_BY_US + 2 * DUPLICATE_AFTER_US
    assert 50 < (after[~order.copy] > 60_000_000).sum() < 110
    first = {int(row): at for at, (row, copy) in enumerate(zip(order.row, order.copy, strict=True)) if not copy}
    assert all(at > first[int(order.row[at])] for at in np.flatnonzero(order.copy))


def test_a_second_copy_has_the_very_bytes_of_the_first() -> None:
    for pace in (Pace(), Pace(rate=1_000.0), Pace(speed=60.0), Pace(rate=5.0, own_times=True)):
        found = sent(payments(range(300)), labels({}), pace, Disorder(duplicate=0.3, late=0.2))
        by_row: dict[int, set[bytes]] = {}
        for s in found:
            by_row.setdefault(s.tag.row, set()).add(s.data)
        assert len(found) > 350 and all(len(data) == 1 for data in by_row.values())


@pytest.mark.parametrize(("pace", "gap_s"), [(Pace(rate=4.0), 0.25), (Pace(speed=60.0), 1.0)])
def test_times_of_the_replay_have_the_gaps_at_which_payments_are_due(pace: Pace, gap_s: float) -> None:
    found = sent(payments([0, 1, 2, 3]), labels({}), pace)
    times = [datetime.fromisoformat(str(body(s)["timestamp"])) for s in found]
    assert [(b - a).total_seconds() for a, b in itertools.pairwise(times)] == [gap_s] * 3
    assert [s.due_ns / 1e9 for s in found] == [n * gap_s for n in range(4)]
    assert abs((times[0] - datetime.now(UTC)).total_seconds()) < 10


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(InputError, match="--late 2"):
        Disorder(late=2.0)
