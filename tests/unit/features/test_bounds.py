"""What a key remembers is bounded; within the bounds every answer is exact, and beyond them it says so or is defined so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind
from fraudloop.door.events import LABEL, TRANSACTION, Events
from fraudloop.features.fold import Fold
from fraudloop.features.layout import E_WORDS, HOME_COUNT_MAX, HOME_ENTRIES_MAX
from fraudloop.features.plan import compile_plan
from fraudloop.limits import DAY_US, EVENTS_PER_KEY_MAX, HOUR_US, NOVELTY_VALUES_MAX, SECOND_US
from tests.large import START_US, Ints, feature_set, payments
from tests.oracle import differences, oracle

MISSING = np.iinfo(np.int64).min


def fold_of(features: FeatureSet, events: Events) -> tuple[Fold, np.ndarray, np.ndarray]:
    fold = Fold(compile_plan(features))
    vectors = fold.step(events)
    assert fold.verify()
    return fold, vectors.values, vectors.approximate


# --- known values --------------------------------------------------------------------------------------------------

NEW = feature_set([FeatureDefinition("new", Kind.IS_NEW, "customer", "device")])


@pytest.mark.parametrize("values", [NOVELTY_VALUES_MAX - 1, NOVELTY_VALUES_MAX, NOVELTY_VALUES_MAX + 1, NOVELTY_VALUES_MAX + 60])
def test_of_more_values_than_are_kept_the_one_seen_longest_ago_is_forgotten(values: int) -> None:
    """Every value twice round: all are known the second time as long as they are kept, none if there is one too many."""
    time = START_US + np.arange(2 * values, dtype=np.int64) * SECOND_US
    _, got, _ = fold_of(NEW, payments(NEW, time, keys={"device": np.arange(2 * values) % values + 1}))
    assert got[:values, 0].tolist() == [1.0] * values
    assert got[values:, 0].tolist() == [float(values > NOVELTY_VALUES_MAX)] * values


def test_a_value_seen_again_is_not_the_next_to_be_forgotten() -> None:
    chance = np.random.default_rng(1)
    n = 1_500
    # A long tail of values, many of them in one second, some late: which goes is a matter of seconds and of arrival.
    time = START_US + (np.arange(n, dtype=np.int64) // 20) * SECOND_US
    time[chance.random(n) < 0.1] -= 30 * SECOND_US
    events = payments(
        NEW,
        time,
        START_US + np.arange(n, dtype=np.int64),
        {"device": np.where(chance.random(n) < 0.5, chance.integers(1, 20, n), chance.integers(1, 900, n))},
    )
    fold, got, _ = fold_of(NEW, events)
    assert differences(oracle(NEW, events), got) == []
    assert len(np.unique(events.keys[:, events.key_names.index("device"), 0])) > 2 * NOVELTY_VALUES_MAX
    assert fold.counts()["headers"] == 1


def test_memory_of_known_values_is_bounded() -> None:
    """An attacker who changes his device id with every payment."""
    n = 20_000
    fold = Fold(compile_plan(NEW))
    sizes = []
    for i in range(0, n, 5_000):
        time = START_US + np.arange(i, i + 5_000, dtype=np.int64) * SECOND_US * 20
        fold.step(payments(NEW, time, keys={"device": np.arange(i, i + 5_000) + 1}))
        # Ids themselves are remembered as keys: 40 bytes each.
        sizes.append(fold.size_bytes() - fold.counts()["keys"] * 40)
    assert sizes[-1] == sizes[-2]
    assert sizes[-1] < 8 * NOVELTY_VALUES_MAX + 64 * 1024


# --- home ----------------------------------------------------------------------------------------------------------

HOME = feature_set([FeatureDefinition("km", Kind.KM_FROM_HOME, "customer"), FeatureDefinition("foreign", Kind.IS_FOREIGN, "customer")])


def places(cells: Ints) -> dict[str, int | Ints]:
    """Latitude and longitude in cells far apart."""
    return {"latitude": cells // 100 * 500_000, "longitude": cells % 100 * 500_000}


@pytest.mark.parametrize("how", ["steady", "a close race", "with long silences", "told now and then", "ties"])
@pytest.mark.parametrize("seed", [2, 3])
def test_a_home_of_many_places_and_days_equals_the_plain_definition(how: str, seed: int) -> None:
    """Homes are counted anew only where what came and went since could have changed them: never too seldom."""
    chance = np.random.default_rng(seed)
    n = 600
    days = np.sort(chance.random(n)) * 300
    if how == "with long silences":
        days += 70 * (days // 30)  # some longer than the 90 days that are looked back, some shorter
        days[n // 2 :] += 95
    time = START_US + (days * DAY_US).astype(np.int64)
    late = chance.random(n) < 0.1
    arrival = time.copy()
    time[late] -= chance.integers(0, DAY_US, int(late.sum()))
    cells, countries = np.minimum(chance.zipf(1.4, n), 40), np.minimum(chance.zipf(1.6, n), 9)
    if how in ("a close race", "ties"):
        cells, countries = chance.integers(1, 4, n), chance.integers(1, 3, n)
    if how == "ties":
        time -= (time - START_US) % (DAY_US // 2)
        arrival = np.maximum.accumulate(time)
        cells = np.arange(n) % 3 + 1
    own: dict[str, int | Ints] = {}
    if how == "told now and then":
        # Weeks in which a payment brings its own home: nobody asks what was usual, and it moves all the same.
        told = (days // 40) % 2 == 1
        own = {"home_latitude": np.where(told, 0, MISSING), "home_longitude": np.where(told, 0, MISSING)}
    here = {"country": countries, "home_country": np.where(told, 1, 0)} if own else {"country": countries}
    events = payments(HOME, time, arrival, here, {**places(cells), **own})
    _, got, mask = fold_of(HOME, events)
    assert differences(oracle(HOME, events), got) == []
    assert not mask.any()


def test_more_payments_of_a_day_at_one_place_than_one_count_holds_are_still_counted() -> None:
    """One place with two counts' worth of payments on one day against another with less on the day before."""
    n = HOME_COUNT_MAX + 50
    first, second = n - 1, n
    time = np.concatenate([START_US + np.arange(first, dtype=np.int64), START_US + DAY_US + np.arange(second), [START_US + 2 * DAY_US]])
    cells = np.concatenate([np.full(first, 7), np.full(second, 11), [11]])
    events = payments(HOME, time, None, {"country": np.concatenate([np.full(first, 1), np.full(second, 2), [2]])}, places(cells))
    _, got, _ = fold_of(HOME, events)
    assert got[-1, 1] == 0.0
    assert got[-1, 0] < 6


def test_beyond_the_places_that_are_kept_the_oldest_go_and_the_mask_says_so() -> None:
    n = 2 * HOME_ENTRIES_MAX
    time = START_US + np.arange(n, dtype=np.int64) * (80 * DAY_US // n)
    cells = np.arange(n) % 5_000
    fold = Fold(compile_plan(HOME))
    events = payments(HOME, time, None, None, places(cells))
    first = fold.step(events[: HOME_ENTRIES_MAX - 1])
    assert not first.approximate.any()
    assert (fold.step(events[HOME_ENTRIES_MAX - 1 : -100]).approximate == 1).all()
    before = fold.size_bytes()
    fold.step(events[-100:])
    assert fold.size_bytes() == before
    assert fold.verify()
    quiet = payments(HOME, time[-1:] + 200 * DAY_US, None, None, places(np.array([1])))
    assert fold.step(quiet).approximate.tolist() == [0], "what was too much is past"


# --- known frauds --------------------------------------------------------------------------------------------------


def test_beyond_the_frauds_that_are_kept_the_oldest_go_and_the_mask_says_so() -> None:
    features = feature_set([FeatureDefinition("frauds", Kind.FRAUD_COUNT, "customer", window_us=30 * DAY_US)])
    n = EVENTS_PER_KEY_MAX + 500
    time = START_US + np.arange(n, dtype=np.int64) * SECOND_US
    kind = np.full(n, LABEL, np.uint8)
    kind[::1_000] = TRANSACTION
    kind[-1] = TRANSACTION
    numbers: dict[str, int | Ints] = {"transaction_time": time, "before": 0, "after": 1, "absorbed": 1}
    _, got, mask = fold_of(features, payments(features, time, numbers=numbers, kind=kind))
    labels = np.cumsum(kind == LABEL)[kind == TRANSACTION]
    np.testing.assert_array_equal(got[:, 0], np.minimum(labels, EVENTS_PER_KEY_MAX))
    np.testing.assert_array_equal(mask, labels >= EVENTS_PER_KEY_MAX)
    assert mask[-1] == 1


# --- keys that fall silent -----------------------------------------------------------------------------------------

SILENT = feature_set(
    [
        FeatureDefinition("count", Kind.COUNT, "customer", window_us=DAY_US),
        FeatureDefinition("distinct", Kind.DISTINCT, "customer", "channel", HOUR_US),
        FeatureDefinition("std", Kind.STD, "customer", "amount", DAY_US),
        FeatureDefinition("max", Kind.MAX, "customer", "amount", HOUR_US, HOUR_US),
        FeatureDefinition("since", Kind.SECONDS_SINCE_LAST, "customer"),
        FeatureDefinition("km", Kind.KM_FROM_LAST, "customer"),
        FeatureDefinition("speed", Kind.SPEED_KMH, "customer"),
        FeatureDefinition("age", Kind.AGE_DAYS, "customer"),
        FeatureDefinition("home", Kind.KM_FROM_HOME, "customer"),
        FeatureDefinition("new", Kind.IS_NEW, "customer", "device"),
        FeatureDefinition("frauds", Kind.FRAUD_COUNT, "customer", window_us=DAY_US),
        FeatureDefinition("rate", Kind.FRAUD_RATE, "customer", window_us=DAY_US),
    ]
)


def a_day_of(customers: Ints, begin: int, chance: np.random.Generator, each: int) -> Events:
    n = len(customers) * each
    time = begin + np.sort(chance.integers(0, DAY_US, n))
    keys: dict[str, int | Ints] = {
        "customer": chance.permutation(np.repeat(customers, each)),
        "channel": chance.integers(0, 4, n),
        "device": chance.integers(1, 9, n),
    }
    numbers: dict[str, int | Ints] = {"amount": chance.integers(1, 999, n), **places(chance.integers(0, 9, n))}
    return payments(SILENT, time, None, keys, numbers)


def joined(parts: list[Events]) -> Events:
    first = parts[0]
    return Events(
        np.concatenate([p.kind for p in parts]), np.concatenate([p.time_us for p in parts]), np.concatenate([p.received_us for p in parts]),
        np.concatenate([p.keys for p in parts]), np.concatenate([p.numbers for p in parts]), np.concatenate([p.row for p in parts]),
        first.key_names, first.number_names,
    )  # fmt: skip


def test_a_silent_key_shrinks_and_no_later_answer_changes() -> None:
    """A hundred customers for a day, one customer for the rest of the year, then the hundred again."""
    chance = np.random.default_rng(3)
    many, one = np.arange(1, 101), np.array([101])
    begin = a_day_of(many, START_US, chance, 40)
    silence = [a_day_of(one, START_US + day * DAY_US, chance, 30) for day in range(1, 260)]
    again = a_day_of(many, START_US + 260 * DAY_US, chance, 3)
    fold = Fold(compile_plan(SILENT))
    fold.step(begin)
    full = fold.size_bytes()
    fold.step(joined(silence))
    shrunk = fold.size_bytes()
    headers = fold.counts()["headers"] * int(fold.plan.entities[0, E_WORDS]) * 8
    assert shrunk < full / 2
    assert shrunk - fold.counts()["keys"] * 40 < headers * 1.3 + 16 * 1024, "little more than headers is left"
    assert fold.verify()
    got = fold.step(again).values
    assert fold.verify()
    answer = oracle(SILENT, joined([begin, again]))
    assert differences(replace(answer, values=answer.values[len(begin) :]), got) == []


def test_sweeping_goes_by_the_log_alone() -> None:
    """However the log is cut, the same keys have shrunk at the same event."""
    chance = np.random.default_rng(4)
    days = [a_day_of(np.unique(chance.integers(1, 20, 5)), START_US + day * 40 * DAY_US, chance, 10) for day in range(30)]
    events = joined(days)
    states = []
    for size in (1, 7, 32, 1000):
        fold, sizes = Fold(compile_plan(SILENT)), []
        for at in range(0, len(events), size):
            fold.step(events[at : at + size])
            sizes.append(fold.size_bytes())
        states.append((sizes[-1], fold.digest()))
        assert fold.verify()
        assert size > 32 or (np.diff(sizes) < 0).any(), "some have shrunk"
    assert len(set(states)) == 1
    assert differences(oracle(SILENT, events), Fold(compile_plan(SILENT)).step(events).values) == []


def test_a_label_on_a_key_that_has_shrunk_and_its_reversal_count() -> None:
    features = feature_set(
        [
            FeatureDefinition("frauds", Kind.FRAUD_COUNT, "customer", window_us=30 * DAY_US),
            FeatureDefinition("last", Kind.SECONDS_SINCE_LAST_FRAUD, "customer"),
        ]
    )
    day = np.array([0, *range(1, 400), 400, 401, 402, 403], np.int64)
    customer = np.array([1, *[2] * 399, 1, 1, 1, 1])
    kind = np.array([TRANSACTION] * 400 + [LABEL, TRANSACTION, LABEL, TRANSACTION], np.uint8)
    time = START_US + day * DAY_US
    said = kind == LABEL
    numbers: dict[str, int | Ints] = {
        "transaction_time": np.where(said, START_US, MISSING), "before": np.where(said, np.arange(404) > 401, MISSING),
        "after": np.where(said, np.arange(404) < 401, MISSING), "before_known_at": np.where(np.arange(404) == 402, time[400], MISSING),
        "absorbed": np.where(said, 1, MISSING),
    }  # fmt: skip
    events = payments(features, time, keys={"customer": customer}, numbers=numbers, kind=kind)
    fold, got, _ = fold_of(features, events)
    assert differences(oracle(features, events), got) == []
    assert got[-2].tolist() == [1.0, 86_400.0]
    assert got[-1, 0] == 0.0
    assert np.isnan(got[-1, 1])
    assert fold.counts()["labels"] == 2
