"""Hypothesis scripts: random small feature sets, runs of events that live on the edges, and tables for the door.

Times cluster on the edges of the windows (exactly w old, one microsecond to either side, ties, exactly as late as
allowed), keys are few, and labels are consistent: each says what was in force before it. `long_run` gives the same
kind of events from a seed, thousands at a time, for what must be tried at size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import polars as pl
from hypothesis import strategies as st

from fraudloop.domain.definitions import WINDOWED, Entity, FeatureDefinition, FeatureSet, Kind, NumberField
from fraudloop.domain.label import LABEL_SCHEMA, SOURCE_RANKS
from fraudloop.domain.profile import PROFILE_SCHEMA
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.events import LABEL, MISSING, PROFILE, SYSTEM_KEYS, SYSTEM_NUMBERS, TRANSACTION, Events
from fraudloop.limits import AMOUNT_MINOR_MAX, DAY_US, HOUR_US, LATENESS_MAX_US, NOVELTY_US, SECOND_US, SKEW_MAX_US

T = TypeVar("T")
Key = tuple[int, int]

START_US = 1_709_164_795_999_999  # 2024-02-28 23:59:55.999999 UTC: days, months and a leap day turn early in a script

WINDOWS_US = (SECOND_US, 2 * SECOND_US, 60 * SECOND_US, HOUR_US, 24 * HOUR_US, 7 * DAY_US, 30 * DAY_US)
DELAYS_US = (0, 0, SECOND_US, HOUR_US, 7 * DAY_US)
NUMERIC = (Kind.SUM, Kind.MEAN, Kind.STD, Kind.MIN, Kind.MAX)
BY_ENTITY = (
    Kind.SECONDS_SINCE_LAST, Kind.SECONDS_SINCE_LAST_FRAUD, Kind.KM_FROM_LAST, Kind.KM_FROM_HOME, Kind.SPEED_KMH,
    Kind.IMPOSSIBLE_TRAVEL, Kind.AGE_DAYS, Kind.IS_FOREIGN,
)  # fmt: skip
LOCAL_TIME = (Kind.HOUR_OF_DAY, Kind.DAY_OF_WEEK, Kind.IS_WEEKEND, Kind.IS_NIGHT)

ENTITIES = (Entity("customer", "customer_id"), Entity("merchant", "merchant_id"), Entity("device", "device_id"))
NUMBERS = (NumberField("amount", "amount_base", 2), NumberField("points", "points", 0))
CATEGORIES = (("country", "country"), ("channel", "channel"))

#: Keys that share one half, and both extremes: comparing half a key is caught.
POOL: tuple[Key, ...] = ((0, 1), (1, 0), (1, 1), (2**64 - 1, 2**64 - 1), (2**63, 1))

#: Both poles, both sides of the antimeridian, a cell's corner and its neighbours, the same town twice.
PLACES = (
    (900_000_000, 0), (-900_000_000, 1_799_999_999), (0, 1_800_000_000), (0, -1_800_000_000), (0, 0), (-1, -1),
    (499_999, 499_999), (500_000, 499_999), (485_000_000, 23_500_000), (485_010_000, 23_510_000), (405_000_000, -740_000_000),
)  # fmt: skip

AMOUNTS = (0, 1, -1, 99, 100, 1_999, 12_345, 33_333_333, AMOUNT_MINOR_MAX, -AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX - 1)
OFFSETS = (-720, -300, 0, 60, 330, 840)


# --- feature sets --------------------------------------------------------------------------------------------------


@st.composite
def feature_sets(draw: st.DrawFn, kinds: Sequence[Kind] = tuple(Kind), features_max: int = 8) -> FeatureSet:
    """Any small valid set over one to three entities, two numbers and two categories."""
    entities = ENTITIES[: draw(st.integers(1, 3))]
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=features_max))
    features: list[FeatureDefinition] = []
    for kind in chosen:
        made = draw(definitions(kind, entities, tuple(f.name for f in features if f.of is None)))
        features.append(FeatureDefinition(**{**{k: getattr(made, k) for k in made.__slots__}, "name": f"f{len(features)}_{kind.value}"}))
    night = draw(st.sampled_from([(21, 5), (0, 7), (5, 5), (0, 24), (24, 3), (23, 24)]))
    return FeatureSet(entities, NUMBERS, CATEGORIES, tuple(features), night)


@st.composite
def definitions(draw: st.DrawFn, kind: Kind, entities: tuple[Entity, ...], others: tuple[str, ...]) -> FeatureDefinition:
    missing = draw(st.sampled_from([None, None, 0.0, -1.5]))
    if kind in (Kind.RATIO, Kind.DIFFERENCE):
        if others:
            return FeatureDefinition("", kind, of=(draw(st.sampled_from(others)), draw(st.sampled_from(others))), missing=missing)
        kind = Kind.NUMBER
    if kind is Kind.NUMBER:
        return FeatureDefinition("", kind, field=draw(st.sampled_from(NUMBERS)).name, missing=missing)
    if kind in LOCAL_TIME:
        return FeatureDefinition("", kind)
    entity = draw(st.sampled_from(entities)).name
    values = [e.name for e in entities] + [name for name, _ in CATEGORIES]
    if kind is Kind.IS_NEW:
        return FeatureDefinition("", kind, entity, draw(st.sampled_from(values)), missing=missing)
    if kind not in WINDOWED:
        return FeatureDefinition("", kind, entity, missing=missing)
    over = None
    if kind is Kind.DISTINCT:
        over = draw(st.sampled_from(values))
    elif kind in NUMERIC or kind is Kind.DEVIATION:
        over = draw(st.sampled_from(NUMBERS)).name
    delay = 0 if kind is Kind.FRAUD_COUNT else draw(st.sampled_from(DELAYS_US))
    exclude = kind is Kind.DEVIATION or draw(st.booleans())
    return FeatureDefinition("", kind, entity, over, draw(st.sampled_from(WINDOWS_US)), delay, exclude, missing)


def every_feature(windows_us: Sequence[int] = (SECOND_US, HOUR_US, 7 * DAY_US), delays_us: Sequence[int] = (0, HOUR_US)) -> FeatureSet:
    """Every kind crossed with every entity, field, window, delay and exclude_current: a few hundred features."""
    features: list[FeatureDefinition] = []

    def add(kind: Kind, **given: Any) -> None:
        features.append(FeatureDefinition(f"f{len(features)}_{kind.value}", kind, **given))

    for n in NUMBERS:
        add(Kind.NUMBER, field=n.name)
    for kind in LOCAL_TIME:
        add(kind)
    for e in ENTITIES[:2]:
        for kind in BY_ENTITY:
            add(kind, entity=e.name)
        for name, _ in CATEGORIES:
            add(Kind.IS_NEW, entity=e.name, field=name)
        for w in windows_us:
            add(Kind.FRAUD_COUNT, entity=e.name, window_us=w)
            for d in delays_us:
                for out in (False, True):
                    shape = {"entity": e.name, "window_us": w, "delay_us": d, "exclude_current": out}
                    add(Kind.COUNT, **shape)
                    for kind in (Kind.FRAUD_RATE, Kind.FRAUD_STREAK, Kind.SECONDS_SINCE_GENUINE):
                        add(kind, **shape)
                    add(Kind.DISTINCT, field="channel", **shape)
                    add(Kind.DISTINCT, field="merchant", **shape)
                    for kind in NUMERIC:
                        add(kind, field="amount", **shape)
                add(Kind.DEVIATION, entity=e.name, field="amount", window_us=w, delay_us=d, exclude_current=True)
    for kind in (Kind.RATIO, Kind.DIFFERENCE):
        add(kind, of=(features[-3].name, features[0].name))
    return FeatureSet(ENTITIES, NUMBERS, CATEGORIES, tuple(features))


# --- events --------------------------------------------------------------------------------------------------------


class Chance(Protocol):
    """Where a script takes its choices from: hypothesis, which can shrink them, or a seeded generator."""

    def pick(self, among: Sequence[T]) -> T: ...

    def number(self, low: int, high: int) -> int: ...


@dataclass(frozen=True)
class Drawn:
    draw: st.DrawFn

    def pick(self, among: Sequence[T]) -> T:
        return among[self.draw(st.integers(0, len(among) - 1))]

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))


@dataclass(frozen=True)
class Seeded:
    random: random.Random

    def pick(self, among: Sequence[T]) -> T:
        return self.random.choice(among)

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)


@dataclass
class Written:
    """A transaction that the script has written, with the label in force on it."""

    time: int
    absorbed: bool
    keys: dict[str, Key]
    fraud: int = 0
    known_at: int = MISSING


@dataclass
class Script:
    """Writes events one after another in log order; `events()` gives them as arrays."""

    features: FeatureSet
    chance: Chance
    pool: Sequence[Key] = POOL
    now: int = START_US
    newest: int = START_US
    written: list[Written] = field(default_factory=list)
    rows: list[tuple[int, int, int, dict[str, Key], dict[str, int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.entities = [e.name for e in self.features.entities]
        self.names = list(dict.fromkeys([*self.entities, *(name for name, _ in self.features.categories), *SYSTEM_KEYS]))
        edges = {0, 1, 60 * SECOND_US, HOUR_US}
        for f in self.features.features:
            for span in {f.window_us, f.delay_us, f.window_us + f.delay_us} - {0}:
                edges |= {span - 1, span, span + 1}
        self.edges = sorted(edges)
        far = {DAY_US, 90 * DAY_US, 91 * DAY_US, NOVELTY_US, NOVELTY_US + SECOND_US, LATENESS_MAX_US}
        self.small = [0, 0, 0, 1, SECOND_US, 60 * SECOND_US]
        self.leaps = [*self.edges, *sorted(far), DAY_US, DAY_US]

    def step(self) -> None:
        self.now += self.chance.pick((self.small, self.small, self.small, self.edges, self.small, self.leaps)[self.chance.number(0, 5)])
        kind = self.chance.pick((TRANSACTION,) * 6 + (LABEL,) * 2 + (PROFILE,))
        if kind == LABEL and self.written:
            self.label(self.chance.pick(self.written[-30:]))
        elif kind == PROFILE:
            self.profile()
        else:
            self.transaction()

    def transaction(self) -> None:
        time = self.now
        how = self.chance.number(0, 15)
        if how >= 14:  # as late or as early as allowed, or one microsecond more
            time += self.chance.pick((-LATENESS_MAX_US, -LATENESS_MAX_US - 1, SKEW_MAX_US, SKEW_MAX_US + 1, -LATENESS_MAX_US + 1))
        elif how >= 11:  # a little late or early
            time += self.chance.pick((-1, 1, -SECOND_US, SECOND_US, -HOUR_US, -HOUR_US + 1, -HOUR_US - 1))
        elif how >= 7 and self.written:  # a tie, or on an edge of a window of another one, before or after it
            time = self.chance.pick(self.written[-6:]).time + self.chance.pick((1, 1, 1, -1)) * self.chance.pick(self.edges)
            if time > self.now + SKEW_MAX_US:
                self.now = time
        received = self.now
        if how == 13:  # a source whose clock stepped back: the fold goes by the latest it has seen
            received -= self.chance.pick((1, SECOND_US, HOUR_US))
        keys = self.keys()
        numbers = self.place("latitude", "longitude", 2)
        if self.chance.number(0, 5) == 0:
            numbers |= self.place("home_latitude", "home_longitude", 3)
        for n in self.features.numbers:
            if self.chance.number(0, 6):
                numbers[n.name] = self.chance.pick(AMOUNTS) if self.chance.number(0, 1) else self.chance.number(-500, 5_000)
        if self.chance.number(0, 3) == 0:
            numbers["utc_offset"] = self.chance.pick(OFFSETS)
        if self.chance.number(0, 2) == 0:
            numbers["zone_offset"] = self.chance.pick(OFFSETS)
        self.newest = max(self.newest, received) if self.rows else received
        absorbed = self.newest - LATENESS_MAX_US <= time <= self.newest + SKEW_MAX_US
        self.written.append(Written(time, absorbed, {name: keys[name] for name in self.entities if name in keys}))
        self.rows.append((TRANSACTION, time, received, keys, numbers))

    def label(self, of: Written) -> None:
        """A verdict, its reversal, or one that a stronger label outweighs (which changes nothing)."""
        numbers = {"transaction_time": of.time, "before": of.fraud, "before_known_at": of.known_at, "absorbed": int(of.absorbed)}
        known_at = max(of.time, self.now - self.chance.pick(self.edges))
        after = self.chance.number(0, 1)
        if of.fraud and self.chance.number(0, 3) == 0:
            after, known_at = 1, of.known_at
        numbers["after"] = after
        of.fraud, of.known_at = after, known_at if after else MISSING
        self.arrive()
        self.rows.append((LABEL, known_at, self.now, dict(of.keys), numbers))

    def profile(self) -> None:
        keys = {self.chance.pick(self.entities): self.chance.pick(self.pool[:3])}
        if self.chance.number(0, 1):
            keys["home_country"] = self.chance.pick(self.pool)
        numbers = self.place("home_latitude", "home_longitude", 1)
        if self.chance.number(0, 1):
            numbers["opened_at"] = self.now + self.chance.pick((-400 * DAY_US, -DAY_US, -1, 0, DAY_US))
        if self.chance.number(0, 1):
            numbers["utc_offset"] = self.chance.pick(OFFSETS)
        self.arrive()
        self.rows.append((PROFILE, self.now - self.chance.pick((0, 0, DAY_US)), self.now, keys, numbers))

    def arrive(self) -> None:
        self.newest = max(self.newest, self.now) if self.rows else self.now

    def keys(self) -> dict[str, Key]:
        out = {}
        for name in self.names:
            if name == "home_country":
                if self.chance.number(0, 7) == 0:
                    out[name] = self.chance.pick(self.pool[:3])
            elif name in self.entities:
                at = self.chance.number(-1, 7)  # the first key is the hot one
                if at >= 0:
                    out[name] = self.pool[0] if at < 5 else self.chance.pick(self.pool[:4])
            elif self.chance.number(0, 5):
                out[name] = self.chance.pick(self.pool)
        return out

    def place(self, latitude: str, longitude: str, rare: int) -> dict[str, int]:
        """A place, none, or half a one, which is none."""
        at = self.chance.number(0, 7)
        if at < rare:
            return {}
        lat, lon = self.chance.pick(PLACES)
        return {latitude: lat} if at == 7 else {latitude: lat, longitude: lon}

    def events(self) -> Events:
        return to_events(self.features, self.rows)


def to_events(features: FeatureSet, rows: Sequence[tuple[int, int, int, dict[str, Key], dict[str, int]]]) -> Events:
    """Arrays from rows of (kind, time_us, received_us, keys by name, numbers by name)."""
    key_names = tuple(dict.fromkeys([e.name for e in features.entities] + [name for name, _ in features.categories] + list(SYSTEM_KEYS)))
    number_names = tuple(dict.fromkeys([n.name for n in features.numbers] + list(SYSTEM_NUMBERS)))
    keys = np.zeros((len(rows), len(key_names), 2), np.uint64)
    numbers = np.full((len(rows), len(number_names)), MISSING, np.int64)
    counters = {PROFILE: 0, LABEL: 0, TRANSACTION: 0}
    source = []
    for i, (kind, _, _, its_keys, its_numbers) in enumerate(rows):
        for name, key in its_keys.items():
            keys[i, key_names.index(name)] = key
        for name, number in its_numbers.items():
            numbers[i, number_names.index(name)] = number
        source.append(counters[kind])
        counters[kind] += 1
    return Events(
        np.array([r[0] for r in rows], np.uint8),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], np.int64),
        keys,
        numbers,
        np.array(source, np.int64),
        key_names,
        number_names,
    )


@st.composite
def runs(draw: st.DrawFn, features: FeatureSet, events_max: int = 40) -> Events:
    """A run of 1 to `events_max` events for this feature set."""
    script = Script(features, Drawn(draw))
    for _ in range(draw(st.integers(1, events_max))):
        script.step()
    return script.events()


@st.composite
def worlds(draw: st.DrawFn, kinds: Sequence[Kind] = tuple(Kind), events_max: int = 40) -> tuple[FeatureSet, Events]:
    """A feature set and a run of events for it."""
    features = draw(feature_sets(kinds))
    return features, draw(runs(features, events_max))


def long_run(
    seed: int, features: FeatureSet, events: int, pool: Sequence[Key] = POOL, also: Callable[[Script], None] | None = None
) -> Events:
    """`events` events of the same kind from a seed; `also` may write rows of its own before the first."""
    script = Script(features, Seeded(random.Random(seed)), pool)
    if also is not None:
        also(script)
    while len(script.rows) < events:
        script.step()
    return script.events()


# --- canonical tables ----------------------------------------------------------------------------------------------

TABLE_FEATURES = FeatureSet(
    ENTITIES[:2], NUMBERS, CATEGORIES, (FeatureDefinition("customer_count_1h", Kind.COUNT, "customer", window_us=HOUR_US),)
)
_TRANSACTIONS = {**TRANSACTION_SCHEMA, "channel": "String", "points": "Int64"}
_ODD_IDS = ("C1", "C2", "", "été 🦊", "x" * 40)


@dataclass(frozen=True)
class Tables:
    """The three canonical tables of one small world, each as rows and as a frame."""

    transactions: pl.DataFrame
    labels: pl.DataFrame
    profiles: pl.DataFrame


@st.composite
def tables(draw: st.DrawFn, rows_max: int = 12) -> Tables:
    """Tables in any order, with ties, late rows, labels for nothing, too early, before their transaction arrives,
    contradicting one another, or incomplete; and profiles of entities that nobody asked for."""

    def pick(among: Sequence[T]) -> T:
        return among[draw(st.integers(0, len(among) - 1))]

    moments = [START_US + k * SECOND_US for k in (0, 1, 2, 3, 3_600, 86_400, 86_403)]
    transactions = []
    for i in range(draw(st.integers(0, rows_max))):
        time = pick(moments)
        row: dict[str, Any] = dict.fromkeys(_TRANSACTIONS)
        row |= {"transaction_id": f"t{i}", "timestamp": time, "amount_minor": 1, "channel": pick(("web", "pos", None))}
        row |= {
            "received_at": pick(
                (None, None, time, time + SECOND_US, time + LATENESS_MAX_US, time + LATENESS_MAX_US + 1, time - SKEW_MAX_US - 1)
            )
        }
        row |= {"customer_id": pick((*_ODD_IDS, None)), "merchant_id": pick(("M1", "C1", None)), "country": pick(("FR", "DE", None))}
        row |= {
            "amount_base": pick((None, 0, -5, 10**15)),
            "points": pick((None, 7)),
            "latitude": pick((None, 10)),
            "longitude": pick((None, -10)),
        }
        row |= {"home_country": pick(("FR", None)), "utc_offset": pick((None, 60)), "zone_offset": pick((None, 0, 120))}
        transactions.append(row)
    labels = [
        {
            "transaction_id": pick(("t0", "t0", "t1", "t1", "t2", "t3", "t99", None)),
            "is_fraud": pick((True, True, False, None)),
            "source": pick((*SOURCE_RANKS, None, "rumour")),
            "known_at": pick((*moments, *moments, START_US + LATENESS_MAX_US + SECOND_US, None)),
        }
        for _ in range(draw(st.integers(0, rows_max)))
    ]
    profiles = []
    for _ in range(draw(st.integers(0, 4))):
        row = dict.fromkeys(PROFILE_SCHEMA)
        row |= {"entity": pick(("customer", "merchant", "ship", None)), "id": pick((*_ODD_IDS, None)), "time": pick((*moments, None))}
        row |= {
            "home_country": pick(("FR", None)),
            "home_latitude": pick((5, None)),
            "opened_at": pick((START_US, None)),
            "utc_offset": pick((-60, None)),
        }
        profiles.append(row)
    return Tables(table(transactions, _TRANSACTIONS), table(labels, LABEL_SCHEMA), table(profiles, PROFILE_SCHEMA))


def table(rows: Sequence[Mapping[str, Any]], schema: Mapping[str, str]) -> pl.DataFrame:
    """A frame of these rows; times are given in microseconds since 1970 UTC."""
    types: dict[str, Any] = {
        "String": pl.String, "Int16": pl.Int16, "Int32": pl.Int32, "Int64": pl.Int64, "Boolean": pl.Boolean,
        "Datetime(us, UTC)": pl.Datetime("us", "UTC"),
    }  # fmt: skip
    return pl.DataFrame(
        {
            name: pl.Series(name, [row.get(name) for row in rows], pl.Int64 if kind.startswith("Datetime") else types[kind]).cast(
                types[kind]
            )
            for name, kind in schema.items()
        }
    )
