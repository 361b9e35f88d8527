"""The signed logarithm that draws in heavy tails, by + − × ÷ alone: the same bits on every machine and in every batch."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_LN_2: Final = 0.6931471805599453
_SQRT_HALF: Final = 0.7071067811865476

#: 1/3, 1/5, ... of the series of the inverse hyperbolic tangent; with |s| below 0.172 the rest is under 1e-13.
_SERIES: Final = tuple(1.0 / n for n in range(15, 1, -2))


def signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`sign(v) log(1 + |v|)` by element, any shape, to 1e-12 of its size or 1e-15 near 0; NaN stays NaN.

    >>> signed_log(np.array([0.0, np.e - 1.0, 1.0 - np.e])).round(12).tolist()
    [0.0, 1.0, -1.0]
    """
    part, power = np.frexp(np.abs(values) + 1.0)
    low = part < _SQRT_HALF
    part = np.where(low, part * 2.0, part)
    s = (part - 1.0) / (part + 1.0)
    square = s * s
    series = np.zeros_like(s)
    for term in _SERIES:
        series = (series + term) * square
    out: NDArray[np.float64] = (power - low) * _LN_2 + 2.0 * s * (1.0 + series)
    return np.copysign(out, values)
