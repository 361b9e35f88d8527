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

from fraudloop.compiled import njit, plain

# Named here too for those who take them from here.
from fraudloop.decisions.policy import ColdStart as ColdStart
from fraudloop.decisions.policy import ControlShare as ControlShare
from fraudloop.decisions.policy import DecisionPolicy as DecisionPolicy
from fraudloop.decisions.policy import Policy, tier_of
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

# Of payments of which something is not asked.
_UNKNOWN: Final = np.empty(0)
_NOBODY: Final = np.empty(0, bool)


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """What is known of n payments.

    score: float64 [n], calibrated, NaN where there is no model. rules: int8 [n], the severest outcome that live rules ask for;
    firm: the same of rules that no allow entry overrides; score_change: float64 [n], of rules. block, allow: bool [n], an entry of a
    list applies. lacks: uint8 [n], bits of LACKS. amount: float64 [n], units of the base currency, NaN unknown. history: float64 [n], the
    cold-start count, NaN unknown; None where the policy asks for none. draw: float64 [n] in [0, 1), of `draw`; None where it lets nobody through.
    degraded: bool [n], the state of its entities is gone, so that its features are not what they should be; None: of nobody. fallback: there
    is no model, and `rules` are of the fallback rules.
    """

    score: Floats
    rules: NDArray[np.int8]
    firm: NDArray[np.int8]
    score_change: Floats
    block: Bools
    allow: Bools
    lacks: NDArray[np.uint8]
    amount: Floats
    history: Floats | None = None
    draw: Floats | None = None
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
    >>> evidence = Evidence(0.95 * one, np.zeros(1, np.int8), np.zeros(1, np.int8), 0 * one, none, none, np.zeros(1, np.uint8), 50 * one)
    >>> Outcome(int(decide(evidence, DecisionPolicy(Policy())).outcome[0])).text
    'decline'
    """
    cold_start, control = policy.cold_start, policy.control
    assert cold_start is None or evidence.history is not None, "a policy with a cold start asks for the history"
    assert control is None or control.share == 0 or evidence.draw is not None, "a control share is drawn"
    n = len(evidence.score)
    found, flags, risk = np.empty((3, n), np.int8), np.empty((2, n), bool), np.empty(n)
    _decide(
        evidence.score,
        evidence.score_change,
        evidence.rules,
        evidence.firm,
        evidence.block,
        evidence.allow,
        evidence.lacks,
        evidence.amount,
        _UNKNOWN if cold_start is None or evidence.history is None else plain(evidence.history),  # it may be a column of vectors
        _UNKNOWN if control is None or evidence.draw is None else evidence.draw,
        _NOBODY if evidence.degraded is None else evidence.degraded,
        0.0 if cold_start is None else float(cold_start.below),
        0.0 if control is None else float(control.amount_max),
        0.0 if control is None else float(control.share),
        policy.bounds,
        policy.prices,
        evidence.fallback and policy.approves_without_model,
        found,
        flags,
        risk,
    )
    return Decisions(found[0], found[1], risk, found[2], flags[0], flags[1])


@njit
def _decide(
    score: Floats,
    change: Floats,
    rules: NDArray[np.int8],
    firm: NDArray[np.int8],
    block: Bools,
    allow: Bools,
    lacks: NDArray[np.uint8],
    amount: Floats,
    history: Floats,
    draws: Floats,
    degraded: Bools,
    below: float,
    amount_max: float,
    share: float,
    bounds: Floats,
    prices: Floats,
    approves: bool,
    found: NDArray[np.int8],
    flags: Bools,
    risks: Floats,
) -> None:
    """history, draws, degraded: empty where the policy asks for none, or nobody's is. below, amount_max, share: of cold start and control. found:
    outcome, tier, decided; flags: cold, control."""
    for at in range(len(score)):
        risk = score[at] + change[at]
        if risk < 0.0:
            risk = 0.0
        elif risk > 1.0:
            risk = 1.0
        cold = len(history) > 0 and not history[at] >= below
        tier = tier_of(risk, amount[at], cold, len(degraded) > 0 and degraded[at], bounds, prices, approves)
        lack = _REVIEW if lacks[at] != 0 else _APPROVE
        outcome, by = max(tier, lack, rules[at]), _TIER
        if rules[at] > 0 and rules[at] == outcome:
            by = _RULE
        elif lack > 0 and lack == outcome:
            by = _LACK
        # Only what the model alone stops: rules, lists and lacks are decisions of people, and stay.
        alone = tier > _APPROVE and rules[at] == 0 and lack == 0 and not allow[at] and not block[at] and risk == risk
        control = alone and amount[at] <= amount_max and share > 0.0 and draws[at] < share
        if control:
            outcome, by = _APPROVE, _CONTROL
        if allow[at]:
            stands = max(firm[at], lack)
            if outcome > stands:
                by = _ALLOW
            outcome = stands
        if block[at]:
            outcome, by = _DECLINE, _BLOCK
        found[0, at], found[1, at], found[2, at] = outcome, tier, by
        flags[0, at], flags[1, at], risks[at] = cold, control, risk


def draw(experiment: str, key: str, secret: bytes) -> float:
    """A number in [0, 1) for an experiment and a transaction or customer: always the same, evenly spread, and nobody without the
    secret (up to 64 bytes) can choose an id that falls where they want it.

    >>> 0 <= draw("control", "t1", b"k") < 1, draw("control", "t1", b"k") == draw("control", "t1", b"k")
    (True, True)
    """
    digest = blake2b(f"{len(experiment)}:{experiment}{key}".encode(), digest_size=8, key=secret).digest()
    return (int.from_bytes(digest, "little") >> 11) / 2.0**53


def warm() -> None:
    """Run the kernel once for each kind of array it is used with, so that its machine code is ready."""
    zeros, nobody, rank = np.zeros(1), np.zeros(1, bool), np.zeros(1, np.int8)
    nobody.flags.writeable = False  # as `Entries.look_up` gives it while no list holds anything
    for listed in (nobody, nobody.copy()):
        decide(Evidence(zeros, rank, rank, zeros, listed, listed, np.zeros(1, np.uint8), zeros), DecisionPolicy(Policy()))
