"""What rules see of payments in a batch, beside what a backtest gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.decisions.policy import DecisionPolicy, Policy
from fraudloop.decisions.rules import RuleSet, State, vocabulary
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.engine.deciding import InForce, judge
from fraudloop.features.fold import Vectors

FEATURES = FeatureSet.load("default").select(["customer_count_1h"])
CONDITIONS = ("country <> home_country", "country = home_country or currency = 'EUR'", "in_list(country, 'far') and merchant_id <> customer_id", "card_present")  # fmt: skip
WORDS = st.none() | st.sampled_from(["DE", "FR", "NL", "XX", "EUR"])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "country": WORDS,
            "home_country": WORDS,
            "currency": WORDS,
            "customer_id": WORDS,
            "merchant_id": WORDS,
            "card_present": st.none() | st.booleans(),
        }
    ),
    min_size=1,
    max_size=9,
)


def in_force(conditions: Sequence[str]) -> InForce:
    given = [
        {"id": f"r{n}", "when": when, "reason": "told", "outcome": "review", "state": str(State.LIVE)} for n, when in enumerate(conditions)
    ]
    rules = RuleSet.from_dict({"name": "test", "rules": given}).compile(vocabulary(FEATURES), frozenset({"far"}))
    return InForce(FEATURES, "plan", rules, DecisionPolicy(Policy()), "policy", "build", b"secret", lists={"far": frozenset({"XX", "NL"})})


def hits(force: InForce, rows: Sequence[dict[str, object]]) -> list[list[bool]]:
    whole = [{**dict.fromkeys(TRANSACTION_SCHEMA), "transaction_id": str(at), **row} for at, row in enumerate(rows)]
    n = len(rows)
    vectors = Vectors(np.ones((n, 1)), np.zeros(n, np.uint8), np.zeros(n, np.uint32))
    found: list[list[bool]] = judge(force, whole, [0] * n, vectors).verdicts.hits.tolist()  # type: ignore[arg-type]
    return found


@given(ROWS)
def test_rules_over_words_say_live_what_they_say_in_a_backtest(rows: list[dict[str, object]]) -> None:
    force = in_force(CONDITIONS)
    answers = force.rules.program.run(
        lambda name: np.array([row[name] for row in rows], np.float64),
        lambda name: [row[name] for row in rows],  # type: ignore[misc]
        {"far": ("XX", "NL")},
        len(rows),
    )
    assert hits(force, rows) == (answers == 1).tolist()


def test_two_words_that_no_rule_names_are_not_the_same_word() -> None:
    force = in_force(["country <> home_country"])
    assert hits(force, [{"country": "FR", "home_country": "DE"}]) == [[True]]
    assert hits(force, [{"country": "FR", "home_country": "FR"}]) == [[False]]


@pytest.mark.parametrize("value", [True, 7])
def test_what_is_no_text_is_compared_as_text(value: object) -> None:
    force = in_force(["country = home_country"])
    assert hits(force, [{"country": value, "home_country": str(value)}]) == [[True]]
