"""Rows as tables: numbers become ids, names and texts. One layout for every file and frame; it draws nothing.

`transactions` has the columns of the `native` column map: amounts in major units of their currency, times UTC, degrees
as decimals, `utc_offset` the minutes of the customer's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.simulation.labelling import SOURCES, Verdicts
from fraudloop.simulation.pick import Floats, Ints
from fraudloop.simulation.rows import ORIGINS, STATUSES, Rows
from fraudloop.simulation.world import CATEGORIES, DEVICE_TYPES, SEGMENTS, World

TIME: Final = pl.Datetime("us", "UTC")

TRANSACTIONS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "transaction_id": pl.String,
    "timestamp": TIME,
    "customer_id": pl.String,
    "merchant_id": pl.String,
    "merchant_category": pl.String,
    "amount": pl.Float64,
    "currency": pl.String,
    "country": pl.String,
    "is_online": pl.Boolean,
    "card_present": pl.Boolean,
    "latitude": pl.Float64,
    "longitude": pl.Float64,
    "device_id": pl.String,
    "device_type": pl.String,
    "ip": pl.String,
    "card_id": pl.String,
    "status": pl.String,
    "flow": pl.String,
    "utc_offset": pl.Int16,
    "is_fraud": pl.Boolean,
    "label_known_at": TIME,
    "label_source": pl.String,
}
TRUTH: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "transaction_id": pl.String,
    "true_fraud": pl.Boolean,
    "scheme": pl.String,
    "episode": pl.Int32,
    "fraud_probability": pl.Float64,
}
LABELS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "transaction_id": pl.String,
    "is_fraud": pl.Boolean,
    "known_at": TIME,
    "source": pl.String,
    "reason": pl.String,
}
_HEX: Final = [f"{i:04x}" for i in range(1 << 16)]
#: An odd factor scrambles 32-bit numbers without making two the same.
_SCRAMBLE: Final = 0x9E3779B1


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts that rows point at, made once for a world."""

    world: World
    customer: pl.Series
    merchant: pl.Series
    category: pl.Series
    currency: pl.Series
    country: pl.Series
    device_type: pl.Series
    status: pl.Series
    source: pl.Series
    origin: pl.Series
    device_high: pl.Series
    high: pl.Series
    low: pl.Series
    address_high: pl.Series
    address_low: pl.Series
    card_prefix: pl.Series

    @classmethod
    def of(cls, world: World) -> Texts:
        """All of them."""
        geo, shops = world.geo, world.merchants
        octets = np.arange(1 << 16)
        dotted = pl.DataFrame({"a": octets >> 8, "b": octets & 255})
        n = len(world.customers)
        return cls(
            world=world,
            customer=_numbered("C", n),
            merchant=_numbered("M", len(shops.city)),
            category=pl.Series(CATEGORIES)[shops.category],
            currency=pl.Series(geo.currency)[shops.country],
            country=pl.Series(geo.country_code)[shops.country],
            device_type=pl.Series(DEVICE_TYPES),
            status=pl.Series(STATUSES),
            source=pl.Series(SOURCES),
            origin=pl.Series(ORIGINS),
            device_high=pl.Series(["D" + text for text in _HEX]),
            high=pl.Series(_HEX),
            low=pl.Series(_HEX),
            address_high=dotted.select(pl.format("{}.{}.", "a", "b")).to_series(),
            address_low=dotted.select(pl.format("{}.{}", "a", "b")).to_series(),
            card_prefix=pl.Series(["K"]),
        )


def _numbered(prefix: str, count: int) -> pl.Series:
    digits = max(5, len(str(count)))
    return pl.select(prefix + pl.int_range(1, count + 1).cast(pl.String).str.zfill(digits)).to_series()


def _index(values: np.ndarray, none: NDArray[np.bool_] | None = None) -> pl.Series:
    index = pl.Series(values.astype(np.uint32))
    return index if none is None else pl.select(pl.when(pl.Series(~none)).then(index)).to_series()


def _when(values: pl.Series, there: NDArray[np.bool_]) -> pl.Series:
    return pl.select(pl.when(pl.Series(there)).then(values)).to_series()


def ids(first: int, count: int) -> pl.Series:
    """Transaction ids of rows first, first + 1, ... of the whole table."""
    return pl.select("T" + pl.int_range(first + 1, first + count + 1).cast(pl.String).str.zfill(10)).to_series()


def minor_units(world: World, rows: Rows) -> tuple[Ints, Ints]:
    """Amounts in whole minor units of the merchant's currency (at least 1), and 10 to the power of its decimals."""
    geo = world.geo
    country = world.merchants.country[rows.merchant]
    unit = 10 ** geo.exponent[country]
    return np.maximum(1, np.rint(rows.euro * geo.per_euro[country] * unit)).astype(np.int64), unit


def transactions(texts: Texts, rows: Rows, first: int, known_us: Ints, source: NDArray[np.int8], fraud: NDArray[np.bool_]) -> pl.DataFrame:
    """The transactions table of rows in time order, numbered from `first` on.

    known_us, source, fraud: [n], when the last label came (0: none), where it came from and what it says.
    """
    world = texts.world
    minor, unit = minor_units(world, rows)
    merchant = _index(rows.merchant)
    no_device, no_ip, labelled = rows.device < 0, rows.ip == 0, known_us > 0
    device = (np.maximum(rows.device, 0).astype(np.uint64) * np.uint64(_SCRAMBLE)) & np.uint64(0xFFFFFFFF)
    card = (rows.customer.astype(np.uint64) * np.uint64(2) + rows.card.astype(np.uint64)) * np.uint64(_SCRAMBLE) & np.uint64(0xFFFFFFFF)
    parts = pl.DataFrame(
        {
            "device_high": texts.device_high.gather(_index(device >> np.uint64(16), no_device)),
            "device_low": texts.low.gather(_index(device & np.uint64(0xFFFF), no_device)),
            "ip_high": texts.address_high.gather(_index(rows.ip >> np.uint32(16), no_ip)),
            "ip_low": texts.address_low.gather(_index(rows.ip & np.uint32(0xFFFF), no_ip)),
            "card_high": texts.high.gather(_index(card >> np.uint64(16))),
            "card_low": texts.low.gather(_index(card & np.uint64(0xFFFF))),
        }
    ).select(
        device=pl.concat_str("device_high", "device_low"),
        ip=pl.concat_str("ip_high", "ip_low"),
        card=pl.concat_str(pl.lit("K"), "card_high", "card_low"),
    )
    n = len(rows)
    return pl.DataFrame(
        {
            "transaction_id": ids(first, n),
            "timestamp": _time(rows.time_us),
            "customer_id": texts.customer.gather(_index(rows.customer)),
            "merchant_id": texts.merchant.gather(merchant),
            "merchant_category": texts.category.gather(merchant),
            "amount": minor / unit,
            "currency": texts.currency.gather(merchant),
            "country": texts.country.gather(merchant),
            "is_online": rows.online,
            "card_present": rows.present,
            "latitude": _degrees(rows.latitude),
            "longitude": _degrees(rows.longitude),
            "device_id": parts["device"],
            "device_type": texts.device_type.gather(_index(rows.device_type, no_device)),
            "ip": parts["ip"],
            "card_id": parts["card"],
            "status": texts.status.gather(_index(rows.status)),
            "flow": pl.repeat("payments", n, eager=True),
            "utc_offset": world.customers.utc_offset[rows.customer].astype(np.int16),
            "is_fraud": fraud,
            "label_known_at": _when(_time(known_us), labelled),
            "label_source": texts.source.gather(_index(np.maximum(source, 0), ~labelled)),
        },
        schema=TRANSACTIONS,
    )


def truth(texts: Texts, rows: Rows, first: int, probability: Floats) -> pl.DataFrame:
    """What really happened, for analysis only: never an input of a model. probability: float64 [n]."""
    return pl.DataFrame(
        {
            "transaction_id": ids(first, len(rows)),
            "true_fraud": rows.fraud,
            "scheme": texts.origin.gather(_index(rows.origin)),
            "episode": _when(pl.Series(rows.episode), rows.episode >= 0),
            "fraud_probability": probability,
        },
        schema=TRUTH,
    )


def labels(transaction_id: pl.Series, verdicts: Verdicts) -> pl.DataFrame:
    """The labels as they come in, one row for each report and each reversal, ordered by known_at.

    transaction_id: of each verdict. A reversal comes from the source of the report that it takes back.
    """
    frame = pl.DataFrame(
        {
            "transaction_id": transaction_id,
            "known": _time(verdicts.known_us),
            "reversed": _time(verdicts.reversed_us),
            "source": pl.Series(SOURCES).gather(_index(np.maximum(verdicts.source, 0))),
            "is_known": verdicts.known_us > 0,
            "is_reversed": verdicts.reversed_us > 0,
        }
    )
    first = frame.filter("is_known").select(
        "transaction_id", is_fraud=pl.lit(True), known_at="known", source="source", reason=pl.lit(None, pl.String)
    )
    second = frame.filter("is_reversed").select(
        "transaction_id", is_fraud=pl.lit(False), known_at="reversed", source="source", reason=pl.lit("reversed")
    )
    return pl.concat([first, second]).sort("known_at", "transaction_id").select(LABELS.keys())


def profiles(texts: Texts) -> pl.DataFrame:
    """One row for each customer, known from the start of the world on."""
    world = texts.world
    people, geo = world.customers, world.geo
    n = len(people)
    return pl.DataFrame(
        {
            "entity": pl.repeat("customer", n, eager=True),
            "id": texts.customer,
            "time": _time(np.full(n, world.start_us)),
            "home_country": pl.Series(geo.country_code).gather(_index(people.country)),
            "home_latitude": _degrees(people.latitude),
            "home_longitude": _degrees(people.longitude),
            "opened_at": _time(people.opened_us),
            "utc_offset": people.utc_offset.astype(np.int16),
            "segment": pl.Series(SEGMENTS).gather(_index(people.segment)),
        }
    )


def _time(us: Ints) -> pl.Series:
    return pl.Series(us).cast(TIME)


def _degrees(values: Floats) -> pl.Series:
    return pl.Series(np.rint(values * 1e5) / 1e5).fill_nan(None)
