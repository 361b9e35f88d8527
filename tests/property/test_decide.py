"""Decisions against the order of authority read aloud, row by row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.decisions.costs import Costs
from fraudloop.decisions.decide import LACKS, Decided, Evidence, decide, draw
from fraudloop.decisions.entries import Entries
from fraudloop.decisions.policy import ColdStart, ControlShare, DecisionPolicy, Policy
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError

SCORES = st.sampled_from([0.0, 0.3, 0.5, 0.50001, 0.7, 0.9, 0.95, 1.0, math.nan])
OUTCOMES = st.sampled_from([0, 0, int(Outcome.CHALLENGE), int(Outcome.REVIEW), int(Outcome.DECLINE)])
ROWS = st.fixed_dictionaries(
    {
        "score": SCORES, "rules": OUTCOMES, "firm": OUTCOMES, "score_change": st.sampled_from([0.0, 0.0, 0.25, -0.5, 1.0]), "block": st.booleans(), "allow": st.booleans(),
        "lacks": st.sampled_from([0, 0, 0, *LACKS.values(), 3]), "history": st.sampled_from([0.0, 2.0, 3.0, 50.0, math.nan]), "amount": st.sampled_from([0.0, 99.0, 101.0, math.nan]),
        "draw": st.sampled_from([0.0, 0.04, 0.05, 0.9]), "degraded": st.booleans(),
    }
).map(lambda row: {**row, "rules": max(row["rules"], row["firm"])})  # fmt: skip
POLICIES = st.sampled_from(
    [
        DecisionPolicy(Policy()),
        DecisionPolicy(Policy(0.9, 0.5, 0.25)),
        DecisionPolicy(Policy(), ColdStart("customer_count_30d", 3, Policy(0.8, 0.2)), ControlShare(0.05, 100.0)),
        DecisionPolicy(Policy(0.9, 0.5, 0.25), costs=Costs(false_alarm=40.0, review=2.0), degraded=Policy(0.6, 0.1), without_model="rules"),
        DecisionPolicy(
            Policy(), ColdStart("customer_count_30d", 3, Policy(0.8, 0.2)), costs=Costs(), degraded=Policy(0.6, 0.1), name="other"
        ),
    ]
)


def plain_tier(row: dict[str, Any], risk: float | None, policy: DecisionPolicy, fallback: bool) -> Outcome:
    """What the policy alone says of one payment."""
    if risk is None and fallback and policy.without_model == "rules" and not row["degraded"]:
        return Outcome.APPROVE
    tier = policy.tiers.tier(risk)
    if policy.costs is not None and risk is not None and not math.isnan(row["amount"]):
        costs = policy.costs
        choices = [
            (risk * (costs.missed_share * row["amount"] + costs.missed_fixed), Outcome.APPROVE),
            (costs.review + costs.review_price, Outcome.REVIEW),
            ((1 - risk) * costs.false_alarm, Outcome.DECLINE),
        ]
        tier = min(choices)[1]
        if tier is Outcome.APPROVE and policy.tiers.challenge is not None and risk > policy.tiers.challenge:
            tier = Outcome.CHALLENGE
    if policy.cold_start is not None and (math.isnan(row["history"]) or row["history"] < policy.cold_start.below):
        tier = max(tier, policy.cold_start.policy.tier(risk))
    if policy.degraded is not None and row["degraded"]:
        tier = max(tier, policy.degraded.tier(risk))
    return tier


def plain(row: dict[str, Any], policy: DecisionPolicy, fallback: bool = False) -> tuple[int, int, int, bool]:
    """(outcome, tier, decided, control) of one payment."""
    risk = min(1.0, max(0.0, row["score"] + row["score_change"])) if not math.isnan(row["score"]) else None
    tier = plain_tier(row, risk, policy, fallback)
    if row["block"]:
        return Outcome.DECLINE, tier, Decided.BLOCK, False
    usual = max(tier, Outcome.REVIEW if row["lacks"] else Outcome.APPROVE, row["rules"])
    stands = max(row["firm"], Outcome.REVIEW if row["lacks"] else Outcome.APPROVE)
    if row["allow"] and usual > stands:
        return stands, tier, Decided.ALLOW, False
    if row["rules"] and row["rules"] == usual:
        return usual, tier, Decided.RULE, False
    if row["lacks"] and usual == Outcome.REVIEW:
        return usual, tier, Decided.LACK, False
    control = policy.control
    model_alone = risk is not None and tier > Outcome.APPROVE and not row["rules"] and not row["lacks"] and not row["allow"]
    if control is not None and model_alone and row["amount"] <= control.amount_max and row["draw"] < control.share:
        return Outcome.APPROVE, tier, Decided.CONTROL, True
    return usual, tier, Decided.TIER, False


def evidence(rows: list[dict[str, Any]], fallback: bool = False) -> Evidence:
    kinds: dict[str, Any] = {"rules": np.int8, "firm": np.int8, "block": bool, "allow": bool, "lacks": np.uint8, "degraded": bool}
    return Evidence(**{name: np.array([row[name] for row in rows], kinds.get(name, np.float64)) for name in rows[0]}, fallback=fallback)


@given(rows=st.lists(ROWS, min_size=1, max_size=12), policy=POLICIES, fallback=st.booleans())
@settings(max_examples=600, deadline=None)
def test_decisions_follow_the_order_of_authority(rows: list[dict[str, Any]], policy: DecisionPolicy, fallback: bool) -> None:
    got = decide(evidence(rows, fallback), policy)
    for at, row in enumerate(rows):
        found = (int(got.outcome[at]), int(got.tier[at]), int(got.decided[at]), bool(got.control[at]))
        assert found == plain(row, policy, fallback), row


@given(rows=st.lists(ROWS, min_size=2, max_size=12), policy=POLICIES)
@settings(deadline=None)
def test_each_row_is_decided_alone(rows: list[dict[str, Any]], policy: DecisionPolicy) -> None:
    whole = decide(evidence(rows), policy)
    for at, row in enumerate(rows):
        alone = decide(evidence([row]), policy)
        assert (alone.outcome[0], alone.decided[0]) == (whole.outcome[at], whole.decided[at])


def test_draws_are_even_differ_by_experiment_and_secret_and_stay_the_same() -> None:
    values = np.array([draw("a", f"t{n}", b"k") for n in range(20_000)])
    counts, _ = np.histogram(values, 20, (0, 1))
    assert counts.min() > 850 and counts.max() < 1_150
    others = [np.array([f(n) for n in range(2_000)]) for f in _others()]
    assert all(abs(np.corrcoef(values[:2_000], other)[0, 1]) < 0.1 for other in others)
    assert draw("a", "bt1", b"k") != draw("ab", "t1", b"k")


def _others() -> list[Callable[[int], float]]:
    return [lambda n: draw("b", f"t{n}", b"k"), lambda n: draw("a", f"t{n}", b"other")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"decline": 0.9, "review": 0.5, "contorl": {}}, "unknown key 'contorl'; did you mean 'control'?"),
        ({"decline": 0.9, "review": 0.5, "control": {"share": 0.7, "amount_max": 1}}, "control share = 0.7 must be from 0 to 0.5"),
        ({"decline": 0.9, "review": 0.5, "control": {"share": 0.1}}, "control needs share and amount_max"),
        ({"decline": 0.9, "review": 0.5, "cold_start": {"count": "c", "below": 3, "decline": 0.95, "review": 0.3}}, "must not be milder"),
        ({"decline": 0.9}, "'review' is missing"),
        ({"decline": 0.9, "review": 0.5, "costs": {"false_alram": 3}}, "unknown key 'costs.false_alram'; did you mean 'false_alarm'?"),
        ({"decline": 0.9, "review": 0.5, "costs": {"false_alarm": -1}}, "costs.false_alarm = -1 must be a number, 0 or more"),
        ({"decline": 0.9, "review": 0.5, "costs": {"false_alarm": 0}}, "costs.false_alarm must be above 0"),
        ({"decline": 0.9, "review": 0.5, "degraded": {"decline": 0.95, "review": 0.3}}, "degraded must not be milder"),
        ({"decline": 0.9, "review": 0.5, "degraded": {"decline": 0.8}}, "degraded: 'review' is missing"),
        ({"decline": 0.9, "review": 0.5, "without_model": "rule"}, "must be one of review, rules; did you mean 'rules'?"),
        ({"decline": 0.9, "review": 0.5, "control": 3}, "control must be a table"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_meant_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        DecisionPolicy.from_dict(data)
    assert message in str(error.value)


@given(POLICIES)
def test_a_policy_goes_round_as_data_and_as_text(policy: DecisionPolicy) -> None:
    assert DecisionPolicy.from_dict(policy.to_dict()) == policy
    assert DecisionPolicy.from_toml(policy.to_toml()) == policy
    assert DecisionPolicy.from_toml(policy.to_toml()).hash == policy.hash


def test_a_policy_that_is_published_later_finds_its_machine_code_ready() -> None:
    from fraudloop.decisions import decide as kernels

    kernels.warm()
    ready = len(kernels._decide.signatures)  # type: ignore[attr-defined]
    policy = DecisionPolicy.from_dict(
        {"decline": 0.9, "review": 0.5, "cold_start": {"count": "c", "below": 3, "decline": 0.8, "review": 0.2}}
    )
    vectors = np.zeros((4, 3))
    for listed in (Entries().look_up([{}] * 4, [1] * 4).block, np.zeros(4, bool)):
        given = Evidence(
            np.full(4, 0.3), np.zeros(4, np.int8), np.zeros(4, np.int8), np.zeros(4), listed, listed, np.zeros(4, np.uint8), np.ones(4), vectors[:, 1], np.ones(4)
        )  # fmt: skip
        assert decide(given, policy).outcome.tolist() == [Outcome.REVIEW] * 4
    assert len(kernels._decide.signatures) == ready  # type: ignore[attr-defined]
