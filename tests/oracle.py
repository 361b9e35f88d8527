"""The definition of every feature, as plainly as it can be written: what the compiled fold is held to, bit for bit.

At each transaction it walks over all earlier events of the key, with Python integers, floats and loops, and keeps no
state between transactions. It is quadratic and shares no line with the kernel, but for the great-circle distance
(`features.geo`), whose own accuracy has its own test. The rules are those of `docs/semantics.md`, in its order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.definitions import WINDOWED, FeatureDefinition, FeatureSet, Kind
from fraudloop.door.events import LABEL, MISSING, PROFILE, TOO_EARLY, TOO_LATE, TRANSACTION, Events
from fraudloop.features.geo import haversine_km
from fraudloop.limits import (
    DAY_US,
    HOME_DAYS,
    HOME_TRANSACTIONS_MIN,
    HOUR_US,
    LATENESS_MAX_US,
    NOVELTY_S,
    NOVELTY_US,
    NOVELTY_VALUES_MAX,
    SECOND_US,
    SKEW_MAX_US,
)

NAN = math.nan
MINUTE_US = 60 * SECOND_US
Key = tuple[int, int]
PLAIN = (Kind.NUMBER, Kind.HOUR_OF_DAY, Kind.DAY_OF_WEEK, Kind.IS_WEEKEND, Kind.IS_NIGHT)


@dataclass(frozen=True)
class Event:
    """One event as plain values: what is null or missing is simply not in `keys` or `numbers`."""

    index: int
    kind: int
    time: int
    status: int
    keys: dict[str, Key]
    numbers: dict[str, int]

    @property
    def absorbed(self) -> bool:
        return self.status == 0


@dataclass(frozen=True)
class Answer:
    """values[i][j]: feature j of the i-th transaction. status[i]: 0, TOO_LATE or TOO_EARLY."""

    names: tuple[str, ...]
    values: list[list[float]] = field(default_factory=list)
    status: list[int] = field(default_factory=list)


def oracle(features: FeatureSet, events: Events) -> Answer:
    """The features of each transaction of these events, in array order."""
    answer = Answer(features.names)
    log = list(plain_events(events))
    for now in log:
        if now.kind == TRANSACTION:
            answer.values.append(list(row_of(features, log[: now.index], now).values()))
            answer.status.append(now.status)
    return answer


def plain_events(events: Events) -> Iterator[Event]:
    received = None
    for i in range(len(events)):
        own = int(events.received_us[i])
        received = own if received is None else max(received, own)
        time = int(events.time_us[i])
        status = 0
        if int(events.kind[i]) == TRANSACTION and time < received - LATENESS_MAX_US:
            status = TOO_LATE
        if int(events.kind[i]) == TRANSACTION and time > received + SKEW_MAX_US:
            status = TOO_EARLY
        keys = {name: (int(events.keys[i, j, 0]), int(events.keys[i, j, 1])) for j, name in enumerate(events.key_names)}
        numbers = {name: int(events.numbers[i, j]) for j, name in enumerate(events.number_names)}
        yield Event(
            i,
            int(events.kind[i]),
            time,
            status,
            {name: key for name, key in keys.items() if key != (0, 0)},
            {name: number for name, number in numbers.items() if number != MISSING},
        )


def row_of(features: FeatureSet, before: list[Event], now: Event) -> dict[str, float]:
    """All features of the transaction `now`, given the events before it."""
    row: dict[str, float] = {}
    for f in features.features:
        if f.of is None:
            row[f.name] = value_of(features, f, before, now)
            if math.isnan(row[f.name]) and f.missing is not None and knowable(features, f, now):
                row[f.name] = float(f.missing)
    for f in features.features:
        if f.of is not None:
            row[f.name] = combined(f.kind, row[f.of[0]], row[f.of[1]])
            if math.isnan(row[f.name]) and f.missing is not None and knowable(features, f, now):
                row[f.name] = float(f.missing)
    return {f.name: row[f.name] for f in features.features}


def knowable(features: FeatureSet, f: FeatureDefinition, now: Event) -> bool:
    """Whether the state was asked at all: an undefined value may be replaced, an unknown one never."""
    if f.of is not None:
        return all(knowable(features, g, now) for g in features.features if g.name in f.of)
    if f.kind in PLAIN:
        return True
    return now.absorbed and f.entity in now.keys


def combined(kind: Kind, a: float, b: float) -> float:
    if kind is Kind.DIFFERENCE:
        return a - b
    return NAN if b == 0.0 or math.isnan(a) or math.isnan(b) else a / b


def value_of(features: FeatureSet, f: FeatureDefinition, before: list[Event], now: Event) -> float:
    if f.kind is Kind.NUMBER:
        return number_of(features, f, now)
    if f.kind in PLAIN:
        return local_time(features, f.kind, before, now)
    if f.entity is None or f.entity not in now.keys or not now.absorbed:
        return NAN
    entity, key = f.entity, now.keys[f.entity]
    mine = [e for e in before if e.keys.get(entity) == key]  # all events of this key, in the order of the log
    past = [e for e in mine if e.kind == TRANSACTION and e.absorbed]
    labels = [e for e in mine if e.kind == LABEL]
    profiles = [e for e in mine if e.kind == PROFILE]
    if f.kind in WINDOWED:
        return windowed(features, f, past, labels, now)
    if f.kind is Kind.SECONDS_SINCE_LAST:
        last = last_of(past, now)
        return NAN if last is None else (now.time - last.time) / SECOND_US
    if f.kind is Kind.SECONDS_SINCE_LAST_FRAUD:
        return seconds_since_last_fraud(labels, now)
    if f.kind in (Kind.KM_FROM_LAST, Kind.SPEED_KMH, Kind.IMPOSSIBLE_TRAVEL):
        return travel(f.kind, past, now)
    if f.kind is Kind.KM_FROM_HOME:
        return km_from_home(past, profiles, now)
    if f.kind is Kind.IS_FOREIGN:
        return is_foreign(before, past, profiles, now)
    if f.kind is Kind.IS_NEW:
        return is_new(str(f.field), past, now)
    if f.kind is Kind.AGE_DAYS:
        return age_days(past, profiles, now)
    raise AssertionError(f"no rule for {f.kind}")


# --- windows -------------------------------------------------------------------------------------------------------


def windowed(features: FeatureSet, f: FeatureDefinition, past: list[Event], labels: list[Event], now: Event) -> float:
    def inside(time: int) -> bool:
        return now.time - f.delay_us - f.window_us < time <= now.time - f.delay_us

    window = [e for e in (past if f.exclude_current else [*past, now]) if inside(e.time)]
    if f.kind is Kind.COUNT:
        return float(len(window))
    if f.kind is Kind.DISTINCT:
        return float(len({e.keys[str(f.field)] for e in window if f.field in e.keys}))
    if f.kind is Kind.FRAUD_COUNT:
        return float(sum(1 for known in frauds(labels) if inside(known)))
    if f.kind is Kind.FRAUD_RATE:
        of_window = [e for e in labels if e.numbers["absorbed"] == 1 and inside(e.numbers["transaction_time"])]
        fraud = sum(e.numbers["after"] - e.numbers["before"] for e in of_window)
        return fraud / len(window) if window else NAN
    if f.kind in (Kind.FRAUD_STREAK, Kind.SECONDS_SINCE_GENUINE):
        genuine = [e.time for e in window if not all_fraud(window, labels, e.time)]
        if f.kind is Kind.SECONDS_SINCE_GENUINE:
            return (now.time - max(genuine)) / SECOND_US if genuine else NAN
        return float(len([e for e in window if not genuine or e.time > max(genuine)]))
    numbers = [e.numbers[str(f.field)] for e in window if f.field in e.numbers]
    scale = next(n.scale for n in features.numbers if n.name == f.field)
    if f.kind is Kind.DEVIATION:
        std = statistic(Kind.STD, numbers, scale)
        if math.isnan(std) or std == 0.0 or f.field not in now.numbers:
            return NAN
        return (number_of(features, f, now) - statistic(Kind.MEAN, numbers, scale)) / std
    return statistic(f.kind, numbers, scale)


def all_fraud(window: list[Event], labels: list[Event], time: int) -> bool:
    """Whether every transaction of this time is known as fraud."""
    marks = [
        e.numbers["after"] - e.numbers["before"] for e in labels if e.numbers["absorbed"] == 1 and e.numbers["transaction_time"] == time
    ]
    return sum(marks) >= len([e for e in window if e.time == time])


def statistic(kind: Kind, numbers: list[int], scale: int) -> float:
    """Exact integers until one true division, which Python rounds correctly, and one square root."""
    n, total = len(numbers), sum(numbers)
    unit = int(10**scale)
    if kind is Kind.SUM:
        return total / unit
    if kind is Kind.STD:
        if n < 2:
            return NAN
        return math.sqrt((n * sum(x * x for x in numbers) - total * total) / (n * (n - 1) * unit * unit))
    if n == 0:
        return NAN
    if kind is Kind.MEAN:
        return total / (n * unit)
    return (min(numbers) if kind is Kind.MIN else max(numbers)) / unit


def frauds(labels: list[Event]) -> list[int]:
    """Known times of the frauds in force, after these label events in the order of the log."""
    known: list[int] = []
    for e in labels:
        if e.numbers["before"] == 1:
            known.remove(e.numbers["before_known_at"])
        if e.numbers["after"] == 1:
            known.append(e.time)
    return known


def seconds_since_last_fraud(labels: list[Event], now: Event) -> float:
    known = [k for k in frauds(labels) if now.time - NOVELTY_US < k <= now.time]
    return (now.time - max(known)) / SECOND_US if known else NAN


# --- the last events -----------------------------------------------------------------------------------------------


def last_of(past: list[Event], now: Event) -> Event | None:
    """The last in (event time, log position) order that is not after `now`."""
    earlier = [e for e in past if e.time <= now.time]
    return max(earlier, key=lambda e: (e.time, e.index)) if earlier else None


def place_of(e: Event) -> tuple[int, int] | None:
    return (e.numbers["latitude"], e.numbers["longitude"]) if "latitude" in e.numbers and "longitude" in e.numbers else None


def travel(kind: Kind, past: list[Event], now: Event) -> float:
    last = last_of([e for e in past if place_of(e)], now)
    here = place_of(now)
    there = place_of(last) if last else None
    if last is None or here is None or there is None:
        return NAN
    km = haversine_km(*here, *there)
    speed = km * 3600.0 / max((now.time - last.time) / SECOND_US, 1.0)
    if kind is Kind.KM_FROM_LAST:
        return km
    if kind is Kind.SPEED_KMH:
        return speed
    return 1.0 if speed > 900.0 and km > 100.0 else 0.0


def is_new(field_name: str, past: list[Event], now: Event) -> float:
    """Goes by what has arrived, not by event time."""
    if field_name not in now.keys:
        return NAN
    seen: dict[Key, tuple[int, int]] = {}  # value -> (last seen second, position it was last absorbed at)
    for e in past:
        if field_name in e.keys:
            value = e.keys[field_name]
            second = e.time // SECOND_US
            seen[value] = (max(second, seen[value][0]) if value in seen else second, e.index)
            if len(seen) > NOVELTY_VALUES_MAX:
                del seen[min(seen, key=lambda v: seen[v])]
    value = now.keys[field_name]
    return 0.0 if value in seen and seen[value][0] > now.time // SECOND_US - NOVELTY_S else 1.0


def age_days(past: list[Event], profiles: list[Event], now: Event) -> float:
    opened = profile_number(profiles, "opened_at")
    if opened is None:
        opened = min(e.time for e in [*past, now])
    return max(now.time - opened, 0) / DAY_US


# --- home ----------------------------------------------------------------------------------------------------------


def profile_number(profiles: list[Event], name: str) -> int | None:
    given = [e.numbers[name] for e in profiles if name in e.numbers]
    return given[-1] if given else None


def season(past: list[Event], now: Event) -> list[Event]:
    """The whole UTC days before today, up to HOME_DAYS back; today is left out, so that one bad day cannot move home."""
    return [e for e in past if now.time // DAY_US - HOME_DAYS <= e.time // DAY_US <= now.time // DAY_US - 1]


def km_from_home(past: list[Event], profiles: list[Event], now: Event) -> float:
    here = place_of(now)
    home = home_place(past, profiles, now)
    return haversine_km(*here, *home) if here and home else NAN


def home_place(past: list[Event], profiles: list[Event], now: Event) -> tuple[int, int] | None:
    if "home_latitude" in now.numbers and "home_longitude" in now.numbers:
        return now.numbers["home_latitude"], now.numbers["home_longitude"]
    told = [e.numbers for e in profiles if "home_latitude" in e.numbers and "home_longitude" in e.numbers]
    if told:  # a place is one field: half of one is none
        return told[-1]["home_latitude"], told[-1]["home_longitude"]
    days: dict[int, list[int]] = {}  # cell -> the days of its transactions
    for e in season(past, now):
        place = place_of(e)
        if place:
            days.setdefault(cell_of(*place), []).append(e.time // DAY_US)
    known = [cell for cell in days if len(days[cell]) >= HOME_TRANSACTIONS_MIN]
    if not known:
        return None
    home = max(known, key=lambda cell: (len(days[cell]), max(days[cell]), -cell))
    return home // 7200 * 500_000 + 250_000 - 900_000_000, home % 7200 * 500_000 + 250_000 - 1_800_000_000


def cell_of(latitude_e7: int, longitude_e7: int) -> int:
    """0.05 degrees square; the north pole belongs to the last row, 180 E is 180 W."""
    row = min((latitude_e7 + 900_000_000) // 500_000, 3599)
    column = (longitude_e7 + 1_800_000_000) // 500_000 % 7200
    return row * 7200 + column


def is_foreign(before: list[Event], past: list[Event], profiles: list[Event], now: Event) -> float:
    home = home_country(before, past, profiles, now)
    if home is None or "country" not in now.keys:
        return NAN
    return 0.0 if now.keys["country"] == home else 1.0


def home_country(before: list[Event], past: list[Event], profiles: list[Event], now: Event) -> Key | None:
    if "home_country" in now.keys:
        return now.keys["home_country"]
    told = [e.keys["home_country"] for e in profiles if "home_country" in e.keys]
    if told:
        return told[-1]
    days: dict[Key, list[int]] = {}
    for e in season(past, now):
        if "country" in e.keys:
            days.setdefault(e.keys["country"], []).append(e.time // DAY_US)
    known = [country for country in days if len(days[country]) >= HOME_TRANSACTIONS_MIN]
    if not known:
        return None
    seen = [e.keys[name] for e in before for name in ("country", "home_country") if name in e.keys]
    return max(known, key=lambda country: (len(days[country]), max(days[country]), -seen.index(country)))


# --- of the transaction alone --------------------------------------------------------------------------------------


def number_of(features: FeatureSet, f: FeatureDefinition, now: Event) -> float:
    scale = next(n.scale for n in features.numbers if n.name == f.field)
    return now.numbers[str(f.field)] / int(10**scale) if f.field in now.numbers else NAN


def local_time(features: FeatureSet, kind: Kind, before: list[Event], now: Event) -> float:
    local = now.time + offset_minutes(features, before, now) * MINUTE_US
    hour = local // HOUR_US % 24
    day = (local // DAY_US + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    if kind is Kind.HOUR_OF_DAY:
        return float(hour)
    if kind is Kind.DAY_OF_WEEK:
        return float(day)
    if kind is Kind.IS_WEEKEND:
        return 1.0 if day >= 5 else 0.0
    start, end = features.night
    night = start <= hour < end if start <= end else hour >= start or hour < end
    return 1.0 if night else 0.0


def offset_minutes(features: FeatureSet, before: list[Event], now: Event) -> int:
    if "utc_offset" in now.numbers:
        return now.numbers["utc_offset"]
    first = features.entities[0].name if features.entities else None
    if first is not None and first in now.keys:
        told = profile_number([e for e in before if e.kind == PROFILE and e.keys.get(first) == now.keys[first]], "utc_offset")
        if told is not None:
            return told
    return now.numbers.get("zone_offset", 0)


# --- comparing -----------------------------------------------------------------------------------------------------


def differences(answer: Answer, values: NDArray[np.float64], status: NDArray[np.uint8] | None = None) -> list[str]:
    """What differs, as sentences: every bit counts, except that one NaN is as good as another."""
    expected = np.array(answer.values, np.float64).reshape(len(answer.values), len(answer.names))
    if values.shape != expected.shape:
        return [f"shape {values.shape} instead of {expected.shape}"]
    same = (expected.view(np.int64) == np.ascontiguousarray(values, np.float64).view(np.int64)) | (np.isnan(expected) & np.isnan(values))
    found = []
    for i, j in np.argwhere(~same).tolist():
        found.append(f"transaction {i}, {answer.names[j]}: {float(values[i, j])!r} instead of {float(expected[i, j])!r}")
    if status is not None:
        for i, (given, right) in enumerate(zip(status.tolist(), answer.status, strict=True)):
            if given != right:
                found.append(f"transaction {i}: status {given} instead of {right}")
    return found
