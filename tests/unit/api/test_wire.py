"""Answers: the quick way gives the bytes of the plain one; lines are dropped rather than waited for."""

from __future__ import annotations

import json
import os
import time

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.api.lines import Lines
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
    data = answers.encode(Transacted(("t-1",), 1, made))
    assert data == msgspec.json.encode(answers.answer("t-1", made))
    body = json.loads(data)
    assert body["missing_features"] == [name for name, absent in zip(NAMES, gone, strict=True) if absent]
    assert body["latency_ms"] == 1.234 and body["degraded"] is bool(why)
    assert body["reasons"] == "deferred" if deferred and not told else len(body["reasons"]) == len(told)


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
