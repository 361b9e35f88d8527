"""The door for one profile: what `table.admit_profiles` does to a table of them, for `POST /events`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from fraudloop.domain.profile import FIELDS, PROFILE_SCHEMA, REQUIRED
from fraudloop.door import value
from fraudloop.door.body import Refusal
from fraudloop.door.pan import TokenKey, hide
from fraudloop.door.record import Record
from fraudloop.door.row import Row
from fraudloop.limits import SKEW_MAX_US

_RECORD: Final = Record(
    FIELDS,
    {
        "entity": value.word,
        "id": value.identifier,
        "time": value.time,
        "home_country": value.country,
        "home_latitude": partial(value.degrees, most=90),
        "home_longitude": partial(value.degrees, most=180),
        "opened_at": value.time,
        "utc_offset": value.utc_offset,
        "segment": value.word,
    },
    REQUIRED,
    "id",
    frozenset({"time", "opened_at"}),
)


@dataclass(frozen=True, slots=True)
class ProfileAdmission:
    """profile: the canonical profile (PROFILE_SCHEMA, times in microseconds), or None if it was refused; refusals say why."""

    profile: Row | None
    refusals: tuple[Refusal, ...] = ()
    notes: Counter[str] = field(default_factory=Counter)


def admit_profile(
    body: Mapping[str, Any], now_us: int | None = None, tokens: TokenKey | None = None, entities: Collection[str] = ()
) -> ProfileAdmission:
    """A profile from a decoded JSON object.

    now_us: if given, a profile dated further ahead of it than a clock may be off is refused. entities: if given, those that
    there are; a profile of another one is refused. tokens: the key for card numbers in the id; None is the default key.

    >>> admit_profile({"entity": "customer", "customer_id": "c1", "time": "2026-01-31", "country": "DEU"}).profile["home_country"]
    'DE'
    >>> [(r.field, r.rule) for r in admit_profile({"entity": "ship", "id": "c1", "time": "2026-01-31"}, entities=["customer"]).refusals]
    [('entity', 'entity.unknown')]
    """
    got, fields, refusals, notes = _RECORD.admit(body, tokens or TokenKey())
    entity, time = got.get("entity"), got.get("time")
    if entities and entity is not None and entity not in entities:
        refusals.append(Refusal(hide(fields["entity"]), "entity.unknown", f"none of {', '.join(entities)}"))
    if now_us is not None and time is not None and time > now_us + SKEW_MAX_US:
        refusals.append(Refusal(hide(fields["time"]), "time.future", "is in the future; tell a profile when it is known"))
    if refusals:
        return ProfileAdmission(None, tuple(refusals), notes)
    return ProfileAdmission({name: got[name] for name in PROFILE_SCHEMA}, (), notes)
