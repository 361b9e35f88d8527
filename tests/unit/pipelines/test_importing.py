"""A history into a log: as if told one by one, in one go or after a kill, and never twice."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fraudloop.api.absorb import Event, take
from fraudloop.api.backing import Backing
from fraudloop.api.wire import Absorbed
from fraudloop.cli.main import run
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.pan import TokenKey
from fraudloop.door.rates import RateTable
from fraudloop.door.row import RowDoor
from fraudloop.door.shape import Shape
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.service import Service
from fraudloop.errors import InputError
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.records import Labelled, Profiled
from fraudloop.pipelines import importing
from fraudloop.pipelines.importing import import_file
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import DEFAULT_HASH_KEY
from tests.family import clean_state, payments, records

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class History:
    """Files of one made history."""

    payments: Path
    labels: Path
    profiles: Path


def history(folder: Path, rows: int = 600, seed: int = 1) -> History:
    """Payments with ties, labels from several sources that take words back, profiles before, between and after."""
    dice = np.random.default_rng(seed)
    seconds = np.sort(dice.integers(0, 40 * 86_400, rows)) // 7 * 7
    times = [START + timedelta(seconds=int(s)) for s in seconds]
    table = pl.DataFrame(
        {
            "transaction_id": [f"r{n}" for n in range(rows)], "timestamp": times, "customer_id": [f"c{n}" if n else None for n in dice.integers(0, 25, rows)],
            "merchant_id": [f"m{n}" for n in dice.integers(0, 9, rows)], "amount": np.round(np.exp(dice.normal(3, 1, rows)), 2), "currency": ["EUR"] * rows,
            "country": dice.choice(["DE", "FR"], rows), "device_id": [f"d{n}" for n in dice.integers(0, 30, rows)], "latitude": np.round(dice.uniform(45, 55, rows), 4),
            "longitude": np.round(dice.uniform(0, 10, rows), 4), "is_online": dice.random(rows) < 0.5,
        }
    )  # fmt: skip
    told = []
    for n in dice.integers(0, rows, rows // 4).tolist():
        known = times[n] + timedelta(seconds=int(dice.integers(0, 20 * 86_400)))
        told.append((f"r{n}", bool(dice.random() < 0.6), str(dice.choice(["chargeback", "review", "customer_report"])), known))
    labels = pl.DataFrame(told, schema=["transaction_id", "is_fraud", "source", "known_at"], orient="row")
    who = [
        ("customer", f"c{n % 27}", START + timedelta(days=int(dice.integers(-2, 45))), str(dice.choice(["DE", "FR"]))) for n in range(40)
    ]
    profiles = pl.DataFrame(who, schema=["entity", "id", "time", "home_country"], orient="row")
    out = History(folder / "payments.parquet", folder / "labels.csv", folder / "profiles.parquet")
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(out.payments)
    labels.write_csv(out.labels, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    profiles.write_parquet(out.profiles)
    return out


def config(folder: Path) -> ServeConfig:
    return ServeConfig(data=str(folder))


@dataclass
class Hand:
    """A clock that is set."""

    us: int = 0

    def now_us(self) -> int:
        return self.us

    def elapsed_ns(self) -> int:
        return 0


@dataclass
class Live:
    """A service in this process, told one event at a time at a set time."""

    folder: Path
    first_us: int
    clock: Hand = field(default_factory=Hand)

    def __post_init__(self) -> None:
        self.clock.us = self.first_us
        self.service = Service.open(
            config(self.folder), FolderFiles(self.folder / "log"), BundleStore(self.folder / "none"), self.clock, lambda lsn: None,
            key=DEFAULT_HASH_KEY, columns=TRANSACTION_SCHEMA, units={},
        )  # fmt: skip
        self.backing = Backing(self.service, TokenKey(), lambda: None)
        self.door = RowDoor(Shape(), RateTable.sample("EUR"), TokenKey())

    def tell(self, body: dict[str, Any], now_us: int) -> Absorbed:
        self.clock.us = now_us
        told: list[Any] = []
        engine = self.service.engine
        take(body, Event("transaction", now_us, told.append), self.door, engine.ask, self.backing, labels=True)
        engine.step()
        engine.log.flush()
        engine.durable(engine.log.durable_lsn)
        [found] = told
        assert isinstance(found, Absorbed), found
        return found


def told_one_by_one(files: History, folder: Path) -> str:
    """The digest after every event was told alone, in the order of `docs/semantics.md`."""
    events: list[tuple[int, int, int, dict[str, Any]]] = []

    def us(moment: datetime) -> int:
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    def body(row: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in {**row, **more}.items() if v is not None}

    for n, row in enumerate(pl.read_parquet(files.payments).to_dicts()):
        events.append((us(row["timestamp"]), 2, n, body(row)))
    for n, row in enumerate(pl.read_csv(files.labels, try_parse_dates=True).to_dicts()):
        events.append((us(row["known_at"]), 1, n, body(row, kind="label")))
    for n, row in enumerate(pl.read_parquet(files.profiles).to_dicts()):
        events.append((us(row["time"]), 0, n, body(row, kind="profile")))
    events.sort(key=lambda event: event[:3])
    live = Live(folder, events[0][0])
    for at, _, _, told in events:
        live.tell(told, at)
    digest = live.service.engine.state.digest()
    live.service.close()
    return digest


@pytest.mark.parametrize("seed", [1, 2])
def test_an_import_is_what_telling_every_event_alone_would_have_been(tmp_path: Path, seed: int) -> None:
    files = history(tmp_path / "files", seed=seed)
    found = import_file(files.payments, config(tmp_path / "a"), labels=files.labels, profiles=files.profiles)
    assert (found.transactions, found.profiles, found.already, found.rejected) == (600, 40, 0, 0) and found.labels == 150
    assert found.digest == clean_state(tmp_path / "a").digest(), "as the log is read again"
    assert found.digest == told_one_by_one(files, tmp_path / "b")
    ours = [r for r in records(tmp_path / "a") if isinstance(r, Labelled)]
    theirs = [r for r in records(tmp_path / "b") if isinstance(r, Labelled)]
    assert [(r.transaction_id, r.before, r.after, r.time_us, r.rank, r.before_known_us) for r in ours] == [
        (r.transaction_id, r.before, r.after, r.time_us, r.rank, r.before_known_us) for r in theirs
    ]
    assert all(r.row["id"] is None and r.personal for r in records(tmp_path / "a") if isinstance(r, Profiled))
    assert all(r.decision is None and r.personal for r in payments(tmp_path / "a"))


KILLED = """
    import os, sys
    from pathlib import Path
    from fraudloop.engine.config import ServeConfig
    from fraudloop.pipelines import importing
    importing._GROUP_EVENTS = 100
    def progress(what, done, total):
        if what == "importing" and done >= int(sys.argv[5]):
            os._exit(9)
    importing.import_file(Path(sys.argv[1]), ServeConfig(data=sys.argv[4]), labels=Path(sys.argv[2]), profiles=Path(sys.argv[3]), progress=progress)
"""


def test_killed_between_groups_it_goes_on_to_the_same_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = history(tmp_path / "files")
    whole = import_file(files.payments, config(tmp_path / "whole"), labels=files.labels, profiles=files.profiles)
    words = [str(files.payments), str(files.labels), str(files.profiles), str(tmp_path / "cut")]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), *words, "300"], check=False, capture_output=True)
    assert done.returncode == 9, done.stderr
    monkeypatch.setattr(importing, "_GROUP_EVENTS", 100)
    found = import_file(files.payments, config(tmp_path / "cut"), labels=files.labels, profiles=files.profiles)
    assert found.already >= 200 and found.already + found.transactions + found.labels + found.profiles == 790
    assert found.digest == whole.digest == clean_state(tmp_path / "cut").digest()
    again = import_file(files.payments, config(tmp_path / "cut"), labels=files.labels, profiles=files.profiles)
    assert (again.transactions, again.already, again.digest) == (0, 790, whole.digest), "a third time changes nothing"


def test_what_is_there_already_and_what_comes_too_late_is_refused(tmp_path: Path) -> None:
    first, copy, older = (history(tmp_path / name, rows) for name, rows in (("one", 60), ("two", 61), ("old", 50)))
    pl.read_parquet(older.payments).with_columns(
        pl.col("timestamp").dt.offset_by("-1y"), pl.format("old{}", "transaction_id").alias("transaction_id")
    ).write_parquet(older.payments)
    import_file(first.payments, config(tmp_path / "data"))
    with pytest.raises(InputError, match="in the log already, the first is 'r0'"):
        import_file(copy.payments, config(tmp_path / "data"))
    with pytest.raises(InputError, match="history is imported before live traffic"):
        import_file(older.payments, config(tmp_path / "data"))
    assert len(payments(tmp_path / "data")) == 60


def test_the_command_says_what_is_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = history(tmp_path / "files", 60)
    words = ["ledger", "import", str(files.payments), "--data", str(tmp_path / "data"), "--labels", str(files.labels)]
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["transactions"] == 60 and told["next_lsn"] == len(records(tmp_path / "data"))
    assert run([*words]) == 0
    assert "75" in capsys.readouterr().out, "events that an earlier run had appended"
