"""Policies published: who was first, what changes, and what they need."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fraudloop.control import policy
from fraudloop.decisions.policy import ColdStart, DecisionPolicy, Policy
from fraudloop.domain.definitions import FeatureSet
from fraudloop.errors import InputError, PublishConflict
from fraudloop.ledger.records import Activated

ABOUT: dict[str, Any] = {"features": FeatureSet.load("default"), "who": "ann", "why": "because", "at_us": 5}
NOW = DecisionPolicy.load("default")
IN_FORCE = Activated("policy", NOW.hash, NOW.to_dict(), "bob", "before", 1)


def test_a_published_policy_is_a_record_that_makes_it_again_and_says_what_changes() -> None:
    new = replace(NOW, tiers=Policy(0.9, 0.4))
    made = policy.publish(IN_FORCE, new, expected=NOW.hash, **ABOUT)
    assert made.diff == ("review: 0.5 → 0.4",)
    (record,) = made.records
    assert isinstance(record, Activated)
    assert DecisionPolicy.from_dict(record.body) == new
    assert record.hash == new.hash == made.hash


def test_the_second_of_two_is_told_who_was_first_and_nothing_is_published_twice() -> None:
    with pytest.raises(PublishConflict, match="bob published them"):
        policy.publish(IN_FORCE, replace(NOW, name="x"), expected="0" * 32, **ABOUT)
    with pytest.raises(InputError, match="nothing changes"):
        policy.publish(IN_FORCE, NOW, expected=NOW.hash, **ABOUT)


def test_a_cold_start_needs_a_count_that_the_plan_has_or_can_have() -> None:
    for name, wanted in (("customer_count_30d", []), ("customer_count_60d", ["customer_count_60d"])):
        made = policy.publish(IN_FORCE, replace(NOW, cold_start=ColdStart(name, 3, Policy(0.8, 0.3))), expected=NOW.hash, **ABOUT)
        assert [feature.name for feature in made.wanted] == wanted
    for name, told in (("customer_age_days", "is no count"), ("customer_cuont_30d", "is not a feature name")):
        with pytest.raises(InputError, match=told):
            policy.publish(IN_FORCE, replace(NOW, cold_start=ColdStart(name, 3, Policy(0.8, 0.3))), expected=NOW.hash, **ABOUT)
