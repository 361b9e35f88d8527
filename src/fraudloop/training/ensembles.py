"""Weighted means of several algorithms' margins: given weights, equal ones, or weights found on past days.

An ensemble is a mean of log-odds, not of chances: a member's contributions to a score are then its share of the
ensemble's, and add up. It knows margins and labels by validation fold, nothing of how they were made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fraudloop.errors import InputError
from fraudloop.training.metrics import Bools, Floats, average_precision

#: The ensemble that competes unless others are given.
DEFAULT_WEIGHTS: Final[Mapping[str, float]] = {"xgboost": 0.6, "network": 0.4}

#: What `weights` may be instead of a table.
FOUND: Final = "found"

#: How much more average precision an ensemble needs than the best with fewer members, to be worth them.
GAIN: Final = 0.001

#: Steps of the search for weights: they are multiples of one by this.
STEPS: Final = 20


@dataclass(frozen=True, slots=True)
class Ensemble:
    """weights: by algorithm, above 0, of sum 1. average_precision: by validation fold.

    >>> Ensemble({"xgboost": 0.6, "network": 0.4}).name
    '0.6 xgboost + 0.4 network'
    """

    weights: Mapping[str, float]
    average_precision: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """The algorithm, or the sum that makes the margin."""
        if len(self.weights) == 1:
            return next(iter(self.weights))
        return " + ".join(f"{round(weight, 2):g} {name}" for name, weight in self.weights.items())

    @property
    def mean(self) -> float:
        """Average precision over the folds, NaN without any."""
        known = [value for value in self.average_precision if not np.isnan(value)]
        return float(np.mean(known)) if known else float("nan")

    def margins(self, by_algorithm: Mapping[str, Floats]) -> Floats:
        """The weighted sum of margins, float64 [n]."""
        first = next(iter(self.weights))
        out = np.zeros_like(by_algorithm[first])
        for name, weight in self.weights.items():
            out += weight * by_algorithm[name]
        return out


def check_weights(weights: Mapping[str, Any] | str) -> None:
    """InputError unless it is `found` or a table of numbers above 0."""
    if isinstance(weights, str):
        if weights != FOUND:
            raise InputError(f'weights = {weights!r} must be "{FOUND}" or a table like {{ xgboost = 0.6, network = 0.4 }}')
        return
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise InputError(f"weights: {name} = {weight!r} must be a number above 0")


def scaled(weights: Mapping[str, float]) -> dict[str, float]:
    """The same proportions with sum 1."""
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def measured(weights: Mapping[str, float], margins: Sequence[Mapping[str, Floats]], labels: Sequence[Bools]) -> Ensemble:
    """The ensemble with its average precision by fold."""
    shares = Ensemble(scaled(weights))
    return Ensemble(
        shares.weights, tuple(average_precision(y, shares.margins(fold)) for fold, y in zip(margins, labels, strict=True))
    )  # fmt: skip


def competitors(
    ranked: Sequence[str], weights: Mapping[str, float] | str, margins: Sequence[Mapping[str, Floats]], labels: Sequence[Bools]
) -> list[Ensemble]:
    """The ensembles to hold against the best single algorithm, the simplest first: equal means of the best two, three,
    ..., then the given weights, or those found.

    ranked: algorithms that may take part, the best first. margins: by validation fold and algorithm; labels: by fold.
    """
    out = [measured(dict.fromkeys(ranked[:size], 1.0), margins, labels) for size in range(2, len(ranked) + 1)]
    if isinstance(weights, str):
        found = search(ranked, margins, labels)
        out += [found] if len(found.weights) > 1 else []
    elif len(weights) > 1 and all(name in margins[0] for name in weights):
        out.append(measured(weights, margins, labels))
    return out


def search(names: Sequence[str], margins: Sequence[Mapping[str, Floats]], labels: Sequence[Bools]) -> Ensemble:
    """Weights of the highest mean average precision over the folds, by ensemble selection with replacement (Caruana et
    al., 2004): from the best single one on, the algorithm whose margins help most is added again and again, STEPS times
    in all; the best of these sums is taken. Weights so found are at least 0 and few."""

    def value(counts: Mapping[str, float]) -> Ensemble:
        return measured({name: count for name, count in counts.items() if count}, margins, labels)

    counts = dict.fromkeys(names, 0.0)
    best = here = max((value({name: 1.0}) for name in names), key=lambda one: one.mean)
    counts[here.name] = 1.0
    for _ in range(STEPS - 1):
        name, here = max(((name, value({**counts, name: counts[name] + 1.0})) for name in names), key=lambda one: one[1].mean)
        counts[name] += 1.0
        if here.mean > best.mean:
            best = here
    return best
