"""From evidence to outcome: score, rules and lists of n payments become n decisions. Pure, by arrays, each row alone.

Order of authority (docs/semantics.md, "From evidence to outcome"): a block entry > an allow entry > the severest of the
live rules, the policy's tier and what the payment itself lacks. An allow entry overrides the model and the rules that
may be overridden; a rule that may not be stands, and so does REVIEW for a payment that lacks something. Of what then would be
stopped by the model alone, a control share is let through, so that labels are seen there too; chance is a keyed hash given from outside, never drawn here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit

# Named here too for those who take them from here.
from fraudloop.decisions.policy import ColdStart as ColdStart
from fraudloop.decisions.policy import ControlShare as ControlShare
from fraudloop.decisions.policy import DecisionPolicy as DecisionPolicy
from fraudloop.decisions.policy import Policy
from fraudloop.domain.outcome import Outcome

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


# As the kernel reads them.
_APPROVE, _REVIEW, _DECLINE = int(Outcome.APPROVE), int(Outcome.REVIEW), int(Outcome.DECLINE)
_TIER, _LACK, _RULE, _ALLOW, _CONTROL, _BLOCK = (int(one) for one in Decided)


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """What is known of n payments.

    score: float64 [n], calibrated, NaN where there is no model. rules: int8 [n], the severest outcome that live rules ask for;
    firm: the same of rules that no allow entry overrides; score_change: float64 [n], of rules. block, allow: bool [n], an entry of a
    list applies. lacks: uint8 [n], bits of LACKS. history: float64 [n], the cold-start count, NaN unknown. amount: float64 [n],
    units of the base currency, NaN unknown. draw: float64 [n] in [0, 1), of `draw`. degraded: bool [n], the state of its entities is
    gone, so that its features are not what they should be. fallback: there is no model, and `rules` are of the fallback rules.
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
    degraded: Bools | None = None
    fallback: bool = False


class Decisions(msgspec.Struct, frozen=True, gc=False):
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

    >>> from fraudloop.decisions.policy import Policy
    >>> one, none = np.ones(1), np.zeros(1, bool)
    >>> evidence = Evidence(0.95 * one, np.zeros(1, np.int8), np.zeros(1, np.int8), 0 * one, none, none, np.zeros(1, np.uint8), 9 * one, 50 * one, 0.5 * one)
    >>> Outcome(int(decide(evidence, DecisionPolicy(Policy())).outcome[0])).text
    'decline'
    """
    n = len(evidence.score)
    risk, cold = np.empty(n), np.zeros(n, bool)
    _weigh(
        evidence.score,
        evidence.score_change,
        np.ascontiguousarray(evidence.history),  # a column of vectors, perhaps; the kernel is compiled for one kind of array and number
        -np.inf if policy.cold_start is None else float(policy.cold_start.below),
        risk,
        cold,
    )
    degraded = np.zeros(n, bool) if evidence.degraded is None else evidence.degraded
    tier = policy.tier(risk, evidence.amount, cold, degraded, evidence.fallback)
    outcome, decided, control = np.empty(n, np.int8), np.empty(n, np.int8), np.empty(n, bool)
    share, amount_max = (0.0, 0.0) if policy.control is None else (policy.control.share, policy.control.amount_max)
    _settle(
        risk, tier, evidence.rules, evidence.firm, evidence.block, evidence.allow, evidence.lacks, evidence.amount, evidence.draw, share, amount_max, outcome, decided, control,
    )  # fmt: skip
    return Decisions(outcome, tier, risk, decided, cold, control)


@njit
def _weigh(score: Floats, change: Floats, history: Floats, below: float, risk: Floats, cold: Bools) -> None:
    """Scores as rules changed them, within 0 and 1; and whose history is short, or unknown. below: minus infinity, nobody's is."""
    for at in range(len(score)):
        risk[at] = score[at] + change[at]
        if risk[at] < 0.0:
            risk[at] = 0.0
        elif risk[at] > 1.0:
            risk[at] = 1.0
        cold[at] = below > -np.inf and not history[at] >= below


@njit
def _settle(
    risk: Floats,
    tier: NDArray[np.int8],
    rules: NDArray[np.int8],
    firm: NDArray[np.int8],
    block: Bools,
    allow: Bools,
    lacks: NDArray[np.uint8],
    amount: Floats,
    draw: Floats,
    share: float,
    amount_max: float,
    outcome: NDArray[np.int8],
    decided: NDArray[np.int8],
    control: Bools,
) -> None:
    for at in range(len(risk)):
        lack = _REVIEW if lacks[at] != 0 else _APPROVE
        found = max(tier[at], lack, rules[at])
        by = _TIER
        if rules[at] > 0 and rules[at] == found:
            by = _RULE
        elif lack > 0 and lack == found:
            by = _LACK
        # Only what the model alone stops: rules, lists and lacks are decisions of people, and stay.
        alone = tier[at] > _APPROVE and rules[at] == 0 and lack == 0 and not allow[at] and not block[at] and risk[at] == risk[at]
        control[at] = alone and amount[at] <= amount_max and draw[at] < share
        if control[at]:
            found, by = _APPROVE, _CONTROL
        if allow[at]:
            stands = max(firm[at], lack)
            if found > stands:
                by = _ALLOW
            found = stands
        if block[at]:
            found, by = _DECLINE, _BLOCK
        outcome[at], decided[at] = found, by


def draw(experiment: str, key: str, secret: bytes) -> float:
    """A number in [0, 1) for an experiment and a transaction or customer: always the same, evenly spread, and nobody without the
    secret (up to 64 bytes) can choose an id that falls where they want it.

    >>> 0 <= draw("control", "t1", b"k") < 1, draw("control", "t1", b"k") == draw("control", "t1", b"k")
    (True, True)
    """
    digest = blake2b(f"{len(experiment)}:{experiment}{key}".encode(), digest_size=8, key=secret).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2.0**53


def warm() -> None:
    """Run the kernel once, so that its machine code is ready."""
    zeros, none = np.zeros(1), np.zeros(1, bool)
    rank = np.zeros(1, np.int8)
    decide(Evidence(zeros, rank, rank, zeros, none, none, np.zeros(1, np.uint8), zeros, zeros, zeros), DecisionPolicy(Policy()))
