"""The reachable average precision is the expectation over random orders within the strata."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fraudloop.simulation.bound import expected_average_precision, expected_recall_at_precision


def average_precision(ranked: np.ndarray) -> float:
    """Mean of the precision at the rank of each positive."""
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].mean())


@pytest.mark.parametrize(("rows", "positives"), [([5, 20], [4, 3]), ([1, 1, 30], [1, 0, 2]), ([10], [3]), ([4, 6, 90], [0, 6, 9])])
def test_it_equals_the_mean_over_many_random_orders(rows: list[int], positives: list[int]) -> None:
    rng = np.random.default_rng(1)
    order = np.argsort(-np.array(positives) / np.array(rows), kind="stable")
    samples = []
    for _ in range(20_000):
        parts = [rng.permutation(np.arange(rows[s]) < positives[s]) for s in order]
        samples.append(average_precision(np.concatenate(parts)))
    assert expected_average_precision(np.array(rows), np.array(positives)) == pytest.approx(np.mean(samples), abs=0.004)


def test_no_other_order_of_the_strata_is_better() -> None:
    rows, positives = np.array([10, 40, 200]), np.array([7, 10, 12])
    best = expected_average_precision(rows, positives)
    rng = np.random.default_rng(2)
    for order in ([1, 0, 2], [2, 1, 0], [0, 2, 1]):
        samples = [
            average_precision(np.concatenate([rng.permutation(np.arange(rows[s]) < positives[s]) for s in order])) for _ in range(400)
        ]
        assert np.mean(samples) < best


def test_without_a_positive_there_is_nothing_to_reach() -> None:
    assert math.isnan(expected_average_precision(np.array([5]), np.array([0])))


@pytest.mark.parametrize(("rows", "positives"), [([500, 20_000], [400, 300]), ([100, 100, 3_000], [100, 80, 200]), ([4_000], [3_800])])
def test_the_recall_at_a_precision_is_that_of_a_judge_who_knows_the_strata(rows: list[int], positives: list[int]) -> None:
    """Many rows, so that chance within a stratum hardly moves the curve; the largest recall of one random order is a little above."""
    rng = np.random.default_rng(3)
    order = np.argsort(-np.array(positives) / np.array(rows), kind="stable")
    ranked = np.concatenate([rng.permutation(np.arange(rows[s]) < positives[s]) for s in order])
    hits = np.cumsum(ranked)
    reached = (hits / hits[-1])[hits / np.arange(1, len(ranked) + 1) >= 0.9]
    expected = float(reached.max()) if len(reached) else 0.0
    assert expected_recall_at_precision(np.array(rows), np.array(positives)) == pytest.approx(expected, abs=0.03)
