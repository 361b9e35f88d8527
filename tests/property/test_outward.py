"""A body made of a canonical row is read back as that row."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.domain.transaction import OUTSIDE_BODY
from fraudloop.door.outward import body_of
from fraudloop.door.rates import RateTable
from fraudloop.door.row import RowDoor, body_hash
from tests.property.test_row import BODIES, DOOR, EXTRA, SHAPE


@given(body=BODIES)
@settings(max_examples=300)
def test_whatever_the_door_takes_it_takes_again_as_the_same_row(body: dict[str, Any]) -> None:
    for door, numbers in ((DOOR, {}), (EXTRA, SHAPE.numbers)):
        row = door.admit(body).row
        if row is None:
            continue
        again = door.admit(body_of(row, numbers))
        assert again.row is not None, again.refusals
        assert {k: v for k, v in again.row.items() if k not in OUTSIDE_BODY} == {k: v for k, v in row.items() if k not in OUTSIDE_BODY}
        assert body_hash(again.row) == body_hash(row)


@given(
    points=st.integers(-(10**15), 10**15),
    latitude=st.integers(-900_000_000, 900_000_000),
    longitude=st.integers(-1_800_000_000, 1_800_000_000),
    time=st.integers(0, 4_000_000_000_000_000),
    offset=st.one_of(st.none(), st.integers(-720, 840)),
)
def test_numbers_places_and_times_keep_their_last_digit(points: int, latitude: int, longitude: int, time: int, offset: int | None) -> None:
    door = RowDoor(SHAPE, RateTable.sample())
    row = {"transaction_id": "t", "timestamp": time, "utc_offset": offset, "amount_minor": 5, "currency": "EUR", "latitude": latitude, "longitude": longitude, "points": points, "risk": 0.1, "channel": "web"}  # fmt: skip
    again = door.admit(body_of(row, SHAPE.numbers)).row
    assert again is not None
    assert {name: again[name] for name in row} == row
