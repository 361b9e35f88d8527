"""The worker of `serve`: a process that follows the log behind the scorer, fills the index, exports days that are over, lets go of what is old.

    log ──▶ index      batches, then a rest as long as they took several times over: never more than the idle share of a core
        ──▶ export     a thread; each day once a record of a later day is there
        ──▶ retention  the same thread; what is exported, indexed, in a snapshot and old
    disk ─▶ run/worker.json: how all of it stands, for the scorer's health and the metrics

Nothing waits for it: killed at any moment it goes on where it was, and while it is away decisions go on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from fraudloop.clock import Clock, SystemClock
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.recovery import newest_first
from fraudloop.errors import FraudloopError
from fraudloop.ledger.export import day_of, days, export
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.index import Index, Indexer
from fraudloop.ledger.log import segments
from fraudloop.ledger.postgres_index import PostgresIndex
from fraudloop.ledger.retention import retain
from fraudloop.ledger.room import HeadRoom, Room, disk_room
from fraudloop.ledger.sqlite_index import SqliteIndex
from fraudloop.ledger.standing import begin_of
from fraudloop.telemetry import Progress

#: Below what the scorer and the process that stands by have: it runs when they do not.
NICE: Final = 10

#: What it works at most of the time, as a share: the rest after a batch follows from it.
SHARE: Final = 0.25

#: Between two looks at the log when there was nothing, and between two at the disk.
_REST_S: Final = 1.0
_ROOM_S: Final = 2.0

#: Records of a batch: one transaction of the index, some tenths of a second.
_RECORDS: Final = 20_000

#: Between two looks at what may be let go of.
_RETAIN_S: Final = 3_600.0

#: An index further behind than this is an alarm: pages would mislead.
LAG_S_MAX: Final = 120.0

#: What it says is believed for so long.
STALE_US: Final = 30_000_000

FILE: Final = "worker.json"
INDEX: Final = "index.sqlite"
EXPORT: Final = "export"


class Report(msgspec.Struct, frozen=True):
    """What `run/worker.json` says. at_us: when. indexed_lsn, lag_bytes, lag_s: of the index. exported_day: the last whole day, empty before the
    first. first_lsn: where the log begins. room, free_bytes, total_bytes, days_left: of the disk. alarms: by name, in words."""

    at_us: int
    pid: int
    indexed_lsn: int
    lag_bytes: int
    lag_s: float
    exported_day: str
    first_lsn: int
    log_bytes: int
    room: str
    free_bytes: int
    total_bytes: int
    days_left: float | None
    alarms: dict[str, str]


def read_report(run: Path) -> Report | None:
    """What the worker said last; None if it said nothing that is understood."""
    try:
        return msgspec.json.decode((run / FILE).read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError):
        return None


def open_index(config: ServeConfig) -> Index:
    """The index of a service: a file in its folder, or PostgreSQL where its settings name one."""
    return PostgresIndex(config.index_url) if config.index_url else SqliteIndex(config.folder / INDEX)


def run_worker(config: ServeConfig, key: bytes, ready: Callable[[str], None]) -> int:
    """Work until told to stop."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    os.nice(NICE)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # not allowed here: nice alone will do
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # on one core with the scorer, only what that one leaves
    worker = Worker(config, key, SystemClock(), stop)
    ready("worker")
    worker.run()
    return 0


class _Stopped(Exception):
    """The process is to end."""


class Worker:
    """stop: set when it is to end. room: asked for the disk (tests give another)."""

    def __init__(
        self, config: ServeConfig, key: bytes, clock: Clock, stop: threading.Event, room: Callable[[Path, float], HeadRoom] = disk_room
    ) -> None:
        self.config, self.key, self.clock, self.stop = config, key, clock, stop
        self.alarms: dict[str, str] = {}
        self._room = room
        self._files = FolderFiles(config.log)
        self._index: Index | None = None
        self._indexer: Indexer | None = None
        self._indexed_lsn = 0
        self._newest_us = 0
        self._growth = _Growth()
        #: When the index lacked nothing last, by the monotonic clock.
        self._whole_s = time.monotonic()
        self._exported = ""
        self._looked_at = ""
        self._keeping: threading.Thread | None = None
        self._retained_s = -_RETAIN_S

    def run(self) -> None:
        """Turn until told to stop."""
        reported = -_ROOM_S
        while not self.stop.is_set():
            begin = time.monotonic()
            done = self.index()
            self.keep_beside()
            now = time.monotonic()
            if now - reported >= _ROOM_S:
                self.report()
                reported = now
            spent = time.monotonic() - begin
            self.stop.wait(max(0.05 if done >= _RECORDS else _REST_S, spent * (1 / SHARE - 1)))
        if self._index is not None:
            self._index.close()

    def index(self) -> int:
        """Index a batch; how many records. What goes wrong is an alarm, and is tried again from the beginning."""
        try:
            if self._indexer is None:
                self._index = open_index(self.config)
                self._indexer = Indexer(self._files, self._index, key=self.key, begin=begin_of(self._files), patient=True)
            done = self._indexer.step(_RECORDS)
            if done or not self._indexed_lsn:
                assert self._index is not None
                mark = self._index.watermark()
                if mark is not None:
                    self._indexed_lsn, self._newest_us = mark.next_lsn, mark.received_us
        except (FraudloopError, OSError) as error:
            self.alarms["index"] = str(error)
            self._indexer = None
            if self._index is not None:
                self._index.close()
                self._index = None
            return 0
        self.alarms.pop("index", None)
        return done

    def keep_beside(self) -> None:
        """Begin a thread that exports and lets go, if there is something for it and none is at work."""
        if self._keeping is not None and self._keeping.is_alive():
            return
        today = day_of(self._newest_us) if self._newest_us else ""
        due = today > self._looked_at or time.monotonic() - self._retained_s >= _RETAIN_S
        if not due or not today:
            return
        self._keeping = threading.Thread(target=self._keep, args=(today,), daemon=True)
        self._keeping.start()

    def _keep(self, today: str) -> None:
        files = FolderFiles(self.config.log)
        try:
            if today > self._looked_at:
                self.export(files)
                self._looked_at = today
            if time.monotonic() - self._retained_s >= _RETAIN_S:
                self.retain(files)
                self._retained_s = time.monotonic()
        except _Stopped:
            pass
        except (FraudloopError, OSError, ImportError) as error:
            self.alarms["export"] = str(error)
            self._retained_s = time.monotonic()
            self._looked_at = today
        else:
            self.alarms.pop("export", None)
        finally:
            files.close()

    def export(self, files: FolderFiles) -> None:
        """Write the days that are over."""
        out = self.config.folder / EXPORT
        export(files, out, begin=begin_of(files), progress=self._resting())
        there = days(out)
        self._exported = there[-1].day if there else ""

    def retain(self, files: FolderFiles) -> None:
        """Let go of what is old, as far as the oldest snapshot allows."""
        snapshots = newest_first(self.config.snapshots)
        if not snapshots or self.config.retention_days == 0:
            return
        index = open_index(self.config)
        try:
            retain(
                files, self.config.folder / EXPORT, index, snapshot_lsn=int(snapshots[-1].name), now_us=self.clock.now_us(),
                retention_days=self.config.retention_days, progress=self._resting(),
            )  # fmt: skip
        finally:
            index.close()

    def _resting(self) -> Progress:
        """A progress that takes its rest as it goes, and ends the work when the process is to end."""
        begin = time.monotonic()

        def progress(what: str, done: int, total: int) -> None:
            nonlocal begin
            if self.stop.is_set():
                raise _Stopped
            worked = time.monotonic() - begin
            if worked > 0.05:
                self.stop.wait(worked * (1 / SHARE - 1))
                begin = time.monotonic()

        return progress

    def report(self) -> Report:
        """Look at the disk and say how everything stands, in one rename."""
        now_us = self.clock.now_us()
        row = segments(self._files)
        size = sum(self._files.size(segment.name) for segment in row)
        room = self._room(self.config.folder, self._growth.per_s(time.monotonic(), size))
        alarms = dict(self.alarms)
        lag_bytes, lag_s = 0, 0.0
        if self._indexer is not None:
            with contextlib.suppress(FraudloopError, OSError):
                lag = self._indexer.lag(now_us)
                # History that was imported just now came long ago, and the index has not been behind for so long.
                now_s = time.monotonic()
                if not lag.bytes:
                    self._whole_s = now_s
                lag_bytes, lag_s = lag.bytes, min(lag.seconds, now_s - self._whole_s)
        if lag_s > LAG_S_MAX:
            alarms["index"] = f"the index is {lag_s:,.0f} seconds behind the log; pages lack what came since"
        if room.state is not Room.OK:
            alarms["disk"] = said_of(room)
        out = Report(
            now_us, os.getpid(), self._indexed_lsn, lag_bytes, lag_s, self._exported, row[0].first_lsn if row else 0, size, room.state.value,
            room.free_bytes, room.total_bytes, room.days_left, alarms,
        )  # fmt: skip
        write_report(self.config.run, out)
        return out


class _Growth:
    """How fast the log grows, over the last hour at most."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def per_s(self, now_s: float, size: int) -> float:
        """Bytes a second; what retention removed is not growth."""
        if self._seen and size < self._seen[-1][1]:
            self._seen = []
        if not self._seen or now_s - self._seen[-1][0] >= 60:
            self._seen = [*self._seen[-60:], (now_s, size)]
        then_s, then = self._seen[0]
        return (size - then) / (now_s - then_s) if now_s - then_s >= 60 else 0.0


def said_of(room: HeadRoom) -> str:
    """The room of a disk in words."""
    left = "" if room.days_left is None else f", {room.days_left:.1f} days at this rate"
    full = "; nothing new is decided until there is room" if room.state is Room.FULL else ""
    return f"{room.free_bytes / 1e9:.2f} of {room.total_bytes / 1e9:.1f} GB of the log's disk are free{left}{full}"


def write_report(run: Path, report: Report) -> None:
    """Whole or not at all. Where the disk is full it is the old one that stays."""
    with contextlib.suppress(OSError):
        run.mkdir(parents=True, exist_ok=True)
        fresh = run / f"{FILE}.new"
        fresh.write_bytes(msgspec.json.encode(report) + b"\n")
        fresh.replace(run / FILE)


class Watch:
    """What the scorer makes of the disk and of the worker's report, once a second. room: asked for the disk."""

    def __init__(self, config: ServeConfig, room: Callable[[Path, float], HeadRoom] = disk_room) -> None:
        self._config, self._room = config, room
        self.report: Report | None = None
        self.room: HeadRoom | None = None

    def look(self, now_us: int) -> Mapping[str, str]:
        """The alarms of the moment, by name. The disk is asked itself: the worker may be what has died."""
        self.report = found = read_report(self._config.run)
        fresh = found is not None and now_us - found.at_us < STALE_US
        out: dict[str, Any] = {f"worker:{name}": text for name, text in found.alarms.items() if name != "disk"} if found and fresh else {}
        if found is not None and not fresh:
            out["worker"] = "the worker has not been heard of for half a minute; index, export and retention stand still"
        per_s = 0.0
        if found is not None and found.days_left:
            per_s = found.free_bytes / found.days_left / 86_400
        with contextlib.suppress(OSError):
            self.room = self._room(self._config.folder, per_s)
            if self.room.state is not Room.OK:
                out["disk"] = said_of(self.room)
        return out
