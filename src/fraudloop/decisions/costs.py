"""Which outcome costs least for a payment: from a calibrated chance of fraud, its amount, and what each mistake costs. Pure.

Costs are in units of the base currency. With p the chance, a the amount:

    approve   p · (missed_share · a + missed_fixed)
    review    review + review_price
    decline   (1 − p) · false_alarm

The least of the three is the choice of least expected cost (Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001, eq. 1;
with costs by example: Bahnsen et al., "Example-Dependent Cost-Sensitive Decision Trees", 2015). On a tie the milder one stands.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError

Floats = NDArray[np.float64]

#: Halvings of the interval that a price is sought in: from thousands down to below a cent.
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Costs:
    """false_alarm: of declining a genuine payment. review: of looking at one, whichever it is. missed_share: of its amount, that an
    approved fraud costs. missed_fixed: what it costs beside (the fee of a chargeback; what a tested card goes on to cost).
    review_capacity_a_day: reviews that analysts can do; None: any number. review_price: what a place in the queue is worth when it is
    scarce, added to `review`; `within_capacity` finds it.

    >>> Costs().thresholds(200.0)
    {'review': 0.0075, 'decline': 0.5}
    """

    false_alarm: float = 3.0
    review: float = 1.5
    missed_share: float = 1.0
    missed_fixed: float = 0.0
    review_price: float = 0.0
    review_capacity_a_day: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "review_capacity_a_day" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
                raise InputError(f"policy: costs.{field.name} = {value!r} must be a number, 0 or more", key=f"costs.{field.name}")
            object.__setattr__(self, field.name, float(value))
        if self.false_alarm == 0:
            raise InputError("policy: costs.false_alarm must be above 0: if declining cost nothing, everything would be declined")
        if self.missed_share == 0 and self.missed_fixed == 0:
            raise InputError("policy: costs.missed_share or costs.missed_fixed must be above 0: else a missed fraud costs nothing")

    def expected(self, chance: Floats, amount: Floats) -> Floats:
        """What approve, review and decline cost on average, float64 [3, n]."""
        return np.stack(
            [
                chance * (self.missed_share * np.abs(amount) + self.missed_fixed),
                np.full(len(chance), self.review + self.review_price),
                (1.0 - chance) * self.false_alarm,
            ]
        )

    def tiers(self, chance: Floats, amount: Floats) -> NDArray[np.int8]:
        """The outcome of least expected cost, int8 [n] of Outcome. A chance or amount that is NaN gives REVIEW."""
        costs = self.expected(chance, amount)
        out = _OUTCOMES[np.argmin(costs, axis=0)]
        return np.where(np.isnan(chance) | np.isnan(amount), np.int8(Outcome.REVIEW), out).astype(np.int8)

    def thresholds(self, amount: float) -> dict[str, float | None]:
        """Above which chance a payment of this amount is reviewed, and above which it is declined; None where it never is reviewed."""
        missed = self.missed_share * abs(amount) + self.missed_fixed
        looking = self.review + self.review_price
        reviewed = looking / missed if missed > 0 else math.inf
        over_review = 1.0 - looking / self.false_alarm
        if reviewed < over_review:
            return {"review": reviewed, "decline": over_review}
        return {"review": None, "decline": self.false_alarm / (self.false_alarm + missed)}

    def within_capacity(self, chance: Floats, amount: Floats, days: float) -> Costs:
        """These costs with the least `review_price` (to within a cent) at which these payments of so many days give no more reviews a
        day than `review_capacity_a_day`: the multiplier of that constraint, so what is left in the queue is what most deserves it.

        >>> rng = np.random.default_rng(1)
        >>> priced = Costs(review_capacity_a_day=20).within_capacity(rng.beta(1, 60, 10_000), rng.gamma(2, 40, 10_000), 10)
        >>> priced.review_price > 0
        True
        """
        if days <= 0:
            raise InputError("policy: the payments must span some time")
        free = replace(self, review_price=0.0)
        if self.review_capacity_a_day is None or free._reviews(chance, amount) <= self.review_capacity_a_day * days:
            return free
        low, high = 0.0, max(self.false_alarm, float(np.nanmax(free.expected(chance, amount)[0], initial=0.0)))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2.0
            if replace(self, review_price=middle)._reviews(chance, amount) > self.review_capacity_a_day * days:
                low = middle
            else:
                high = middle
        return replace(self, review_price=math.ceil(high * 100.0) / 100.0)

    def _reviews(self, chance: Floats, amount: Floats) -> int:
        return int(np.count_nonzero(self.tiers(chance, amount) == Outcome.REVIEW))

    def to_dict(self) -> dict[str, float]:
        """Plain data, the inverse of :meth:`from_dict`."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Costs:
        """Of a table whose keys are known."""
        return Costs(**data)


_OUTCOMES = np.array([Outcome.APPROVE, Outcome.REVIEW, Outcome.DECLINE], np.int8)
