"""The policy: which score leads to which outcome. Pure; it knows neither where a score comes from nor rules.

Scores are calibrated, so a threshold is a chance: `decline = 0.9` declines what is fraud in at least nine of ten cases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError


@dataclass(frozen=True, slots=True)
class Policy:
    """Tiers of a score: above `decline` it is DECLINE, above `review` REVIEW, above `challenge` (where set) CHALLENGE,
    else APPROVE. A score equal to a threshold stays below it. A score that is not there is REVIEW: nobody has looked.

    >>> policy = Policy(decline=0.9, review=0.5)
    >>> [policy.tier(score).text for score in (0.2, 0.5, 0.51, 0.95)]
    ['approve', 'approve', 'review', 'decline']
    """

    decline: float = 0.9
    review: float = 0.5
    challenge: float | None = None

    def __post_init__(self) -> None:
        given = [("decline", self.decline), ("review", self.review)]
        if self.challenge is not None:
            given.append(("challenge", self.challenge))
        for name, value in given:
            if not (math.isfinite(value) and 0.0 <= value <= 1.0):
                raise InputError(f"policy: {name} = {value} must be from 0 to 1")
        for (upper, high), (lower, low) in pairwise(given):
            if low > high:
                raise InputError(f"policy: {lower} = {low} must not be above {upper} = {high}")

    def tier(self, score: float | None) -> Outcome:
        """The outcome of one score (None or NaN: no score)."""
        return Outcome(int(self.tiers(np.array([math.nan if score is None else score]))[0]))

    def tiers(self, scores: NDArray[np.float64]) -> NDArray[np.int8]:
        """The outcomes of n scores as the integers of `Outcome`, int8 [n]."""
        out = np.full(len(scores), int(Outcome.APPROVE), np.int8)
        if self.challenge is not None:
            out[scores > self.challenge] = Outcome.CHALLENGE
        out[scores > self.review] = Outcome.REVIEW
        out[scores > self.decline] = Outcome.DECLINE
        out[np.isnan(scores)] = Outcome.REVIEW
        return out

    def to_dict(self) -> dict[str, float | None]:
        """Plain data, the inverse of :meth:`from_dict`."""
        return {"decline": self.decline, "review": self.review, "challenge": self.challenge}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Policy:
        """The policy that `decline`, `review` and `challenge` of a table describe; other keys are left alone."""
        try:
            challenge = data.get("challenge")
            return Policy(float(data["decline"]), float(data["review"]), None if challenge is None else float(challenge))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"policy: {error!s} is missing or not a number; decline and review are needed") from error
