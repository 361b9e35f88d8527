"""The best average precision that any model can reach on a world, from how the world was made. Pure arithmetic.

Every row belongs to a stratum (what it is part of: an ordinary purchase at night or not and abroad or not, a run of a
scheme, ...). Within a stratum, chance alone, independent of everything observable, decided which rows are fraud. So a
judge who is told the stratum of every row knows more about the outcome than any model that must guess it from the
columns and their history, and no ranking is better than the judge's: by the share of fraud in the stratum, highest
first (Neyman and Pearson, 1933: at every recall its precision is highest). Its average precision is the bound.
What a label already known tells about later rows of the same run is given to the judge too (`generator`).
"""

from __future__ import annotations

import numpy as np

from fraudloop.simulation.pick import Ints


def expected_average_precision(rows: Ints, positives: Ints) -> float:
    """Expected average precision of ranking strata by their share of positives, in random order within a stratum.

    rows, positives: int64 [strata]. Average precision is the mean, over the positives, of the precision at their rank
    (scikit-learn's definition). NaN without a positive. At rank k of a stratum with n rows and f positives, after N rows
    and F positives, a row is positive with probability f/n, and then the expected precision is
    (F + 1 + (k - 1)(f - 1)/(n - 1)) / (N + k).

    >>> expected_average_precision(np.array([2, 8]), np.array([2, 0]))
    1.0
    """
    total = int(positives.sum())
    if total == 0:
        return float("nan")
    before_rows, before_positives, result = 0, 0, 0.0
    for at in np.argsort(-positives / np.maximum(rows, 1), kind="stable"):
        n, f = int(rows[at]), int(positives[at])
        if f:
            step = (f - 1) / (n - 1) if n > 1 else 0.0
            # (a + step * k) / (N + k) = step + (a - step * N) / (N + k)
            a = before_positives + 1 - step
            harmonic = float(np.sum(1.0 / np.arange(before_rows + 1, before_rows + n + 1, dtype=np.float64)))
            result += f / n * (step * n + (a - step * before_rows) * harmonic)
        before_rows += n
        before_positives += f
    return result / total


def expected_recall_at_precision(rows: Ints, positives: Ints, precision: float = 0.9) -> float:
    """The largest recall at which the same ranking is still expected to be this precise; NaN without a positive.

    Strata from the highest share of positives; within one the expected precision moves evenly towards the stratum's own
    share s, so that after N rows with F positives it holds for the first k rows while (F + k s) / (N + k) >= precision.

    >>> expected_recall_at_precision(np.array([9, 11]), np.array([9, 1]))
    0.9101...
    """
    total = int(positives.sum())
    if total == 0:
        return float("nan")
    before_rows, before_positives = 0.0, 0.0
    for at in np.argsort(-positives / np.maximum(rows, 1), kind="stable"):
        n, f = int(rows[at]), int(positives[at])
        if f == 0:
            break
        share = f / n
        taken = (
            float(n) if share >= precision else min(float(n), max(0.0, (before_positives - precision * before_rows) / (precision - share)))
        )
        before_rows, before_positives = before_rows + taken, before_positives + taken * share
        if taken < n:
            break
    return before_positives / total
