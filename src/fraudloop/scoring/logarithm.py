"""The signed logarithm that draws in heavy tails, by + − × ÷ alone: the same bits on every machine and in every batch."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit

_LN_2: Final = 0.6931471805599453
_SQRT_HALF: Final = 0.7071067811865476

#: Of a float64: the bits after its exponent, how many they are, and the exponent of what is in [1/2, 1).
_FRACTION: Final = (1 << 52) - 1
_FRACTION_BITS: Final = 52
_HALF_EXPONENT: Final = 1022

#: 1/3, 1/5, ... of the series of the inverse hyperbolic tangent; with |s| below 0.172 the rest is under 1e-13.
_S15, _S13, _S11, _S9, _S7, _S5, _S3 = (1.0 / n for n in range(15, 1, -2))


@njit
def signed_log_of(value: float) -> float:
    """`signed_log` of one value, for kernels: no branch, so that a loop over values becomes one of lanes."""
    whole = np.float64(abs(value) + 1.0)
    bits = whole.view(np.int64)
    part = np.int64((bits & _FRACTION) | (_HALF_EXPONENT << _FRACTION_BITS)).view(np.float64)
    low = part < _SQRT_HALF
    part = part * 2.0 if low else part
    power = np.float64((bits >> _FRACTION_BITS) - _HALF_EXPONENT - low)
    s = (part - 1.0) / (part + 1.0)
    q = s * s
    series = ((((((_S15 * q + _S13) * q + _S11) * q + _S9) * q + _S7) * q + _S5) * q + _S3) * q
    out = math.copysign(power * _LN_2 + 2.0 * s * (1.0 + series), value)
    return out if value == value else value


@njit
def _of_all(values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for at in range(len(values)):
        out[at] = signed_log_of(values[at])


def signed_log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`sign(v) log(1 + |v|)` by element, any shape, to 1e-12 of its size or 1e-15 near 0; NaN stays NaN.

    >>> signed_log(np.array([0.0, np.e - 1.0, 1.0 - np.e])).round(12).tolist()
    [0.0, 1.0, -1.0]
    """
    flat = np.array(values, np.float64).ravel()
    out = np.empty(len(flat))
    _of_all(flat, out)
    return out.reshape(values.shape)


def warm() -> None:
    """Run the kernel once, so that its machine code is ready."""
    signed_log(np.zeros(1))
