"""Metrics by drawn days equal the plain metrics on the drawn rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.training.day_bootstrap import METRICS, DayCounts, draw_days, interval
from fraudloop.training.metrics import auc_roc, average_precision, card_precision, recall_at_precision


@given(seed=st.integers(0, 10_000), ties=st.booleans(), frauds=st.floats(0, 1))
def test_a_metric_of_drawn_days_is_the_metric_of_the_rows_drawn(seed: int, ties: bool, frauds: float) -> None:
    random = np.random.default_rng(seed)
    n = 80
    y = random.random(n) < frauds
    score = np.asarray(np.round(random.random(n) + 0.3 * y, 1 if ties else 9), np.float64)
    day, card = np.sort(random.integers(0, 5, n)), random.integers(0, 20, n)
    counts = DayCounts.of(y, score, day, card)
    draws = draw_days(len(np.unique(day)), 6, random)
    for number, draw in enumerate(draws):
        rows = np.concatenate([np.flatnonzero(day == d) for d, times in zip(np.unique(day), draw, strict=True) for _ in range(int(times))])
        expected = {
            "average_precision": average_precision(y[rows], score[rows]),
            "auc_roc": auc_roc(y[rows], score[rows]),
            "recall_at_90_precision": recall_at_precision(y[rows], score[rows]),
        }
        for name, value in expected.items():
            assert counts.metric(name, draws)[number] == pytest.approx(value, nan_ok=True), name
    ones = np.ones((1, draws.shape[1]))
    assert counts.metric("card_precision_100", ones)[0] == pytest.approx(card_precision(y, score, day, card))


def test_draws_add_up_to_the_days() -> None:
    draws = draw_days(7, 50, np.random.default_rng(0))
    assert draws.shape == (50, 7) and (draws.sum(axis=1) == 7).all() and draws.std() > 0


def test_an_interval_holds_the_middle_and_ignores_what_is_not_defined() -> None:
    assert interval(np.append(np.arange(101.0), np.nan)) == pytest.approx((2.5, 97.5))
    assert all(np.isnan(end) for end in interval(np.array([np.nan])))


def test_the_metrics_are_those_of_the_module() -> None:
    counts = DayCounts.of(np.array([True, False]), np.array([0.9, 0.1]), np.array([1, 1]), np.array([1, 2]))
    assert [float(counts.metric(name, np.ones((1, 1)))[0]) for name in METRICS] == [1.0, 1.0, 0.01, 1.0]
