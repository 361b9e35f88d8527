"""Sketches count as the reference profile of a bundle was counted, whatever the batches; drift is what the formula says."""

from __future__ import annotations

import io
import math
import time
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.errors import BundleError
from fraudloop.monitoring.sketches import SCORE, Category, Numbers, Reference, Sketch, psi
from fraudloop.scoring.inputs import Inputs
from fraudloop.training.reference import WORDS, reference_bytes, reference_profile

NUMBERS = st.one_of(st.sampled_from([0.0, 1.0, 2.0, math.nan, math.inf]), st.floats(-100, 100))


def inputs(rng: np.random.Generator, n: int, move: float = 0.0) -> tuple[Inputs, np.ndarray[Any, Any]]:
    values = np.column_stack([rng.normal(move, 1, n), rng.integers(0, 3, n).astype(float), np.full(n, np.nan), rng.gamma(2, 30, n)])
    values[rng.random(n) < 0.1, 0] = np.nan
    words = [None if w == 0 else f"w{w}" for w in rng.zipf(1.3, n) % 200]
    return Inputs(("moved", "few", "never", "amount"), values, {"shop": words}), rng.beta(1, 50, n)


def test_a_sketch_of_the_training_rows_is_the_reference_itself() -> None:
    rows, scores = inputs(np.random.default_rng(1), 5_000)
    reference = Reference.from_parquet(reference_bytes(reference_profile(rows, scores), {}))
    sketch = Sketch(reference, rows.names)
    for at in range(0, 5_000, 32):
        part = rows[at : at + 32]
        sketch.update(part.values, scores[at : at + 32], part.categories)
    for number, counts in zip(reference.numbers, sketch.counts, strict=True):
        assert counts.tolist() == list(number.rows), number.name
    assert sketch.words[0].tolist() == list(reference.categories[0].rows)
    assert len(reference.categories[0].words) == WORDS
    assert [number.name for number in reference.numbers][-1] == SCORE
    assert all(row["psi"] == 0.0 for row in sketch.drift())


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["a", "b", "z", None])), min_size=1, max_size=30), st.integers(1, 9))
@settings(deadline=None)
def test_a_sketch_counts_as_searching_the_edges_does(rows: list[tuple[float, float, float, str | None]], size: int) -> None:
    edges = (0.0, 1.0, 2.0)
    numbers = (
        Numbers("x", edges, (1, 1, 1, 1, 0)),
        Numbers("absent", (5.0,), (1, 1, 0)),
        Numbers("y", (), (1, 0)),
        Numbers(SCORE, (0.5,), (1, 1, 0)),
    )
    reference = Reference(numbers, (Category("c", ("a", "b"), (1, 1, 0, 0)),))
    sketch = Sketch(reference, ("y", "x"))
    for at in range(0, len(rows), size):
        part = rows[at : at + size]
        sketch.update(np.array([[r[1], r[0]] for r in part]), np.array([r[2] for r in part]), {"c": [r[3] for r in part]})
    x = np.array([r[0] for r in rows])
    known = np.isfinite(x)
    expected = np.bincount(np.searchsorted(edges, x[known], side="right"), minlength=4)
    assert sketch.counts[0].tolist() == [*expected.tolist(), int((~known).sum())]
    assert sketch.counts[1].tolist() == [0, 0, 0]
    assert sketch.counts[2].tolist() == [sum(math.isfinite(r[1]) for r in rows), sum(not math.isfinite(r[1]) for r in rows)]
    assert sum(sketch.counts[3].tolist()) == len(rows)
    words = [r[3] for r in rows]
    assert sketch.words[0].tolist() == [words.count("a"), words.count("b"), words.count("z"), words.count(None)]
    mean = next(row["mean"] for row in sketch.drift() if row["column"] == "x")
    assert mean is None if not known.any() else mean == pytest.approx(x[known].mean(), abs=1e-9)


def test_sketches_add_up_are_taken_and_go_round_as_data() -> None:
    rng = np.random.default_rng(2)
    rows, scores = inputs(rng, 400)
    reference = Reference.from_rows(reference_profile(rows, scores).to_dicts())
    whole, first, second = (Sketch(reference, rows.names) for _ in range(3))
    whole.update(rows.values, scores, rows.categories)
    first.update(rows[:150].values, scores[:150], rows[:150].categories)
    second.update(rows[150:].values, scores[150:], rows[150:].categories)
    both = first.merge(Sketch.from_dict(second.to_dict(), reference, rows.names))
    assert [c.tolist() for c in both.counts] == [c.tolist() for c in whole.counts]
    assert [c.tolist() for c in both.words] == [c.tolist() for c in whole.words]
    assert both.rows == whole.rows == 400
    taken = whole.take()
    assert [c.tolist() for c in taken.counts] == [c.tolist() for c in both.counts]
    assert taken.rows == both.rows
    assert whole.rows == 0 and not any(c.any() for c in (*whole.counts, *whole.words))
    assert all(row["psi"] is None for row in whole.drift())


def test_what_moved_stands_out_of_the_noise_and_what_did_not_does_not() -> None:
    rng = np.random.default_rng(3)
    rows, scores = inputs(rng, 20_000)
    reference = Reference.from_rows(reference_profile(rows, scores).to_dicts())
    later, later_scores = inputs(rng, 4_000, move=0.7)
    sketch = Sketch(reference, rows.names)
    sketch.update(later.values, later_scores, later.categories)
    found = {row["column"]: row for row in sketch.drift()}
    assert sketch.drift()[0]["column"] == "moved"
    assert found["moved"]["psi"] > 0.25
    for name in ("few", "amount", SCORE, "shop"):
        assert found[name]["psi"] < 3 * found[name]["noise"], name
    assert found["never"]["psi"] == 0.0 and found["never"]["missing"] == 1.0
    assert found["shop"]["unknown"] == pytest.approx(found["shop"]["unknown_reference"], abs=0.03)
    assert found["moved"]["missing"] == pytest.approx(0.1, abs=0.02)


def test_the_index_is_the_sum_that_it_is_defined_as() -> None:
    now, then = np.array([10, 30, 60, 0, 0]), np.array([250, 250, 250, 250, 0])
    q, p = (now[:4] + 0.5) / 102, (then[:4] + 0.5) / 1_002
    assert psi(now, then) == pytest.approx(sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True)))


def test_what_is_no_profile_is_refused() -> None:
    with pytest.raises(BundleError, match="not the profile of a bundle"):
        Reference.from_parquet(b"PAR1")
    out = io.BytesIO()
    pl.DataFrame({"a": [1]}).write_parquet(out)
    with pytest.raises(BundleError, match="not the profile of a bundle"):
        Reference.from_parquet(out.getvalue())


def test_a_payment_costs_little() -> None:
    """On a quiet core about 0.8 us a payment in batches of 32: 61 features, two categories and a score. The bound leaves room for a busy one."""
    rng = np.random.default_rng(4)
    names = tuple(f"f{n}" for n in range(61))
    values, scores = rng.normal(0, 1, (32, 61)), rng.random(32)
    edges = tuple(np.linspace(-1.3, 1.3, 9).tolist())
    numbers = (*(Numbers(name, edges, (1,) * 11) for name in names), Numbers(SCORE, edges, (1,) * 11))
    words = {name: [f"w{n}" for n in range(32)] for name in ("a", "b")}
    categories = tuple(Category(name, tuple(f"w{n}" for n in range(50)), (1,) * 52) for name in words)
    sketch = Sketch(Reference(numbers, categories), names)
    best = math.inf
    for _ in range(5):
        begin = time.perf_counter_ns()
        for _ in range(200):
            sketch.update(values, scores, words)
        best = min(best, (time.perf_counter_ns() - begin) / 200 / 32)
    assert best < 15_000, best
