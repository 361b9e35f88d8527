"""Fitting the calibration: true chances come back, order is kept, little fraud and odd cases do no harm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.training.calibration import fit_calibration
from fraudloop.training.metrics import average_precision, reliability


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Margins that are twice too steep and shifted, and truths drawn by the right chances."""
    random = np.random.default_rng(seed)
    logit = random.normal(-4, 2, n)
    return 2.0 * logit + 3.0, random.random(n) < 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_wrong_margins_become_right_chances_on_rows_not_seen(method: str) -> None:
    curve = fit_calibration(*drawn(60_000), method)
    margins, y = drawn(60_000, seed=1)
    raw = 1 / (1 + np.exp(-margins))
    assert reliability(y, raw).error > 0.02
    assert reliability(y, curve.apply(margins)).error < 0.007  # of which 0.003 is the noise of so few frauds
    assert curve.method == method


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_average_precision_is_not_hurt(method: str) -> None:
    margins, y = drawn(20_000)
    scores = fit_calibration(margins, y, method).apply(margins)
    assert average_precision(y, scores) == average_precision(y, margins)


def test_little_fraud_takes_the_two_parameter_curve() -> None:
    margins, y = drawn(1_000)
    assert 0 < y.sum() < 100
    assert fit_calibration(margins, y).method == "platt"


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(1, 30))
def test_any_rows_give_a_curve_that_rises(seed: int, n: int, values: int) -> None:
    random = np.random.default_rng(seed)
    margins = random.integers(0, values, n).astype(np.float64)
    for method in ("isotonic", "platt"):
        curve = fit_calibration(margins, random.random(n) < random.random(), method)
        assert (np.diff(curve.apply(np.linspace(-50, 50, 501))) > 0).all()


def test_many_ties_and_many_frauds_stay_together() -> None:
    random = np.random.default_rng(0)
    margins = random.integers(0, 4, 5_000).astype(np.float64)
    y = random.random(5_000) < np.array([0.02, 0.1, 0.3, 0.8])[margins.astype(int)]
    np.testing.assert_allclose(fit_calibration(margins, y).apply(np.arange(4.0)), [y[margins == k].mean() for k in range(4)], atol=0.02)


def test_no_rows_no_fraud_or_one_margin_give_the_plain_curve() -> None:
    for margins, y in ((np.zeros(0), np.zeros(0, bool)), (np.arange(9.0), np.zeros(9, bool)), (np.ones(9), np.arange(9) < 3)):
        assert fit_calibration(margins, y).apply(np.array([0.0]))[0] == pytest.approx(0.5)
