"""`fraudloop generate` writes what was asked, the same each time, and refuses what does not fit by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from fraudloop.cli.main import run

SMALL = ["--transactions", "3000", "--seed", "5"]


def test_it_writes_the_files_and_prints_what_is_in_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"--out": "t.parquet", "--labels": "l.csv", "--profiles": "p.csv.gz", "--truth": "x.parquet"}
    files = [word for option, name in names.items() for word in (option, str(tmp_path / name))]
    assert run(["generate", *SMALL, "--fraud-rate", "0.02", *files]) == 0
    out = capsys.readouterr()
    assert "best average precision" in out.out and "account_takeover" in out.out and "x.parquet" in out.out
    assert "3,000 of 3,000" in out.err, "progress goes to stderr"
    assert pl.read_parquet(tmp_path / "t.parquet")["is_fraud"].sum() == 60
    assert pl.read_csv(tmp_path / "l.csv").columns == ["transaction_id", "is_fraud", "known_at", "source", "reason"]


def test_json_is_one_document_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate", *SMALL, "--out", str(tmp_path / "t.csv"), "--json"]) == 0
    out = capsys.readouterr()
    report = json.loads(out.out)
    assert report["rows"] == 3_000 and report["known_fraud"] == 30 and 0.5 < report["reachable_average_precision"] < 1
    assert out.err == ""


def test_the_strengths_of_the_command_line_reach_the_world(tmp_path: Path) -> None:
    strengths = ["--late-night-probability", "0", "--foreign-probability", "0", "--amount-multiplier", "1", "--velocity-multiplier", "1"]
    truth = tmp_path / "x.parquet"
    assert (
        run(["generate", *SMALL, "--out", str(tmp_path / "t.parquet"), "--truth", str(truth), "--mix", "bust_out=1", *strengths, "--json"])
        == 0
    )
    rows = pl.read_parquet(tmp_path / "t.parquet").join(pl.read_parquet(truth), on="transaction_id").filter("true_fraud")
    assert set(rows["scheme"]) == {"bust_out", "ordinary"}
    hour = rows.select((pl.col("timestamp") + pl.duration(minutes=pl.col("utc_offset").cast(pl.Int64))).dt.hour()).to_series()
    assert hour.is_between(5, 20).all()


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        environment = {**os.environ, "PYTHONHASHSEED": str(ord(name))}
        command = [sys.executable, "-m", "fraudloop", "generate", *SMALL, "--out", str(tmp_path / f"{name}.parquet"), "--json"]
        subprocess.run(command, env=environment, check=True, capture_output=True)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--fraud-rate", "1.5"], "fraud_rate"),
        (["--transactions", "5"], "transactions"),
        (["--foreign-probability", "2"], "foreign_probability"),
        (["--velocity-multiplier", "0"], "velocity_multiplier"),
        (["--drift", "2025-02-30:bust_out=1"], "2025-02-30"),
        (["--drift", "nowhere.toml"], "nowhere.toml"),
        (["--mix", "phishing=1"], "phishing"),
        (["--start", "soon"], "start"),
        (["--labels", "labels.xml"], "labels.xml"),
    ],
)
def test_what_does_not_fit_ends_with_2_and_its_name(
    options: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.csv"
    assert run(["generate", "--out", str(out), "--transactions", "1000", *options]) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()
