"""What ships: the default policy, the default rules and the rules for when there is no model, as the product promises them."""

from __future__ import annotations

import numpy as np
import pytest

from fraudloop.decisions.lists import shipped_lists
from fraudloop.decisions.policy import DecisionPolicy
from fraudloop.decisions.rules import RuleSet, vocabulary
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError

ORDINARY: dict[str, float | str | None] = {
    "amount": 20.0, "is_foreign": 0.0, "hour_of_day": 12.0, "customer_count_1h": 1.0, "customer_impossible_travel": 0.0,
    "customer_amount_deviation": 0.5, "customer_is_new_device": 0.0, "country": "DE",
}  # fmt: skip


def hits(rules: str, **changed: float | str | None) -> set[str]:
    """The rules of a shipped set that ask for review of one payment."""
    compiled = RuleSet.load(rules).compile(vocabulary(FeatureSet.load("default")))
    row = {**ORDINARY, **changed}
    lists = {name: named.entries for name, named in shipped_lists().items()}
    number = lambda name: np.array([np.nan if row[name] is None else float(row[name])])  # type: ignore[arg-type]  # noqa: E731
    answers = compiled.program.run(number, lambda name: [row[name]], lists, 1)  # type: ignore[list-item]
    found = compiled.verdicts(answers)
    assert found.outcome[0] in (Outcome.APPROVE, Outcome.REVIEW)
    return {rule.id for at, rule in enumerate(compiled.rules.rules) if found.hits[at, 0]} | ({"?"} if found.unknown[:, 0].any() else set())


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, set()),
        ({"amount": 500.0}, set()),
        ({"amount": 500.01}, {"fallback_large"}),
        ({"is_foreign": 1.0, "hour_of_day": 21.0}, set()),
        ({"is_foreign": 1.0, "hour_of_day": 22.0}, {"fallback_foreign_late"}),
        ({"customer_count_1h": 5.0}, set()),
        ({"customer_count_1h": 6.0}, {"fallback_many_in_an_hour"}),
        ({"customer_count_1h": None}, {"?"}),
    ],
)  # fmt: skip
def test_without_a_model_these_are_looked_at(changed: dict[str, float | None], expected: set[str]) -> None:
    assert hits("fallback", **changed) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, set()),
        ({"customer_impossible_travel": 1.0}, {"impossible_travel"}),
        ({"customer_amount_deviation": 10.0}, set()),
        ({"customer_amount_deviation": 10.1}, {"far_above_habit"}),
        ({"customer_count_1h": 20.0}, set()),
        ({"customer_count_1h": 21.0}, {"many_in_an_hour"}),
        ({"country": "KP"}, set()),
        ({"country": "KP", "customer_is_new_device": 1.0}, {"high_risk_country_new_device"}),
        ({"country": "FR", "customer_is_new_device": 1.0}, set()),
    ],
)  # fmt: skip
def test_the_default_rules_are_those_promised(changed: dict[str, float | str], expected: set[str]) -> None:
    assert hits("default", **changed) == expected


def test_the_default_policy_declines_above_nine_tenths_and_reviews_above_a_half() -> None:
    policy = DecisionPolicy.load("default")
    assert (policy.tiers.decline, policy.tiers.review, policy.tiers.challenge) == (0.9, 0.5, None)
    assert policy.degraded is not None and policy.degraded.review < 0.5
    assert policy.without_model == "rules"


def test_an_unknown_policy_is_told_the_nearest() -> None:
    with pytest.raises(InputError, match="no policy 'defualt'; did you mean 'default'"):
        DecisionPolicy.load("defualt")
