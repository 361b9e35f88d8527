"""Tiers of a score: the edges, the order, and what is no score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.decisions.policy import Policy
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError


def test_a_score_at_a_threshold_stays_below_it() -> None:
    policy = Policy(decline=0.9, review=0.5, challenge=0.3)
    scores = [0.3, math.nextafter(0.3, 1), 0.5, math.nextafter(0.5, 1), 0.9, math.nextafter(0.9, 1)]
    assert [policy.tier(s).text for s in scores] == ["approve", "challenge", "challenge", "review", "review", "decline"]


def test_the_default_tiers_decline_above_90_percent_and_review_above_50() -> None:
    assert (Policy().decline, Policy().review, Policy().challenge) == (0.9, 0.5, None)


def test_no_score_is_reviewed() -> None:
    assert Policy().tier(None) is Outcome.REVIEW
    assert Policy().tier(math.nan) is Outcome.REVIEW


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.lists(st.floats(0, 1), max_size=20))
def test_a_higher_score_never_gets_a_milder_outcome(thresholds: list[float], scores: list[float]) -> None:
    challenge, review, decline = sorted(thresholds)
    tiers = Policy(decline, review, challenge).tiers(np.array(sorted(scores)))
    assert (np.diff(tiers) >= 0).all()


@pytest.mark.parametrize(("decline", "review"), [(0.5, 0.6), (1.1, 0.5), (0.9, -0.1), (math.nan, 0.5)])
def test_thresholds_out_of_order_or_range_are_refused(decline: float, review: float) -> None:
    with pytest.raises(InputError, match="policy"):
        Policy(decline, review)


def test_a_policy_survives_the_way_through_plain_data() -> None:
    policy = Policy(0.8, 0.4, 0.2)
    assert Policy.from_dict(policy.to_dict()) == policy
    with pytest.raises(InputError, match="decline"):
        Policy.from_dict({"review": 0.5})
