"""What drove a score: the margin (log-odds before calibration) of a row shared out over the columns it was made from.

Contributions of a row and the base add up to its margin (efficiency), whatever the member; `method` says how each was
found. It is for a handful of rows, not for the hot path, and it loads a booster's own library where a member needs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import BundleError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.network import NetworkScorer
from fraudloop.scoring.preprocessing import Preprocessing
from fraudloop.scoring.scorers import LinearScorer, Scorer, load_scorer

Floats = NDArray[np.float64]

TREE_SHAP: Final = "TreeSHAP, path-dependent"
LINEAR: Final = "weight × (value − mean)"
DEEPLIFT: Final = "DeepLIFT, rescale rule"
PERMUTATIONS: Final = "Shapley values over sampled orders"

#: By format, how its contributions are found.
METHODS: Final[Mapping[str, str]] = {
    "linear-json": LINEAR, "xgboost-json": TREE_SHAP, "lightgbm-text": TREE_SHAP, "trees-json": PERMUTATIONS, "onnx-network": DEEPLIFT,
}  # fmt: skip

#: Orders of columns tried for a row of a forest. The sum is exact with one; more make single contributions steadier.
ORDERS: Final = 32

#: How far a library's float32 sums may be from the margin that the scorer gives; beyond it the model file is not what was scored.
_MARGIN_TOLERANCE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Attribution:
    """columns: what the model reads, words and numbers. base: float64 [n], the margin before anything is known of the
    row. contributions: float64 [n, columns], towards fraud above 0. margin: float64 [n], base plus the row's
    contributions. method: how they were found, by name of the member.
    """

    columns: tuple[str, ...]
    base: Floats
    contributions: Floats
    margin: Floats
    method: Mapping[str, str]


def attribute(bundle: Bundle, rows: Inputs, background: Inputs) -> Attribution:
    """Share the margins of `rows` out over their columns.

    background: rows of ordinary traffic, against whose mean a linear member and a forest are held; trees carry their own.
    A column that preprocessing splits (levels of a word, a missing flag) is one again. Members are weighed as in the
    score. Sources: Lundberg et al. (2020), "From local explanations to global understanding with explainable AI for
    trees", algorithm 2, as XGBoost and LightGBM implement it; Strumbelj and Kononenko (2010) for sampled orders.

    BundleError where a member's library is not installed or disagrees with the scorer.
    """
    model = bundle.model()
    columns = (*model.numbers, *model.words)
    place = {name: at for at, name in enumerate(columns)}
    out, base, margin = np.zeros((len(rows), len(columns))), np.zeros(len(rows)), np.zeros(len(rows))
    method: dict[str, str] = {}
    total = sum(member.weight for member in model.members)
    for row in bundle.members:
        share = float(row["weight"]) / total
        steps = model.preprocessings[row["preprocessing"]]
        x, typical = steps.apply(rows), steps.apply(background)
        scorer = load_scorer(row["format"], bundle.files[row["file"]], x.shape[1], row["file"])
        mine = scorer.margins(x)
        by_output, own_base = _member(row["format"], bundle.files[row["file"]], row["file"], scorer, x, typical)
        if np.any(np.abs(by_output.sum(axis=1) + own_base - mine) > _MARGIN_TOLERANCE * np.maximum(1.0, np.abs(mine))):
            raise BundleError(f"{row['file']}: its contributions do not add up to its margin")
        for at, source in enumerate(_sources(steps)):
            out[:, place[source]] += share * by_output[:, at]
        # The base takes the last bits of float32 sums, so that efficiency is exact.
        base += share * (mine - by_output.sum(axis=1))
        margin += share * mine
        method[row["name"]] = METHODS[row["format"]]
    return Attribution(columns, base, out, margin, method)


def _sources(steps: Preprocessing) -> list[str]:
    """The raw column that each preprocessed one was made from."""
    return [step.column for step in steps.steps for _ in step.outputs]


def _member(model_format: str, data: bytes, where: str, scorer: Scorer, x: Floats, typical: Floats) -> tuple[Floats, Floats]:
    """Contributions float64 [n, outputs] of one member, and its base, float64 [n]."""
    if model_format == "linear-json":
        assert isinstance(scorer, LinearScorer)
        mean = typical.mean(axis=0)
        weights = np.array(scorer.weights)
        return weights * (x - mean), np.full(len(x), scorer.intercept + float(np.sum(weights * mean)))
    if model_format == "onnx-network":
        assert isinstance(scorer, NetworkScorer)
        return scorer.contributions(x), np.full(len(x), scorer.base)
    if model_format == "xgboost-json":
        found = _xgboost(data, where, x)
    elif model_format == "lightgbm-text":
        found = _lightgbm(data, where, x)
    else:
        return _sampled(scorer, x, typical)
    return found[:, :-1], found[:, -1]


def _xgboost(data: bytes, where: str, x: Floats) -> Floats:
    try:
        import xgboost
    except ImportError as error:
        raise BundleError(f'{where}: explaining it needs xgboost; install "fraudloop[train]"') from error
    booster = xgboost.Booster()
    booster.load_model(bytearray(data))
    matrix = xgboost.DMatrix(x.astype(np.float32), missing=math.nan)
    return np.asarray(booster.predict(matrix, pred_contribs=True, validate_features=False), np.float64)


def _lightgbm(data: bytes, where: str, x: Floats) -> Floats:
    try:
        import lightgbm
    except ImportError as error:
        raise BundleError(f'{where}: explaining it needs lightgbm; install "fraudloop[train]"') from error
    booster = lightgbm.Booster(model_str=data.decode("utf-8"))
    return np.asarray(booster.predict(x, pred_contrib=True, num_threads=1), np.float64)


def _sampled(scorer: Scorer, x: Floats, typical: Floats) -> tuple[Floats, Floats]:
    """Columns go from those of a background row to the row's own, one after another, in ORDERS orders; each is credited
    with the change it brings. An order telescopes to the whole difference, so the sum is exact for any number of them.
    """
    random = np.random.default_rng(0)  # the same row, the same reasons
    orders = [random.permutation(x.shape[1]) for _ in range(ORDERS)]
    starts = typical[np.linspace(0, len(typical) - 1, ORDERS).round().astype(np.int64)]
    contributions, base = np.zeros_like(x), np.zeros(len(x))
    for at, row in enumerate(x):
        for order, start in zip(orders, starts, strict=True):
            walk = np.repeat(start[None, :], len(order) + 1, axis=0)
            for step, column in enumerate(order):
                walk[step + 1 :, column] = row[column]
            margins = scorer.margins(walk)
            contributions[at, order] += np.diff(margins) / ORDERS
            base[at] += margins[0] / ORDERS
    return contributions, base
