"""A network stored as ONNX: margins of rows, and what each column contributed. It trains nothing and knows no file.

What `training.network_onnx` wrote runs in the kernel of `scoring.network_kernel`. ONNX Runtime runs any other graph, on one
thread, and is loaded for such a one only. It may multiply a single row by another routine than many, with other last bits: a
lone row goes into it twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import BundleError
from fraudloop.scoring.network_kernel import NetworkKernel
from fraudloop.scoring.onnx_weights import read_network

#: Rows given to ONNX Runtime at once, so that its working memory does not follow the table.
_ROWS: Final = 4_096

_YES: Final = np.array([True])
_OUTPUTS: Final = {"margin", "contributions", "base"}


class NetworkScorer:
    """A feed-forward network. Contributions are by DeepLIFT's rescale rule against the mean training row: `base +
    contributions of a row = its margin` to 1e-4. `training.network_onnx` writes it."""

    def __init__(self, data: bytes, inputs: int, where: str = "model") -> None:
        stored = read_network(data, where)
        self._runner: NetworkKernel | OnnxNetwork
        if stored is None:
            self._runner = OnnxNetwork(data, inputs, where)
        elif len(stored.baseline) != inputs:
            raise BundleError(f"{where}: the network reads {len(stored.baseline)} columns, the preprocessing gives {inputs} columns")
        else:
            self._runner = NetworkKernel(stored.weights, stored.biases, stored.baseline, stored.quiet, stored.slopes, stored.base)

    @property
    def base(self) -> float:
        """The margin of the mean training row."""
        return self._runner.base

    def margins(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._runner.run(x, explain=False)[0]

    def contributions(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """What each column adds to the margin of the mean training row, float64 [n, columns]."""
        return self.explained(x)[1]

    def explained(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Margins and contributions in one pass, each with the bits that it has by itself."""
        return self._runner.run(x, explain=True)


class OnnxNetwork:
    """Any ONNX graph with the outputs `margin`, `contributions` and `base` and the switch `explain`, in ONNX Runtime."""

    def __init__(self, data: bytes, inputs: int, where: str = "model") -> None:
        try:
            import onnxruntime  # only bundles with such a graph need it
        except ImportError as error:
            raise BundleError(
                f'{where}: ONNX models that fraudloop did not write need onnxruntime; install "fraudloop[score]"'
            ) from error  # fmt: skip
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
        return float(self._called(("base",), np.zeros((2, self._columns)))[0][0])

    def run(self, x: NDArray[np.float64], *, explain: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """As :meth:`NetworkKernel.run`."""
        outputs = ("margin", "contributions") if explain else ("margin",)
        parts = [self._called(outputs, x[start : start + _ROWS]) for start in range(0, len(x), _ROWS)]
        nothing = np.empty((0, self._columns))
        return (
            np.concatenate([np.empty(0), *(part[0] for part in parts)]),
            np.concatenate([nothing, *(part[1] for part in parts)]) if explain else nothing,
        )

    def _called(self, outputs: Sequence[str], x: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        if len(x) == 1:
            return [found[:1] for found in self._called(outputs, np.repeat(x, 2, axis=0))]
        given = {self._input: x.astype(np.float32)}
        if "contributions" in outputs:
            given["explain"] = _YES
        return [found.astype(np.float64) for found in self._session.run(outputs, given)]
