"""The places of the synthetic world: countries with their currencies and price levels, cities with their clocks.

Read from `countries.csv` and `cities.csv` beside this module. Weights say how customers are spread: the issuer is
European, with customers all over the world. It knows no customer and no merchant.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.money import exponent_of
from fraudloop.door.rates import RATE_SCALE, RateTable


@dataclass(frozen=True, slots=True)
class Geography:
    """n countries and m cities, as arrays.

    country_code, currency: n texts. per_euro: currency units for one euro, by the sample rates
    that the door ships, so that prices in the base currency are what the world meant.
    exponent: decimals of the currency. price_level: prices relative to the euro area. country_weight sums to 1.
    city_country: index of each city's country; degrees; utc_offset in minutes (standard time, no summer time).
    city_weight sums to 1 over all cities.
    """

    country_code: tuple[str, ...]
    currency: tuple[str, ...]
    per_euro: NDArray[np.float64]
    exponent: NDArray[np.int64]
    price_level: NDArray[np.float64]
    country_weight: NDArray[np.float64]
    city_name: tuple[str, ...]
    city_country: NDArray[np.int64]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]
    utc_offset: NDArray[np.int64]
    city_weight: NDArray[np.float64]


def _rows(name: str) -> Iterator[dict[str, str]]:
    with (resources.files("fraudloop.simulation") / name).open(encoding="utf-8") as file:
        yield from csv.DictReader(file)


@cache
def geography() -> Geography:
    """The whole world, read once."""
    countries = list(_rows("countries.csv"))
    cities = list(_rows("cities.csv"))
    index = {row["country"]: i for i, row in enumerate(countries)}
    rates = {rate.currency: rate.value / 10**RATE_SCALE for rate in RateTable.sample().rates}
    country_weight = np.array([float(row["weight"]) for row in countries])
    country_weight /= country_weight.sum()
    city_country = np.array([index[row["country"]] for row in cities])
    within = np.array([float(row["weight"]) for row in cities])
    city_weight = within / np.bincount(city_country, within)[city_country] * country_weight[city_country]
    return Geography(
        country_code=tuple(row["country"] for row in countries),
        currency=tuple(row["currency"] for row in countries),
        per_euro=np.array([1.0 / rates[row["currency"]] for row in countries]),
        exponent=np.array([exponent_of(row["currency"]) for row in countries]),
        price_level=np.array([float(row["price_level"]) for row in countries]),
        country_weight=country_weight,
        city_name=tuple(row["city"] for row in cities),
        city_country=city_country,
        latitude=np.array([float(row["latitude"]) for row in cities]),
        longitude=np.array([float(row["longitude"]) for row in cities]),
        utc_offset=np.array([int(row["utc_offset"]) for row in cities]),
        city_weight=city_weight,
    )
