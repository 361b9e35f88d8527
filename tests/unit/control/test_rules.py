"""The life of rules: what may follow what, who was first, and what changes in words."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.control import change, rules
from fraudloop.decisions.rules import Rule, RuleSet, State
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError, PublishConflict, RuleError
from fraudloop.ledger.records import Activated, Record, decode, encode

FEATURES = FeatureSet.load("default")
ABOUT: dict[str, Any] = {"features": FEATURES, "lists": ["high_risk_countries"], "who": "ann", "why": "because", "at_us": 5}


def rule(name: str = "big", when: str = "amount > 500", state: State = State.SHADOW, **more: Any) -> Rule:
    return Rule(name, when, "a reason", more.pop("outcome", Outcome.REVIEW), state=state, **more)


def rule_set(*of: Rule) -> RuleSet:
    return RuleSet("mine", of)


def in_force(*of: Rule) -> Activated:
    made = rule_set(*of)
    return Activated("rules", made.hash, made.to_dict(), "bob", "before", 1)


def test_a_published_set_is_a_record_that_makes_the_set_again() -> None:
    made = rules.publish(None, rule_set(rule(state=State.LIVE)), expected=None, **ABOUT)
    (record,) = made.records
    assert isinstance(record, Activated)
    again = decode(encode(record))
    assert isinstance(again, Activated)
    assert RuleSet.from_dict(again.body).hash == record.hash == made.hash
    assert (record.what, record.who, record.why, record.received_us) == ("rules", "ann", "because", 5)
    assert made.diff == ("added 'big', live: review when amount > 500",)
    assert not made.warming


@pytest.mark.parametrize(("old", "new"), list(product(State, State)))
def test_a_rule_moves_only_along_its_life(old: State, new: State) -> None:
    now = in_force(rule(state=old))
    allowed = {
        ("draft", "shadow"), ("shadow", "live"), ("shadow", "draft"), ("live", "shadow"), ("draft", "retired"), ("shadow", "retired"), ("live", "retired"),
    }  # fmt: skip
    if (old.value, new.value) in allowed:
        made = rules.move(now, "big", new, expected=now.hash, **ABOUT)
        assert made.diff == (f"'big': {old.value} → {new.value}",)
    else:
        with pytest.raises(InputError):
            rules.move(now, "big", new, expected=now.hash, **ABOUT)


def test_the_second_of_two_is_told_who_was_first() -> None:
    now = in_force(rule())
    with pytest.raises(PublishConflict, match="bob published them at 1970-01-01T00:00:00Z") as error:
        rules.move(now, "big", State.LIVE, expected="f" * 32, **ABOUT)
    assert error.value.fields["in_force"] == now.hash
    with pytest.raises(PublishConflict, match="not nothing"):
        rules.publish(now, rule_set(), expected=None, **ABOUT)
    with pytest.raises(PublishConflict, match="no rules are in force"):
        rules.publish(None, rule_set(rule()), expected="f" * 32, **ABOUT)


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (rule("other", state=State.LIVE), "other"),
        (rule(when="amount > 100", state=State.LIVE), "big"),
        (rule(state=State.LIVE, outcome=Outcome.DECLINE), "big"),
    ],
)
def test_what_was_not_watched_acts_only_where_somebody_says_so(after: Rule, told: str) -> None:
    now = in_force(rule(state=State.LIVE))
    new = rule_set(*([rule(state=State.LIVE), after] if after.id == "other" else [after]))
    with pytest.raises(InputError, match=f"{told}: would act without having been in shadow"):
        rules.publish(now, new, expected=now.hash, **ABOUT)
    made = rules.publish(now, new, expected=now.hash, at_once=True, **ABOUT)
    assert isinstance(made.records[0], Activated) and made.records[0].why == f"because (at once: {told})"


def test_a_new_text_or_authority_of_a_live_rule_needs_no_shadow() -> None:
    now = in_force(rule(state=State.LIVE))
    made = rules.publish(
        now, rule_set(replace(rule(state=State.LIVE), reason="better words", overridable=False)), expected=now.hash, **ABOUT
    )
    assert made.diff == ("'big': overridable True → False", "'big': reason a reason → better words")


def test_a_retired_rule_stays_as_it_was() -> None:
    now = in_force(rule(state=State.RETIRED))
    with pytest.raises(InputError, match="is retired and stays as it was"):
        rules.publish(now, rule_set(rule(when="amount > 7", state=State.RETIRED)), expected=now.hash, **ABOUT)
    assert rules.publish(now, rule_set(), expected=now.hash, **ABOUT).diff == ("removed 'big', which was retired",)


def test_features_that_the_plan_lacks_are_named_and_the_set_is_warming() -> None:
    made = rules.publish(
        None, rule_set(rule(when="customer_count_5m > 3 and customer_amount_sum_3h > 100 and amount > 1")), expected=None, **ABOUT
    )
    assert made.warming
    assert [feature.name for feature in made.wanted] == ["customer_count_5m", "customer_amount_sum_3h"]
    assert not rules.publish(None, rule_set(rule(when="customer_count_5m > 3", state=State.RETIRED)), expected=None, **ABOUT).warming


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("amuont > 3", "rule 'big': at character 1: no feature or field 'amuont'; did you mean 'amount'"),
        ("in_list(country, 'high_risk')", "no list 'high_risk'; did you mean 'high_risk_countries'"),
        ("amount >", "the condition ends where a value is wanted"),
    ],
)
def test_a_condition_that_is_not_understood_is_refused(when: str, message: str) -> None:
    with pytest.raises(RuleError, match=message.replace("(", "\\(")):
        rules.publish(None, rule_set(rule(when=when)), expected=None, **ABOUT)


@pytest.mark.parametrize(("key", "value"), [("who", " "), ("why", ""), ("why", "x" * 2_001)])
def test_nobody_changes_rules_without_a_name_and_a_reason(key: str, value: str) -> None:
    with pytest.raises(InputError, match=key):
        rules.publish(None, rule_set(rule()), expected=None, **{**ABOUT, key: value})


def test_a_set_that_changes_nothing_and_a_rule_that_is_not_there_are_refused() -> None:
    now = in_force(rule())
    with pytest.raises(InputError, match="nothing changes"):
        rules.publish(now, rule_set(rule()), expected=now.hash, **ABOUT)
    with pytest.raises(RuleError, match="no rule 'bgi' in force"):
        rules.move(now, "bgi", State.LIVE, expected=now.hash, **ABOUT)


RULES = st.lists(
    st.builds(rule, st.sampled_from(["a", "b", "c"]), st.sampled_from(["amount > 1", "is_foreign"]), st.sampled_from(State)), max_size=3, unique_by=lambda r: r.id
)  # fmt: skip


@given(RULES, RULES)
def test_there_is_a_difference_in_words_exactly_where_there_is_one(old: list[Rule], new: list[Rule]) -> None:
    before, after = rule_set(*old), rule_set(*new)
    assert bool(rules.diff(before.to_dict(), after.to_dict())) == (before.hash != after.hash)


def test_the_history_is_the_log() -> None:
    first = rules.publish(None, rule_set(rule()), expected=None, **ABOUT).records[0]
    assert isinstance(first, Activated)
    second = rules.move(first, "big", State.LIVE, expected=first.hash, **{**ABOUT, "who": "bea", "at_us": 9}).records[0]
    records: list[tuple[int, Record]] = [(3, first), (4, Activated("policy", "x", {}, "c", "c", 6)), (8, second)]
    found = change.history("rules", records, rules.diff)
    assert [(v.lsn, v.who) for v in found] == [(3, "ann"), (8, "bea")]
    assert found[1].diff == ("'big': shadow → live",)
    assert found[1].to_dict()["at"] == "1970-01-01T00:00:00Z"
