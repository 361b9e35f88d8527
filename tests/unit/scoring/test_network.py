"""A network in ONNX: contributions that add up, the same bits at any batch size, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fraudloop.errors import BundleError
from fraudloop.scoring.network import NetworkScorer, OnnxNetwork
from fraudloop.training.network_onnx import encode_network
from tests.networks import Plain
from tests.networks import rows as table

COLUMNS = 5


def graph(seed: int = 0, hidden: tuple[int, ...] = (256, 128, 64)) -> bytes:
    return Plain.random(COLUMNS, hidden, seed).encode()


def rows(n: int = 1_000) -> np.ndarray:
    return table(n, COLUMNS)


@pytest.mark.parametrize(("columns", "hidden"), [(COLUMNS, (8,)), (COLUMNS, (256, 128, 64)), (81, (256, 128, 64)), (81, (100, 30))])
def test_onnx_runtime_says_the_same_of_the_same_file(columns: int, hidden: tuple[int, ...]) -> None:
    data, x = Plain.random(columns, hidden).encode(), table(500, columns) / 3.0
    scorer, oracle = NetworkScorer(data, columns), OnnxNetwork(data, columns)
    assert scorer.base == oracle.base
    for found, expected in zip(scorer.explained(x), oracle.run(x, explain=True), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_a_network_of_its_own_is_served_without_onnx_runtime() -> None:
    code = f"""
import sys
from fraudloop.scoring.network import NetworkScorer
import numpy as np
NetworkScorer({graph(hidden=(8,))!r}, {COLUMNS}).explained(np.zeros((1, {COLUMNS})))
assert not {{"onnx", "onnxruntime"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", [1, 2, 7, 32, 999])
def test_margins_and_contributions_have_the_same_bits_in_a_batch_of_any_size(size: int) -> None:
    scorer, x = NetworkScorer(graph(), COLUMNS), rows()
    for found in (scorer.margins, scorer.contributions):
        parts = np.concatenate([found(x[at : at + size]) for at in range(0, len(x), size)])
        assert parts.tobytes() == found(x).tobytes()


@pytest.mark.parametrize("size", [0, 1, 2, 33])
def test_both_in_one_pass_have_the_bits_that_each_has_by_itself(size: int) -> None:
    scorer, x = NetworkScorer(graph(), COLUMNS), rows()[:size]
    margins, contributions = scorer.explained(x)
    assert margins.tobytes() == scorer.margins(x).tobytes() and margins.shape == (size,)
    assert contributions.tobytes() == scorer.contributions(x).tobytes() and contributions.shape == (size, COLUMNS)


@pytest.mark.parametrize("hidden", [(8,), (256, 128, 64)])
def test_base_and_contributions_add_up_to_the_margin(hidden: tuple[int, ...]) -> None:
    scorer = NetworkScorer(graph(hidden=hidden), COLUMNS)
    x = rows()
    np.testing.assert_allclose(scorer.base + scorer.contributions(x).sum(axis=1), scorer.margins(x), atol=1e-4, rtol=0)


def test_a_row_at_the_baseline_or_next_to_it_gets_finite_contributions_that_add_up() -> None:
    random = np.random.default_rng(3)
    baseline = random.standard_normal(COLUMNS).astype(np.float32)
    data = encode_network(
        [random.standard_normal((COLUMNS, 9)).astype(np.float32), random.standard_normal((9, 1)).astype(np.float32)],
        [np.zeros(9, np.float32), np.zeros(1, np.float32)],
        baseline,
    )
    scorer = NetworkScorer(data, COLUMNS)
    near = baseline + np.array([0.0, 1e-7, 1e-5, 1e-3])[:, None]
    found = scorer.contributions(near)
    assert found[0].tolist() == [0.0] * COLUMNS
    np.testing.assert_allclose(scorer.base + found.sum(axis=1), scorer.margins(near), atol=1e-5, rtol=0)


def test_with_one_hidden_layer_contributions_are_those_of_the_rule_by_hand() -> None:
    data = encode_network(
        [np.array([[1.0, -1.0], [2.0, 0.5]], np.float32), np.array([[3.0], [-2.0]], np.float32)],
        [np.array([0.0, 1.0], np.float32), np.array([0.5], np.float32)],
        np.array([1.0, 0.0], np.float32),
    )
    scorer = NetworkScorer(data, 2)
    # At the baseline the units hold z0 = (1, 0) and pass on (1, 0); at (2, -1) z = (0, -1.5) and they pass on (0, 0).
    # Shares: (0 - 1) / (0 - 1) = 1 and 0 / -1.5 = 0, so only the first unit's weights (1, 2) times 3 count.
    assert scorer.base == 3.5
    assert scorer.margins(np.array([[2.0, -1.0]])).tolist() == [0.5]
    assert scorer.contributions(np.array([[2.0, -1.0]])).tolist() == [[3.0, -6.0]]


def test_no_rows_give_nothing() -> None:
    scorer = NetworkScorer(graph(), COLUMNS)
    assert scorer.margins(np.empty((0, COLUMNS))).shape == (0,)
    assert scorer.contributions(np.empty((0, COLUMNS))).shape == (0, COLUMNS)


@pytest.mark.parametrize("data", [b"", b"not onnx", graph()[:500]])
def test_what_is_no_network_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(BundleError, match=r"models/x\.onnx"):
        NetworkScorer(data, COLUMNS, "models/x.onnx")


def test_another_number_of_columns_is_refused() -> None:
    with pytest.raises(BundleError, match="6 columns"):
        NetworkScorer(graph(), COLUMNS + 1)
