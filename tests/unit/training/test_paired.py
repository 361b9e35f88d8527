"""Two models on the same rows: the quick weighted ranking equals the plain one, and pairing takes out what both share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.training.metrics import Scored, average_precision
from fraudloop.training.paired import _Ranking, paired_difference


def scored(y: np.ndarray, score: np.ndarray, card: np.ndarray) -> Scored:
    rows = np.arange(len(y))
    return Scored(y, score, rows // 10, card, rows.astype(np.float64), rows >= 0)


def world(seed: int = 1, rows: int = 4_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, cards and a good score; one fraud in twenty."""
    random = np.random.default_rng(seed)
    y = random.random(rows) < 0.05
    return y, random.integers(0, 300, rows), random.normal(size=rows) + 2.0 * y


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30), st.data())
def test_the_weighted_ranking_equals_repeating_the_rows(rows: list[tuple[bool, int, int]], data: st.DataObject) -> None:
    y = np.array([row[0] for row in rows])
    score, block = np.array([float(row[1]) for row in rows]), np.array([row[2] for row in rows])
    weight = np.array(data.draw(st.lists(st.integers(0, 3), min_size=4, max_size=4)))
    repeated = np.repeat(np.arange(len(rows)), weight[block])
    found = _Ranking(y, score, block).average_precision(weight.astype(np.float64))
    np.testing.assert_allclose(found, average_precision(y[repeated], score[repeated]) if len(repeated) else np.nan, rtol=1e-12)


def test_a_worse_model_is_found_worse_and_an_equal_one_is_not() -> None:
    y, card, score = world()
    noise = np.random.default_rng(2).normal(size=len(y))
    good, same, bad = scored(y, score, card), scored(y, score * 2.0, card), scored(y, score + noise, card)
    worse = paired_difference(bad, good)
    assert worse.high < 0
    assert worse.worse > 0.99
    equal = paired_difference(same, good)
    assert (equal.difference, equal.low, equal.high) == (0.0, 0.0, 0.0)
    assert paired_difference(good, bad).low > 0


def test_pairing_gives_a_narrower_interval_than_the_rows_have_alone() -> None:
    y, card, score = world()
    near = score + 0.05 * np.random.default_rng(3).normal(size=len(y))
    found = paired_difference(scored(y, near, card), scored(y, score, card))
    random = np.random.default_rng(0)
    ranking = _Ranking(y, score, np.unique(card, return_inverse=True)[1])
    draws = [np.bincount(random.integers(0, 300, 300), minlength=300).astype(np.float64) for _ in range(200)]
    alone = [ranking.average_precision(weight) for weight in draws]
    assert found.high - found.low < (np.quantile(alone, 0.95) - np.quantile(alone, 0.05)) / 2


@pytest.mark.parametrize("by", ["card", "day"])
def test_the_same_seed_gives_the_same_interval(by: str) -> None:
    y, card, score = world()
    pair = scored(y, score[::-1].copy(), card), scored(y, score, card)
    first, again = (paired_difference(*pair, by=by, rounds=50) for _ in range(2))
    assert first == again
    assert (first.by, first.blocks) == (by, 300 if by == "card" else 400)


def test_without_fraud_there_is_no_difference_to_speak_of() -> None:
    _, card, score = world()
    none = np.zeros(len(score), bool)
    found = paired_difference(scored(none, score, card), scored(none, score, card), rounds=5)
    assert np.isnan([found.difference, found.low, found.worse]).all()
