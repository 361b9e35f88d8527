"""A search of hyperparameters whose process is killed: no finished trial is lost, and it goes on as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fraudloop.cli.main import run
from tests.shop import write_shop

TRIALS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_shop(tmp_path_factory.mktemp("shop"), rows=3_000)
    (path / "config.toml").write_text("threads = 1\nmembers = 1\nfolds = 2\n[xgboost]\nrounds = 24\n")
    (path / "space.toml").write_text("[xgboost]\ndepth = { low = 1, high = 4 }\nrate = { low = 0.01, high = 0.3, log = true }\n")
    return path


def arguments(path: Path, out: str, *more: str) -> list[str]:
    return [
        "tune", str(path / "orders.csv"), "--columns", str(path / "map.toml"), "--features", str(path / "features.toml"), "--config",
        str(path / "config.toml"), "--test", "2024-02-20..2024-02-29", "--algorithm", "xgboost", "--space", str(path / "space.toml"),
        "--trials", str(TRIALS), "--out", str(path / out), *more,
    ]  # fmt: skip


def finished(study: Path) -> int:
    """Finished trials as they lie on disk."""
    try:
        with sqlite3.connect(f"file:{study}?mode=ro", uri=True, timeout=5) as database:
            return int(database.execute("select count(*) from trials where state in ('COMPLETE', 'PRUNED')").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def trials(path: Path, out: str) -> list[Any]:
    return [{**trial, "seconds": 0} for trial in json.loads((path / out / "tuning.json").read_text())["trials"]]


@pytest.mark.parametrize("at", [1, 3])
def test_a_killed_search_goes_on_without_losing_a_trial(folder: Path, at: int) -> None:
    if not (folder / "whole").exists():
        assert run(arguments(folder, "whole")) == 0
    out, study = f"killed-{at}", folder / f"killed-{at}" / "study.db"
    process = subprocess.Popen(
        [sys.executable, "-m", "fraudloop", *arguments(folder, out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        limit = time.monotonic() + 240
        while finished(study) < at and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = finished(study)
    assert kept >= at
    assert run(arguments(folder, out, "--resume")) == 0
    assert trials(folder, out) == trials(folder, "whole")
    assert json.loads((folder / out / "tuning.json").read_text())["trials_before"] == kept


def test_two_searches_never_share_a_study(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fraudloop.pipelines.tune import open_study

    (folder / "shared").mkdir()
    with open_study(folder / "shared" / "study.db", resume=False):
        assert run(arguments(folder, "shared", "--resume")) == 2
    assert "another search is using this study" in capsys.readouterr().err.replace("\n", " ")
