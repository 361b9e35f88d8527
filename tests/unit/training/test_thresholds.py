"""Suggested thresholds against a search over every threshold, and the review budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.decisions.policy import Policy
from fraudloop.training.metrics import CostMatrix, ReviewBudget
from fraudloop.training.thresholds import cost_curve, suggest

COSTS = CostMatrix(missed=1.0, review=5.0, false_decline=50.0)


@given(st.integers(0, 2**32 - 1), st.integers(5, 60))
def test_no_other_pair_of_thresholds_costs_less(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    score = random.integers(1, 15, n) / 15.0
    y, amount = random.random(n) < score, random.integers(0, 200, n).astype(np.float64)
    if not y.any():
        return
    found = suggest(y, score, amount, np.zeros(n, np.int64), COSTS, None)
    edges = [0.0, *sorted(set(score.tolist()))]
    best_review = min(COSTS.cost(y, amount, score > r, np.zeros(n, bool)) for r in edges)
    assert COSTS.cost(y, amount, score > found["review_by_cost"], np.zeros(n, bool)) == pytest.approx(best_review)

    def extra(threshold: float) -> float:
        above = score > threshold
        return 50.0 * float((above & ~y).sum()) - 5.0 * float(above.sum())

    assert extra(found["decline"]) == pytest.approx(min(0.0, *(extra(d) for d in edges)))
    assert found["review"] <= found["decline"]
    Policy.from_dict(found)


def test_the_budget_raises_the_review_threshold() -> None:
    random = np.random.default_rng(0)
    score = random.random(1_000)
    y, amount, day = random.random(1_000) < score, np.full(1_000, 100.0), np.arange(1_000) // 100
    free = suggest(y, score, amount, day, COSTS, None)
    tight = suggest(y, score, amount, day, COSTS, ReviewBudget(per_day=5, share=None))
    assert (score > free["review"]).sum() > 500
    assert (score > tight["review_by_budget"]).sum() == 50
    assert tight["review"] == min(tight["review_by_budget"], tight["decline"])


def test_without_fraud_the_default_tiers_are_suggested() -> None:
    found = suggest(np.zeros(3, bool), np.array([0.1, 0.2, 0.3]), np.ones(3), np.zeros(3, np.int64), COSTS, ReviewBudget())
    assert Policy.from_dict(found) == Policy()


def test_the_cost_curve_is_the_cost_at_each_threshold() -> None:
    random = np.random.default_rng(0)
    score = random.random(500)
    y, amount = random.random(500) < score, random.exponential(30, 500)
    curve = cost_curve(y, score, amount, COSTS, points=20)
    for threshold, total in zip(curve["threshold"], curve["total"], strict=True):
        assert total == pytest.approx(COSTS.cost(y, amount, score >= threshold, np.zeros(500, bool)))
