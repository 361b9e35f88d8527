"""Two deciders beside each other against plain counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.monitoring.agreement import UNSAID, Agreement, Observed

SCORES = st.one_of(st.floats(0, 1, allow_subnormal=False), st.just(math.nan))
PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), SCORES, SCORES), min_size=1, max_size=30)
SEEN = st.lists(st.tuples(st.integers(0, UNSAID), st.integers(0, 3), st.integers(0, 2_000), SCORES), min_size=1, max_size=40)


def agreed(pairs: list[tuple[int, int, float, float]]) -> Agreement:
    out = Agreement()
    if pairs:
        a, b, x, y = (np.array(column) for column in zip(*pairs, strict=True))
        out.note(a.astype(np.int8), b.astype(np.int8), x.astype(float), y.astype(float))
    return out


@given(PAIRS)
@settings(deadline=None)
def test_a_challenger_agrees_as_a_plain_count_says(pairs: list[tuple[int, int, float, float]]) -> None:
    found = agreed(pairs).to_dict()
    assert found["differing_share"] == pytest.approx(sum(a != b for a, b, *_ in pairs) / len(pairs))
    assert found["milder_share"] == pytest.approx(sum(b < a for a, b, *_ in pairs) / len(pairs))
    assert found["severer_share"] == pytest.approx(sum(b > a for a, b, *_ in pairs) / len(pairs))
    both = [(x, y) for *_, x, y in pairs if not (math.isnan(x) or math.isnan(y))]
    if len(both) > 2 and min(np.std([x for x, _ in both]), np.std([y for _, y in both])) > 0.01:
        expected = float(np.corrcoef(np.array(both).T)[0, 1])
        assert found["score_correlation"] == pytest.approx(expected, abs=1e-6)
    split = agreed(pairs[: len(pairs) // 2]).merge(Agreement.from_dict(agreed(pairs[len(pairs) // 2 :]).to_dict()))
    assert (split.outcomes == agreed(pairs).outcomes).all()
    assert split.sums == pytest.approx(agreed(pairs).sums)


def observed(rows: list[tuple[int, int, int, float]], most: int = 5, first: int = 0, size: int = 4) -> Observed:
    out = Observed(most)
    for at in range(0, len(rows), size):
        theirs, ours, amount, score = (np.array(column) for column in zip(*rows[at : at + size], strict=True))
        ids = [f"t{first + at + n:03d}" for n in range(len(theirs))]
        out.note(ids, theirs, ours.astype(np.int8), amount.astype(float), score.astype(float))
    return out


@given(SEEN, st.integers(1, 9))
@settings(deadline=None)
def test_what_is_observed_is_what_a_plain_count_says(rows: list[tuple[int, int, int, float]], size: int) -> None:
    found = observed(rows, size=size)
    for row in found.rows():
        names = ["approve", "challenge", "review", "decline", "unsaid"]
        mine = [r for r in rows if (names[r[0]], names[r[1]]) == (row["theirs"], row["ours"])]
        assert (row["payments"], row["money"]) == (len(mine), sum(r[2] for r in mine))
    said = [(*r, n) for n, r in enumerate(rows) if r[0] != UNSAID]
    ranked = sorted(((abs(t - o), m, f"t{n:03d}") for t, o, m, _, n in said if t != o), reverse=True)[:5]
    assert [row["transaction_id"] for row in found.most_different()] == [name for *_, name in ranked]
    summary = found.summary()
    assert summary["we_stop_they_pass"]["money"] == sum(m for t, o, m, *_ in said if t < 2 <= o)
    assert summary["they_stop_we_pass"]["payments"] == sum(o < 2 <= t for t, o, *_ in said)


@given(SEEN)
@settings(deadline=None)
def test_what_is_observed_is_merged_and_goes_round_as_data(rows: list[tuple[int, int, int, float]]) -> None:
    half = len(rows) // 2
    both = Observed.from_dict(observed(rows[:half]).to_dict()).merge(observed(rows[half:], first=half))
    assert _plain(both) == _plain(observed(rows))


def _plain(of: Observed) -> Any:
    return repr(of.to_dict())


def test_labels_tell_who_was_right_and_are_reversed() -> None:
    seen = observed([(0, 3, 900, 0.9), (2, 0, 40, 0.1)])
    seen.label(0, 3, 900.0, True)
    seen.label(2, 0, 40.0, True)
    seen.label(2, 0, 40.0, False, was=True)
    summary = seen.summary()
    assert summary["we_stop_they_pass"] == {"payments": 1, "money": 900.0, "frauds": 1, "fraud_money": 900.0}
    assert summary["they_stop_we_pass"] == {"payments": 1, "money": 40.0, "frauds": 0, "fraud_money": 0.0}
