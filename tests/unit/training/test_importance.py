"""Importance: how far an input moves a score, whatever the algorithm and however its values are encoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from fraudloop.scoring.calibration import Calibration
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Member, Model
from fraudloop.training.importance import ROWS, importance
from fraudloop.training.preprocessing import PLANS, fit_preprocessing

FLAT = Calibration(np.array([-1.0, 1.0]), np.array([0.25, 0.75]))


@dataclass(frozen=True)
class Weights:
    """margin = weights · columns."""

    weights: NDArray[np.float64]

    def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.sum(x * self.weights, axis=1))


def inputs(n: int = 3_000) -> Inputs:
    random = np.random.default_rng(1)
    values = np.stack([random.normal(size=n), random.normal(size=n), np.full(n, 7.0)], axis=1)
    return Inputs(("strong", "weak", "constant"), values, {"country": random.choice([f"c{i}" for i in range(40)], n).tolist()})


def model(rows: Inputs) -> Model:
    """Linear, with 40 columns of a country that each weigh a tenth of what the strong number does."""
    steps = fit_preprocessing(rows, PLANS["linear"])
    sign = np.random.default_rng(2).choice([-1.0, 1.0], len(steps.outputs))
    weights = {"strong": 1.0, "weak": 0.2, "constant": 3.0}
    by_output = [weights.get(step.column, 0.1) for step in steps.steps for _ in step.outputs]
    return Model((Member("m", Weights(np.array(by_output) * sign), "linear"),), {"linear": steps}, FLAT)


def test_many_levels_of_a_category_do_not_add_up_to_a_large_share() -> None:
    rows = inputs()
    shares = {row["column"]: row["share"] for row in importance(model(rows), rows)}
    assert sum(shares.values()) == pytest.approx(1.0)
    assert next(iter(shares)) == "strong"
    assert "constant" not in shares  # no model reads it
    # A shuffled normal number moves by 2 / sqrt(pi) on average, a level of +-0.1 by 0.1.
    assert shares["strong"] / shares["country"] == pytest.approx(2 / np.sqrt(np.pi) / 0.1, rel=0.15)
    assert shares["strong"] / shares["weak"] == pytest.approx(5.0, rel=0.1)


def test_the_same_rows_give_the_same_shares_and_few_are_enough() -> None:
    rows = inputs()
    assert importance(model(rows), rows, seed=4) == importance(model(rows), rows, seed=4)
    calls: list[int] = []

    class Counting(Weights):
        def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
            calls.append(len(x))
            return super().margins(x)

    made = model(rows)
    scorer = made.members[0].scorer
    assert isinstance(scorer, Weights)
    importance(Model((Member("m", Counting(scorer.weights), "linear"),), made.preprocessings, FLAT), rows)
    assert calls == [ROWS] * 4


def test_without_rows_nothing_moves() -> None:
    rows = inputs()
    assert {row["share"] for row in importance(model(rows), rows[:0])} == {0.0}
