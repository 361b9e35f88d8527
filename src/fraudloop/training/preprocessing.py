"""Fitting of preprocessing: what is missing, how numbers are scaled, which words are known. Targets are never looked at.

The fitted steps are `scoring.preprocessing.Preprocessing`, the only code that applies them, in training as in service.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.preprocessing import NumberStep, OneHotStep, OrdinalStep, Preprocessing, Step

#: Levels of a category that get a place of their own; rarer ones share `other`.
LEVELS_MAX: Final = 64

#: Rows that a level needs in training: fewer than this teach nothing about it.
LEVEL_ROWS_MIN: Final = 20

#: Shares of the training rows beyond which a scaled number is cut: one amount of a million must not tilt a linear model.
CLIP: Final = (0.0005, 0.9995)


@dataclass(frozen=True, slots=True)
class PreprocessingPlan:
    """What a family of models wants. impute: fill missing numbers by the median and mark them. scale: to mean 0 and
    standard deviation 1, after cutting the outer CLIP shares. one_hot: categories as 0/1 columns, else by frequency rank."""

    impute: bool
    scale: bool
    one_hot: bool


#: Boosted trees send missing values down a learned branch and are blind to scale.
BOOSTED: Final = PreprocessingPlan(impute=False, scale=False, one_hot=False)
FOREST: Final = PreprocessingPlan(impute=True, scale=False, one_hot=False)
LINEAR: Final = PreprocessingPlan(impute=True, scale=True, one_hot=True)
PLANS: Final = {"boosted": BOOSTED, "forest": FOREST, "linear": LINEAR}


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
        centre, scale = 0.0, 1.0
        low = high = None
        if plan.scale:
            low, high = (float(end) for end in np.quantile(present, CLIP))
            filled = np.clip(np.where(np.isfinite(values), values, median), low, high)
            centre, scale = float(filled.mean()), float(filled.std())
            if not scale > 0:
                centre, scale = median, 1.0
        steps.append(NumberStep(name, fill, plan.impute and partly, centre, scale, low, high))
    for name, words in inputs.categories.items():
        counts = Counter(word for word in words if word is not None)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        levels = tuple(word for word, count in ranked[:LEVELS_MAX] if count >= LEVEL_ROWS_MIN)
        if levels:
            steps.append(OneHotStep(name, levels) if plan.one_hot else OrdinalStep(name, levels, -1.0 if plan.impute else None))
    return Preprocessing(tuple(steps))
