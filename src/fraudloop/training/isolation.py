"""An isolation forest: how few random cuts part a payment from all others (Liu, Ting & Zhou, 2008). It sees no label.

The margin is `ln 2 + ln s` of the paper's anomaly score `s = 2^(-E[h] / c)`: 0 at `s = 0.5`, higher the stranger. It is
linear in the mean path length, so it is a sum over leaves like any forest's; calibration gives it its scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fraudloop.scoring.scorers import load_scorer
from fraudloop.training.metrics import Bools, Floats
from fraudloop.training.tree_json import encode_trees, sklearn_tree

#: sample_rows: drawn for each tree. More find smaller clusters of strange payments, fewer find only the loners.
DEFAULTS: Final[Mapping[str, Any]] = {"rows_max": 0, "trees": 200, "sample_rows": 1_024}


def path_length(rows: Floats) -> Floats:
    """The mean depth at which a search tree of so many rows ends without a hit, c(n) of the paper, float64 [n].

    >>> path_length(np.array([1.0, 2.0, 256.0])).round(3).tolist()
    [0.0, 1.0, 10.245]
    """
    many = np.maximum(rows, 3.0)
    long = 2.0 * (np.log(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(rows <= 1.0, 0.0, np.where(rows <= 2.0, 1.0, long))


class IsolationForest:
    """A fitted isolation forest."""

    model_format = "trees-json"

    def __init__(self, model: Any, columns: int) -> None:
        self._model, self._columns = model, columns
        self._bytes: bytes | None = None

    def encode(self) -> bytes:
        if self._bytes is None:
            usual = float(path_length(np.array([float(self._model.max_samples_)]))[0])
            unit = -math.log(2.0) / (usual * len(self._model.estimators_))
            trees = [
                sklearn_tree(one.tree_, unit * (_depths(one.tree_) + path_length(one.tree_.n_node_samples.astype(np.float64))), columns)
                for one, columns in zip(self._model.estimators_, self._model.estimators_features_, strict=True)
            ]
            self._bytes = encode_trees(trees, self._columns, math.log(2.0), "margin")
        return self._bytes

    def staged(self, x: Floats, rounds: Sequence[int]) -> list[Floats]:
        return [load_scorer(self.model_format, self.encode(), x.shape[1]).margins(x)]

    def importance(self) -> Floats:
        """How often each column cuts."""
        out = np.zeros(self._columns)
        for one, columns in zip(self._model.estimators_, self._model.estimators_features_, strict=True):
            feature = one.tree_.feature
            out += np.bincount(columns[feature[feature >= 0]], minlength=self._columns)
        return out


def fit_isolation(x: Floats, y: Bools, weight: Floats, params: Mapping[str, Any], seed: int, threads: int) -> IsolationForest:
    """Fit to rows alone: labels and weights are not looked at."""
    from sklearn.ensemble import IsolationForest as Library

    model = Library(n_estimators=params["trees"], max_samples=min(int(params["sample_rows"]), len(x)), random_state=seed, n_jobs=threads)
    model.fit(x.astype(np.float32))
    return IsolationForest(model, x.shape[1])


def _depths(tree: Any) -> Floats:
    """Cuts above each node, float64 [nodes]; a parent stands before its children."""
    out = np.zeros(tree.node_count)
    for node in range(tree.node_count):
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                out[child] = out[node] + 1.0
    return out
