"""The worker and what the scorer makes of it, without processes: export, retention, the disk, alarms."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from fraudloop.api import worker as workers
from fraudloop.api.listings import Listings
from fraudloop.api.worker import STALE_US, Report, Watch, Worker, read_report, write_report
from fraudloop.clock import SystemClock
from fraudloop.door.identity import DEFAULT_KEY
from fraudloop.door.pan import TokenKey
from fraudloop.engine.config import ServeConfig
from fraudloop.errors import InputError, RefusedError
from fraudloop.ledger.export import days
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.index import fingerprint
from fraudloop.ledger.log import Log
from fraudloop.ledger.memory_index import MemoryIndex
from fraudloop.ledger.records import encode
from fraudloop.ledger.room import HeadRoom, Room, disk_room, head_room
from tests.family import wait_for
from tests.ledgers import records_of
from tests.unit.pipelines.test_importing import Live


def log_in(folder: Path, payments: int, **told: object) -> int:
    log = Log.open(FolderFiles(folder / "log"))
    records = records_of(payments, **told)  # type: ignore[arg-type]
    for at in range(0, len(records), 50):
        log.append(log.epoch, [encode(record) for record in records[at : at + 50]])
    log.flush()
    log.close()
    return len(records)


def worker(folder: Path, **settings: object) -> Worker:
    config = ServeConfig.from_dict({"data": str(folder), **settings})
    return Worker(config, DEFAULT_KEY, SystemClock(), threading.Event())


def test_it_indexes_exports_and_reports(tmp_path: Path) -> None:
    count = log_in(tmp_path, 400, days=3.5)
    mine = worker(tmp_path)
    while mine.index():
        pass
    mine.keep_beside()
    assert mine._keeping is not None
    mine._keeping.join(30)
    found = mine.report()
    assert found == read_report(tmp_path / "run")
    assert found.indexed_lsn == count and found.lag_bytes == 0 and found.room == "ok" and found.alarms == {}
    assert [day.day for day in days(tmp_path / "export")] == [
        "2026-01-01",
        "2026-01-02",
        "2026-01-03",
    ] and found.exported_day == "2026-01-03"
    assert not [path for path in (tmp_path / "export").iterdir() if path.name.endswith(".writing")]
    kept = mine._keeping
    mine.keep_beside()
    assert mine._keeping is kept, "a day is written once"


def test_an_index_that_catches_up_with_history_is_not_behind_by_the_age_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_in(tmp_path, 400, days=3.5)
    monkeypatch.setattr(workers, "_RECORDS", 50)
    mine = worker(tmp_path)
    assert mine.index()
    found = mine.report()
    assert found.lag_bytes and found.lag_s < 60 and not found.alarms, "it came months ago, and a second ago into this log"
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + workers.LAG_S_MAX + 1)
    assert "behind the log" in mine.report().alarms["index"], "for two minutes pages have lacked something"
    while mine.index():
        pass
    assert not mine.report().alarms and mine.report().lag_s == 0


def test_an_index_of_another_log_is_an_alarm_and_not_the_end(tmp_path: Path) -> None:
    log_in(tmp_path / "a", 20)
    log_in(tmp_path / "b", 20)
    first = worker(tmp_path / "a")
    assert first.index()
    (tmp_path / "a" / "index.sqlite").rename(tmp_path / "b" / "index.sqlite")
    for name in ("index.sqlite-wal", "index.sqlite-shm"):
        if (tmp_path / "a" / name).exists():
            (tmp_path / "a" / name).rename(tmp_path / "b" / name)
    other = worker(tmp_path / "b")
    assert other.index() == 0 and "reindex" in other.alarms["index"] and "reindex" in other.report().alarms["index"]
    (tmp_path / "b" / "index.sqlite").unlink()
    for name in ("index.sqlite-wal", "index.sqlite-shm"):
        (tmp_path / "b" / name).unlink(missing_ok=True)
    assert other.index() and not other.alarms


def test_it_ends_soon_when_it_is_told_to(tmp_path: Path) -> None:
    log_in(tmp_path, 400, days=3.5)
    mine = worker(tmp_path)
    thread = threading.Thread(target=mine.run)
    thread.start()
    wait_for(lambda: read_report(tmp_path / "run") is not None, 20)
    begin = time.monotonic()
    mine.stop.set()
    thread.join(10)
    assert not thread.is_alive() and time.monotonic() - begin < 5


def fake(state: Room) -> HeadRoom:
    free = {Room.OK: 10**12, Room.LOW: 10**10, Room.FULL: 10**6}[state]
    room = head_room(free, 2 * 10**12, 0.0)
    assert room.state is state
    return room


def test_the_scorer_sees_the_disk_itself_and_the_workers_alarms_while_they_are_fresh(tmp_path: Path) -> None:
    rooms = [Room.OK]
    watch = Watch(ServeConfig(data=str(tmp_path)), lambda folder, per_s: fake(rooms[0]))
    assert watch.look(0) == {} and watch.report is None, "a service that has just begun has no worker yet"
    said = Report(1_000, 1, 5, 0, 0.0, "", 0, 0, "ok", 1, 2, None, {"index": "behind"})
    write_report(tmp_path / "run", said)
    assert watch.look(2_000) == {"worker:index": "behind"}
    assert set(watch.look(1_000 + STALE_US)) == {"worker"}
    rooms[0] = Room.LOW
    assert set(watch.look(2_000)) == {"worker:index", "disk"}
    rooms[0] = Room.FULL
    assert "nothing new is decided" in watch.look(2_000)["disk"]
    assert watch.room is not None and watch.room.state is Room.FULL
    (tmp_path / "run" / "worker.json").write_text("{")
    assert set(watch.look(2_000)) == {"disk"}


def test_asking_the_disk_is_cheap_enough_for_every_second(tmp_path: Path) -> None:
    begin = time.process_time()
    for _ in range(100):
        disk_room(tmp_path)
    assert time.process_time() - begin < 0.1


def test_while_the_disk_is_full_nothing_new_is_decided_and_stored_answers_are_given(tmp_path: Path) -> None:
    from fraudloop.errors import UnavailableError

    live = Live(tmp_path, 1_767_225_600_000_000)
    body = {"transaction_id": "a", "timestamp": "2026-01-01T00:00:01Z", "amount": 5, "customer_id": "c"}
    first = live.tell(body, 1_767_225_601_000_000)
    live.service.engine.halted = UnavailableError("the disk is full", retry_after_s=10)
    assert live.tell(body, 1_767_225_602_000_000) == first
    for new in ({**body, "transaction_id": "b"}, {"kind": "label", "transaction_id": "a", "is_fraud": True}):
        with pytest.raises(AssertionError, match="the disk is full"):
            live.tell(new, 1_767_225_603_000_000)
    assert not live.backing.health().ready
    live.service.engine.halted = None
    assert live.tell({**body, "transaction_id": "b"}, 1_767_225_604_000_000).absorbed and live.backing.health().ready
    live.service.close()


def test_what_retention_removed_is_forgotten_and_may_come_again(tmp_path: Path) -> None:
    live = Live(tmp_path, 1_767_225_600_000_000)
    body = {"transaction_id": "a", "timestamp": "2026-01-01T00:00:01Z", "amount": 5, "customer_id": "c"}
    first = live.tell(body, 1_767_225_601_000_000)
    state = live.service.engine.state
    state.first_lsn = state.next_lsn
    again = live.tell(body, 1_767_225_602_000_000)
    assert again.lsn > first.lsn and live.tell(body, 1_767_225_603_000_000) == again
    assert len(state.known.rows()) == 1
    live.service.close()


def test_settings_of_the_worker_are_checked() -> None:
    with pytest.raises(InputError, match="retention_days = -1"):
        ServeConfig.from_dict({"data": "d", "retention_days": -1})


def test_a_query_means_what_it_says_and_a_wrong_one_names_its_parameter() -> None:
    mine = Listings(MemoryIndex)
    ask, before, limit = mine.asked([("outcome", "Review"), ("outcome", "decline,approve"), ("customer", " c1 "), ("from", "2026-01-01"), ("limit", "7"), ("before_lsn", "9")])  # fmt: skip
    assert (ask.outcomes, ask.customer, ask.from_us, before, limit) == (
        frozenset({0, 2, 3}),
        fingerprint("c1"),
        1_767_225_600_000_000,
        9,
        7,
    )
    card = "4" + "1" * 15
    assert mine.asked([("customer", card)])[0].customer == fingerprint(TokenKey().token(card)), "payments hold the token"
    assert mine.asked([("until", "2026-01-01T01:00:00 01:00")])[0].until_us == 1_767_225_600_000_000, "a plus sign that was not escaped"
    for name, text in (
        ("outcome", "maybe"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "x"),
        ("before_lsn", "-1"),
        ("from", "2026-13-01"),
        ("until", "2026-01-01T00:00:00"),
        ("colour", "red"),
    ):
        with pytest.raises(RefusedError) as error:
            mine.asked([(name, text)])
        assert str(error.value).startswith(f"{name}: ")
    with pytest.raises(RefusedError, match="twice"):
        mine.asked([("limit", "1"), ("limit", "2")])
    assert mine.page([]).decisions == []
