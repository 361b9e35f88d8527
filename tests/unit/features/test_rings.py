"""Rings of thousands of events: growth, closing the gap in front, the hash of last occurrences, extremes searched anew."""

from __future__ import annotations

import numpy as np
import pytest

from fraudloop.domain.definitions import FeatureSet, Kind
from fraudloop.features.fold import Fold, Vectors
from fraudloop.features.layout import INDEX_FROM
from fraudloop.features.plan import compile_plan
from fraudloop.limits import DAY_US, HOUR_US, LATENESS_MAX_US, SECOND_US
from tests.large import CATEGORIES, START_US, Ints, assert_same_bits, expected, feature_set, payments, windows

EVENTS = 2_500
ALL = tuple(name for name, _ in CATEGORIES)


def amounts(chance: np.random.Generator, how: str, n: int) -> Ints:
    """In cents, each way a different burden on the running extremes."""
    if how == "falling":
        return np.arange(n, 0, -1, dtype=np.int64)
    if how == "rising":
        return np.arange(n, dtype=np.int64) - n // 2
    if how == "equal":
        return np.full(n, 500, np.int64)
    out = chance.integers(-100_000, 100_000, n)
    out[chance.random(n) < 0.1] = np.iinfo(np.int64).min
    return out


def times(chance: np.random.Generator, how: str, n: int) -> tuple[Ints, Ints]:
    """(event times, arrivals) of n events of one key."""
    arrival = START_US + np.cumsum(chance.integers(0, 120 * SECOND_US, n))
    if how == "together":
        return np.full(n, START_US), np.full(n, START_US)
    if how == "ties":
        arrival = START_US + np.sort(chance.integers(0, n // 20, n)) * 20 * 60 * SECOND_US
    time = arrival.copy()
    if how == "late":
        late = chance.random(n) < 0.1
        time[late] -= chance.integers(0, LATENESS_MAX_US + 1, int(late.sum()))
    if how == "shuffled":
        time = arrival - chance.integers(0, 6 * HOUR_US, n)
    return time, arrival


@pytest.mark.parametrize("amount", ["any", "falling", "rising", "equal"])
@pytest.mark.parametrize("order", ["in order", "ties", "late", "shuffled", "together"])
def test_thousands_of_events_of_a_key_equal_the_plain_definition(order: str, amount: str) -> None:
    chance = np.random.default_rng([len(order), len(amount)])
    features = windows((HOUR_US, DAY_US), (0, HOUR_US), over=("channel", "device"))
    time, arrival = times(chance, order, EVENTS)
    keys = {"channel": chance.integers(0, 40, EVENTS), "device": chance.integers(0, EVENTS, EVENTS)}
    events = payments(features, time, arrival, keys, {"amount": amounts(chance, amount, EVENTS)})
    fold = Fold(compile_plan(features))
    given = fold.step(events)
    rows = np.unique(np.concatenate([np.arange(120, 140), chance.integers(0, EVENTS, 60), np.arange(EVENTS - 20, EVENTS)]))
    assert_same_bits(given.values[rows], expected(features, events, rows), features.names, rows)
    assert fold.verify()
    assert not given.approximate.any()


@pytest.mark.parametrize("categories", range(len(ALL) + 1))
def test_every_size_around_the_hash_of_last_occurrences_is_right(categories: int) -> None:
    """From INDEX_FROM records on a ring finds the last occurrence of a value by a hash behind its records."""
    features = windows((DAY_US,), (0,), (False,), (Kind.COUNT, Kind.DISTINCT), ALL[:categories])
    n = 2 * INDEX_FROM + 40
    chance = np.random.default_rng(categories)
    keys = {name: chance.integers(0, (3, 10, 50, 300, 5)[i], n) for i, name in enumerate(ALL)}
    time = START_US + np.arange(n, dtype=np.int64) * SECOND_US
    late = chance.random(n) < 0.05
    time[late] -= chance.integers(0, HOUR_US, int(late.sum()))
    events = payments(features, time, keys=keys)
    fold = Fold(compile_plan(features))
    for i in range(n):
        got = fold.step(events[i : i + 1]).values
        assert_same_bits(got, expected(features, events, [i]), features.names, [i])
        assert fold.verify(), f"after event {i}"


@pytest.mark.parametrize("kept", [INDEX_FROM - 2, INDEX_FROM - 1, INDEX_FROM, INDEX_FROM + 1, 200, 255, 256, 257])
def test_a_ring_that_stays_at_one_size_forgets_as_it_learns(kept: int) -> None:
    """As many events leave as come, so that the gap in front is closed again and again, at any size."""
    features = windows((HOUR_US, DAY_US), (0,), (False,), over=("channel",))
    plan = compile_plan(features)
    step_us = plan.horizon_us("customer") // kept
    n = 6 * kept
    chance = np.random.default_rng(kept)
    keys = {"channel": chance.integers(1, kept, n)}
    events = payments(
        features, START_US + np.arange(n, dtype=np.int64) * step_us, keys=keys, numbers={"amount": chance.integers(0, 1000, n)}
    )
    fold = Fold(plan)
    values = fold.step(events[: 3 * kept]).values
    settled = fold.size_bytes()
    values = np.concatenate([values, fold.step(events[3 * kept :]).values])
    # The categories' codes stay known; the key itself grows no more, but for a size class.
    assert fold.size_bytes() <= settled * 1.3
    rows = np.arange(0, n, 7)
    assert_same_bits(values[rows], expected(features, events, rows), features.names, rows)
    assert fold.verify()


def test_a_late_event_into_a_large_ring_is_seen_by_the_next() -> None:
    features = windows((HOUR_US, DAY_US), (0, HOUR_US), over=("channel",))
    n = 5_000
    time = START_US + np.arange(n, dtype=np.int64) * 10 * SECOND_US
    arrival = time.copy()
    chance = np.random.default_rng(5)
    for i in range(4_000, n, 10):  # exactly on records, between them, before all of them
        time[i] = chance.choice([time[i - 3], time[i - 100] + 1, time[i - 360], START_US - 1, arrival[i] - HOUR_US])
    events = payments(features, time, arrival, {"channel": chance.integers(1, 900, n)}, {"amount": chance.integers(-9, 9, n)})
    fold = Fold(compile_plan(features))
    values = fold.step(events).values
    rows = np.concatenate([np.arange(4_000, 4_060), np.arange(n - 40, n)])
    assert_same_bits(values[rows], expected(features, events, rows), features.names, rows)
    assert fold.verify()


def test_many_keys_of_any_size_share_one_memory() -> None:
    """Blocks that grow are given back and taken by others: what one key holds never shows in another."""
    features = windows((HOUR_US, DAY_US), (0,), (False,), over=("channel",))
    n = 20_000
    chance = np.random.default_rng(6)
    customer = np.minimum(chance.zipf(1.3, n), 3_000)
    time = (
        START_US + np.cumsum(chance.integers(0, 20 * SECOND_US, n)) - np.where(chance.random(n) < 0.05, chance.integers(0, HOUR_US, n), 0)
    )
    events = payments(
        features, time, None, {"customer": customer, "channel": chance.integers(0, 500, n)}, {"amount": chance.integers(0, 10**6, n)}
    )
    fold = Fold(compile_plan(features))
    given: list[Vectors] = [fold.step(events[i : i + 777]) for i in range(0, n, 777)]
    values = np.concatenate([v.values for v in given])
    rows = chance.integers(0, n, 150)
    assert_same_bits(values[rows], expected(features, events, rows), features.names, rows)
    assert fold.verify()


def one(kind: Kind, window_us: int) -> FeatureSet:
    return windows((window_us,), (0,), (False,), (kind,))


@pytest.mark.parametrize("kind", [Kind.MIN, Kind.MAX])
def test_the_extreme_that_leaves_is_found_again_among_equals(kind: Kind) -> None:
    features = one(kind, HOUR_US)
    n = 1_200
    # The extreme stands several times, and leaves one by one.
    values = np.where(np.arange(n) % 100 < 3, 10 if kind is Kind.MAX else -10, np.arange(n) % 7)
    events = payments(features, START_US + np.arange(n, dtype=np.int64) * 60 * SECOND_US, numbers={"amount": values})
    got = Fold(compile_plan(features)).step(events).values
    assert_same_bits(got, expected(features, events, np.arange(n)), features.names, np.arange(n))


def test_features_of_no_entity_need_no_state() -> None:
    features = feature_set([])
    plain = FeatureSet(
        (),
        features.numbers,
        (),
        (features.from_dict({**features.to_dict(), "entities": {}, "categories": {}, "features": ["amount", "is_night"]}).features),
    )
    fold = Fold(compile_plan(plain))
    events = payments(features, np.array([START_US, START_US + 1]), numbers={"amount": np.array([150, -5])})
    assert fold.step(events).values.tolist() == [[1.5, 1.0], [-0.05, 1.0]]
    assert fold.counts()["keys"] == 0
