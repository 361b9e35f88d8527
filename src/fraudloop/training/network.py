"""A feed-forward network: mini-batches, Adam, weight averages, dropout, in NumPy and float32. It knows no file.

The margins of the fitted network are `relu(relu(x W1 + b1) W2 + b2) ... w + b`; the loss is the weighted logistic one.
Sources: He et al. (2015) for the first weights, Kingma & Ba (2015) for Adam, Loshchilov & Hutter (2019) for the decay
beside it, Polyak & Juditsky (1992) for the average of the steps, Srivastava et al. (2014) for dropout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import InputError
from fraudloop.training.metrics import Bools, Floats

Singles = NDArray[np.float32]

#: What `fit` is told, with its defaults. rounds: epochs. hidden: units by layer. decay: of the weights, at each step, in
#: parts of the rate. average: how much of the running mean of weights a step keeps (0: the last weights are the model).
DEFAULTS: Final[Mapping[str, Any]] = {
    "rows_max": 100_000, "rounds": 16, "hidden": (256, 128, 64), "batch": 512, "rate": 0.001, "dropout": 0.0, "decay": 0.1, "average": 0.998,
}  # fmt: skip

_BETA: Final = (0.9, 0.999)
_TINY: Final = 1e-8

#: Rows of a forward pass at once, so that its working memory does not follow the table.
_ROWS = 8_192


class Weights:
    """The weights and biases of all layers in one flat array, with a view of each: an optimiser's step is one
    operation over all of them."""

    def __init__(self, sizes: Sequence[int], flat: Singles | None = None) -> None:
        self.sizes = tuple(sizes)
        pairs = list(pairwise(sizes))
        self.flat = np.zeros(sum((a + 1) * b for a, b in pairs), np.float32) if flat is None else flat
        self.weights: list[Singles] = []
        self.biases: list[Singles] = []
        at = 0
        for inputs, outputs in pairs:
            self.weights.append(self.flat[at : at + inputs * outputs].reshape(inputs, outputs))
            at += inputs * outputs
            self.biases.append(self.flat[at : at + outputs])
            at += outputs

    @staticmethod
    def first(sizes: Sequence[int], bias: float, random: np.random.Generator) -> Weights:
        """Before any step: He's normal weights, no biases but the last, which gives every row the margin `bias`."""
        out = Weights(sizes)
        for weight in out.weights[:-1]:
            weight[:] = random.standard_normal(weight.shape, np.float32) * np.float32(np.sqrt(2.0 / weight.shape[0]))
        last = out.weights[-1]
        last[:] = random.standard_normal(last.shape, np.float32) * np.float32(np.sqrt(1.0 / last.shape[0]))
        out.biases[-1][:] = bias
        return out

    def margins(self, x: Floats) -> Floats:
        """Log-odds, float64 [n], of preprocessed rows [n, columns]; equal to the stored model's to 1e-5."""
        out = np.empty(len(x))
        for start in range(0, len(x), _ROWS):
            rows: Singles = x[start : start + _ROWS].astype(np.float32)
            for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
                rows = np.maximum(rows @ weight + bias, np.float32(0.0))
            out[start : start + _ROWS] = (rows @ self.weights[-1] + self.biases[-1])[:, 0]
        return out

    def copy(self) -> Weights:
        return Weights(self.sizes, self.flat.copy())


@dataclass(frozen=True, slots=True)
class Network:
    """A fitted network. epochs: its weights after each epoch. baseline: float32 [columns], the mean training row."""

    epochs: tuple[Weights, ...]
    baseline: Singles
    model_format: str = "onnx-network"

    @property
    def weights(self) -> Weights:
        return self.epochs[-1]

    def encode(self) -> bytes:
        from fraudloop.training.network_onnx import encode_network

        return encode_network(self.weights.weights, self.weights.biases, self.baseline)

    def staged(self, x: Floats, rounds: Sequence[int]) -> list[Floats]:
        return [self.epochs[n - 1].margins(x) for n in rounds]

    def importance(self) -> Floats:
        """The length of the weights that leave each column: columns are scaled, so that these compare."""
        squares: Floats = (self.weights.weights[0].astype(np.float64) ** 2).sum(axis=1)
        return np.sqrt(squares)


def fit_network(x: Floats, y: Bools, weight: Floats, params: Mapping[str, Any], seed: int, threads: int) -> Network:
    """Train from new weights. x: preprocessed rows [n, columns], scaled; weight: of the rows, float64 [n].

    The same rows, parameters, seed and threads give the same bits on one machine. InputError names a parameter that cannot be.
    """
    hidden = _checked(params)
    random = np.random.default_rng(seed)
    share = float(np.average(y, weights=weight))
    bias = float(np.log(share / (1.0 - share))) if 0.0 < share < 1.0 else 0.0
    start = Weights.first((x.shape[1], *hidden, 1), bias, random)
    return Network(tuple(_epochs(start, x, y, weight, params, random, threads)), x.mean(axis=0).astype(np.float32))


def continue_network(
    weights: Weights, baseline: Singles, x: Floats, y: Bools, weight: Floats, params: Mapping[str, Any], seed: int, threads: int
) -> Network:
    """Train on from given weights, as `fit_network` does from new ones; the baseline stays."""
    _checked(params)
    return Network(tuple(_epochs(weights.copy(), x, y, weight, params, np.random.default_rng(seed), threads)), baseline)


def _checked(params: Mapping[str, Any]) -> tuple[int, ...]:
    hidden = tuple(params["hidden"])
    if not hidden or not all(isinstance(units, int) and 1 <= units <= 4_096 for units in hidden):
        raise InputError(f"network: hidden = {list(hidden)!r} must be one to 4,096 units for each layer, like [256, 128, 64]")
    if not 0.0 <= params["dropout"] < 1.0 or not 0.0 <= params["average"] < 1.0:
        raise InputError("network: dropout and average must be from 0 up to, not including, 1")
    if params["batch"] < 1 or not params["rate"] > 0:
        raise InputError("network: batch must be at least 1 and rate above 0")
    return hidden


def _epochs(
    weights: Weights, x: Floats, y: Bools, weight: Floats, params: Mapping[str, Any], random: np.random.Generator, threads: int
) -> Iterator[Weights]:
    """The (averaged) weights after each epoch."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(threads):  # sums of another number of threads have other last bits
        rows, target = np.ascontiguousarray(x, np.float32), y.astype(np.float32)
        mass = (weight / weight.mean()).astype(np.float32)
        batch = min(int(params["batch"]), len(rows))
        optimiser = _Adam(weights, float(params["rate"]), float(params["decay"]), float(params["average"]))
        for _ in range(int(params["rounds"])):
            order = random.permutation(len(rows))
            for at in range(0, len(rows) - batch + 1, batch):
                chosen = order[at : at + batch]
                gradient = _gradient(weights, rows[chosen], target[chosen], mass[chosen], float(params["dropout"]), random)
                optimiser.step(gradient)
            yield optimiser.model()


def _gradient(weights: Weights, x: Singles, y: Singles, mass: Singles, dropout: float, random: np.random.Generator) -> Singles:
    """Of the mean weighted logistic loss of a batch, flat like the weights."""
    layers, masks = [x], []
    for weight, bias in zip(weights.weights[:-1], weights.biases[:-1], strict=True):
        out = layers[-1] @ weight
        out += bias
        mask = (out > 0).astype(np.float32)
        if dropout:
            mask *= (random.random(out.shape, np.float32) >= dropout) * np.float32(1.0 / (1.0 - dropout))
        out *= mask
        layers.append(out)
        masks.append(mask)
    margins = (layers[-1] @ weights.weights[-1])[:, 0] + weights.biases[-1][0]
    chance = 1.0 / (1.0 + np.exp(-np.clip(margins, -30.0, 30.0)))
    gradient = Weights(weights.sizes)
    delta = ((chance - y) * mass / np.float32(len(y)))[:, None].astype(np.float32)
    for at in range(len(weights.weights) - 1, -1, -1):
        np.matmul(layers[at].T, delta, out=gradient.weights[at])
        gradient.biases[at][:] = delta.sum(axis=0)
        if at:
            delta = delta @ weights.weights[at].T
            delta *= masks[at - 1]
    return gradient.flat


class _Adam:
    """Moves weights in place and keeps their running mean, both free of the bias of the first steps."""

    def __init__(self, weights: Weights, rate: float, decay: float, average: float) -> None:
        self._weights, self._rate, self._decay, self._keep = weights, rate, decay, average
        self._mean, self._square = np.zeros_like(weights.flat), np.zeros_like(weights.flat)
        self._sum, self._work = np.zeros_like(weights.flat), np.zeros_like(weights.flat)
        self._steps = 0

    def step(self, gradient: Singles) -> None:
        self._steps += 1
        one, two, work, flat = np.float32(_BETA[0]), np.float32(_BETA[1]), self._work, self._weights.flat
        self._mean *= one
        self._mean += np.multiply(gradient, np.float32(1.0) - one, out=work)
        self._square *= two
        np.multiply(gradient, gradient, out=work)
        work *= np.float32(1.0) - two
        self._square += work
        np.sqrt(self._square, out=work)
        work *= np.float32(1.0 / np.sqrt(1.0 - _BETA[1] ** self._steps))
        work += np.float32(_TINY)
        np.divide(self._mean, work, out=work)
        work *= np.float32(self._rate / (1.0 - _BETA[0] ** self._steps))
        flat *= np.float32(1.0 - self._rate * self._decay)
        flat -= work
        if self._keep:
            self._sum *= np.float32(self._keep)
            self._sum += np.multiply(flat, np.float32(1.0 - self._keep), out=work)

    def model(self) -> Weights:
        if not self._keep or not self._steps:
            return self._weights.copy()
        return Weights(self._weights.sizes, self._sum * np.float32(1.0 / (1.0 - self._keep**self._steps)))
