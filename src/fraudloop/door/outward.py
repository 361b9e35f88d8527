"""A canonical row as the body that a caller would send: the inverse of the door.

`RowDoor(Shape(), rates).admit(body_of(row))` gives `row` back, but for what the door or the arrival makes (OUTSIDE_BODY).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from fraudloop.domain.money import exponent_of, from_minor
from fraudloop.domain.transaction import DEFAULT_FLOW, FLAG_FIELDS, ID_FIELDS, TEXT_FIELDS
from fraudloop.door.shape import Number
from fraudloop.limits import DEGREE_E7

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AS_THEY_ARE: Final = (*ID_FIELDS, *TEXT_FIELDS, *FLAG_FIELDS, "country", "home_country", "currency", "status")
_DEGREES: Final = ("latitude", "longitude", "home_latitude", "home_longitude")
_WRITTEN: Final = frozenset({*_AS_THEY_ARE, *_DEGREES, "timestamp", "utc_offset", "received_at", "zone_offset", "amount_minor", "amount_base", "rate_version"})  # fmt: skip

#: Beyond it a scaled number is written as text: not every integer is a float any more.
_EXACT_MAX: Final = 2**50


def body_of(row: Mapping[str, Any], numbers: Mapping[str, Number] | None = None) -> dict[str, Any]:
    """The JSON object of a canonical row; fields without a value are left out. Times are microseconds since 1970 UTC.

    numbers: of the shape that the row came through: the scales of its exact ones. Own columns keep the names they have in the row.

    >>> row = {"transaction_id": "t1", "timestamp": 0, "utc_offset": 60, "amount_minor": 1999, "currency": "EUR", "latitude": 525200000}
    >>> body_of(row)
    {'transaction_id': 't1', 'timestamp': '1970-01-01T01:00:00+01:00', 'amount': '19.99', 'currency': 'EUR', 'latitude': 52.52}
    """
    out: dict[str, Any] = {"transaction_id": row["transaction_id"], "timestamp": time_text(row["timestamp"], row.get("utc_offset"))}
    out["amount"] = from_minor(row["amount_minor"], exponent_of(row.get("currency")))
    for name in _AS_THEY_ARE:
        value = row.get(name)
        if value is not None:
            out[name] = value
    if out.get("flow") == DEFAULT_FLOW:
        del out["flow"]
    for name in _DEGREES:
        value = row.get(name)
        if value is not None:
            out[name] = value / DEGREE_E7
    for name in row.keys() - _WRITTEN:
        value = row[name]
        if value is None:
            continue
        scale = numbers[name].scale if numbers and name in numbers else None
        if scale:
            value = value / 10**scale if abs(value) < _EXACT_MAX else from_minor(value, scale)
        out[name] = value
    return out


def time_text(time_us: int, offset_minutes: int | None = None) -> str:
    """ISO 8601 with the offset, if there is one, else `Z`.

    >>> time_text(1_500_000), time_text(0, -90)
    ('1970-01-01T00:00:01.500000Z', '1969-12-31T22:30:00-01:30')
    """
    moment = _EPOCH + timedelta(microseconds=time_us)
    if offset_minutes is None:
        return moment.isoformat().removesuffix("+00:00") + "Z"
    return moment.astimezone(timezone(timedelta(minutes=offset_minutes))).isoformat()
