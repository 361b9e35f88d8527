"""The commands that track, reproduce and mirror, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fraudloop.cli.main import run
from fraudloop.training.config import TrainConfig
from fraudloop.training.datasets import Manifest
from tests.tracked import TEST, local_tracking, shop

CONFIG = 'threads = 1\nmembers = 1\nfolds = 1\nalgorithms = ["xgboost"]\nbootstrap = 0\n[xgboost]\nrounds = 16\n[budget]\nper_day = 20\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a shop with a tracking place of its own."""
    shop(tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG)
    local_tracking(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*more: str) -> list[str]:
    return [
        "train",
        "orders.csv",
        "--columns",
        "map.toml",
        "--config",
        "config.toml",
        "--test",
        TEST,
        "--label-delay",
        "5d",
        "--out",
        "model",
        *more,
    ]


def test_train_track_reproduce_and_mirror(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(train("--name", "payments", "--track", "default", "--experiment", "cards", "--json")) == 0
    trained = json.loads(capsys.readouterr().out)
    assert run(["models", "reproduce", trained["run"], "--out", "again", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["proved"], found["content"]["before"]) == (True, "the same to the last bit", trained["content"])
    assert (folder / "again" / "manifest.json").is_file()

    assert run(["models", "reproduce", "payments@candidate"]) == 0
    shown = capsys.readouterr()
    assert "average_precision" in shown.out
    assert "the same to the last bit" in shown.err

    assert run(["models", "track", "model"]) == 0
    assert f"run {trained['run']} was there already" in capsys.readouterr().err
    assert run(["models", "mirror", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["created"] == [trained["candidate"]]
    assert run(["models", "mirror"]) == 0
    assert "1 versions in MLflow, 0 of them new" in capsys.readouterr().err


def test_a_model_that_does_not_come_out_the_same_ends_with_1_and_names_what_differs(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(train("--track", "default")) == 0
    monkeypatch.setattr(Manifest, "train_config", lambda _: TrainConfig(algorithms=("logistic",), bootstrap=0))
    capsys.readouterr()
    assert run(["models", "reproduce", "model"]) == 1
    shown = capsys.readouterr()
    assert "was not reproduced" in shown.err
    assert "metrics.json" in shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["models", "reproduce", "nothing"], 2, "there is no bundle"),
        (["models", "track", "nothing"], 2, "there is no bundle"),
        (["models", "mirror", "--track", "off"], 2, "tracking is off"),
        (train("--track", "somewhere"), 2, "not a tracking URI"),
        (train("--track", "postgresql+psycopg://ml:secret@db/runs"), 2, "a database holds no files"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert run(arguments) == code
    shown = capsys.readouterr().err
    assert message in shown
    assert "secret" not in shown
    assert not (folder / "model").exists()
