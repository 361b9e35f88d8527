"""Intervals of ranking metrics by drawing whole days anew, quick enough for many models and a thousand rounds.

The transactions of a day share its fraud schemes, so days are drawn, not transactions (block bootstrap; Efron &
Tibshirani, 1993, chapter 8). A model's ranking is counted once by day; each round is then a product with the days' draws.
It measures what other days would have changed, not what another training would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fraudloop.training.metrics import CARD_PRECISION_K, Bools, Floats, Ints, card_precision_by_day

#: The metrics it gives, by name; the first is the one compared by when nobody says otherwise.
METRICS: Final = ("average_precision", "auc_roc", "card_precision_100", "recall_at_90_precision")

#: The precision of `recall_at_90_precision`.
_PRECISION = 0.9


@dataclass(frozen=True, slots=True)
class DayCounts:
    """The ranking of one set of scored rows, counted by day. At each different score that a fraud has, from the highest:
    `hits`, `alerts`: frauds, rows with at least this score. `own`, `tied`: frauds, genuine rows with exactly it. Each
    float64 [scores, days]. frauds, genuine: float64 [days]. card_precision: float64 [days], walked day by day as it was.
    """

    hits: Floats
    alerts: Floats
    own: Floats
    tied: Floats
    frauds: Floats
    genuine: Floats
    card_precision: Floats

    @staticmethod
    def of(y: Bools, score: Floats, day: Ints, card: Ints) -> DayCounts:
        """y: bool [n]. score: float64 [n], higher is more suspicious. day, card: int64 [n]."""
        days, index = np.unique(day, return_inverse=True)
        order = np.argsort(-score, kind="stable")
        ranked, fraud = score[order], y[order]
        belongs = (index[order][:, None] == np.arange(len(days))).astype(np.float64)
        alerts, hits = np.cumsum(belongs, axis=0), np.cumsum(belongs * fraud[:, None], axis=0)
        last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
        alerts, hits = alerts[last], hits[last]
        own, rows = np.diff(hits, axis=0, prepend=0.0), np.diff(alerts, axis=0, prepend=0.0)
        at = own.sum(axis=1) > 0
        frauds = (belongs * fraud[:, None]).sum(axis=0)
        return DayCounts(
            hits[at], alerts[at], own[at], (rows - own)[at], frauds, belongs.sum(axis=0) - frauds,
            card_precision_by_day(y, score, day, card, CARD_PRECISION_K),
        )  # fmt: skip

    def metric(self, name: str, draws: Floats) -> Floats:
        """A metric with each day counted as often as it was drawn, float64 [rounds]; NaN where it is not defined.

        draws: float64 [rounds, days]; a row of ones gives the metric itself, as `training.metrics` defines it.
        """
        w = draws.T
        with np.errstate(divide="ignore", invalid="ignore"):
            if name == "card_precision_100":
                return np.asarray(self.card_precision @ w / w.sum(axis=0), np.float64)
            total = self.frauds @ w
            hits, alerts = self.hits @ w, self.alerts @ w
            if name == "average_precision":
                precision = np.where(alerts > 0, hits / np.maximum(alerts, 1.0), 0.0)
                return np.asarray(np.where(total > 0, (self.own @ w * precision).sum(axis=0) / total, np.nan), np.float64)
            if name == "auc_roc":
                genuine = self.genuine @ w
                below = genuine - (alerts - hits) + 0.5 * (self.tied @ w)
                pairs = total * genuine
                return np.asarray(np.where(pairs > 0, (self.own @ w * below).sum(axis=0) / pairs, np.nan), np.float64)
            assert name == "recall_at_90_precision", name
            reached = np.where((hits >= _PRECISION * alerts - 1e-9) & (alerts > 0), hits, 0.0)
            best = reached.max(axis=0) if len(reached) else np.zeros(len(draws))
            return np.asarray(np.where(total > 0, best / total, np.nan), np.float64)


def draw_days(days: int, rounds: int, random: np.random.Generator) -> Floats:
    """How often each of `days` days is drawn in each round, float64 [rounds, days]; rows add up to `days`."""
    return random.multinomial(days, np.full(days, 1.0 / days), size=rounds).astype(np.float64)


def interval(values: Floats, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap values; NaN where there is none."""
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_of_known(values: Sequence[float]) -> float:
    """The mean over the folds on which a metric is defined; NaN where it is on none.

    >>> mean_of_known([0.5, float("nan"), 1.0])
    0.75
    """
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
