"""Short stories of a few events with features worked out by hand: the drawn examples of `docs/semantics.md`.

They hold the oracle, and any other fold, to what the page says. Times are microseconds from midnight of Monday,
1 January 2024, UTC; nothing here computes a feature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from typing import Any

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.events import LABEL, PROFILE, SYSTEM_NUMBERS, TRANSACTION, Events
from tests.strategies import to_events

START_US = 1_704_067_200_000_000
S = 1_000_000
M = 60 * S
H = 60 * M
D = 24 * H

PARIS: Mapping[str, Any] = {"latitude": 488_566_000, "longitude": 23_522_000}
BERLIN: Mapping[str, Any] = {"latitude": 525_200_000, "longitude": 134_050_000}
PARIS_BERLIN_KM = 877.4645379215092
HOME_BERLIN_KM = 874.9691832812375  # from the centre of Paris's cell, 48.875 N 2.375 E
BERLIN_CELL_KM = 1.46289998033  # from Berlin to the centre of its cell, 52.525 N 13.425 E

Row = tuple[int, int, int, dict[str, tuple[int, int]], dict[str, int]]


@dataclass(frozen=True)
class Timeline:
    """`expected[feature]`: its value at each transaction in order. `status`: of each, where any is not 0."""

    id: str
    rows: Sequence[Row]
    features: Sequence[str | Mapping[str, Any]]
    expected: Mapping[str, Sequence[float]]
    status: Sequence[int] | None = None
    night: tuple[int, int] = (21, 5)

    @property
    def feature_set(self) -> FeatureSet:
        return FeatureSet.from_dict(
            {
                "night": list(self.night),
                "entities": {"customer": "customer_id", "merchant": "merchant_id"},
                "numbers": {"amount": {"column": "amount_base", "scale": 2}},
                "categories": {"country": "country"},
                "features": list(self.features),
            }
        )

    @property
    def events(self) -> Events:
        return to_events(self.feature_set, list(self.rows))


def key(name: str) -> tuple[int, int]:
    return int.from_bytes(name.encode(), "little"), 1


def buy(at: int, arrives: int | None = None, customer: str | None = "ann", **values: Any) -> Row:
    """A payment at `at`, which arrives then unless said otherwise. Texts are keys, integers numbers."""
    return (TRANSACTION, START_US + at, START_US + (at if arrives is None else arrives), *_split({"customer": customer, **values}))


def verdict(
    known_at: int, of: int, fraud: bool, was: int | None = None, arrives: int | None = None, absorbed: int = 1, customer: str = "ann"
) -> Row:
    """A label on the payment at `of`; `was`: since when it was known as fraud before this label, if it was."""
    numbers = {"transaction_time": START_US + of, "before": int(was is not None), "after": int(fraud), "absorbed": absorbed}
    if was is not None:
        numbers["before_known_at"] = START_US + was
    return (LABEL, START_US + known_at, START_US + (known_at if arrives is None else arrives), {"customer": key(customer)}, numbers)


def profile(at: int, customer: str = "ann", **values: Any) -> Row:
    if "opened_at" in values:
        values["opened_at"] += START_US
    return (PROFILE, START_US + at, START_US + at, *_split({"customer": customer, **values}))


def _split(values: Mapping[str, Any]) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    keys = {name: key(value) for name, value in values.items() if isinstance(value, str)}
    numbers = {name: value for name, value in values.items() if isinstance(value, int)}
    assert set(numbers) <= {"amount", *SYSTEM_NUMBERS}, "a number of a misspelt name would be lost"
    return keys, numbers


def at_noon(days: int, *payments: Mapping[str, Any]) -> list[Row]:
    """These payments at noon of each of the first `days` days."""
    return [buy(day * D + 12 * H, **values) for day in range(days) for values in payments]


TIMELINES = (
    Timeline(
        "window-edges",
        [buy(0), buy(1), buy(H)],
        ["customer_count_1h"],
        {"customer_count_1h": [1, 2, 2]},
    ),
    Timeline(
        "ties",
        [buy(0), buy(0), buy(0)],
        ["customer_count_1h", {"name": "others", "kind": "count", "entity": "customer", "window": "1h", "exclude_current": True}],
        {"customer_count_1h": [1, 2, 3], "others": [0, 1, 2]},
    ),
    Timeline(
        "late",
        [buy(0), buy(2 * H), buy(H, arrives=2 * H), buy(2 * H + 1)],
        ["customer_count_2h", "customer_seconds_since_last"],
        {"customer_count_2h": [1, 1, 2, 3], "customer_seconds_since_last": [nan, 7_200, 3_600, 0.000001]},
    ),
    Timeline(
        "too-late-too-early",
        [
            buy(0),
            buy(24 * H, arrives=24 * H),
            buy(0, arrives=24 * H),
            buy(-1, arrives=24 * H, amount=500),
            buy(24 * H + 5 * M, arrives=24 * H),
            buy(24 * H + 5 * M + 1, arrives=24 * H, amount=700),
            buy(24 * H + 10 * M),
        ],
        [
            {"name": "n", "kind": "count", "entity": "customer", "window": "2d", "missing": -1.0},
            {"name": "amount", "missing": 0.0},
            "hour_of_day",
        ],
        {"n": [1, 2, 2, nan, 4, nan, 5], "amount": [0, 0, 0, 5, 0, 7, 0], "hour_of_day": [0, 0, 0, 23, 0, 0, 0]},
        status=[0, 0, 0, 1, 0, 2, 0],
    ),
    Timeline(
        "received-never-goes-back",
        [buy(0, arrives=25 * H), buy(2 * H, arrives=3 * H), buy(2 * H, arrives=26 * H), buy(2 * H, arrives=26 * H + 1)],
        ["customer_count_1h"],
        {"customer_count_1h": [nan, 1, 2, nan]},
        status=[1, 0, 0, 1],
    ),
    Timeline(
        "delay",
        [buy(0), buy(30 * M), buy(H), buy(2 * H)],
        ["customer_count_1h_after_1h"],
        {"customer_count_1h_after_1h": [0, 0, 1, 2]},
    ),
    Timeline(
        "null-key",
        [buy(0, customer=None, amount=100), buy(1, customer=None, amount=100)],
        [
            "customer_count_1h",
            "customer_age_days",
            {"name": "s", "kind": "sum", "entity": "customer", "field": "amount", "window": "1h", "missing": 0.0},
            "amount",
        ],
        {"customer_count_1h": [nan, nan], "customer_age_days": [nan, nan], "s": [nan, nan], "amount": [1, 1]},
    ),
    Timeline(
        "keys-apart",
        [buy(0, merchant="ann"), buy(1, customer="bob", merchant="ann"), buy(2, merchant="bob")],
        ["customer_count_1h", "merchant_count_1h"],
        {"customer_count_1h": [1, 1, 2], "merchant_count_1h": [1, 2, 1]},
    ),
    Timeline(
        "numbers",
        [buy(0), buy(1, amount=100), buy(2), buy(3, amount=400)],
        [
            "customer_count_1h",
            "customer_amount_sum_1h",
            "customer_amount_mean_1h",
            "customer_amount_std_1h",
            "customer_amount_min_1h",
            "customer_amount_max_1h",
        ],
        {
            "customer_count_1h": [1, 2, 3, 4],
            "customer_amount_sum_1h": [0, 1, 1, 5],
            "customer_amount_mean_1h": [nan, 1, 1, 2.5],
            "customer_amount_std_1h": [nan, nan, nan, sqrt(4.5)],
            "customer_amount_min_1h": [nan, 1, 1, 1],
            "customer_amount_max_1h": [nan, 1, 1, 4],
        },
    ),
    Timeline(
        "exact-sums",
        [buy(0, amount=10**15), buy(1, amount=1), buy(2, amount=-(10**15))],
        ["customer_amount_sum_1h", "customer_amount_mean_1h"],
        {"customer_amount_sum_1h": [1e13, 10_000_000_000_000.01, 0.01], "customer_amount_mean_1h": [1e13, 5_000_000_000_000.005, 0.01 / 3]},
    ),
    Timeline(
        "deviation",
        [
            buy(0, amount=100),
            buy(1, amount=300),
            buy(2, amount=400),
            buy(3),
            buy(40 * D, amount=1),
            buy(80 * D, amount=5),
            buy(80 * D, amount=5),
            buy(80 * D, amount=7),
        ],
        ["customer_amount_deviation"],
        {"customer_amount_deviation": [nan, nan, 2 / sqrt(2), nan, nan, nan, nan, nan]},
    ),
    Timeline(
        "distinct",
        [buy(0, merchant="m"), buy(1, merchant="n"), buy(2, merchant="m"), buy(3), buy(H, merchant="o")],
        ["customer_merchant_distinct_1h"],
        {"customer_merchant_distinct_1h": [1, 2, 2, 2, 3]},
    ),
    Timeline(
        "fraud-count",
        [
            buy(0),
            verdict(3 * D, of=0, fraud=True, arrives=4 * D),
            buy(4 * D),
            buy(10 * D - 1),
            buy(10 * D),
        ],
        ["customer_fraud_count_7d", "customer_seconds_since_last_fraud"],
        {"customer_fraud_count_7d": [0, 1, 1, 0], "customer_seconds_since_last_fraud": [nan, 86_400, 604_799.999999, 604_800]},
    ),
    Timeline(
        "reversal",
        [
            buy(0),
            verdict(1 * D, of=0, fraud=True),
            buy(2 * D),
            verdict(3 * D, of=0, fraud=False, was=1 * D),
            buy(4 * D),
            verdict(5 * D, of=0, fraud=True),
            verdict(6 * D, of=0, fraud=True, was=5 * D),
            buy(7 * D),
        ],
        ["customer_fraud_count_7d", "customer_seconds_since_last_fraud", "customer_fraud_rate_7d"],
        {
            "customer_fraud_count_7d": [0, 1, 0, 1],
            "customer_seconds_since_last_fraud": [nan, 86_400, nan, 86_400],
            "customer_fraud_rate_7d": [0, 0.5, 0, 0],
        },
    ),
    Timeline(
        "weaker-label",
        [buy(0), verdict(1 * D, of=0, fraud=True), verdict(1 * D, of=0, fraud=True, was=1 * D, arrives=5 * D), buy(6 * D)],
        ["customer_fraud_count_7d", "customer_seconds_since_last_fraud"],
        {"customer_fraud_count_7d": [0, 1], "customer_seconds_since_last_fraud": [nan, 432_000]},
    ),
    Timeline(
        "fraud-of-long-ago",
        [buy(0), verdict(0, of=0, fraud=True, arrives=0), buy(180 * D - 1), buy(180 * D)],
        ["customer_seconds_since_last_fraud"],
        {"customer_seconds_since_last_fraud": [nan, 15_551_999.999999, nan]},
    ),
    Timeline(
        "fraud-rate",
        [
            buy(0),
            buy(1 * D),
            buy(2 * D, arrives=4 * D),
            verdict(5 * D, of=0, fraud=True),
            verdict(5 * D, of=2 * D, fraud=True, absorbed=0),
            buy(8 * D - 1),
            buy(8 * D),
            buy(60 * D),
        ],
        [
            "customer_fraud_rate_7d_after_1d",
            {"name": "or_zero", "kind": "fraud_rate", "entity": "customer", "window": "7d", "after": "1d", "missing": 0.0},
        ],
        {
            "customer_fraud_rate_7d_after_1d": [nan, 0, nan, 0.5, 0, nan],
            "or_zero": [0, 0, nan, 0.5, 0, 0],
        },
        status=[0, 0, 1, 0, 0, 0],
    ),
    Timeline(
        "seconds-since-last",
        [buy(0), buy(10 * S), buy(4 * S, arrives=10 * S), buy(10 * S), buy(12 * S)],
        ["customer_seconds_since_last"],
        {"customer_seconds_since_last": [nan, 10, 4, 0, 2]},
    ),
    Timeline(
        "travel",
        [buy(0, **PARIS), buy(10 * M), buy(30 * M, **BERLIN), buy(30 * M, **PARIS), buy(24 * H, **PARIS)],
        ["customer_km_from_last", "customer_speed_kmh", "customer_impossible_travel"],
        {
            "customer_km_from_last": [nan, nan, PARIS_BERLIN_KM, PARIS_BERLIN_KM, 0],
            "customer_speed_kmh": [nan, nan, PARIS_BERLIN_KM * 2, PARIS_BERLIN_KM * 3_600, 0],
            "customer_impossible_travel": [nan, nan, 1, 1, 0],
        },
    ),
    Timeline(
        "is-new",
        [
            buy(10 * S, country="fr"),
            buy(0, arrives=10 * S, country="fr"),
            buy(11 * S),
            buy(12 * S, country="de"),
            buy(180 * D + 10 * S - 1, country="fr"),
            buy(360 * D + 10 * S - 1, country="fr"),
            buy(540 * D + 10 * S - 1, country="de"),
        ],
        ["customer_is_new_country"],
        {"customer_is_new_country": [1, 0, nan, 1, 0, 1, 1]},
    ),
    Timeline(
        "is-new-forgets",
        [*(buy(i * S, merchant=f"m{i}") for i in range(257)), buy(300 * S, merchant="m1"), buy(301 * S, merchant="m0")],
        ["customer_is_new_merchant"],
        {"customer_is_new_merchant": [1.0] * 257 + [0, 1]},
    ),
    Timeline(
        "age",
        [
            buy(D),
            buy(3 * D),
            buy(2 * D + 12 * H, arrives=3 * D),
            profile(3 * D, opened_at=-D),
            buy(3 * D),
            profile(3 * D, opened_at=5 * D),
            buy(4 * D),
            buy(6 * D),
        ],
        ["customer_age_days"],
        {"customer_age_days": [0, 2, 1.5, 4, 0, 1]},
    ),
    Timeline(
        "home",
        [*at_noon(3, PARIS), buy(2 * D + 13 * H, **BERLIN), buy(3 * D, **BERLIN), buy(90 * D + 23 * H, **BERLIN), buy(91 * D, **BERLIN)],
        ["customer_km_from_home"],
        {"customer_km_from_home": [nan, nan, nan, nan, HOME_BERLIN_KM, HOME_BERLIN_KM, BERLIN_CELL_KM]},
    ),
    Timeline(
        "home-told",
        [
            *at_noon(3, PARIS),
            buy(4 * D, **BERLIN, home_latitude=BERLIN["latitude"], home_longitude=BERLIN["longitude"]),
            profile(4 * D, home_latitude=BERLIN["latitude"]),
            buy(4 * D, **BERLIN),
            profile(4 * D, home_longitude=BERLIN["longitude"]),
            buy(4 * D, **BERLIN),
            profile(4 * D, home_latitude=BERLIN["latitude"], home_longitude=BERLIN["longitude"]),
            buy(4 * D, **BERLIN),
            buy(4 * D),
        ],
        ["customer_km_from_home"],
        {"customer_km_from_home": [nan, nan, nan, 0, HOME_BERLIN_KM, HOME_BERLIN_KM, 0, nan]},
    ),
    Timeline(
        "foreign",
        [
            *at_noon(3, {"country": "fr"}, {"country": "de", "customer": "bob"}),
            buy(3 * D, country="fr"),
            buy(3 * D, country="de"),
            buy(3 * D),
            buy(3 * D, country="de", home_country="de"),
            profile(3 * D, home_country="de"),
            buy(3 * D, country="fr"),
        ],
        ["is_foreign"],
        {"is_foreign": [nan] * 6 + [0, 1, nan, 0, 1]},
    ),
    Timeline(
        "home-ties",
        [
            buy(0, customer="bob", country="it"),
            *at_noon(3, {"country": "fr"}, {"country": "it"}),
            buy(3 * D, country="it"),
            buy(4 * D, country="fr"),
            buy(5 * D, country="fr"),
        ],
        ["is_foreign"],
        {"is_foreign": [nan, *[nan] * 6, 0, 1, 0]},
    ),
    Timeline(
        # Home was France, by three payments of which nothing is left after so long; one payment since then makes no home.
        "home-long-gone",
        [
            *at_noon(3, {"country": "fr"}),
            buy(3 * D, country="de"),
            buy(95 * D, country="fr", home_country="fr", home_latitude=PARIS["latitude"], home_longitude=PARIS["longitude"]),
            buy(100 * D, country="de"),
        ],
        ["is_foreign"],
        {"is_foreign": [nan, nan, nan, 1, 0, nan]},
    ),
    Timeline(
        "local-time",
        [
            buy(23 * H + 30 * M),
            buy(23 * H + 30 * M, zone_offset=60),
            profile(23 * H + 30 * M, utc_offset=-120),
            buy(23 * H + 30 * M, zone_offset=60),
            buy(23 * H + 30 * M, zone_offset=60, utc_offset=330),
            buy(4 * D + 23 * H + 59 * M, utc_offset=0),
            buy(5 * D, utc_offset=0),
            buy(7 * D - 1, utc_offset=0),
            buy(7 * D, utc_offset=0),
        ],
        ["hour_of_day", "day_of_week", "is_weekend", "is_night"],
        {
            "hour_of_day": [23, 0, 21, 5, 23, 0, 23, 0],
            "day_of_week": [0, 1, 0, 1, 4, 5, 6, 0],
            "is_weekend": [0, 0, 0, 0, 0, 1, 1, 0],
            "is_night": [1, 1, 1, 0, 1, 1, 1, 1],
        },
    ),
    Timeline(
        "night-of-no-length",
        [buy(5 * H), buy(6 * H)],
        ["is_night"],
        {"is_night": [0, 0]},
        night=(5, 5),
    ),
    Timeline(
        "ratio",
        [buy(0, amount=100), buy(H, amount=300), buy(H, customer=None, amount=300)],
        [
            "amount",
            {"name": "before", "kind": "sum", "entity": "customer", "field": "amount", "window": "7d", "exclude_current": True},
            {"name": "share", "kind": "ratio", "of": ["amount", "before"], "missing": -1.0},
            {"name": "more", "kind": "difference", "of": ["amount", "before"], "missing": -1.0},
        ],
        {"before": [0, 1, nan], "share": [-1, 3, nan], "more": [1, 2, nan]},
    ),
)
