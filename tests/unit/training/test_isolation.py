"""The isolation forest as data: the order of the library's scores, and loners above the crowd."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fraudloop.scoring.trees import from_trees_json
from fraudloop.training.isolation import DEFAULTS, fit_isolation, path_length


def rows() -> np.ndarray:
    random = np.random.default_rng(0)
    return np.vstack([random.standard_normal((2_000, 3)), [[9.0, 9.0, 9.0]]]).astype(np.float32).astype(np.float64)


def test_the_margin_is_the_logarithm_of_the_librarys_score() -> None:
    from sklearn.ensemble import IsolationForest

    x = rows()
    model = fit_isolation(x, np.zeros(len(x), bool), np.ones(len(x)), {**DEFAULTS, "trees": 40, "sample_rows": 256}, 3, 1)
    library = IsolationForest(n_estimators=40, max_samples=256, random_state=3).fit(x.astype(np.float32))
    scores = -library.score_samples(x.astype(np.float32))
    margins = from_trees_json(model.encode(), 3, "model").margins(x)
    np.testing.assert_allclose(margins, math.log(2.0) + np.log(scores), atol=1e-9)


def test_a_loner_is_the_strangest_and_labels_change_nothing() -> None:
    x = rows()
    y = np.random.default_rng(1).random(len(x)) < 0.5
    params = {**DEFAULTS, "trees": 40}
    one = fit_isolation(x, y, np.where(y, 100.0, 1.0), params, 0, 1)
    assert one.encode() == fit_isolation(x, ~y, np.ones(len(x)), params, 0, 1).encode()
    assert int(np.argmax(from_trees_json(one.encode(), 3, "model").margins(x))) == len(x) - 1


@pytest.mark.parametrize("n", [10, 256])
def test_the_usual_path_is_that_of_a_search_tree(n: int) -> None:
    harmonic = sum(1.0 / k for k in range(1, n))
    assert path_length(np.array([float(n)]))[0] == pytest.approx(2.0 * harmonic - 2.0 * (n - 1) / n, rel=0.12)
