"""A state under another plan gives the vectors that the other plan would have given from the start."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fraudloop.domain.definitions import FeatureSet
from fraudloop.errors import RefoldNeeded
from fraudloop.features.derive import derive, obstacles
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from tests import strategies

EVERY = strategies.every_feature()


@pytest.mark.parametrize("seed", range(12))
def test_a_derived_state_gives_the_vectors_of_the_plan_by_itself(seed: int) -> None:
    chance = random.Random(seed)
    events = strategies.long_run(seed, EVERY, 150)
    cut = chance.randrange(1, 150)
    new = compile_plan(EVERY.select(chance.sample(EVERY.names, chance.choice([3, 20, 60]))))
    fold, alone = Fold(compile_plan(EVERY)), Fold(new)
    fold.step(events[:cut])
    alone.step(events[:cut])
    untouched = fold.digest()
    derived = derive(fold, new)
    assert derived.verify()
    assert fold.digest() == untouched
    np.testing.assert_array_equal(derived.step(events[cut:]).values, alone.step(events[cut:]).values)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (["customer_count_24h"], ["customer_count_7d"], "customer: events were not kept for 9 days"),
        (["customer_count_24h"], ["customer_amount_sum_24h"], "customer: amount of events were not kept"),
        (["customer_count_24h"], ["customer_is_new_device"], "customer: known values of 'device' were not kept"),
        (["customer_count_24h"], ["customer_km_from_home"], "customer: home was not kept"),
        (["customer_count_24h"], ["merchant_fraud_count_7d"], "merchant: known frauds were not kept for 9 days"),
        (["merchant_count_7d"], ["merchant_fraud_rate_1h"], "merchant: fraud marks of events were not kept"),
    ],
)
def test_what_is_not_kept_is_named(old: list[str], new: list[str], reason: str) -> None:
    features = FeatureSet.load("default")
    both = [features.from_dict({**features.to_dict(), "features": names}) for names in (old, new)]
    found = obstacles(compile_plan(both[0]), compile_plan(both[1]))
    assert any(text.startswith(reason) for text in found), found
    with pytest.raises(RefoldNeeded, match="cannot be derived"):
        derive(Fold(compile_plan(both[0])), compile_plan(both[1]))


def test_another_entity_needs_the_log_again() -> None:
    features = FeatureSet.load("handbook")
    more = FeatureSet.load("default").select(["device_count_1h"])
    assert obstacles(compile_plan(features), compile_plan(more)) == ["entity 'device' (device_id) is new"]


def test_a_union_of_plans_serves_each_of_them() -> None:
    one, other = FeatureSet.load("handbook"), FeatureSet.load("default")
    other = FeatureSet(other.entities, other.numbers, other.categories, other.features, one.night)
    both = compile_plan(one.merge(other))
    assert obstacles(both, compile_plan(one)) == []
    assert obstacles(both, compile_plan(other)) == []
