"""Card numbers (PANs): finding them in text, replacing them by tokens in ids, hiding them in messages.

A PAN is a run of 13 to 19 digits, separators stripped, that passes Luhn and has an issuer range and length that a card
scheme uses (ISO/IEC 7812; the ranges are the schemes' published ones). Lengths that a scheme allows but does not issue
are left out on purpose: with them ordinary 17- and 18-digit ids would be taken for cards. It never prints a number.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from fraudloop.errors import InputError

# (first digits as a regular expression, lengths). Longest prefixes need not come first: lengths decide.
_SCHEMES: Final = (
    ("4", (13, 16, 19)),  # Visa
    ("5[1-5]", (16,)),  # Mastercard
    ("(?:222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)", (16,)),  # Mastercard since 2017
    ("3[47]", (15,)),  # American Express
    ("(?:30[0-5]|3095|36|3[89])", (14, 16)),  # Diners Club
    ("(?:6011|64[4-9]|65)", (16, 19)),  # Discover; RuPay, Elo, Troy and Verve share 65
    ("35(?:2[89]|[3-8][0-9])", (16, 19)),  # JCB
    ("(?:62|81[0-6])", (16, 19)),  # UnionPay
    ("(?:5018|5020|5038|5893|6304|6759|676[1-37]|6390|0604)", (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    ("220[0-4]", (16, 19)),  # Mir
    ("(?:60|82|508)", (16,)),  # RuPay
    ("(?:506(?:099|1[0-8][0-9]|19[0-8])|507(?:86[5-9]|8[7-9][0-9]|9[0-5][0-9]|96[0-4]))", (16, 19)),  # Verve
    ("(?:5019|4571)", (16,)),  # Dankort
    ("9792", (16,)),  # Troy
    ("63[7-9]", (16,)),  # InstaPayment
)

DIGITS_MIN: Final = 13
DIGITS_MAX: Final = 19


def _pattern(prefix: str, length: int) -> str:
    """Digits of one length that begin with a prefix, as a pattern that needs no look-around."""
    return rf"(?=({prefix})[0-9]*$)[0-9]{{{length}}}"


_ISSUED: Final = re.compile("|".join(_pattern(prefix, length) for prefix, lengths in _SCHEMES for length in lengths))

# A run of digits that single separators may break: what could hold a PAN. The engine of polars knows no look-around,
# so the cheap test is one-sided and every hit is looked at again.
_RUN: Final = r"[0-9](?:[ ._-]?[0-9]){12,}"

#: Found wherever `holds_pan` is true, and sometimes elsewhere.
MAY_HOLD_PAN: Final = re.compile(_RUN)
_ISSUER: Final = "^(?:" + "|".join(prefix for prefix, _ in _SCHEMES) + ")"
_RUNS: Final = re.compile(r"[0-9](?:[ ._-]?[0-9])*")
_SEPARATORS: Final = re.compile(r"[ ._-]")
_LONG_RUN: Final = re.compile(r"[0-9](?:[ ._-]?[0-9]){11,}")
# A UUID is never a card number, though some are all digits in places.
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
# Days and times have separators too, and 14 or more digits with them.
_DATE: Final = re.compile(r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])")
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

#: The tokens' key where none is set: tokens are the same on every machine, so they hide a number from the eye, not
#: from someone who tries all numbers. Its id stands in each token.
DEFAULT_TOKEN_SECRET: Final = b"fraudloop tokens, no secret"
TOKEN_PREFIX: Final = "tok_"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """The key of tokens: `id` stands in each token so that keys can be changed; `secret` is never shown."""

    id: str = "default"
    secret: bytes = field(default=DEFAULT_TOKEN_SECRET, repr=False)

    def __post_init__(self) -> None:
        """InputError unless the id is 1 to 16 letters or digits and the secret has 16 bytes at least."""
        if not re.fullmatch(r"[A-Za-z0-9]{1,16}", self.id):
            raise InputError("the id of a token key is 1 to 16 letters or digits")
        if len(self.secret) < 16:
            raise InputError("the secret of a token key has at least 16 bytes")

    @property
    def is_default(self) -> bool:
        """Whether this is the key that everybody has."""
        return self.secret == DEFAULT_TOKEN_SECRET

    def token(self, text: str) -> str:
        """The token of a text: HMAC-SHA-256, 128 bits, of the text with separators stripped; the same for one number
        however it is written.

        >>> TokenKey().token("4111 1111 1111 1111") == TokenKey().token("4111111111111111")
        True
        """
        digest = hmac.new(self.secret, _SEPARATORS.sub("", text).encode(), hashlib.sha256).hexdigest()[:32]
        return f"{TOKEN_PREFIX}{self.id}_{digest}"


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B).

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    numbers = [ord(c) - 48 for c in digits]
    return (sum(numbers[-1::-2]) + sum(_DOUBLED[n] for n in numbers[-2::-2])) % 10 == 0


def is_pan(digits: str) -> bool:
    """Whether a text of ASCII digits alone is a card number.

    >>> is_pan("378282246310005"), is_pan("1541815603606036480")
    (True, False)
    """
    return DIGITS_MIN <= len(digits) <= DIGITS_MAX and _ISSUED.fullmatch(digits) is not None and luhn(digits)


def holds_pan(text: str) -> bool:
    """Whether a card number stands in a text: a whole run of digits, or whole groups of one that separators break.

    >>> holds_pan("card 4111-1111-1111-1111, thanks"), holds_pan("2024-11-22 41111")
    (True, False)
    """
    if _UUID.fullmatch(text):
        return False
    for run in _RUNS.findall(text):
        groups = _SEPARATORS.split(run)
        if sum(map(len, groups)) < DIGITS_MIN:
            continue
        for first in range(len(groups)):
            digits = ""
            for group in groups[first:]:
                digits += group
                if len(digits) > DIGITS_MAX:
                    break
                if is_pan(digits) and (len(groups) == 1 or not _DATE.search(run)):
                    return True
    return False


def hide(text: str, most: int = 60) -> str:
    """A value for a report: every run of 12 or more digits masked, shortened, line breaks shown.

    >>> hide("card 4111 1111 1111 1111")
    'card ****'
    """
    masked = _LONG_RUN.sub("****", text[: 20 * most])
    masked = masked.encode("unicode_escape").decode("ascii") if any(not c.isprintable() for c in masked) else masked
    return masked if len(masked) <= most else f"{masked[: most - 3]}..."


def may_hold_pan(column: pl.Expr) -> pl.Expr:
    """A cheap Boolean test of a String column that is true wherever `holds_pan` is, and sometimes elsewhere."""
    length = column.str.len_bytes()
    plain = column.str.contains("^[0-9]+$")
    return (length >= DIGITS_MIN) & pl.when(plain).then((length <= DIGITS_MAX) & column.str.contains(_ISSUER)).otherwise(
        column.str.contains(_RUN)
    )


def find_pans(values: pl.Series) -> pl.Series:
    """Which values of a String column hold a card number: Boolean [n], False for null."""
    name = values.name or "v"
    frame = values.alias(name).to_frame()
    likely = frame.select(may_hold_pan(pl.col(name)).fill_null(False)).to_series()
    if not likely.any():
        return likely
    candidates = values.filter(likely)
    candidates = candidates.filter(~candidates.str.contains(f"^{_UUID.pattern}$")).unique()
    pans = [v for v in candidates.to_list() if holds_pan(v)]
    if not pans:
        return pl.repeat(False, len(values), dtype=pl.Boolean, eager=True)
    return values.is_in(pans).fill_null(False)


def tokenise(values: pl.Series, key: TokenKey) -> tuple[pl.Series, int]:
    """The column with every value that holds a card number replaced by its token, and how many were."""
    found = find_pans(values)
    touched = int(found.sum())
    if not touched:
        return values, 0
    pans = values.filter(found).unique()
    tokens = pl.Series([key.token(v) for v in pans.to_list()], dtype=pl.String)
    return values.replace(pans, tokens), touched
