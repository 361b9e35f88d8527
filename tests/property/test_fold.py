"""The fold equals the oracle bit for bit, however the log is cut, stopped or handed over; and never looks ahead.

`make prove` tries a hundred times as many worlds and seeds. A failing seed stands in the test's id and replays.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureSet, Kind
from fraudloop.door.events import MISSING, TRANSACTION, Events
from fraudloop.features.fold import Fold, Vectors, fold_all
from fraudloop.features.plan import compile_plan
from tests.conftest import PROVE
from tests.oracle import differences, oracle
from tests.strategies import POOL, Key, every_feature, long_run, worlds
from tests.timelines import TIMELINES, Timeline

EVERY = every_feature()
PLAN = compile_plan(EVERY)
WINDOWED_FEW = EVERY.select([f.name for f in EVERY.features if f.entity == "customer" and f.delay_us == 0][:60])
MANY_KEYS: tuple[Key, ...] = tuple((i * 0x9E3779B97F4A7C15 % 2**64, i) for i in range(1, 40))
CUTS = (1, 7, 32, 1000)


def step_by(fold: Fold, events: Events, sizes: list[int]) -> Vectors:
    """All of these events in steps of these sizes, over and over."""
    at, parts, turn = 0, [], 0
    while at < len(events):
        size = sizes[turn % len(sizes)]
        parts.append(fold.step(events[at : at + size]))
        at += size
        turn += 1
    return Vectors(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("values", "status", "approximate")))


def joined(a: Events, b: Events) -> Events:
    return Events(
        np.concatenate([a.kind, b.kind]), np.concatenate([a.time_us, b.time_us]), np.concatenate([a.received_us, b.received_us]),
        np.concatenate([a.keys, b.keys]), np.concatenate([a.numbers, b.numbers]), np.concatenate([a.row, b.row]), a.key_names, a.number_names,
    )  # fmt: skip


def assert_same(a: Vectors, b: Vectors) -> None:
    np.testing.assert_array_equal(a.values.view(np.int64) * ~np.isnan(a.values), b.values.view(np.int64) * ~np.isnan(b.values))
    np.testing.assert_array_equal(np.isnan(a.values), np.isnan(b.values))
    np.testing.assert_array_equal(a.status, b.status)
    np.testing.assert_array_equal(a.approximate, b.approximate)


# --- the definition ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeline", TIMELINES, ids=lambda t: t.id)
def test_every_timeline_comes_out_as_worked_out_by_hand(timeline: Timeline) -> None:
    vectors, fold = fold_all(timeline.feature_set, timeline.events)
    for name, expected in timeline.expected.items():
        column = timeline.feature_set.names.index(name)
        assert vectors.values[:, column].tolist() == pytest.approx(list(expected), rel=1e-10, abs=0, nan_ok=True), name
    assert differences(oracle(timeline.feature_set, timeline.events), vectors.values, vectors.status) == []
    assert fold.verify()


@given(worlds())
def test_any_features_over_any_events_equal_the_plain_definition(world: tuple[FeatureSet, Events]) -> None:
    features, events = world
    vectors, fold = fold_all(features, events)
    assert differences(oracle(features, events), vectors.values, vectors.status) == []
    assert fold.verify()
    assert not vectors.approximate.any()


@pytest.mark.parametrize(
    "kinds", [(Kind.DISTINCT, Kind.IS_NEW), (Kind.FRAUD_RATE, Kind.FRAUD_COUNT, Kind.FRAUD_STREAK), (Kind.MIN, Kind.MAX, Kind.STD)]
)
@given(data=st.data())
@settings(max_examples=300 if PROVE else 10)
def test_kinds_that_hold_more_state_equal_the_plain_definition(kinds: tuple[Kind, ...], data: st.DataObject) -> None:
    features, events = data.draw(worlds(kinds, 60))
    vectors, _ = fold_all(features, events)
    assert differences(oracle(features, events), vectors.values, vectors.status) == []


@pytest.mark.parametrize("seed", range(100, 103))
def test_every_feature_equals_the_plain_definition_over_a_long_run(seed: int) -> None:
    events = long_run(seed, EVERY, 300)
    fold = Fold(PLAN)
    vectors = fold.step(events)
    assert differences(oracle(EVERY, events), vectors.values, vectors.status) == []
    assert fold.verify()


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(1_000, 1_200))
def test_every_feature_equals_the_plain_definition_over_long_runs(seed: int) -> None:
    """A different number of keys and length each."""
    chance = random.Random(seed)
    pool = chance.choice([POOL, POOL, MANY_KEYS])
    events = long_run(seed, EVERY, chance.choice([200, 400, 800]), pool)
    vectors, fold = fold_all(EVERY, events)
    assert differences(oracle(EVERY, events), vectors.values, vectors.status) == []
    assert fold.verify()


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(2_000, 2_010))
def test_three_thousand_events_equal_the_plain_definition_at_their_end(seed: int) -> None:
    events = long_run(seed, WINDOWED_FEW, 3_000)
    vectors, fold = fold_all(WINDOWED_FEW, events)
    answer = oracle(WINDOWED_FEW, events)
    assert differences(answer, vectors.values, vectors.status) == []
    assert fold.verify()


# --- cutting, stopping, handing over -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", CUTS)
def test_steps_of_any_size_give_the_same_vectors_and_state(size: int) -> None:
    for seed in range(200, 260 if PROVE else 202):
        events = long_run(seed, EVERY, 1_500)
        whole = Fold(PLAN)
        right = whole.step(events)
        fold = Fold(PLAN)
        assert_same(step_by(fold, events, [size]), right)
        assert fold.digest() == whole.digest(), seed
        assert fold.counts() == whole.counts()
        assert fold.verify()


@given(worlds(events_max=60), st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_any_cuts_of_any_log_give_the_same_vectors_and_state(world: tuple[FeatureSet, Events], sizes: list[int]) -> None:
    features, events = world
    right, whole = fold_all(features, events)
    fold = Fold(compile_plan(features))
    assert_same(step_by(fold, events, sizes), right)
    assert fold.digest() == whole.digest()


def test_the_digest_fits_the_state_after_every_event() -> None:
    events = long_run(7, EVERY, 400)
    fold, seen = Fold(PLAN), set()
    for i in range(len(events)):
        fold.step(events[i : i + 1])
        assert fold.verify(), f"after event {i}"
        seen.add(fold.digest())
    assert len(seen) == len(events), "every event shows in the digest"


@given(worlds(events_max=60), st.integers(0, 60))
def test_a_snapshot_at_any_point_goes_on_as_if_nothing_had_been(
    tmp_path_factory: pytest.TempPathFactory, world: tuple[FeatureSet, Events], at: int
) -> None:
    features, events = world
    right, whole = fold_all(features, events)
    fold = Fold(compile_plan(features))
    before = fold.step(events[:at])
    path = tmp_path_factory.mktemp("state") / "snapshot"
    fold.snapshot(path)
    restored = Fold.restore(path)
    assert restored.digest() == fold.digest()
    assert restored.plan.hash == fold.plan.hash
    assert restored.counts() == fold.counts()
    assert restored.size_bytes() == fold.size_bytes()
    after = restored.step(events[at:])
    assert_same(Vectors(*(np.concatenate([getattr(before, n), getattr(after, n)]) for n in ("values", "status", "approximate"))), right)
    assert restored.digest() == whole.digest()
    assert restored.verify()


def test_snapshots_again_and_again_lose_nothing(tmp_path: Path) -> None:
    events = long_run(8, EVERY, 1_200, MANY_KEYS)
    whole = Fold(PLAN)
    right = whole.step(events)
    chance, fold, at, parts = random.Random(8), Fold(PLAN), 0, []
    while at < len(events):
        size = chance.choice([1, 3, 50, 100])
        parts.append(fold.step(events[at : at + size]))
        at += size
        fold.snapshot(tmp_path / "state")
        fold = Fold.restore(tmp_path / "state")
    assert_same(Vectors(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("values", "status", "approximate"))), right)
    assert fold.digest() == whole.digest()


# --- point in time -------------------------------------------------------------------------------------------------


@given(worlds(events_max=50), st.integers(1, 50), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_nothing_that_comes_after_a_row_changes_it(world: tuple[FeatureSet, Events], at: int, data: st.DataObject) -> None:
    """Whatever follows: other events, later or earlier in time, of any kind and key, or nothing."""
    features, events = world
    right, _ = fold_all(features, events[:at])
    rest = events[at:]
    order = np.array(data.draw(st.permutations(range(len(rest)))), np.int64)
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    changed = msgspec.structs.replace(
        rest,
        kind=rest.kind[order],
        time_us=rest.time_us[order] + chance.choice([0, -1, 3_600_000_000]),
        keys=np.ascontiguousarray(rest.keys[:, ::1][order]),
        numbers=np.where(rest.numbers == MISSING, rest.numbers, rest.numbers + chance.choice([0, 1])),
    )
    both = joined(events[:at], changed)
    got, _ = fold_all(features, both)
    n = len(right.values)
    assert_same(Vectors(got.values[:n], got.status[:n], got.approximate[:n]), right)


# --- what events look like -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run() -> tuple[Events, Vectors]:
    events = long_run(9, EVERY, 200)
    return events, Fold(PLAN).step(events)


def test_no_events_give_no_vectors_and_change_nothing(run: tuple[Events, Vectors]) -> None:
    fold = Fold(PLAN)
    fold.step(run[0])
    before = fold.digest()
    got = fold.step(run[0][:0])
    assert got.values.shape == (0, len(PLAN.names))
    assert fold.digest() == before


def test_columns_may_stand_in_any_order_beside_others(run: tuple[Events, Vectors]) -> None:
    events, right = run
    n = len(events)
    keys = np.concatenate([np.full((n, 1, 2), 9, np.uint64), events.keys[:, ::-1]], axis=1)
    numbers = np.concatenate([events.numbers[:, ::-1], np.full((n, 1), 5, np.int64)], axis=1)
    other = msgspec.structs.replace(
        events, keys=np.ascontiguousarray(keys), numbers=np.ascontiguousarray(numbers),
        key_names=("browser", *events.key_names[::-1]), number_names=(*events.number_names[::-1], "height"),
    )  # fmt: skip
    fold = Fold(PLAN)
    assert_same(
        fold.step(other[:100]), Vectors(*(getattr(right, name)[: other[:100].transactions] for name in ("values", "status", "approximate")))
    )
    # A log may change its columns half way: the fold goes by names.
    rest = fold.step(events[100:])
    assert_same(rest, Vectors(*(getattr(right, name)[other[:100].transactions :] for name in ("values", "status", "approximate"))))


@pytest.mark.parametrize(
    "absent", [("merchant",), ("customer", "channel"), ("country", "home_country"), ("amount", "utc_offset", "latitude")]
)
def test_a_column_that_is_not_there_is_missing_everywhere(run: tuple[Events, Vectors], absent: tuple[str, ...]) -> None:
    events, _ = run
    keys = [i for i, name in enumerate(events.key_names) if name not in absent]
    numbers = [i for i, name in enumerate(events.number_names) if name not in absent]
    without = msgspec.structs.replace(
        events, keys=np.ascontiguousarray(events.keys[:, keys]), key_names=tuple(events.key_names[i] for i in keys),
        numbers=np.ascontiguousarray(events.numbers[:, numbers]), number_names=tuple(events.number_names[i] for i in numbers),
    )  # fmt: skip
    empty_keys, empty_numbers = events.keys.copy(), events.numbers.copy()
    for name in absent:
        if name in events.key_names:
            empty_keys[:, events.key_names.index(name)] = 0
        else:
            empty_numbers[:, events.number_names.index(name)] = MISSING
    emptied = msgspec.structs.replace(events, keys=empty_keys, numbers=empty_numbers)
    got = Fold(PLAN).step(without)
    assert_same(got, Fold(PLAN).step(emptied))
    assert differences(oracle(EVERY, emptied), got.values, got.status) == []


def test_arrays_that_are_read_only_or_not_in_order_are_taken_as_they_are_meant(run: tuple[Events, Vectors]) -> None:
    events, right = run
    n = len(events)
    wide = np.zeros((n, 2 * len(events.key_names), 2), np.uint64)
    wide[:, ::2] = events.keys
    tall = np.asfortranarray(events.numbers)
    received = np.repeat(events.received_us, 3)[::3]
    odd = msgspec.structs.replace(events, keys=wide[:, ::2], numbers=tall, received_us=received)
    assert not odd.keys.flags.c_contiguous
    assert not odd.numbers.flags.c_contiguous
    assert not odd.received_us.flags.c_contiguous
    assert_same(Fold(PLAN).step(odd), right)
    for name in ("kind", "time_us", "received_us", "keys", "numbers"):
        array = getattr(odd, name).copy()
        array.flags.writeable = False
        odd = msgspec.structs.replace(odd, **{name: array})
    assert_same(Fold(PLAN).step(odd), right)


def test_vectors_are_written_where_they_are_wanted(run: tuple[Events, Vectors]) -> None:
    events, right = run
    n = events.transactions
    room = Vectors(np.full((n, len(PLAN.names)), 3.25), np.full(n, 9, np.uint8), np.full(n, 9, np.uint32))
    assert Fold(PLAN).step(events, room) is room
    assert_same(room, right)


@pytest.mark.parametrize("wrong", ["rows", "features", "type", "order", "status"])
def test_room_of_the_wrong_shape_is_refused_before_a_byte_is_written(run: tuple[Events, Vectors], wrong: str) -> None:
    events, _ = run
    n, features = events.transactions, len(PLAN.names)
    wrong_values: dict[str, NDArray[Any]] = {
        "rows": np.zeros((n - 1, features)), "features": np.zeros((n, features - 1)), "type": np.zeros((n, features), np.float32),
        "order": np.zeros((features, n)).T, "status": np.zeros((n, features)),
    }  # fmt: skip
    values = wrong_values[wrong]
    room = Vectors(values, np.zeros(n - (wrong == "status"), np.uint8), np.zeros(n, np.uint32))
    fold = Fold(PLAN)
    before = fold.digest()
    with pytest.raises(AssertionError, match="arra"):
        fold.step(events, room)
    assert fold.digest() == before
    assert not values.any()


def test_events_whose_arrays_do_not_fit_one_another_are_refused(run: tuple[Events, Vectors]) -> None:
    events, _ = run
    for change in (
        {"time_us": events.time_us[1:]},
        {"keys": events.keys[:, :-1]},
        {"numbers": events.numbers[:, :-1]},
        {"received_us": events.received_us.astype(np.float64)},
    ):
        with pytest.raises(AssertionError, match="is meant"):
            Fold(PLAN).step(msgspec.structs.replace(events, **change))


def test_counts_say_what_was_read(run: tuple[Events, Vectors]) -> None:
    events, vectors = run
    fold = Fold(PLAN)
    fold.step(events)
    counts = fold.counts()
    assert counts["transactions"] == fold.transactions == int((events.kind == TRANSACTION).sum())
    assert [counts["absorbed"], counts["too_late"], counts["too_early"]] == [int((vectors.status == s).sum()) for s in (0, 1, 2)]
    assert counts["labels"] + counts["profiles"] + counts["transactions"] == len(events)
    assert fold.received_us == int(events.received_us.max())
    named = events.keys.reshape(-1, 2)
    assert counts["headers"] <= counts["keys"] <= len(named)


@pytest.mark.parametrize("size", [7, 64, 4_096])
def test_a_table_of_keys_that_grows_a_little_with_each_step_holds_every_key(size: int, tmp_path: Path) -> None:
    n = 40_000
    dice = np.random.default_rng(5)
    plan = compile_plan(FeatureSet.load("default").select(["customer_count_24h", "merchant_count_24h", "customer_is_new_device"]))
    keys = np.zeros((n, len(plan.key_names), 2), np.uint64)
    for column in range(len(plan.key_names)):  # most are met once, some again and again, and some fall on one place of the table
        keys[:, column, 0] = dice.integers(1, 1 << 62, n)
        keys[:, column, 1] = dice.integers(1, 1 << 62, n)
        keys[::3, column] = keys[dice.integers(0, n, len(keys[::3])), column]
        keys[::97, column, 1] = dice.integers(1, 1 << 20, len(keys[::97])) << 30
    times = np.arange(n, dtype=np.int64) * 1_000_000
    numbers = np.full((n, len(plan.number_names)), MISSING, np.int64)
    events = Events(np.full(n, TRANSACTION, np.uint8), times, times, keys, numbers, np.arange(n), plan.key_names, plan.number_names)
    at_once, slowly = Fold(plan), Fold(plan)
    expected = at_once.step(events)
    between = 0
    for begin in range(0, n, size):
        before = None if slowly._growth is None else slowly._growth.copied
        got = slowly.step(events[begin : begin + size])
        np.testing.assert_array_equal(got.values, expected.values[begin : begin + size])
        between += slowly._growth is not None
        if before is not None and slowly._growth is not None:
            assert slowly._growth.copied - before <= 10 * len(plan.key_names) * size, "a few rows with each event"
    assert slowly.digest() == at_once.digest() and slowly.verify() and slowly.counts() == at_once.counts()
    assert between > 10 or size > 64
    slowly.snapshot(tmp_path / "state")
    assert Fold.restore(tmp_path / "state").digest() == at_once.digest()
