"""How fraud behaves: the strengths of its patterns, the mix of its schemes, and how both change with time (drift).

Values only: what a strength does to a row is in `schemes`. It draws nothing and reads no clock.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fraudloop.errors import InputError
from fraudloop.limits import SIMULATED_FRAUD_RATE_MAX, SIMULATED_FRAUD_RATE_MIN

CARD_TESTING: Final = "card_testing"
ACCOUNT_TAKEOVER: Final = "account_takeover"
LOST_OR_STOLEN: Final = "lost_or_stolen"
MERCHANT_COMPROMISE: Final = "merchant_compromise"
IMPOSSIBLE_TRAVEL: Final = "impossible_travel"
BUST_OUT: Final = "bust_out"

#: The schemes, in the order of their codes (1 to 6) in a row.
SCHEMES: Final = (CARD_TESTING, ACCOUNT_TAKEOVER, LOST_OR_STOLEN, MERCHANT_COMPROMISE, IMPOSSIBLE_TRAVEL, BUST_OUT)

DEFAULT_MIX: Final[Mapping[str, float]] = MappingProxyType(
    {CARD_TESTING: 0.18, ACCOUNT_TAKEOVER: 0.27, LOST_OR_STOLEN: 0.18, MERCHANT_COMPROMISE: 0.17, IMPOSSIBLE_TRAVEL: 0.08, BUST_OUT: 0.12}
)


class PatternError(InputError):
    """A strength of the fraud pattern is out of its range; the message names it and says what fits."""


def _check(name: str, value: float, low: float, high: float) -> None:
    if isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        raise PatternError(f"{name} = {value!r}: give a number from {low:g} to {high:g}", name=name, value=value)


@dataclass(frozen=True, slots=True)
class FraudPattern:
    """The strengths of fraud.

    amount_multiplier: a fraudulent purchase is this many times what the customer would pay there (median; 1 to 100;
        card testing pays small change whatever it is, and a bust-out climbs up to it).
    late_night_probability: share of fraud from 21:00 up to, not including, 05:00 by the customer's clock (0 to 1).
    foreign_probability: share of fraud at merchants outside the customer's home country (0 to 1).
    velocity_multiplier: how many times faster than usual the customer's purchases follow each other while a scheme
        runs (1 to 1000); each scheme has a pace of its own on top.
    mix: share of each scheme among the fraud that follows a scheme; missing ones are 0, shares are scaled to sum 1.
    quiet_share: share of fraud that follows no scheme: it takes an ordinary purchase as it is, and differs from
        genuine ones by night and foreign share alone (0 to 0.9).
    double_share: for each fraud of a scheme, how much genuine behaviour goes exactly the same way (0 to 1).

    >>> FraudPattern(amount_multiplier=2).foreign_probability
    0.6
    """

    amount_multiplier: float = 5.0
    late_night_probability: float = 0.7
    foreign_probability: float = 0.6
    velocity_multiplier: float = 10.0
    mix: Mapping[str, float] = field(default_factory=lambda: DEFAULT_MIX)
    quiet_share: float = 0.10
    double_share: float = 0.08

    def __post_init__(self) -> None:
        for name, (low, high) in STRENGTHS.items():
            _check(name, getattr(self, name), low, high)
        for scheme, share in self.mix.items():
            if scheme not in SCHEMES:
                raise PatternError(f"mix: there is no scheme {scheme!r}{_nearest(scheme, SCHEMES)}", name="mix", value=scheme)
            _check(f"mix: {scheme}", share, 0.0, 1e6)
        total = sum(self.mix.values())
        if total <= 0:
            raise PatternError("mix: give at least one scheme a share above 0", name="mix", value=dict(self.mix))
        object.__setattr__(self, "mix", MappingProxyType({scheme: self.mix.get(scheme, 0.0) / total for scheme in SCHEMES}))


#: Strength -> its range, both ends included.
STRENGTHS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "amount_multiplier": (1.0, 100.0),
        "late_night_probability": (0.0, 1.0),
        "foreign_probability": (0.0, 1.0),
        "velocity_multiplier": (1.0, 1000.0),
        "quiet_share": (0.0, 0.9),
        "double_share": (0.0, 1.0),
    }
)
assert set(STRENGTHS) | {"mix"} == {f.name for f in fields(FraudPattern)}


@dataclass(frozen=True, slots=True)
class Change:
    """From the start of `since` (UTC) on, these strengths, scheme shares or fraud rate replace the earlier ones.

    >>> parse_change("2025-09-01:amount_multiplier=2,foreign_probability=0.2").values["amount_multiplier"]
    2.0
    """

    since: date
    values: Mapping[str, float]

    def __post_init__(self) -> None:
        known = (*STRENGTHS, *SCHEMES, "fraud_rate")
        for name in self.values:
            if name not in known:
                raise PatternError(f"drift: there is no {name!r} to change{_nearest(name, known)}", name=name)

    def apply(self, pattern: FraudPattern, fraud_rate: float) -> tuple[FraudPattern, float]:
        """The pattern and fraud rate in force from `since` on. A scheme's value is its weight beside the present shares."""
        strengths = {name: value for name, value in self.values.items() if name in STRENGTHS}
        mix = {**pattern.mix, **{name: value for name, value in self.values.items() if name in SCHEMES}}
        return replace(pattern, mix=mix, **strengths), check_rate(self.values.get("fraud_rate", fraud_rate))


def check_rate(rate: float) -> float:
    """The rate itself, or a PatternError naming it."""
    _check("fraud_rate", rate, SIMULATED_FRAUD_RATE_MIN, SIMULATED_FRAUD_RATE_MAX)
    return float(rate)


def parse_values(text: str, where: str) -> dict[str, float]:
    """`name=value,name=value` as numbers.

    >>> parse_values("bust_out=1, card_testing=2", "mix")
    {'bust_out': 1.0, 'card_testing': 2.0}
    """
    values: dict[str, float] = {}
    for item in text.split(","):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not (name and equals):
            raise PatternError(f"{where}: {item.strip()!r} is not of the form name=value", name=where)
        if name in values:
            raise PatternError(f"{where}: {name} is given twice", name=where)
        try:
            values[name] = float(value)
        except ValueError:
            raise PatternError(f"{where}: {name} = {value!r} is not a number", name=name) from None
    return values


def parse_change(text: str) -> Change:
    """One `DATE:name=value,name=value` of the command line."""
    since, colon, rest = text.partition(":")
    if not colon:
        raise PatternError(f"drift {text!r}: write DATE:name=value,name=value, like 2025-09-01:amount_multiplier=2", name="drift")
    return Change(_date(since.strip(), text), parse_values(rest, "drift"))


def load_changes(path: Path) -> list[Change]:
    """Changes of a TOML file: a table for each date, `["2025-09-01"]`, holding `name = value`."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PatternError(f"drift file {path}: {error}", name="drift") from error
    changes = []
    for since, values in tables.items():
        if not isinstance(values, dict) or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values.values()):
            raise PatternError(f"drift file {path}: write a table of numbers for each date, like [2025-09-01]", name="drift")
        changes.append(Change(_date(since, str(path)), {name: float(value) for name, value in values.items()}))
    return changes


def read_changes(texts: Iterable[str]) -> tuple[Change, ...]:
    """Changes of the command line, each `DATE:name=value,...` or the path of a TOML file, in order of their dates."""
    changes = [change for text in texts for change in (load_changes(Path(text)) if text.endswith(".toml") else [parse_change(text)])]
    return tuple(sorted(changes, key=lambda change: change.since))


def _date(text: str, where: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise PatternError(f"drift {where!r}: {text!r} is not a date; write it like 2025-09-01", name="drift") from None


def _nearest(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
