"""A network of 81-256-128-64-1 in the own kernel and in ONNX Runtime: margins alone, and with contributions, by batch size.

    python -m benchmarks.bench_network [--quick]

Warm: call after call, the two in turn. Cold: 4 MB are touched before each call, more than a core's second-level cache holds, as
what a service does between two batches touches it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import show
from fraudloop.scoring.network import NetworkScorer, OnnxNetwork
from fraudloop.training.network import Weights
from fraudloop.training.network_onnx import encode_network

SIZES: Final = (81, 256, 128, 64, 1)
BATCHES: Final = (1, 2, 8, 16, 32, 64, 1_000)
TOUCHED: Final = 4 * 1024**2
TOLERANCE: Final = 1e-5


def timed(work: Mapping[str, Callable[[], object]], calls: int, touched: NDArray[np.uint8] | None) -> dict[str, tuple[float, float]]:
    """Median and tenth percentile of a call of each, in turn, in microseconds."""
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(calls):
        for name, function in work.items():
            if touched is not None:
                touched += 1
            start = time.perf_counter()
            function()
            taken[name].append(time.perf_counter() - start)
    return {name: (float(np.median(some)) * 1e6, float(np.percentile(some, 10)) * 1e6) for name, some in taken.items()}


def main(quick: bool = False) -> dict[str, object]:
    """Print the table and return the figures; AssertionError where the two do not agree, or a row's bits depend on its batch."""
    random = np.random.default_rng(0)
    weights = Weights.first(SIZES, -3.0, random)
    data = encode_network(weights.weights, weights.biases, random.standard_normal(SIZES[0]).astype(np.float32))
    x = random.standard_normal((BATCHES[-1], SIZES[0]))
    own, runtime = NetworkScorer(data, SIZES[0]), OnnxNetwork(data, SIZES[0])
    whole = own.explained(x)
    for found, expected in zip(whole, runtime.run(x, explain=True), strict=True):
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=TOLERANCE)
    figures: dict[str, object] = {}
    rows = []
    touched = np.zeros(TOUCHED, np.uint8)
    for batch in BATCHES:
        some = np.ascontiguousarray(x[:batch])
        assert own.explained(some)[1].tobytes() == whole[1][:batch].tobytes(), f"contributions in a batch of {batch} have other bits"
        for explain in (False, True):
            work: dict[str, Callable[[], object]] = {
                "kernel": lambda some=some, explain=explain: own.explained(some) if explain else own.margins(some),  # type: ignore[misc]
                "runtime": lambda some=some, explain=explain: runtime.run(some, explain=explain),  # type: ignore[misc]
            }
            cells: list[object] = [f"{batch:,}", "with contributions" if explain else "margins"]
            for name, over in (("warm", None), ("cold", touched)):
                times = timed(work, max(20, (10_000 if quick else 50_000) // (batch + 20)), over)
                figures[f"{batch}, {cells[1]}, {name}"] = {key: {"median_us": mid, "p10_us": low} for key, (mid, low) in times.items()}
                ratio = times["kernel"][0] / times["runtime"][0]
                cells += [f"{times['kernel'][0]:,.0f}", f"{times['runtime'][0]:,.0f}", f"{ratio:.2f}"]
            rows.append(cells)
    heads = ["rows", "", *(f"{which}, {name}" for name in ("warm", "cold") for which in ("kernel", "ONNX Runtime", "ratio"))]
    show("Microseconds a call, medians, the two in turn", heads, rows)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_network", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    main(parser.parse_args().quick)
