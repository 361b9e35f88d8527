"""A key with more kept events than the exact bound: what the approximate form promises, and when it comes and goes.

Truth is worked out from sorted arrays. A window of length w has buckets of ceil(w / 1024); an answer may leave out the
events of its oldest bucket, and of its newest where it is delayed, never more, and never counts one that is outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind
from fraudloop.door.events import LABEL, TRANSACTION, Events
from fraudloop.features.fold import Fold, Vectors
from fraudloop.features.plan import compile_plan
from fraudloop.limits import BUCKETS_PER_WINDOW, DAY_US, EVENTS_PER_KEY_MAX, HOUR_US, SECOND_US
from tests.large import START_US, Ints, assert_same_bits, expected, feature_set, payments, statistic, windows

MANY = EVENTS_PER_KEY_MAX + 12_000
WINDOWS = (6 * HOUR_US, DAY_US)
DELAYED_DISTINCT = FeatureDefinition("delayed", Kind.DISTINCT, "customer", "channel", 60 * SECOND_US, HOUR_US)


@dataclass(frozen=True)
class Run:
    features: FeatureSet
    events: Events
    vectors: Vectors
    fold: Fold
    horizon_us: int

    @property
    def switched(self) -> int:
        """The first row whose kept events are more than the bound: the rule, from the log alone (times in order)."""
        time = self.events.time_us
        kept = np.arange(len(time)) - np.searchsorted(time, time - self.horizon_us, "right") + 1
        return int(np.argmax(kept > EVENTS_PER_KEY_MAX))

    def column(self, kind: Kind, window_us: int, delay_us: int = 0) -> NDArray[np.float64]:
        at = [
            f.kind is kind and (f.window_us, f.delay_us) == (window_us, delay_us) and not f.exclude_current for f in self.features.features
        ]
        return self.vectors.values[:, at.index(True)]


@pytest.fixture(scope="module")
def run() -> Run:
    """One key, some 100,000 events within two days in bursts, so that the bound is passed in the midst of them."""
    plain = windows(WINDOWS, (0, HOUR_US), kinds=(Kind.COUNT, Kind.SUM, Kind.MEAN, Kind.STD, Kind.MIN, Kind.MAX))
    values = windows(WINDOWS, (0,), kinds=(Kind.DISTINCT,))
    features = feature_set([*plain.features, *(replace(f, name=f"{f.name}!") for f in values.features), DELAYED_DISTINCT])
    n = MANY + 10_000
    chance = np.random.default_rng(1)
    time = START_US + np.cumsum(chance.integers(0, 3 * SECOND_US, n) * chance.choice([0, 1, 1, 1, 2], n))
    numbers = chance.integers(0, 10**6, n)
    numbers[chance.random(n) < 0.05] = np.iinfo(np.int64).min
    events = payments(features, time, keys={"channel": chance.integers(0, 5_000, n)}, numbers={"amount": numbers})
    plan = compile_plan(features)
    assert len(plan.streams) == 1
    fold = Fold(plan)
    return Run(features, events, fold.step(events), fold, plan.horizon_us("customer"))


def test_the_mask_is_set_from_exactly_the_event_that_passes_the_bound(run: Run) -> None:
    assert EVENTS_PER_KEY_MAX <= run.switched < MANY
    assert not run.vectors.approximate[: run.switched].any()
    assert (run.vectors.approximate[run.switched :] == 1).all()
    assert run.fold.counts()["approximate_streams"] == 1


def test_up_to_the_bound_every_bit_is_exact(run: Run) -> None:
    rows = np.array([0, 1, 127, 128, 30_000, run.switched - 2, run.switched - 1])
    assert_same_bits(run.vectors.values[rows], expected(run.features, run.events, rows), run.features.names, rows)


@pytest.mark.parametrize("delay_us", [0, HOUR_US])
@pytest.mark.parametrize("window_us", WINDOWS)
def test_counts_and_sums_leave_out_at_most_one_bucket_at_an_edge(run: Run, window_us: int, delay_us: int) -> None:
    time, n = run.events.time_us, len(run.events)
    rows = np.arange(run.switched, n)
    bucket_us = math.ceil(window_us / BUCKETS_PER_WINDOW)
    amount = np.maximum(run.events.numbers[:, run.events.number_names.index("amount")], 0)
    upto = np.concatenate([[0], np.cumsum(amount)])
    edge = time[rows] - delay_us

    def inside(shorter_at_the_old_edge_us: int, shorter_at_the_new_edge_us: int) -> tuple[Ints, Ints]:
        # Ties that come later in the log are not seen.
        first = np.searchsorted(time, edge - window_us + shorter_at_the_old_edge_us, "right")
        after = np.minimum(np.searchsorted(time, edge - shorter_at_the_new_edge_us, "right"), rows + 1)
        return after - np.minimum(first, after), upto[after] - upto[np.minimum(first, after)]

    most, most_sum = inside(0, 0)
    least, least_sum = inside(bucket_us, bucket_us if delay_us else 0)
    count, total = run.column(Kind.COUNT, window_us, delay_us)[rows], run.column(Kind.SUM, window_us, delay_us)[rows] * 100
    assert ((least <= count) & (count <= most)).all()
    assert ((least_sum <= total + 0.5) & (total - 0.5 <= most_sum)).all()
    assert (count < most).any(), "the buckets are seen to be coarser than the truth"


@pytest.mark.parametrize("kind", [Kind.COUNT, Kind.SUM, Kind.MEAN, Kind.STD, Kind.MIN, Kind.MAX])
def test_every_aggregate_is_exact_over_the_whole_buckets_it_covers(run: Run, kind: Kind) -> None:
    """Mean, deviation and extremes have no bound of their own: they are those of the events that are counted."""
    rows = np.random.default_rng(2).integers(run.switched, len(run.events), 40)
    for window_us in WINDOWS:
        bucket_us = math.ceil(window_us / BUCKETS_PER_WINDOW)
        for row in rows.tolist():
            t = int(run.events.time_us[row])
            first = ((t - window_us) // bucket_us + 1) * bucket_us
            window = np.flatnonzero(run.events.time_us[: row + 1] >= first)
            right = statistic(FeatureDefinition("x", kind, "customer", "amount", window_us), run.events, window, row)
            assert run.column(kind, window_us)[row] == right, (row, window_us)


def test_distinct_values_are_within_four_standard_errors(run: Run) -> None:
    rows = np.linspace(run.switched, len(run.events) - 1, 60).astype(int)
    for window_us in WINDOWS:
        given = run.column(Kind.DISTINCT, window_us)[rows]
        codes = run.events.keys[:, run.events.key_names.index("channel"), 0]
        for row, value in zip(rows.tolist(), given.tolist(), strict=True):
            t = run.events.time_us
            inside = codes[: row + 1][t[: row + 1] > t[row] - window_us]
            truth = len(np.unique(inside[inside != 0]))
            assert abs(value - truth) <= 4 * 1.04 / math.sqrt(1024) * truth, (row, window_us)


@pytest.mark.parametrize("many", [10, 300, 3_000, 30_000])
def test_distinct_values_are_right_for_few_and_for_many(many: int) -> None:
    features = windows((DAY_US,), (0,), (False,), (Kind.DISTINCT,))
    n = MANY
    time = START_US + np.arange(n, dtype=np.int64) * SECOND_US
    given = Fold(compile_plan(features)).step(
        payments(features, time, keys={"channel": np.random.default_rng(many).permutation(n) % many + 1})
    )
    assert given.approximate[-1] == 1
    assert abs(given.values[-1, 0] - many) <= max(4 * 1.04 / math.sqrt(1024) * many, 1)


def test_delayed_distinct_values_of_a_hot_key_are_missing(run: Run) -> None:
    """Registers tell what was seen since a time, not up to one: rather nothing than something else."""
    given = run.vectors.values[:, run.features.names.index("delayed")]
    assert not np.isnan(given[: run.switched]).any()
    assert np.isnan(given[run.switched :]).all()


def test_cutting_the_log_or_a_snapshot_changes_no_bit(run: Run, tmp_path: Path) -> None:
    fold = Fold(compile_plan(run.features))
    at, values, masks = 0, [], []
    for i, size in enumerate([run.switched - 3, 1, 1, 1, 1, 1, 7, 32, 1_000, 5_000, len(run.events)]):
        got = fold.step(run.events[at : at + size])
        at += size
        values.append(got.values)
        masks.append(got.approximate)
        fold.snapshot(tmp_path / "state")
        restored = Fold.restore(tmp_path / "state")
        assert restored.digest() == fold.digest()
        if i % 2:
            fold = restored
    np.testing.assert_array_equal(np.concatenate(values), run.vectors.values)
    np.testing.assert_array_equal(np.concatenate(masks), run.vectors.approximate)
    assert fold.digest() == run.fold.digest()


def test_memory_of_a_hot_key_does_not_grow_with_its_events(run: Run, tmp_path: Path) -> None:
    run.fold.snapshot(tmp_path / "state")
    fold = Fold.restore(tmp_path / "state")
    before = fold.size_bytes()
    n = 100_000
    time = run.events.time_us[-1] + np.arange(n, dtype=np.int64) * SECOND_US // 10
    fold.step(payments(run.features, time, keys={"channel": np.arange(n) % 5_000}, numbers={"amount": np.arange(n)}))
    assert fold.size_bytes() == before
    windows_of_it = len(compile_plan(run.features).windows)
    assert before < 400 * windows_of_it * 1024 + 1024 * 48 * 8 + 5_000 * 64


def test_the_key_is_exact_again_once_all_its_events_are_past(run: Run, tmp_path: Path) -> None:
    run.fold.snapshot(tmp_path / "state")
    fold = Fold.restore(tmp_path / "state")
    newest = int(run.events.time_us[-1])
    chance = np.random.default_rng(3)

    def go_on(since: int) -> tuple[Events, Vectors]:
        n = 300
        time = newest + since + np.cumsum(chance.integers(0, 600 * SECOND_US, n)) * (np.arange(n) > 0)
        events = payments(run.features, time, keys={"channel": chance.integers(0, 9, n)}, numbers={"amount": chance.integers(0, 99, n)})
        return events, fold.step(events)

    assert go_on(run.horizon_us - 1)[1].approximate[0] == 1
    newest = fold.received_us
    events, vectors = go_on(run.horizon_us)
    assert not vectors.approximate.any()
    assert fold.counts()["approximate_streams"] == 0
    assert_same_bits(vectors.values, expected(run.features, events, np.arange(300)), run.features.names, np.arange(300))
    assert fold.verify(), "the digest forgets what the approximate form had absorbed"


@pytest.mark.parametrize("kind", [Kind.MIN, Kind.MAX])
def test_extremes_leave_with_their_bucket(kind: Kind) -> None:
    features = windows((HOUR_US,), (0,), (False,), (kind,))
    n = MANY
    sign = 1 if kind is Kind.MAX else -1
    values = np.full(n, 0, np.int64)
    values[EVENTS_PER_KEY_MAX + 2_000] = sign * 1_000
    values[EVENTS_PER_KEY_MAX + 2_100] = sign * 500
    got = Fold(compile_plan(features)).step(
        payments(features, START_US + np.arange(n, dtype=np.int64) * SECOND_US, numbers={"amount": values})
    )
    assert got.approximate[EVENTS_PER_KEY_MAX + 2_000] == 1
    seen = got.values[:, 0] * sign
    bucket = math.ceil(3600 / BUCKETS_PER_WINDOW)
    for at, value, behind in ((2_000, 10.0, 5.0), (2_100, 5.0, 0.0)):
        at += EVENTS_PER_KEY_MAX
        left = int(np.argmax(seen[at:] < value))
        assert 3600 - bucket <= left <= 3600
        assert seen[at + 3600] == behind


def test_labels_reach_the_rate_of_a_hot_key_and_are_taken_back() -> None:
    """Labels of a tenth of the events, an hour after each; half of those are reversed an hour later."""
    window_us, delay_us = 6 * HOUR_US, 3 * HOUR_US
    features = windows((window_us,), (delay_us,), (False,), (Kind.FRAUD_RATE, Kind.COUNT))
    n = MANY
    bought = START_US + np.arange(n, dtype=np.int64) * SECOND_US
    marked = np.arange(5, n, 10)
    reversed_ = marked[::2]
    time = np.concatenate([bought, bought[marked] + HOUR_US, bought[reversed_] + 2 * HOUR_US])
    kind = np.repeat(np.array([TRANSACTION, LABEL, LABEL], np.uint8), [n, len(marked), len(reversed_)])
    order = np.lexsort((kind, time))
    numbers: dict[str, int | Ints] = {
        "transaction_time": np.concatenate([np.full(n, np.iinfo(np.int64).min), bought[marked], bought[reversed_]])[order],
        "before": np.repeat([0, 0, 1], [n, len(marked), len(reversed_)])[order],
        "after": np.repeat([0, 1, 0], [n, len(marked), len(reversed_)])[order],
        "before_known_at": np.concatenate([np.zeros(n + len(marked), np.int64), bought[reversed_] + HOUR_US])[order],
        "absorbed": 1,
    }
    events = payments(features, time[order], numbers=numbers, kind=kind[order])
    got = Fold(compile_plan(features)).step(events)
    assert got.approximate[-1] == 1
    bucket_us = math.ceil(window_us / BUCKETS_PER_WINDOW)
    rate, count = got.values[:, 0], got.values[:, 1]
    for row in np.random.default_rng(4).integers(EVENTS_PER_KEY_MAX + 500, n, 60).tolist():
        edge = int(bought[row]) - delay_us
        first, last = ((edge - window_us) // bucket_us + 1) * bucket_us, (edge + 1) // bucket_us * bucket_us - 1
        inside = np.flatnonzero((bought >= first) & (bought <= last))
        assert count[row] == len(inside)
        # Three hours on, each label and its reversal has arrived.
        frauds = np.isin(inside, marked).sum() - np.isin(inside, reversed_).sum()
        assert rate[row] == frauds / len(inside)


def test_a_late_event_of_a_hot_key_counts_from_then_on() -> None:
    features = windows((DAY_US,), (0,), (False,), (Kind.COUNT, Kind.SUM))
    n = MANY
    time = START_US + np.arange(n, dtype=np.int64) * SECOND_US
    late = EVENTS_PER_KEY_MAX + 1_000
    arrival = time.copy()
    time[late] -= 2 * HOUR_US
    events = payments(features, time, arrival, numbers={"amount": np.where(np.arange(n) == late, 10**9, 100)})
    got = Fold(compile_plan(features)).step(events)
    total = got.values[:, 1]
    assert got.approximate[late] == 1
    assert total[late - 1] < 10**7 <= total[late + 1]
    gone = int(np.argmax(total[late + 1 :] < 10**7)) + late + 1
    bucket_s = DAY_US // SECOND_US / BUCKETS_PER_WINDOW
    assert late - 2 * 3600 + 86_400 - bucket_s <= gone <= late - 2 * 3600 + 86_400 or gone == late + 1


def test_other_keys_stay_exact() -> None:
    features = windows((DAY_US,), (0,), (False,))
    n = MANY
    chance = np.random.default_rng(7)
    customer = np.where(np.arange(n) % 50 == 0, 2, 1)
    time = START_US + np.arange(n, dtype=np.int64) * SECOND_US // 2
    events = payments(
        features, time, keys={"customer": customer, "channel": chance.integers(0, 9, n)}, numbers={"amount": chance.integers(0, 99, n)}
    )
    got = Fold(compile_plan(features)).step(events)
    rows = np.flatnonzero(customer == 2)[-20:]
    assert not got.approximate[customer == 2].any()
    assert got.approximate[-1] == 1
    assert_same_bits(got.values[rows], expected(features, events, rows), features.names, rows)


def test_last_events_and_novelty_of_a_hot_key_stay_exact() -> None:
    features = feature_set(
        [
            FeatureDefinition("sum", Kind.SUM, "customer", "amount", DAY_US),
            FeatureDefinition("since", Kind.SECONDS_SINCE_LAST, "customer"),
            FeatureDefinition("new", Kind.IS_NEW, "customer", "country"),
            FeatureDefinition("age", Kind.AGE_DAYS, "customer"),
        ]
    )
    n = MANY
    time = START_US + np.arange(n, dtype=np.int64) * SECOND_US
    country = np.where(np.arange(n) < 70_000, 1, 1 + np.arange(n) % 2)
    got = Fold(compile_plan(features)).step(payments(features, time, keys={"country": country}, numbers={"amount": 1}))
    assert (got.approximate[-7_000:] == 1).all()
    assert (got.values[1:, 1] == 1.0).all()
    assert np.flatnonzero(got.values[:, 2]).tolist() == [0, 70_001]
    np.testing.assert_array_equal(got.values[:, 3], np.arange(n) / 86_400)
