"""Suggested thresholds from costs and from how much the analysts can look at, on scores of days before the test."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.policy import Policy
from fraudloop.training.metrics import Bools, CostMatrix, Floats, Ints, ReviewBudget


def suggest(y: Bools, score: Floats, amount: Floats, day: Ints, costs: CostMatrix, budget: ReviewBudget | None) -> dict[str, Any]:
    """`{review, decline, challenge, basis, ...}`; the tiers are `score > threshold`.

    decline: where declining all above costs least, compared with reviewing it. review: where costs are least given
    that, but no lower than the budget allows on the mean day. Without any fraud the policy's own 0.5 and 0.9.
    """
    plain = Policy()
    if not y.any():
        return {**plain.to_dict(), "basis": "no fraud on the validation days: the default tiers"}
    order = np.argsort(-score, kind="stable")
    ranked, fraud, money = score[order], y[order], amount[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    alerts = last + 1
    hits = np.cumsum(fraud)[last]
    caught = np.cumsum(np.where(fraud, money, 0.0))[last]
    # Declining the first k instead of reviewing them: saves a review each, costs the genuine ones among them.
    extra = np.concatenate([[0.0], costs.false_decline * (alerts - hits) - costs.review * alerts])
    decline = _threshold(ranked[last], int(np.argmin(extra)))
    # Alerting on the first k: costs a review each, saves the fraud among them.
    cost = np.concatenate([[0.0], costs.review * alerts - costs.missed * caught])
    by_cost = _threshold(ranked[last], int(np.argmin(cost)))
    review = min(by_cost, decline)
    by_budget = None
    if budget is not None:
        _, counts = np.unique(day, return_counts=True)
        allowed = sum(budget.of(int(count)) for count in counts)
        within = np.flatnonzero(alerts <= allowed)
        by_budget = _threshold(ranked[last], int(within[-1]) + 1 if len(within) else 0)
        review = min(max(review, by_budget), decline)
    return {
        "decline": decline,
        "review": review,
        "challenge": None,
        "basis": "least cost on the validation days" + (f", reviews within {budget}" if budget is not None else ""),
        "review_by_cost": by_cost,
        "review_by_budget": by_budget,
        "costs": {"missed": costs.missed, "review": costs.review, "false_decline": costs.false_decline},
        "validation_days": len(np.unique(day)),
    }


def _threshold(scores: NDArray[np.float64], alerts: int) -> float:
    """Halfway between the last score that is above and the first that is not; `scores` falls."""
    if alerts == 0:
        return float(min(1.0, (scores[0] + 1.0) / 2.0))
    if alerts == len(scores):
        return float(scores[-1] / 2.0)
    return float((scores[alerts - 1] + scores[alerts]) / 2.0)


def cost_curve(y: Bools, score: Floats, amount: Floats, costs: CostMatrix, points: int = 200) -> dict[str, list[float]]:
    """Cost of reviewing all above a threshold, by threshold, for the plot: thresholds at even shares of the scores' log-odds."""
    order = np.argsort(-score, kind="stable")
    ranked, caught = score[order], np.concatenate([[0.0], np.cumsum(np.where(y[order], amount[order], 0.0))])
    lost = float(np.sum(amount[y]))
    odds = np.linspace(-8.0, 6.0, points)
    thresholds = 1.0 / (1.0 + np.exp(-odds))
    alerts = np.searchsorted(-ranked, -thresholds, side="left")
    missed = costs.missed * (lost - caught[alerts])
    reviews = costs.review * alerts
    return {"threshold": thresholds.tolist(), "missed": missed.tolist(), "review": reviews.tolist(), "total": (missed + reviews).tolist()}
