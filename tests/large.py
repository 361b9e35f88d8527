"""Keys with thousands of events: arrays to fold, and their windows by one mask over arrays for each answer.

The oracle of `tests/oracle.py` walks in Python; this one does the same with NumPy for what needs many events: the window
features of one entity, `customer`, over `amount`, categories and fraud marks, where every transaction is absorbed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.definitions import Entity, FeatureDefinition, FeatureSet, Kind, NumberField
from fraudloop.door.events import LABEL, MISSING, SYSTEM_KEYS, SYSTEM_NUMBERS, TRANSACTION, Events
from fraudloop.limits import DAY_US, HOUR_US, SECOND_US

Ints = NDArray[np.int64]
START_US = 1_709_164_800_000_000
CATEGORIES = tuple((name, name) for name in ("country", "channel", "device", "shop", "city"))
NAN = math.nan


def feature_set(features: Sequence[FeatureDefinition], categories: int = len(CATEGORIES)) -> FeatureSet:
    """These features of `customer`; entity `merchant` is there to be named by category `merchant`."""
    return FeatureSet(
        (Entity("customer", "customer_id"),), (NumberField("amount", "amount_base", 2),), CATEGORIES[:categories], tuple(features)
    )


def windows(
    windows_us: Sequence[int] = (SECOND_US, HOUR_US, DAY_US),
    delays_us: Sequence[int] = (0, HOUR_US),
    exclude: Sequence[bool] = (False, True),
    kinds: Sequence[Kind] = (Kind.COUNT, Kind.SUM, Kind.MEAN, Kind.STD, Kind.MIN, Kind.MAX, Kind.DISTINCT),
    over: Sequence[str] = ("channel",),
) -> FeatureSet:
    """Every one of these kinds over every window, delay and category."""
    features: list[FeatureDefinition] = []
    for kind in kinds:
        for field in over if kind is Kind.DISTINCT else ["amount"] if kind not in (Kind.COUNT, Kind.FRAUD_RATE) else [None]:
            for window in windows_us:
                for delay in delays_us:
                    for out in exclude:
                        name = f"f{len(features)}_{kind.value}_{field}_{window}_{delay}_{out}"
                        features.append(FeatureDefinition(name, kind, "customer", field, window, delay, out))
    return feature_set(features)


def payments(
    features: FeatureSet,
    time_us: Ints,
    received_us: Ints | None = None,
    keys: Mapping[str, int | Ints] | None = None,
    numbers: Mapping[str, int | Ints] | None = None,
    kind: NDArray[np.uint8] | None = None,
) -> Events:
    """Events in the order given: one number is one key (0 is null); `customer` is key 1 unless told otherwise."""
    n = len(time_us)
    key_names = tuple(dict.fromkeys([e.name for e in features.entities] + [name for name, _ in features.categories] + list(SYSTEM_KEYS)))
    number_names = tuple(dict.fromkeys([f.name for f in features.numbers] + list(SYSTEM_NUMBERS)))
    key_array = np.zeros((n, len(key_names), 2), np.uint64)
    for name, ids in {"customer": 1, **(keys or {})}.items():
        at = key_names.index(name)
        key_array[:, at, 0] = ids
        # Spread over the table as hashes are, null apart.
        key_array[:, at, 1] = np.asarray(ids, np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    number_array = np.full((n, len(number_names)), MISSING, np.int64)
    for name, values in (numbers or {}).items():
        number_array[:, number_names.index(name)] = values
    received = np.maximum.accumulate(time_us) if received_us is None else received_us
    kinds = np.full(n, TRANSACTION, np.uint8) if kind is None else kind
    return Events(
        kinds, np.asarray(time_us, np.int64), np.asarray(received, np.int64), key_array, number_array, np.arange(n), key_names, number_names
    )


def expected(features: FeatureSet, events: Events, rows: Sequence[int] | Ints) -> NDArray[np.float64]:
    """The features of the transactions that stand at these positions among the transactions, shape [rows, features]."""
    bought = np.flatnonzero(events.kind == TRANSACTION)
    out = np.empty((len(rows), len(features.names)))
    for i, at in enumerate(bought[np.asarray(rows, np.int64)].tolist()):
        out[i] = [_value(f, events, at) for f in features.features]
    return out


def _value(f: FeatureDefinition, events: Events, at: int) -> float:
    mine = (events.keys[:at] == events.keys[at])[:, events.key_names.index("customer")].all(axis=1)
    before = np.flatnonzero(mine & (events.kind[:at] == TRANSACTION))
    seen = before if f.exclude_current else np.append(before, at)
    edge = int(events.time_us[at]) - f.delay_us
    window = seen[(events.time_us[seen] > edge - f.window_us) & (events.time_us[seen] <= edge)]
    return statistic(f, events, window, at)


def statistic(f: FeatureDefinition, events: Events, window: Ints, at: int) -> float:
    """One feature of the transactions that stand at `window`, as known at position `at`."""
    if f.kind is Kind.COUNT:
        return float(len(window))
    if f.kind is Kind.DISTINCT:
        codes = events.keys[window, events.key_names.index(str(f.field)), 0]
        return float(len(np.unique(codes[codes != 0])))
    if f.kind is Kind.FRAUD_RATE:
        column = {name: events.numbers[:at, events.number_names.index(name)] for name in ("transaction_time", "before", "after")}
        said = (events.kind[:at] == LABEL) & np.isin(column["transaction_time"], events.time_us[window])
        return int((column["after"] - column["before"])[said].sum()) / len(window) if len(window) else NAN
    numbers = events.numbers[window, events.number_names.index("amount")]
    numbers = numbers[numbers != MISSING]
    n, total = len(numbers), int(numbers.sum())
    if f.kind is Kind.SUM:
        return total / 100
    if n == 0 or (n < 2 and f.kind is Kind.STD):
        return NAN
    if f.kind is Kind.MEAN:
        return total / (n * 100)
    if f.kind is Kind.STD:
        squares = sum(x * x for x in numbers.tolist())
        return math.sqrt((n * squares - total * total) / (n * (n - 1) * 10_000))
    return int(numbers.min() if f.kind is Kind.MIN else numbers.max()) / 100


def assert_same_bits(got: NDArray[np.float64], right: NDArray[np.float64], names: Sequence[str], rows: Sequence[int] | Ints) -> None:
    """Every bit counts, except that one NaN is as good as another."""
    same = (got.view(np.int64) == right.view(np.int64)) | (np.isnan(got) & np.isnan(right))
    wrong = [f"row {rows[i]}, {names[j]}: {got[i, j]!r} instead of {right[i, j]!r}" for i, j in np.argwhere(~same)[:5].tolist()]
    assert same.all(), f"{int((~same).sum())} values differ: " + "; ".join(wrong)
