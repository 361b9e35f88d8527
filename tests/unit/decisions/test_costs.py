"""The choice of least cost against every other choice, and the queue kept to what analysts can do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.decisions.costs import Costs
from fraudloop.decisions.policy import Policy
from fraudloop.domain.outcome import Outcome

CHANCES = st.lists(st.floats(0, 1), min_size=1, max_size=20)
COSTS = st.builds(
    Costs,
    st.sampled_from([0.5, 3.0, 40.0]),
    st.sampled_from([0.0, 1.5, 10.0]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([2.0, 20.0]),
)


@given(CHANCES, st.floats(0, 10_000), COSTS, st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None)
def test_no_tiers_whatever_cost_less_on_average(chances: list[float], amount: float, costs: Costs, high: float, low: float) -> None:
    chance, amounts = np.array(chances), np.full(len(chances), amount)
    price = costs.expected(chance, amounts)
    row = {int(Outcome.APPROVE): 0, int(Outcome.REVIEW): 1, int(Outcome.DECLINE): 2}
    chosen = [price[row[int(tier)], at] for at, tier in enumerate(costs.tiers(chance, amounts))]
    other = [price[row[int(tier)], at] for at, tier in enumerate(Policy(max(high, low), min(high, low)).tiers(chance))]
    assert all(mine <= theirs for mine, theirs in zip(chosen, other, strict=True))


@given(st.floats(0.01, 10_000), COSTS)
def test_thresholds_of_an_amount_say_what_is_chosen(amount: float, costs: Costs) -> None:
    found = costs.thresholds(amount)
    grid = np.linspace(0, 1, 401)
    tiers = costs.tiers(grid, np.full(401, amount))
    for chance, tier in zip(grid, tiers, strict=True):
        if min(abs(chance - bound) for bound in found.values() if bound is not None) < 1e-9:
            continue  # on the edge, rounding decides
        review, decline = found["review"], found["decline"]
        assert decline is not None
        expected = Outcome.DECLINE if chance > decline else Outcome.REVIEW if review is not None and chance > review else Outcome.APPROVE
        assert tier == expected, (chance, found)


def test_a_small_payment_is_not_worth_a_look_and_a_large_one_is() -> None:
    chance, amount = np.full(3, 0.02), np.array([10.0, 100.0, np.nan])
    assert Costs().tiers(chance, amount).tolist() == [Outcome.APPROVE, Outcome.REVIEW, Outcome.REVIEW]
    assert Costs().tiers(np.array([math.nan]), np.array([5.0])).tolist() == [Outcome.REVIEW]


def test_a_scarce_queue_has_a_price_and_holds_what_deserves_it_most() -> None:
    rng = np.random.default_rng(7)
    chance, amount = rng.beta(1, 60, 20_000), rng.gamma(2, 60, 20_000)
    costs = Costs(false_alarm=30.0, review_capacity_a_day=50)
    priced = costs.within_capacity(chance, amount, days=10)
    reviewed = priced.tiers(chance, amount) == Outcome.REVIEW
    assert 400 <= np.count_nonzero(reviewed) <= 500
    # A cent less and the queue is too long: no lower price does.
    cheaper = replace(priced, review_price=priced.review_price - 0.02).tiers(chance, amount) == Outcome.REVIEW
    assert np.count_nonzero(cheaper) > 500
    free = np.count_nonzero(costs.tiers(chance, amount) == Outcome.REVIEW)
    assert free > 500
    assert replace(costs, review_capacity_a_day=free / 10).within_capacity(chance, amount, 10).review_price == 0


@pytest.mark.parametrize("capacity", [0.0, 3.0])
def test_the_smallest_capacity_is_kept_too(capacity: float) -> None:
    chance, amount = np.linspace(0, 1, 999), np.full(999, 300.0)
    priced = Costs(false_alarm=500.0, review_capacity_a_day=capacity).within_capacity(chance, amount, 1)
    assert np.count_nonzero(priced.tiers(chance, amount) == Outcome.REVIEW) <= capacity
