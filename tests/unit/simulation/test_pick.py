"""Weighted choice within groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.simulation.pick import Picker, largest_remainder


def test_items_are_drawn_by_weight_within_their_group_alone() -> None:
    rng = np.random.default_rng(5)
    group = np.array([0, 1, 0, 1, 2, -1])
    weight = np.array([1.0, 2.0, 3.0, 2.0, 5.0, 100.0])
    picker = Picker.of(group, weight, 4)
    asked = np.repeat([0, 1, 2], 20_000)
    drawn = picker.draw(asked, rng.random(len(asked)))
    assert set(drawn[asked == 0]) == {0, 2} and set(drawn[asked == 1]) == {1, 3} and set(drawn[asked == 2]) == {4}
    assert (drawn[asked == 0] == 2).mean() == pytest.approx(0.75, abs=0.015)
    assert picker.has(np.array([0, 3])).tolist() == [True, False]
    assert picker.weight().tolist() == [4.0, 4.0, 5.0, 0.0]


def test_the_ends_of_the_uniform_range_stay_in_the_group() -> None:
    picker = Picker.of(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.3]), 2)
    almost_one = np.nextafter(1.0, 0.0)
    assert picker.draw(np.array([0, 0, 1, 1]), np.array([0.0, almost_one, 0.0, almost_one])).tolist() == [0, 1, 2, 2]


@given(st.integers(0, 10_000), st.lists(st.floats(0.001, 1000), min_size=1, max_size=30))
def test_shares_become_whole_numbers_that_sum_up_and_miss_by_less_than_one(total: int, shares: list[float]) -> None:
    exact = total * np.array(shares) / np.sum(shares)
    whole = largest_remainder(total, np.array(shares))
    assert whole.sum() == total
    assert np.all(np.abs(whole - exact) < 1 + 1e-6)
