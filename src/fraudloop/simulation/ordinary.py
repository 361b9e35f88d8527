"""Everyday purchases: who buys when (habits by local hour of the week), where, for how much, from which device.

One function makes the purchases of given customers at given times; everything genuine goes through it, and so does
fraud that looks like nothing. It knows no scheme and no label.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fraudloop.limits import DAY_US, HOUR_US
from fraudloop.simulation.pick import Floats, Ints, Picker
from fraudloop.simulation.rows import NONE, ORDINARY, Rows
from fraudloop.simulation.streams import Purpose, stream
from fraudloop.simulation.world import PRICE, PRICE_SPREAD, USUAL_ONLINE, USUAL_SHOPS, World, address, profile_of_week

MINUTE_US: Final = 60_000_000
MILLISECOND_US: Final = 1_000
_MONDAY: Final = 4 * DAY_US  # 1970-01-05

#: Rows that one stream makes in one go. A whole hour of the world is never split, so a block can be larger. Smaller:
#: the overhead of a call to numpy shows. Larger: memory. It is part of what a seed means.
BLOCK_ROWS: Final = 1 << 18

#: Devices below are somebody's or a fraudster's own; from here on each is seen once (a borrowed phone, cleared cookies).
ONE_OFF: Final = 1 << 31
RING_DEVICES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Calendar:
    """When ordinary purchases happen. count: int64 [hours, groups]; a group is (clock, habit), people picks in it."""

    count: Ints
    people: Picker
    start_us: int

    @property
    def rows(self) -> Ints:
        """Rows of each hour."""
        rows: Ints = self.count.sum(axis=1)
        return rows

    def blocks(self) -> list[slice]:
        """Runs of whole hours with about BLOCK_ROWS rows each."""
        upto = np.cumsum(self.rows)
        cuts = [0]
        while cuts[-1] < len(upto):
            done = upto[cuts[-1] - 1] if cuts[-1] else 0
            cuts.append(max(cuts[-1] + 1, int(np.searchsorted(upto, done + BLOCK_ROWS, side="right"))))
        return [slice(a, b) for a, b in pairwise(cuts)]


def people_by_clock(world: World) -> tuple[Picker, Floats]:
    """Customers grouped by (clock, habit), and the relative activity of each (hour, group): float64 [hours, groups]."""
    people = world.customers
    week = profile_of_week()
    clocks, clock = np.unique(people.utc_offset, return_inverse=True)
    groups = len(clocks) * len(week)
    picker = Picker.of(clock * len(week) + people.habit, people.activity, groups)
    # The clock at the middle of each UTC hour; half-hour zones come out right on average.
    middle = world.start_us + HOUR_US * np.arange(world.days * 24) + HOUR_US // 2 - _MONDAY
    local = (middle[:, None] + MINUTE_US * clocks[None, :]) // HOUR_US % 168
    return picker, week[np.arange(len(week))[None, None, :], local[:, :, None]].reshape(len(local), groups) * picker.weight()


def build_calendar(seed: int, world: World, rows: int) -> Calendar:
    """Spread exactly `rows` purchases over hours and groups."""
    picker, activity = people_by_clock(world)
    count = stream(seed, Purpose.CALENDAR).multinomial(rows, activity.ravel() / activity.sum())
    return Calendar(count.reshape(activity.shape), picker, world.start_us)


def draw_block(seed: int, number: int, hours: slice, calendar: Calendar, world: World) -> Rows:
    """The ordinary purchases of a block of hours, in no order."""
    rng = stream(seed, Purpose.BACKGROUND, number)
    count = calendar.count[hours]
    cell = np.repeat(np.arange(count.size), count.ravel())
    hour, group = np.divmod(cell, count.shape[1])
    customer = calendar.people.draw(group, rng.random(len(cell)))
    time = calendar.start_us + (hours.start + hour) * HOUR_US + rng.integers(0, HOUR_US // MILLISECOND_US, len(cell)) * MILLISECOND_US
    return purchases(world, rng, customer, time)


def draw_anytime(rng: Generator, rows: int, world: World, hours: slice) -> tuple[Ints, Ints]:
    """Customers and times of `rows` purchases spread over these hours of the world as ordinary ones are, in no order."""
    picker, activity = people_by_clock(world)
    activity = activity[hours]
    count = rng.multinomial(rows, activity.ravel() / activity.sum())
    cell = rng.permutation(np.repeat(np.arange(count.size), count))
    hour, group = np.divmod(cell, activity.shape[1])
    customer = picker.draw(group, rng.random(rows))
    within = rng.integers(0, HOUR_US // MILLISECOND_US, rows) * MILLISECOND_US
    return customer, world.start_us + (hours.start + hour) * HOUR_US + within


def _zipf(slots: int) -> Floats:
    weight = 1.0 / (1.0 + np.arange(slots))
    return np.cumsum(weight / weight.sum())


_SHOP_SLOTS: Final = _zipf(USUAL_SHOPS)
_ONLINE_SLOTS: Final = _zipf(USUAL_ONLINE)
_DEVICE_SLOTS: Final = np.array([[1.0, 1.0, 1.0], [0.75, 1.0, 1.0], [0.65, 0.90, 1.0]])
_STATUS: Final = np.array([0.90, 0.965, 0.99])


def purchases(world: World, rng: Generator, customer: Ints, time_us: Ints, *, at_home: bool = False) -> Rows:
    """What these customers buy at these times (int64 [n] each), as they usually do. at_home leaves out their trips."""
    people, shops, geo = world.customers, world.merchants, world.geo
    n = len(customer)
    stay = np.full(n, -1) if at_home else world.trips.at(customer, time_us)
    away = stay >= 0
    city = np.where(away, stay, people.city[customer])
    online = rng.random(n) < people.online[customer] * np.where(away, 0.5, 1.0)

    usual, uniform, kind = rng.random(n), rng.random(n), rng.random(n)
    merchant = np.empty(n, np.int64)
    known = online & (usual < 0.70)
    merchant[known] = people.usual_online[customer[known], np.searchsorted(_ONLINE_SLOTS, uniform[known])]
    domestic = online & ~known & (kind < 0.62)
    merchant[domestic] = world.online_of_country.draw(people.country[customer[domestic]], uniform[domestic])
    anywhere = online & ~known & ~domestic
    merchant[anywhere] = world.online.draw(np.zeros(int(anywhere.sum()), np.int64), uniform[anywhere])
    regular = ~online & ~away & (usual < 0.72)
    merchant[regular] = people.usual_shops[customer[regular], np.searchsorted(_SHOP_SLOTS, uniform[regular])]
    new = ~online & ~regular
    merchant[new] = world.shops_of_city.draw(city[new], uniform[new])

    category = shops.category[merchant]
    spread = rng.standard_normal(n) * PRICE_SPREAD[category]
    # Once in a while something large: a sofa, a ring, a repair.
    large = rng.random(n) < 0.02
    spread[large] += 1.4 + 0.5 * rng.standard_normal(int(large.sum()))
    euro = PRICE[category] * shops.price[merchant] * people.spending[customer] * geo.price_level[geo.city_country[city]] * np.exp(spread)
    euro[away] *= 1.35

    present = ~online & (rng.random(n) < 0.97)
    device, device_type = devices(world, rng, customer, time_us, present)
    number = rng.integers(0, 1 << 24, n)
    mobile = away | (rng.random(n) < 0.35)
    ip = np.where(mobile, address(geo.city_country[city], number), people.ip[customer])
    jitter_north, jitter_east = rng.standard_normal(n), rng.standard_normal(n)
    here = np.where(away, geo.latitude[city], people.latitude[customer]), np.where(away, geo.longitude[city], people.longitude[customer])
    latitude = np.where(online, here[0] + 0.03 * jitter_north, shops.latitude[merchant])
    longitude = np.where(online, here[1] + 0.04 * jitter_east, shops.longitude[merchant])
    hidden = online & (rng.random(n) < 0.12)
    latitude[hidden] = longitude[hidden] = np.nan
    return Rows(
        time_us=time_us,
        customer=customer.astype(np.int32),
        merchant=merchant.astype(np.int32),
        euro=euro,
        online=online,
        present=present,
        latitude=latitude,
        longitude=longitude,
        device=device,
        device_type=device_type,
        ip=np.where(device == NONE, np.uint32(0), ip),
        card=((people.cards[customer] == 2) & (rng.random(n) < 0.25)).astype(np.int8),
        status=np.searchsorted(_STATUS, rng.random(n)).astype(np.int8),
        origin=np.full(n, ORDINARY, np.int8),
        episode=np.full(n, NONE, np.int32),
        fraud=np.zeros(n, np.bool_),
    )


def devices(world: World, rng: Generator, customer: Ints, time_us: Ints, present: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.int8]]:
    """Devices (numbers) and their types: one of the customer's own, rarely one never seen again, none in most shops."""
    people = world.customers
    n = len(customer)
    uniform = rng.random(n)
    table = _DEVICE_SLOTS[people.devices[customer] - 1]
    slot = (uniform >= table[:, 0]).astype(np.int64) + (uniform >= table[:, 1])
    kind = people.device_type[customer, slot]
    own = customer * 8 + slot + 4 * (time_us >= people.renewed_us[customer])
    once = rng.random(n) < 0.015
    device = np.where(once, ONE_OFF + rng.integers(0, ONE_OFF, n), own)
    wallet = people.wallet[customer] & (rng.random(n) < 0.5)
    none = present & ~wallet
    paid_by_phone = present & wallet
    device = np.where(paid_by_phone, customer * 8 + 4 * (time_us >= people.renewed_us[customer]), device)
    kind = np.where(paid_by_phone, np.int8(0), kind)
    return np.where(none, NONE, device), np.where(none, np.int8(NONE), kind).astype(np.int8)
