"""Currencies and exact amounts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from fraudloop.domain.money import CURRENCIES, EXPONENTS, AmountError, exponent_of, from_minor, to_minor
from fraudloop.limits import AMOUNT_MINOR_MAX


@pytest.mark.parametrize(
    ("code", "exponent"),
    [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("ISK", 0), ("UGX", 0), ("MGA", 2), ("XAU", 0), ("HRK", 2), ("BYR", 0)],
)
def test_exponents_are_those_of_iso_4217(code: str, exponent: int) -> None:
    assert EXPONENTS[code] == exponent


def test_the_table_is_whole() -> None:
    current = [c for c in CURRENCIES.values() if c.current]
    assert len(current) == 178
    assert all(len(c.code) == 3 and c.code.isupper() and c.name and 0 <= c.exponent <= 4 for c in CURRENCIES.values())
    assert not CURRENCIES["BGN"].current
    assert exponent_of("QQQ") == exponent_of(None) == 2


@pytest.mark.parametrize(
    ("amount", "exponent", "minor"),
    [("57.16", 2, 5_716), (" +1. ", 2, 100), (".5", 2, 50), ("1E+2", 2, 10_000), ("1.50e-1", 2, 15), (Decimal("0.001"), 3, 1), (7, 0, 7), (-7, 2, -700),
     (57.16, 2, 5_716), (5 * 17.13, 2, 8_565), (0.1 + 0.2, 2, 30), ("-0", 2, 0), (10**13, 2, AMOUNT_MINOR_MAX)],
)  # fmt: skip
def test_amounts_become_minor_units_exactly(amount: str | int | float | Decimal, exponent: int, minor: int) -> None:
    assert to_minor(amount, exponent) == minor


@pytest.mark.parametrize(
    ("amount", "rule"),
    [("nan", "finite"), (float("-inf"), "finite"), (Decimal("NaN"), "finite"), ("", "format"), ("1,0", "format"), ("1 0", "format"), ("0.001", "finer"), (0.001, "finer"),
     ("1e-200", "finer"), ("10000000000000.01", "range"), (1e16, "range"), ("1e999", "range"), (10**14, "range")],
)  # fmt: skip
def test_what_is_no_amount_names_its_rule(amount: str | int | float | Decimal, rule: str) -> None:
    with pytest.raises(AmountError) as caught:
        to_minor(amount, 2)
    assert caught.value.fields["rule"] == rule


def test_text_has_all_decimals_of_its_currency() -> None:
    assert [from_minor(5, e) for e in range(5)] == ["5", "0.5", "0.05", "0.005", "0.0005"]
    assert from_minor(-123_456, 3) == "-123.456"
