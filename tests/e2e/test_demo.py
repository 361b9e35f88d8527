"""The demo: it runs the commands that it prints, its decisions are explained to the last bit, and it can be run again."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import typer

from fraudloop.cli.main import build, run
from fraudloop.client import Client
from fraudloop.decisions.policy import Policy
from fraudloop.errors import FraudloopError, InputError
from fraudloop.pipelines.demo import PLOTS, TRANSACTIONS_MIN, choose, prepare, steps
from fraudloop.pipelines.demo_service import Live, found_in
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import BundleStore
from fraudloop.training.config import TrainConfig
from tests.family import free_port


def test_what_is_printed_is_what_runs(tmp_path: Path) -> None:
    for step in steps(tmp_path):
        words = shlex.split(step.command.replace("\\\n", " "))
        assert words == ["fraudloop", *step.argv]
        assert all(len(line) <= 140 or "/" in line for line in step.command.splitlines())
        command, rest = typer.main.get_command(build(step.argv[0])), list(step.argv)
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        command.make_context(step.name, rest)  # raises for an option that there is not


def test_the_commands_of_the_service_are_those_that_run(tmp_path: Path) -> None:
    live = Live(tmp_path, "2026-01-31T12:00:00Z", "574d", 8000, 3600.0)
    for step in live.steps():
        assert shlex.split(step.command.replace("\\\n", " ")) == ["fraudloop", *step.argv]
        if step.argv[0] in ("serve", "replay"):
            command = typer.main.get_command(build(step.argv[0])).commands[step.argv[0]]  # type: ignore[attr-defined]
            command.make_context(step.argv[0], list(step.argv[1:]))


def test_the_days_that_are_scored_come_after_all_that_training_sees(tmp_path: Path) -> None:
    by_name = {step.name: step.argv for step in steps(tmp_path)}
    test = by_name["train"][by_name["train"].index("--test") + 1]
    unseen = by_name["score"][by_name["score"].index("--period") + 1]
    assert test.split("..")[1] < unseen.split("..")[0]


def test_a_world_too_small_to_learn_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least"):
        steps(tmp_path, TRANSACTIONS_MIN - 1)


def test_the_configuration_that_it_writes_is_one(tmp_path: Path) -> None:
    prepare(tmp_path)
    config = TrainConfig.load(tmp_path / "train.toml")
    assert len(config.algorithms) == 3
    assert all(len(config.settings_of(name)) == 1 for name in config.algorithms)


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        prepare(tmp_path / "file" / "demo")


def scored(rows: list[tuple[str, float, str, bool | None, int]]) -> pl.DataFrame:
    now = datetime(2025, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        [(*row, now, now + timedelta(days=2)) for row in rows],
        schema=["transaction_id", "fraud_score", "decision", "is_fraud", "amount_base", "timestamp", "label_known_at"],
        orient="row",
    )


def test_three_are_chosen_by_what_they_show() -> None:
    table = scored(
        [
            ("a", 0.99, "decline", False, 1), ("b", 0.95, "decline", True, 1), ("c", 0.97, "decline", True, 1),
            ("d", 0.10, "approve", None, 900), ("e", 0.20, "approve", None, 900), ("f", 0.01, "approve", True, 9_000),
            ("g", 0.55, "review", None, 1), ("h", 0.68, "review", True, 1),
        ]
    )  # fmt: skip
    assert [(title, row["transaction_id"][0]) for title, row in choose(table, Policy(decline=0.9, review=0.5))] == [
        ("A fraud that was caught", "c"), ("A genuine payment, approved", "d"), ("One in between", "h"),
    ]  # fmt: skip


def test_what_there_is_none_of_is_left_out() -> None:
    assert [title for title, _ in choose(scored([("d", 0.1, "approve", None, 900)]), Policy())] == ["A genuine payment, approved"]


@pytest.mark.timeout(900)
def test_the_whole_way_runs_explains_itself_and_goes_on_with_a_world_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["demo", "--transactions", "20000", "--out", str(tmp_path), "--no-serve", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert [step["step"] for step in done["steps"]] == [step.name for step in steps(tmp_path, 20_000)]
    result = {step["step"]: step["result"] for step in done["steps"]}
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    assert result["score"]["transactions"] == scores.height
    assert (result["gate it"]["verdict"], result["refused"]["verdict"]) == ("pass", "refuse")
    store = BundleStore(tmp_path / "store")
    moves = [(entry.action, entry.who) for entry in store.history("payments") if entry.alias == "champion"]
    assert moves == [("promote", "ana"), ("promote", "auto"), ("rollback", "ben")]
    assert store.alias("payments@champion") == result["a first model"]["candidate"]
    calibration = Bundle.load(tmp_path / "model").model().calibration
    for example in done["examples"]:
        [score] = scores.filter(pl.col("transaction_id") == example["transaction_id"])["fraud_score"].to_list()
        assert example["score"] == score
        together = example["base"] + sum(reason["contribution"] for reason in example["reasons"]) + example["others"][1]
        assert together == pytest.approx(example["margin"], abs=1e-9)
        assert calibration.apply(pl.Series([example["margin"]]).to_numpy())[0] == pytest.approx(score, abs=1e-9)
    assert {Path(path).name for path in done["plots"]} == set(PLOTS)
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in done["plots"])

    port = free_port()
    made = (tmp_path / "transactions.parquet").stat().st_mtime_ns
    assert run(["demo", "--transactions", "20000", "--out", str(tmp_path), "--keep", "--port", str(port)]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "transactions.parquet").stat().st_mtime_ns == made
    assert "kept from an earlier run" in out
    for step in steps(tmp_path, 20_000)[1:]:
        assert step.command.splitlines()[0] in out
    for example in done["examples"]:
        assert example["transaction_id"] in out
        assert all(reason["text"] in out for reason in example["reasons"])

    # The service: all that was answered is in the log once, over the kill; the log says the same again; a person's word holds.
    said = " ".join(out.split())
    [answered] = re.findall(r"([\d,]+) payments answered: [^;]+ approve", said)
    assert f"{answered} decisions in the log for {answered} answers, 0 doubled" in said
    assert f"0 of {answered} vectors differ, 0 decisions differ" in said
    assert re.search(r"\$ kill -9 \d+ # the process that decides", said)
    assert re.search(r"the process that stood by took over in [\d.]+ s", said)
    assert re.search(r"/decisions/T\d+ approve: risk 0\.\d+", said)
    assert "decline: this device is on the block list" in said
    assert "-H 'content-type: application/json'" in said
    assert f"http://127.0.0.1:{port}/metrics" in said
    found = found_in(Live(tmp_path, "", "", port, 1.0))
    assert (found.decided, found.doubled) == (int(answered.replace(",", "")), 0)
    with pytest.raises(FraudloopError), Client(f"http://127.0.0.1:{port}", deadline_s=0.5) as client:
        client.health()  # it ended with the demo


def test_a_step_that_fails_stops_the_demo_and_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("transactions", "labels", "profiles"):
        (tmp_path / f"{name}.parquet").write_bytes(b"no table")
    assert run(["demo", "--out", str(tmp_path), "--keep"]) == 1
    assert "`fraudloop validate` ended with exit code 2" in capsys.readouterr().err
