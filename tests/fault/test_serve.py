"""A real family of processes whose disk is full, whose decider hangs, or that is told to stop: nothing answered is lost, and it goes on by itself."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import os
import resource
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fraudloop.engine.recovery import recover
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log
from fraudloop.ledger.records import Changed
from fraudloop.limits import DISK_FULL_BYTES
from fraudloop.pipelines.offline import compare
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import DEFAULT_HASH_KEY
from tests.family import Load, Served, payment, payments, records, serving, wait_for
from tests.fault.test_kill import check, decided_by

#: More than must be free for anything to be decided, and little enough to be filled.
DISK_BYTES = DISK_FULL_BYTES + 64 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of `DISK_BYTES`."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("a small disk needs root and mount")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},huge=never", "tmpfs", str(folder)], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@dataclass
class OnSmallDisk:
    """A service on a small disk, and its payments by number: what was told, and who was refused. noticed: while the disk was full, at least."""

    served: Served
    disk: Path
    moment: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    noticed: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def ask(self, number: int) -> bool:
        """Whether it was decided; if not, it is to come again."""
        status, told = self.served.ask("POST", "/score_transaction", payment(number, timestamp=self.moment))
        assert status in (200, 503), told
        if status == 200:
            self.answers[f"T{number}"] = told
        else:
            assert "come again" in str(told["detail"])
            self.refused.append(number)
        return status == 200

    def fill(self, leave: int) -> None:
        """All of the disk but so many bytes."""
        with (self.disk / "stuffing").open("wb") as file:
            while (room := shutil.disk_usage(self.disk).free - leave) > 0:
                with contextlib.suppress(OSError):
                    os.posix_fallocate(file.fileno(), file.tell(), room)
                    file.seek(room, os.SEEK_CUR)

    def empty(self) -> None:
        """There is room again, and so it goes on: everybody refused is decided now."""
        (self.disk / "stuffing").unlink()
        wait_for(lambda: bool(self.health()["ready"]), 60)
        again, self.refused = self.refused, []
        assert all(self.ask(number) for number in again)

    def health(self) -> dict[str, Any]:
        told = self.served.ask("GET", "/health")[1]
        self.noticed |= {*told["why"]}
        return told

    def end(self) -> None:
        """Told to stop it does, and nothing is lost."""
        assert self.served.stop() == 0
        load = Load(self.served)
        load.answers = self.answers
        check(self.served.data, load, least=len(self.answers))


@pytest.fixture
def on_small_disk(small_disk: Path, tmp_path: Path) -> Iterator[OnSmallDisk]:
    with serving(small_disk / "data", "--no-standby", env={"FRAUDLOOP_STORE": str(tmp_path / "store")}) as served:
        yield OnSmallDisk(served, small_disk)


@pytest.mark.timeout(300)
def test_before_the_disk_is_full_it_decides_no_more_and_once_there_is_room_it_goes_on(on_small_disk: OnSmallDisk) -> None:
    service = on_small_disk
    assert service.ask(next(service.numbers))
    service.fill(leave=DISK_FULL_BYTES // 2)
    wait_for(lambda: not service.health()["ready"], 60)
    assert "disk" in service.noticed
    for _ in range(3):
        assert not service.ask(next(service.numbers))
    service.empty()
    service.end()
    assert "log" not in service.noticed


@pytest.mark.timeout(300)
def test_a_log_that_cannot_be_written_is_said_and_once_there_is_room_it_goes_on(on_small_disk: OnSmallDisk) -> None:
    service = on_small_disk
    assert service.ask(next(service.numbers))
    # Who looks at the disk once a second may be first, and then nothing more is written: as often as that happens, again.
    for _ in range(20):
        service.fill(leave=0)
        while not service.refused:
            service.ask(next(service.numbers))
        with contextlib.suppress(AssertionError):
            wait_for(lambda: "log" in service.health()["why"], 2.5)  # tries to open the log fail meanwhile
        assert not service.health()["ready"]
        assert not service.ask(next(service.numbers))
        service.empty()
        if "log" in service.noticed:
            break
    service.end()
    assert "No space left" in service.served.errors.read_text()


@pytest.mark.timeout(300)
def test_a_decider_that_hangs_is_ended_and_the_one_that_stood_by_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as served:
        with Load(served) as load:
            wait_for(lambda: "standby" in served.children().values() and len(load.answers) > 20)
            hung = decided_by(served)
            os.kill(hung, signal.SIGSTOP)
            before = len(load.answers)
            wait_for(lambda: hung not in served.children(), 60)
            wait_for(lambda: len(load.answers) > before + 20, 60)
        assert not load.bad
        assert decided_by(served) != hung
        assert served.stop() == 0
    check(data, load)


@pytest.mark.timeout(300)
def test_told_to_stop_it_answers_what_is_under_way_and_starts_again_from_its_snapshot(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, "--no-standby") as served:
        with Load(served) as load:
            wait_for(lambda: len(load.answers) > 100)
            assert served.stop() == 0
        assert not load.bad
    check(data, load)
    found = recover(FolderFiles(data / "log"), data / "snapshots", DEFAULT_HASH_KEY)
    [newest] = [int(path.name) for path in (data / "snapshots").iterdir() if path.name.isdigit()]
    assert newest == found.state.next_lsn and not found.passed_over, "nothing of the log is read again"


@pytest.mark.timeout(300)
def test_a_decider_that_another_writer_has_taken_over_from_answers_nothing_and_ends_with_its_code(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, "--no-standby") as served:
        assert served.ask("POST", "/score_transaction", payment(1))[0] == 200
        first = decided_by(served)
        log = Log.open(FolderFiles(data / "log"), take_over=True)
        status, told = served.ask("POST", "/score_transaction", payment(2))
        assert status == 503, told
        wait_for(lambda: first not in served.children(), 30)
        log.close()
        wait_for(lambda: "exit code 3" in served.errors.read_text(), 10)  # a process is gone before who waits for it has been told
        wait_for(lambda: asked(served, 3) == 200, 60)
        assert served.stop() == 0


def asked(served: Served, number: int) -> int:
    try:
        return served.ask("POST", "/score_transaction", payment(number))[0]
    except (OSError, http.client.HTTPException):
        return 0


def test_while_the_state_is_folded_anew_it_decides_by_stricter_tiers_and_says_so(tmp_path: Path) -> None:
    """The file of the log reaches a limit of its size: the epoch ends, the state cannot be trusted, and a new segment is begun."""
    data = tmp_path / "data"
    with serving(data, "--no-standby") as served:
        with Load(served) as load:
            wait_for(lambda: len(load.answers) > 100)
            [active] = [pid for pid, role in served.children().items() if role == "active"]
            [segment] = (data / "log").glob("*.segment")
            _, hard = resource.prlimit(active, resource.RLIMIT_FSIZE)
            resource.prlimit(active, resource.RLIMIT_FSIZE, (segment.stat().st_size + 2_000, hard))
            wait_for(lambda: len([*(data / "log").glob("*.segment")]) > 1, 30)
            resource.prlimit(active, resource.RLIMIT_FSIZE, (hard, hard))
            before = len(load.answers)
            wait_for(lambda: len(load.answers) > before + 200)
            wait_for(lambda: "no_state" not in served.ask("GET", "/health")[1]["why"], 30)
            wait_for(lambda: not load.bad and len(load.answers) > before + 300)
        assert not load.bad
        assert served.stop() == 0
    blind = [name for name, answer in load.answers.items() if "no_state" in answer["degraded_why"]]
    assert blind and all(load.answers[name]["decision"] != "approve" for name in blind)
    logged = payments(data)
    assert {str(record.row[0]) for record in logged} >= set(load.answers) and len({record.row[0] for record in logged}) == len(logged)
    said = [(record.name, record.state) for record in records(data) if isinstance(record, Changed) and record.what == "state"]
    assert said == [("entities", "gone"), ("entities", "there")]
    found = compare(data, BundleStore(tmp_path / "none"))
    assert found.ok and found.vectors == len(logged), found.first


def test_what_a_service_writes_and_listens_on_is_for_nobody_else_on_the_machine(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as served:
        assert served.ask("POST", "/score_transaction", payment(1))[0] == 200
        sockets = [data / "run" / "desk.sock", data / "run" / "scorer.sock"]
        wait_for(lambda: all(path.is_socket() for path in [*sockets, *sockets]) and (data / "run" / "worker.json").exists())
        wait_for(lambda: served.ask("GET", "/metrics")[0] == 200)
        assert [stat.S_IMODE(path.stat().st_mode) & 0o077 for path in sockets] == [0, 0], "they ask for no key"
        assert {str(path): mode for path in [data, *data.rglob("*")] if (mode := stat.S_IMODE(path.stat().st_mode)) & 0o007} == {}
        assert served.stop() == 0
