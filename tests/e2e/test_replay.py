"""A table through a real service: everything is decided once, and the log folded offline gives the same bits and the same decisions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from fraudloop.cli.main import run
from fraudloop.errors import InputError, LedgerError
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log, Reader
from fraudloop.ledger.records import Record, Transacted, decode, encode
from fraudloop.pipelines.offline import BITS, Comparison, compare, reproduce, show
from fraudloop.pipelines.replay import Disorder, Pace, replay
from fraudloop.scoring.store import BundleStore
from tests.bundles import linear_bundle
from tests.family import Served, serving, wait_for

ROWS = 1_200


def write_table(path: Path, rows: int = ROWS) -> Path:
    dice = np.random.default_rng(2)
    start = datetime(2025, 3, 1, tzinfo=UTC)
    pl.DataFrame(
        {
            "transaction_id": [f"r{n}" for n in range(rows)],
            "timestamp": pl.Series([start + timedelta(seconds=int(s)) for s in np.sort(dice.integers(0, 86_400, rows))]).cast(pl.Datetime("us", "UTC")),
            "customer_id": [f"c{n}" if n else None for n in dice.integers(0, 40, rows)],
            "merchant_id": [f"m{n}" for n in dice.integers(0, 15, rows)],
            "amount": np.round(np.exp(dice.normal(2.0, 1.2, rows)), 2),
            "currency": dice.choice(["EUR", "EUR", "USD", "JPY"], rows),
            "country": dice.choice(["DE", "FR", "US"], rows),
            "device_id": [f"d{n}" for n in dice.integers(0, 60, rows)],
        }
    ).with_columns(amount=pl.when(pl.col("currency") == "JPY").then(pl.col("amount").round(0)).otherwise("amount")).write_parquet(path)  # fmt: skip
    return path


def store_in(folder: Path) -> BundleStore:
    store = BundleStore(folder)
    found = store.put(linear_bundle(0.05))
    store.set_alias("fraud@champion", found, expected=None, who="test", why="test", at_us=1)
    return store


@dataclass(frozen=True, slots=True)
class World:
    """A service whose log holds a replayed table, after it ended."""

    data: Path
    store: BundleStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("replay")


@pytest.fixture(scope="module")
def world(folder: Path) -> World:
    store = store_in(folder / "store")
    table = write_table(folder / "table.parquet")
    with serving(folder / "data", "--no-standby", "--name", "fraud") as served:
        done = replay(table, url(served), Pace(rate=400.0), disorder=Disorder(0.1, 0.2, 0.1, seed=4))
        assert done.payments == sum(done.outcomes.values()) == ROWS
        assert done.copies > 80
        assert (done.unlike, done.undecided, done.refused, done.stopped) == (0, 0, {}, False)
        assert served.stop() == 0
    return World(folder / "data", store)


def url(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}"


def test_the_log_folded_offline_gives_every_vector_and_decision(world: World) -> None:
    found = compare(world.data, world.store)
    assert found.text() == f"0 of {ROWS:,} vectors differ, 0 decisions differ"
    assert (found.vectors, found.decisions, found.other_builds, found.ok) == (ROWS, ROWS, 0, True)


def rewritten(world: World, folder: Path, change: Callable[[int, Record], Record]) -> Path:
    """A copy of the log with records changed: (payment number, record) -> record."""
    if (world.data / "vault").is_dir():
        shutil.copytree(world.data / "vault", folder / "vault")
    shutil.copy(world.data / "draw.key", folder / "draw.key")
    log, number = Log.open(FolderFiles(folder / "log")), 0
    for group in Reader(FolderFiles(world.data / "log")).read():
        records = []
        for raw in group.records:
            record = decode(raw)
            if isinstance(record, Transacted):
                record = change(number, record)
                number += 1
            records.append(encode(record))
        log.append(log.epoch, records)
    log.close()
    return folder


def test_one_bit_of_one_vector_and_one_outcome_are_found_and_named(world: World, tmp_path: Path) -> None:
    def change(number: int, record: Record) -> Record:
        assert isinstance(record, Transacted) and record.decision is not None
        if number == 700:
            first = struct.unpack("<q", record.decision.vector[:8])[0]
            vector = struct.pack("<q", first ^ 1) + record.decision.vector[8:]
            return msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, vector=vector))
        if number == 900:
            return msgspec.structs.replace(record, decision=msgspec.structs.replace(record.decision, outcome=3 - record.decision.outcome))
        return record

    found = compare(rewritten(world, tmp_path, change), world.store)
    assert (found.vectors_differ, found.bits_differ, found.decisions_differ, found.ok) == (1, 1, 1, False)
    assert [set(one.values) for one in found.first] == [{"amount"}, {"outcome"}]


def test_a_bundle_that_is_gone_is_told_and_is_no_success(world: World, tmp_path: Path) -> None:
    copy = rewritten(world, tmp_path, lambda number, record: record)
    found = compare(copy, BundleStore(tmp_path / "empty"))
    # A guard may have taken the model back on the way; from then on the rules decided, which are in the log.
    assert (found.vectors_differ, found.decisions_differ, found.ok) == (0, 0, False)
    [(why, count)] = found.unjudged.items()
    assert "cannot be used here" in why and count == ROWS - found.decisions > 0
    assert "not judged" in found.text()


@pytest.mark.parametrize("name", ["r0", "r600", f"r{ROWS - 1}"])
def test_a_decision_is_made_again_to_the_bit(world: World, name: str) -> None:
    found = reproduce(world.data, world.store, name)
    assert (found.proved, found.ok, found.difference) == (BITS, True, None)
    assert (found.fraud_score, found.risk_score) == (found.logged.fraud_score, found.logged.risk_score)
    lsn, record, row = show(world.data, name)
    assert (lsn, row["transaction_id"]) == (found.lsn, name)
    assert record.decision == found.logged


def test_the_commands_show_and_reproduce(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDLOOP_STORE", str(world.store.root))
    data = ["--data", str(world.data)]
    assert run(["decisions", "show", "r5", *data]) == 0
    assert "fraud_score" in capsys.readouterr().out
    assert run(["decisions", "show", "r5", *data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["payment"]["transaction_id"] == "r5"
    assert run(["decisions", "reproduce", "r5", *data]) == 0
    assert BITS in capsys.readouterr().err
    assert run(["decisions", "reproduce", "r5", *data, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert run(["decisions", "show", "nobody", *data]) == 2
    assert run(["decisions", "show", "r5", "--data", "nowhere"]) == 1


def test_a_payment_that_is_not_there_and_a_folder_without_a_log_are_told(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not in the log"):
        show(world.data, "r")
    with pytest.raises(LedgerError, match="no log"):
        compare(tmp_path, world.store)


def test_a_replay_over_a_killed_scorer_leaves_nothing_undecided(
    folder: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUDLOOP_STORE", str(world.store.root))
    with serving(tmp_path / "data", "--name", "fraud", env={"FRAUDLOOP_STORE": str(world.store.root)}) as served:
        wait_for(lambda: len(served.children()) >= 2)
        victim = served.ask("GET", "/health")[1].get("pid")
        if victim is None:
            pytest.skip("/health does not name the process that decides")
        timer = threading.Timer(1.5, os.kill, (int(victim), signal.SIGKILL))
        timer.start()
        done = replay(folder / "table.parquet", url(served), Pace(rate=300.0), disorder=Disorder(duplicate=0.05))
        timer.join()
        assert (done.undecided, done.unlike, done.refused) == (0, 0, {})
        assert served.ask("GET", "/health")[1]["pid"] != victim
        assert served.stop() == 0
    found = compare(tmp_path / "data", world.store)
    assert (found.vectors, found.ok) == (ROWS, True), found.text()


def test_an_interrupted_replay_reports_and_the_command_compares(
    folder: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUDLOOP_STORE", str(world.store.root))
    table = str(folder / "table.parquet")
    with serving(tmp_path / "data", "--no-standby", "--name", "fraud", env={"FRAUDLOOP_STORE": str(world.store.root)}) as served:
        stopped = replay(table, url(served), Pace(speed=1_000.0), prefix="x-", live=lambda now: os.kill(os.getpid(), signal.SIGINT))
        assert stopped.stopped and stopped.load.duration_s < 20
        assert 0 < sum(stopped.outcomes.values()) < ROWS
        assert run(["replay", table, "--url", url(served), "--rate", "max", "--limit", "200", "--data", str(tmp_path / "data")]) == 0
        out, err = capsys.readouterr()
        assert "200" in out and "0 decisions differ" in err
        # Told again, the same ids with other times are conflicts, not decisions.
        assert run(["replay", table, "--url", url(served), "--rate", "500", "--limit", "20", "--json"]) == 0
        assert any(what.startswith("409") for what in json.loads(capsys.readouterr().out)["replay"]["refused"])


def test_a_comparison_of_nothing_is_in_order() -> None:
    assert Comparison().ok
