"""Column maps: what the columns of a user's table mean, from a preset or a TOML file.

A map is a `door.shape.Shape` with what only files need: where labels and profiles stand, how a CSV is written, what
the business expects. Every key is explained in `docs/reference/columns.md`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final

from fraudloop.domain import label, profile
from fraudloop.domain.definitions import parse_duration_us
from fraudloop.domain.transaction import FIELDS, TRANSACTION_SCHEMA
from fraudloop.door.shape import Number, Shape, nearest
from fraudloop.errors import ColumnMapError

#: A chargeback takes about this long; what a file with only `is_fraud` is taken to mean, with a warning.
DEFAULT_DELAY_US: Final = parse_duration_us("30d")


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Where labels stand: `beside` the transactions (a column) or in a `file` apart.

    shape: fields of a label. delay_us: from a transaction to when its label is known, where no known_at is mapped;
    stated: whether the map says so itself. source: of labels without one. optional: no error if the column is missing.
    """

    shape: Shape
    file: str | None = None
    delay_us: int = DEFAULT_DELAY_US
    stated: bool = False
    source: str | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ProfileMap:
    """Where profiles stand: always a file apart; `entity` as a constant of the shape or a column."""

    shape: Shape
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Expectations:
    """What the business expects of the table; see `data.contracts`.

    fraud_rate: bounds of the share of frauds. ranges, values: of extra columns, by name. sorted_by_time: whether a
    table out of time order is a failure (True) or a remark (False).
    """

    fraud_rate: tuple[float, float] = (0.0, 0.5)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sorted_by_time: bool = False


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """A user's table: its name for messages, shape, labels, profiles, expectations, CSV dialect, and the
    feature set that suits it (a preset's name or a TOML file)."""

    name: str
    shape: Shape
    label: LabelMap | None = None
    profiles: ProfileMap | None = None
    expect: Expectations = Expectations()
    delimiter: str | None = None
    encoding: str = "utf8"
    base_currency: str | None = None
    rates: str | None = None
    features: str = "default"

    @staticmethod
    def load(spec: str | Path, zone: str = "UTC") -> ColumnMap:
        """A preset by name (`native`, `handbook`) or a TOML file by path; `zone` is for maps that state none.

        ColumnMapError names the key that is wrong and the nearest right one.

        >>> ColumnMap.load("handbook").shape.fields["merchant_id"]
        'TERMINAL_ID'
        """
        presets = resources.files("fraudloop.data") / "presets"
        if "/" not in str(spec) and not str(spec).endswith(".toml"):
            found = presets / f"{spec}.toml"
            if found.is_file():
                return ColumnMap.from_toml(found.read_text("utf-8"), f"preset {spec}", zone)
            names = sorted(p.name.removesuffix(".toml") for p in presets.iterdir() if p.name.endswith(".toml"))
            raise ColumnMapError(
                f"no column preset {str(spec)!r}{nearest(str(spec), names)}; presets: {', '.join(names)}, or give a .toml file"
            )
        try:
            text = Path(spec).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ColumnMapError(f"{spec}: the column map cannot be read ({error})") from error
        return ColumnMap.from_toml(text, str(spec), zone).beside(Path(spec).parent)

    def beside(self, folder: Path) -> ColumnMap:
        """The same map with the files it names taken from a folder, where their paths are relative."""

        def at(name: str | None) -> str | None:
            return None if name is None else str(folder / name)

        return replace(
            self,
            label=self.label and replace(self.label, file=at(self.label.file)),
            profiles=self.profiles and replace(self.profiles, file=at(self.profiles.file)),
            rates=at(self.rates),
            features=str(folder / self.features) if self.features.endswith(".toml") else self.features,
        )

    @staticmethod
    def from_toml(text: str, where: str, zone: str = "UTC") -> ColumnMap:
        """As `load`, from the text of a file called `where`."""
        try:
            return ColumnMap.from_dict(tomllib.loads(text), where, zone)
        except tomllib.TOMLDecodeError as error:
            raise ColumnMapError(f"{where}: not valid TOML: {error}") from error

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str, zone: str = "UTC") -> ColumnMap:
        """Build and check; the tables and keys are those of the TOML file."""
        return _Reader(where).map({"zone": zone, **data})


def map_text(spec: str | Path | ColumnMap, zone: str = "UTC") -> tuple[str, str, ColumnMap]:
    """Name, TOML text and meaning of a map, so that it can be kept; ColumnMapError for one that was not read from a text."""
    if isinstance(spec, ColumnMap):
        raise ColumnMapError(f"{spec.name}: only a preset or a TOML file can be kept with a run; give its name or path")
    loaded = ColumnMap.load(spec, zone)
    if loaded.name.startswith("preset "):
        return str(spec), (resources.files("fraudloop.data") / "presets" / f"{spec}.toml").read_text("utf-8"), loaded
    return Path(spec).name, Path(spec).read_text("utf-8"), loaded


_TIME: Final = {"format": (str, list), "unit": str, "zone": str, "ambiguous": str}

#: Every key of a map by its table ("" is the top), with the type it takes. `docs/reference/columns.md` explains each.
KEYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "": {
        "aliases": bool, "zone": str, "ambiguous": str, "base_currency": str, "rates": str, "features": str, "ignore": list,
        "columns": dict, "constants": dict, "numbers": dict, "categories": dict, "segments": dict, "values": dict,
        "time": dict, "amount": dict, "csv": dict, "label": dict, "profiles": dict, "expect": dict,
    },
    "time": _TIME,
    "amount": {"unit": str, "decimal": str, "thousands": str, "finer": str, "negative": str},
    "csv": {"delimiter": str, "encoding": str},
    "label": {
        "column": str, "file": str, "delay": str, "source": str, "optional": bool, "columns": dict, "time": dict, "true": list, "false": list,
    },
    "profiles": {"file": str, "entity": str, "columns": dict, "time": dict},
    "expect": {"fraud_rate": list, "range": dict, "values": dict, "sorted": bool},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Reader:
    """The TOML of one map, by table."""

    where: str

    def map(self, data: Mapping[str, Any]) -> ColumnMap:
        given = self._known("", data, KEYS[""])
        numbers = {}
        for name, value in given.get("numbers", {}).items():
            body = {"column": value} if isinstance(value, str) else value
            row = self._known(f"numbers.{name}", body if isinstance(body, dict) else {}, {"column": str, "scale": int})
            numbers[name] = Number(row.get("column", name), row.get("scale"))
        categories = {}
        for name, value in given.get("categories", {}).items():
            if not isinstance(value, str):
                raise ColumnMapError(f"{self.where}: categories.{name} must be the name of a column")
            categories[name] = value
        segments = self._texts("segments", given.get("segments", {}))
        time = self._time(given, given.get("time", {}), "time")
        amount = self._known("amount", given.get("amount", {}), KEYS["amount"])
        self._one_of("amount.unit", amount.get("unit", "major"), ("major", "minor"))
        self._one_of("amount.finer", amount.get("finer", "refuse"), ("refuse", "round"))
        self._one_of("amount.negative", amount.get("negative", "refuse"), ("refuse", "allow"))
        shape = Shape(
            fields=self._texts("columns", given.get("columns", {})),
            constants=self._texts("constants", given.get("constants", {})),
            numbers=numbers,
            categories=categories,
            segments=segments,
            values=self._values(given.get("values", {})),
            ignore=tuple(given.get("ignore", ())),
            aliases=given.get("aliases", True),
            minor=amount.get("unit") == "minor",
            decimal=amount.get("decimal", "."),
            thousands=amount.get("thousands", ""),
            round_finer=amount.get("finer") == "round",
            negative=amount.get("negative") == "allow",
            **time,
        )
        shape.check(FIELDS, TRANSACTION_SCHEMA, self.where)
        dialect = self._known("csv", given.get("csv", {}), KEYS["csv"])
        return ColumnMap(
            name=self.where,
            shape=shape,
            label=self._label(given, given["label"]) if "label" in given else None,
            profiles=self._profiles(given, given["profiles"]) if "profiles" in given else None,
            expect=self._expect(given.get("expect", {}), shape),
            delimiter=dialect.get("delimiter"),
            encoding=dialect.get("encoding", "utf8"),
            base_currency=given.get("base_currency"),
            rates=given.get("rates"),
            features=given.get("features", "default"),
        )

    def _label(self, root: Mapping[str, Any], data: Mapping[str, Any]) -> LabelMap:
        given = self._known("label", data, KEYS["label"])
        fields = self._texts("label.columns", given.get("columns", {}))
        if "column" in given:
            fields["is_fraud"] = given["column"]
        words = {str(w): "true" for w in given.get("true", ())} | {str(w): "false" for w in given.get("false", ())}
        apart = "file" in given
        if not apart and "is_fraud" not in fields:
            raise ColumnMapError(f'{self.where}: label needs column = "..." (beside the transactions) or file = "..." (apart)')
        shape = Shape(
            fields=fields,
            values={"is_fraud": words} if words else {},
            aliases=apart,
            **self._time(root, given.get("time", root.get("time", {})), "label.time"),
        )
        shape.check(label.FIELDS, label.LABEL_SCHEMA, f"{self.where}: label")
        delay = given.get("delay")
        return LabelMap(
            shape, given.get("file"), parse_duration_us(delay, f"{self.where}: label.delay") if delay else DEFAULT_DELAY_US, delay is not None,
            given.get("source"), given.get("optional", False),
        )  # fmt: skip

    def _profiles(self, root: Mapping[str, Any], data: Mapping[str, Any]) -> ProfileMap:
        given = self._known("profiles", data, KEYS["profiles"])
        fields = self._texts("profiles.columns", given.get("columns", {}))
        constants = {"entity": given["entity"]} if "entity" in given else {}
        shape = Shape(fields=fields, constants=constants, **self._time(root, given.get("time", root.get("time", {})), "profiles.time"))
        shape.check(profile.FIELDS, profile.PROFILE_SCHEMA, f"{self.where}: profiles")
        return ProfileMap(shape, given.get("file"))

    def _expect(self, data: Mapping[str, Any], shape: Shape) -> Expectations:
        given = self._known("expect", data, KEYS["expect"])
        extra = shape.extra
        for name in (*given.get("range", {}), *given.get("values", {})):
            if name not in extra:
                raise ColumnMapError(f"{self.where}: expect: {name!r} is no extra column of this map{nearest(name, extra)}")
        return Expectations(
            self._pair("expect.fraud_rate", given.get("fraud_rate", (0.0, 0.5))),
            {n: self._pair(f"expect.range.{n}", v) for n, v in given.get("range", {}).items()},
            {n: tuple(str(x) for x in v) for n, v in given.get("values", {}).items()},
            given.get("sorted", False),
        )

    def _time(self, root: Mapping[str, Any], data: Mapping[str, Any], name: str) -> dict[str, Any]:
        given = self._known(name, data, _TIME)
        formats = given.get("format", ())
        return {
            "zone": given.get("zone", root.get("zone", "UTC")),
            "ambiguous": given.get("ambiguous", root.get("ambiguous", "earliest")),
            "formats": (formats,) if isinstance(formats, str) else tuple(formats),
            "unit": given.get("unit"),
        }

    def _known(self, table: str, data: Any, keys: Mapping[str, Any]) -> dict[str, Any]:
        at = f"{self.where}: {table}" if table else self.where
        if not isinstance(data, dict):
            raise ColumnMapError(f"{at} must be a table")
        for key, value in data.items():
            if key not in keys:
                raise ColumnMapError(f"{at}: unknown key {key!r}{nearest(key, keys)}; keys: {', '.join(keys)}")
            if not isinstance(value, keys[key]) or (isinstance(value, bool) and keys[key] is not bool):
                wanted = keys[key] if isinstance(keys[key], tuple) else (keys[key],)
                raise ColumnMapError(f"{at}: {key} must be {' or '.join(_TYPE_NAMES[t] for t in wanted)}, not {value!r}")
        return dict(data)

    def _texts(self, table: str, data: Mapping[str, Any]) -> dict[str, str]:
        for key, value in data.items():
            if not isinstance(value, str):
                raise ColumnMapError(f"{self.where}: {table}.{key} must be a text, not {value!r}")
        return dict(data)

    def _values(self, data: Mapping[str, Any]) -> dict[str, dict[str, str]]:
        out = {}
        for name, words in data.items():
            if not isinstance(words, dict):
                raise ColumnMapError(f"{self.where}: values.{name} must be a table of own word = our word")
            out[name] = self._texts(f"values.{name}", words)
        return out

    def _pair(self, name: str, value: Any) -> tuple[float, float]:
        good = len(value) == 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value) and value[0] <= value[1]
        if not good:
            raise ColumnMapError(f"{self.where}: {name} must be [lowest, highest], not {value!r}")
        return float(value[0]), float(value[1])

    def _one_of(self, name: str, value: str, among: tuple[str, ...]) -> None:
        if value not in among:
            raise ColumnMapError(f"{self.where}: {name} = {value!r}; it must be {' or '.join(among)}")


_TYPE_NAMES: Final = {str: "a text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}
