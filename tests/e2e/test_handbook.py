"""The Handbook table, where it is at hand: offline is one event at a time, bit for bit, as it is and disturbed.

`make test` takes its first weeks, `make prove` the whole table; `python -m benchmarks.check_handbook` shows the same figures.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.check_handbook import compare, disturbed
from fraudloop.data.ingest import Ingested, read
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.assemble import assemble
from fraudloop.door.events import TRANSACTION, Events
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from fraudloop.limits import LATENESS_MAX_US

FILE = os.environ.get("FRAUDLOOP_HANDBOOK")
pytestmark = [
    pytest.mark.skipif(FILE is None, reason="needs the Handbook table: FRAUDLOOP_HANDBOOK names its transactions.parquet"),
    pytest.mark.timeout(1_800),
]
FEATURES = FeatureSet.load("handbook")
FIRST = 150_000


@pytest.fixture(scope="module")
def table() -> Ingested:
    assert FILE is not None
    return read(Path(FILE), "handbook")


def events_of(table: Ingested, transactions: pl.DataFrame) -> Events:
    ids = transactions["transaction_id"]
    return assemble(transactions, table.labels.filter(pl.col("transaction_id").is_in(ids.implode())), None, FEATURES)


@pytest.mark.parametrize("how", ["as it is", "disturbed"])
def test_the_first_weeks_offline_are_one_event_at_a_time(table: Ingested, how: str) -> None:
    first = table.transactions.head(FIRST)
    events = events_of(table, first if how == "as it is" else disturbed(first))
    bits, same_state, out_of_order = compare(FEATURES, events)
    assert events.transactions == FIRST, "copies are taken out, nothing else is lost"
    assert bits == 0
    assert same_state
    assert (out_of_order > FIRST / 50) == (how == "disturbed")


@pytest.mark.prove
@pytest.mark.parametrize("how", ["as it is", "disturbed"])
def test_the_whole_table_offline_is_one_event_at_a_time(table: Ingested, how: str) -> None:
    events = events_of(table, table.transactions if how == "as it is" else disturbed(table.transactions))
    bits, same_state, out_of_order = compare(FEATURES, events)
    assert events.transactions == table.transactions.height
    assert bits == 0
    assert same_state
    assert (out_of_order > 50_000) == (how == "disturbed")


def test_the_features_are_those_of_plain_counting_over_the_table(table: Ingested) -> None:
    """A sample of rows against the book's definition, by masks over the table: a window ends with the transaction, and a
    terminal's ends a week before it."""
    first = table.transactions.head(FIRST)
    time = first["timestamp"].cast(pl.Int64).to_numpy()
    customer, terminal, cents = first["customer_id"].to_numpy(), first["merchant_id"].to_numpy(), first["amount_base"].to_numpy()
    fraud = first["transaction_id"].is_in(table.labels["transaction_id"].implode()).to_numpy()
    values = Fold(compile_plan(FEATURES)).step(events_of(table, first)).values
    names = FEATURES.names
    day = 86_400_000_000
    risks = values[:, names.index("merchant_fraud_rate_30d_after_7d")]
    assert len(np.unique(risks)) > 10, "the sample has terminals with known frauds"
    sample = np.concatenate([np.random.default_rng(1).integers(FIRST // 2, FIRST, 200), np.flatnonzero(risks)[-100:]])
    for row in sample.tolist():
        before = np.arange(FIRST) <= row
        for days in (1, 7, 30):
            mine = before & (customer == customer[row]) & (time > time[row] - days * day) & (time <= time[row])
            assert values[row, names.index(f"customer_count_{days}d")] == mine.sum()
            assert values[row, names.index(f"customer_amount_mean_{days}d")] == int(cents[mine].sum()) / (int(mine.sum()) * 100)
            end = time[row] - 7 * day
            there = before & (terminal == terminal[row]) & (time > end - days * day) & (time <= end)
            assert values[row, names.index(f"merchant_count_{days}d_after_7d")] == there.sum()
            risk = int(fraud[there].sum()) / int(there.sum()) if there.any() else 0.0
            assert values[row, names.index(f"merchant_fraud_rate_{days}d_after_7d")] == risk


def test_disturbing_leaves_the_truth_late_but_not_too_late(table: Ingested) -> None:
    first = table.transactions.head(FIRST)
    worse = disturbed(first)
    late = (worse["received_at"].cast(pl.Int64) - worse["timestamp"].cast(pl.Int64)).to_numpy()
    assert sorted(worse["transaction_id"].to_list()) == sorted(first["transaction_id"].to_list())
    assert 0.04 < (late > 1_000_000).mean() < 0.2
    assert late.max() < LATENESS_MAX_US
    events = events_of(table, worse)
    assert (Fold(compile_plan(FEATURES)).step(events).status == 0).all()
    assert (np.diff(events.time_us[events.kind == TRANSACTION]) < 0).any()
