"""A scorer per model format: preprocessed rows in, margins (log-odds) out. It knows no file and no training library.

Every scorer is independent by row: the same row gives the same bits in a batch of any size. So sums go in a written
order by element (no BLAS), and ONNX Runtime, loaded only for a model that needs it, runs on one thread.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import BundleError
from fraudloop.scoring.trees import from_lightgbm_text, from_xgboost_json

#: Keeps a forest's share of votes away from 0 and 1, where log-odds have no value; keeps their order.
FOREST_MARGIN: Final = 1e-4

#: Rows given to ONNX Runtime at once, so that its working memory does not follow the table.
_ONNX_ROWS = 16_384


class Scorer(Protocol):
    """Margins of rows."""

    def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-odds of fraud, float64 [n], before calibration, of preprocessed rows float64 [n, columns]."""
        ...


@dataclass(frozen=True, slots=True)
class LinearScorer:
    """Logistic regression: `intercept + sum of weight * column`, added in the order of the columns."""

    intercept: float
    weights: tuple[float, ...]

    def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full(len(x), self.intercept)
        for index, weight in enumerate(self.weights):
            out += weight * x[:, index]
        return out

    @staticmethod
    def from_json(data: bytes, inputs: int, where: str = "model") -> LinearScorer:
        try:
            body = json.loads(data)
            scorer = LinearScorer(float(body["intercept"]), tuple(float(weight) for weight in body["weights"]))
        except (KeyError, TypeError, ValueError, UnicodeDecodeError, RecursionError) as error:
            raise BundleError(f"{where}: not a linear model in JSON ({type(error).__name__}: {error})") from error
        if len(scorer.weights) != inputs or not all(math.isfinite(weight) for weight in (scorer.intercept, *scorer.weights)):
            raise BundleError(f"{where}: needs {inputs} finite weights, one for each column, and holds {len(scorer.weights)}")
        return scorer


class OnnxScorer:
    """A forest in ONNX: its mean vote `p` becomes `log((p + e) / (1 - p + e))` with `e = FOREST_MARGIN`."""

    def __init__(self, data: bytes, inputs: int, where: str = "model") -> None:
        try:
            import onnxruntime  # only bundles with a forest need it
        except ImportError as error:
            raise BundleError(f'{where}: ONNX models need onnxruntime; install "fraudloop[score]"') from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library's own errors share no base but Exception
            raise BundleError(f"{where}: not an ONNX model that this version can run ({str(error)[:200]})") from error
        given, outputs = self._session.get_inputs(), [output.name for output in self._session.get_outputs()]
        if len(given) != 1 or given[0].type != "tensor(float)" or given[0].shape[-1] != inputs or "probabilities" not in outputs:
            raise BundleError(f"{where}: must read one float32 table of {inputs} columns and give `probabilities`")
        self._input = given[0].name

    def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = x.astype(np.float32)
        parts = [
            self._session.run(["probabilities"], {self._input: rows[start : start + _ONNX_ROWS]})[0][:, 1]
            for start in range(0, len(rows), _ONNX_ROWS)
        ]
        return forest_margins(np.concatenate(parts).astype(np.float64) if parts else np.empty(0))


def forest_margins(votes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of mean votes in [0, 1], float64 [n].

    >>> forest_margins(np.array([0.5]))
    array([0.])
    """
    votes = np.clip(votes, 0.0, 1.0)
    odds = (votes + FOREST_MARGIN) / (1.0 - votes + FOREST_MARGIN)
    return np.fromiter((math.log(value) for value in odds.tolist()), np.float64, len(odds))


#: By format: how the bytes of a model file become a scorer, given the number of columns and the file's name.
FORMATS: Final[Mapping[str, Callable[[bytes, int, str], Scorer]]] = {
    "linear-json": LinearScorer.from_json,
    "xgboost-json": from_xgboost_json,
    "lightgbm-text": from_lightgbm_text,
    "onnx-forest": OnnxScorer,
}

#: By format: how a model file's name ends.
SUFFIXES: Final[Mapping[str, str]] = {"linear-json": ".json", "xgboost-json": ".json", "lightgbm-text": ".txt", "onnx-forest": ".onnx"}


def load_scorer(model_format: str, data: bytes, inputs: int, where: str = "model") -> Scorer:
    """The scorer of a model file's bytes; BundleError names `where` and what is wrong."""
    if model_format not in FORMATS:
        raise BundleError(f"{where}: format {model_format!r} is not known to this version; known: {', '.join(FORMATS)}")
    return FORMATS[model_format](data, inputs, where)
