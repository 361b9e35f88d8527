"""The kernel's exact arithmetic against Python's integers: sums, one rounding of a quotient, one of a root."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from fraudloop.features import exact
from fraudloop.limits import AMOUNT_MINOR_MAX, EVENTS_PER_KEY_MAX, SCALE_MAX

INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
AMOUNTS = (
    st.integers(-AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX) | st.integers(-1_000_000, 1_000_000) | st.sampled_from([0, 1, -1, AMOUNT_MINOR_MAX])
)


def sized(bits: int) -> st.SearchStrategy[int]:
    """Positive integers of every length up to so many bits, and those beside powers of two."""
    return st.integers(1, bits).flatmap(
        lambda n: st.integers(2 ** (n - 1), 2**n - 1) | st.sampled_from([2**n - 1, 2 ** (n - 1), max(1, 2 ** (n - 1) - 1)])
    )


@numba.njit
def add_wide(lo: Any, hi: Any, v: Any) -> Any:
    return exact.add_wide(lo, hi, v)


@numba.njit
def square(v: Any) -> Any:
    return exact.square(v)


@numba.njit
def ratio(lo: Any, hi: Any, den: Any) -> Any:
    return exact.ratio(lo, hi, den)


@numba.njit
def deviation(n: Any, slo: Any, shi: Any, qlo: Any, qhi: Any, power: Any) -> Any:
    return exact.deviation(n, slo, shi, qlo, qhi, power)


@numba.njit
def deviation_wide(n: Any, slo: Any, shi: Any, qlo: Any, qhi: Any, power: Any) -> Any:
    return exact._deviation_wide(n, slo, shi, qlo, qhi, power)


def split(value: int) -> tuple[np.int64, np.int64]:
    """A signed 128-bit integer as two int64 words, low and high."""
    lo = value & (2**64 - 1)
    return np.int64(lo - 2**64 if lo >= 2**63 else lo), np.int64(value >> 64)


def joined(lo: int, hi: int) -> int:
    return (int(hi) << 64) + (int(lo) & (2**64 - 1))


@given(st.integers(-(2**100), 2**100), INT64)
@example(-1, 1)
@example(2**64 - 1, 1)
@example(-(2**64), -1)
def test_a_wide_sum_is_exact(total: int, v: int) -> None:
    assert joined(*add_wide(*split(total), np.int64(v))) == total + v
    assert joined(*add_wide(*add_wide(*split(total), np.int64(v)), np.int64(-v))) == total


@given(INT64)
@example(-(2**63) + 1)
@example(2**32)
def test_a_square_is_exact(v: int) -> None:
    assert joined(*square(np.int64(v))) == v * v


@given(sized(126), sized(61), st.booleans())
@example(1, 3, False)
@example(2**53 + 1, 1, False)
@example(2**126 - 1, 1, True)
@example(2**126 - 1, 2**62 - 1, False)
@example(1, 2**62 - 1, True)
def test_a_quotient_is_rounded_once(value: int, den: int, negative: bool) -> None:
    value = -value if negative else value
    given_ = ratio(*split(value), np.int64(den))
    assert given_ == value / den, "Python divides integers with one rounding, ties to even"


@given(st.integers(2**52, 2**53 - 1), st.integers(0, 20), sized(40), st.integers(-1, 1))
@example(2**53 - 1, 0, 1, 0)
@example(2**52, 3, 7, -1)
def test_ties_go_to_the_even_and_one_off_a_tie_does_not(m: int, up: int, den: int, off: int) -> None:
    """(2 m + 1) / 2 lies in the middle of two neighbouring floats; `off` moves the quotient by the least it can."""
    value = (2 * m + 1) * 2**up * den + off
    assume(value < 2**126)
    assert ratio(*split(value), np.int64(2 * den)) == value / (2 * den)
    assert ratio(*split(-value), np.int64(2 * den)) == -value / (2 * den)


@given(st.integers(0, 126), sized(60), st.integers(-2, 2))
def test_quotients_beside_powers_of_two_are_rounded_once(power: int, den: int, off: int) -> None:
    value = 2**power * den + off
    assume(0 < value < 2**126)
    assert ratio(*split(value), np.int64(den)) == value / den


def test_nothing_divided_is_plain_zero() -> None:
    zero = ratio(np.int64(0), np.int64(0), np.int64(7))
    assert zero == 0.0
    assert math.copysign(1.0, zero) == 1.0


def standard_deviation(values: list[int], power: int) -> float:
    n, s, q = len(values), sum(values), sum(v * v for v in values)
    return math.sqrt((n * q - s * s) / (n * (n - 1) * power * power))


@given(st.lists(AMOUNTS, min_size=2, max_size=30), st.integers(0, SCALE_MAX))
@example([AMOUNT_MINOR_MAX] * 30, 2)
@example([AMOUNT_MINOR_MAX, -AMOUNT_MINOR_MAX] * 15, 9)
@example([AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX - 1], 0)
@example([0, 0], 4)
def test_a_deviation_is_one_quotient_and_one_root(values: list[int], scale: int) -> None:
    n, s, q, power = len(values), sum(values), sum(v * v for v in values), 10**scale
    right = standard_deviation(values, power)
    arguments = (np.int64(n), *split(s), *split(q), np.int64(power))
    assert deviation(*arguments) == right
    assert deviation_wide(*arguments) == right, "the way for any size gives the same bits"


@given(st.integers(2, EVENTS_PER_KEY_MAX + 1), AMOUNTS, AMOUNTS, st.integers(1, EVENTS_PER_KEY_MAX), st.integers(0, SCALE_MAX))
@example(EVENTS_PER_KEY_MAX + 1, AMOUNT_MINOR_MAX, -AMOUNT_MINOR_MAX, EVENTS_PER_KEY_MAX // 2, 2)
@example(EVENTS_PER_KEY_MAX + 1, AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX, 1, 9)
def test_a_deviation_of_a_full_window_is_right(n: int, a: int, b: int, times_b: int, scale: int) -> None:
    """As many numbers as a window may hold, all of them a but `times_b` of them b."""
    times_b = min(times_b, n - 1)
    s, q = (n - times_b) * a + times_b * b, (n - times_b) * a * a + times_b * b * b
    power = 10**scale
    right = math.sqrt((n * q - s * s) / (n * (n - 1) * power * power))
    arguments = (np.int64(n), *split(s), *split(q), np.int64(power))
    assert deviation(*arguments) == right
    assert deviation_wide(*arguments) == right


@given(sized(100), st.integers(1, 2**40), st.integers(2, 2**20), st.integers(0, SCALE_MAX), st.booleans())
def test_the_wide_way_is_right_beyond_all_that_comes(spread: int, mean: int, n: int, scale: int, negative: bool) -> None:
    """Sums of n numbers with n Q - S^2 = n * spread, of any size: more than the short ways take."""
    s = mean * n * (-1 if negative else 1)
    q = mean * mean * n + spread
    assume(q < 2**127)
    power = 10**scale
    right = math.sqrt((n * q - s * s) / (n * (n - 1) * power * power))
    assert deviation_wide(np.int64(n), *split(s), *split(q), np.int64(power)) == right
    assert deviation(np.int64(n), *split(s), *split(q), np.int64(power)) == right


@pytest.mark.parametrize("n", [2, 65_536, 65_537, 1_048_575, 1_048_576])
@pytest.mark.parametrize("s", [2**31 - 1, 2**31, -(2**31) + 1, -(2**31), 2**63 - 1, 2**63, -(2**63), -(2**63) - 1])
def test_both_sides_of_where_the_ways_part_agree(n: int, s: int) -> None:
    for q in (s * s // n + 1, s * s // n + 2**20, max(s * s // n + 1, 2**53 // n), 2**104 + s * s // n):
        right = math.sqrt((n * q - s * s) / (n * (n - 1) * 10_000))
        assert deviation(np.int64(n), *split(s), *split(q), np.int64(100)) == right, (q,)
