"""The door for a payment that is written as the reference writes it: one pass from the bytes of a request to its row.

Its fields are decoded into a struct of the plainest types and put down in order. Whatever else there is (another name of a field, a field that
nobody knows, another type, half a place, an id with a card number or blanks around it) is for `door.row`, which is the definition: what is
taken here it takes to the same row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from fraudloop.domain.transaction import DEFAULT_FLOW
from fraudloop.door import value as values
from fraudloop.door.body import DIGITS_AND_BETWEEN, THIRTEEN, Strange, holds_card
from fraudloop.door.value import Wrong
from fraudloop.limits import DEGREE_E7, ID_BYTES_MAX

#: After so many payments in a row that were not for here, only one in so many is tried: who writes otherwise does so always.
_MISSES_MAX: Final = 8
_TRIED: Final = 32

_Text = str | None
_Maybe = str | None | UnsetType


class _Device(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: _Text = None
    type: _Text = None
    ip: _Text = None


class _Place(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    latitude: float | None = None
    longitude: float | None = None


class _Payment(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`domain.transaction.FIELDS` by their own names. UNSET where null says something else than nothing."""

    transaction_id: str
    timestamp: str
    customer_id: _Text = None
    merchant_id: _Text = None
    merchant_category: _Text = None
    amount: str | int | float | None = None
    currency: _Text = None
    country: _Text = None
    is_online: bool | None = None
    device: _Device | UnsetType = UNSET
    location: _Place | UnsetType = UNSET
    card_id: _Text = None
    card_present: bool | None = None
    device_id: _Maybe = UNSET
    device_type: _Maybe = UNSET
    ip: _Maybe = UNSET
    latitude: float | UnsetType | None = UNSET
    longitude: float | UnsetType | None = UNSET
    utc_offset: str | int | UnsetType | None = UNSET
    received_at: _Maybe = UNSET
    status: _Maybe = UNSET
    flow: _Maybe = UNSET
    home_country: _Maybe = UNSET
    home_location: _Place | UnsetType = UNSET
    home_latitude: float | UnsetType | None = UNSET
    home_longitude: float | UnsetType | None = UNSET


class Glance:
    """Takes what it is sure of.

    empty: a row of a payment that says nothing. read: how `door.row` reads each field at a glance. minor: minor units of an amount
    with so many decimals; exponents, exponent_else: how many a currency has. to_base: base amount and version of the rates. zone: of the shape.
    """

    def __init__(
        self, empty: Mapping[str, Any], read: Mapping[str, Callable[[Any], Any]], minor: Callable[[Any, int], int | None],
        exponents: Mapping[str, int], exponent_else: int, to_base: Callable[[int, str | None, int], tuple[int | None, str | None]], zone: str,
    ) -> None:  # fmt: skip
        self._empty = dict(empty)
        self._decode = msgspec.json.Decoder(_Payment).decode
        self._minor, self._exponents, self._exponent_else, self._to_base = minor, exponents, exponent_else, to_base
        self._zone = None if zone == "UTC" else zone
        self._time, self._moment, self._offset = read["timestamp"], read["received_at"], read["utc_offset"]
        self._category, self._currency, self._country = read["merchant_category"], read["currency"], read["country"]
        self._type, self._status, self._flow = read["device_type"], read["status"], read["flow"]
        self._missed = self._passed = 0

    def row(self, raw: bytes) -> dict[str, Any] | None:
        """The canonical row of a request's body, None where this is not sure of it."""
        if self._passed:
            self._passed -= 1
            return None
        try:
            row = self._row(self._decode(raw))
        except (Strange, Wrong, msgspec.MsgspecError, ValueError, RecursionError):
            self._missed += 1
            if self._missed >= _MISSES_MAX:
                self._passed = _TRIED - 1
            return None
        self._missed = 0
        return row

    def _row(self, p: _Payment) -> dict[str, Any]:
        device, device_id, device_type, ip = p.device, p.device_id, p.device_type, p.ip
        if device is not UNSET:
            if device_id is not UNSET or device_type is not UNSET or ip is not UNSET:
                raise Strange  # two names of one field, perhaps
            device_id, device_type, ip = device.id, device.type, device.ip
        name, customer, merchant, card = p.transaction_id, p.customer_id, p.merchant_id, p.card_id
        # All ids are looked at together: printable, none empty, no blanks, no card number.
        ids = f"|{name}|{customer}|{merchant}|{card}|{device_id}|{ip}|"
        if not (ids.isascii() and ids.isprintable()) or len(ids) > ID_BYTES_MAX or "||" in ids or " " in ids:
            raise Strange
        if THIRTEEN in ids.encode().translate(DIGITS_AND_BETWEEN):
            for one in (name, customer, merchant, card, device_id, ip):
                if one and len(one) > 12 and holds_card(one):
                    raise Strange
        moment, amount, currency = self._time(p.timestamp), p.amount, p.currency
        if not isinstance(amount, str) and (amount is None or not 0 <= amount < 1_000_000_000):
            raise Strange  # what is that large is not always decoded to the same number
        if currency is not None:
            currency = self._currency(currency)
        minor = self._minor(amount, self._exponents.get(currency, self._exponent_else))  # type: ignore[arg-type]
        if minor is None or moment is None:
            raise Strange
        row = self._empty.copy()
        row["transaction_id"], row["customer_id"], row["merchant_id"], row["card_id"] = name, customer, merchant, card
        time_us, offset = moment
        if p.utc_offset is not UNSET:
            offset = self._offset(p.utc_offset)
        row["timestamp"] = row["received_at"] = time_us
        row["utc_offset"] = offset
        if device_id:
            row["device_id"] = device_id
        if ip:
            row["ip"] = ip
        if device_type:
            row["device_type"] = self._type(device_type)
        row["merchant_category"], row["currency"], row["country"] = self._category(p.merchant_category), currency, self._country(p.country)
        row["is_online"], row["card_present"] = p.is_online, p.card_present
        row["amount_minor"] = minor
        row["amount_base"], row["rate_version"] = self._to_base(minor, currency, time_us)
        here = p.location
        if here is not UNSET:
            latitude, longitude = here.latitude, here.longitude
            if latitude is None or longitude is None or p.latitude is not UNSET or p.longitude is not UNSET:
                raise Strange
            if not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
                raise Strange
            row["latitude"], row["longitude"] = round(latitude * DEGREE_E7), round(longitude * DEGREE_E7)
        elif p.latitude is not UNSET or p.longitude is not UNSET:
            row["latitude"], row["longitude"] = _place(here, p.latitude, p.longitude)
        if self._zone is not None:
            row["zone_offset"] = values.zone_offset(time_us, self._zone)
        if p.status is not UNSET or p.flow is not UNSET:
            row["status"] = None if p.status is UNSET else self._status(p.status)
            row["flow"] = DEFAULT_FLOW if p.flow is UNSET else self._flow(p.flow) or DEFAULT_FLOW
        if p.home_country is not UNSET:
            row["home_country"] = self._country(p.home_country)
        if p.home_location is not UNSET or p.home_latitude is not UNSET or p.home_longitude is not UNSET:
            row["home_latitude"], row["home_longitude"] = _place(p.home_location, p.home_latitude, p.home_longitude)
        if p.received_at is not UNSET:
            received = self._moment(p.received_at)
            row["received_at"] = time_us if received is None else received
        return row


def _place(
    inside: _Place | UnsetType, latitude: float | UnsetType | None, longitude: float | UnsetType | None
) -> tuple[int | None, int | None]:
    """A place in units of 1e-7 degrees, inside an object or by its own names; Strange for half of one, or one that is none."""
    if inside is not UNSET:
        if latitude is not UNSET or longitude is not UNSET:
            raise Strange
        latitude, longitude = inside.latitude, inside.longitude
    elif latitude is longitude is UNSET:
        return None, None
    if latitude is longitude is None:
        return None, None
    if type(latitude) is not float or type(longitude) is not float or not (-90.0 <= latitude <= 90.0 and -180.0 <= longitude <= 180.0):
        raise Strange
    return round(latitude * DEGREE_E7), round(longitude * DEGREE_E7)
