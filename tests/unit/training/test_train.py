"""Training as a whole on a small world: the same seed gives the same, nothing is chosen on the test days, labels come late."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraudloop.errors import InputError
from fraudloop.scoring.bundle import Bundle
from fraudloop.training.config import TrainConfig
from fraudloop.training.splits import Period
from fraudloop.training.table import inputs_of
from fraudloop.training.train import TrainResult, train
from fraudloop.training.trainer import ModelTrainer
from tests.worlds import DAY_US, FEATURES, feature_table

QUICK: Mapping[str, Any] = {
    "algorithms": ["logistic", "xgboost", "lightgbm"], "threads": 1, "seed": 3, "members": 1, "xgboost": {"rounds": 60}, "lightgbm": {"rounds": 60},
}  # fmt: skip


def run(table: pl.DataFrame | None = None, **changes: Any) -> TrainResult:
    periods: dict[str, Any] = {key: Period.parse(changes.pop(key)) for key in ("train_period", "test_period") if key in changes}
    config = TrainConfig.from_dict({**QUICK, **changes})
    return train(feature_table() if table is None else table, FEATURES, config, delay_us=7 * DAY_US, **periods)


@pytest.fixture(scope="module")
def result() -> TrainResult:
    return run()


class TestFraud:
    """What a fraud model of this project is held to."""

    def test_the_same_seed_gives_the_same_metrics_and_the_same_bundle(self, result: TrainResult) -> None:
        again = run()
        assert json.dumps(again.report, sort_keys=True) == json.dumps(result.report, sort_keys=True)
        assert again.bundle.content == result.bundle.content

    def test_another_seed_gives_another_model(self, result: TrainResult) -> None:
        assert run(seed=4).bundle.content != result.bundle.content

    def test_it_finds_fraud_on_days_it_has_not_seen(self, result: TrainResult) -> None:
        test = result.report["test"]["all"]
        assert test["average_precision"] > 0.7
        assert test["saved_share"] > 0.3

    def test_what_the_test_days_hold_changes_no_choice(self, result: TrainResult) -> None:
        table = feature_table()
        begin = pl.lit(result.report["test"]["period"][:10]).str.to_datetime(time_zone="UTC", time_unit="us")
        late = pl.col("timestamp") >= begin
        turned = table.with_columns(
            is_fraud=pl.when(late).then(~pl.col("is_fraud")).otherwise("is_fraud"),
            amount=pl.when(late).then(-pl.col("amount")).otherwise("amount"),
        ).with_columns(label_known_at=pl.when(late & pl.col("is_fraud")).then(pl.col("timestamp")).otherwise("label_known_at"))
        other = run(turned)
        for name in (
            "calibration.json",
            "thresholds.json",
            "preprocessing.json",
            *(n for n in result.bundle.files if n.startswith("models/")),
        ):
            assert other.bundle.files[name] == result.bundle.files[name], name
        assert other.report["validation"] == result.report["validation"]
        assert other.report["test"] != result.report["test"]

    def test_labels_that_come_after_the_cut_are_not_learned_from(self) -> None:
        late = run(
            feature_table(label_days=20.0),
            algorithms=["logistic"],
            train_period="2024-01-10..2024-02-05",
            test_period="2024-02-13..2024-02-29",
        )
        training = late.report["training"]
        assert training["cut"] == "2024-02-13T00:00:00Z"
        assert training["frauds_not_known_by_the_cut"] > 0
        table = feature_table(label_days=20.0)
        days = table["timestamp"].dt.date().is_between(pl.date(2024, 1, 10), pl.date(2024, 2, 5))
        cut = pl.datetime(2024, 2, 13, time_zone="UTC")
        known = table.filter(days).filter(pl.col("is_fraud") & (pl.col("label_known_at") <= cut)).height
        assert training["frauds"] == known
        assert training["frauds"] + training["frauds_not_known_by_the_cut"] == table.filter(days)["is_fraud"].sum()

    def test_unknown_categories_and_missing_values_are_scored(self, result: TrainResult) -> None:
        model = result.bundle.model()
        odd = feature_table()[:50].with_columns(country=pl.lit("ZZ"), amount=pl.lit(None, pl.Float64))
        scores = model.score(inputs_of(odd, model.numbers, model.words))
        assert ((scores > 0) & (scores < 1)).all()

    def test_the_reported_scores_are_those_of_the_stored_bundle_in_any_batch(self, result: TrainResult, tmp_path: Path) -> None:
        result.bundle.save(tmp_path / "model")
        model = Bundle.load(tmp_path / "model").model()
        rows = feature_table()[result.test_rows]
        inputs = inputs_of(rows, model.numbers, model.words)
        assert model.score(inputs).tobytes() == result.test.score.tobytes()
        for size in (1, 7, 32, 1_000):
            parts = np.concatenate([model.score(inputs[at : at + size]) for at in range(0, 300, size)])[:300]
            assert parts.tobytes() == result.test.score[:300].tobytes()

    def test_scores_are_calibrated(self, result: TrainResult) -> None:
        assert result.report["test"]["all"]["calibration_error"] < 0.03


def test_members_of_several_seeds_share_the_weight_of_their_algorithm() -> None:
    bundle = run(algorithms=["xgboost"], members=3).bundle
    assert [row["weight"] for row in bundle.members] == [1 / 3] * 3
    assert len({bundle.files[row["file"]] for row in bundle.members}) == 3


def test_the_report_says_what_was_tried_and_what_was_chosen(result: TrainResult) -> None:
    validation = result.report["validation"]
    assert set(validation["algorithms"]) == set(QUICK["algorithms"])
    assert validation["chosen"]
    best = max(v["average_precision"] for v in validation["algorithms"].values())
    assert validation["algorithms"][validation["chosen"][0]]["average_precision"] == best
    assert all(fold["validate"] < result.report["test"]["period"] for fold in validation["folds"])


def test_importance_adds_up_and_names_columns_of_the_table(result: TrainResult) -> None:
    rows = result.report["importance"]
    assert sum(row["share"] for row in rows) == pytest.approx(1.0)
    assert {row["column"] for row in rows} == {*FEATURES.names, "country"}
    assert rows[0]["column"] == "amount"


def test_the_reference_profile_counts_every_training_row(result: TrainResult) -> None:
    profile = pl.read_parquet(result.bundle.files["reference.parquet"])
    counts = profile.filter(pl.col("kind") != "score").group_by("column").agg(pl.col("rows").sum())
    assert set(counts["rows"].to_list()) == {result.report["training"]["transactions"]}
    assert set(counts["column"].to_list()) == {*FEATURES.names, "country"}
    assert profile.filter(pl.col("column") == "fraud_score")["rows"].sum() > 0


def test_intervals_hold_the_figure() -> None:
    test = run(algorithms=["logistic"], bootstrap=50).report["test"]["all"]
    low, high = test["intervals_95"]["average_precision"]
    assert low < test["average_precision"] < high


def test_too_short_a_history_still_trains_and_says_what_that_cost() -> None:
    short = run(feature_table(rows=1_500, days=14), algorithms=["logistic"])
    assert any("too little history" in warning for warning in short.report["warnings"])
    assert short.bundle.model().members


def test_a_feature_without_any_value_is_named_and_left_out() -> None:
    result = run(feature_table().with_columns(customer_count_24h=pl.lit(float("nan"))), algorithms=["xgboost"])
    assert any("customer_count_24h" in warning for warning in result.report["warnings"])
    assert "customer_count_24h" not in result.bundle.model().numbers


def without(column: str) -> pl.DataFrame:
    return feature_table().drop(column)


@pytest.mark.parametrize(
    ("table", "changes", "message"),
    [
        (feature_table().with_columns(is_fraud=False), {}, "none of .* transactions is known as fraud by"),
        (feature_table().with_columns(is_fraud=True), {}, "all of .* transactions are fraud"),
        (without("is_fraud"), {}, "no labels"),
        (without("amount"), {}, "lacks 1 of 3 features: amount"),
        (without("timestamp"), {}, "no column 'timestamp'"),
        (feature_table()[:0], {}, "no transactions"),
        (
            feature_table().filter(pl.col("timestamp").dt.day() > 5),
            {"train_period": "2024-02-01..2024-02-04"},
            r"--train .*: no transactions",
        ),
        (feature_table(), {"train_period": "2020-01-01..2020-02-01"}, "outside the data, which goes from 2024-01-01 to 2024-02-29"),
        (feature_table().with_columns(pl.lit(None, pl.Float64).alias(name) for name in FEATURES.names), {}, "no feature has a value"),
    ],
)
def test_what_cannot_be_trained_on_says_why(table: pl.DataFrame, changes: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(table, algorithms=["logistic"], **changes)


def test_the_notebooks_trainer_is_the_same_training(result: TrainResult, tmp_path: Path) -> None:
    trainer = ModelTrainer(FEATURES, label_delay="7d", **QUICK)
    with pytest.raises(InputError, match="call fit first"):
        trainer.save(tmp_path / "model")
    assert trainer.fit(feature_table()).bundle.content == result.bundle.content
    assert Bundle.load(trainer.save(tmp_path / "model").path or tmp_path).content == result.bundle.content
    with pytest.raises(InputError, match="did you mean 'seed'"):
        ModelTrainer(FEATURES, sed=1)
