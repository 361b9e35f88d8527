"""Who lives in the synthetic world: customers with homes, habits, devices and usual merchants; merchants; trips.

Everything that does not change while time runs. It knows no transaction, no fraud and no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.limits import DAY_US
from fraudloop.simulation.geography import Geography, geography
from fraudloop.simulation.pick import Floats, Ints, Picker, largest_remainder
from fraudloop.simulation.streams import Purpose, stream

#: name; share of merchants; median price in euro; spread of prices (sigma of the log); share of online merchants;
#: how much a fraudster likes it (goods that sell again).
_CATEGORIES: Final = (
    ("grocery", 0.17, 24.0, 0.65, 0.10, 0.5),
    ("restaurant", 0.16, 22.0, 0.60, 0.10, 0.3),
    ("fuel", 0.07, 48.0, 0.35, 0.00, 0.8),
    ("transport", 0.06, 9.0, 0.70, 0.35, 0.5),
    ("pharmacy", 0.06, 17.0, 0.65, 0.20, 0.4),
    ("clothing", 0.11, 46.0, 0.65, 0.40, 1.2),
    ("electronics", 0.07, 120.0, 0.90, 0.50, 2.5),
    ("home", 0.07, 62.0, 0.85, 0.35, 0.9),
    ("entertainment", 0.06, 21.0, 0.65, 0.50, 0.7),
    ("digital", 0.06, 9.0, 0.75, 1.00, 1.2),
    ("gaming", 0.03, 14.0, 0.80, 1.00, 1.5),
    ("gift_cards", 0.02, 45.0, 0.60, 0.80, 2.5),
    ("travel", 0.04, 180.0, 0.80, 0.75, 1.5),
    ("jewellery", 0.02, 150.0, 0.90, 0.30, 2.5),
)
CATEGORIES: Final = tuple(row[0] for row in _CATEGORIES)
PRICE: Final = np.array([row[2] for row in _CATEGORIES])
PRICE_SPREAD: Final = np.array([row[3] for row in _CATEGORIES])

#: Habits: name, share of customers, then weights by local hour of a working day and of a day off.
_WORK: Final = [1, 1, 0.5, 0.5, 0.5, 1, 3, 7, 9, 7, 7, 9, 13, 12, 8, 7, 8, 12, 13, 11, 8, 6, 4, 2]
_HOME: Final = [1, 1, 0.5, 0.5, 0.5, 1, 2, 4, 8, 13, 14, 13, 11, 10, 10, 10, 10, 9, 8, 7, 5, 4, 3, 2]
_LATE: Final = [5, 3, 2, 1, 0.5, 0.5, 1, 2, 3, 4, 5, 6, 8, 8, 7, 7, 8, 9, 11, 13, 13, 12, 10, 8]
_OWL: Final = [13, 11, 8, 6, 4, 2, 1, 1, 1, 2, 3, 3, 4, 4, 4, 5, 5, 6, 7, 8, 10, 13, 14, 14]
_OFF: Final = [3, 2, 1, 0.5, 0.5, 0.5, 1, 2, 5, 9, 13, 14, 13, 12, 12, 12, 11, 10, 9, 9, 8, 7, 6, 4]
_HABITS: Final = (
    ("worker", 0.46, _WORK, _OFF, 1.15),
    ("at_home", 0.24, _HOME, _OFF, 0.95),
    ("evening", 0.20, _LATE, _LATE, 1.35),
    ("night_owl", 0.10, _OWL, _OWL, 1.25),
)
#: Spending on each weekday, Monday first.
_WEEKDAYS: Final = np.array([0.92, 0.92, 0.96, 1.0, 1.16, 1.0, 1.0])

USUAL_SHOPS: Final = 6
USUAL_ONLINE: Final = 5
DEVICES_MAX: Final = 3
DEVICE_TYPES: Final = ("mobile", "desktop", "tablet")
SEGMENTS: Final = ("basic", "standard", "premium", "business")


@dataclass(frozen=True, slots=True)
class Merchants:
    """n merchants. city is a place in its country, for online ones too; price multiplies the category's price."""

    category: Ints
    city: Ints
    country: Ints
    online: NDArray[np.bool_]
    latitude: Floats
    longitude: Floats
    price: Floats
    popularity: Floats


@dataclass(frozen=True, slots=True)
class Customers:
    """n customers. activity is the relative number of purchases, spending multiplies every price, online the share of
    purchases online. usual_shops [n, 6] and usual_online [n, 5] are merchants, the most used first. devices 1 to 3,
    device_type [n, 3]; from renewed_us on all of them are new ones. cards 1 or 2. ip is the address at home.
    """

    city: Ints
    country: Ints
    latitude: Floats
    longitude: Floats
    utc_offset: Ints
    habit: Ints
    activity: Floats
    spending: Floats
    online: Floats
    wallet: NDArray[np.bool_]
    devices: Ints
    device_type: NDArray[np.int8]
    renewed_us: Ints
    cards: Ints
    ip: NDArray[np.uint32]
    opened_us: Ints
    segment: Ints
    usual_shops: NDArray[np.int32]
    usual_online: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.city)


@dataclass(frozen=True, slots=True)
class Trips:
    """Stays away from home, sorted by (customer, start): from start_us up to, not including, end_us in a city."""

    key: Ints
    start_us: Ints
    end_us: Ints
    city: Ints

    def at(self, customer: Ints, time_us: Ints) -> Ints:
        """The city where each customer stays at that time, -1 where at home."""
        if len(self.key) == 0:
            return np.full(len(customer), -1)
        at = np.searchsorted(self.key, _trip_key(customer, time_us), side="right") - 1
        at = np.maximum(at, 0)
        away = (self.key[at] >> 32 == customer) & (time_us >= self.start_us[at]) & (time_us < self.end_us[at])
        return np.where(away, self.city[at], -1)


def _trip_key(customer: Ints, time_us: Ints) -> Ints:
    return (customer << 32) + time_us // 1_000_000


@dataclass(frozen=True, slots=True)
class World:
    """Customers, merchants, trips and the ways to pick among them."""

    geo: Geography
    customers: Customers
    merchants: Merchants
    trips: Trips
    shops_of_city: Picker
    online_of_country: Picker
    online: Picker
    resale_online: Picker
    resale_shops: Picker
    cities_of_country: Picker
    start_us: int
    days: int

    @property
    def end_us(self) -> int:
        """The first moment after the last day."""
        return self.start_us + self.days * DAY_US


def profile_of_week() -> Floats:
    """Weights of every local hour of the week, Monday 00:00 first: float64 [habits, 168], each row with mean 1."""
    rows = []
    for _, _, work, off, weekend in _HABITS:
        days = [np.array(off if day >= 5 else work, dtype=np.float64) for day in range(7)]
        days = [d / d.sum() * _WEEKDAYS[day] * (weekend if day >= 5 else 1.0) for day, d in enumerate(days)]
        week = np.concatenate(days)
        rows.append(week / week.mean())
    return np.array(rows)


def _build_merchants(seed: int, count: int, geo: Geography) -> Merchants:
    rng = stream(seed, Purpose.MERCHANTS)
    heaviest = np.argsort(-geo.city_weight, kind="stable")
    # Each city that is lived in needs a shop, and its country a merchant online; a small world has fewer cities.
    lived = heaviest[: max(2, min(len(heaviest), int(count * 0.3)))]
    lands = np.unique(geo.city_country[lived])
    weight = np.zeros(len(geo.city_weight))
    weight[lived] = geo.city_weight[lived] ** 0.8
    shares = np.array([row[1] for row in _CATEGORIES])
    category = rng.choice(len(shares), count, p=shares / shares.sum())
    city = rng.choice(len(weight), count, p=weight / weight.sum())
    online = rng.random(count) < np.array([row[4] for row in _CATEGORIES])[category]
    city[: len(lived)], online[: len(lived)] = lived, False
    seat = slice(len(lived), len(lived) + len(lands))
    city[seat], online[seat] = [lived[geo.city_country[lived] == land][0] for land in lands], True
    category[: len(lived)] = np.where(np.isin(category[: len(lived)], (9, 10)), 0, category[: len(lived)])
    category[seat] = np.where(category[seat] == 2, 5, category[seat])
    popularity: Floats = 1.0 / (1.0 + rng.permutation(count).astype(np.float64)) ** 0.85
    return Merchants(
        category=category,
        city=city,
        country=geo.city_country[city],
        online=online,
        latitude=geo.latitude[city] + rng.normal(0, 0.05, count),
        longitude=geo.longitude[city] + rng.normal(0, 0.07, count),
        price=np.exp(rng.normal(0, 0.35, count)),
        popularity=popularity,
    )


def _build_customers(seed: int, count: int, start_us: int, days: int, geo: Geography, cities: Ints) -> Customers:
    rng = stream(seed, Purpose.CUSTOMERS)
    weight = np.zeros(len(geo.city_weight))
    weight[cities] = geo.city_weight[cities]
    city = rng.permutation(np.repeat(np.arange(len(weight)), largest_remainder(count, weight)))
    country = geo.city_country[city]
    segment = rng.choice(len(SEGMENTS), count, p=[0.25, 0.55, 0.14, 0.06])
    devices = 1 + rng.choice(DEVICES_MAX, count, p=[0.45, 0.40, 0.15])
    device_type = rng.choice(3, (count, DEVICES_MAX), p=[0.45, 0.40, 0.15]).astype(np.int8)
    device_type[:, 0] = rng.choice(3, count, p=[0.80, 0.15, 0.05])
    renewed = start_us + (rng.exponential(600, count) * DAY_US).astype(np.int64)
    return Customers(
        city=city,
        country=country,
        latitude=geo.latitude[city] + rng.normal(0, 0.09, count),
        longitude=geo.longitude[city] + rng.normal(0, 0.13, count),
        utc_offset=geo.utc_offset[city],
        habit=rng.choice(len(_HABITS), count, p=[row[1] for row in _HABITS]),
        activity=np.exp(rng.normal(0, 0.75, count)),
        spending=np.exp(rng.normal(0, 0.45, count)) * np.array([0.75, 1.0, 1.8, 1.6])[segment],
        online=rng.beta(2.2, 3.0, count),
        wallet=(rng.random(count) < 0.4) & (device_type[:, 0] == 0),
        devices=devices,
        device_type=device_type,
        renewed_us=renewed,
        cards=1 + (rng.random(count) < 0.25).astype(np.int64),
        ip=address(country, rng.integers(0, 1 << 24, count)),
        opened_us=start_us - DAY_US - (np.minimum(rng.exponential(900, count), 7000) * DAY_US).astype(np.int64),
        segment=segment,
        usual_shops=np.zeros((count, USUAL_SHOPS), np.int32),
        usual_online=np.zeros((count, USUAL_ONLINE), np.int32),
    )


#: First octets of addresses, one for each country; private, loopback, multicast and documentation blocks left out.
_OCTETS: Final = np.array([o for o in range(11, 224) if o not in (100, 127, 169, 172, 192, 198, 203)])


def address(country: Ints, low: Ints) -> NDArray[np.uint32]:
    """An IPv4 address of a country's block as a number; low in [0, 2**24)."""
    return ((_OCTETS[(country * 37) % len(_OCTETS)] << 24) | low).astype(np.uint32)


def _build_trips(seed: int, customers: Customers, start_us: int, days: int, geo: Geography, cities: Ints) -> Trips:
    rng = stream(seed, Purpose.TRIPS)
    n = len(customers)
    # Most stay at home, some are hardly ever there: gamma-distributed trips a year, 2.2 on average.
    count = rng.poisson(rng.gamma(0.6, 2.2 / 0.6, n) * days / 365)
    who = np.repeat(np.arange(n), count)
    start = start_us + (rng.random(len(who)) * days * DAY_US).astype(np.int64)
    length = (np.minimum(1 + rng.gamma(1.6, 3.2, len(who)), 35) * DAY_US).astype(np.int64)
    weight = geo.city_weight[cities] ** 0.6
    city = cities[rng.choice(len(cities), len(who), p=weight / weight.sum())]
    order = np.lexsort((start, who))
    who, start, length, city = who[order], start[order], length[order], city[order]
    end = start + length
    # A trip ends when the next one begins.
    same = who[1:] == who[:-1]
    end[:-1] = np.where(same, np.minimum(end[:-1], start[1:]), end[:-1])
    return Trips(_trip_key(who, start), start, end, city)


def build_world(seed: int, customers: int, merchants: int, start_us: int, days: int) -> World:
    """The world of a seed. Time is in microseconds UTC; the same arguments give the same world."""
    geo = geography()
    shops = _build_merchants(seed, merchants, geo)
    cities = np.unique(shops.city[~shops.online])
    people = _build_customers(seed, customers, start_us, days, geo, cities)
    n_city, n_country = len(geo.city_weight), len(geo.country_code)
    liking = np.array([row[5] for row in _CATEGORIES])[shops.category] * shops.popularity**0.5
    shops_of_city = Picker.of(np.where(shops.online, -1, shops.city), shops.popularity, n_city)
    online_of_country = Picker.of(np.where(shops.online, shops.country, -1), shops.popularity, n_country)
    online = Picker.of(np.where(shops.online, 0, -1), shops.popularity, 1)
    rng = stream(seed, Purpose.USUAL)
    for slot in range(USUAL_SHOPS):
        people.usual_shops[:, slot] = shops_of_city.draw(people.city, rng.random(customers))
    for slot in range(USUAL_ONLINE):
        at_home = rng.random(customers) < 0.85
        uniform = rng.random(customers)
        domestic = online_of_country.draw(people.country, uniform)
        people.usual_online[:, slot] = np.where(at_home, domestic, online.draw(np.zeros(customers, np.int64), uniform))
    return World(
        geo=geo,
        customers=people,
        merchants=shops,
        trips=_build_trips(seed, people, start_us, days, geo, cities),
        shops_of_city=shops_of_city,
        online_of_country=online_of_country,
        online=online,
        resale_online=Picker.of(np.where(shops.online, shops.country, -1), liking, n_country),
        resale_shops=Picker.of(np.where(shops.online, -1, shops.country), liking, n_country),
        cities_of_country=Picker.of(geo.city_country[cities], geo.city_weight[cities], n_country, cities),
        start_us=start_us,
        days=days,
    )
