"""The shape of an outside table: which of its columns mean what, in which units, zone and format.

Plain data with its checks. It knows no file: `data.columns` reads it from TOML, the service has its own. `door.table`
applies it. The meaning of every key is in `docs/reference/columns.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fraudloop.domain.money import EXPONENTS
from fraudloop.errors import ColumnMapError
from fraudloop.limits import COLUMNS_MAX, NAME_CHARACTERS_MAX, SCALE_MAX

UNITS_US: Final[Mapping[str, int]] = MappingProxyType({"s": 1_000_000, "ms": 1_000, "us": 1})
TIME_UNITS: Final = (*UNITS_US, "ns")


@dataclass(frozen=True, slots=True)
class Number:
    """An extra numeric column: taken as float64, or with `scale` as exact int64 (value = integer / 10**scale), which
    is what aggregating it needs."""

    column: str
    scale: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """How an outside table becomes a canonical one.

    fields: names of columns by field (`FIELDS` of the domain's transaction or profile); a dot steps into a struct.
    constants: one value for a whole field. numbers, categories: extra columns by the name they get. segments: extra text
    columns that reports group by and that no feature and no model reads.
    values: by field, own words and the words they mean. ignore: fields never taken although a column has their name.
    aliases: whether fields not named above are looked for under their own and their other names.
    zone: IANA zone of times without an offset. formats: strptime formats tried in order, before ISO 8601 ones.
    unit: of numeric times, one of TIME_UNITS. ambiguous: of the hour that a clock goes through twice, the `earliest` or
    `latest`, or `refuse`. minor: amounts are minor units already. decimal, thousands: marks in amounts of text.
    round_finer: round amounts finer than the currency half to even, instead of refusing them. negative: allow amounts
    below zero (refunds), instead of refusing them.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)
    segments: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    aliases: bool = True
    zone: str = "UTC"
    formats: tuple[str, ...] = ()
    unit: str | None = None
    ambiguous: str = "earliest"
    minor: bool = False
    decimal: str = "."
    thousands: str = ""
    round_finer: bool = False
    negative: bool = False

    @property
    def extra(self) -> dict[str, str]:
        """The source column of each extra column, by the name it gets."""
        return {**{name: number.column for name, number in self.numbers.items()}, **self.categories, **self.segments}

    @property
    def types(self) -> dict[str, str]:
        """The type of each extra column, as the domain's schemas name types."""
        numbers = {name: "Float64" if number.scale is None else "Int64" for name, number in self.numbers.items()}
        return {name: numbers.get(name, "String") for name in self.extra}

    def check(self, schema: Mapping[str, tuple[str, ...]], inside: Iterable[str], where: str) -> None:
        """ColumnMapError if a word is unknown or two meanings clash. `schema` is the fields, `inside` the canonical names."""
        for kind, names in (
            ("column", self.fields),
            ("constant", self.constants),
            ("value list", self.values),
            ("ignored field", self.ignore),
        ):
            for name in names:
                if name not in schema:
                    raise ColumnMapError(
                        f"{where}: {kind} for {name!r}, which is no field{nearest(name, schema)}; fields: {', '.join(schema)}"
                    )
        for name in self.constants:
            if name in self.fields:
                raise ColumnMapError(f"{where}: {name!r} is given both a column and a constant; keep one")
        reserved = set(inside) | set(schema)
        for name in (*self.numbers, *self.categories, *self.segments):
            if name in reserved:
                raise ColumnMapError(f"{where}: extra column {name!r} has the name of a field; give it another name")
            if not 0 < len(name) <= NAME_CHARACTERS_MAX:
                raise ColumnMapError(f"{where}: the name of an extra column has 1 to {NAME_CHARACTERS_MAX} characters")
            if name in self.numbers and name in self.categories:
                raise ColumnMapError(f"{where}: extra column {name!r} is both numeric and categorical; keep one")
            if name in self.segments and (name in self.numbers or name in self.categories):
                raise ColumnMapError(
                    f"{where}: extra column {name!r} is a segment, which no model reads, and a number or category, which models read; keep one"
                )
        for name, number in self.numbers.items():
            if number.scale is not None and not 0 <= number.scale <= SCALE_MAX:
                raise ColumnMapError(f"{where}: scale of {name!r} is {number.scale}; it must be 0 to {SCALE_MAX}")
        if self.unit is not None and self.unit not in TIME_UNITS:
            raise ColumnMapError(f"{where}: unit = {self.unit!r}; it must be one of {', '.join(TIME_UNITS)}")
        if self.ambiguous not in ("earliest", "latest", "refuse"):
            raise ColumnMapError(f"{where}: ambiguous = {self.ambiguous!r}; it must be earliest, latest or refuse")
        if self.decimal not in (".", ",") or self.thousands not in ("", ",", ".", " ", "'") or self.thousands == self.decimal:
            raise ColumnMapError(f"{where}: decimal = {self.decimal!r} and thousands = {self.thousands!r} must be two different marks")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ColumnMapError(f"{where}: zone = {self.zone!r} is not an IANA time zone like Europe/Berlin") from error
        if "currency" in self.constants and self.constants["currency"] not in EXPONENTS:
            raise ColumnMapError(f"{where}: currency = {self.constants['currency']!r} is not an ISO 4217 code like EUR")

    def resolve(self, columns: Sequence[str], schema: Mapping[str, tuple[str, ...]], required: Sequence[str], where: str) -> dict[str, str]:
        """The source column of each field that `columns` has; dotted names stand in `columns` as they are.

        ColumnMapError names a column that is missing and the nearest existing name.
        """
        if len(columns) > COLUMNS_MAX:
            raise ColumnMapError(f"{where}: {len(columns):,} columns, at most {COLUMNS_MAX:,}; is the delimiter right?")
        have = set(columns)
        found: dict[str, str] = {}
        extra = self.extra
        for name, column in {**self.fields, **extra}.items():
            if column not in have:
                raise ColumnMapError(
                    f"{where}: no column {column!r} (mapped to {name}){nearest(column, columns)}; columns: {listed(columns)}", column=column
                )
            if name in schema:
                found[name] = column
        if self.aliases:
            taken = set(found.values()) | set(extra.values())
            for name, others in schema.items():
                if name in found or name in self.constants or name in self.ignore:
                    continue
                first = next((c for c in (name, *others) if c in have and c not in taken), None)
                if first is not None:
                    found[name] = first
        for name in required:
            if name not in found and name not in self.constants:
                names = (name, *schema[name])
                close = next((c for n in names for c in get_close_matches(n, columns, n=1, cutoff=0.6)), None)
                hint = f"; did you mean {close!r}?" if close else ""
                raise ColumnMapError(
                    f"{where}: no column for {name} (looked for {', '.join(names)}){hint}; columns: {listed(columns)}", column=name
                )
        return found


def nearest(word: str, among: Iterable[str]) -> str:
    """The end of a message: the existing name most like `word`, if one is; case does not count.

    >>> nearest("TX_DATETIM", ["TX_DATETIME", "TX_FRAUD"])
    "; did you mean 'TX_DATETIME'?"
    """
    folded = {name.casefold(): name for name in among}
    close = get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.5)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def listed(names: Sequence[str], most: int = 30) -> str:
    """Names for a message, shortened."""
    shown = ", ".join(n if len(n) <= 60 else f"{n[:57]}..." for n in names[:most])
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown
