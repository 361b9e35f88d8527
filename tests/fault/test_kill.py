"""Kill -9 at random moments under load: what was answered is there, once, as it was answered, and the state is that of a clean fold."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from fraudloop.engine.recovery import recover
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import verify
from fraudloop.settings import DEFAULT_HASH_KEY
from tests.conftest import PROVE, SEED
from tests.family import Load, Served, clean_state, payments, serving, start, wait_for

KILLS = 50 if PROVE else 5


def seeded() -> random.Random:
    """The moments of the kills; a failing test prints the seed that FRAUDLOOP_SEED takes."""
    seed = SEED or random.randrange(1, 1 << 30)
    sys.stderr.write(f"FRAUDLOOP_SEED={seed}\n")
    return random.Random(seed)


def decided_by(served: Served) -> int:
    """The process that decides: it says so itself."""
    found: list[int] = []

    def said() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            found.append(int(served.ask("GET", "/health", timeout=5.0)[1]["pid"]))
        return bool(found)

    wait_for(said)
    return found[-1]


@pytest.mark.timeout(900)
def test_nothing_answered_is_lost_or_doubled_when_the_scorer_is_killed(tmp_path: Path) -> None:
    chance = seeded()
    data = tmp_path / "data"
    with serving(data) as served:
        with Load(served) as load:
            for _ in range(KILLS):
                wait_for(lambda: "standby" in served.children().values() or KILLS > 5)
                time.sleep(chance.uniform(0.0, 0.6))
                before = len(load.answers)
                with contextlib.suppress(ProcessLookupError):  # it may have ended since it said so
                    os.kill(decided_by(served), signal.SIGKILL)
                wait_for(lambda before=before: len(load.answers) > before)  # type: ignore[misc]
        assert not load.bad
        assert served.stop() == 0
    check(data, load)


@pytest.mark.timeout(900)
def test_nothing_answered_is_lost_or_doubled_when_the_whole_family_is_killed(tmp_path: Path) -> None:
    chance = seeded()
    data = tmp_path / "data"
    answers: dict[str, dict[str, object]] = {}
    first = 0
    for _ in range(max(2, KILLS // 10)):
        served = start(data)
        with Load(served, first=first) as load:
            wait_for(lambda load=load: len(load.answers) > 50)  # type: ignore[misc]
            time.sleep(chance.uniform(0.0, 1.0))
            served.kill_all()
            load._stop.set()
        assert not load.bad
        answers |= load.answers
        first += 100_000
    load.answers = answers
    check(data, load)


def check(data: Path, load: Load, least: int = 20) -> None:
    """The log against what the clients were told."""
    found = verify(FolderFiles(data / "log"))
    assert found.records > 0
    logged = payments(data)
    by_id = Counter(str(record.row[0]) for record in logged)
    doubled = [name for name, count in by_id.items() if count > 1]
    assert not doubled, f"{len(doubled)} payments stand twice in the log, like {doubled[:3]}"
    lost = [name for name in load.answers if name not in by_id]
    assert not lost, f"{len(lost)} of {len(load.answers)} answered payments are not in the log, like {lost[:3]}"
    assert len(load.answers) >= least
    for record in logged:
        answer = load.answers.get(str(record.row[0]))
        if answer is not None:
            assert record.decision is not None
            assert answer["latency_ms"] == record.decision.latency_us / 1_000, "a retry is told what was decided first"
            assert answer["fraud_score"] == record.decision.fraud_score
    clean = clean_state(data)
    resumed = recover(FolderFiles(data / "log"), data / "snapshots", DEFAULT_HASH_KEY)
    assert not resumed.passed_over
    assert resumed.state.digest() == clean.digest()
    assert resumed.state.next_lsn == clean.next_lsn
    assert clean.fold is not None and clean.fold.verify()
