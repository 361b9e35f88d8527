"""Card numbers: which digits are one, which ordinary ids are not, and that none is shown."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

import polars as pl
import pytest

from fraudloop.door.pan import TOKEN_PREFIX, TokenKey, find_pans, hide, holds_pan, is_pan, luhn, tokenise
from fraudloop.errors import InputError

#: Test numbers that the schemes publish, by scheme.
PUBLISHED = {
    "Visa": ("4111111111111111", "4012888888881881", "4222222222222"),
    "Mastercard": ("5555555555554444", "5105105105105100", "2223003122003222"),
    "American Express": ("378282246310005", "371449635398431"),
    "Discover": ("6011111111111117", "6011000990139424"),
    "Diners Club": ("30569309025904", "38520000023237"),
    "JCB": ("3530111333300000", "3566002020360505"),
    "UnionPay": ("6200000000000005",),
    "Maestro": ("6759649826438453", "6304000000000000"),
}


@pytest.mark.parametrize(("scheme", "number"), [(s, n) for s, numbers in PUBLISHED.items() for n in numbers])
def test_the_published_test_numbers_are_found(scheme: str, number: str) -> None:
    assert is_pan(number)
    assert holds_pan(f"{scheme}: {number}.")
    assert not is_pan(number[:-1] + str((int(number[-1]) + 1) % 10))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4111",
        "411111111111111",
        "41111111111111111111",
        "1234567812345670",
        "0000000000000000",
        "4111 1111  1111 1111",
        "4111111111111111x"[:15] + "x1",
        "2026-01-31 12:00:00",
    ],
)
def test_other_digits_are_not(text: str) -> None:
    assert not holds_pan(text)


def test_the_check_digit_is_that_of_the_standard() -> None:
    assert luhn("79927398713")  # the example of ISO/IEC 7812-1
    assert sum(luhn(f"7992739871{d}") for d in range(10)) == 1


YEAR_MS = 365.25 * 86_400_000


def snowflake(epoch_ms: int) -> Callable[[random.Random], str]:
    """Ids of 41 bits of milliseconds and 22 others, made from 2010 (or the epoch) to 2035."""

    def make(draw: random.Random) -> str:
        first = max(epoch_ms, int(40 * YEAR_MS))
        return str(draw.randrange(first - epoch_ms + 1, int(65 * YEAR_MS) - epoch_ms) << 22 | draw.getrandbits(22))

    return make


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("snowflake, epoch of 2010", snowflake(1_288_834_974_657)),
        ("snowflake, epoch of 2015", snowflake(1_420_070_400_000)),
        ("uuid", lambda draw: str(uuid.UUID(int=draw.getrandbits(128), version=4))),
        ("uuid without hyphens", lambda draw: uuid.UUID(int=draw.getrandbits(128), version=4).hex),
        ("uuid behind a word", lambda draw: f"customer-{uuid.UUID(int=draw.getrandbits(128), version=4)}"),
        *(
            (f"epoch in 1/{unit} s", lambda draw, unit=unit: str(draw.randrange(946_684_800 * unit, 2_208_988_800 * unit)))
            for unit in (1_000, 10**6, 10**9)
        ),
    ],
)
def test_fewer_than_one_in_a_thousand_ordinary_ids_are_touched(kind: str, make: Callable[[random.Random], str]) -> None:
    draw = random.Random(kind)
    ids = pl.Series([make(draw) for _ in range(50_000)])
    assert find_pans(ids).sum() < 50


def test_a_token_is_the_same_for_one_number_and_differs_by_key() -> None:
    key = TokenKey("k1", b"a secret of some length")
    assert key.token("4111-1111-1111-1111") == key.token("4111111111111111")
    assert key.token("4111111111111111").startswith(f"{TOKEN_PREFIX}k1_")
    assert key.token("4111111111111111") != TokenKey("k1", b"another secret of this length").token("4111111111111111")
    assert b"a secret" not in repr(key).encode()
    column, touched = tokenise(pl.Series("c", ["4111111111111111", None, "c7", "4111 1111 1111 1111"]), key)
    assert touched == 2
    assert column.to_list() == [key.token("4111111111111111"), None, "c7", key.token("4111111111111111")]
    assert not holds_pan(key.token("4111111111111111"))


@pytest.mark.parametrize(("name", "secret"), [("", b"x" * 16), ("two words", b"x" * 16), ("k" * 17, b"x" * 16), ("k", b"short")])
def test_a_key_that_is_none_is_refused(name: str, secret: bytes) -> None:
    with pytest.raises(InputError):
        TokenKey(name, secret)


def test_hiding_masks_long_digits_shortens_and_shows_control_characters() -> None:
    assert hide("ref 4111 1111 1111 1111 end") == "ref **** end"
    assert hide("411111111111") == "****"
    assert hide("tel 5550100") == "tel 5550100"
    assert hide("a\nb") == "a\\nb"
    assert len(hide("x" * 1_000)) == 60
    assert "4111" not in hide("y" * 59 + "4111111111111111")
