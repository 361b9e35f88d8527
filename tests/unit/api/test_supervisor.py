"""The family ends when it is told to, whatever its members do; who decides has its time to answer and to write a snapshot."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from fraudloop.api import supervisor
from fraudloop.api.supervisor import Supervisor

#: Says that it decides, answers no health, and takes a while to end.
ACTIVE = """
import os, signal, sys, time
def drain(*_):
    time.sleep(float(sys.argv[3]))
    open(sys.argv[2], "w").write("drained")
    os._exit(0)
signal.signal(signal.SIGTERM, drain)
os.write(int(sys.argv[1]), b"active\\n")
while True:
    time.sleep(1)
"""

#: Hears no word.
DEAF = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(int(sys.argv[1]), b"worker\\n")
while True:
    time.sleep(1)
"""


def family(tmp_path: Path, drain_s: float) -> tuple[int, float]:
    """Start one, and have it end once the helper is there; its exit code, and how long it took to end."""
    told: list[float] = []

    def command(role: str, listen: int, ready: int) -> list[str]:
        if role == "active":
            return [sys.executable, "-c", ACTIVE, str(ready), str(tmp_path / "drained"), str(drain_s)]
        return [sys.executable, "-c", DEAF, str(ready)]

    async def run() -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        one = Supervisor(listener, command, ("worker",), lambda text: None, standby=False)
        running = asyncio.create_task(one.run())
        while not (one._others and one._others["worker"].said):
            await asyncio.sleep(0.01)
        told.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)
        return await running

    code = asyncio.run(run())
    return code, time.monotonic() - told[0]


def test_a_helper_that_hears_no_word_is_killed_and_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_HELPER_END_S", 0.2)
    code, took_s = family(tmp_path, 0.0)
    assert code == 0
    assert took_s < supervisor._END_S / 2


def test_who_decides_is_not_taken_for_dead_while_it_answers_what_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PING_TIMEOUT_S", "_HELPER_END_S"):
        monkeypatch.setattr(supervisor, name, 0.2)
    # Until it is told to end it has two pings to miss; while it drains there would be time for many.
    monkeypatch.setattr(supervisor, "_PING_S", 1.0)
    code, _ = family(tmp_path, 6.0)
    assert code == 0
    assert (tmp_path / "drained").read_text() == "drained"
