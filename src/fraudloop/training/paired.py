"""Two models on the same rows: how far apart they are in average precision, and how far chance alone would put them.

The transactions of one card (or day) are not independent, so whole cards (or days) are drawn with replacement, the same
for both models (paired block bootstrap; Efron & Tibshirani, 1993, chapter 8). Arrays in, numbers out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraudloop.training.metrics import Bools, Floats, Ints, Scored, average_precision


@dataclass(frozen=True, slots=True)
class Difference:
    """candidate - champion in average precision. low, high: the percentile interval of `level`; NaN where there is none.
    worse: the share of draws in which the candidate was worse. by: what was drawn; blocks: how many there are."""

    difference: float
    low: float
    high: float
    worse: float
    level: float
    rounds: int
    by: str
    blocks: int


class _Ranking:
    """Average precision of one ranking under weights by block, the sorting done once."""

    def __init__(self, y: Bools, score: Floats, block: Ints) -> None:
        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        self._fraud = np.flatnonzero(y[order])
        # For each fraud the last row that has its score: thresholds are scores, not rows.
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
        self._end = ends[np.searchsorted(ends, self._fraud)]
        self._block = block[order]
        self._frauds_by_end = np.searchsorted(self._fraud, self._end, side="right")

    def average_precision(self, weight: Floats) -> float:
        """weight: float64 [blocks]. As `metrics.average_precision` with each row weighted by its block; NaN without fraud."""
        alerts = np.cumsum(weight[self._block])
        own = weight[self._block[self._fraud]]
        hits = np.concatenate([[0.0], np.cumsum(own)])[self._frauds_by_end]
        total = own.sum()
        if total <= 0:
            return float("nan")
        # A fraud of weight 0 adds nothing; one of more has at least itself above its threshold.
        return float(np.sum(own * hits / np.maximum(alerts[self._end], 1.0)) / total)


def paired_difference(
    candidate: Scored, champion: Scored, *, by: str = "card", rounds: int = 400, seed: int = 0, level: float = 0.9
) -> Difference:
    """Average precision of the candidate less that of the champion on the same rows, with its interval.

    candidate, champion: equal but for the score. by: `card` or `day`.

    >>> rows = np.arange(4)
    >>> def scored(score): return Scored(np.array([True, False, True, False]), np.array(score), rows, rows, rows * 1.0, rows >= 0)
    >>> found = paired_difference(scored([0.9, 0.1, 0.8, 0.2]), scored([0.1, 0.9, 0.2, 0.8]))
    >>> round(found.difference, 4), found.worse
    (0.5833, 0.0)
    """
    y = candidate.y
    blocks, index = np.unique(candidate.card if by == "card" else candidate.day, return_inverse=True)
    mine, theirs = _Ranking(y, candidate.score, index), _Ranking(y, champion.score, index)
    random = np.random.default_rng(seed)
    values = np.empty(rounds)
    for at in range(rounds):
        weight = np.bincount(random.integers(0, len(blocks), len(blocks)), minlength=len(blocks)).astype(np.float64)
        values[at] = mine.average_precision(weight) - theirs.average_precision(weight)
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if len(known) else (np.nan, np.nan)
    point = average_precision(y, candidate.score) - average_precision(y, champion.score)
    return Difference(
        point, float(low), float(high), float(np.mean(known < 0)) if len(known) else float("nan"), level, rounds, by, len(blocks)
    )
