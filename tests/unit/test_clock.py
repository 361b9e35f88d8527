"""Clocks: the machine's, and one that moves only when told to."""

from __future__ import annotations

import time

import pytest

from fraudloop.clock import Clock, ManualClock, SystemClock


def test_the_system_clock_gives_microseconds_since_1970() -> None:
    clock: Clock = SystemClock()
    before = time.time()
    now = clock.now_us()
    assert before * 1e6 - 1 <= now <= time.time() * 1e6 + 1


def test_elapsed_time_never_steps_back() -> None:
    clock = SystemClock()
    seen = [clock.elapsed_ns() for _ in range(1_000)]
    assert seen == sorted(seen)


def test_a_manual_clock_moves_only_when_told_to() -> None:
    clock = ManualClock(us=5)
    assert (clock.now_us(), clock.now_us()) == (5, 5)
    clock.advance(us=7)
    assert (clock.now_us(), clock.elapsed_ns()) == (12, 12_000)


def test_a_manual_clock_does_not_go_back() -> None:
    with pytest.raises(AssertionError, match="forward"):
        ManualClock().advance(us=-1)
