"""The tree kernel against the libraries that made the trees, and files of trees that are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fraudloop.errors import BundleError
from fraudloop.scoring import trees as trees_of
from fraudloop.scoring.trees import TreeTable, from_lightgbm_text, from_trees_json, from_xgboost_json

Floats = NDArray[np.float64]


def rows(n: int = 3_000, missing: float = 0.15) -> tuple[Floats, NDArray[np.bool_]]:
    random = np.random.default_rng(3)
    x = random.normal(size=(n, 6))
    x[:, 1] = np.round(x[:, 1])  # many equal values, zeros among them
    x[:, 2] = random.integers(0, 3, n)
    y = x[:, 0] + 0.5 * x[:, 1] + random.normal(size=n) > 2.0
    x[random.random(x.shape) < missing] = np.nan
    return x, y


@pytest.fixture(scope="module")
def xgb() -> tuple[bytes, Any]:
    x, y = rows()
    settings = {"objective": "binary:logistic", "max_depth": 5, "eta": 0.3, "base_score": 0.3, "nthread": 1, "verbosity": 0}
    booster = xgboost.train(settings, xgboost.DMatrix(x.astype(np.float32), y), 40)
    return bytes(booster.save_raw("json")), booster


@pytest.fixture(scope="module", params=[0.15, 0.0], ids=["trained with missing", "trained without"])
def lgb(request: pytest.FixtureRequest) -> tuple[bytes, Any]:
    x, y = rows(missing=request.param)
    settings = {"objective": "binary", "num_leaves": 20, "num_threads": 1, "verbosity": -1, "deterministic": True}
    booster = lightgbm.train(settings, lightgbm.Dataset(x, y.astype(float)), 40)
    return booster.model_to_string().encode(), booster


def odd_rows() -> Floats:
    """Rows at thresholds, missing everywhere, zero, tiny and huge."""
    x, _ = rows(2_000)
    special = np.array([0.0, -0.0, 1e-40, -1e-36, 1e30, -1e30, np.nan, 1.0])
    return np.concatenate([x, np.repeat(special[:, None], 6, axis=1)])


# XGBoost adds up in float32, the kernel in float64: a few units of the sixth decimal.
def test_xgboost_margins_are_those_of_the_library(xgb: tuple[bytes, Any]) -> None:
    data, booster = xgb
    x = odd_rows()
    expected = booster.predict(xgboost.DMatrix(x.astype(np.float32)), output_margin=True)
    np.testing.assert_allclose(from_xgboost_json(data, 6).margins(x), expected, atol=1e-5, rtol=0)


def test_lightgbm_margins_are_those_of_the_library(lgb: tuple[bytes, Any]) -> None:
    data, booster = lgb
    x = odd_rows()
    np.testing.assert_allclose(from_lightgbm_text(data, 6).margins(x), booster.predict(x, raw_score=True), atol=1e-12, rtol=0)


def test_a_threshold_of_the_trees_itself_goes_the_library_s_way(xgb: tuple[bytes, Any], lgb: tuple[bytes, Any]) -> None:
    sides: list[tuple[TreeTable, Callable[[Floats], Floats]]] = [
        (from_xgboost_json(xgb[0], 6), lambda x: xgb[1].predict(xgboost.DMatrix(x.astype(np.float32)), output_margin=True)),
        (from_lightgbm_text(lgb[0], 6), lambda x: lgb[1].predict(x, raw_score=True)),
    ]
    for table, predict in sides:
        inner = table.children[::2] != np.arange(len(table.feature))
        x = np.zeros((int(inner.sum()), 6))
        x[np.arange(len(x)), table.feature[inner]] = table.threshold[inner]
        np.testing.assert_allclose(table.margins(x), predict(x), atol=1e-5, rtol=0)


def test_a_constant_model_of_lightgbm_is_one_leaf() -> None:
    booster = lightgbm.train(
        {"objective": "binary", "verbosity": -1, "min_data_in_leaf": 50}, lightgbm.Dataset(np.arange(60.0)[:, None], np.arange(60) % 2), 3
    )
    margins = from_lightgbm_text(booster.model_to_string().encode(), 1).margins(np.array([[3.0]]))
    np.testing.assert_allclose(margins, booster.predict(np.array([[3.0]]), raw_score=True))


def edit(data: bytes, change: Callable[[Any], None]) -> bytes:
    body = json.loads(data)
    change(body)
    return json.dumps(body).encode()


def first_tree(body: Any) -> Any:
    return body["learner"]["gradient_booster"]["model"]["trees"][0]


@pytest.mark.parametrize(
    "change",
    [
        lambda b: first_tree(b)["left_children"].__setitem__(0, 0),
        lambda b: first_tree(b)["right_children"].__setitem__(0, 10_000),
        lambda b: first_tree(b)["split_indices"].__setitem__(0, 6),
        lambda b: first_tree(b)["split_indices"].pop(),
        lambda b: first_tree(b)["split_type"].__setitem__(0, 1),
        lambda b: b["learner"]["gradient_booster"].__setitem__("name", "dart"),
        lambda b: b["learner"]["objective"].__setitem__("name", "reg:squarederror"),
        lambda b: b["learner"]["learner_model_param"].__setitem__("base_score", "[2E0]"),
        lambda b: b["learner"]["gradient_booster"]["model"].__setitem__("trees", []),
        lambda b: b.pop("learner"),
        lambda b: first_tree(b)["right_children"].__setitem__(0, first_tree(b)["left_children"][0]),
        lambda b: first_tree(b)["sum_hessian"].pop(),
        lambda b: first_tree(b)["sum_hessian"].__setitem__(0, -1.0),
        lambda b: first_tree(b).pop("sum_hessian"),
    ],
)
def test_a_changed_xgboost_file_is_refused_and_never_walked(xgb: tuple[bytes, Any], change: Callable[[Any], None]) -> None:
    with pytest.raises(BundleError, match=r"models/x\.json"):
        from_xgboost_json(edit(xgb[0], change), 6, "models/x.json")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("objective=binary sigmoid:1", "objective=regression"),
        ("num_cat=0", "num_cat=1"),
        ("end of trees", "end of"),
        ("left_child=1", "left_child=9999"),
        ("left_child=1", "left_child=0"),
        ("max_feature_idx=5", "max_feature_idx=50"),
        ("tree_sizes=", "tree_sizes=1 "),
        ("is_linear=0", "is_linear=1"),
        ("leaf_value=", "leaf_value=x "),
        ("leaf_count=", "leaf_count=-1 "),
        ("internal_count=", "internal_counts="),
    ],
)
def test_a_changed_lightgbm_file_is_refused_and_never_walked(lgb: tuple[bytes, Any], old: str, new: str) -> None:
    text = lgb[0].decode()
    if old == "left_child=1" and old not in text:
        pytest.skip("the first split of this model has no inner node on its left")
    assert old in text
    with pytest.raises(BundleError, match=r"models/l\.txt"):
        from_lightgbm_text(text.replace(old, new, 1).encode(), 6, "models/l.txt")


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    for read in (from_xgboost_json, from_lightgbm_text, from_trees_json):
        with pytest.raises(BundleError):
            read(data, 6)


def test_the_wrong_number_of_columns_is_refused(xgb: tuple[bytes, Any]) -> None:
    with pytest.raises(BundleError, match="reads 6 columns, the preprocessing gives 7"):
        from_xgboost_json(xgb[0], 7)


# --- striking leaves, and walking to them -------------------------------------------------------------------------

VALUES = [-math.inf, -2.0, -1e-36, -0.0, 0.0, 1e-40, 0.1, 1.0, 2.0, 1e300, math.inf, math.nan]
THRESHOLDS = [-math.inf, -2.0, -0.0, 0.0, float(np.float32(0.1)), 1.0, 3.0, math.inf]


def table_of(random: np.random.Generator, sizes: list[int], *, single: bool, strict: bool, columns: int = 5) -> TreeTable:
    """Trees of any shape with so many leaves; a leaf that is grown on is replaced by a node with two of them."""
    trees = []
    for leaves in sizes:
        node: dict[str, list[Any]] = {"feature": [-1], "threshold": [0.0], "left": [-1], "right": [-1]}
        while (len(node["feature"]) + 1) // 2 < leaves:
            at = int(random.choice(np.flatnonzero(np.array(node["feature"]) < 0)))
            size = len(node["feature"])
            node["feature"][at], node["left"][at], node["right"][at] = int(random.integers(columns)), size, size + 1
            for key, entry in (("feature", -1), ("threshold", 0.0), ("left", -1), ("right", -1)):
                node[key] += [entry, entry]
        inner = np.array(node["feature"]) >= 0
        threshold = np.where(inner, random.choice(THRESHOLDS, len(inner)), random.normal(size=len(inner)))
        kinds = 2 if single else 3  # zero for a missing value is LightGBM's
        trees.append(
            trees_of._Tree(
                np.array(node["feature"], np.int32), threshold, np.array(node["left"], np.int32), np.array(node["right"], np.int32),
                random.integers(0, kinds, len(inner)).astype(np.uint8), np.ones(len(inner)),
            )
        )  # fmt: skip
    return trees_of._table(trees, 0.25, columns, strict=strict, single=single, where="made")


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 64), min_size=1, max_size=6), st.booleans(), st.booleans(), st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_striking_leaves_gives_the_bits_of_the_walk(seed: int, sizes: list[int], single: bool, strict: bool, n: int) -> None:
    random = np.random.default_rng(seed)
    table = table_of(random, sizes, single=single, strict=strict)
    assert table._bits is not None
    x = random.choice(VALUES, (n, 5))
    assert table.sums(x).tobytes() == table.walked(x).tobytes()


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("leaves", [1, 2, 31, 32, 33, 63, 64, 65, 200])
def test_trees_of_every_size_give_the_same_bits_in_a_batch_of_any_size(leaves: int, single: bool) -> None:
    random = np.random.default_rng(leaves)
    table = table_of(random, [leaves] * 9, single=single, strict=single)
    assert (table._bits is None) == (leaves > 64)
    x = np.where(random.random((1_000, 5)) < 0.3, random.choice(VALUES, (1_000, 5)), random.normal(size=(1_000, 5)))
    whole = table.sums(x)
    assert whole.tobytes() == table.walked(x).tobytes()
    for size in (1, 7, 15, 16, 17, 32):
        parts = [table.sums(x[at : at + size]) for at in range(0, 128, size)]
        assert np.concatenate(parts)[:128].tobytes() == whole[:128].tobytes(), size


def test_rows_of_any_layout_in_memory_are_read() -> None:
    random = np.random.default_rng(5)
    table = table_of(random, [20, 30], single=True, strict=True)
    x = random.normal(size=(40, 5))
    wide = np.zeros((40, 10))
    wide[:, ::2] = x
    for same in (np.asfortranarray(x), wide[:, ::2]):
        assert table.sums(same).tobytes() == table.sums(x).tobytes()


# --- trees-json ---------------------------------------------------------------------------------------------------

STUMP = {"feature": [0, -1, -1], "threshold": [0.1, 0, 0], "left": [1, -1, -1], "right": [2, -1, -1], "missing": [1, 0, 0], "value": [0, 0.25, 0.5], "cover": [3, 2, 1]}  # fmt: skip


def file(**changes: Any) -> bytes:
    """A forest of one stump; changes to the tree, or to the head with the key `head`."""
    replaced = changes.pop("head", {})
    head = {"schema": 1, "columns": 2, "base": 0.5, "link": "margin", "compare": "<=", "trees": [{**STUMP, **changes}]}
    return json.dumps({**head, **replaced}).encode()


def test_an_own_tree_compares_float32_and_sends_missing_values_where_it_says() -> None:
    single = float(np.float32(0.1))
    x = np.array([[single, 0], [0.1, 0], [np.nextafter(np.float32(0.1), np.float32(1)), 0], [np.nan, 0], [-9, np.nan]])
    assert from_trees_json(file(), 2).margins(x).tolist() == [0.75, 0.75, 1.0, 0.75, 0.75]
    assert from_trees_json(file(missing=[0, 0, 0]), 2).margins(x).tolist() == [0.75, 0.75, 1.0, 1.0, 0.75]


def test_votes_become_log_odds_that_stay_finite() -> None:
    votes = from_trees_json(file(head={"link": "vote", "base": 0.0}, value=[0, 0.0, 1.0]), 2)
    assert votes.sums(np.array([[0.0, 0], [1.0, 0]])).tolist() == [0.0, 1.0]
    low, high = votes.margins(np.array([[0.0, 0], [1.0, 0]]))
    assert high == pytest.approx(-low) == pytest.approx(np.log(1.0001 / 0.0001))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"head": {"schema": 2}}, "schema 2"),
        ({"head": {"columns": 3}}, "reads? 3 columns"),
        ({"head": {"link": "odds"}}, "odds"),
        ({"head": {"compare": "<"}}, "<"),
        ({"head": {"base": None}}, "base"),
        ({"head": {"trees": []}}, "no tree"),
        ({"head": {"more": 1}}, "more"),
        ({"feature": [2, -1, -1]}, "column"),
        ({"feature": [0, -1]}, "cut short"),
        ({"feature": [0, -1, 2**40]}, "not trees"),
        ({"threshold": [0.1, 0]}, "cut short"),
        ({"value": [0, 0.1]}, "cut short"),
        ({"missing": [0]}, "cut short"),
        ({"cover": [3, 2]}, "cut short"),
        ({"cover": [3, -2, 1]}, "cover"),
        ({"left": [0, -1, -1]}, "nowhere"),
        ({"right": [3, -1, -1]}, "nowhere"),
        ({"right": [1, -1, -1]}, "two ways"),
        ({"value": ["x", 0, 0]}, "value"),
        ({"value": [0, 1e999, 0]}, "."),
        ({"extra": [0, 0, 0]}, "extra"),
    ],
)
def test_a_file_of_trees_that_is_not_whole_is_refused_by_name(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BundleError, match=rf"models/f\.json: .*{says}"):
        from_trees_json(file(**changes), 2, "models/f.json")
