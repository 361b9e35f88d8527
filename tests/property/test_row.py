"""The door for one row beside the door for tables: whatever the first takes, the second takes to the same row."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.domain.money import CURRENCIES
from fraudloop.door import row as door_row
from fraudloop.door.body import Strange
from fraudloop.door.canonical import body_hashes
from fraudloop.door.rates import Rate, RateTable
from fraudloop.door.row import Admission, Row, RowDoor, _BaseAmounts, body_hash, same_body
from fraudloop.door.shape import Number, Shape
from fraudloop.door.value import Wrong
from fraudloop.limits import AMOUNT_MINOR_MAX

RATES = RateTable.sample()
SHAPE = Shape(numbers={"risk": Number("risk"), "points": Number("points", 2)}, categories={"channel": "channel"})
DOOR = RowDoor(Shape(), RATES)
EXTRA = RowDoor(SHAPE, RATES)
DOORS = {
    "plain": DOOR,
    "extra columns": EXTRA,
    "seconds, Berlin": RowDoor(Shape(unit="s", zone="Europe/Berlin", negative=True), RATES),
    "milliseconds, minor units": RowDoor(Shape(unit="ms", minor=True, constants={"currency": "JPY", "flow": "cards"}), RATES),
    "microseconds": RowDoor(Shape(unit="us", aliases=False, fields={"transaction_id": "transaction_id", "timestamp": "timestamp", "amount": "amount", "country": "merchant_country"}), RATES),
    "nanoseconds": RowDoor(Shape(unit="ns", ignore=("currency",)), RATES),
    "London, latest": RowDoor(Shape(zone="Europe/London", ambiguous="latest", round_finer=True, negative=True), RATES),
    "New York, refuse": RowDoor(Shape(zone="America/New_York", ambiguous="refuse", constants={"country": "US", "is_online": "yes"}), RATES),
}  # fmt: skip

#: A published test number of a card scheme.
CARD = "4111 1111 1111 1111"

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            "c-1",
            " c-1",
            "c 1\t",
            "\x1cx",
            "\x85x",
            "",
            "  ",
            "é",
            CARD,
            CARD.replace(" ", ""),
            "2026-01-31 11111",
            "x" * 1_025,
            "nan",
            "NULL",
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-5, 10**6), st.floats(-100, 10_000), st.sampled_from([0, 0.1, 1e3, 10**15, 10**15 + 1, 2**53, 2**63, 2**70, -1, float("nan"), float("inf"), 4111111111111111])
)  # fmt: skip
ANYTHING = st.one_of(
    TEXTS,
    NUMBERS,
    st.booleans(),
    st.none(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["id", "x"]), TEXTS, max_size=2),
)
AMOUNTS = st.one_of(
    st.integers(0, 10**9).map(lambda n: f"{n // 100}.{n % 100:02d}"), st.integers(0, 10**7).map(lambda n: n / 100), st.sampled_from(["1,5", "1e3", "-1", "0.001", " 7", "007.10", ".5"]),
    NUMBERS, TEXTS,
)  # fmt: skip
TIMES = st.one_of(
    st.datetimes().map(lambda t: t.isoformat() + "Z"),
    st.tuples(st.datetimes(), st.sampled_from(["+02:00", "-00:00", "+00:00", "-11:30", "+14:00", "+14:01", "-23:59", "+24:00"])).map(lambda p: p[0].isoformat() + p[1]),
    st.sampled_from(["2026-01-31T12:00:60Z", "2026-02-30T12:00:00Z", "2026-01-31T12:00:00", "2026-01-31", "2026-01-31T24:00:00Z", "2026-01-31t12:00:00z", "2026-01-31T12:00:00.1234567Z",
                     "2026-01-31+01:00:05Z", "2026-01-31-05:00:05.123Z", "2026-01-31+01:00:05+02:00", "2026-01-31T12:00:00,5Z", "2026-W05-6T12:00:00Z", "1969-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "2100-01-01T00:00:00.000001Z", "２026-01-31T12:00:00Z"]),
    ANYTHING,
)  # fmt: skip
VALUES = st.one_of(st.none(), st.booleans(), st.sampled_from([0, 1, 0.0, -0.0, 1.0, "0", "1", "true", float("nan"), "x=1:y"]))
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "merchant_category": TEXTS, "mcc": TEXTS, "customer_id": ANYTHING, "user_id": TEXTS, "merchant_id": TEXTS, "ip": TEXTS, "flow": TEXTS,
    "currency": st.one_of(st.sampled_from(["EUR", "usd", "JPY", "KWD", "ABC", "E1R", "EURO", None]), st.sampled_from(sorted(CURRENCIES))),
    "country": st.sampled_from(["DE", "deu", "Germany", "zz", "XX", "Atlantis", "uk", "Côte d'Ivoire", None, "", 5]),
    "merchant_country": st.sampled_from(["DE", "FR"]),
    "status": st.sampled_from(["authorised", "AUTHORISED", "captured", "gone", None]),
    "is_online": st.one_of(st.booleans(), st.sampled_from(["yes", "0", 1, None, "perhaps"])),
    "latitude": st.one_of(st.floats(-91, 91), st.integers(-91, 91), st.sampled_from(["5.5", None, True])),
    "longitude": st.floats(-181, 181),
    "location": st.fixed_dictionaries({}, optional={"latitude": st.floats(-90, 90), "longitude": st.floats(-180, 180), "x": ANYTHING}),
    "device": st.fixed_dictionaries({}, optional={"id": TEXTS, "type": TEXTS, "ip": TEXTS, "note": ANYTHING}),
    "utc_offset": st.sampled_from([60, "+02:00", None, 1_000]), "received_at": TIMES, "note": ANYTHING, "channel": TEXTS, "risk": NUMBERS, "points": NUMBERS,
}  # fmt: skip
BODIES = st.fixed_dictionaries({"transaction_id": st.one_of(st.just("t-1"), TEXTS), "timestamp": TIMES, "amount": AMOUNTS}, optional=FIELDS)


@pytest.mark.parametrize("door", list(DOORS.values()), ids=list(DOORS))
@given(body=BODIES)
@settings(max_examples=120, deadline=None)
def test_the_quick_the_exact_and_the_table_s_way_say_the_same(door: RowDoor, body: dict[str, Any]) -> None:
    wanted = door._by_table(body)
    exact = door._exactly(body)
    same(exact, wanted)
    try:
        quick = door._quickly(body)
    except (Strange, Wrong):
        return
    same(quick, wanted)


def same(found: Admission, wanted: Admission) -> None:
    assert found.refusals == wanted.refusals
    assert found.row == wanted.row and list(found.row or ()) == list(wanted.row or ())
    assert {name: type(value) for name, value in (found.row or {}).items()} == {n: type(value) for n, value in (wanted.row or {}).items()}
    assert found.row is None or Counter(found.notes) == Counter(wanted.notes)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "t1", "timestamp": "2026-01-31T12:00:00Z", "amount": "9.99", "currency": "EUR"},
        {"transaction_id": "t1", "timestamp": "2026-01-31T12:00:00.5+02:00", "amount": 57.16, "currency": "usd", "country": "DEU", "user_id": "c1",
         "device": {"id": "d1", "ip": "10.0.0.1", "type": "phone"}, "location": {"latitude": 52.5, "longitude": 13}, "is_online": False, "note": "thanks", "x": 5},
        {"transaction_id": "550e8400-e29b-41d4-a716-446655440000", "timestamp": "2026-01-31 12:00:00Z", "amount": 7, "currency": "JPY", "merchant_id": None, "status": "captured"},
    ],
)  # fmt: skip
def test_quickly_bodies_take_the_short_way(body: dict[str, Any]) -> None:
    """Or the test above would show nothing."""
    assert DOOR._quickly(body) == DOOR._by_table(body)


@pytest.mark.parametrize("time", ["2026-01-31+01:00:05Z", "2026-01-31-05:00:05.123Z", "2026-01-31+01:00:05+02:00"])
def test_a_date_with_an_offset_and_seconds_behind_it_is_no_time(time: str) -> None:
    body = {"transaction_id": "t1", "timestamp": time, "amount": 5}
    assert [refusal.rule for refusal in DOOR.admit(body).refusals] == ["timestamp.format"]
    assert DOOR.glance(msgspec.json.encode(body)) is None
    same(DOOR.admit(body), DOOR._by_table(body))


@pytest.mark.parametrize("number", [1e15, 1e16, 1e20, 1e308, 1.5e-7, 1e-5, -1e16])
def test_a_number_as_a_word_is_written_as_the_table_writes_it(number: float) -> None:
    body = {"transaction_id": "t1", "timestamp": "2026-01-31T12:00:00Z", "amount": 5, "merchant_category": number}
    same(DOOR._exactly(body), DOOR._by_table(body))


IDS = st.one_of(
    st.sampled_from(
        ["c-1", "4111 1111", "1541815603606036480", "550e8400-e29b-41d4-a716-446655440000", "a b", "a|b", "||", "None", "x" * 1_030]
    ),
    TEXTS,
)
PLACES: dict[str, st.SearchStrategy[Any]] = {
    "latitude": st.one_of(st.floats(-91, 91), st.integers(-90, 90), st.none()),
    "longitude": st.one_of(st.floats(-181, 181), st.integers(-180, 180), st.none()),
}
AS_WRITTEN: dict[str, st.SearchStrategy[Any]] = {
    **FIELDS, **dict.fromkeys(("customer_id", "merchant_id", "card_id", "device_id", "ip"), st.one_of(IDS, st.none(), ANYTHING)), **PLACES,
    "transaction_id": IDS, "timestamp": TIMES, "amount": AMOUNTS, "device_type": st.one_of(TEXTS, st.none()), "card_present": st.one_of(st.booleans(), st.none(), ANYTHING), "home_country": FIELDS["country"],
    "home_latitude": PLACES["latitude"], "home_longitude": PLACES["longitude"],
}  # fmt: skip
#: Nearly always one of these, or no body would be what the reference has in mind.
ORDINARY_IDS = st.sampled_from(
    ["c-1", "m 12", "1541815603606036480", "550e8400-e29b-41d4-a716-446655440000", "4111", "a|b", "None", "x" * 13]
)
ORDINARY: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("transaction_id", "customer_id", "merchant_id", "card_id", "device_id", "id", "ip"), ORDINARY_IDS),
    "timestamp": st.one_of(
        st.datetimes(datetime.fromisoformat("1971-01-01"), datetime.fromisoformat("2098-12-31")).map(lambda t: t.isoformat(timespec="milliseconds") + "Z"),
        st.sampled_from(["2026-03-29T02:30:00Z", "2026-03-29T01:59:59.999+01:00", "2100-01-01T00:00:00.001Z", "1970-01-01T00:00:00Z", "2026-01-31T12:00:00.5Z"]),
    ),
    "amount": st.one_of(st.integers(0, 10**7).map(lambda n: f"{n // 100}.{n % 100:02d}"), st.integers(0, 10**7).map(lambda n: n / 100), st.integers(0, 10**9), st.sampled_from([0.0, 57.16, 1e9])),
    "currency": st.sampled_from(["EUR", "usd", "JPY", "KWD", "ABC", None]), "country": st.sampled_from(["DE", "deu", "Germany", None]), "status": st.sampled_from(["captured", None]), "flow": st.sampled_from(["cards", "", None]),
    "type": st.sampled_from(["phone", "", None]), "device_type": st.sampled_from(["phone", None]), "merchant_category": st.sampled_from(["grocery", " grocery ", "5411", None]),
    **dict.fromkeys(("latitude", "longitude", "home_latitude", "home_longitude"), st.one_of(st.floats(-90, 90), st.integers(-90, 90))), "is_online": st.booleans(), "card_present": st.booleans(),
}  # fmt: skip
NESTED: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "device": {"id": st.one_of(IDS, st.none()), "type": st.one_of(TEXTS, st.none()), "ip": st.one_of(IDS, st.none()), "note": ANYTHING},
    "location": {**PLACES, "x": ANYTHING}, "home_location": PLACES,
}  # fmt: skip


def written(value: Any) -> str:
    """As JSON, a number that is none as null."""
    return (
        json.dumps(None if isinstance(value, float) and not math.isfinite(value) else value, allow_nan=True)
        .replace("NaN", "0")
        .replace("Infinity", "0")
    )


def names_of(fields: Iterable[str], needed: Collection[str]) -> list[str]:
    """Names to choose from: mostly those that the quickest way knows."""
    known = ORDINARY.keys() & {*fields} if needed else {*fields}
    return [
        *sorted(known - {*needed}),
        *(sorted(NESTED) * 3 if needed else ()),
        *(["user_id", "note", "mcc", "utc_offset", "received_at"] if needed else []),
    ]


@st.composite
def raw_bodies(draw: st.DrawFn) -> bytes:
    """Bodies as they come over the wire: fields in any order, some of them twice, some names with escapes, mostly of the reference's own."""

    def thing(fields: dict[str, st.SearchStrategy[Any]], needed: tuple[str, ...] = ()) -> str:
        names = [
            *needed,
            *draw(
                st.lists(
                    st.sampled_from(sorted({*fields, *(NESTED if needed else ())} - {*needed})), unique=draw(st.booleans()), max_size=9
                )
            ),
        ]
        if draw(st.integers(0, 4)) == 0:
            names.append(draw(st.sampled_from(names or ["x"])))
        parts = []
        for name in draw(st.permutations(names)):
            ordinary = draw(st.integers(0, 24)) > 0
            if needed and name in NESTED and ordinary:
                text = thing(NESTED[name])
            else:
                text = written(draw(ORDINARY.get(name, fields.get(name, ANYTHING)) if ordinary else fields.get(name, ANYTHING)))
            key = json.dumps(name) if draw(st.integers(0, 19)) else '"' + "".join(f"\\u{ord(c):04x}" for c in name) + '"'
            parts.append(f"{key}:{text}")
        return "{" + ",".join(parts) + "}"

    return thing(AS_WRITTEN, ("transaction_id", "timestamp", "amount")).encode()


GLANCED = {
    "plain": DOOR, "London, latest": DOORS["London, latest"], "Berlin": RowDoor(Shape(zone="Europe/Berlin", negative=True), RATES),
    "minor units": RowDoor(Shape(minor=True), RATES),
}  # fmt: skip


@pytest.mark.parametrize("door", list(GLANCED.values()), ids=list(GLANCED))
@given(raw=raw_bodies())
@settings(max_examples=400, deadline=None)
def test_what_is_seen_at_a_glance_is_the_row_of_the_other_ways(door: RowDoor, raw: bytes) -> None:
    assert door._glance is not None
    door._glance._missed = door._glance._passed = 0
    found = door.glance(raw)
    if found is not None:
        same(Admission(found), Admission(door.admit_bytes(raw).row))


USUAL: dict[str, Any] = {
    "transaction_id": "b-1", "timestamp": "2026-01-31T12:00:05.123Z", "customer_id": "c1", "merchant_id": "m1", "merchant_category": "grocery", "amount": "29.02", "currency": "EUR",
    "country": "DE", "is_online": True, "device": {"id": "d1"}, "location": {"latitude": 52.5, "longitude": 13.4},
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"device": {}, "amount": 29.02}, {"timestamp": "2026-01-31T12:00:05+02:00", "currency": "usd", "amount": 5}, {"location": {"latitude": 5, "longitude": -7.25}, "is_online": None, "country": None},
        {"customer_id": "550e8400-e29b-41d4-a716-446655440000", "merchant_id": None, "card_id": "1541815603606036480", "card_present": False},
        {"status": "captured", "flow": "cards", "home_country": "FR", "home_location": {"latitude": 1.5, "longitude": 2.5}, "received_at": "2026-01-31T12:00:06Z", "utc_offset": 60},
        {"device": {"id": None, "type": "phone", "ip": "10.0.0.1"}, "home_latitude": 1.0, "home_longitude": 2.0},
    ],
    ids=str,
)  # fmt: skip
def test_usual_bodies_are_taken_at_a_glance(changes: dict[str, Any]) -> None:
    """Or the test above would show nothing."""
    door = RowDoor(Shape(), RATES)
    body = {**USUAL, **changes}
    flat = {name: value for name, value in body.items() if not isinstance(value, dict)} | {
        "device_id": "d1",
        "device_type": "x",
        "ip": "::1",
        "latitude": 5.5,
        "longitude": 6.0,
    }
    for one in (body, dict(reversed(body.items())), flat):
        found = door.glance(json.dumps(one).encode())
        assert found is not None
        same(Admission(found), Admission(door.admit(one).row))


@pytest.mark.parametrize(
    "raw",
    [
        {"customer_id": CARD}, {"customer_id": CARD.replace(" ", "")}, {"device": {"id": f"x {CARD}"}}, {"merchant_category": CARD}, {"note": "thanks"}, {"user_id": "c2"}, {"customer_id": ""}, {"customer_id": " c"},
        {"device_id": None}, {"latitude": None}, {"location": {"latitude": 5.0}}, {"location": {"latitude": 91.0, "longitude": 0.0}}, {"amount": None}, {"amount": 1e9}, {"amount": True}, {"timestamp": 5}, {"amount": "-1"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_unusual_is_left_to_the_other_ways(raw: dict[str, Any]) -> None:
    door = RowDoor(Shape(), RATES)
    assert door.glance(json.dumps({**USUAL, **raw}).encode()) is None


def test_a_shape_of_its_own_is_never_taken_at_a_glance() -> None:
    raw = json.dumps(USUAL).encode()
    for shape in (
        SHAPE,
        Shape(constants={"flow": "x"}),
        Shape(aliases=False),
        Shape(fields={"amount": "sum"}),
        Shape(decimal=","),
        Shape(ignore=("ip",)),
        Shape(values={"status": {"ok": "captured"}}),
    ):
        assert RowDoor(shape, RATES).glance(raw) is None


def test_who_always_writes_otherwise_is_hardly_tried_and_taken_again_once_that_ends() -> None:
    door = RowDoor(Shape(), RATES)
    usual, other = json.dumps(USUAL).encode(), json.dumps({**USUAL, "note": "x"}).encode()
    assert [door.glance(other) for _ in range(100)] == [None] * 100
    found = [door.glance(usual) is not None for _ in range(100)]
    assert all(found[32:])


@given(body=st.dictionaries(st.one_of(st.sampled_from(sorted(FIELDS)), st.text(max_size=5)), ANYTHING, max_size=6))
@settings(max_examples=150, deadline=None)
def test_any_body_is_taken_or_refused_with_its_fields(body: dict[str, Any]) -> None:
    found = DOOR.admit(body)
    assert (found.row is None) == bool(found.refusals)
    for refusal in found.refusals:
        assert refusal.field and refusal.rule and refusal.reason


@pytest.mark.parametrize("where", ["note", "merchant_category", "device", "list"])
def test_a_card_number_outside_an_id_is_refused_by_name_and_never_shown(where: str) -> None:
    body: dict[str, Any] = {"transaction_id": "t1", "timestamp": "2026-01-31T12:00:00Z", "amount": 1, "currency": "EUR"}
    value: Any = {"note": CARD} if where == "device" else [CARD] if where == "list" else CARD
    found = DOOR.admit({**body, where: value})
    assert found.row is None
    assert [(r.field, r.rule) for r in found.refusals] == [("device.note" if where == "device" else where, "card_number")]
    assert "4111" not in repr(found)


def test_a_card_number_in_an_id_becomes_a_token() -> None:
    found = DOOR.admit({"transaction_id": "t1", "timestamp": "2026-01-31T12:00:00Z", "amount": 1, "currency": "EUR", "customer_id": CARD})
    assert found.row is not None and str(found.row["customer_id"]).startswith("tok_")
    assert found.notes["card_number.tokenised"] == 1


@given(BODIES)
@settings(max_examples=100, deadline=None)
def test_the_hash_of_a_row_is_that_of_the_table(body: dict[str, Any]) -> None:
    row = EXTRA.admit(body).row
    if row is not None:
        table = pl.DataFrame({name: pl.Series([value]) for name, value in row.items()}).with_columns(
            pl.col("timestamp").cast(pl.Datetime("us", "UTC"))
        )
        assert body_hash(row).hex() == body_hashes(table)[0]


@given(BODIES, BODIES, st.sets(st.sampled_from(sorted(FIELDS))))
@settings(max_examples=150, deadline=None)
def test_two_rows_are_one_body_where_their_hashes_are(one: dict[str, Any], other: dict[str, Any], mixed_in: set[str]) -> None:
    plain = {"transaction_id": "t", "timestamp": "2026-01-31T12:00:00Z", "amount": 1}
    for a, b in ((one, other), ({**one, **plain}, {**one, **plain, **{n: v for n, v in other.items() if n in mixed_in}})):
        first, second = EXTRA._exactly(a).row, DOOR._exactly(b).row
        third = EXTRA._exactly(b).row
        for x, y in ((first, second), (first, third), (first, first)):
            if x is not None and y is not None:
                assert same_body(x, y) == same_body(y, x) == (body_hash(x) == body_hash(y))
                assert same_body(x, {**x, "received_at": 5, "rate_version": "other"})


@given(st.dictionaries(st.sampled_from("abc"), VALUES), st.dictionaries(st.sampled_from("abc"), VALUES))
def test_values_that_only_look_alike_are_told_apart_as_their_hashes_do(one: Row, other: Row) -> None:
    assert same_body(one, other) == (body_hash(one) == body_hash(other))


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": "57.1600"}, {"amount": " 57.16 "}, {"amount": "5.716e1"}, {"currency": "eur"}, {"currency": " usd "}, {"currency": "ABC"}, {"currency": None}, {"customer_id": None},
        {"timestamp": "2026-01-31T12:00:00.123456789Z"}, {"timestamp": "2026-01-31 12:00:00,5+0200"}, {"timestamp": "2026-01-31"}, {"timestamp": "2026-01-31T12:00"}, {"country": "DEU"}, {"country": "Germany"},
        {"country": "Côte d'Ivoire"}, {"country": "zz"}, {"merchant_category": " grocery "}, {"merchant_category": 5411}, {"utc_offset": "+02:00"}, {"utc_offset": 120}, {"is_online": "yes"}, {"status": "AUTHORISED"},
        {"latitude": "52.5", "longitude": 13}, {"customer_id": 1541815603606036480}, {"customer_id": "550e8400-e29b-41d4-a716-446655440000"}, {"note": "thanks", "sequence": 1770000000123, "tags": None},
        {"received_at": "2026-01-31T12:00:01Z"}, {"customer_id": "kündin"}, {"amount": 0}, {"amount": 10**12},
    ],
    ids=str,
)  # fmt: skip
def test_unusual_but_valid_bodies_never_see_a_table(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of one row costs milliseconds: a caller who writes so would stop the service."""
    body = {"transaction_id": "t1", "timestamp": "2026-01-31T12:00:00Z", "amount": 57.16, "currency": "EUR", "country": "DE", **changes}
    wanted = DOOR._by_table(body)
    monkeypatch.setattr(door_row, "admit", None)
    found = DOOR.admit(body)
    assert found.row is not None
    same(found, wanted)


def test_the_time_of_arrival_is_the_service_s_word_not_the_caller_s() -> None:
    body = {"transaction_id": "t1", "timestamp": "2026-01-31T12:00:00Z", "amount": 1, "received_at": "soon"}
    assert [r.field for r in DOOR.admit(body).refusals] == ["received_at"]
    row = DOOR.admit(body, 5).row
    assert row is not None and row["received_at"] == 5
    assert [(r.field, r.rule) for r in DOOR.admit({**body, "received_at": CARD}, 5).refusals] == [("received_at", "card_number")]
    assert DOOR.admit_bytes(b'{"id": "t1", "timestamp": "2026-01-31", "amount": 1, "received_at": "2020-01-01"}', 7).row == {
        **(DOOR.admit({"id": "t1", "timestamp": "2026-01-31", "amount": 1}).row or {}),
        "received_at": 7,
    }


@pytest.mark.parametrize(
    ("raw", "rule"),
    [(b"", "body.json"), (b"{", "body.json"), (b"[1]", "body.object"), (b"5", "body.object"), (b"null", "body.object"), (b'{"a": NaN}', "body.json"), (b"\xff", "body.json"), (b'{"a": "\\ud800"}', "body.json"),
     (b"[" * 10_000, "body.json"), (b"{}{}", "body.json")],
)  # fmt: skip
def test_what_is_no_json_object_is_refused_as_a_whole(raw: bytes, rule: str) -> None:
    (refusal,) = DOOR.admit_bytes(raw).refusals
    assert (refusal.field, refusal.rule) == ("body", rule)


@given(
    st.lists(st.tuples(st.sampled_from(["EUR", "USD", "JPY", "KWD"]), st.integers(0, 5), st.integers(1, 10**15)), max_size=12),
    st.integers(-AMOUNT_MINOR_MAX, AMOUNT_MINOR_MAX), st.sampled_from(["EUR", "USD", "JPY", "KWD", "ABC", None]), st.integers(-2, 8),
)  # fmt: skip
def test_an_amount_alone_is_converted_as_in_a_column(
    rates: list[tuple[str, int, int]], amount: int, currency: str | None, time_us: int
) -> None:
    by_key = {(code, start): Rate(code, start, value, f"{code}{start}") for code, start, value in rates}
    table = RateTable.of([Rate("EUR", 1, 10**12, "first"), *(r for k, r in by_key.items() if k != ("EUR", 1))], "EUR")
    assert _BaseAmounts(table)(amount, currency, time_us) == table.convert(amount, currency, time_us)
