"""What drove a score: contributions add up to the margin for every kind of member, and are what theory says they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudloop.errors import BundleError
from fraudloop.scoring.attribution import DEEPLIFT, LINEAR, PERMUTATIONS, TREE_SHAP, attribute
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.training.config import TrainConfig
from fraudloop.training.table import inputs_of
from fraudloop.training.train import train
from tests.worlds import DAY_US, FEATURES, feature_table

TABLE = feature_table(3_000)


def trained(algorithm: str) -> Bundle:
    # Candidates are cut to one: choosing is tested elsewhere.
    small: dict[str, dict[str, Any]] = {
        "xgboost": {"rounds": 40}, "lightgbm": {"rounds": 40}, "forest": {"trees": 20}, "network": {"rounds": 8, "batch": 128, "hidden": [64, 32]},
    }  # fmt: skip
    config = TrainConfig(algorithms=(algorithm,), folds=1, candidates={algorithm: (small.get(algorithm, {}),)}, threads=1)
    return train(TABLE, FEATURES, config, delay_us=5 * DAY_US).bundle


def rows_of(bundle: Bundle, begin: int, end: int) -> Inputs:
    model = bundle.model()
    return inputs_of(TABLE[begin:end], model.numbers, model.words)


@pytest.fixture(scope="module", params=["logistic", "forest", "xgboost", "lightgbm", "network"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return trained(request.param)


def test_base_and_contributions_add_up_to_the_margin_that_is_scored(bundle: Bundle) -> None:
    rows, background = rows_of(bundle, 2_900, 2_908), rows_of(bundle, 0, 400)
    found = attribute(bundle, rows, background)
    assert found.contributions.shape == (8, len(found.columns))
    assert found.margin == pytest.approx(bundle.model().margins(rows), abs=1e-12)
    assert found.base + found.contributions.sum(axis=1) == pytest.approx(found.margin, abs=1e-9)
    assert np.any(np.abs(found.contributions) > 0.05)


def test_a_row_has_the_same_reasons_alone_and_beside_others(bundle: Bundle) -> None:
    background = rows_of(bundle, 0, 400)
    together = attribute(bundle, rows_of(bundle, 2_900, 2_904), background)
    alone = attribute(bundle, rows_of(bundle, 2_902, 2_903), background)
    assert together.contributions[2].tolist() == alone.contributions[0].tolist()


def test_a_higher_amount_never_pushes_less_than_a_far_lower_one(bundle: Bundle) -> None:
    """Fraud has higher amounts in this world, so at the ends the sign is known."""
    rows = rows_of(bundle, 2_900, 2_902)
    values = rows.values.copy()
    at = rows.names.index("amount")
    values[:, at] = [400.0, 5.0]
    found = attribute(bundle, Inputs(rows.names, values, rows.categories), rows_of(bundle, 0, 400))
    high, low = found.contributions[:, found.columns.index("amount")]
    assert high > 0 > low


def test_the_method_is_named_by_member(bundle: Bundle) -> None:
    expected = {
        "linear-json": LINEAR, "trees-json": PERMUTATIONS, "xgboost-json": TREE_SHAP, "lightgbm-text": TREE_SHAP, "onnx-network": DEEPLIFT,
    }  # fmt: skip
    found = attribute(bundle, rows_of(bundle, 0, 1), rows_of(bundle, 0, 400))
    assert found.method == {row["name"]: expected[row["format"]] for row in bundle.members}


def test_a_linear_member_is_weight_times_distance_from_the_mean() -> None:
    bundle = trained("logistic")
    rows, background = rows_of(bundle, 10, 11), rows_of(bundle, 0, 400)
    found = attribute(bundle, rows, background)
    centred = attribute(bundle, background, background)
    # Over the rows they are held against, contributions of a linear member cancel out column by column.
    assert centred.contributions.mean(axis=0) == pytest.approx(0.0, abs=1e-9)
    assert found.base[0] == pytest.approx(float(np.mean(bundle.model().margins(background))), abs=1e-9)


def test_a_file_that_is_not_what_was_scored_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundle = trained("xgboost")
    monkeypatch.setattr("fraudloop.scoring.attribution._xgboost", lambda data, where, x: np.full((len(x), x.shape[1] + 1), math.pi))
    with pytest.raises(BundleError, match="do not add up"):
        attribute(bundle, rows_of(bundle, 0, 1), rows_of(bundle, 0, 10))
