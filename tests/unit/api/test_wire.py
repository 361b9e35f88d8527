"""Answers: the quick way gives the bytes of the plain one; lines are dropped rather than waited for."""

from __future__ import annotations

import json
import os
import time

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.api.lines import Lines
from fraudloop.api.metrics import SCORE, Tally
from fraudloop.api.wire import Answers
from fraudloop.ledger.records import Decision, Reason, Transacted
from tests.service import NAMES, decision

TEXT = st.text(max_size=20)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.tuples(st.integers(0, 3), st.integers(0, 3)), st.none() | FLOATS, st.none() | FLOATS,
    st.lists(st.tuples(TEXT, TEXT, st.none() | FLOATS, TEXT), max_size=4), st.booleans(), st.lists(TEXT, max_size=2),
    st.lists(st.booleans(), min_size=len(NAMES), max_size=len(NAMES)), st.none() | TEXT,
)  # fmt: skip
def test_an_answer_is_the_same_bytes_quick_or_plain(
    outcome: tuple[int, int], score: float | None, risk: float | None, told: list[tuple[str, str, float | None, str]], deferred: bool, why: list[str],
    gone: list[bool], model: str | None,
) -> None:  # fmt: skip
    vector = np.where(gone, np.nan, 1.0).tobytes()
    made = Decision(
        outcome[0], outcome[1], 0, score, risk, (), tuple(Reason(*one) for one in told), deferred, tuple(why), vector, 0, 0, model, "r", "p", "q", "b",
        latency_us=1_234,
    )  # fmt: skip
    answers = Answers()
    answers.plan("q", NAMES)
    record = Transacted(("t-1",), 1, made)
    data = answers.encode(record)
    assert data == msgspec.json.encode(answers.answer("t-1", made))
    answers.ahead([Transacted(("t-0",), 1), record, Transacted(("t-2",), 1, made)])
    assert answers.encode(record) == answers.encode(record) == data
    assert answers.encode(Transacted(("t-3",), 1, made)) == data.replace(b'"t-1"', b'"t-3"', 1)
    body = json.loads(data)
    assert body["missing_features"] == [name for name, absent in zip(NAMES, gone, strict=True) if absent]
    assert body["latency_ms"] == 1.234 and body["degraded"] is bool(why)
    assert body["reasons"] == "deferred" if deferred and not told else len(body["reasons"]) == len(told)


def test_one_answer_that_cannot_be_written_is_no_harm_to_the_others() -> None:
    answers = Answers()
    answers.plan("p" * 16, NAMES)
    records = [Transacted((name,), 1, decision(100)) for name in ("t-1", "\ud800", "t-3")]
    alone = [answers.encode(records[0]), answers.encode(records[2])]
    answers.ahead(records)
    assert [answers.encode(records[0]), answers.encode(records[2])] == alone
    with pytest.raises(UnicodeEncodeError):
        answers.encode(records[1])


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.floats(0, 1) | st.sampled_from(SCORE), st.integers(0, 3_000_000), st.lists(st.sampled_from("abc"), max_size=2), st.booleans()), max_size=40))  # fmt: skip
def test_decisions_are_counted_together_as_one_by_one(told: list[tuple[int, float | None, int, list[str], bool]]) -> None:
    made = [
        Decision(outcome, 0, 0, score, score, hits, (), False, ("x",) if degraded else (), b"", 0, 0, None, "r", "p", "q", "b", latency_us=latency)
        for outcome, score, latency, hits, degraded in told
    ]  # fmt: skip
    one_by_one, together = Tally(), Tally()
    for d in made:
        one_by_one.decided(d)
    for part in (made[:25], made[25:]):
        together.decided_all(part)
    assert together == one_by_one


def test_lines_for_a_reader_that_does_not_read_are_dropped_and_counted() -> None:
    read, write = os.pipe()
    lines = Lines(write, waiting_max=1_000)
    begin = time.perf_counter()
    for lsn in range(20_000):
        lines.decided(b"r", 1, lsn, decision(100))
    assert time.perf_counter() - begin < 5
    assert lines.dropped > 10_000
    os.close(read)
    lines.close()
    os.close(write)


def test_sampled_lines_keep_whatever_was_not_approved(tmp_path: object) -> None:
    read, write = os.pipe()
    lines = Lines(write, every=10)
    for lsn in range(100):
        lines.decided(b"r", 1, lsn, decision(100, outcome=2 if lsn == 55 else 0))
    lines.close()
    os.close(write)
    with os.fdopen(read) as file:
        found = [json.loads(line)["lsn"] for line in file]
    assert found == sorted({*range(0, 100, 10), 55})
    none = Lines(0, every=0)
    none.decided(b"r", 1, 0, decision(100, outcome=3))
    none.close()
    assert none.dropped == 0


def test_a_plan_is_looked_up_when_it_is_first_met_and_asked_for_again_while_nobody_knows_it() -> None:
    known: dict[str, tuple[str, ...]] = {}
    answers = Answers()
    answers.look_up = lambda plan: known.get(plan, ())
    vector = np.array([1.0, np.nan]).tobytes()
    assert answers.missing("q", vector)[0] == ()
    known["q"] = ("a", "b")
    assert answers.missing("q", vector)[0] == ("b",)
