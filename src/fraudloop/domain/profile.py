"""The words of a profile: what is known of a customer, merchant or other entity from a time on.

Types are plain strings (the names polars gives them); this module imports nothing and knows no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

#: Columns of a canonical profile table. `entity` is the feature set's name of the kind of key ("customer"), `id` its
#: id as it stands in the transactions, `time` from when on this is known. Degrees are in units of 1e-7, utc_offset
#: in minutes.
PROFILE_SCHEMA: Final[Mapping[str, str]] = MappingProxyType(
    {
        "entity": "String",
        "id": "String",
        "time": "Datetime(us, UTC)",
        "home_country": "String",
        "home_latitude": "Int32",
        "home_longitude": "Int32",
        "opened_at": "Datetime(us, UTC)",
        "utc_offset": "Int16",
        "segment": "String",
    }
)

REQUIRED: Final = ("entity", "id", "time")

#: The fields a caller may bring, each with the names it also goes by.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "entity": (),
        "id": ("customer_id", "user_id"),
        "time": ("known_at", "valid_from", "updated_at"),
        "home_country": ("country",),
        "home_latitude": ("home_location.latitude", "latitude"),
        "home_longitude": ("home_location.longitude", "longitude"),
        "opened_at": ("created_at",),
        "utc_offset": (),
        "segment": (),
    }
)
