"""Made tables of payments for the benchmarks: numpy, a seed, and sizes that are told. The same seed makes the same rows.

Two kinds. `handbook_shaped` follows the rules of the Fraud Detection Handbook's generator (Le Borgne et al., 2022,
chapter 3): customers and terminals on a square, terminals within reach, three fraud scenarios. `Payments` is wider
(merchants by town, devices, places, countries) and is given as events directly, piece by piece, so that a
million customers need no table of text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.assemble import columns_of
from fraudloop.door.events import LABEL, MISSING, SYSTEM_NUMBERS, TRANSACTION, Events
from fraudloop.limits import DAY_US, SECOND_US

Ints = NDArray[np.int64]

#: 2018-04-01, where the Handbook's table begins too.
FIRST_US: Final = 1_522_540_800 * SECOND_US

#: A customer with 45 payments in 30 days.
PER_DAY: Final = 1.5

LABEL_DELAY_DAYS: Final = 7


def handbook_shaped(customers: int = 5_000, terminals: int = 10_000, days: int = 183, seed: int = 0) -> pl.DataFrame:
    """Canonical columns transaction_id, timestamp, customer_id, merchant_id, amount_minor, amount_base (text ids, cents)
    and is_fraud, in time order, whole seconds. 5,000 customers over 183 days make 1.77 million rows, 0.8 % of them fraud."""
    random = np.random.default_rng(seed)
    home, shop = random.uniform(0, 100, (customers, 2)), random.uniform(0, 100, (terminals, 2))
    reach = [np.flatnonzero(((shop - at) ** 2).sum(axis=1) < 25.0) for at in home]
    sizes = np.array([len(own) for own in reach])
    starts, near = np.concatenate([[0], np.cumsum(sizes)[:-1]]), np.concatenate(reach)

    daily = random.poisson(random.uniform(0, 4, customers)[:, None], (customers, days)) * (sizes > 0)[:, None]
    at = np.repeat(np.arange(customers * days), daily.ravel())
    customer, day = at // days, at % days
    second = random.normal(43_200, 20_000, len(at)).astype(np.int64)
    mean = random.uniform(5, 100, customers)[customer]
    amount = random.normal(mean, mean / 2)
    amount = np.round(np.where(amount < 0, random.uniform(0, 2 * mean), amount) * 100).astype(np.int64)
    terminal = near[starts[customer] + (random.random(len(at)) * sizes[customer]).astype(np.int64)]
    kept = np.flatnonzero((second > 0) & (second < 86_400))
    kept = kept[np.argsort(day[kept] * 86_400 + second[kept], kind="stable")]
    customer, terminal, day, second, amount = customer[kept], terminal[kept], day[kept], second[kept], amount[kept]

    fraud = amount > 22_000
    fraud |= _taken(random, terminals, days, 2, 28)[terminal, day]
    spree = _taken(random, customers, days, 3, 14)[customer, day] & (random.random(len(day)) < 1 / 3)
    amount = np.where(spree, amount * 5, amount)
    return pl.DataFrame(
        {
            "transaction_id": pl.Series(np.arange(len(day))).cast(pl.String),
            "timestamp": pl.Series(FIRST_US + day * DAY_US + second * SECOND_US).cast(pl.Datetime("us", "UTC")),
            "customer_id": pl.Series(customer).cast(pl.String),
            "merchant_id": pl.Series(terminal).cast(pl.String),
            "amount_minor": amount,
            "amount_base": amount,
            "is_fraud": fraud | spree,
        }
    )


def _taken(random: np.random.Generator, keys: int, days: int, a_day: int, lasts: int) -> NDArray[np.bool_]:
    """Which keys are in a fraudster's hands on which days: each day some new ones, for so many days. Not on the last day."""
    out = np.zeros((keys, days), np.bool_)
    for day in range(days - 1):
        out[random.integers(0, keys, a_day), day : day + lasts] = True
    return out


def labels_of(table: pl.DataFrame, delay_days: int = LABEL_DELAY_DAYS) -> pl.DataFrame:
    """A canonical label for each fraud of a table with `is_fraud`, known so many days after it."""
    return table.filter("is_fraud").select(
        "transaction_id",
        "is_fraud",
        pl.lit("file").alias("source"),
        pl.col("timestamp").dt.offset_by(f"{delay_days}d").alias("known_at"),
        pl.lit(None, pl.String).alias("reason"),
    )


@dataclass(frozen=True, slots=True)
class Payments:
    """Payments of many customers in time order, one array for each field. -1 in `device`: none (a card at a counter).
    Places are in units of 1e-7 degree, MISSING online."""

    customers: int
    time_us: Ints
    customer: NDArray[np.int32]
    merchant: NDArray[np.int32]
    device: NDArray[np.int32]
    country: NDArray[np.int16]
    amount: Ints
    fraud: NDArray[np.bool_]
    places: NDArray[np.int64]
    keys: dict[str, NDArray[np.uint64]]

    def __len__(self) -> int:
        return len(self.time_us)

    @staticmethod
    def make(customers: int, transactions: int, per_day: float = PER_DAY, seed: int = 0) -> Payments:
        """The first `customers` payments are one of each customer; then anyone pays, on average `per_day` times a day.

        A town has 200 customers and 20 merchants; nine of ten payments stay in town, the others go anywhere, half of
        them online and one in three of those abroad. A customer has two devices; a quarter of payments has none.
        """
        random = np.random.default_rng(seed)
        towns = max(1, customers // 200)
        merchants = 20 * towns
        customer = np.concatenate(
            [random.permutation(customers)[:transactions], random.integers(0, customers, max(0, transactions - customers))]
        )
        in_town = random.random(transactions) < 0.9
        popular = (20 * random.random(transactions) ** 1.5).astype(np.int64)
        merchant = np.where(in_town, customer % towns + towns * popular, random.integers(0, merchants, transactions))
        device = 2 * customer + (random.random(transactions) < 0.2)
        device[random.random(transactions) < 0.25] = -1
        abroad = ~in_town & (random.random(transactions) < 1 / 6)
        online = ~in_town & (abroad | (random.random(transactions) < 0.4))
        where = np.stack([random.integers(450_000_000, 540_000_000, towns), random.integers(-10_000_000, 250_000_000, towns)], axis=1)
        places = where[np.arange(merchants) % towns] + random.integers(-500_000, 500_000, (merchants, 2))
        return Payments(
            customers=customers,
            time_us=FIRST_US + np.sort(random.integers(0, round(transactions / (customers * per_day) * DAY_US), transactions)),
            customer=customer.astype(np.int32),
            merchant=np.where(online, -1 - merchant, merchant).astype(np.int32),
            device=device.astype(np.int32),
            country=np.where(abroad, random.integers(1, 50, transactions), 0).astype(np.int16),
            amount=np.maximum(1, np.round(np.exp(random.normal(8.0, 1.0, transactions)))).astype(np.int64),
            fraud=random.random(transactions) < 0.01,
            places=places,
            keys={
                "customer": _keys(customers, 1),
                "merchant": _keys(merchants, 2),
                "device": _keys(2 * customers, 3),
                "country": _keys(50, 4),
            },
        )

    def events(self, features: FeatureSet, begin: int, end: int) -> Events:
        """The payments [begin, end) in log order, and between them the labels that become known in that time: each fraud
        a day after it happened."""
        known = self.time_us[:end][self.fraud[:end]] + DAY_US
        after = self.time_us[begin - 1] if begin else np.iinfo(np.int64).min
        due = np.flatnonzero(self.fraud[:end])[(known > after) & (known <= self.time_us[end - 1])]
        at = begin + np.searchsorted(self.time_us[begin:end], self.time_us[due] + DAY_US, side="left")
        source = np.insert(np.arange(begin, end), at - begin, due)
        kind = np.insert(np.full(end - begin, TRANSACTION, np.uint8), at - begin, LABEL)
        label, paid = kind == LABEL, kind == TRANSACTION
        time = self.time_us[source] + np.where(label, DAY_US, 0)

        key_columns, number_columns = columns_of(features)
        key_names, number_names = tuple(key_columns), tuple(dict.fromkeys([*number_columns, *SYSTEM_NUMBERS]))
        entities = {e.name for e in features.entities}
        shop = self.merchant[source]
        online, shop = shop < 0, np.where(shop < 0, -1 - shop, shop)
        codes: dict[str, NDArray[np.signedinteger[Any]]] = {
            "customer": self.customer[source],
            "merchant": shop,
            "device": self.device[source],
            "country": self.country[source],
        }
        keys = np.zeros((len(source), len(key_names), 2), np.uint64)
        for j, name in enumerate(key_names):
            if name in codes:
                keys[:, j] = np.where(((codes[name] >= 0) & (paid | (name in entities)))[:, None], self.keys[name][codes[name]], 0)
        numbers = np.full((len(source), len(number_names)), MISSING, np.int64)
        given: dict[str, tuple[NDArray[np.bool_], Ints | int]] = {
            "amount": (paid, self.amount[source]),
            "zone_offset": (paid, 0),
            "latitude": (paid & ~online, self.places[shop, 0]),
            "longitude": (paid & ~online, self.places[shop, 1]),
            "transaction_time": (label, self.time_us[source]),
            "before": (label, 0),
            "after": (label, 1),
            "absorbed": (label, 1),
        }
        for name, (rows, values) in given.items():
            if name in number_names:
                numbers[:, number_names.index(name)] = np.where(rows, values, MISSING)
        return Events(kind, time, time, keys, numbers, source, key_names, number_names)

    def runs(self, features: FeatureSet, size: int, begin: int = 0, end: int | None = None) -> Iterator[Events]:
        """The payments [begin, end) in runs of `size`."""
        stop = len(self) if end is None else end
        for at in range(begin, stop, size):
            yield self.events(features, at, min(at + size, stop))


def _keys(n: int, space: int) -> NDArray[np.uint64]:
    """n keys of 128 bits that look like hashes: the finaliser of splitmix64 (Steele, Lea, Flood, 2014) of a counter."""
    x = np.arange(1, 2 * n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(space << 56)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).reshape(n, 2)
