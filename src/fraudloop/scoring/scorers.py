"""A scorer per model format: preprocessed rows in, margins (log-odds) out. It knows no file and no training library.

Every scorer is independent by row: the same row gives the same bits in a batch of any size. So sums go in a written
order by element (no BLAS).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import BundleError
from fraudloop.scoring.network import NetworkScorer
from fraudloop.scoring.trees import from_lightgbm_text, from_trees_json, from_xgboost_json


class Scorer(Protocol):
    """Margins of rows."""

    def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of fraud, float64 [n], before calibration, of preprocessed rows float64 [n, columns]."""
        ...


@dataclass(frozen=True, slots=True)
class LinearScorer:
    """Logistic regression: `intercept + sum of weight * column`, added in the order of the columns. means: of the columns
    in training, against which contributions are held; 0 where the file has none."""

    intercept: float
    weights: tuple[float, ...]
    means: tuple[float, ...]

    def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full(len(x), self.intercept)
        for index, weight in enumerate(self.weights):
            out += weight * x[:, index]
        return out

    def contributions(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """`weight * (column - mean)`, float64 [n, columns]: the Shapley values of a linear model."""
        out: NDArray[np.float64] = np.array(self.weights) * (x - np.array(self.means))
        return out

    @staticmethod
    def from_json(data: bytes, inputs: int, where: str = "model") -> LinearScorer:
        try:
            body = json.loads(data)
            weights = tuple(float(weight) for weight in body["weights"])
            means = tuple(float(mean) for mean in body.get("means", [0.0] * len(weights)))
            scorer = LinearScorer(float(body["intercept"]), weights, means)
        except (KeyError, TypeError, ValueError, UnicodeDecodeError, RecursionError, AttributeError) as error:
            raise BundleError(f"{where}: not a linear model in JSON ({type(error).__name__}: {error})") from error
        if len(weights) != inputs or len(means) != inputs or not all(map(math.isfinite, (scorer.intercept, *weights, *means))):
            raise BundleError(f"{where}: needs {inputs} finite weights and means, one for each column, and holds {len(weights)}")
        return scorer


#: By format: how the bytes of a model file become a scorer, given the number of columns and the file's name.
FORMATS: Final[Mapping[str, Callable[[bytes, int, str], Scorer]]] = {
    "linear-json": LinearScorer.from_json,
    "xgboost-json": from_xgboost_json,
    "lightgbm-text": from_lightgbm_text,
    "trees-json": from_trees_json,
    "onnx-network": NetworkScorer,
}

#: By format: how a model file's name ends.
SUFFIXES: Final[Mapping[str, str]] = {
    "linear-json": ".json", "xgboost-json": ".json", "lightgbm-text": ".txt", "trees-json": ".json", "onnx-network": ".onnx",
}  # fmt: skip


def load_scorer(model_format: str, data: bytes, inputs: int, where: str = "model") -> Scorer:
    """The scorer of a model file's bytes; BundleError names `where` and what is wrong."""
    if model_format not in FORMATS:
        raise BundleError(f"{where}: format {model_format!r} is not known to this version; known: {', '.join(FORMATS)}")
    return FORMATS[model_format](data, inputs, where)
