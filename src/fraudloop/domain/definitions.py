"""The feature definition language: what a feature is, as data.

A definition names an entity, a field, an aggregate and a window; a :class:`FeatureSet` is the ordered
list of them with the entities and fields they speak of. It knows nothing of how features are computed:
`features.plan` turns it into the table that the kernel reads. The grammar of the names is in
`docs/reference/features.md`, the meaning of the numbers in `docs/semantics.md`.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from fraudloop.errors import DefinitionError

T = TypeVar("T")
SECOND_US = 1_000_000
_UNIT_US = {"s": SECOND_US, "m": 60 * SECOND_US, "h": 3_600 * SECOND_US, "d": 86_400 * SECOND_US}
_DURATION = re.compile(r"^([1-9][0-9]{0,5})([smhd])$")


class Kind(StrEnum):
    """What is computed. The first block is read over a sliding window, the second from the last events of a
    key, the third from the transaction alone, the fourth from other features of the same row."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    STD = "std"
    MIN = "min"
    MAX = "max"
    DISTINCT = "distinct"
    DEVIATION = "deviation"
    FRAUD_COUNT = "fraud_count"
    FRAUD_RATE = "fraud_rate"
    FRAUD_STREAK = "fraud_streak"
    SECONDS_SINCE_GENUINE = "seconds_since_genuine"

    SECONDS_SINCE_LAST = "seconds_since_last"
    SECONDS_SINCE_LAST_FRAUD = "seconds_since_last_fraud"
    KM_FROM_LAST = "km_from_last"
    KM_FROM_HOME = "km_from_home"
    SPEED_KMH = "speed_kmh"
    IMPOSSIBLE_TRAVEL = "impossible_travel"
    IS_NEW = "is_new"
    AGE_DAYS = "age_days"
    IS_FOREIGN = "is_foreign"

    NUMBER = "number"
    HOUR_OF_DAY = "hour_of_day"
    DAY_OF_WEEK = "day_of_week"
    IS_WEEKEND = "is_weekend"
    IS_NIGHT = "is_night"

    RATIO = "ratio"
    DIFFERENCE = "difference"


WINDOWED = frozenset({Kind.COUNT, Kind.SUM, Kind.MEAN, Kind.STD, Kind.MIN, Kind.MAX, Kind.DISTINCT, Kind.DEVIATION,
                      Kind.FRAUD_COUNT, Kind.FRAUD_RATE, Kind.FRAUD_STREAK, Kind.SECONDS_SINCE_GENUINE})  # fmt: skip
_WITHOUT_FIELD = (Kind.COUNT, Kind.FRAUD_COUNT, Kind.FRAUD_RATE, Kind.FRAUD_STREAK, Kind.SECONDS_SINCE_GENUINE)
_NUMERIC_AGGREGATES = (Kind.SUM, Kind.MEAN, Kind.STD, Kind.MIN, Kind.MAX)
_PLAIN = {k.value: k for k in (Kind.HOUR_OF_DAY, Kind.DAY_OF_WEEK, Kind.IS_WEEKEND, Kind.IS_NIGHT)}
_OF_ENTITY = (Kind.SECONDS_SINCE_LAST_FRAUD, Kind.SECONDS_SINCE_LAST, Kind.KM_FROM_LAST, Kind.KM_FROM_HOME,
              Kind.SPEED_KMH, Kind.IMPOSSIBLE_TRAVEL, Kind.AGE_DAYS)  # fmt: skip


def parse_duration_us(text: str, where: str = "duration") -> int:
    """Microseconds of a duration like `90s`, `15m`, `1h`, `24h`, `7d`.

    >>> parse_duration_us("1h")
    3600000000
    """
    found = _DURATION.match(text)
    if found is None:
        raise DefinitionError(f"{where}: {text!r} is not a duration; write a whole number and s, m, h or d, like 24h")
    return int(found[1]) * _UNIT_US[found[2]]


def format_duration(us: int) -> str:
    """The shortest name of a duration in whole seconds; days only from 7 d on or where hours would not do.

    >>> format_duration(86_400_000_000), format_duration(604_800_000_000)
    ('24h', '7d')
    """
    for unit in ("d", "h", "m", "s"):
        size = _UNIT_US[unit]
        if us % size == 0 and not (unit == "d" and us < 2 * size):
            return f"{us // size}{unit}"
    return f"{us}us"


@dataclass(frozen=True, slots=True)
class Entity:
    """A kind of key that has a state of its own: `name` is used in feature names, `column` is where its id stands."""

    name: str
    column: str


@dataclass(frozen=True, slots=True)
class NumberField:
    """A numeric field to aggregate: held as int64, `value = integer / 10**scale` (exact decimals, no float sums)."""

    name: str
    column: str
    scale: int


@dataclass(frozen=True, slots=True)
class FeatureDefinition:
    """One feature. `window_us` and `delay_us` describe `(t - delay - window, t - delay]`; both 0 where no window is
    meant. `missing` replaces an undefined value (None leaves it NaN). `of` names the two features of a ratio
    (first / second) or difference (first - second)."""

    name: str
    kind: Kind
    entity: str | None = None
    field: str | None = None
    window_us: int = 0
    delay_us: int = 0
    exclude_current: bool = False
    missing: float | None = None
    of: tuple[str, str] | None = None

    @property
    def hash(self) -> str:
        """32 hex digits that change with the meaning, not with the name: a bundle finds its columns by it."""
        body = {k: getattr(self, k) for k in ("kind", "entity", "field", "window_us", "delay_us", "exclude_current", "missing", "of")}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """An ordered set of feature definitions with all that they mean.

    `categories` maps the name of a categorical field (for `distinct`, `is_new`) to its column; every entity is one
    too. `night` is the half-open range of local hours [start, end), wrapping at midnight. `place_entity` is the
    entity whose travel, home and novelty are followed by default.
    """

    entities: tuple[Entity, ...]
    numbers: tuple[NumberField, ...]
    categories: tuple[tuple[str, str], ...]
    features: tuple[FeatureDefinition, ...]
    night: tuple[int, int] = (21, 5)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.features)

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:32]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`; this is what a bundle stores."""
        out = []
        for f in self.features:
            row: dict[str, Any] = {"name": f.name, "kind": f.kind.value}
            for key in ("entity", "field", "missing"):
                if getattr(f, key) is not None:
                    row[key] = getattr(f, key)
            if f.of is not None:
                row["of"] = list(f.of)
            if f.window_us:
                row["window"] = format_duration(f.window_us)
            if f.delay_us:
                row["after"] = format_duration(f.delay_us)
            if f.exclude_current:
                row["exclude_current"] = True
            out.append(row)
        return {
            "night": list(self.night),
            "entities": {e.name: e.column for e in self.entities},
            "numbers": {n.name: {"column": n.column, "scale": n.scale} for n in self.numbers},
            "categories": dict(self.categories),
            "features": out,
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "feature set") -> FeatureSet:
        """Build and check. `features` holds names of the grammar, or tables with `name` and any further keys.

        Raises DefinitionError naming the feature and the nearest known word.
        """
        known = {"night", "entities", "numbers", "categories", "features", "defaults"}
        for key in data:
            if key not in known:
                raise DefinitionError(f"{where}: unknown key {key!r}{_nearest(key, known)}")
        entities = tuple(Entity(n, c) for n, c in data.get("entities", {}).items())
        numbers = tuple(NumberField(n, v["column"], int(v["scale"])) for n, v in data.get("numbers", {}).items())
        categories = tuple(data.get("categories", {}).items())
        night = tuple(int(h) for h in data.get("night", (21, 5)))
        if len(night) != 2 or not all(0 <= h <= 24 for h in night):
            raise DefinitionError(f"{where}: night = {list(night)} must be two hours from 0 to 24, like [21, 5]")
        base = FeatureSet(entities, numbers, categories, (), (night[0], night[1]))
        if not data.get("features"):
            raise DefinitionError(f'{where}: no features; list at least one, like "customer_count_24h"')
        defaults = data.get("defaults", {})
        features: list[FeatureDefinition] = []
        for row in data["features"]:
            given = {"name": row} if isinstance(row, str) else dict(row)
            features.append(base._definition({**defaults, **given} if not isinstance(row, str) else given, where))
        out = replace(base, features=tuple(features))
        out._check(where)
        return out

    @staticmethod
    def from_toml(text: str, where: str = "feature set") -> FeatureSet:
        try:
            return FeatureSet.from_dict(tomllib.loads(text), where)
        except tomllib.TOMLDecodeError as error:
            raise DefinitionError(f"{where}: not valid TOML: {error}") from error

    @staticmethod
    def load(spec: str | Path) -> FeatureSet:
        """A preset by name (`default`, `handbook`, …) or a TOML file by path.

        >>> FeatureSet.load("handbook").names[:2]
        ('amount', 'is_weekend')
        """
        presets = resources.files("fraudloop.features") / "presets"
        if "/" not in str(spec) and not str(spec).endswith(".toml"):
            found = presets / f"{spec}.toml"
            if found.is_file():
                return FeatureSet.from_toml(found.read_text("utf-8"), f"preset {spec}")
            names = sorted(p.name.removesuffix(".toml") for p in presets.iterdir() if p.name.endswith(".toml"))
            raise DefinitionError(
                f"no feature preset {spec!r}{_nearest(str(spec), names)}; presets: {', '.join(names)}, or give a .toml file"
            )
        try:
            return FeatureSet.from_toml(Path(spec).read_text("utf-8"), str(spec))
        except OSError as error:
            raise DefinitionError(f"{spec}: cannot be read ({error.strerror}); give a preset name or a TOML file") from error

    def merge(self, other: FeatureSet) -> FeatureSet:
        """The union: features of self, then those of other whose (name, hash) is new.

        Entities and fields of the same name must mean the same column; DefinitionError otherwise.
        """
        for mine, theirs in (
            ({e.name: e for e in self.entities}, other.entities),
            ({n.name: n for n in self.numbers}, other.numbers),
        ):
            for item in theirs:
                if mine.get(item.name, item) != item:
                    raise DefinitionError(f"cannot merge: {item.name!r} means {mine[item.name]} here and {item} there")
        if self.night != other.night:
            raise DefinitionError(f"cannot merge: night is {self.night} here and {other.night} there")
        have = {(f.name, f.hash) for f in self.features}
        taken = {f.name for f in self.features}
        new = [f for f in other.features if (f.name, f.hash) not in have]
        added = [replace(f, name=f"{f.name}#{f.hash[:8]}") if f.name in taken else f for f in new]
        return replace(
            self,
            entities=_union(self.entities, other.entities),
            numbers=_union(self.numbers, other.numbers),
            categories=_union(self.categories, other.categories),
            features=self.features + tuple(added),
        )

    def select(self, names: Iterable[str]) -> FeatureSet:
        """The subset with these names, in this order; the features a ratio speaks of come along at the end."""
        by_name = {f.name: f for f in self.features}
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in by_name:
                raise DefinitionError(f"no feature {name!r}{_nearest(name, by_name)}")
            of = by_name[name].of
            wanted.extend(n for n in of or () if n not in wanted)
        return replace(self, features=tuple(by_name[n] for n in wanted))

    def _definition(self, row: dict[str, Any], where: str) -> FeatureDefinition:
        name = row.get("name")
        if not isinstance(name, str) or not name:
            raise DefinitionError(f"{where}: a feature without a name: {row}")
        allowed = {"name", "kind", "entity", "field", "window", "after", "exclude_current", "missing", "of"}
        for key in row:
            if key not in allowed:
                raise DefinitionError(f"{where}: feature {name!r}: unknown key {key!r}{_nearest(key, allowed)}")
        out = FeatureDefinition(name, Kind.NUMBER) if "kind" in row else self.parse_name(name, where)
        if "kind" in row:
            try:
                out = replace(out, kind=Kind(row["kind"]))
            except ValueError:
                raise DefinitionError(
                    f"{where}: feature {name!r}: unknown kind {row['kind']!r}{_nearest(row['kind'], [k.value for k in Kind])}"
                ) from None
        for key in ("entity", "field"):
            if key in row:
                out = replace(out, **{key: row[key]})
        if "window" in row:
            out = replace(out, window_us=parse_duration_us(row["window"], f"{where}: feature {name!r}: window"))
        if "after" in row:
            out = replace(out, delay_us=parse_duration_us(row["after"], f"{where}: feature {name!r}: after"))
        if "exclude_current" in row:
            out = replace(out, exclude_current=bool(row["exclude_current"]))
        if "missing" in row:
            out = replace(out, missing=float(row["missing"]))
        if "of" in row:
            out = replace(out, of=(str(row["of"][0]), str(row["of"][1])))
        return out

    def parse_name(self, name: str, where: str = "feature set") -> FeatureDefinition:
        """The definition that a name of the grammar stands for, among the entities and fields of this set.

        >>> FeatureSet.load("default").parse_name("customer_amount_sum_24h").kind
        <Kind.SUM: 'sum'>
        """
        numbers = {n.name for n in self.numbers}
        keys = {e.name for e in self.entities} | {n for n, _ in self.categories}
        if name in _PLAIN:
            return FeatureDefinition(name, _PLAIN[name])
        if name in numbers:
            return FeatureDefinition(name, Kind.NUMBER, field=name)
        first = self.entities[0].name if self.entities else None
        if name == "is_foreign":
            return FeatureDefinition(name, Kind.IS_FOREIGN, entity=first)
        for entity in sorted((e.name for e in self.entities), key=len, reverse=True):
            if not name.startswith(entity + "_"):
                continue
            rest = name[len(entity) + 1 :]
            for kind in _OF_ENTITY:
                if rest == kind.value:
                    return FeatureDefinition(name, kind, entity=entity)
            if rest.startswith("is_new_") and rest[7:] in keys:
                return FeatureDefinition(name, Kind.IS_NEW, entity=entity, field=rest[7:])
            if rest.endswith("_deviation") and rest[:-10] in numbers:
                return FeatureDefinition(
                    name, Kind.DEVIATION, entity=entity, field=rest[:-10], window_us=30 * _UNIT_US["d"], exclude_current=True
                )
            delay = 0
            after = re.match(r"^(.*)_after_([0-9]+[smhd])$", rest)
            if after:
                rest, delay = after[1], parse_duration_us(after[2], f"{where}: {name}")
            shaped = re.match(r"^(.*)_([0-9]+[smhd])$", rest)
            if not shaped:
                continue
            what, window = shaped[1], parse_duration_us(shaped[2], f"{where}: {name}")
            if what in (k.value for k in _WITHOUT_FIELD):
                return FeatureDefinition(name, Kind(what), entity=entity, window_us=window, delay_us=delay)
            for kind in _NUMERIC_AGGREGATES:
                of = what.removesuffix(f"_{kind.value}")
                if of != what and of in numbers:
                    return FeatureDefinition(name, kind, entity=entity, field=of, window_us=window, delay_us=delay)
            of = what.removesuffix("_distinct")
            if of != what and of in keys:
                return FeatureDefinition(name, Kind.DISTINCT, entity=entity, field=of, window_us=window, delay_us=delay)
        known = sorted(
            numbers
            | set(_PLAIN)
            | {"is_foreign"}
            | {f"{e.name}_{k.value}" for e in self.entities for k in _OF_ENTITY}
            | {f"{e.name}_count_24h" for e in self.entities}
            | {f"{e.name}_{n}_{k.value}_24h" for e in self.entities for n in numbers for k in _NUMERIC_AGGREGATES}
        )
        raise DefinitionError(
            f"{where}: {name!r} is not a feature name{_nearest(name, known)}; entities: {', '.join(e.name for e in self.entities)}; numbers: {', '.join(sorted(numbers))}; categories: {', '.join(sorted(keys))}"
        )

    def _check(self, where: str) -> None:
        names = [f.name for f in self.features]
        for name in names:
            if names.count(name) > 1:
                raise DefinitionError(f"{where}: feature {name!r} stands twice")
        entities = {e.name for e in self.entities}
        numbers = {n.name for n in self.numbers}
        keys = entities | {n for n, _ in self.categories}
        for f in self.features:
            at = f"{where}: feature {f.name!r}"
            if f.entity is not None and f.entity not in entities:
                raise DefinitionError(f"{at}: no entity {f.entity!r}{_nearest(f.entity, entities)}")
            if f.kind in (*_NUMERIC_AGGREGATES, Kind.DEVIATION, Kind.NUMBER) and f.field not in numbers:
                raise DefinitionError(f"{at}: no number {f.field!r}{_nearest(str(f.field), numbers)}")
            if f.kind in (Kind.DISTINCT, Kind.IS_NEW) and f.field not in keys:
                raise DefinitionError(f"{at}: no category {f.field!r}{_nearest(str(f.field), keys)}")
            if f.kind in WINDOWED and (f.window_us <= 0 or f.entity is None):
                raise DefinitionError(f"{at}: {f.kind.value} needs an entity and a window")
            if f.kind is Kind.FRAUD_COUNT and f.delay_us:
                raise DefinitionError(f"{at}: fraud_count goes by known time and takes no after")
            if f.kind in (Kind.RATIO, Kind.DIFFERENCE):
                if f.of is None:
                    raise DefinitionError(f"{at}: of = [first, second] is missing")
                for name in f.of:
                    if name not in names:
                        raise DefinitionError(f"{at}: no feature {name!r} in this set{_nearest(name, names)}")
                    if next(g for g in self.features if g.name == name).kind in (Kind.RATIO, Kind.DIFFERENCE):
                        raise DefinitionError(f"{at}: {name!r} is itself a ratio or difference; use plain features")


def _union(mine: tuple[T, ...], theirs: tuple[T, ...]) -> tuple[T, ...]:
    return mine + tuple(item for item in theirs if item not in mine)


def _nearest(word: str, among: Iterable[str]) -> str:
    close = get_close_matches(word, list(among), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
