"""A real family of processes whose disk is full, whose decider hangs, or that is told to stop: nothing answered is lost, and it goes on by itself."""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fraudloop.engine.recovery import recover
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log
from fraudloop.ledger.records import Changed
from fraudloop.pipelines.offline import compare
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import DEFAULT_HASH_KEY
from tests.family import Load, Served, payment, payments, records, serving, wait_for
from tests.fault.test_kill import check, decided_by


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("a small disk needs root and mount")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.timeout(300)
def test_while_the_disk_is_full_it_says_so_and_once_there_is_room_it_goes_on(small_disk: Path, tmp_path: Path) -> None:
    data, moment = small_disk / "data", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with serving(data, "--no-standby", env={"FRAUDLOOP_STORE": str(tmp_path / "store")}) as served:

        def ask(number: int) -> tuple[int, dict[str, Any]]:
            return served.ask("POST", "/score_transaction", payment(number, timestamp=moment))

        assert ask(1)[0] == 200
        stuffing = small_disk / "stuffing"
        with stuffing.open("wb") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4_096))
        refused: list[int] = []
        number = 2
        while len(refused) < 3:
            status, told = ask(number)
            assert status in (200, 503), told
            if status == 503:
                assert "come again" in str(told["detail"])
                refused.append(number)
            number += 1
            assert number < 5_000, "it was never full"
        time.sleep(2.5)  # tries to open the log fail meanwhile
        health = served.ask("GET", "/health")[1]
        # Who notices first says so: the log when it cannot be written, or who looks at the disk once a second.
        assert not health["ready"] and {"log", "disk"} & {*health["why"]}, health
        noticed = health["why"]
        assert ask(refused[0])[0] == 503
        stuffing.unlink()
        wait_for(lambda: bool(served.ask("GET", "/health")[1]["ready"]), 60)
        answers = {}
        for n in [1, *refused]:
            status, answers[f"T{n}"] = ask(n)
            assert status == 200, answers[f"T{n}"]
        assert served.stop() == 0
        load = Load(served)
        load.answers = answers
        check(data, load, least=4)
    assert "log" not in noticed or "No space left" in served.errors.read_text()


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
