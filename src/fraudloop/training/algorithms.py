"""The learning algorithms, one registry. Each fits preprocessed rows and gives a model as data in an own format.

All of them are fitted by the same call and pass the same contract checks. The libraries are imported when an
algorithm is used. The same rows, parameters, seed and number of threads give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import InputError
from fraudloop.scoring.scorers import load_scorer
from fraudloop.training.isolation import DEFAULTS as ISOLATION
from fraudloop.training.isolation import fit_isolation
from fraudloop.training.metrics import Bools, Floats
from fraudloop.training.network import DEFAULTS as NETWORK
from fraudloop.training.network import fit_network
from fraudloop.training.preprocessing import LINEAR, PreprocessingPlan, plan_of
from fraudloop.training.tree_json import encode_trees, sklearn_tree

Params = Mapping[str, Any]


class Fitted(Protocol):
    """A fitted model."""

    @property
    def model_format(self) -> str:
        """A key of `scoring.scorers.FORMATS`."""
        ...

    def encode(self) -> bytes:
        """The model file."""
        ...

    def staged(self, x: Floats, rounds: Sequence[int]) -> list[Floats]:
        """Margins after each number of rounds; models without rounds give their margins once."""
        ...

    def importance(self) -> Floats:
        """What each column contributed to the fit, float64 [columns], any scale."""
        ...


@dataclass(frozen=True, slots=True)
class Algorithm:
    """family: which preprocessing it reads (`training.preprocessing.PLANS`), with a parameter `scaling` another one. defaults: its parameters, each of which a
    configuration may set; `rows_max` is the training rows beyond which genuine ones are thinned out and weighted up (0: no
    limit). candidates: sets of changed parameters that validation chooses from.
    supervised: whether it learns from labels; without, it takes no part in ensembles unless their weights name it."""

    name: str
    family: str
    fit: Callable[[Floats, Bools, Floats, Params, int, int], Fitted]
    defaults: Params
    candidates: tuple[Params, ...] = ({},)
    supervised: bool = True

    @property
    def staged(self) -> bool:
        """Whether it is built in rounds, of which validation chooses the number."""
        return "rounds" in self.defaults

    def preprocessing(self, params: Params) -> tuple[str, PreprocessingPlan]:
        """The preprocessing that these parameters read, and its name."""
        return plan_of(self.family, params.get("scaling"))

    def params(self, given: Params) -> dict[str, Any]:
        """The defaults with `given` in their place; InputError names a parameter that there is not."""
        for key in given:
            if key not in self.defaults:
                close = get_close_matches(key, list(self.defaults), n=1, cutoff=0.5)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise InputError(f"{self.name} has no parameter {key!r}{hint}; it takes {', '.join(self.defaults)}")
        return {**self.defaults, **given}


def _stored(model: Fitted, x: Floats) -> Floats:
    """Margins by the scorer that will serve the model, from the bytes that will be stored."""
    return load_scorer(model.model_format, model.encode(), x.shape[1]).margins(x)


# --- logistic regression ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Linear:
    intercept: float
    weights: tuple[float, ...]
    means: tuple[float, ...]
    model_format: str = "linear-json"

    def encode(self) -> bytes:
        return json.dumps({"intercept": self.intercept, "weights": self.weights, "means": self.means}).encode() + b"\n"

    def staged(self, x: Floats, rounds: Sequence[int]) -> list[Floats]:
        return [_stored(self, x)]

    def importance(self) -> Floats:
        return np.array([abs(weight) for weight in self.weights])


def _fit_logistic(x: Floats, y: Bools, weight: Floats, params: Params, seed: int, threads: int) -> Fitted:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    model = LogisticRegression(
        C=params["C"], solver="newton-cholesky", max_iter=params["iterations"], tol=params["tolerance"], random_state=seed
    )
    with threadpool_limits(threads):  # sums of another number of threads have other last bits
        model.fit(x, y, sample_weight=weight)
    means = np.average(x, axis=0, weights=weight)
    return _Linear(float(model.intercept_[0]), tuple(float(w) for w in model.coef_[0]), tuple(means.tolist()))


# --- random forest ------------------------------------------------------------------------------------------------


class _Forest:
    model_format = "trees-json"

    def __init__(self, model: Any, columns: int) -> None:
        self._model, self._columns = model, columns
        self._bytes: bytes | None = None

    def encode(self) -> bytes:
        if self._bytes is None:
            trees = [
                sklearn_tree(one.tree_, _votes(one.tree_, self._model.classes_) / len(self._model.estimators_))
                for one in self._model.estimators_
            ]
            self._bytes = encode_trees(trees, self._columns, 0.0, "vote")
        return self._bytes

    def staged(self, x: Floats, rounds: Sequence[int]) -> list[Floats]:
        return [_stored(self, x)]

    def importance(self) -> Floats:
        return np.asarray(self._model.feature_importances_, np.float64)


def _votes(tree: Any, classes: Bools) -> Floats:
    """Each node's weighted share of fraud, float64 [nodes]; classes: those seen in training, in the order of the tree's."""
    return np.asarray(tree.value[:, 0, :] @ np.asarray(classes, np.float64), np.float64)


def _fit_forest(x: Floats, y: Bools, weight: Floats, params: Params, seed: int, threads: int) -> Fitted:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(
        n_estimators=params["trees"],
        max_depth=params["depth"] or None,
        min_samples_leaf=params["leaf_rows"],
        max_features=params["columns_share"],
        random_state=seed,
        n_jobs=threads,
    )
    model.fit(x.astype(np.float32), y, sample_weight=weight)
    return _Forest(model, x.shape[1])


# --- boosted trees ------------------------------------------------------------------------------------------------


class _XGBoost:
    model_format = "xgboost-json"

    def __init__(self, booster: Any, columns: int, threads: int) -> None:
        self._booster, self._columns, self._threads = booster, columns, threads

    def encode(self) -> bytes:
        return bytes(self._booster.save_raw("json"))

    def staged(self, x: Floats, rounds: Sequence[int]) -> list[Floats]:
        import xgboost

        rows = xgboost.DMatrix(x.astype(np.float32), nthread=self._threads)
        return [self._booster.predict(rows, output_margin=True, iteration_range=(0, n)).astype(np.float64) for n in rounds]

    def importance(self) -> Floats:
        gains = self._booster.get_score(importance_type="total_gain")
        return np.array([float(gains.get(f"f{index}", 0.0)) for index in range(self._columns)])


def xgboost_settings(params: Params, seed: int, threads: int) -> dict[str, Any]:
    """The library's own names. Its defaults (256 bins, a base score estimated from the data) cost much average precision
    where a few values of a column decide: bins and base score are always said."""
    settings = {
        "objective": "binary:logistic", "base_score": params["base_score"], "tree_method": params["tree_method"],
        "eta": params["rate"], "max_depth": params["depth"], "min_child_weight": params["child_weight"],
        "subsample": params["rows_share"], "colsample_bytree": params["columns_share"], "colsample_bynode": params["node_columns_share"],
        "lambda": params["l2"], "gamma": params["split_gain"], "seed": seed, "nthread": threads, "verbosity": 0,
    }  # fmt: skip
    if params["tree_method"] == "hist":
        settings["max_bin"] = params["bins"]
    return settings


def _fit_xgboost(x: Floats, y: Bools, weight: Floats, params: Params, seed: int, threads: int) -> Fitted:
    import xgboost

    rows = xgboost.DMatrix(x.astype(np.float32), y.astype(np.float32), weight=weight.astype(np.float32), nthread=threads)
    return _XGBoost(xgboost.train(xgboost_settings(params, seed, threads), rows, params["rounds"]), x.shape[1], threads)


class _LightGBM:
    model_format = "lightgbm-text"

    def __init__(self, booster: Any, threads: int) -> None:
        self._booster, self._threads = booster, threads

    def encode(self) -> bytes:
        return str(self._booster.model_to_string()).encode()

    def staged(self, x: Floats, rounds: Sequence[int]) -> list[Floats]:
        return [
            np.asarray(self._booster.predict(x, raw_score=True, num_iteration=n, num_threads=self._threads), np.float64) for n in rounds
        ]

    def importance(self) -> Floats:
        return np.asarray(self._booster.feature_importance("gain"), np.float64)


def lightgbm_settings(params: Params, seed: int, threads: int) -> dict[str, Any]:
    """The library's own names."""
    return {
        "objective": "binary", "learning_rate": params["rate"], "num_leaves": params["leaves"], "max_depth": params["depth"],
        "min_data_in_leaf": params["leaf_rows"], "min_sum_hessian_in_leaf": params["child_weight"], "max_bin": params["bins"],
        "bagging_fraction": params["rows_share"], "bagging_freq": 1 if params["rows_share"] < 1 else 0,
        "feature_fraction": params["columns_share"], "feature_fraction_bynode": params["node_columns_share"], "lambda_l2": params["l2"],
        "seed": seed, "num_threads": threads, "deterministic": True, "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip


def _fit_lightgbm(x: Floats, y: Bools, weight: Floats, params: Params, seed: int, threads: int) -> Fitted:
    import lightgbm

    rows = lightgbm.Dataset(x, y.astype(np.float64), weight=weight, params={"verbosity": -1}, free_raw_data=True)
    return _LightGBM(lightgbm.train(lightgbm_settings(params, seed, threads), rows, params["rounds"]), threads)


# --- the registry -------------------------------------------------------------------------------------------------

#: Shares of the rounds at which a boosted model is tried on the validation folds.
CHECKPOINTS: Final = 8

#: Which of the two helps is a matter of the table, by much: heavy-tailed features want the logarithm; an amount whose
#: very size gives fraud away does not.
_SCALINGS: Final[tuple[Params, ...]] = ({}, {"scaling": "standard"})

#: By name; the order is that of tables and of equal merit: of two that do equally well the simpler is chosen.
ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("logistic", "linear", _fit_logistic, {"rows_max": 300_000, "C": 1.0, "iterations": 200, "tolerance": 1e-6, "scaling": LINEAR.scaling}, _SCALINGS),
        Algorithm("forest", "forest", _fit_forest, {"rows_max": 25_000, "trees": 100, "depth": 20, "leaf_rows": 2, "columns_share": "sqrt"}),
        Algorithm(
            "xgboost",
            "boosted",
            _fit_xgboost,
            {
                "rows_max": 0, "rounds": 400, "rate": 0.03, "depth": 4, "child_weight": 1.0, "rows_share": 0.8, "columns_share": 0.8, "node_columns_share": 1.0,
                "l2": 1.0, "split_gain": 0.0, "tree_method": "hist", "bins": 1_024, "base_score": 0.5,
            },
        ),
        Algorithm(
            "lightgbm",
            "boosted",
            _fit_lightgbm,
            {
                "rows_max": 0, "rounds": 400, "rate": 0.03, "leaves": 16, "depth": 6, "leaf_rows": 20, "child_weight": 1e-3, "bins": 1_023, "rows_share": 0.8,
                "columns_share": 0.8, "node_columns_share": 1.0, "l2": 1.0,
            },
        ),
        Algorithm("network", "linear", fit_network, {**NETWORK, "scaling": LINEAR.scaling}, _SCALINGS),
        Algorithm("isolation", "forest", fit_isolation, {**ISOLATION, "scaling": LINEAR.scaling}, supervised=False),
    )
}  # fmt: skip


def find_algorithm(name: str) -> Algorithm:
    """The algorithm of this name; InputError with the nearest otherwise."""
    if name not in ALGORITHMS:
        close = get_close_matches(name, list(ALGORITHMS), n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"no algorithm {name!r}{hint}; algorithms: {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def checkpoints(params: Mapping[str, Any]) -> list[int]:
    """The numbers of rounds to try, ending with all of them; [0] for a model without rounds."""
    rounds = params.get("rounds")
    if rounds is None:
        return [0]
    return sorted({max(1, round(rounds * part / CHECKPOINTS)) for part in range(1, CHECKPOINTS + 1)})


def thin(y: Bools, weight: Floats, rows_max: int, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """Row numbers, in order, of at most `rows_max` rows: every fraud, and genuine ones drawn evenly; and the weights,
    those of the genuine ones raised so that they stand for all. All rows where there are no more, or `rows_max` is 0."""
    rows = np.arange(len(y))
    if rows_max == 0 or len(y) <= rows_max:
        return rows, weight
    genuine = rows[~y]
    keep = max(rows_max - int(y.sum()), min(len(genuine), rows_max // 2))
    drawn = np.random.default_rng(seed).choice(genuine, keep, replace=False)
    chosen = np.sort(np.concatenate([rows[y], drawn]))
    return chosen, np.where(y[chosen], weight[chosen], weight[chosen] * (len(genuine) / keep))


def class_weights(y: Bools, fraud_weight: float | str) -> Floats:
    """Weights of rows, float64 [n]: genuine 1, fraud `fraud_weight`; `balanced` gives both classes the same total."""
    if isinstance(fraud_weight, str):
        if fraud_weight != "balanced":
            raise InputError(f'fraud_weight = {fraud_weight!r} must be a number above 0 or "balanced"')
        fraud_weight = float((~y).sum()) / max(1.0, float(y.sum()))
    if not fraud_weight > 0:
        raise InputError(f"fraud_weight = {fraud_weight!r} must be above 0")
    return np.where(y, float(fraud_weight), 1.0)
