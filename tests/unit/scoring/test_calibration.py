"""The calibration curve: strictly rising, inside (0, 1), the same bits in any batch, through JSON, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.errors import BundleError
from fraudloop.scoring.calibration import Calibration

CURVE = Calibration(np.array([-4.0, -1.0, 0.5, 3.0]), np.array([0.001, 0.02, 0.3, 0.97]))


def test_it_goes_through_its_knots_and_straight_between_them() -> None:
    np.testing.assert_allclose(CURVE.apply(CURVE.margins), CURVE.chances, rtol=0, atol=1e-16)
    assert CURVE.apply(np.array([-0.25]))[0] == pytest.approx((0.02 + 0.3) / 2)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_a_higher_margin_never_scores_lower_and_no_score_leaves_the_open_interval(margins: list[float]) -> None:
    scores = CURVE.apply(np.array(sorted(margins)))
    assert (np.diff(scores) >= 0).all()
    assert ((scores > 0) & (scores < 1)).all()


def test_different_margins_keep_different_scores_far_beyond_the_knots() -> None:
    margins = np.linspace(-60.0, 40.0, 100_001)
    assert (np.diff(CURVE.apply(margins)) > 0).all()


def test_a_row_has_the_same_bits_in_every_batch() -> None:
    margins = np.random.default_rng(0).normal(0, 4, 2_000)
    whole = CURVE.apply(margins)
    for size in (1, 7, 32, 1_000):
        parts = np.concatenate([CURVE.apply(margins[i : i + size]) for i in range(0, len(margins), size)])
        assert parts.tobytes() == whole.tobytes()


def test_a_missing_margin_stays_missing() -> None:
    assert math.isnan(CURVE.apply(np.array([math.nan]))[0])


def test_it_survives_the_way_through_json_to_the_last_bit() -> None:
    again = Calibration.from_dict(json.loads(json.dumps(CURVE.to_dict())))
    margins = np.linspace(-9, 9, 999)
    assert again.apply(margins).tobytes() == CURVE.apply(margins).tobytes()


@pytest.mark.parametrize(
    ("margins", "chances"),
    [([0], [0.5]), ([0, 0], [0.1, 0.2]), ([0, 1], [0.2, 0.2]), ([1, 0], [0.1, 0.2]), ([0, 1], [0.0, 0.5]), ([0, 1], [0.5, 1.0]), ([0, 1, 2], [0.1, 0.2]),
     ([0, math.nan], [0.1, 0.2]), ("ab", [0.1, 0.2])],
)  # fmt: skip
def test_a_curve_that_does_not_rise_is_refused(margins: Any, chances: Any) -> None:
    with pytest.raises(BundleError, match="calibration"):
        Calibration.from_dict({"method": "given", "margins": margins, "chances": chances})
