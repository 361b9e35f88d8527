"""The signed logarithm by + − × ÷ against the library's, at the ends and in any batch."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.scoring.logarithm import signed_log


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_it_is_the_logarithm_of_one_more_with_the_sign_of_the_value(value: float) -> None:
    found = float(signed_log(np.array([value]))[0])
    assert abs(found - math.copysign(math.log1p(abs(value)), value)) <= 1e-12 * abs(found) + 1e-15


@given(st.floats(0, 1e300), st.floats(0, 1e300))
def test_a_larger_value_never_has_a_smaller_logarithm(a: float, b: float) -> None:
    low, high = signed_log(np.array(sorted((a, b)))).tolist()
    assert low <= high + 1e-15


def test_missing_stays_missing_and_the_sign_of_zero_too() -> None:
    found = signed_log(np.array([np.nan, 0.0, -0.0]))
    assert math.isnan(found[0])
    assert [math.copysign(1, value) for value in found[1:].tolist()] == [1, -1]


def test_a_value_has_the_same_bits_in_a_table_of_any_shape() -> None:
    values = np.random.default_rng(0).standard_normal((257, 3)) * 1e4
    assert signed_log(values)[13:14, 1].tobytes() == signed_log(values[13, 1:2]).tobytes()
