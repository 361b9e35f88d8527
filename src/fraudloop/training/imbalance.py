"""What is done about fraud being rare, to training rows only: weights, made frauds (SMOTE), fewer genuine rows, or both.

It is called inside the training part of a fold and for the final fit; validation and test rows never come here.
Every strategy has one aim: that frauds weigh `ratio` as much as genuine rows. A model fitted so says too high chances;
calibration on untouched validation rows puts that right, and where there are none, :func:`prior_shift` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

import numpy as np

from fraudloop.errors import InputError
from fraudloop.scoring.preprocessing import OneHotStep, OrdinalStep, Preprocessing
from fraudloop.training.metrics import Bools, Floats

#: By name, the weight of all frauds over the weight of all genuine rows that it aims at by default. Weights can be equal
#: without loss of rows. SMOTE beyond a tenth fills the space between frauds with rows nobody saw; fewer genuine rows
#: than ten a fraud throw away most of what normal looks like. Both together (Chawla et al., 2002) go half way to equal.
RATIOS: Final[Mapping[str, float]] = {"none": 0.0, "class_weights": 1.0, "smote": 0.1, "undersample": 0.1, "smote_undersample": 0.5}
STRATEGIES: Final = tuple(RATIOS)

#: How much of the way to the ratio SMOTE goes in `smote_undersample`: a fifth (0.1 of 0.5), the rest is undersampling.
SMOTE_PART: Final = 0.2

#: Stands for a missing code while frauds are made; codes of words begin at -1.
_NO_CODE: Final = -2.0

#: Frauds among which a made one is drawn (Chawla et al., 2002).
NEIGHBOURS: Final = 5


@dataclass(frozen=True, slots=True)
class ColumnKinds:
    """What the columns of preprocessed rows hold, so that a made row is one that could be. codes: columns of codes and
    0/1 marks, never between two values. one_hot: (first, end) of columns of which exactly one is 1. indicators: (column,
    mark) where the mark says that the column's value is only a filling."""

    codes: tuple[int, ...] = ()
    one_hot: tuple[tuple[int, int], ...] = ()
    indicators: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(preprocessing: Preprocessing) -> ColumnKinds:
        """From the steps that make the columns."""
        codes, one_hot, indicators = [], [], []
        at = 0
        for step in preprocessing.steps:
            if isinstance(step, OneHotStep):
                one_hot.append((at, at + len(step.outputs)))
            elif isinstance(step, OrdinalStep):
                codes.append(at)
            elif step.indicator:
                codes.append(at + 1)
                indicators.append((at, at + 1))
            at += len(step.outputs)
        return ColumnKinds(tuple(codes), tuple(one_hot), tuple(indicators))


def check_strategy(name: str) -> str:
    """The name itself; InputError with the nearest one otherwise."""
    if name not in STRATEGIES:
        close = get_close_matches(name, STRATEGIES, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"no imbalance strategy {name!r}{hint}; strategies: {', '.join(STRATEGIES)}")
    return name


def resample(
    x: Floats, y: Bools, weight: Floats, strategy: str, seed: int, ratio: float | None = None, kinds: ColumnKinds | None = None
) -> tuple[Floats, Bools, Floats]:
    """Training rows as the strategy wants them: (x, y, weight), made rows last.

    x: float64 [n, columns], preprocessed; NaN is missing. weight: float64 [n], how many rows each stands for. ratio: in
    place of the strategy's own. kinds: of the columns; columns of 0 and 1 only are found without. Rows that reach the
    ratio already are returned as they are, as are rows with fewer than two frauds where frauds would have to be made.

    >>> x, y = np.arange(12.0).reshape(-1, 1), np.arange(12) < 2
    >>> few = resample(x, y, np.ones(12), "undersample", 0, ratio=1.0)
    >>> few[1].tolist()
    [True, True, False, False]
    """
    check_strategy(strategy)
    aim = RATIOS[strategy] if ratio is None else ratio
    frauds, genuine = float(weight[y].sum()), float(weight[~y].sum())
    if strategy == "none" or not frauds > 0 or not genuine > 0 or frauds >= aim * genuine:
        return x, y, weight
    if strategy == "class_weights":
        return x, y, np.where(y, weight * (aim * genuine / frauds), weight)
    if strategy != "undersample":
        x, y, weight = _smote(x, y, weight, aim if strategy == "smote" else aim * SMOTE_PART, seed, kinds or ColumnKinds())
    if strategy != "smote":
        x, y, weight = _undersample(x, y, weight, aim, seed)
    return x, y, weight


def prior_shift(frauds: int, genuine: int, strategy: str, ratio: float | None = None) -> float:
    """How much higher the log-odds of a model come out because of the strategy (Elkan, 2001, theorem 2): subtract it
    from margins where no calibration does.

    >>> round(prior_shift(10, 990, "undersample", 1.0), 3) == round(math.log(99), 3)
    True
    """
    aim = RATIOS[check_strategy(strategy)] if ratio is None else ratio
    if strategy == "none" or frauds < 1 or genuine < 1:
        return 0.0
    return max(0.0, math.log(aim / (frauds / genuine)))


def _undersample(x: Floats, y: Bools, weight: Floats, ratio: float, seed: int) -> tuple[Floats, Bools, Floats]:
    """Genuine rows drawn evenly without replacement; their weights then make up the ratio exactly."""
    from imblearn.under_sampling import RandomUnderSampler

    rows = np.arange(len(y)).reshape(-1, 1)
    keep = min(int((~y).sum()), max(1, round(int(y.sum()) / ratio)))
    kept, _ = RandomUnderSampler(sampling_strategy={False: keep}, random_state=seed).fit_resample(rows, y)
    at = np.sort(kept[:, 0])
    y, weight = y[at], weight[at]
    scale = float(weight[y].sum()) / ratio / float(weight[~y].sum())
    return x[at], y, np.where(y, weight, weight * scale)


def _smote(x: Floats, y: Bools, weight: Floats, ratio: float, seed: int, kinds: ColumnKinds) -> tuple[Floats, Bools, Floats]:
    """Frauds made between frauds that are neighbours, until there are `ratio` as many as genuine rows; then all frauds
    are weighted to make up the ratio exactly (rows that were thinned out before stand for more than themselves).

    Distances are those of columns scaled to standard deviation 1, missing values taken as the median. What cannot lie
    between two values is not interpolated but taken from the majority of the neighbours (SMOTE-NC): codes, marks, the
    group of a one-hot category, and whether a value is missing at all. Whole numbers stay whole.
    """
    wanted = round(ratio * int((~y).sum()))
    frauds, stands_for = int(y.sum()), float(weight[y].mean())
    if frauds >= 2 and wanted > frauds:
        flat, codes, whole = _flatten(x, kinds)
        made = _between(flat.values, y, codes, wanted, min(NEIGHBOURS, frauds - 1), seed)
        rows = flat.unflatten(made, whole)
        x, y = np.concatenate([x, rows]), np.concatenate([y, np.ones(len(rows), bool)])
        weight = np.concatenate([weight, np.full(len(rows), stands_for)])
    total, genuine = float(weight[y].sum()), float(weight[~y].sum())
    factor = ratio * genuine / total
    if int(y.sum()) == frauds:
        factor = max(1.0, factor)  # nothing was made: where there is more fraud than asked for it stays as it is
    return x, y, np.where(y, weight * factor, weight)


def _between(z: Floats, y: Bools, codes: list[int], wanted: int, neighbours: int, seed: int) -> Floats:
    """The made rows alone."""
    from imblearn.over_sampling import SMOTE, SMOTEN, SMOTENC

    settings = {"sampling_strategy": {True: wanted}, "random_state": seed, "k_neighbors": neighbours}
    if not codes:
        sampler = SMOTE(**settings)
    elif len(codes) == z.shape[1]:
        sampler = SMOTEN(**settings)
    else:
        sampler = SMOTENC(categorical_features=codes, **settings)
    more, _ = sampler.fit_resample(z, y)
    out: Floats = np.asarray(more[len(y) :], np.float64)
    return out


@dataclass(frozen=True, slots=True)
class _Flat:
    """Rows as SMOTE wants them: numbers scaled and filled, one column for each one-hot group, a mark of its own for each
    column with missing values; and what is needed to go back."""

    values: Floats
    columns: int
    numbers: tuple[int, ...]
    codes: tuple[int, ...]
    kinds: ColumnKinds
    missing: tuple[int, ...]
    centre: Floats
    scale: Floats
    fillings: tuple[float, ...]

    def unflatten(self, made: Floats, whole: Bools) -> Floats:
        out = np.empty((len(made), self.columns))
        end = len(self.numbers)
        values = made[:, :end] * self.scale + self.centre
        out[:, list(self.numbers)] = np.where(whole, np.rint(values), values)
        coded = made[:, end : end + len(self.codes)]
        out[:, list(self.codes)] = np.where(coded == _NO_CODE, np.nan, coded)
        end += len(self.codes)
        for group, (first, last) in enumerate(self.kinds.one_hot):
            out[:, first:last] = made[:, [end + group]] == np.arange(last - first)
        end += len(self.kinds.one_hot)
        for number, column in enumerate(self.missing):
            out[made[:, end + number] == 1.0, column] = np.nan
        for (column, mark), filling in zip(self.kinds.indicators, self.fillings, strict=True):
            out[out[:, mark] == 1.0, column] = filling
        return out


def _flatten(x: Floats, kinds: ColumnKinds) -> tuple[_Flat, list[int], Bools]:
    """The flat rows, which of their columns are codes, and which number columns hold whole numbers only."""
    grouped = {column for first, end in kinds.one_hot for column in range(first, end)}
    absent: Bools = ~np.isfinite(x)
    partly: Bools = np.asarray(absent.any(axis=0))
    flags: Bools = np.asarray(((x == 0.0) | (x == 1.0) | absent).all(axis=0))
    codes = [c for c in range(x.shape[1]) if c not in grouped and (c in kinds.codes or flags[c])]
    numbers = [c for c in range(x.shape[1]) if c not in grouped and c not in codes]
    # A missing code is a code of its own, below all others; a missing number has a mark beside it.
    missing = [c for c in numbers if partly[c]]
    coded = np.where(absent[:, codes], _NO_CODE, x[:, codes])
    values = x[:, numbers]
    filled = np.where(absent[:, numbers], _medians(values), values)
    centre, scale = filled.mean(axis=0), filled.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    groups = [x[:, first:end].argmax(axis=1).astype(np.float64) for first, end in kinds.one_hot]
    flat = np.column_stack([(filled - centre) / scale, coded, *groups, absent[:, missing].astype(np.float64)])
    fillings = []
    for column, mark in kinds.indicators:
        where = np.flatnonzero(x[:, mark] == 1.0)
        fillings.append(float(x[where[0], column]) if len(where) else 0.0)
    whole = np.array([bool((np.rint(filled[:, at]) == filled[:, at]).all()) for at in range(len(numbers))], bool)
    out = _Flat(flat, x.shape[1], tuple(numbers), tuple(codes), kinds, tuple(missing), centre, scale, tuple(fillings))
    return out, list(range(len(numbers), flat.shape[1])), whole


def _medians(values: Floats) -> Floats:
    """Of each column's present values; 0 where there is none."""
    out = np.zeros(values.shape[1])
    for at in range(values.shape[1]):
        present = values[np.isfinite(values[:, at]), at]
        if len(present):
            out[at] = np.median(present)
    return out
