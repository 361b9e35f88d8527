"""A network stored as ONNX: margins of rows, and what each column contributed. It trains nothing and knows no file.

ONNX Runtime runs it on one thread and is loaded only for a bundle with a network. It may multiply a single row by another
routine than many, with other last bits: a lone row goes in twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import BundleError

#: Rows given to ONNX Runtime at once, so that its working memory does not follow the table.
_ROWS: Final = 4_096

_YES: Final = np.array([True])
_OUTPUTS: Final = {"margin", "contributions", "base"}


class NetworkScorer:
    """A feed-forward network. Contributions are by DeepLIFT's rescale rule against the mean training row, computed in
    the graph: `base + contributions of a row = its margin` to 1e-4. `training.network_onnx` writes it."""

    def __init__(self, data: bytes, inputs: int, where: str = "model") -> None:
        try:
            import onnxruntime  # only bundles with a network need it
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
        given, outputs = self._session.get_inputs(), {output.name for output in self._session.get_outputs()}
        if len(given) != 1 or given[0].type != "tensor(float)" or given[0].shape[-1] != inputs or not outputs >= _OUTPUTS:
            raise BundleError(f"{where}: must read one float32 table of {inputs} columns and give {', '.join(sorted(_OUTPUTS))}")
        self._input, self._columns = given[0].name, inputs
        if "explain" not in {flag.name for flag in self._session.get_overridable_initializers()}:
            raise BundleError(f"{where}: has no switch `explain` for its contributions")

    @property
    def base(self) -> float:
        """The margin of the mean training row."""
        return float(self._run(("base",), np.zeros((2, self._columns)))[0][0])

    def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = [self._run(("margin",), x[start : start + _ROWS])[0] for start in range(0, len(x), _ROWS)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0), *parts])

    def contributions(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each column adds to the margin of the mean training row, float64 [n, columns]."""
        return self.explained(x)[1]

    def explained(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Margins and contributions in one pass, each with the bits that it has by itself."""
        parts = [self._run(("margin", "contributions"), x[start : start + _ROWS]) for start in range(0, len(x), _ROWS)]
        if len(parts) == 1:
            return parts[0][0], parts[0][1]
        if not parts:
            return np.empty(0), np.empty((0, self._columns))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _run(self, outputs: Sequence[str], x: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        if len(x) == 1:
            return [found[:1] for found in self._run(outputs, np.repeat(x, 2, axis=0))]
        given = {self._input: x.astype(np.float32)}
        if "contributions" in outputs:
            given["explain"] = _YES
        return [found.astype(np.float64) for found in self._session.run(outputs, given)]
