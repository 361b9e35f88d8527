"""A thread that sleeps in small pieces while the loop takes steps, and is no burden when it takes none."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from fraudloop.engine.metronome import Metronome, is_wanted

if sys.platform != "linux":
    pytest.skip("no Linux: threads cannot be looked at", allow_module_level=True)


def slept(metronome: Metronome) -> int:
    """How often its thread went to sleep so far."""
    status = Path(f"/proc/self/task/{metronome._thread.native_id}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches")).split()[1])


def until_it_rests(metronome: Metronome) -> None:
    end = time.monotonic() + 30
    while metronome._shared[1]:
        assert time.monotonic() < end, "it never rests"
        time.sleep(0.01)


def test_it_wakes_up_while_there_are_steps_and_rests_when_there_are_none() -> None:
    metronome = Metronome()
    try:
        until_it_rests(metronome)
        before = slept(metronome)
        time.sleep(0.3)
        assert slept(metronome) - before <= 1
        for _ in range(2):  # and again, after a rest
            before, end = slept(metronome), time.monotonic() + 30
            while slept(metronome) - before < 100:
                assert time.monotonic() < end, "it does not wake up"
                metronome.step()
                time.sleep(0.002)
            until_it_rests(metronome)
    finally:
        metronome.stop()


def test_it_ends_when_it_is_told_to_whether_it_rests_or_not() -> None:
    for steps in (0, 1):
        metronome = Metronome()
        for _ in range(steps):
            metronome.step()
        metronome.stop()
        metronome.stop()
        metronome.step()  # nobody is there any more: nothing happens
        assert not metronome._thread.is_alive()


def test_a_full_pipe_holds_nobody_up() -> None:
    metronome = Metronome()
    try:
        for _ in range(200_000):
            metronome._shared[1] = 0
            metronome.step()
    finally:
        metronome.stop()


def test_it_is_for_who_shares_one_core() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert is_wanted()
        if len(before) > 1:
            os.sched_setaffinity(0, before)
            assert not is_wanted()
    finally:
        os.sched_setaffinity(0, before)
