"""The project's own algorithms, strategies and ensembles by the Handbook's protocol: fitted as `fraudloop train` fits them,
measured through the scorers that serve.

Parameters, features and the ratio of each strategy were chosen on the four validation folds, which end before the first
test day.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import numpy as np

from benchmarks.handbook_protocol import Floats, Fold, Results
from fraudloop.scoring.scorers import load_scorer
from fraudloop.training.algorithms import find_algorithm
from fraudloop.training.config import TrainConfig
from fraudloop.training.folds import Dataset, fit_rows
from fraudloop.training.imbalance import ColumnKinds
from fraudloop.training.preprocessing import fit_preprocessing

#: Chosen on the validation folds. 7 days: the mean of three seeds; all history: one, on rows from 15 May, when the
#: longest window (90 days after 14 days, less the habit's start) has something to say.
XGBOOST: Final = {
    "rounds": 200, "rate": 0.03, "depth": 4, "rows_share": 0.8, "columns_share": 0.8, "node_columns_share": 1.0, "bins": 1_024, "base_score": 0.5,
}  # fmt: skip
XGBOOST_ALL: Final = {**XGBOOST, "rounds": 300, "rate": 0.05, "bins": 4_096}
LIGHTGBM: Final = {"rounds": 200}
FOREST: Final = {"rows_max": 0}
NETWORK: Final = {"scaling": "standard", "rounds": 16}
SEEDS: Final = 3
HISTORY_FROM: Final = date(2018, 5, 15)

#: Margins of the test rows of a fold.
Model = Callable[["Margins", Fold], Floats]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: what it is, the published row it stands beside, the model."""

    name: str
    beside: str
    model: Model


@dataclass(slots=True)
class Margins:
    """Members' margins by fold, fitted once: an ensemble costs no more than its members."""

    data: Dataset
    _kept: dict[tuple[str, str, int], Floats] = field(default_factory=dict)

    def of(
        self, fold: Fold, algorithm: str, params: Mapping[str, Any], seeds: int = 1, strategy: str = "none", ratio: float | None = None
    ) -> Floats:
        """The mean margin of some seeds, float64 [test rows]."""
        key = (algorithm, repr((sorted(params.items()), seeds, strategy, ratio)), int(fold.train[0]) * 10_000_000 + int(fold.test[0]))
        if key not in self._kept:
            self._kept[key] = self._fit(fold, algorithm, params, seeds, TrainConfig(imbalance=strategy, imbalance_ratio=ratio, threads=1))
        return self._kept[key]

    def _fit(self, fold: Fold, algorithm: str, params: Mapping[str, Any], seeds: int, config: TrainConfig) -> Floats:
        own = find_algorithm(algorithm)
        settings = own.params(params)
        raw = self.data.inputs(fold.train)
        steps = fit_preprocessing(raw, own.preprocessing(settings)[1])
        x, rows = steps.apply(raw), steps.apply(self.data.inputs(fold.test))
        out = np.zeros(len(rows))
        for seed in range(seeds):
            model = fit_rows(algorithm, x, fold.y, np.ones(len(x)), settings, config, seed, ColumnKinds.of(steps))
            out += load_scorer(model.model_format, model.encode(), x.shape[1]).margins(rows)
        return out / seeds


def member(algorithm: str, params: Mapping[str, Any], seeds: int = 1, strategy: str = "none", ratio: float | None = None) -> Model:
    """One algorithm, the mean of some seeds."""
    return lambda margins, fold: margins.of(fold, algorithm, params, seeds, strategy, ratio)


def ensemble(parts: Mapping[float, Model] | Sequence[tuple[float, Model]]) -> Model:
    """A weighted mean of margins."""
    pairs = list(parts.items()) if isinstance(parts, Mapping) else list(parts)
    total = sum(weight for weight, _ in pairs)
    return lambda margins, fold: np.asarray(sum(weight / total * model(margins, fold) for weight, model in pairs), np.float64)


_XGBOOST = member("xgboost", XGBOOST, SEEDS)
_NETWORK = member("network", NETWORK)
_LIGHTGBM = member("lightgbm", LIGHTGBM)

#: The table with own features, in its order.
ROWS: Final = (
    Row("logistic", "logistic regression", member("logistic", {})),
    Row("logistic, class weights", "logistic, class weights", member("logistic", {}, strategy="class_weights", ratio=0.02)),
    Row("forest", "random forest", member("forest", FOREST)),
    Row("forest, undersample", "balanced random forest", member("forest", FOREST, strategy="undersample")),
    Row("xgboost", "XGBoost", _XGBOOST),
    Row("xgboost, class weights", "weighted XGBoost", member("xgboost", XGBOOST, strategy="class_weights")),
    Row("xgboost, smote", "SMOTE + tree", member("xgboost", XGBOOST, strategy="smote")),
    Row("xgboost, undersample", "undersampling + tree", member("xgboost", XGBOOST, strategy="undersample")),
    Row("xgboost, smote_undersample", "SMOTE, undersampling + tree", member("xgboost", XGBOOST, strategy="smote_undersample")),
    Row("lightgbm", "XGBoost", _LIGHTGBM),
    Row("network", "feed-forward network", _NETWORK),
    Row("isolation (no labels)", "", member("isolation", {})),
    Row("0.6 xgboost + 0.4 network", "XGBoost", ensemble([(0.6, _XGBOOST), (0.4, _NETWORK)])),
    Row("xgboost + lightgbm + network", "XGBoost", ensemble([(1, _XGBOOST), (1, _LIGHTGBM), (1, _NETWORK)])),
)

#: The published network with the book's own 15 features.
NETWORK_OF_15: Final = Row("network", "feed-forward network", _NETWORK)


def run_row(row: Row, margins: Margins, folds: Sequence[Fold]) -> Results:
    """A row on every fold."""
    start = time.process_time()
    measured = tuple(fold.measure(row.model(margins, fold)) for fold in folds)
    return Results(measured, time.process_time() - start)
