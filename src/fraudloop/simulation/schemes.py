"""Fraud at work: the runs (episodes) of each scheme, genuine behaviour that goes exactly the same way, and sprees.

A scheme draws all its episodes by one process and only then are they called fraud or not (`double_share`), by chance
alone: nothing in a row, its history or its fraudster's other rows tells the two apart. That is what makes the best
reachable precision computable (`bound`). It knows no label and no file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fraudloop.limits import DAY_US, HOUR_US
from fraudloop.simulation import pattern as names
from fraudloop.simulation.ordinary import ONE_OFF, RING_DEVICES, purchases
from fraudloop.simulation.pattern import SCHEMES, FraudPattern
from fraudloop.simulation.pick import Floats, Ints, Picker
from fraudloop.simulation.rows import LEAD_IN, NONE, SPREE, Rows
from fraudloop.simulation.world import PRICE, PRICE_SPREAD, World, address

MINUTE_US: Final = 60_000_000
NIGHT_HOURS: Final = 8
NIGHT_FROM_HOUR: Final = 21

#: Fewest and most rows of an episode.
SIZES: Final = {
    names.CARD_TESTING: (4, 12),
    names.ACCOUNT_TAKEOVER: (2, 7),
    names.LOST_OR_STOLEN: (2, 6),
    names.MERCHANT_COMPROMISE: (1, 3),
    names.IMPOSSIBLE_TRAVEL: (1, 3),
    names.BUST_OUT: (3, 8),
}
#: Mean gap between the purchases of an episode, as a share of (the customer's usual gap / velocity_multiplier).
PACES: Final = {
    names.CARD_TESTING: 0.005,
    names.ACCOUNT_TAKEOVER: 0.12,
    names.LOST_OR_STOLEN: 0.20,
    names.MERCHANT_COMPROMISE: 0.30,
    names.IMPOSSIBLE_TRAVEL: 0.30,
    names.BUST_OUT: 1.0,
}
#: A customer's usual purchases a day enter a pace within these bounds, or a run of a rare buyer would take months.
RATE_PER_DAY: Final = (0.3, 6.0)
_DECLINED: Final = {names.CARD_TESTING: 0.20}
_EPISODES_PER_RING: Final = 12
#: Victims of a breach; in a small world fewer, so that there is a breach in about every week.
_VICTIMS_PER_BREACH: Final = 25


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of whole days under one pattern; times in microseconds UTC, the end not included."""

    number: int
    start_us: int
    end_us: int
    pattern: FraudPattern
    fraud_rate: float

    @property
    def days(self) -> int:
        """Whole days of it."""
        return (self.end_us - self.start_us) // DAY_US


@dataclass(frozen=True, slots=True)
class Episodes:
    """n runs of one scheme: whose, how long, fraud or not, at night or not, abroad or not, and when it begins."""

    customer: Ints
    size: Ints
    fraud: NDArray[np.bool_]
    night: NDArray[np.bool_]
    foreign: NDArray[np.bool_]
    country: Ints
    first_day: Ints

    def __len__(self) -> int:
        return len(self.size)


def _sizes(rng: Generator, low: int, high: int, rows: int) -> Ints:
    """Sizes from low to high that sum to `rows`; the last may be smaller."""
    if rows == 0:
        return np.zeros(0, np.int64)
    size = rng.integers(low, high + 1, rows // low + 1)
    last = int(np.searchsorted(np.cumsum(size), rows))
    size = size[: last + 1]
    size[last] -= int(size.sum()) - rows
    return size


def _share(rng: Generator, size: Ints, probability: float) -> NDArray[np.bool_]:
    """Episodes at random whose rows make up the share `probability` as nearly as whole episodes can."""
    order = rng.permutation(len(size))
    middle = np.cumsum(size[order]) - size[order] / 2
    chosen = np.zeros(len(size), np.bool_)
    chosen[order] = middle < probability * size.sum()
    return chosen


def _abroad(rng: Generator, weight: Floats, home: Ints) -> Ints:
    """A country for each home that is another one, by weight."""
    upto = np.cumsum(weight / weight.sum())
    country = np.searchsorted(upto, rng.random(len(home)), side="right").clip(max=len(weight) - 1)
    for _ in range(64):
        same = country == home
        if not same.any():
            break
        country[same] = np.searchsorted(upto, rng.random(int(same.sum())), side="right").clip(max=len(weight) - 1)
    return country


def _times(rng: Generator, episodes: Episodes, of: Ints, gap_days: Floats, clock: Ints, segment: Segment) -> Ints:
    """Times of all rows. A run at night lives on a clock that has only the hours 21 to 5, another on the rest of the day,
    so a long one goes on the next night; whole days are added or taken away where it would leave the segment."""
    hours = np.where(episodes.night, NIGHT_HOURS, 24 - NIGHT_HOURS) * HOUR_US
    start = episodes.first_day * hours + (rng.random(len(episodes)) * hours).astype(np.int64)
    gap = (rng.exponential(1.0, len(of)) * gap_days[of] * DAY_US).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(episodes.size)[:-1]])
    gap[first] = 0
    since = np.cumsum(gap)
    at = start[of] + since - since[first][of]
    day, within = np.divmod(at, hours[of])
    local = day * DAY_US + np.where(episodes.night, NIGHT_FROM_HOUR, NIGHT_FROM_HOUR + NIGHT_HOURS - 24)[of] * HOUR_US + within
    time = segment.start_us + local - clock[of] * MINUTE_US
    last = np.maximum.reduceat(time, first)
    time -= (np.maximum(0, -((segment.end_us - 1 - last) // DAY_US)) * DAY_US)[of]
    earliest = np.minimum.reduceat(time, first)
    time += (np.maximum(0, -((earliest - segment.start_us) // DAY_US)) * DAY_US)[of]
    time = segment.start_us + (time - segment.start_us) % (segment.days * DAY_US)
    whole: Ints = time // 1000 * 1000
    return whole


def run_scheme(world: World, rng: Generator, scheme: str, fraud_rows: int, segment: Segment, rate: Floats, first_episode: int) -> Rows:
    """Fraud of one scheme in a segment (exactly `fraud_rows`), its genuine doubles, and what leads in to both.

    rate: float64 [customers], usual purchases a day. Episodes are numbered from first_episode on.
    """
    pattern = segment.pattern
    low, high = SIZES[scheme]
    fraud_size = _sizes(rng, low, high, fraud_rows)
    double_size = _sizes(rng, low, high, round(fraud_rows * pattern.double_share))
    size = np.concatenate([fraud_size, double_size])
    n = len(size)
    if n == 0:
        return purchases(world, rng, np.zeros(0, np.int64), np.zeros(0, np.int64))
    people = world.customers
    breaches = max(1, n // _VICTIMS_PER_BREACH, min(n // 3, segment.days // 8))
    breach = rng.integers(0, breaches, n)
    customer = rng.integers(0, len(people), n)
    first_day = rng.integers(0, segment.days, n)
    if scheme == names.MERCHANT_COMPROMISE:
        customer, first_day = _victims(world, rng, breach, segment)
    home = people.country[customer]
    foreign = np.concatenate([_share(rng, part, pattern.foreign_probability) for part in (fraud_size, double_size)])
    night = np.concatenate([_share(rng, part, pattern.late_night_probability) for part in (fraud_size, double_size)])
    in_shops = scheme in (names.LOST_OR_STOLEN, names.IMPOSSIBLE_TRAVEL)
    resale = world.resale_shops if in_shops else world.resale_online
    country = np.where(foreign, _abroad(rng, resale.weight(), home), home)
    episodes = Episodes(customer, size, np.arange(n) < len(fraud_size), night, foreign, country, first_day)

    of = np.repeat(np.arange(n), size)
    usual = np.clip(rate[customer], *RATE_PER_DAY)
    time = _times(rng, episodes, of, PACES[scheme] / (pattern.velocity_multiplier * usual), people.utc_offset[customer], segment)
    # Fraudsters work in rings that use the same devices, merchants and networks for a while.
    rings = max(2, n // _EPISODES_PER_RING)
    ring = (first_day / segment.days * rings + 2 * rng.random(n)).astype(np.int64) % rings
    rows = _rows(world, rng, scheme, episodes, of, time, ring, breach, segment)
    rows.episode[:] = first_episode + of
    parts = [rows]
    if scheme in (names.IMPOSSIBLE_TRAVEL, names.BUST_OUT):
        parts.append(_lead_in(world, rng, scheme, episodes, rows, first_episode))
    return Rows.concat(parts)


def _victims(world: World, rng: Generator, breach: Ints, segment: Segment) -> tuple[Ints, Ints]:
    """Customers of the breached merchants, and the day their cards are used: within weeks of the breach."""
    people = world.customers
    usual = np.concatenate([people.usual_shops[:, :2], people.usual_online[:, :2]], axis=1).ravel().astype(np.int64)
    of_merchant = Picker.of(usual, np.ones(len(usual)), len(world.merchants.city), np.repeat(np.arange(len(people)), 4))
    breaches = int(breach.max()) + 1
    merchant = usual[rng.integers(0, len(usual), breaches)]
    day = rng.integers(0, segment.days, breaches)
    customer = of_merchant.draw(merchant[breach], rng.random(len(breach)))
    return customer, (day[breach] + rng.exponential(4.0, len(breach)).astype(np.int64)) % segment.days


def _rows(
    world: World, rng: Generator, scheme: str, episodes: Episodes, of: Ints, time: Ints, ring: Ints, breach: Ints, segment: Segment
) -> Rows:
    people, shops, geo, n = world.customers, world.merchants, world.geo, len(episodes)
    customer = episodes.customer[of]
    # Everything a customer would do at that time, then what the scheme changes of it.
    rows = purchases(world, rng, customer, time, at_home=True)
    code = SCHEMES.index(scheme) + 1
    index = np.arange(len(of)) - np.concatenate([[0], np.cumsum(episodes.size)[:-1]])[of]
    taste = rng.random((max(int(ring.max()), int(breach.max())) + 1, 3))
    in_shops = scheme in (names.LOST_OR_STOLEN, names.IMPOSSIBLE_TRAVEL)

    # Where the fraudster is: in the country of the merchants.
    city = world.cities_of_country.draw(episodes.country, rng.random(n))
    if scheme == names.LOST_OR_STOLEN:
        near = ~episodes.foreign & (rng.random(n) < 0.7)
        city = np.where(near, people.city[episodes.customer], city)
    if in_shops:
        merchant = world.shops_of_city.draw(city[of], rng.random(len(of)))
    elif scheme == names.CARD_TESTING:
        merchant = world.resale_online.draw(episodes.country, taste[ring, 0])[of]
    elif scheme == names.MERCHANT_COMPROMISE:
        merchant = world.resale_online.draw(episodes.country[of], taste[breach[of], rng.integers(0, 3, len(of))])
    else:
        merchant = world.resale_online.draw(episodes.country[of], rng.random(len(of)))
        if scheme == names.BUST_OUT:
            in_shop = ~episodes.foreign[of] & (rng.random(len(of)) < 0.5)
            merchant[in_shop] = world.resale_shops.draw(episodes.country[of[in_shop]], rng.random(int(in_shop.sum())))
    category = shops.category[merchant]
    level = people.spending[customer] * geo.price_level[people.country[customer]] * shops.price[merchant]
    usual_price = PRICE[category] * level * np.exp(PRICE_SPREAD[category] * rng.standard_normal(len(of)))
    euro = usual_price * segment.pattern.amount_multiplier * np.exp(0.45 * rng.standard_normal(len(of)))
    if scheme == names.CARD_TESTING:
        last = (index == episodes.size[of] - 1) & (index >= 5)
        euro = np.where(last, euro, 0.6 + rng.gamma(1.4, 1.6, len(of)))
    elif scheme == names.BUST_OUT:
        euro *= 0.4 + 1.2 * index / np.maximum(episodes.size[of] - 1, 1)

    rows.merchant[:] = merchant
    rows.euro[:] = euro
    rows.online[:] = shops.online[merchant]
    rows.present[:] = ~rows.online
    rows.origin[:] = code
    rows.fraud[:] = episodes.fraud[of]
    rows.card[:] = ((people.cards[episodes.customer] == 2) & (rng.random(n) < 0.25)).astype(np.int8)[of]
    declined = rng.random(len(of)) < _DECLINED.get(scheme, 0.06)
    rows.status[:] = np.where(declined, 2, rows.status)
    _devices(world, rng, scheme, episodes, of, rows, ring, city, segment)
    return rows


def _devices(
    world: World, rng: Generator, scheme: str, episodes: Episodes, of: Ints, rows: Rows, ring: Ints, city: Ints, segment: Segment
) -> None:
    """Set device, address and place: the fraudster's, or the customer's own where the scheme works through them."""
    people, shops, geo, n = world.customers, world.merchants, world.geo, len(episodes)
    kind, chance, low = rng.integers(0, 3, n), rng.random(n), rng.integers(0, 1 << 24, n)
    once = ONE_OFF + rng.integers(0, ONE_OFF, n)
    shared = RING_DEVICES + (segment.number << 24) + (SCHEMES.index(scheme) << 21) + ring
    ring_share = {names.CARD_TESTING: 0.9, names.ACCOUNT_TAKEOVER: 0.3, names.MERCHANT_COMPROMISE: 0.3}.get(scheme, 0.0)
    own_share = {names.ACCOUNT_TAKEOVER: 0.35, names.BUST_OUT: 1.0}.get(scheme, 0.0)
    own = (chance >= 1.0 - own_share)[of]
    device = np.where(chance < ring_share, shared, once)[of]
    network = address(geo.city_country[city], np.where(chance < ring_share, ring * 7919 % (1 << 24), low))[of]
    customer = episodes.customer[of]
    slot_device = customer * 8 + 4 * (rows.time_us >= people.renewed_us[customer])
    device = np.where(own, slot_device, device)
    kind_of = np.where(own, people.device_type[customer, 0], kind[of])
    network = np.where(own, people.ip[customer], network)
    rows.device[:] = np.where(rows.present, NONE, device)
    rows.device_type[:] = np.where(rows.present, NONE, kind_of)
    rows.ip[:] = np.where(rows.present, 0, network)
    north, east = rng.standard_normal(len(of)), rng.standard_normal(len(of))
    latitude = np.where(own, people.latitude[customer], geo.latitude[city][of]) + 0.03 * north
    longitude = np.where(own, people.longitude[customer], geo.longitude[city][of]) + 0.04 * east
    hidden = rng.random(len(of)) < 0.12
    latitude[hidden] = longitude[hidden] = np.nan
    rows.latitude[:] = np.where(rows.online, latitude, shops.latitude[rows.merchant])
    rows.longitude[:] = np.where(rows.online, longitude, shops.longitude[rows.merchant])


def _lead_in(world: World, rng: Generator, scheme: str, episodes: Episodes, rows: Rows, first_episode: int) -> Rows:
    """Genuine purchases before the first fraudulent one: at home minutes before a card appears far away, or the slow
    building up of a bust-out. All of them lie within the world's period."""
    first = np.concatenate([[0], np.cumsum(episodes.size)[:-1]])
    begin = np.minimum.reduceat(rows.time_us, first)
    if scheme == names.IMPOSSIBLE_TRAVEL:
        of = np.arange(len(episodes))
        time = begin - rng.integers(8, 55, len(of)) * MINUTE_US
        growth = np.ones(len(of))
    else:
        of = np.repeat(np.arange(len(episodes)), rng.integers(4, 9, len(episodes)))
        span = np.minimum(30 * DAY_US, begin - world.start_us)[of]
        before = rng.random(len(of))
        time = begin[of] - (span * before).astype(np.int64)
        growth = 2.5 - 1.5 * before
    time = np.maximum(time // 1000 * 1000, world.start_us)
    out = purchases(world, rng, episodes.customer[of], time, at_home=True)
    out.euro *= growth
    if scheme == names.IMPOSSIBLE_TRAVEL:
        shops = world.merchants
        out.merchant[:] = world.customers.usual_shops[episodes.customer, 0]
        out.online[:] = False
        out.present[:] = True
        out.device[:], out.device_type[:], out.ip[:] = NONE, NONE, 0
        out.latitude[:], out.longitude[:] = shops.latitude[out.merchant], shops.longitude[out.merchant]
    out.origin[:] = LEAD_IN
    out.episode[:] = first_episode + of
    return out


def sprees(world: World, rng: Generator, rows: int, customer: Ints, start_us: Ints) -> Rows:
    """Exactly `rows` genuine purchases in bursts, whose customers and beginnings are drawn as those of ordinary ones.

    customer, start_us: int64 [m] with m large enough: at least rows / 3 + 1.
    """
    size = _sizes(rng, 3, 8, rows)
    of = np.repeat(np.arange(len(size)), size)
    first = np.concatenate([[0], np.cumsum(size)[:-1]])[: len(size)]
    pace = 4 + rng.exponential(16, len(size))
    gap = (rng.exponential(1.0, len(of)) * pace[of] * MINUTE_US).astype(np.int64)
    gap[first] = 0
    since = np.cumsum(gap)
    time = start_us[of] + since - since[first][of]
    time -= np.maximum(0, -((world.end_us - 1 - time) // DAY_US)) * DAY_US
    time = np.maximum(time // 1000 * 1000, world.start_us)
    out = purchases(world, rng, customer[of], time)
    out.euro *= np.exp(0.3 + 0.5 * rng.standard_normal(len(size)))[of]
    out.origin[:] = SPREE
    out.episode[:] = of
    return out
