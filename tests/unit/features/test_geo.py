"""Distances agree with an independent high-precision computation, and are the same bits compiled and plain."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numba
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.features.geo import EARTH_RADIUS_KM, cell_latitude_e7, cell_longitude_e7, haversine_km, place_cell

LATITUDE = st.integers(-900_000_000, 900_000_000) | st.sampled_from([-900_000_000, 0, 900_000_000])
LONGITUDE = st.integers(-1_800_000_000, 1_800_000_000) | st.sampled_from([-1_800_000_000, 0, 1_800_000_000])
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def sine(x: Decimal) -> Decimal:
    total, term, k = Decimal(0), x, 1
    while abs(term) > Decimal("1e-45"):
        total += term
        term = -term * x * x / ((k + 1) * (k + 2))
        k += 2
    return total


def chord_km(lat1_e7: int, lon1_e7: int, lat2_e7: int, lon2_e7: int) -> float:
    """The angle between two vectors of the unit sphere, from the chord through it, in 50 decimal digits: another way
    than the haversine. Only the last arc sine or cosine is a float's."""
    with localcontext() as context:
        context.prec = 50
        vectors = []
        for lat_e7, lon_e7 in ((lat1_e7, lon1_e7), (lat2_e7, lon2_e7)):
            lat, lon = PI * lat_e7 / 180 / 10**7, PI * lon_e7 / 180 / 10**7
            up, across = sine(PI / 2 - lat), sine(PI / 2 - lon)
            vectors.append((up * across, up * sine(lon), sine(lat)))
        a, b = vectors
        apart = sum(((p - q) ** 2 for p, q in zip(a, b, strict=True)), Decimal(0)).sqrt()
        opposite = sum(((p + q) ** 2 for p, q in zip(a, b, strict=True)), Decimal(0)).sqrt()
    return EARTH_RADIUS_KM * 2 * math.atan2(float(apart), float(opposite))


@given(LATITUDE, LONGITUDE, LATITUDE, LONGITUDE)
def test_any_distance_is_right_to_a_billionth(lat1: int, lon1: int, lat2: int, lon2: int) -> None:
    assert haversine_km(lat1, lon1, lat2, lon2) == pytest.approx(chord_km(lat1, lon1, lat2, lon2), rel=1e-12, abs=1e-25)


@given(st.integers(-900_000_000, 899_999_000), st.integers(-1_800_000_000, 1_799_999_000), st.integers(0, 1_000), st.integers(0, 1_000))
def test_metres_are_right_to_a_billionth(lat: int, lon: int, up: int, across: int) -> None:
    assert haversine_km(lat, lon, lat + up, lon + across) == pytest.approx(chord_km(lat, lon, lat + up, lon + across), rel=1e-12, abs=1e-25)


@given(st.integers(-900_000_000, 900_000_000), st.integers(-1_800_000_000, 0), st.integers(-1_000, 1_000))
def test_the_other_side_of_the_earth_is_right_to_a_billionth(lat: int, lon: int, off: int) -> None:
    there = max(min(-lat + off, 900_000_000), -900_000_000), lon + 1_800_000_000
    assert haversine_km(lat, lon, *there) == pytest.approx(chord_km(lat, lon, *there), rel=1e-12)


@given(LATITUDE, LONGITUDE, LATITUDE, LONGITUDE)
def test_there_and_back_are_the_same_bits(lat1: int, lon1: int, lat2: int, lon2: int) -> None:
    assert haversine_km(lat1, lon1, lat2, lon2) == haversine_km(lat2, lon2, lat1, lon1)


@pytest.mark.parametrize(
    ("place", "other", "km"),
    [
        ((0, 1_800_000_000), (0, -1_800_000_000), 0.0),
        ((0, 1_799_999_999), (0, -1_799_999_999), 2e-7 / 180 * math.pi * EARTH_RADIUS_KM),
        ((900_000_000, 0), (-900_000_000, 77), math.pi * EARTH_RADIUS_KM),
        ((0, 0), (0, 1_800_000_000), math.pi * EARTH_RADIUS_KM),
        ((525_200_000, 134_050_000), (525_200_000, 134_050_000), 0.0),
    ],
)
def test_poles_and_antimeridian(place: tuple[int, int], other: tuple[int, int], km: float) -> None:
    assert haversine_km(*place, *other) == pytest.approx(km, rel=1e-12, abs=1e-12)


@pytest.fixture(scope="module")
def compiled() -> Any:
    return numba.njit(lambda a, b, c, d: (haversine_km(a, b, c, d), place_cell(a, b)))


@given(lat1=LATITUDE, lon1=LONGITUDE, lat2=LATITUDE, lon2=LONGITUDE)
def test_compiled_is_the_same_bits_as_plain(compiled: Any, lat1: int, lon1: int, lat2: int, lon2: int) -> None:
    km, cell = compiled(lat1, lon1, lat2, lon2)
    assert km == haversine_km(lat1, lon1, lat2, lon2)
    assert cell == place_cell(lat1, lon1)


@given(LATITUDE, LONGITUDE)
def test_a_place_lies_in_its_cell(lat: int, lon: int) -> None:
    cell = place_cell(lat, lon)
    assert 0 <= cell < 3_600 * 7_200
    assert abs(cell_latitude_e7(cell) - lat) <= 250_000
    assert min(abs(cell_longitude_e7(cell) - lon), 3_600_000_000 - abs(cell_longitude_e7(cell) - lon)) <= 250_000
    assert place_cell(cell_latitude_e7(cell), cell_longitude_e7(cell)) == cell
