"""Forests written as data give the chances that scikit-learn gives, whatever the values."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from fraudloop.errors import InputError
from fraudloop.scoring.trees import from_trees_json
from fraudloop.training import tree_json
from fraudloop.training.algorithms import find_algorithm
from fraudloop.training.tree_json import encode_trees, sklearn_tree

Floats = NDArray[np.float64]


def rows(missing: float) -> tuple[Floats, NDArray[np.bool_], Floats]:
    random = np.random.default_rng(11)
    x = random.normal(size=(2_000, 7)) * 10.0 ** np.arange(-3, 4)
    x[:, 2] = random.integers(0, 4, 2_000)  # a category by rank
    y = x[:, 0] * 1000 + x[:, 2] + random.normal(size=2_000) > 3.0
    x[random.random(x.shape) < missing] = np.nan
    return x, y, random.uniform(0.2, 3.0, 2_000)


def encoded(model: RandomForestClassifier, columns: int) -> bytes:
    count = len(model.estimators_)
    return encode_trees([sklearn_tree(one.tree_, one.tree_.value[:, 0, 1] / count) for one in model.estimators_], columns, 0.0, "vote")


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("depth", [3, 20, None])
def test_mean_votes_are_those_of_scikit_learn(missing: float, depth: int | None) -> None:
    x, y, weight = rows(missing)
    model = RandomForestClassifier(20, max_depth=depth, random_state=1, n_jobs=1).fit(x.astype(np.float32), y, weight)
    table = from_trees_json(encoded(model, 7), 7)
    edges = np.unique(table.threshold[np.isfinite(table.threshold)])
    assert missing == 0.0 or depth == 3 or np.isinf(table.threshold).any(), "splits of missing values from all others are among them"
    above = np.nextafter(edges.astype(np.float32), np.float32(np.inf)).astype(np.float64)
    there = np.concatenate([x, np.repeat(edges[:, None], 7, axis=1), np.repeat(above[:, None], 7, axis=1)])
    np.testing.assert_allclose(table.sums(there), model.predict_proba(there.astype(np.float32))[:, 1], atol=1e-12, rtol=0)


def test_covers_are_the_weights_that_came_by() -> None:
    x, y, weight = rows(0.0)
    model = RandomForestClassifier(2, max_depth=4, random_state=1, bootstrap=False, n_jobs=1).fit(x.astype(np.float32), y, weight)
    table = from_trees_json(encoded(model, 7), 7)
    assert table.cover[table.roots] == pytest.approx(weight.sum())
    inner = table.children[::2] != np.arange(len(table.feature))
    below = table.cover[table.children].reshape(-1, 2).sum(axis=1)
    assert below[inner] == pytest.approx(table.cover[inner])


def test_a_tree_fitted_on_some_columns_reads_them_where_they_stand() -> None:
    x, y, _ = rows(0.0)
    columns = [0, 2, 5]
    model = RandomForestClassifier(1, max_depth=3, random_state=1, n_jobs=1).fit(x[:, columns].astype(np.float32), y)
    tree = model.estimators_[0].tree_
    table = from_trees_json(encode_trees([sklearn_tree(tree, tree.value[:, 0, 1], columns)], 7, 0.0, "vote"), 7)
    np.testing.assert_allclose(table.sums(x), model.predict_proba(x[:, columns].astype(np.float32))[:, 1], atol=1e-12)


@pytest.mark.parametrize("only", [False, True])
def test_one_class_alone_is_a_vote_for_it(only: bool) -> None:
    x, y, weight = rows(0.0)
    forest = find_algorithm("forest")
    model = forest.fit(x, np.full(len(y), only), weight, forest.params({"trees": 2}), 0, 1)
    assert from_trees_json(model.encode(), 7).sums(x[:2]) == pytest.approx([float(only)] * 2)


def test_a_forest_that_no_bundle_could_hold_is_refused_with_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = rows(0.0)
    model = RandomForestClassifier(2, random_state=1, n_jobs=1).fit(x.astype(np.float32), y)
    monkeypatch.setattr(tree_json, "BUNDLE_FILE_BYTES_MAX", 1_000)
    with pytest.raises(InputError, match="fewer trees"):
        encoded(model, 7)


def test_the_file_is_plain_json_in_the_order_that_the_format_says() -> None:
    x, y, _ = rows(0.0)
    model = RandomForestClassifier(1, max_depth=1, random_state=1, n_jobs=1).fit(x.astype(np.float32), y)
    body = json.loads(encoded(model, 7))
    assert list(body) == ["schema", "columns", "base", "link", "compare", "trees"]
    assert list(body["trees"][0]) == ["feature", "threshold", "left", "right", "missing", "value", "cover"]
    assert body["trees"][0]["left"] == [1, -1, -1]
