"""Networks for tests: random ones of any size, their graph, and their margins and contributions in plain float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fraudloop.scoring.network_kernel import NEAR
from fraudloop.training.network_onnx import encode_network

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plain:
    """Weights [inputs, outputs] and biases by layer, and the row that contributions are held against."""

    weights: list[NDArray[np.float32]]
    biases: list[NDArray[np.float32]]
    baseline: NDArray[np.float32]

    @staticmethod
    def random(columns: int, hidden: Sequence[int], seed: int = 0) -> Plain:
        random = np.random.default_rng(seed)
        sizes = (columns, *hidden, 1)
        weights = [random.standard_normal((a, b)).astype(np.float32) / np.float32(np.sqrt(a)) for a, b in pairwise(sizes)]
        biases = [0.3 * random.standard_normal(b).astype(np.float32) for b in sizes[1:]]
        return Plain(weights, biases, random.standard_normal(columns).astype(np.float32))

    def encode(self) -> bytes:
        return encode_network(self.weights, self.biases, self.baseline)

    def explained(self, x: Floats) -> tuple[Floats, Floats]:
        """Margins and contributions as the rule says them, in float64 and by NumPy."""
        rows, still, shares = x.astype(np.float32).astype(np.float64), self.baseline.astype(np.float64), []
        active = rows
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            z, z0 = active @ weight.astype(np.float64) + bias, still @ weight.astype(np.float64) + bias
            active, still = np.maximum(z, 0.0), np.maximum(z0, 0.0)
            near = np.abs(z - z0) < NEAR
            shares.append(np.where(near, z0 > 0, (active - still) / np.where(near, 1.0, z - z0)))
        passed = np.broadcast_to(self.weights[-1][:, 0].astype(np.float64), active.shape)
        for weight, share in zip(reversed(self.weights[:-1]), reversed(shares), strict=True):
            passed = (share * passed) @ weight.astype(np.float64).T
        margins = active @ self.weights[-1][:, 0].astype(np.float64) + float(self.biases[-1][0])
        return margins, passed * (rows - self.baseline)


def rows(n: int, columns: int, seed: int = 1) -> Floats:
    return 3.0 * np.random.default_rng(seed).standard_normal((n, columns))
