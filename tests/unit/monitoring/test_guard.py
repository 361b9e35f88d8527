"""Guards against a plain count over the parts of a window; what trips, when once more, and what it costs."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError
from fraudloop.limits import GUARD_PAYMENTS_MIN, GUARD_RULE_SHARE_MAX, SECOND_US
from fraudloop.monitoring.guard import PARTS, Guard, Subject, Trip, counts, subjects_of

SUBJECTS = (Subject("rule", "a", "1", 0.2), Subject("rule", "b", "1", 0.5))
BATCHES = st.lists(
    st.tuples(st.sampled_from([0, 1, 500_000, 3 * SECOND_US, 50 * SECOND_US, 200 * SECOND_US]), st.integers(1, 40), st.floats(0, 1), st.floats(0, 1)), max_size=40
)  # fmt: skip


def plain(
    batches: list[tuple[int, int, tuple[int, int]]], windows: tuple[int, ...], least: int, release: float
) -> list[list[tuple[str, int]]]:
    """Trips of each batch as (name, window), counted anew each time over the parts that lie in the window."""
    armed = {s.name: True for s in SUBJECTS}
    out = []
    for now in range(len(batches)):
        trips = []
        at_us = batches[now][0]
        shares: dict[tuple[str, int], tuple[int, int]] = {}
        for window in windows:
            part_us = window * SECOND_US // PARTS
            mine = [b for b in batches[: now + 1] if b[0] // part_us > at_us // part_us - PARTS]
            for n, subject in enumerate(SUBJECTS):
                shares[subject.name, window] = (sum(b[1] for b in mine), sum(b[2][n] for b in mine))
            for subject in SUBJECTS:
                seen, acted = shares[subject.name, window]
                if armed[subject.name] and seen >= least and acted > subject.share_max * seen:
                    trips.append((subject.name, window))
                    armed[subject.name] = False
        for subject in SUBJECTS:
            if all(shares[subject.name, w][1] <= release * subject.share_max * shares[subject.name, w][0] for w in windows):
                armed[subject.name] = True
        out.append(trips)
    return out


@given(BATCHES)
@settings(max_examples=200, deadline=None)
def test_guards_trip_as_a_plain_count_says(steps: list[tuple[int, int, float, float]]) -> None:
    at, batches = 1_000 * SECOND_US, []
    for gap, payments, a, b in steps:
        at += gap
        batches.append((at, payments, (int(payments * a), int(payments * b))))
    guard = Guard(SUBJECTS, (60, 120), payments_min=30, release=0.5, look_payments=1)
    found = [[(trip.subject.name, trip.window_s) for trip in guard.note(t, n, np.array(acted))] for t, n, acted in batches]
    assert found == plain(batches, (60, 120), 30, 0.5)


def run(guard: Guard, shares: list[float], start: int = 0, size: int = 1_000) -> list[Trip]:
    """A batch a second; on each the first subject acts on that share."""
    return [trip for at, share in enumerate(shares) for trip in guard.note((start + at) * SECOND_US, size, np.array([round(share * size)]))]


def test_a_rule_that_acts_on_too_much_trips_once_and_again_only_after_it_was_quiet() -> None:
    one = Guard((Subject("rule", "a", "1", 0.05),), (60,))
    assert run(one, [0.04] * 30) == []
    first = run(one, [0.5] * 10, 30)
    assert len(first) == 1 and first[0].received_us == 30 * SECOND_US
    # About the limit: no second alarm. Well below it: armed; then it may trip again.
    assert run(one, [0.055, 0.045] * 100, 40) == []
    assert run(one, [0.0] * 61, 240) == []
    assert len(run(one, [0.9] * 20, 301)) == 1


def test_few_payments_trip_nothing_in_a_short_window_and_do_in_a_long_one() -> None:
    slow = Guard((Subject("rule", "a", "1", GUARD_RULE_SHARE_MAX),), look_payments=1)
    trips = [trip for minute in range(60) for trip in slow.note(minute * 60 * SECOND_US, 10, np.array([4]))]
    assert [trip.window_s for trip in trips] == [3_600]
    assert trips[0].payments == GUARD_PAYMENTS_MIN


@given(BATCHES, st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_however_seldom_it_looks_a_guard_counts_the_same(steps: list[tuple[int, int, float, float]], look: int) -> None:
    every, seldom = Guard(SUBJECTS, (60, 3_600), look_payments=1), Guard(SUBJECTS, (60, 3_600), look_payments=look)
    at = 0
    for gap, payments, a, b in steps:
        at += gap
        acted = np.array([int(payments * a), int(payments * b)])
        every.note(at, payments, acted)
        seldom.note(at, payments, acted)
    again = seldom.with_subjects(SUBJECTS)  # which takes up what waits
    assert [{**row, "armed": True} for row in again.shares()] == [{**row, "armed": True} for row in every.shares()]


def test_a_changed_rule_is_counted_anew_and_others_keep_their_counts() -> None:
    guard = Guard(SUBJECTS, payments_min=100, look_payments=1)
    assert [trip.subject.name for trip in guard.note(SECOND_US, 100, np.array([30, 50]))] == ["a"]
    b, c = SUBJECTS[1], Subject("rule", "c", "1", 0.1)
    again = guard.with_subjects((c, b, replace(SUBJECTS[0], version="2")))
    assert [(row["name"], row["acted"], row["armed"]) for row in again.shares() if row["window_s"] == 60] == [
        ("c", 0, True),
        ("b", 50, True),
        ("a", 0, True),
    ]
    assert [trip.subject.name for trip in again.note(2 * SECOND_US, 100, np.array([11, 51, 21]))] == ["c", "b", "a"]
    same = guard.with_subjects(SUBJECTS)
    assert same.shares() == guard.shares()


def test_what_a_batch_counts() -> None:
    hits = np.array([2, 0])
    tiers = np.array([Outcome.DECLINE, Outcome.REVIEW, Outcome.APPROVE], np.int8)
    assert counts(hits, tiers).tolist() == [2, 0, 2, 1]
    assert counts(hits, None).tolist() == [2, 0]
    assert [(s.kind, s.name) for s in subjects_of({"a": "1", "b": "1"}, "m")] == [
        ("rule", "a"),
        ("rule", "b"),
        ("model", "stop"),
        ("model", "decline"),
    ]
    assert Guard(()).note(0, 5, np.zeros(0, np.int64)) == ()


def test_limits_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(InputError, match="must be above 0"):
        Subject("rule", "a", "1", 0.0)
    with pytest.raises(InputError, match="release"):
        Guard(SUBJECTS, release=1.0)


def test_a_batch_costs_little() -> None:
    """On a quiet core about 8 us a batch of 32 with 20 rules and a model, counting included; the bound leaves room for a busy one."""
    guard = Guard(subjects_of({f"r{n}": "1" for n in range(20)}, "m"))
    hits, tiers = np.zeros(20, np.int64), np.zeros(32, np.int8)
    best = float("inf")
    for start in range(5):
        begin = time.perf_counter_ns()
        for n in range(1_000):
            guard.note((start * 1_000 + n) * 3_200, 32, counts(hits, tiers))
        best = min(best, time.perf_counter_ns() - begin)
    assert best / 1_000 < 60_000, best


@given(BATCHES, st.integers(0, 40), st.sampled_from([1, 25]))
@settings(max_examples=100, deadline=None)
def test_a_guard_of_what_another_had_counted_goes_on_as_that_one(
    steps: list[tuple[int, int, float, float]], cut: int, look_payments: int
) -> None:
    at = 1_000 * SECOND_US
    one = other = Guard(SUBJECTS, (60, 120), payments_min=30, release=0.5, look_payments=look_payments)
    for number, (gap, payments, a, b) in enumerate(steps):
        if number == cut:
            kept = json.loads(json.dumps(one.to_dict()))
            other = Guard.from_dict(kept, at, payments_min=30, release=0.5, look_payments=look_payments)
        at += gap
        acted = np.array([int(payments * a), int(payments * b)])
        told = one.note(at, payments, acted)
        assert other is one or other.note(at, payments, acted) == told
    assert other.to_dict()["armed"] == one.to_dict()["armed"]


def test_a_guard_whose_counts_are_of_a_later_moment_takes_what_comes_before_it() -> None:
    guard = Guard(SUBJECTS, (60,), payments_min=30, release=0.5, look_payments=1)
    guard.note(5_000_000, 10, np.array([1, 1]))
    Guard.from_dict(guard.to_dict(), 4_000_000, look_payments=1).note(4_000_000, 10, np.array([1, 1]))
