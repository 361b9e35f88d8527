"""Distances on the Earth and the grid of places, with the same bits on every machine.

Only integers and IEEE `+ - * /` and `sqrt` are used: no libm (its last bits differ between systems) and no fused
multiply-add. Every function here is plain Python that a compiled kernel can call as it stands. It knows no event
and no feature.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any, Final, TypeVar

from numba.extending import register_jitable

F = TypeVar("F", bound=Callable[..., Any])

#: Mean radius of the Earth in km: (2a + b) / 3 of the GRS 80 ellipsoid (Moritz, J. Geodesy 74, 2000).
EARTH_RADIUS_KM: Final = 6371.0088

#: Half-angles are counted in units of half of 1e-7 degree, so that halving loses nothing.
_RIGHT_ANGLE: Final = 1_800_000_000
_TURN_E7: Final = 3_600_000_000
_RADIANS: Final = 8.726646259971648e-10  # pi / 180 * 1e-7 / 2, correctly rounded

_PI: Final = 3.141592653589793
_ATAN_1_4: Final = 0.24497866312686414
_ATAN_1_2: Final = 0.4636476090008061
_ATAN_3_4: Final = 0.6435011087932844
_ATAN_1: Final = 0.7853981633974483

#: A cell of places is 0.05 degree wide (5.6 km from north to south): larger than the error of a street address or a
#: mast, smaller than a town.
CELL_E7: Final = 500_000
CELLS_ROUND: Final = 7_200
CELLS_UP: Final = 3_600


def _jitable(function: F) -> F:
    """Leaves the function as it is; kernels may call it."""
    return register_jitable(function)  # type: ignore[no-any-return]


@_jitable
def _sin_octant(x: float) -> float:
    """Sine of x for 0 <= x <= pi/4 by Taylor's series to x**17; what is cut off is below x**19/19! < 1e-19."""
    z = x * x
    p = 1.0 / 355687428096000.0
    p = z * p - 1.0 / 1307674368000.0
    p = z * p + 1.0 / 6227020800.0
    p = z * p - 1.0 / 39916800.0
    p = z * p + 1.0 / 362880.0
    p = z * p - 1.0 / 5040.0
    p = z * p + 1.0 / 120.0
    p = z * p - 1.0 / 6.0
    return x + x * (z * p)


@_jitable
def _cos_octant(x: float) -> float:
    """Cosine of x for 0 <= x <= pi/4 by Taylor's series to x**16; what is cut off is below x**18/18! < 1e-17."""
    z = x * x
    p = 1.0 / 20922789888000.0
    p = z * p - 1.0 / 87178291200.0
    p = z * p + 1.0 / 479001600.0
    p = z * p - 1.0 / 3628800.0
    p = z * p + 1.0 / 40320.0
    p = z * p - 1.0 / 720.0
    p = z * p + 1.0 / 24.0
    p = z * p - 0.5
    return 1.0 + z * p


@_jitable
def _sin_quarter(angle: int) -> float:
    """Sine of 0 to 90 degrees, in half units of 1e-7 degree; beyond 45 degrees the cosine of the exact complement."""
    if angle <= _RIGHT_ANGLE // 2:
        return _sin_octant(angle * _RADIANS)
    return _cos_octant((_RIGHT_ANGLE - angle) * _RADIANS)


@_jitable
def _atan_unit(t: float) -> float:
    """Arc tangent of t for 0 <= t <= 1.

    t is brought near 0 by atan t = atan c + atan((t - c) / (1 + c t)) with the nearest c of 0, 1/4, 1/2, 3/4, 1
    (Abramowitz and Stegun 4.4.34), then Gregory's series to the 17th power; what is cut off is below
    (1/8)**19/19 < 1e-18.
    """
    if t < 0.125:
        base = 0.0
        x = t
    elif t < 0.375:
        base = _ATAN_1_4
        x = (t - 0.25) / (1.0 + 0.25 * t)
    elif t < 0.625:
        base = _ATAN_1_2
        x = (t - 0.5) / (1.0 + 0.5 * t)
    elif t < 0.875:
        base = _ATAN_3_4
        x = (t - 0.75) / (1.0 + 0.75 * t)
    else:
        base = _ATAN_1
        x = (t - 1.0) / (1.0 + t)
    z = x * x
    p = 1.0 / 17.0
    p = z * p - 1.0 / 15.0
    p = z * p + 1.0 / 13.0
    p = z * p - 1.0 / 11.0
    p = z * p + 1.0 / 9.0
    p = z * p - 1.0 / 7.0
    p = z * p + 1.0 / 5.0
    p = z * p - 1.0 / 3.0
    return base + (x + x * (z * p))


@_jitable
def haversine_km(lat1_e7: int, lon1_e7: int, lat2_e7: int, lon2_e7: int) -> float:
    """Great-circle distance in km of two places given in units of 1e-7 degree, on a sphere of EARTH_RADIUS_KM.

    The haversine formula (Sinnott, Sky and Telescope 68, 1984): `h = sin²(Δφ/2) + cos φ1 cos φ2 sin²(Δλ/2)`; beside it
    its complement without cancellation, `1 - h = sin²((φ1+φ2)/2) + cos φ1 cos φ2 cos²(Δλ/2)`, and the angle
    `2 atan(sqrt(h / (1 - h)))`, so that the relative error stays below 1e-12 from millimetres to the antipodes (what is
    promised is 1e-9). Swapping the places gives the same bits. Latitudes must lie within ±90 and longitudes within
    ±180 degrees.

    >>> haversine_km(0, 0, 0, 0), round(haversine_km(525200000, 134050000, 488566000, 23522000), 3)
    (0.0, 877.465)
    """
    up = abs(lat1_e7 - lat2_e7)
    across = abs(lon1_e7 - lon2_e7)
    if across > _TURN_E7 // 2:
        across = _TURN_E7 - across
    middle = abs(lat1_e7 + lat2_e7)
    cosines = _sin_quarter(_RIGHT_ANGLE - 2 * abs(lat1_e7)) * _sin_quarter(_RIGHT_ANGLE - 2 * abs(lat2_e7))
    sin_up = _sin_quarter(up)
    sin_across = _sin_quarter(across)
    sin_middle = _sin_quarter(middle)
    cos_across = _sin_quarter(_RIGHT_ANGLE - across)
    h = sin_up * sin_up + cosines * (sin_across * sin_across)
    rest = sin_middle * sin_middle + cosines * (cos_across * cos_across)
    if h <= rest:
        angle = 2.0 * _atan_unit(sqrt(h / rest))
    else:
        angle = _PI - 2.0 * _atan_unit(sqrt(rest / h))
    return EARTH_RADIUS_KM * angle


@_jitable
def place_cell(lat_e7: int, lon_e7: int) -> int:
    """Number of the grid cell of a place: `row * 7200 + column`, rows from the south pole, columns from 180 W.

    A cell is half open to the north and east; the north pole belongs to the last row and 180 E to the column of 180 W.

    >>> place_cell(-900000000, -1800000000), place_cell(900000000, 1800000000), place_cell(499999, 0) - place_cell(0, 0)
    (0, 25912800, 0)
    """
    row = (lat_e7 + 900_000_000) // CELL_E7
    if row >= CELLS_UP:
        row = CELLS_UP - 1
    return row * CELLS_ROUND + ((lon_e7 + 1_800_000_000) // CELL_E7) % CELLS_ROUND


@_jitable
def cell_latitude_e7(cell: int) -> int:
    """Latitude of the centre of a cell in 1e-7 degree."""
    return (cell // CELLS_ROUND) * CELL_E7 + CELL_E7 // 2 - 900_000_000


@_jitable
def cell_longitude_e7(cell: int) -> int:
    """Longitude of the centre of a cell in 1e-7 degree."""
    return (cell % CELLS_ROUND) * CELL_E7 + CELL_E7 // 2 - 1_800_000_000
