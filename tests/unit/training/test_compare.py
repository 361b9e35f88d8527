"""The comparison: on past days only, paired, with intervals that hold what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraudloop.clock import ManualClock
from fraudloop.errors import InputError
from fraudloop.training.compare import Comparison, compare
from fraudloop.training.config import TrainConfig
from fraudloop.training.day_bootstrap import METRICS
from fraudloop.training.folds import Dataset, past_of
from fraudloop.training.train import train
from tests.worlds import DAY_US, FEATURES, feature_table

CONFIG = TrainConfig.from_dict({"algorithms": ["logistic", "xgboost"], "threads": 1, "seed": 3, "members": 1, "xgboost": {"rounds": 40}})


def run(table: pl.DataFrame | None = None, config: TrainConfig = CONFIG, **more: Any) -> Comparison:
    data = Dataset.of(feature_table() if table is None else table, FEATURES.names, 7 * DAY_US)
    return compare(data, past_of(data, config), config, **{"strategies": ("none", "undersample"), "clock": ManualClock(), **more})


@pytest.fixture(scope="module")
def result() -> Comparison:
    return run()


def test_every_pair_is_there_once_and_the_best_is_first(result: Comparison) -> None:
    pairs = [(c.algorithm, c.strategy) for c in result.contenders]
    assert sorted(pairs) == [(a, s) for a in ("logistic", "xgboost") for s in ("none", "undersample")]
    values = [c.values["average_precision"] for c in result.contenders]
    assert values == sorted(values, reverse=True)
    assert result.contenders[0].difference is None and all(c.difference for c in result.contenders[1:])


def test_intervals_hold_the_value_and_differences_are_paired(result: Comparison) -> None:
    best = result.contenders[0]
    for c in result.contenders:
        for name in METRICS:
            low, high = c.intervals[name]
            assert low <= c.values[name] <= high
            assert c.values[name] == pytest.approx(np.mean(c.by_fold[name]))
        if c.difference is not None:
            value, low, high = c.difference
            assert low <= value <= high and value == c.values["average_precision"] - best.values["average_precision"]
            # Paired: the days are the same, so the difference varies less than either value.
            assert high - low < c.intervals["average_precision"][1] - c.intervals["average_precision"][0]


def test_it_measures_what_training_chooses_by(result: Comparison) -> None:
    report = train(feature_table(), FEATURES, CONFIG, delay_us=7 * DAY_US).report["validation"]
    for c in result.contenders:
        if c.strategy == "none":
            assert c.values["average_precision"] == pytest.approx(report["algorithms"][c.algorithm]["average_precision"])
            assert dict(c.params) == report["algorithms"][c.algorithm]["params"]


def test_the_same_seed_gives_the_same_table_and_the_test_days_change_nothing(result: Comparison) -> None:
    table = feature_table()
    data = Dataset.of(table, FEATURES.names, 7 * DAY_US)
    first_test = past_of(data, CONFIG).test.first
    late = pl.col("timestamp").dt.date() >= first_test
    turned = table.with_columns(
        is_fraud=pl.when(late).then(~pl.col("is_fraud")).otherwise("is_fraud"),
        amount=pl.when(late).then(-pl.col("amount")).otherwise("amount"),
    ).with_columns(label_known_at=pl.when(late & pl.col("is_fraud")).then(pl.col("timestamp")).otherwise("label_known_at"))
    assert json.dumps(run(turned).to_dict()) == json.dumps(run().to_dict()) == json.dumps(result.to_dict())


def test_a_fold_without_fraud_counts_for_nothing() -> None:
    data = Dataset.of(feature_table(), FEATURES.names, 7 * DAY_US)
    quiet = past_of(data, CONFIG).folds[1].split.test
    table = feature_table().with_columns(
        is_fraud=pl.col("is_fraud") & ~pl.col("timestamp").dt.date().is_between(pl.lit(quiet.first), pl.lit(quiet.last))
    )
    config = replace(CONFIG, algorithms=("logistic",))
    report = train(table, FEATURES, config, delay_us=7 * DAY_US).report["validation"]["algorithms"]["logistic"]
    (found,) = run(table, config, strategies=("none",)).contenders
    assert np.isnan(found.by_fold["average_precision"][1])
    assert found.values["average_precision"] == pytest.approx(report["average_precision"])
    assert found.intervals["average_precision"][0] < found.values["average_precision"]


def test_another_metric_ranks_by_itself() -> None:
    other = run(metric="auc_roc")
    values = [c.values["auc_roc"] for c in other.contenders]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"metric": "accuracy"}, "no metric 'accuracy'"),
        ({"strategies": ("smot",)}, "did you mean 'smote'"),
        ({"strategies": ()}, "each once"),
        ({"strategies": ("none", "none")}, "each once"),
    ],
)
def test_what_cannot_be_compared_is_named(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(**more)


def test_without_days_to_hold_back_it_says_so() -> None:
    with pytest.raises(InputError, match="too few training days"):
        run(feature_table(rows=600, days=60, fraud_rate=0.0))
