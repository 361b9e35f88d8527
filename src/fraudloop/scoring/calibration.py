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

    def apply(self, margins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chances in (0, 1), float64 [n]; NaN stays NaN."""
        x, p, slopes = self.margins, self.chances, self._slopes
        at = np.clip(np.searchsorted(x, margins, side="right") - 1, 0, len(x) - 2)
        inside = np.minimum(p[at] + (margins - x[at]) * slopes[at], p[at + 1])
        below = p[0] / (1.0 + np.maximum(x[0] - margins, 0.0) * (slopes[0] / p[0]))
        rest = 1.0 - p[-1]
        above = 1.0 - rest / (1.0 + np.maximum(margins - x[-1], 0.0) * (slopes[-1] / rest))
        return np.where(margins < x[0], below, np.where(margins > x[-1], above, inside))

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
