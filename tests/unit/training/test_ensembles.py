"""Ensembles by weight: what they are called, which compete, and that found weights are never worse on their folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fraudloop.errors import InputError
from fraudloop.training.config import TrainConfig
from fraudloop.training.ensembles import Ensemble, check_weights, competitors, measured, search
from fraudloop.training.metrics import Bools, Floats, average_precision


def folds(seed: int = 0) -> tuple[list[dict[str, Floats]], list[Bools]]:
    """Two good algorithms that err apart, and one that knows nothing."""
    random = np.random.default_rng(seed)
    margins, labels = [], []
    for _ in range(3):
        y = random.random(2_000) < 0.05
        margins.append({name: 2.0 * y * share + random.standard_normal(2_000) for name, share in (("a", 1.0), ("b", 0.9), ("noise", 0.0))})
        labels.append(y)
    return margins, labels


def test_an_ensemble_is_the_weighted_sum_and_is_called_by_it() -> None:
    one = Ensemble({"xgboost": 0.6, "network": 0.4})
    assert one.margins({"xgboost": np.array([1.0]), "network": np.array([-1.0])})[0] == pytest.approx(0.2)
    assert Ensemble({"xgboost": 1.0}).name == "xgboost"


def test_weights_are_scaled_to_one_and_measured_by_fold() -> None:
    margins, labels = folds()
    one = measured({"a": 3, "b": 1}, margins, labels)
    assert one.weights == {"a": 0.75, "b": 0.25}
    assert one.average_precision[1] == average_precision(labels[1], 0.75 * margins[1]["a"] + 0.25 * margins[1]["b"])


def test_found_weights_are_at_least_as_good_as_the_best_alone_and_leave_out_what_knows_nothing() -> None:
    margins, labels = folds()
    found = search(["a", "b", "noise"], margins, labels)
    assert found.mean > max(measured({name: 1.0}, margins, labels).mean for name in ("a", "b"))
    assert sum(found.weights.values()) == pytest.approx(1.0)
    assert found.weights.get("noise", 0.0) <= 0.1


def test_one_good_algorithm_alone_is_found_to_be_enough() -> None:
    margins, labels = folds()
    copies = [{"a": fold["a"], "b": fold["a"]} for fold in margins]
    assert search(["a", "b"], copies, labels).weights == {"a": 1.0}


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        ({"a": 0.6, "b": 0.4}, ["0.5 a + 0.5 b", "0.33 a + 0.33 b + 0.33 noise", "0.6 a + 0.4 b"]),
        ({"a": 0.6, "absent": 0.4}, ["0.5 a + 0.5 b", "0.33 a + 0.33 b + 0.33 noise"]),
    ],
)
def test_means_of_the_best_and_the_given_weights_compete(weights: dict[str, float], names: list[str]) -> None:
    margins, labels = folds()
    assert [one.name for one in competitors(["a", "b", "noise"], weights, margins, labels)] == names


@pytest.mark.parametrize(
    "weights", ["best", {"xgboost": 0.0}, {"xgboost": -1}, {"xgboost": True}, {"xgboost": "much"}, {"xgboost": float("inf")}]
)
def test_weights_that_cannot_be_are_refused(weights: Any) -> None:
    with pytest.raises(InputError, match="weights"):
        check_weights(weights)
    with pytest.raises(InputError, match="weights"):
        TrainConfig.from_dict({"weights": weights})


def test_weights_of_an_unknown_algorithm_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="no algorithm 'netwrok'; did you mean 'network'"):
        TrainConfig.from_dict({"weights": {"xgboost": 0.6, "netwrok": 0.4}})
