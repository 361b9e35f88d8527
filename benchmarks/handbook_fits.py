"""The project's network and its ensemble with XGBoost, for the Handbook's protocol: training rows in, test scores out.

Parameters were chosen on the four validation folds, which end before the first test day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.scorers import load_scorer
from fraudloop.training.algorithms import find_algorithm
from fraudloop.training.ensembles import DEFAULT_WEIGHTS
from fraudloop.training.preprocessing import fit_preprocessing

Floats = NDArray[np.float64]
#: Training rows, their labels, test rows: scores of the test rows (as `bench_handbook.Fit`).
Fit = Callable[[Floats, NDArray[np.bool_], Floats], Floats]

#: By features: what was chosen for them.
NETWORK: Final[Mapping[str, Mapping[str, Any]]] = {
    "handbook": {"scaling": "standard", "rounds": 16},
    "compact": {"scaling": "standard", "rounds": 16},
}
SEEDS: Final = 3


def member(algorithm: str, params: Mapping[str, Any], seeds: int = 1) -> Fit:
    """Any algorithm of the project with its own preprocessing: the mean margin of some seeds, by the scorer that serves."""
    kind = find_algorithm(algorithm)
    settings = kind.params(params)

    def fit(x: Floats, y: NDArray[np.bool_], test: Floats) -> Floats:
        names = tuple(f"c{at}" for at in range(x.shape[1]))
        steps = fit_preprocessing(Inputs(names, x), kind.preprocessing(settings)[1])
        train, rows = steps.apply(Inputs(names, x)), steps.apply(Inputs(names, test))
        out = np.zeros(len(test))
        for seed in range(seeds):
            model = kind.fit(train, y, np.ones(len(y)), settings, seed, 1)
            out += load_scorer(model.model_format, model.encode(), train.shape[1]).margins(rows)
        return out / seeds

    return fit


def network(features: str = "handbook", seeds: int = SEEDS) -> Fit:
    """The 256-128-64 network for a preset of features."""
    return member("network", NETWORK[features], seeds)


def ensemble(
    xgboost: Mapping[str, Any],
    features: str = "compact",
    weights: Mapping[str, float] = DEFAULT_WEIGHTS,
    seeds: int = SEEDS,
    network_seeds: int | None = None,
) -> Fit:
    """XGBoost with these parameters and the network, margins weighed."""
    parts = {"xgboost": member("xgboost", xgboost, seeds), "network": network(features, network_seeds or seeds)}

    def fit(x: Floats, y: NDArray[np.bool_], test: Floats) -> Floats:
        total = sum(weights.values())
        return np.asarray(sum(weight / total * parts[name](x, y, test) for name, weight in weights.items()), np.float64)

    return fit
