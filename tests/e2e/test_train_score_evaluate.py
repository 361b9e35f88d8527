"""The commands train, score and evaluate on a file, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraudloop.cli.main import run
from tests.shop import write_shop

CONFIG = "threads = 1\nmembers = 2\nfolds = 2\n[xgboost]\nrounds = 40\n[budget]\nper_day = 20\n"
TEST = "2024-02-20..2024-02-29"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Payments in CSV under other names, a column map, a feature set, a configuration, and a model trained from them."""
    path = write_shop(tmp_path_factory.mktemp("shop"))
    (path / "config.toml").write_text(CONFIG)
    assert run(train_arguments(path, "model")) == 0
    return path


def train_arguments(path: Path, out: str, *more: str) -> list[str]:
    return [
        "train", str(path / "orders.csv"), "--columns", str(path / "map.toml"), "--features", str(path / "features.toml"), "--config", str(path / "config.toml"),
        "--algorithms", "logistic,xgboost", "--test", TEST, "--out", str(path / out), *more,
    ]  # fmt: skip


def score_arguments(path: Path, out: str, *more: str) -> list[str]:
    return [
        "score",
        str(path / "orders.csv"),
        "--columns",
        str(path / "map.toml"),
        "--model",
        str(path / "model"),
        "--out",
        str(path / out),
        *more,
    ]


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_train_leaves_a_bundle_with_plots_and_figures(folder: Path) -> None:
    manifest = json.loads((folder / "model" / "manifest.json").read_text())
    assert manifest["data"]["files"]["transactions"]["name"] == "orders.csv"
    assert {"created", "git_commit", "versions", "seed", "content", "bundle"} <= set(manifest)
    assert {p.name for p in (folder / "model" / "report").iterdir()} == {
        "precision-recall.png", "calibration.png", "cost-by-threshold.png", "outcomes.png", "scores-by-class.png", "importance.png",
    }  # fmt: skip
    metrics = json.loads((folder / "model" / "metrics.json").read_text())
    assert metrics["test"]["period"] == TEST
    assert metrics["test"]["all"]["average_precision"] > 0.4


def test_the_same_seed_gives_the_same_metrics_and_content(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(train_arguments(folder, "again", "--json")) == 0
    again = printed(capsys)
    assert again["content"] == json.loads((folder / "model" / "manifest.json").read_text())["content"]
    assert (folder / "again" / "metrics.json").read_bytes() == (folder / "model" / "metrics.json").read_bytes()


def test_score_then_evaluate_gives_the_figures_of_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(score_arguments(folder, "scores.parquet", "--period", TEST)) == 0
    scores = pl.read_parquet(folder / "scores.parquet")
    assert scores.columns == ["transaction_id", "fraud_score", "decision"]
    assert set(scores["decision"].unique()) <= {"approve", "review", "decline"}
    capsys.readouterr()
    assert run(["evaluate", str(folder / "scores.parquet"), "--config", str(folder / "config.toml"), "--json"]) == 0
    metrics = printed(capsys)["metrics"]
    trained = json.loads((folder / "model" / "metrics.json").read_text())["test"]
    for name in ("all", "without_known_compromised"):
        assert metrics[name] == trained[name]


def test_csv_scores_hold_the_same_numbers_and_say_what_was_decided(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(score_arguments(folder, "scores.parquet", "--period", TEST)) == 0
    assert run(score_arguments(folder, "scores.csv", "--period", TEST, "--json")) == 0
    csv = pl.read_csv(folder / "scores.csv", schema_overrides={"transaction_id": pl.String})
    assert csv.equals(pl.read_parquet(folder / "scores.parquet"))
    capsys.readouterr()
    data = [
        "--data",
        str(folder / "orders.csv"),
        "--columns",
        str(folder / "map.toml"),
        "--train",
        "2024-01-01..2024-02-12",
        "--label-delay",
        "7d",
    ]
    assert run(["evaluate", str(folder / "scores.csv"), *data, "--config", str(folder / "config.toml"), "--json"]) == 0
    measured, trained = printed(capsys)["metrics"]["all"], json.loads((folder / "model" / "metrics.json").read_text())["test"]["all"]
    assert measured["confusion_review"] == trained["confusion_review"]
    assert measured["average_precision"] == trained["average_precision"]


def test_earlier_days_are_history_even_when_only_later_ones_are_scored(folder: Path) -> None:
    assert run(score_arguments(folder, "some.parquet", "--period", "2024-02-25..2024-02-26")) == 0
    assert run(score_arguments(folder, "all.parquet")) == 0
    some, everything = pl.read_parquet(folder / "some.parquet"), pl.read_parquet(folder / "all.parquet")
    assert 0 < some.height < everything.height == 5_000
    joined = some.join(everything, on="transaction_id", suffix="_all")
    assert np.array_equal(joined["fraud_score"].to_numpy(), joined["fraud_score_all"].to_numpy())


def test_given_tiers_take_the_place_of_those_suggested(folder: Path) -> None:
    assert run(score_arguments(folder, "tiers.parquet", "--review", "0.1", "--decline", "0.4")) == 0
    scores = pl.read_parquet(folder / "tiers.parquet")
    expected = (
        pl.when(pl.col("fraud_score") > 0.4)
        .then(pl.lit("decline"))
        .when(pl.col("fraud_score") > 0.1)
        .then(pl.lit("review"))
        .otherwise(pl.lit("approve"))
    )
    assert scores.select((pl.col("decision") == expected).all()).item()


def test_evaluate_shows_a_table_and_draws(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(score_arguments(folder, "scores.parquet", "--period", TEST)) == 0
    capsys.readouterr()
    assert run(["evaluate", str(folder / "scores.parquet"), "--plots", str(folder / "plots"), "--intervals", "20"]) == 0
    shown = capsys.readouterr()
    assert "average precision" in shown.out
    assert "known compromised cards left out" in shown.out
    assert (folder / "plots" / "precision-recall.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda p: train_arguments(p, "x", "--train", "2024-01-01..2024-02-15"), "the first test day is 2024-02-23"),
        (lambda p: train_arguments(p, "x", "--train", "2030-01-01..2030-02-15"), "outside the data"),
        (lambda p: train_arguments(p, "x", "--train", "january"), "not a period"),
        (lambda p: train_arguments(p, "x", "--label-delay", "a week"), "not a duration"),
        (lambda p: train_arguments(p, "x", "--algorithms", "logistik"), "did you mean 'logistic'"),
        (lambda p: train_arguments(p, "."), "other files"),
        (lambda p: score_arguments(p, "x.xlsx"), "must end in .parquet or .csv"),
        (lambda p: score_arguments(p, "x.csv", "--period", "2030-01-01..2030-01-02"), "no transactions on these days"),
        (lambda p: score_arguments(p, "x.csv", "--review", "0.5"), "given together"),
        (lambda p: score_arguments(p, "x.csv", "--review", "0.5", "--decline", "0.2"), "must not be above"),
        (lambda p: score_arguments(p, "x.csv", "--model", str(p / "nowhere")), "there is no bundle"),
        (lambda p: ["evaluate", str(p / "nothing.parquet")], "cannot be read"),
        (lambda p: ["evaluate", str(p / "orders.csv")], "transaction_id"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: Any, message: str
) -> None:
    assert run(arguments(folder)) == 2
    shown = capsys.readouterr()
    assert message in shown.err.replace("\n", " ")
    assert "Traceback" not in shown.err


def scores_file(path: Path, ids: list[str], scores: list[float]) -> Path:
    pl.DataFrame({"transaction_id": ids, "fraud_score": scores}).write_csv(path / "own.csv")
    return path / "own.csv"


@pytest.mark.parametrize(
    ("ids", "scores", "message"),
    [
        (["t1", "t2"], [0.1, 1.5], "number from 0 to 1"),
        (["t1", "t1"], [0.1, 0.2], "scored twice"),
        (["t1", "stranger"], [0.1, 0.2], "1 of 2 scored transactions are not in"),
        ([], [], "holds no scores"),
    ],
)
def test_scores_that_cannot_be_joined_say_why(
    folder: Path, capsys: pytest.CaptureFixture[str], ids: list[str], scores: list[float], message: str
) -> None:
    own = scores_file(folder, ids, scores)
    assert run(["evaluate", str(own), "--data", str(folder / "orders.csv"), "--columns", str(folder / "map.toml")]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_scores_of_another_system_are_evaluated_by_the_default_tiers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = scores_file(folder, [f"t{i}" for i in range(500)], [(i % 100) / 100 for i in range(500)])
    assert run(["evaluate", str(own), "--data", str(folder / "orders.csv"), "--columns", str(folder / "map.toml"), "--json"]) == 0
    body = printed(capsys)
    assert body["thresholds"] == {"decline": 0.9, "review": 0.5, "challenge": None}
    assert body["metrics"]["all"]["transactions"] == 500


def test_a_model_is_brought_up_to_date_and_names_its_parent(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["update", str(folder / "orders.csv"), "--columns", str(folder / "map.toml"), "--model", str(folder / "model")]
    capsys.readouterr()
    assert run([*options, "--label-delay", "5d", "--out", str(folder / "newer"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    manifest = json.loads((folder / "newer" / "manifest.json").read_text())
    parent = json.loads((folder / "model" / "manifest.json").read_text())
    assert manifest["parent"] == report["parent"] == parent["bundle"]
    assert report["transactions"] > 0
    assert run([*options, "--until", "yesterday", "--out", str(folder / "never")]) == 2
    assert "is not a day" in capsys.readouterr().err
    assert not (folder / "never").exists()
