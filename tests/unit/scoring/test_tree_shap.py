"""TreeSHAP against its definition (all subsets of columns), the shap library and the boosters' own contributions."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest, RandomForestClassifier

from fraudloop.scoring.tree_shap import gather, row_sums, tree_shap
from fraudloop.scoring.trees import JsonTree, TreeTable, from_lightgbm_text, from_trees_json, from_xgboost_json
from fraudloop.training.tree_json import encode_trees, sklearn_tree

Floats = NDArray[np.float64]
COLUMNS = 6


def rows(n: int = 2_000, missing: float = 0.15, columns: int = COLUMNS) -> tuple[Floats, NDArray[np.bool_]]:
    """Numbers, a column of few values, a category by frequency rank; values missing."""
    random = np.random.default_rng(3)
    x = random.normal(size=(n, columns))
    x[:, 1] = np.round(x[:, 1])
    x[:, 2] = np.minimum(random.geometric(0.4, n) - 1, 5)
    y = x[:, 0] + 0.5 * x[:, 1] * (x[:, 2] == 1) + x[:, 3] * x[:, 4] + random.normal(size=n) > 1.5
    x[random.random(x.shape) < missing] = np.nan
    return x, y


# --- the definition -----------------------------------------------------------------------------------------------


def expected(table: TreeTable, root: int, x: Floats, known: frozenset[int]) -> float:
    """What to expect of a tree when only these columns are known: unknown ones go both ways, by cover."""

    def below(node: int) -> float:
        left, right = int(table.children[2 * node]), int(table.children[2 * node + 1])
        if left == node:
            return float(table.leaf[node])
        column, threshold = int(table.feature[node]), float(table.threshold[node])
        if column in known:
            value = x[column]
            if math.isnan(value) and table.missing[node] == 2:
                value = 0.0
            if math.isnan(value):
                return below(left if table.missing[node] == 1 else right)
            return below(left if value < threshold or (not table.strict and value == threshold) else right)
        whole = float(table.cover[node])
        shares = [float(table.cover[child]) / whole if whole > 0 else 0.5 for child in (left, right)]
        return shares[0] * below(left) + shares[1] * below(right)

    return below(root)


def by_definition(table: TreeTable, x: Floats) -> tuple[Floats, float]:
    """Shapley values of one row over all subsets of columns, and what is expected when none is known."""
    row, count = table.read(x[None])[0], table.inputs

    def value(known: frozenset[int]) -> float:
        return sum(expected(table, int(root), row, known) for root in table.roots)

    values = {frozenset(s): value(frozenset(s)) for size in range(count + 1) for s in itertools.combinations(range(count), size)}
    out = np.zeros(count)
    for column in range(count):
        for known, before in values.items():
            if column not in known:
                weight = math.factorial(len(known)) * math.factorial(count - len(known) - 1) / math.factorial(count)
                out[column] += weight * (values[known | {column}] - before)
    return out, table.base + values[frozenset()]


@st.composite
def tree(draw: st.DrawFn, columns: int = 4, depth: int = 6) -> JsonTree:
    """Any shape, columns that come again on one way, covers that do not add up or are 0, nodes without rows."""
    node: dict[str, list[Any]] = {key: [] for key in ("feature", "threshold", "left", "right", "missing", "value", "cover")}

    def grow(room: int) -> int:
        at = len(node["feature"])
        leaf = room == 0 or draw(st.integers(0, 3)) == 0
        entries = (-1 if leaf else draw(st.integers(0, columns - 1)), 0.0 if leaf else float(draw(st.integers(-2, 2))), -1, -1, draw(st.integers(0, 1)), float(draw(st.integers(-8, 8))) if leaf else 0.0, float(draw(st.integers(0, 9))))  # fmt: skip
        for key, entry in zip(node, entries, strict=True):
            node[key].append(entry)
        if not leaf:
            node["left"][at] = grow(room - 1)
            node["right"][at] = grow(room - 1)
        return at

    grow(depth)
    return JsonTree(**node)


@given(st.lists(tree(), min_size=1, max_size=3), st.lists(st.lists(st.sampled_from([-3.0, -1.0, 0.0, 1.0, 2.0, math.nan]), min_size=4, max_size=4), min_size=1, max_size=3))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_contributions_are_shapley_values_over_all_subsets_of_columns(trees: list[JsonTree], values: list[list[float]]) -> None:
    x = np.array(values)
    shap = tree_shap(from_trees_json(encode_trees(trees, 4, 0.25, "margin"), 4))
    found = shap.contributions(x)
    for row, contributions in zip(x, found, strict=True):
        right, base = by_definition(shap.table, row)
        # Covers of the children above that of their parent make leaves count many times over.
        tolerance = 1e-12 * max(1.0, float(np.abs(right).max()), abs(base))
        np.testing.assert_allclose(contributions, right, atol=tolerance, rtol=1e-10)
        assert shap.base == pytest.approx(base, rel=1e-10, abs=1e-12)


@given(st.lists(tree(), min_size=1, max_size=3), st.booleans(), st.integers(0, 2**32 - 1), st.integers(2, 19))
@settings(max_examples=100, deadline=None)
def test_a_row_goes_as_it_is_scored_and_alone_as_beside_others(trees: list[JsonTree], strict: bool, seed: int, n: int) -> None:
    """Whatever threshold and value; also where a missing value is read as 0, as LightGBM does."""
    random = np.random.default_rng(seed)
    made = from_trees_json(encode_trees(trees, 4, 0.25, "margin"), 4)
    kinds = random.integers(0, 3, len(made.missing)).astype(np.uint8)
    extremes = [-math.inf, -np.finfo(float).max, -5e-324, -0.0, 0.0, 5e-324, 1.0, np.nextafter(1.0, 2.0), np.finfo(float).max, math.inf]
    threshold = np.where(random.random(len(kinds)) < 0.5, made.threshold, random.choice(extremes, len(kinds)))
    shap = tree_shap(dataclasses.replace(made, strict=strict, single=False, missing=kinds, threshold=threshold))
    x = random.choice([*extremes, -2.0, -1e-36, 1e-300, 2.0, math.nan], (n, 4))
    alone = np.concatenate([shap.contributions(x[at : at + 1]) for at in range(n)])
    assert shap.contributions(x).tobytes() == alone.tobytes()
    np.testing.assert_allclose(alone.sum(axis=1) + shap.base, shap.table.sums(x), atol=1e-9 * max(1.0, float(np.abs(alone).max())), rtol=0)


@pytest.mark.parametrize("columns", [1, 2, 5, 6, 7, 8, 9, 12])
def test_a_way_of_any_number_of_columns_is_exact(columns: int) -> None:
    """One long way, a leaf beside each node of it: as many points as its columns need, and no fewer would do."""
    depth = columns
    feature, left, right, value, cover = [], [], [], [], []
    for level in range(depth):
        feature += [level, -1]
        left += [2 * level + 1, -1]
        right += [2 * level + 2, -1]
        value += [0.0, 1.0 + level]
        cover += [2.0 ** (depth - level), 2.0 ** (depth - level - 1)]
    one = JsonTree(
        [*feature, -1], [0.0] * (2 * depth + 1), [*left, -1], [*right, -1], [0] * (2 * depth + 1), [*value, 100.0], [*cover, 1.0]
    )
    shap = tree_shap(from_trees_json(encode_trees([one], columns, 0.0, "margin"), columns))
    assert shap.points == max(1, math.ceil(columns / 2))
    for x in (np.ones(columns), -np.ones(columns), np.where(np.arange(columns) % 2, 1.0, -1.0)):
        found, (right_, base) = shap.contributions(x[None])[0], by_definition(shap.table, x)
        np.testing.assert_allclose(found, right_, atol=1e-11, rtol=0)
        assert shap.base == pytest.approx(base)
    many = np.random.default_rng(columns).normal(size=(19, columns))
    alone = np.concatenate([shap.contributions(row[None]) for row in many])
    for size in (2, 3, 8, 19):
        assert np.concatenate([shap.contributions(many[at : at + size]) for at in range(0, 19, size)]).tobytes() == alone.tobytes()


def test_a_tree_of_one_leaf_contributes_nothing() -> None:
    leaf = JsonTree([-1], [0.0], [-1], [-1], [0], [0.25], [3.0])
    shap = tree_shap(from_trees_json(encode_trees([leaf, leaf], 2, 1.0, "margin"), 2))
    assert shap.base == 1.5
    assert shap.contributions(np.ones((2, 2))).tolist() == [[0.0, 0.0], [0.0, 0.0]]


# --- the libraries ------------------------------------------------------------------------------------------------


def library(model: Any, x: Floats, kind: str = "internal") -> Floats:
    """The shap library's own walk in float64; it would ask a booster for its own contributions otherwise."""
    with warnings.catch_warnings(action="ignore"):  # its plots load parts of matplotlib that are about to go
        import shap
    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    explainer.model.model_type = kind
    return np.asarray(explainer.shap_values(x.astype(np.float32), check_additivity=False), np.float64)


@pytest.fixture(scope="module", params=["hist", "exact"])
def boosted(request: pytest.FixtureRequest) -> tuple[TreeTable, Any]:
    x, y = rows()
    settings = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.3, "base_score": 0.3, "nthread": 1, "verbosity": 0, "tree_method": request.param, "gamma": 0.5, "min_child_weight": 0.1}  # fmt: skip
    booster = xgboost.train(settings, xgboost.DMatrix(x.astype(np.float32), y), 60)
    return from_xgboost_json(bytes(booster.save_raw("json")), COLUMNS), booster


def test_xgboost_has_the_contributions_of_the_library_and_of_shap(boosted: tuple[TreeTable, Any]) -> None:
    table, booster = boosted
    x, _ = rows(500)
    shap = tree_shap(table)
    found = shap.contributions(x)
    np.testing.assert_allclose(found, library(booster, x), atol=1e-6, rtol=0)
    own = booster.predict(xgboost.DMatrix(x.astype(np.float32)), pred_contribs=True)
    # XGBoost adds up in float32: units of the sixth decimal.
    np.testing.assert_allclose(found, own[:, :-1], atol=1e-5, rtol=0)
    assert shap.base == pytest.approx(own[0, -1], abs=1e-5)
    np.testing.assert_allclose(shap.base + found.sum(axis=1), table.sums(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize(("missing", "leaves", "depth"), [(0.15, 40, 6), (0.0, 16, -1), (0.15, 120, 20)])
def test_lightgbm_has_the_contributions_of_the_library_and_of_shap(missing: float, leaves: int, depth: int) -> None:
    x, y = rows(missing=missing)
    settings = {"objective": "binary", "num_leaves": leaves, "max_depth": depth, "min_data_in_leaf": 5, "num_threads": 1, "verbosity": -1, "bagging_fraction": 0.8, "bagging_freq": 1}  # fmt: skip
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y.astype(float)), 60)
    table = from_lightgbm_text(booster.model_to_string().encode(), COLUMNS)
    shap = tree_shap(table)
    x, _ = rows(500)
    found = shap.contributions(x)
    own = np.asarray(booster.predict(x, pred_contrib=True, num_threads=1))
    np.testing.assert_allclose(found, own[:, :-1], atol=1e-9, rtol=0)
    assert shap.base == pytest.approx(own[0, -1], abs=1e-9)
    np.testing.assert_allclose(shap.base + found.sum(axis=1), table.sums(x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("missing", [0.0, 0.15], ids=["no value missing", "values missing"])
@pytest.mark.parametrize("depth", [4, 20])
def test_a_forest_has_the_contributions_of_shap(missing: float, depth: int) -> None:
    x, y = rows(missing=missing)
    weight = np.where(y, 3.0, 0.7)
    model = RandomForestClassifier(15, max_depth=depth, random_state=1, n_jobs=1).fit(x.astype(np.float32), y, weight)
    trees = [sklearn_tree(one.tree_, one.tree_.value[:, 0, 1] / 15) for one in model.estimators_]
    shap = tree_shap(from_trees_json(encode_trees(trees, COLUMNS, 0.0, "vote"), COLUMNS))
    right = library(model, x[:60])[:, :, 1]
    np.testing.assert_allclose(shap.contributions(x[:60]), right, atol=1e-6, rtol=0)


def test_an_isolation_forest_has_the_contributions_of_shap() -> None:
    """Leaves by path length, each tree's depth known to the library too: contributions agree up to one factor."""
    x, _ = rows(missing=0.0)
    model = IsolationForest(n_estimators=20, random_state=1, n_jobs=1).fit(x.astype(np.float32))
    trees = []
    for one in model.estimators_:
        tree = one.tree_
        depth = np.zeros(tree.node_count)
        for node in range(tree.node_count):
            for child in (tree.children_left[node], tree.children_right[node]):
                if child >= 0:
                    depth[child] = depth[node] + 1
        n = tree.n_node_samples.astype(float)
        few = np.where(n > 2, 2.0 * (np.log(np.maximum(n - 1, 1)) + np.euler_gamma) - 2.0 * (n - 1) / n, (n == 2) * 1.0)
        trees.append(sklearn_tree(tree, (depth + few) / 20))
    found = tree_shap(from_trees_json(encode_trees(trees, COLUMNS, 0.0, "margin"), COLUMNS)).contributions(x[:40])
    right = library(model, x[:40])
    np.testing.assert_allclose(found / np.abs(found).max(), right / np.abs(right).max(), atol=1e-6, rtol=0)


# --- what a service needs -----------------------------------------------------------------------------------------


def test_a_row_has_the_same_bits_in_a_batch_of_any_size(boosted: tuple[TreeTable, Any]) -> None:
    shap = tree_shap(boosted[0])
    x, _ = rows(1_000)
    whole = shap.contributions(x)
    for size in (1, 2, 3, 7, 8, 9, 32):
        parts = [shap.contributions(x[at : at + size]) for at in range(0, 128, size)]
        assert np.concatenate(parts)[:128].tobytes() == whole[:128].tobytes(), size


def test_no_rows_and_many_columns_are_no_matter() -> None:
    leaf = JsonTree([300, -1, -1], [0.0] * 3, [1, -1, -1], [2, -1, -1], [1, 0, 0], [0.0, 1.0, 3.0], [2.0, 1.0, 1.0])
    shap = tree_shap(from_trees_json(encode_trees([leaf], 400, 0.0, "margin"), 400))
    assert shap.contributions(np.empty((0, 400))).shape == (0, 400)
    x = np.zeros((1, 400))
    assert np.flatnonzero(shap.contributions(x)).tolist() == [300]
    assert shap.contributions(x)[0, 300] == pytest.approx(-1.0)


def test_outputs_are_gathered_in_the_columns_they_came_from() -> None:
    out = np.ones((2, 2))
    values, base = np.array([[1.0, 2.0, 4.0], [0.5, 0.25, 0.125]]), np.array([1.0, 0.0])
    assert gather(values, np.array([1, 0, 1]), 2.0, base, np.array([8.0, 0.875]), 1e-9, out)
    assert out.tolist() == [[5.0, 11.0], [1.5, 2.25]]
    assert row_sums(out).tolist() == [16.0, 3.75]
    assert not gather(values, np.array([1, 0, 1]), 2.0, base, np.array([8.0, 0.876]), 1e-3, out), "a row that is not its sum"
