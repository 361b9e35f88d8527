"""The words of a transaction: its columns, their types, the names they also go by, and which of them are ids.

Types are plain strings (the names polars gives them) so that this module imports nothing. It knows no file, no
column map and no feature; how outside values become these is the door's matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Columns of a canonical transaction table in order, with their types. `row` is the index in the table.
#: amount_minor: minor units of `currency` (ISO 4217); amount_base: hundredths of the base currency, null = no rate;
#: degrees are in units of 1e-7; utc_offset is the transaction's own offset in minutes, zone_offset that of the
#: configured zone at that time.
TRANSACTION_SCHEMA: Final[Mapping[str, str]] = MappingProxyType(
    {
        "transaction_id": "String",
        "timestamp": "Datetime(us, UTC)",
        "received_at": "Datetime(us, UTC)",
        "utc_offset": "Int16",
        "zone_offset": "Int16",
        "customer_id": "String",
        "merchant_id": "String",
        "merchant_category": "String",
        "currency": "String",
        "country": "String",
        "device_id": "String",
        "device_type": "String",
        "ip": "String",
        "card_id": "String",
        "status": "String",
        "flow": "String",
        "amount_minor": "Int64",
        "amount_base": "Int64",
        "rate_version": "String",
        "is_online": "Boolean",
        "card_present": "Boolean",
        "latitude": "Int32",
        "longitude": "Int32",
        "home_latitude": "Int32",
        "home_longitude": "Int32",
        "home_country": "String",
    }
)

#: Without these a transaction is not one: missing or unparsable means refused.
REQUIRED: Final = ("transaction_id", "timestamp", "amount_minor")

#: The fields a caller may bring (`amount` becomes amount_minor and amount_base), each with the names it also goes by.
#: A dot steps into a nested object.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "transaction_id": ("tx_id", "id"),
        "timestamp": ("event_time", "transaction_time"),
        "received_at": (),
        "utc_offset": (),
        "customer_id": ("user_id",),
        "merchant_id": (),
        "merchant_category": ("mcc", "category"),
        "amount": (),
        "currency": (),
        "country": ("merchant_country",),
        "device_id": ("device.id",),
        "device_type": ("device.type",),
        "ip": ("device.ip", "ip_address"),
        "card_id": (),
        "status": (),
        "flow": (),
        "is_online": (),
        "card_present": (),
        "latitude": ("location.latitude", "lat"),
        "longitude": ("location.longitude", "lon", "lng"),
        "home_latitude": ("home_location.latitude",),
        "home_longitude": ("home_location.longitude",),
        "home_country": (),
    }
)

#: Fields that identify something: a card number in one of them is replaced by its token. Anywhere else it is refused.
ID_FIELDS: Final = ("transaction_id", "customer_id", "merchant_id", "device_id", "card_id")
TEXT_FIELDS: Final = ("merchant_category", "device_type", "ip", "flow")
FLAG_FIELDS: Final = ("is_online", "card_present")
COUNTRY_FIELDS: Final = ("country", "home_country")

#: Pairs that mean something only together.
PLACES: Final = (("latitude", "longitude"), ("home_latitude", "home_longitude"))

STATUSES: Final = ("authorised", "declined_by_issuer", "captured", "refunded", "reversed")
DEFAULT_FLOW: Final = "payments"

#: Not part of a transaction's body: made by the door, or by the moment of arrival. A retry may differ in them.
OUTSIDE_BODY: Final = frozenset({"received_at", "zone_offset", "amount_base", "rate_version"})
