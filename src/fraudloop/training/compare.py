"""Algorithms and strategies against imbalance side by side, on folds of past days; it chooses nothing and stores nothing.

Every contender is fitted on the same folds as `training.train` would use, and scores the same validation days, so
differences are paired. The test days are never looked at. Time is given by a clock; no file is read or written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fraudloop.clock import Clock, SystemClock
from fraudloop.errors import InputError
from fraudloop.telemetry import Progress, silent
from fraudloop.training.algorithms import checkpoints, find_algorithm
from fraudloop.training.config import TrainConfig
from fraudloop.training.day_bootstrap import METRICS, DayCounts, draw_days, interval, mean_of_known
from fraudloop.training.folds import Dataset, FoldTables, Past
from fraudloop.training.imbalance import STRATEGIES, check_strategy
from fraudloop.training.metrics import Floats

#: Bootstrap rounds: the ends of a 95 % interval rest on 25 draws each.
ROUNDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Contender:
    """One algorithm with one strategy. values, intervals, by_fold: by metric; the value is the mean of the folds.
    difference: to the best, by the metric compared by, with its interval; the best has none. fit_s: seconds of fitting
    and scoring, all folds. params: with the number of rounds that did best on the folds."""

    algorithm: str
    strategy: str
    params: Mapping[str, Any]
    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    by_fold: Mapping[str, tuple[float, ...]]
    difference: tuple[float, float, float] | None
    fit_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """All contenders, the best first by `metric`; the folds they were measured on; bootstrap rounds."""

    metric: str
    contenders: tuple[Contender, ...]
    folds: tuple[Mapping[str, Any], ...]
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, contenders in order."""
        return {
            "metric": self.metric,
            "rounds": self.rounds,
            "intervals": "95 %, validation days drawn with replacement within each fold (not the training)",
            "folds": [dict(fold) for fold in self.folds],
            "contenders": [
                {
                    "algorithm": c.algorithm, "strategy": c.strategy, "params": dict(c.params), **dict(c.values),
                    "intervals_95": {name: list(ends) for name, ends in c.intervals.items()},
                    "by_fold": {name: list(values) for name, values in c.by_fold.items()},
                    "difference_to_best": None if c.difference is None else dict(zip(("value", "low", "high"), c.difference, strict=True)),
                    "fit_s": c.fit_s,
                }
                for c in self.contenders
            ],
        }  # fmt: skip


def compare(
    data: Dataset,
    past: Past,
    config: TrainConfig,
    strategies: Sequence[str] = STRATEGIES,
    metric: str = METRICS[0],
    *,
    rounds: int = ROUNDS,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Fit each of `config.algorithms` with each strategy on each fold. Parameters are the configuration's, its first set
    of candidates; of boosted models the number of rounds is chosen on the folds, as training does.

    InputError: an unknown metric or strategy, no folds.
    """
    clock = clock or SystemClock()
    if metric not in METRICS:
        raise InputError(f"no metric {metric!r}; metrics: {', '.join(METRICS)}")
    if not strategies or len(set(strategies)) != len(strategies):
        raise InputError(f"strategies must be named, each once; strategies: {', '.join(STRATEGIES)}")
    for strategy in strategies:
        check_strategy(strategy)
    # What learns from no label has no use for a strategy: it stands there once.
    pairs = [(name, s) for name in config.algorithms for s in (strategies if find_algorithm(name).supervised else ("none",))]
    if not past.folds:
        raise InputError(f"{past.train}: too few training days, or too little fraud on them, to hold any back for comparing")

    random = np.random.default_rng(config.seed)
    draws = [draw_days(len(np.unique(data.day[fold.validate])), rounds, random) for fold in past.folds]
    tried: dict[tuple[str, str, int], list[DayCounts]] = {}
    spent: dict[tuple[str, str], int] = dict.fromkeys(pairs, 0)
    done, work = 0, len(pairs) * len(past.folds)
    for fold in past.folds:
        tables = FoldTables.of(data, fold, config)
        day, card = data.day[fold.validate], data.card[fold.validate]
        for name, strategy in pairs:
            progress("comparing", done, work)
            params = config.settings_of(name)[0]
            at = checkpoints(params)
            tables.table(*find_algorithm(name).preprocessing(params))  # preprocessing is shared and nobody's fit time
            start = clock.elapsed_ns()
            margins = tables.margins(name, params, replace(config, imbalance=strategy), at)
            spent[name, strategy] += clock.elapsed_ns() - start
            for number, scores in zip(at, margins, strict=True):
                tried.setdefault((name, strategy, number), []).append(DayCounts.of(fold.y_validate, scores, day, card))
            done += 1
            progress("comparing", done, work)

    measured = [_measure(name, strategy, config, tried, draws, metric, spent[name, strategy] / 1e9) for name, strategy in pairs]
    ranked = sorted(measured, key=lambda pair: -_known(pair[0].values[metric]))
    best, best_draws = ranked[0]
    contenders = [best]
    for contender, drawn in ranked[1:]:
        low, high = interval(drawn - best_draws)
        contenders.append(replace(contender, difference=(contender.values[metric] - best.values[metric], low, high)))
    folds = tuple(
        {
            "train": str(fold.split.train), "validate": str(fold.split.test), "train_transactions": len(fold.train),
            "train_frauds": int(fold.y_train.sum()), "transactions": len(fold.validate), "frauds": int(fold.y_validate.sum()),
        }
        for fold in past.folds
    )  # fmt: skip
    return Comparison(metric, tuple(contenders), folds, rounds)


def _measure(
    name: str,
    strategy: str,
    config: TrainConfig,
    tried: Mapping[tuple[str, str, int], Sequence[DayCounts]],
    draws: Sequence[Floats],
    metric: str,
    fit_s: float,
) -> tuple[Contender, Floats]:
    """The contender at its best number of rounds, and the bootstrap values of the metric compared by."""
    params = config.settings_of(name)[0]

    def by_fold(at: int, which: str) -> tuple[float, ...]:
        return tuple(
            float(counts.metric(which, np.ones((1, draw.shape[1])))[0])
            for counts, draw in zip(tried[name, strategy, at], draws, strict=True)
        )

    best = max(checkpoints(params), key=lambda at: _known(mean_of_known(by_fold(at, metric))))
    values = {which: by_fold(best, which) for which in METRICS}
    drawn = {
        which: _mean_draws(
            [counts.metric(which, draw) for counts, draw in zip(tried[name, strategy, best], draws, strict=True)], values[which]
        )
        for which in METRICS
    }
    contender = Contender(
        name, strategy, {**params, "rounds": best} if find_algorithm(name).staged else dict(params), {which: mean_of_known(row) for which, row in values.items()},
        {which: interval(row) for which, row in drawn.items()}, values, None, fit_s,
    )  # fmt: skip
    return contender, drawn[metric]


def _mean_draws(drawn: Sequence[Floats], by_fold: Sequence[float]) -> Floats:
    """The mean of each round over the folds on which the metric is defined."""
    known = [values for values, own in zip(drawn, by_fold, strict=True) if not np.isnan(own)]
    return np.asarray(np.mean(known, axis=0) if known else np.full(len(drawn[0]), np.nan), np.float64)


def _known(value: float) -> float:
    return -1.0 if np.isnan(value) else value
