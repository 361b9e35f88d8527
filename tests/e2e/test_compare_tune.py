"""The commands compare and tune on a file, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraudloop.cli.main import run
from tests.shop import write_shop

TEST = "2024-02-20..2024-02-29"
CONFIG = "threads = 1\nmembers = 1\nfolds = 2\nblend = false\n[xgboost]\nrounds = 24\n"
SPACE = "[xgboost]\ndepth = { low = 1, high = 4 }\nrate = { low = 0.01, high = 0.3, log = true }\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_shop(tmp_path_factory.mktemp("shop"), rows=3_000)
    (path / "config.toml").write_text(CONFIG)
    (path / "space.toml").write_text(SPACE)
    return path


def arguments(command: str, path: Path, *more: str) -> list[str]:
    return [
        command, str(path / "orders.csv"), "--columns", str(path / "map.toml"), "--features", str(path / "features.toml"), "--config",
        str(path / "config.toml"), "--test", TEST, *more,
    ]  # fmt: skip


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_compare_shows_a_table_and_leaves_it_as_json_csv_and_a_plot(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "compared"
    more = ("--algorithms", "logistic,xgboost", "--strategies", "none,smote", "--out", str(out))
    assert run(arguments("compare", folder, *more)) == 0
    shown = capsys.readouterr()
    assert "average precision" in shown.out and "smote" in shown.out and "best" in shown.out
    assert max(len(line) for line in shown.out.splitlines()[1:]) <= 100
    report = json.loads((out / "compare.json").read_text())
    lines = pl.read_csv(out / "compare.csv")
    assert lines["algorithm"].to_list() == [c["algorithm"] for c in report["contenders"]]
    assert lines["average_precision"].to_list() == [c["average_precision"] for c in report["contenders"]]
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert run(arguments("compare", folder, *more[:-2], "--json")) == 0
    again = printed(capsys)
    assert [{**c, "fit_s": 0} for c in again["contenders"]] == [{**c, "fit_s": 0} for c in report["contenders"]]


def test_tune_leaves_a_configuration_that_train_reaches_the_same_value_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "tuned"
    more = ("--algorithm", "xgboost", "--trials", "4", "--space", str(folder / "space.toml"), "--out", str(out))
    assert run(arguments("tune", folder, *more, "--json")) == 0
    report = printed(capsys)
    assert len(report["trials"]) == 4 and report["trials"][0]["default"] and report["gain"] >= 0
    assert {"tuned.toml", "tuning.json", "study.db", "history.png", "slices.png", "parallel.png"} <= {p.name for p in out.iterdir()}
    given = arguments("train", folder, "--out", str(folder / "model"), "--json")
    given[given.index("--config") + 1] = str(out / "tuned.toml")
    assert run(given) == 0
    trained = printed(capsys)["validation"]["algorithms"]
    assert list(trained) == ["xgboost"]
    assert trained["xgboost"]["average_precision"] == pytest.approx(report["best"]["value"], abs=1e-12)


def test_tune_goes_on_with_its_study_only_when_told_to(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "resumed"
    more = ("--algorithm", "xgboost", "--space", str(folder / "space.toml"), "--out", str(out))
    assert run(arguments("tune", folder, *more, "--trials", "2", "--json")) == 0
    first = printed(capsys)
    assert run(arguments("tune", folder, *more, "--trials", "3")) == 2
    assert "go on with it by --resume" in capsys.readouterr().err.replace("\n", " ")
    assert run(arguments("tune", folder, *more, "--trials", "3", "--resume")) == 0
    shown = capsys.readouterr()
    assert "3 trials (2 of them from before" in shown.err and "depth" in shown.out
    report = json.loads((out / "tuning.json").read_text())
    assert report["trials"][:2] == first["trials"]
    assert run(arguments("tune", folder, *more, "--trials", "4", "--resume", "--seed", "9")) == 2
    assert "another configuration" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("command", "more", "message"),
    [
        ("compare", ("--strategies", "smot"), "did you mean 'smote'"),
        ("compare", ("--algorithms", "xgbost"), "did you mean 'xgboost'"),
        ("compare", ("--metric", "f1"), "no metric 'f1'"),
        ("tune", ("--algorithm", "xgbost"), "did you mean 'xgboost'"),
        ("tune", ("--algorithm", "xgboost", "--budget", "soon"), "not a duration"),
        ("tune", ("--algorithm", "xgboost", "--trials", "0"), "at least 1"),
        ("tune", ("--algorithm", "xgboost", "--resume"), "no study to resume"),
        ("tune", ("--algorithm", "xgboost", "--study", "nowhere/study.db"), "no folder"),
        ("tune", ("--algorithm", "xgboost", "--study", "{folder}/orders.csv", "--resume"), "not a study file"),
        ("tune", ("--algorithm", "xgboost", "--space", "{folder}/config.toml"), r"write { low"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, more: tuple[str, ...], message: str
) -> None:
    given = arguments(command, folder, *(word.format(folder=folder) for word in more), "--out", str(tmp_path / "out"))
    assert run(given) == 2
    shown = capsys.readouterr()
    assert message in shown.err.replace("\n", " ")
    assert "Traceback" not in shown.err
