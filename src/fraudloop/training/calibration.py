"""Fitting of the calibration curve, on scores of days that the scoring model had not seen.

With enough fraud: centred isotonic regression (Oron & Flournoy, 2017). Rows are grouped by score, the groups' fraud
shares made monotone by pooling adjacent violators, and each pooled group stands at its mean margin; lines between
them, straight in log-odds, rise strictly where plain isotonic regression has steps. With little fraud: Platt's logistic
curve (1999), two parameters.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.scoring.calibration import Calibration

#: Frauds below which a curve of many parts would follow chance.
ISOTONIC_FRAUDS_MIN: Final = 100

#: Groups before pooling, and the frauds and rows each should hold.
_GROUPS_MAX = 40
_GROUP_FRAUDS = 15

#: No chance nearer to 0 or 1 than this: no sample of ours can tell.
_EDGE = 1e-6

_PLATT_KNOTS = 129

#: Knots of the table for each part of the isotonic curve.
_PARTS = 6


def fit_calibration(margins: NDArray[np.float64], y: NDArray[np.bool_], method: str = "isotonic", shift: float = 0.0) -> Calibration:
    """The curve from margins to chances. `method`: isotonic (Platt below ISOTONIC_FRAUDS_MIN frauds) or platt.

    margins: float64 [n]; y: bool [n]. Without both classes or with one margin only, the logistic curve
    itself, for margins less `shift` (by which a resampled fit raised them; otherwise the fraud shares take care of it).
    """
    if not len(y) or y.all() or not y.any() or margins.min() == margins.max():
        return _logistic(1.0, -shift, shift - 12.0, shift + 12.0, "logistic")
    if method == "platt" or int(y.sum()) < ISOTONIC_FRAUDS_MIN:
        slope, intercept = _platt(margins, y)
        return _logistic(slope, intercept, float(margins.min()), float(margins.max()), "platt")
    return _isotonic(margins, y)


def _isotonic(margins: NDArray[np.float64], y: NDArray[np.bool_]) -> Calibration:
    order = np.argsort(margins, kind="stable")
    x, hit = margins[order], y[order].astype(np.float64)
    frauds = hit.sum()
    groups = int(max(2, min(_GROUPS_MAX, frauds // _GROUP_FRAUDS)))
    # Cut where rows and frauds together pass equal parts: groups of low scores are not too wide, those of high scores
    # rest on enough frauds. Equal margins stay together.
    passed = np.cumsum(hit / frauds + 1.0 / len(hit))
    cuts = np.searchsorted(passed, np.arange(1, groups) * 2.0 / groups, side="left")
    values = np.concatenate([[0], np.flatnonzero(np.diff(x)) + 1])
    starts = np.unique(np.concatenate([[0], values[np.searchsorted(values, cuts, side="right") - 1]]))
    rows = np.diff(np.append(starts, len(x))).astype(np.float64)
    sums, centre = np.add.reduceat(hit, starts), np.add.reduceat(x, starts)
    pooled: list[list[float]] = []
    for group in zip(rows.tolist(), sums.tolist(), centre.tolist(), strict=True):
        pooled.append(list(group))
        while len(pooled) > 1 and pooled[-2][1] / pooled[-2][0] >= pooled[-1][1] / pooled[-1][0]:
            last = pooled.pop()
            pooled[-1] = [a + b for a, b in zip(pooled[-1], last, strict=True)]
    at = np.array([c / n for n, _, c in pooled])
    chance = np.array([(s + 0.5) / (n + 1.0) for n, s, _ in pooled])
    chance = np.clip(chance, _EDGE, 1.0 - _EDGE)
    keep = [0]
    for index in range(1, len(at)):
        if at[index] > at[keep[-1]] and chance[index] > chance[keep[-1]]:
            keep.append(index)
    if len(keep) < 2:
        slope, shift = _platt(margins, y)
        return _logistic(slope, shift, float(margins.min()), float(margins.max()), "platt")
    return _smooth(at[keep], chance[keep], float(x[0]), float(x[-1]))


def _smooth(at: NDArray[np.float64], chance: NDArray[np.float64], low: float, high: float) -> Calibration:
    """Lines that are straight in log-odds, not in chance, as a table: between the knots, and beyond the outer ones with
    the slope of the outer segments (half of it, for caution) to the ends of the margins seen."""
    odds = np.log(chance / (1.0 - chance))
    slopes = np.diff(odds) / np.diff(at)
    edge = math.log((1.0 - _EDGE) / _EDGE)
    first, last = max(low, at[0] - (odds[0] + edge) / (slopes[0] / 2)), min(high, at[-1] + (edge - odds[-1]) / (slopes[-1] / 2))
    if first < at[0]:
        at, odds = np.append(first, at), np.append(odds[0] - slopes[0] / 2 * (at[0] - first), odds)
    if last > at[-1]:
        at, odds = np.append(at, last), np.append(odds, odds[-1] + slopes[-1] / 2 * (last - at[-1]))
    x = np.unique(np.concatenate([np.linspace(a, b, _PARTS + 1) for a, b in pairwise(at.tolist())]))
    p = 1.0 / (1.0 + np.exp(-np.interp(x, at, odds)))
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(p)) > 0])
    return Calibration(x[rising], p[rising], "isotonic")


def _platt(margins: NDArray[np.float64], y: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and shift of `1 / (1 + exp(-(slope * margin + shift)))` of greatest likelihood, by Newton's method with
    Platt's smoothed targets; the slope is kept above 0."""
    frauds, others = float(y.sum()), float((~y).sum())
    target = np.where(y, (frauds + 1.0) / (frauds + 2.0), 1.0 / (others + 2.0))
    slope, shift = 1.0, math.log((frauds + 1.0) / (others + 1.0)) - float(np.mean(margins))

    def loss(a: float, b: float) -> float:
        z = a * margins + b
        return float(np.sum(np.logaddexp(0.0, z) - target * z))

    now = loss(slope, shift)
    for _ in range(100):
        z = slope * margins + shift
        p = 1.0 / (1.0 + np.exp(-np.clip(z, -40.0, 40.0)))
        w = p * (1.0 - p) + 1e-12
        g0, g1 = float(np.sum((p - target) * margins)), float(np.sum(p - target))
        h00, h01, h11 = float(np.sum(w * margins * margins)) + 1e-9, float(np.sum(w * margins)), float(np.sum(w)) + 1e-9
        det = h00 * h11 - h01 * h01
        if det <= 0:
            break
        d0, d1 = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
        step = 1.0
        while step > 1e-8 and (slope - step * d0 <= 0 or loss(slope - step * d0, shift - step * d1) > now):
            step /= 2.0
        slope, shift = slope - step * d0, shift - step * d1
        after = loss(slope, shift)
        if now - after < 1e-10 * max(1.0, abs(now)):
            break
        now = after
    return max(slope, 1e-6), shift


def _logistic(slope: float, shift: float, low: float, high: float, method: str) -> Calibration:
    """The logistic curve as a table between two margins, only where it rises visibly."""
    edge = math.log((1.0 - _EDGE) / _EDGE)
    low, high = max(low, (-edge - shift) / slope), min(high, (edge - shift) / slope)
    if not high > low:
        low, high = (-edge - shift) / slope, (edge - shift) / slope
    x = np.linspace(low, high, _PLATT_KNOTS)
    p = 1.0 / (1.0 + np.exp(-(slope * x + shift)))
    rising = np.concatenate([[True], np.diff(p) > 0])
    return Calibration(x[rising], p[rising], method)
