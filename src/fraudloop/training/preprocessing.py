"""Fitting of preprocessing: what is missing, how numbers are scaled, which words are known. Targets are never looked at.

The fitted steps are `scoring.preprocessing.Preprocessing`, the only code that applies them, in training as in service.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import InputError
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.logarithm import signed_log
from fraudloop.scoring.preprocessing import NumberStep, OneHotStep, OrdinalStep, Preprocessing, Step

#: Levels of a category that get a place of their own; rarer ones share `other`.
LEVELS_MAX: Final = 64

#: Rows that a level needs in training: fewer than this teach nothing about it.
LEVEL_ROWS_MIN: Final = 20

#: Shares of the training rows beyond which a scaled number is cut: one amount of a million must not tilt a linear model.
CLIP: Final = (0.0005, 0.9995)


#: Skewness beyond which a column is tried as its signed logarithm, which is kept where it is the less skewed.
SKEWED: Final = 1.0

#: How numbers are scaled. standard: to mean 0 and standard deviation 1. robust: to median 0 and interquartile range 1.349,
#: that of a normal deviation of 1. With `log_` before it heavy-tailed columns become signed logarithms first.
SCALINGS: Final = ("standard", "robust", "log_standard", "log_robust")

#: Quartiles of the standard normal distribution lie this far apart.
_NORMAL_IQR: Final = 1.3489795003921634


@dataclass(frozen=True, slots=True)
class PreprocessingPlan:
    """What a family of models wants. impute: fill missing numbers by the median and mark them. scaling: one of
    SCALINGS, after cutting the outer CLIP shares; None: as they are. one_hot: categories as 0/1 columns, else by frequency rank."""

    impute: bool
    scaling: str | None
    one_hot: bool


#: Boosted trees send missing values down a learned branch and are blind to scale.
BOOSTED: Final = PreprocessingPlan(impute=False, scaling=None, one_hot=False)
FOREST: Final = PreprocessingPlan(impute=True, scaling=None, one_hot=False)
LINEAR: Final = PreprocessingPlan(impute=True, scaling="log_standard", one_hot=True)
PLANS: Final = {"boosted": BOOSTED, "forest": FOREST, "linear": LINEAR}


def plan_of(family: str, scaling: str | None = None) -> tuple[str, PreprocessingPlan]:
    """The plan of a family with another scaling than its own, and the name it goes by in a bundle.

    >>> plan_of("linear", "robust")[0], plan_of("linear", "log_standard")[0]
    ('linear_robust', 'linear')
    """
    plan = PLANS[family]
    if scaling is None or scaling == plan.scaling:
        return family, plan
    if scaling not in SCALINGS:
        raise InputError(f"scaling = {scaling!r} must be one of {', '.join(SCALINGS)}")
    return f"{family}_{scaling}", replace(plan, scaling=scaling)


def fit_preprocessing(inputs: Inputs, plan: PreprocessingPlan) -> Preprocessing:
    """The steps fitted on training rows. A number column without two different values there is dropped.

    >>> fitted = fit_preprocessing(Inputs(("a",), np.array([[1.0], [3.0], [np.nan]])), FOREST)
    >>> fitted.apply(Inputs(("a",), np.array([[3.0], [np.nan]]))).tolist()
    [[3.0, 0.0], [2.0, 1.0]]
    """
    steps: list[Step] = []
    for at, name in enumerate(inputs.names):
        values = inputs.values[:, at]
        present = values[np.isfinite(values)]
        partly = len(present) < len(values)
        if not len(present) or (present.min() == present.max() and not partly):
            continue
        median = float(np.median(present))
        fill = median if plan.impute else None
        step = NumberStep(name, fill, plan.impute and partly)
        steps.append(step if plan.scaling is None else _scaled(step, values, median, plan.scaling))
    for name, words in inputs.categories.items():
        counts = Counter(word for word in words if word is not None)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        levels = tuple(word for word, count in ranked[:LEVELS_MAX] if count >= LEVEL_ROWS_MIN)
        if levels:
            steps.append(OneHotStep(name, levels) if plan.one_hot else OrdinalStep(name, levels, -1.0 if plan.impute else None))
    return Preprocessing(tuple(steps))


def _scaled(step: NumberStep, values: NDArray[np.float64], median: float, scaling: str) -> NumberStep:
    """The step with its ends, logarithm, centre and scale, from the values of the training rows."""
    low, high = (float(end) for end in np.quantile(values[np.isfinite(values)], CLIP))
    filled = np.clip(np.where(np.isfinite(values), values, median), low, high)
    log = False
    if scaling.startswith("log_") and abs(_skewness(filled)) > SKEWED:
        drawn = signed_log(filled)
        log = abs(_skewness(drawn)) < abs(_skewness(filled))
        filled = drawn if log else filled
    if scaling.endswith("robust"):
        first, centre, third = (float(value) for value in np.quantile(filled, (0.25, 0.5, 0.75)))
        scale = (third - first) / _NORMAL_IQR
        if not scale > 0:  # more than half of the rows share one value
            scale = float(filled.std())
    else:
        centre, scale = float(filled.mean()), float(filled.std())
    if not scale > 0:
        centre, scale = float(filled[0]), 1.0
    return replace(step, centre=centre, scale=scale, low=low, high=high, log=log)


def _skewness(values: NDArray[np.float64]) -> float:
    """The third standardised moment; 0 where all values are the same."""
    off = values - values.mean()
    square = off * off
    spread = float(np.sqrt(np.mean(square)))
    return float(np.mean(square * off)) / spread**3 if spread > 0 else 0.0  # `off**3` takes twenty times as long
