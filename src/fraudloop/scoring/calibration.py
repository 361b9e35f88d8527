"""From margins to chances: a strictly rising curve held as a table. Fitted in `training.calibration`, applied here.

Only + - * / by element, no exponential: the same bits in a batch of any size. Strictly rising, unlike a plain
isotonic step function, so different margins keep different scores and no ranking metric is lost to ties.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit, plain
from fraudloop.errors import BundleError


@dataclass(frozen=True, slots=True)
class Calibration:
    """Straight lines through the knots (margin, chance); beyond the first and last knot a hyperbola that leaves it
    with the same slope and nears 0 or 1 without reaching it.

         1 |              ___--
           |          .-*        below x0: p0 / (1 + s0 (x0 - x) / p0)
           |        /            above xk: 1 - (1 - pk) / (1 + sk (x - xk) / (1 - pk))
         0 |__---*

    margins: float64 [k], k >= 2, strictly rising. chances: float64 [k], strictly rising, inside (0, 1).
    method: how it was fitted, for the reader.
    """

    margins: NDArray[np.float64]
    chances: NDArray[np.float64]
    method: str = "given"
    _slopes: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.margins) != len(self.chances) or len(self.margins) < 2:
            raise BundleError("calibration: needs at least two knots, one chance for each margin")
        if not (np.all(np.isfinite(self.margins)) and np.all(np.diff(self.margins) > 0) and np.all(np.diff(self.chances) > 0)):
            raise BundleError("calibration: margins and chances must rise strictly")
        if not (self.chances[0] > 0 and self.chances[-1] < 1):
            raise BundleError("calibration: chances must be above 0 and below 1")
        object.__setattr__(self, "_slopes", np.diff(self.chances) / np.diff(self.margins))
        for name in ("margins", "chances"):
            object.__setattr__(self, name, np.require(getattr(self, name), np.float64, ("C", "W")))

    def apply(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chances in (0, 1), float64 [n]; NaN stays NaN."""
        out = np.empty(len(margins))
        _rise(plain(margins), self.margins, self.chances, self._slopes, out)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`."""
        return {"method": self.method, "margins": self.margins.tolist(), "chances": self.chances.tolist()}

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "calibration.json") -> Calibration:
        """Build and check; BundleError names `where`."""
        try:
            return Calibration(np.array(data["margins"], np.float64), np.array(data["chances"], np.float64), str(data["method"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{where}: not a calibration this version understands ({error})") from error
        except BundleError as error:
            raise BundleError(f"{where}: {error}") from error


@njit
def _rise(
    margins: NDArray[np.float64], x: NDArray[np.float64], p: NDArray[np.float64], slopes: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    last = len(x) - 1
    rest = 1.0 - p[last]
    for row in range(len(margins)):
        margin = margins[row]
        if margin < x[0]:
            out[row] = p[0] / (1.0 + (x[0] - margin) * (slopes[0] / p[0]))
        elif margin > x[last]:
            out[row] = 1.0 - rest / (1.0 + (margin - x[last]) * (slopes[last - 1] / rest))
        else:
            at, above = 0, last  # the last knot at or below the margin, among [at, above)
            while above - at > 1:
                middle = (at + above) // 2
                if x[middle] <= margin:
                    at = middle
                else:
                    above = middle
            chance = p[at] + (margin - x[at]) * slopes[at]
            out[row] = min(chance, p[at + 1])


def warm() -> None:
    """Run the kernel once, so that its machine code is ready."""
    Calibration(np.array([0.0, 1.0]), np.array([0.25, 0.5])).apply(np.zeros(1))
