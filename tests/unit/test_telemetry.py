"""Counters and stage times."""

from __future__ import annotations

import pytest

from fraudloop.clock import ManualClock
from fraudloop.telemetry import Telemetry, silent


def test_counters_add_up_by_name_and_labels_in_any_order() -> None:
    seen = Telemetry()
    seen.count("rows")
    seen.count("rejected", 2, rule="range", column="amount")
    seen.count("rejected", 3, column="amount", rule="range")
    assert seen.counters == {"rows": 1, 'rejected{column="amount",rule="range"}': 5}


def test_counters_only_grow() -> None:
    with pytest.raises(AssertionError, match="grow"):
        Telemetry().count("rows", -1)


def test_a_stage_is_timed_each_time_it_runs_even_if_it_fails() -> None:
    clock = ManualClock()
    seen = Telemetry(clock)
    with seen.stage("read"):
        clock.advance(us=1_500_000)

    def fail() -> None:
        with seen.stage("read"):
            clock.advance(us=500_000)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen.to_dict() == {"counters": {}, "seconds": {"read": 2.0}}


def test_silent_progress_takes_any_report() -> None:
    silent("read", 1, 0)
