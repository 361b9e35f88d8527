"""The scripts of events reach what they are there to reach, so that a fold held to the oracle is held to all of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fraudloop.domain.definitions import FeatureSet, Kind
from fraudloop.door.events import LABEL, MISSING, PROFILE, TOO_EARLY, TOO_LATE, TRANSACTION, Events
from fraudloop.limits import LATENESS_MAX_US, SKEW_MAX_US
from tests.oracle import Answer, oracle, plain_events
from tests.strategies import POOL, every_feature, long_run

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def features() -> FeatureSet:
    return every_feature()


@pytest.fixture(scope="module")
def scripts(features: FeatureSet) -> list[Events]:
    return [long_run(seed, features, 250) for seed in SEEDS]


@pytest.fixture(scope="module")
def answers(features: FeatureSet, scripts: list[Events]) -> list[Answer]:
    return [oracle(features, script) for script in scripts]


def test_every_kind_of_feature_gets_both_values_and_nothing(features: FeatureSet, answers: list[Answer]) -> None:
    values = np.array([row for answer in answers for row in answer.values])
    for kind in Kind:
        columns = values[:, [j for j, f in enumerate(features.features) if f.kind is kind]]
        given = set(columns[~np.isnan(columns)].tolist())
        assert len(given) >= 2, f"{kind.value} has only the values {given}"
        if kind not in (Kind.HOUR_OF_DAY, Kind.DAY_OF_WEEK, Kind.IS_WEEKEND, Kind.IS_NIGHT):
            assert np.isnan(columns).any(), f"{kind.value} is never missing"


def test_events_come_late_early_just_allowed_and_not_in_order(scripts: list[Events]) -> None:
    seen: Counter[str] = Counter()
    for script in scripts:
        received = np.maximum.accumulate(script.received_us)
        bought = script.kind == TRANSACTION
        ahead = (script.time_us - received)[bought]
        seen["just not too late"] += int((ahead == -LATENESS_MAX_US).sum())
        seen["just too late"] += int((ahead == -LATENESS_MAX_US - 1).sum())
        seen["just not too early"] += int((ahead == SKEW_MAX_US).sum())
        seen["just too early"] += int((ahead == SKEW_MAX_US + 1).sum())
        seen["out of order"] += int((np.diff(script.time_us[bought]) < 0).sum())
        seen["ties"] += int((np.diff(script.time_us[bought]) == 0).sum())
        seen["arrival goes back"] += int((np.diff(script.received_us) < 0).sum())
        seen["too late"] += sum(e.status == TOO_LATE for e in plain_events(script))
        seen["too early"] += sum(e.status == TOO_EARLY for e in plain_events(script))
    assert len(+seen) == 9, seen


def test_windows_are_met_exactly_at_their_edges(features: FeatureSet, scripts: list[Events]) -> None:
    spans = {f.window_us + f.delay_us for f in features.features if f.window_us}
    for around in (-1, 0, 1):
        met = 0
        for script in scripts:
            times = script.time_us[script.kind == TRANSACTION]
            apart = times[:, None] - times[None, :]
            met += int(np.isin(apart, [span + around for span in spans]).sum())
        assert met > 10, f"edges {around:+d} us: {met}"


def test_keys_are_null_hot_and_alike_in_one_half(scripts: list[Events]) -> None:
    script = scripts[0]
    customers = Counter(tuple(k) for k in script.keys[script.kind == TRANSACTION, script.key_names.index("customer")].tolist())
    assert customers[(0, 0)] > 0
    assert customers[POOL[0]] > sum(customers.values()) / 3
    halves = [(a[0] == b[0]) + (a[1] == b[1]) for a in POOL for b in POOL if a != b]
    assert 1 in halves


def test_labels_say_what_was_in_force_before_them(scripts: list[Events]) -> None:
    kinds: Counter[tuple[int, int]] = Counter()
    for script in scripts:
        at = {name: script.number_names.index(name) for name in ("before", "after", "before_known_at", "absorbed")}
        numbers = script.numbers[script.kind == LABEL]
        kinds.update((int(n[at["before"]]), int(n[at["after"]])) for n in numbers)
        assert ((numbers[:, at["before"]] == 0) == (numbers[:, at["before_known_at"]] == MISSING)).all()
        assert set(numbers[:, at["absorbed"]].tolist()) == {0, 1}
    assert set(kinds) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_profiles_and_missing_numbers_are_there(scripts: list[Events]) -> None:
    for script in scripts:
        assert (script.kind == PROFILE).any()
        assert (script.numbers[script.kind == TRANSACTION, script.number_names.index("amount")] == MISSING).any()
