"""From evidence to outcome: score, rules and lists of n payments become n decisions. Pure, by arrays, each row alone.

Order of authority (docs/semantics.md, "From evidence to outcome"): a block entry > an allow entry > the severest of the
live rules, the policy's tier and what the payment itself lacks. An allow entry overrides the model and the rules that
may be overridden; a rule that may not be stands, and so does REVIEW for a payment that lacks something. Of what then would be stopped by the model alone, a control share is let through,
so that labels are seen there too; chance is a keyed hash given from outside, never drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.policy import Policy
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: What a payment itself lacks, as bits, and the code of the reason that each gives. Each asks for REVIEW at least.
LACKS: Final[Mapping[str, int]] = {"missing_critical": 1, "no_rate": 2, "too_late": 4, "too_early": 8}


class Decided(IntEnum):
    """What settled a decision, for its explanation; the weakest first."""

    TIER = 0
    LACK = 1
    RULE = 2
    ALLOW = 3
    CONTROL = 4
    BLOCK = 5


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Stricter tiers for whoever has little history: fewer than `below` payments in the feature `count` (or none known).

    count: a count feature of the customer. policy: the tiers that apply.
    """

    count: str
    below: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class ControlShare:
    """The share of payments, of those that the model alone would stop, that is let through to see what becomes of them.

    share: from 0 to 0.5. amount_max: units of the base currency above which nothing is let through. experiment: names the draw:
    another name draws others.
    """

    share: float
    amount_max: float
    experiment: str = "control"

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 0.5:
            raise InputError(f"policy: control share = {self.share} must be from 0 to 0.5")
        if not (math.isfinite(self.amount_max) and self.amount_max >= 0):
            raise InputError(f"policy: control amount_max = {self.amount_max} must be 0 or more")


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """Everything in a policy that a decision reads. tiers: of those with a history."""

    tiers: Policy
    cold_start: ColdStart | None = None
    control: ControlShare | None = None

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "policy") -> DecisionPolicy:
        """Of a table with `decline`, `review`, `challenge`, and tables `cold_start` and `control`; InputError names the key.

        >>> policy = DecisionPolicy.from_dict({"decline": 0.9, "review": 0.5, "control": {"share": 0.01, "amount_max": 200}})
        >>> policy.control.share
        0.01
        """
        known = ("decline", "review", "challenge", "cold_start", "control")
        for key in data:
            if key not in known:
                close = get_close_matches(key, known, n=1, cutoff=0.5)
                raise InputError(f"{where}: unknown key {key!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        tiers = Policy.from_dict(data)
        cold, control = data.get("cold_start"), data.get("control")
        try:
            cold_start = None if cold is None else ColdStart(str(cold["count"]), int(cold["below"]), Policy.from_dict(cold))
            share = (
                None
                if control is None
                else ControlShare(float(control["share"]), float(control["amount_max"]), str(control.get("experiment", "control")))
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: cold_start needs count, below, decline and review, control needs share and amount_max ({error})"
            ) from error
        if cold_start is not None and (cold_start.policy.decline > tiers.decline or cold_start.policy.review > tiers.review):
            raise InputError(f"{where}: cold_start must not be milder than the tiers of those with a history")
        return DecisionPolicy(tiers, cold_start, share)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`."""
        out: dict[str, Any] = dict(self.tiers.to_dict())
        if self.cold_start is not None:
            out["cold_start"] = {"count": self.cold_start.count, "below": self.cold_start.below, **self.cold_start.policy.to_dict()}
        if self.control is not None:
            out["control"] = {"share": self.control.share, "amount_max": self.control.amount_max, "experiment": self.control.experiment}
        return out


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of n payments.

    score: float64 [n], calibrated, NaN where there is no model. rules: int8 [n], the severest outcome that live rules ask for;
    firm: the same of rules that no allow entry overrides; score_change: float64 [n], of rules. block, allow: bool [n], an entry of a
    list applies. lacks: uint8 [n], bits of LACKS. history: float64 [n], the cold-start count, NaN unknown. amount: float64 [n],
    units of the base currency, NaN unknown. draw: float64 [n] in [0, 1), of `draws`.
    """

    score: Floats
    rules: NDArray[np.int8]
    firm: NDArray[np.int8]
    score_change: Floats
    block: Bools
    allow: Bools
    lacks: NDArray[np.uint8]
    history: Floats
    amount: Floats
    draw: Floats


@dataclass(frozen=True, slots=True)
class Decisions:
    """outcome, tier: int8 [n] of Outcome; `tier` is the policy's alone. risk_score: float64 [n], NaN without a score. decided:
    int8 [n] of Decided. cold: bool [n], the stricter tiers applied. control: bool [n], let through for control."""

    outcome: NDArray[np.int8]
    tier: NDArray[np.int8]
    risk_score: Floats
    decided: NDArray[np.int8]
    cold: Bools
    control: Bools


def decide(evidence: Evidence, policy: DecisionPolicy) -> Decisions:
    """The outcome of each payment.

    >>> one, none = np.ones(1), np.zeros(1, bool)
    >>> evidence = Evidence(0.95 * one, np.zeros(1, np.int8), np.zeros(1, np.int8), 0 * one, none, none, np.zeros(1, np.uint8), 9 * one, 50 * one, 0.5 * one)
    >>> Outcome(int(decide(evidence, DecisionPolicy(Policy())).outcome[0])).text
    'decline'
    """
    risk = np.clip(evidence.score + evidence.score_change, 0.0, 1.0)
    tier = policy.tiers.tiers(risk)
    cold = np.zeros(len(risk), bool)
    if policy.cold_start is not None:
        cold = ~(evidence.history >= policy.cold_start.below)  # an unknown history is none
        tier = np.where(cold, policy.cold_start.policy.tiers(risk), tier).astype(np.int8)
    lack = np.where(evidence.lacks != 0, np.int8(Outcome.REVIEW), np.int8(Outcome.APPROVE))
    outcome = np.maximum(np.maximum(tier, lack), evidence.rules)
    decided = np.select(
        [(evidence.rules == outcome) & (evidence.rules > 0), (lack == outcome) & (lack > 0)],
        [int(Decided.RULE), int(Decided.LACK)],
        int(Decided.TIER),
    )
    control = np.zeros(len(risk), bool)
    if policy.control is not None:
        # Only what the model alone stops: rules, lists and lacks are decisions of people, and stay.
        alone = (tier > Outcome.APPROVE) & (evidence.rules == 0) & (lack == 0) & ~evidence.allow & ~evidence.block & ~np.isnan(risk)
        control = alone & (evidence.amount <= policy.control.amount_max) & (evidence.draw < policy.control.share)
    outcome = np.where(control, np.int8(Outcome.APPROVE), outcome)
    decided = np.where(control, int(Decided.CONTROL), decided)
    stands = np.maximum(evidence.firm, lack)
    overridden = evidence.allow & (outcome > stands)
    outcome = np.where(evidence.allow, stands, outcome)
    decided = np.where(overridden, int(Decided.ALLOW), decided)
    outcome = np.where(evidence.block, np.int8(Outcome.DECLINE), outcome)
    decided = np.where(evidence.block, int(Decided.BLOCK), decided)
    return Decisions(outcome.astype(np.int8), tier, risk, decided.astype(np.int8), cold, control)


def draw(experiment: str, key: str, secret: bytes) -> float:
    """A number in [0, 1) for an experiment and a transaction or customer: always the same, evenly spread, and nobody without the
    secret (up to 64 bytes) can choose an id that falls where they want it.

    >>> 0 <= draw("control", "t1", b"k") < 1, draw("control", "t1", b"k") == draw("control", "t1", b"k")
    (True, True)
    """
    digest = blake2b(f"{len(experiment)}:{experiment}{key}".encode(), digest_size=8, key=secret).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2.0**53
