"""Bodies that nobody would send but somebody does: each is answered, by name and rule, and no card number comes back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from fraudloop.door.label import admit_label
from fraudloop.door.pan import luhn
from fraudloop.door.profile import admit_profile
from fraudloop.door.rates import RateTable
from fraudloop.door.row import RowDoor
from fraudloop.door.shape import Number, Shape

NOW_US = 1_770_000_000_000_000
DOORS = (
    RowDoor(Shape(), RateTable.sample()),
    RowDoor(Shape(unit="ms", zone="Europe/Berlin", numbers={"risk": Number("risk"), "points": Number("points", 2)}, categories={"channel": "channel"}), RateTable.sample()),
)  # fmt: skip


def closed(digits: str) -> str:
    """With the check digit behind."""
    return next(digits + check for check in "0123456789" if luhn(digits + check))


#: The schemes' published test numbers, put together here so that none stands in a file.
CARDS = tuple(
    closed(start)
    for start in (
        "4" + "1" * 14, "401288888888188", "4" + "2" * 11, "5" * 12 + "444", "510510510510510", "222300312200322", "37828224631000", "37144963539843",
        "601111111111111", "601100099013942", "3056930902590", "3852000002323", "353011133330000", "356600202036050", "6200" + "0" * 11, "6304" + "0" * 11,
    )
)  # fmt: skip
VALID: dict[str, Any] = {
    "transaction_id": "t-1", "timestamp": "2026-01-31T12:00:00.5Z", "amount": 57.16, "currency": "EUR", "customer_id": "c-1", "merchant_id": "m-1", "merchant_category": "grocery",
    "country": "DE", "is_online": True, "location": {"latitude": 52.5, "longitude": 13.4}, "device": {"id": "d-1", "type": "phone", "ip": "10.1.2.3"}, "status": "authorised", "note": "thanks", "risk": 0.5,
    "points": 5, "channel": "web",
}  # fmt: skip
NUMBERS = ("amount_minor", "amount_base", "timestamp", "received_at")
LABEL = {"transaction_id": "t-1", "is_fraud": True, "source": "review", "known_at": "2026-01-31T12:00:00Z", "reason": "seen"}
PROFILE = {
    "entity": "customer",
    "id": "c-1",
    "time": "2026-01-31T12:00:00Z",
    "home_country": "DE",
    "home_location": {"latitude": 5, "longitude": 6},
}
#: Names that a body may have, without those of the values above.
MORE = (
    "user_id",
    "mcc",
    "lat",
    "lng",
    "ip_address",
    "utc_offset",
    "received_at",
    "home_latitude",
    "home_country",
    "flow",
    "card_id",
    "",
    "x",
    "device.id",
    "\ud800",
    "\0",
    "known_at",
    "segment",
)


def odd_value(r: random.Random) -> Any:
    """A value of any type, often one that a number or a time might be taken for."""
    card = r.choice(CARDS)
    return r.choice((
        lambda: r.choice((None, True, False, 0, -0.0, -1, 1, 2**53, 2**63, -(2**63) - 1, 10**15, 10**16, 10**40, 10**400, 10**5_000, 1e300, 5e-324, 0.29, 1.005, 1e15, 123456789012345678)),
        lambda: r.choice((float("nan"), float("inf"), float("-inf"))),
        lambda: r.choice(("", " ", "\0", "\ud800", "a\udfffb", "\u2028", "é" * 600, "x" * 1_024, "x" * 1_025, "x" * 100_000, "9" * 5_000, "1e999", "1e-999", "--1", "+5", "٣", "NaN", "inf", "null", "0x10", "1_000")),
        lambda: r.choice(("2026-02-30", "2026-01-31T24:00:00Z", "0000-01-01", "9999-12-31T23:59:59+99:59", "2026-01-31T12:00:60Z", "2026-01-31T12:00:00.1234567890123456789Z", "1770000000", "+14:01", "99:99")),
        lambda: r.choice(([], {}, [[]], [1, "a", None], {"a": {"b": {"c": []}}}, {"id": {"id": 1}}, {"latitude": [1]}, [card], {"id": card}, {"note": [card]})),
        lambda: deep(r.choice((10, 500, 5_000)), r.choice(([], card))),
        lambda: r.choice((card, int(card), float(card), " ".join(card[i : i + 4] for i in range(0, len(card), 4)), "-".join((card[:4], card[4:8], card[8:12], card[12:])), f"card {card}.", f"{card}x", f"{card}\ud800")),
        lambda: "".join(chr(r.choice((r.randrange(128), r.randrange(0x110000)))) for _ in range(r.randrange(20))),
        lambda: r.uniform(-1e6, 1e6), lambda: r.randrange(-(10**6), 10**18),
    ))()  # fmt: skip


def deep(depth: int, inside: Any) -> Any:
    for at in range(depth):
        inside = [inside] if at % 2 else {"a": inside}
    return inside


def odd_body(r: random.Random, valid: dict[str, Any]) -> Any:
    """A valid body with one to four things wrong in it."""
    body: Any = json.loads(json.dumps(valid))
    for _ in range(r.randrange(1, 5)):
        name = r.choice((*valid, *valid, *MORE, r.choice(CARDS)))
        change = r.randrange(10)
        if change < 2:
            body.pop(name, None)
        elif change == 2 and isinstance(body.get(name), dict):
            body[name][r.choice(("id", "type", "latitude", "x", r.choice(CARDS)))] = odd_value(r)
        elif change == 3:
            body |= {f"n{i}": i for i in range(r.choice((3, 300, 3_000)))}
        else:
            body[name] = odd_value(r)
    return body


def odd_bytes(r: random.Random, body: Any) -> bytes:
    """Its JSON text, often no longer JSON: cut, with bytes changed, names twice, other encodings."""
    try:
        text = json.dumps(body, ensure_ascii=r.random() < 0.5)
    except (RecursionError, ValueError):
        return b"[" * 100_000
    raw = text.encode("utf-8", "surrogatepass")
    change = r.randrange(12)
    if change == 0:
        raw = raw[: r.randrange(len(raw) + 1)]
    elif change == 1 and raw:
        at = r.randrange(len(raw))
        raw = raw[:at] + bytes([r.randrange(256)]) + raw[at + 1 :]
    elif change == 2:
        raw = b'{"amount": 1, "id": "' + r.choice(CARDS).encode() + b'", "device": 5, ' + raw[1:]
    elif change == 3:
        raw = r.choice(
            (
                b"\xef\xbb\xbf" + raw,
                raw + b"\0",
                raw + raw,
                text.encode("utf-16", "surrogatepass"),
                b"",
                b" ",
                b"[" + raw + b"]",
                b'"' + r.choice(CARDS).encode() + b'"',
            )
        )
    return raw


def check(found: Any, got: object, where: object) -> None:
    assert (got is None) == bool(found.refusals), where
    for refusal in found.refusals:
        assert refusal.field.isprintable() and refusal.rule and refusal.reason, where
    json.dumps([[r.field, r.rule, r.reason] for r in found.refusals], ensure_ascii=False).encode()
    # An amount or a time is a number whatever its digits are; nobody's card is looked for in it.
    shown = {name: value for name, value in got.items() if name not in NUMBERS} if isinstance(got, dict) else got
    told = repr((shown, found.refusals, dict(found.notes)))
    assert not any(card in told for card in CARDS), where
    if got is not None:
        repr(got).encode()


def attempt(seed: int) -> None:
    r = random.Random(seed)
    door = r.choice(DOORS)
    kinds: tuple[tuple[dict[str, Any], Callable[[Any], Any]], ...] = (
        (VALID, lambda body: door.admit(body, r.choice((None, NOW_US)))),
        (LABEL, lambda body: admit_label(body, NOW_US)),
        (PROFILE, lambda body: admit_profile(body, NOW_US, entities=("customer",))),
    )
    valid, admit = kinds[r.choice((0, 0, 0, 0, 1, 2))]
    body = odd_body(r, valid)
    found = admit(body)
    check(found, found.label if valid is LABEL else found.row, (seed, "as an object"))
    raw = door.admit_bytes(odd_bytes(r, body), r.choice((None, NOW_US)))
    check(raw, raw.row, (seed, "as bytes"))
    assert raw.row is None or valid is VALID or "amount" in body or raw.row["amount_minor"] is not None


@pytest.mark.parametrize("first", range(0, 2_000, 500))
def test_rubbish_is_answered_by_name_and_shows_no_card(first: int) -> None:
    for seed in range(first, first + 500):
        attempt(seed)


@pytest.mark.prove
@pytest.mark.parametrize("first", range(2_000, 102_000, 10_000))
def test_much_more_rubbish_is_answered_by_name_and_shows_no_card(first: int) -> None:
    for seed in range(first, first + 10_000):
        attempt(seed)


def test_the_numbers_are_those_that_are_published() -> None:
    assert CARDS[0].startswith("41") and len({*CARDS}) == 16 and all(luhn(card) for card in CARDS)
    assert all(DOORS[0].admit({**VALID, "note": card}).row is None for card in CARDS)
