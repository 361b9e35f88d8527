"""The network's kernel: held to plain float64, and to itself row by row through each of its ways."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.scoring.network import NetworkScorer
from tests.networks import Plain, rows


@settings(max_examples=60, deadline=None)
@given(
    columns=st.integers(1, 90), hidden=st.lists(st.integers(1, 150), min_size=1, max_size=4), n=st.integers(1, 70), seed=st.integers(0, 99)
)  # fmt: skip
def test_margins_and_contributions_are_those_of_plain_float64(columns: int, hidden: list[int], n: int, seed: int) -> None:
    plain, x = Plain.random(columns, hidden, seed), rows(n, columns, seed)
    margins, contributions = NetworkScorer(plain.encode(), columns).explained(x)
    expected = plain.explained(x)
    np.testing.assert_allclose(margins, expected[0], atol=2e-5, rtol=2e-5)
    np.testing.assert_allclose(contributions, expected[1], atol=5e-4, rtol=1e-3)  # quotients of small differences


@settings(max_examples=40, deadline=None)
@given(columns=st.integers(1, 90), hidden=st.lists(st.integers(1, 150), min_size=1, max_size=3), seed=st.integers(0, 99))
def test_a_row_has_the_same_bits_alone_among_few_and_among_many(columns: int, hidden: list[int], seed: int) -> None:
    scorer, x = NetworkScorer(Plain.random(columns, hidden, seed).encode(), columns), rows(75, columns, seed)
    margins, contributions = scorer.explained(x)
    for size in (1, 2, 8, 9, 16, 17, 32, 33):
        parts = [scorer.explained(x[at : at + size]) for at in range(0, len(x), size)]
        assert np.concatenate([part[0] for part in parts]).tobytes() == margins.tobytes(), size
        assert np.concatenate([part[1] for part in parts]).tobytes() == contributions.tobytes(), size
        alone = [scorer.margins(x[at : at + size]) for at in range(0, len(x), size)]
        assert np.concatenate(alone).tobytes() == margins.tobytes(), size


def test_a_value_that_is_none_stays_with_its_row() -> None:
    scorer, x = NetworkScorer(Plain.random(5, (20, 7)).encode(), 5), rows(40, 5)
    clean = scorer.explained(x)
    x[[0, 3, 39], [1, 2, 4]] = np.nan, np.inf, 1e300
    margins, contributions = scorer.explained(x)
    kept = np.setdiff1d(np.arange(40), [0, 3, 39])
    assert margins[kept].tobytes() == clean[0][kept].tobytes() and contributions[kept].tobytes() == clean[1][kept].tobytes()
    assert not np.isfinite(margins[[0, 3, 39]]).any()


@pytest.mark.parametrize("size", [1, 5, 40])
def test_rows_may_lie_anyhow_in_memory_and_are_left_as_they_are(size: int) -> None:
    scorer, x = NetworkScorer(Plain.random(5, (20, 7)).encode(), 5), rows(size, 5)
    expected, kept = scorer.explained(x), x.copy()
    fixed = x.copy()
    fixed.flags.writeable = False
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], fixed):
        assert scorer.explained(other)[1].tobytes() == expected[1].tobytes()
    assert x.tobytes() == kept.tobytes()


def test_threads_do_not_share_working_memory() -> None:
    scorer, x = NetworkScorer(Plain.random(30, (64, 64)).encode(), 30), rows(2_000, 30)
    expected = scorer.explained(x)[1].tobytes()
    with ThreadPoolExecutor(4) as pool:
        assert {found[1].tobytes() for found in pool.map(lambda _: scorer.explained(x), range(16))} == {expected}
