"""The body of a request before any field is read: JSON text, objects one level deep, single values, card numbers.

Shared by the doors for one transaction, label or profile. It knows the names of columns that it is given and no meaning of theirs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from fraudloop.door.pan import DIGITS_MIN, MAY_HOLD_PAN, hide, holds_pan, is_pan
from fraudloop.door.value import Scalar
from fraudloop.errors import ColumnMapError
from fraudloop.limits import COLUMNS_MAX

# Digits as 0, all else as x, without what may stand between the digits of a card number.
_DIGITS: Final = bytes(48 if 48 <= byte < 58 else 120 for byte in range(256))
_BETWEEN: Final = b" ._-"
#: The same with what stands between them as 0 too: where `THIRTEEN` is in none of that, no card number is.
DIGITS_AND_BETWEEN: Final = bytes(48 if byte in _BETWEEN else as_digit for byte, as_digit in enumerate(_DIGITS))
#: So many digits may be a card number.
THIRTEEN: Final = b"0" * DIGITS_MIN


class Strange(Exception):
    """Something that the quick way is not sure of."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a body was not taken: the field as the body names it, the rule it breaks, and the reason in words."""

    field: str
    rule: str
    reason: str


def read_object(decode: Callable[[bytes], Any], raw: bytes) -> dict[str, Any] | Refusal:
    """The object of some JSON text, or why there is none."""
    try:
        body = decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        return Refusal("body", "body.json", f"is no JSON ({hide(str(error), 200)})")
    if not isinstance(body, dict):
        return Refusal("body", "body.object", "must be one JSON object")
    return body


def scalars(
    body: Mapping[str, Any], names: Mapping[str, str], required: Iterable[str], given: Collection[str] = (), needed: Iterable[str] = ()
) -> tuple[dict[str, Scalar], list[Refusal]]:
    """The columns of a body as single values, and what is wrong before any of them is read.

    names: the field that each known column may be. required: fields that must have a column, unless they are `given` otherwise.
    needed: columns that are null where the body lacks them.
    """
    refusals: list[Refusal] = []
    columns: dict[str, Scalar] = {}
    for name, value in flat(body):
        column = name if name.isascii() else whole_text(name)
        field = names.get(column)
        if type(value) is str:
            if not value.isascii() and (whole := whole_text(value)) != value:
                if field is not None:
                    refusals.append(Refusal(hide(column), f"{field}.format", "holds half of a pair of surrogates, which is no text"))
                    continue
                value = whole
        elif isinstance(value, dict | list):
            if field is not None:
                refusals.append(Refusal(hide(column), f"{field}.format", "must be a single value, not an object or a list"))
                continue
            try:
                value = whole_text(nested_text(value))
            except (RecursionError, ValueError):
                refusals.append(Refusal(hide(column), "body.depth", "is nested too deep"))
                continue
        elif type(value) is int:
            value = scalar(value)
        columns[column] = value
    present = {names[column] for column in columns if column in names} | {*given}
    for name in required:
        if name not in present and not any(r.rule.startswith(f"{name}.") for r in refusals):
            refusals.append(Refusal(name, f"{name}.missing", "has no value"))
    if len(columns) > COLUMNS_MAX:
        refusals = [Refusal("body", "body.fields", f"has {len(columns):,} fields, at most {COLUMNS_MAX:,}")]
    for column in needed:
        columns.setdefault(column, None)
    return columns, refusals


def check_time(name: str, column: str, value: Scalar, unit: str | None) -> None:
    """ColumnMapError if a value is of a type that no time of this shape has."""
    if isinstance(value, bool):
        raise ColumnMapError(f"{name} is a truth value; a time is text like 2026-01-31T12:00:00Z", column=column)
    if isinstance(value, int | float) and unit is None:
        raise ColumnMapError(f"{name} is a number; give the time as text like 2026-01-31T12:00:00Z", column=column)


def scalar(value: Any) -> Scalar:
    """A value that is one; whole numbers beyond 64 bits as text, as a table would have them."""
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return str(value) if value.bit_length() <= 4_096 else ("-" if value < 0 else "") + "9" * 4_000
    if isinstance(value, dict | list):
        raise Strange
    scalar: Scalar = value
    return scalar


def whole_text(text: str) -> str:
    """Text whose halves of surrogate pairs are replaced: what can be written as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def nested_text(value: object) -> str:
    """A list or object as one text, in which card numbers are looked for. RecursionError, ValueError: it cannot be written."""
    return json.dumps(value, ensure_ascii=False)


def flat(body: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The fields of a body, those of objects with dotted names, one level deep."""
    out = []
    for name, value in body.items():
        if isinstance(value, dict):
            out += [(f"{name}.{inner}", part) for inner, part in value.items()]
        else:
            out.append((name, value))
    return out


def holds_card(text: str) -> bool:
    """Whether a card number stands in a text: `pan.holds_pan`, with a quick answer for most.

    >>> holds_card("1541815603606036480"), holds_card("4111 1111 1111 1111")
    (False, True)
    """
    if text.isdecimal() and text.isascii():
        return len(text) >= DIGITS_MIN and is_pan(text)
    if THIRTEEN not in text.encode("utf-8", "replace").translate(_DIGITS, _BETWEEN):
        return False
    return MAY_HOLD_PAN.search(text) is not None and holds_pan(text)


def card_in(value: Scalar) -> bool:
    """Whether a value of a column holds a card number, as `door.table` looks for one."""
    if isinstance(value, str):
        return len(value) > 12 and holds_card(value)
    if isinstance(value, bool) or value is None or not 1e12 <= value < 2.0**64:
        return False
    return is_pan(str(int(value)))
