"""A canary beside the champion: outcome rates, scores and precision of both as running sums, and a verdict that may be looked at any time. Pure.

Who belongs to the canary is a draw of the customer (`decisions.decide.draw`), so all payments of a customer are on one side, and payments
are no independent samples. The draw therefore also sorts customers into GROUPS groups on each side, and the variance of a rate is that
between groups (random groups: Wolter, "Introduction to Variance Estimation", 2nd ed. 2007, ch. 2, in the linearised form for ratios):

    r = Σ y_g / Σ n_g        V(r) = G/(G−1) · Σ (y_g − r n_g)² / (Σ n_g)²,   and never less than r (1 − r) / n

The verdict is looked at after every batch. An ordinary interval would call a good canary worse sooner or later; the interval here holds at all
times together (normal mixture: Johari, Koomen, Pekelis, Walsh, "Always Valid Inference", Operations Research 70 (2022), eq. 12), with
d the difference of two rates, V its variance and τ² the variance of the mixture:

    |d − true| < sqrt( V (V + τ²) / τ² · (ln((V + τ²) / V) − 2 ln α) )       p = min over time of sqrt((V + τ²)/V) · exp(−τ² d² / (2 V (V + τ²)))

V is estimated, so this holds from about a thousand payments on, which is what `payments_min` waits for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CHAMPION: Final = 0
CANARY: Final = 1

#: Groups of customers a side: 63 degrees of freedom, at which an interval of the normal distribution is 2 % too narrow.
GROUPS: Final = 64

_OUTCOMES: Final = len(Outcome)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much worse a canary may be. stop_rise_max, stop_fall_max: by how much of all payments more or fewer it may review or decline.
    decline_rise_max: decline more. precision_fall_max: by how much its share of fraud, among what it stops and labels know, may be lower.
    payments_min: of the canary, before a verdict. labels_min: stopped payments with a label on each side, before precision counts.
    alpha: the chance that a canary that is within all bounds is ever called worse."""

    stop_rise_max: float = 0.01
    stop_fall_max: float = 0.01
    decline_rise_max: float = 0.005
    precision_fall_max: float = 0.1
    payments_min: int = 1_000
    labels_min: int = 50
    alpha: float = 0.05

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < (1 if isinstance(field.default, float) else math.inf):
                raise InputError(
                    f"canary: {field.name} = {value} must be above 0" + (" and below 1" if isinstance(field.default, float) else "")
                )


@dataclass(frozen=True, slots=True)
class Difference:
    """One rate of both sides. canary, champion: the rate. low, high: of canary − champion, at all times together; p: always valid, that it
    is 0; z_p: the ordinary two-sided one, for whoever looks once. lower_bound, upper_bound: what the difference must keep to. verdict: of it."""

    name: str
    canary: float | None
    champion: float | None
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    z_p: float | None
    lower_bound: float
    upper_bound: float
    verdict: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """verdict: `worse` if any difference is surely beyond its bound, `ok` if all are surely within, else `waiting`; why says so in words.
    payments: of canary and champion. outcomes: shares by side and outcome. score_mean: by side, None without scores."""

    verdict: str
    why: str
    payments: tuple[int, int]
    outcomes: dict[str, dict[str, float | None]]
    score_mean: dict[str, float | None]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class Canary:
    """The running sums. share: of customers, that the canary decides.

    >>> canary = Canary(0.5)
    >>> draws = np.array([0.1, 0.6])
    >>> canary.sides(draws).tolist()
    [True, False]
    >>> canary.note(draws, np.array([0, 3], np.int8), np.array([0.01, 0.97]))
    >>> canary.compare(Bounds()).verdict
    'waiting'
    """

    def __init__(self, share: float) -> None:
        if not 0 < share <= 0.5:
            raise InputError(f"canary: share = {share} must be above 0 and at most 0.5")
        self.share = share
        #: [side, group, outcome]: payments.
        self.counts = np.zeros((2, GROUPS, _OUTCOMES), np.int64)
        #: [side, group, (payments with a score, their sum)].
        self.scores = np.zeros((2, GROUPS, 2))
        #: [side, group, (stopped and labelled, of these fraud)].
        self.labelled = np.zeros((2, GROUPS, 2), np.int64)
        #: The least p so far by difference: what has been seen stays seen.
        self.least_p: dict[str, float] = {}

    def sides(self, draws: Floats) -> Bools:
        """Which draws of customers belong to the canary, bool [n]; NaN (no customer) does not."""
        return draws < self.share

    def note(self, draws: Floats, outcomes: NDArray[np.int8], scores: Floats) -> None:
        """Count a batch. draws: of the customers, float64 [n]; payments without one (NaN) count for neither side. scores: NaN for none."""
        place, known = self._places(draws)
        if not known.all():
            outcomes, scores = outcomes[known], scores[known]
        size = 2 * GROUPS
        self.counts += np.bincount(place * _OUTCOMES + outcomes, minlength=size * _OUTCOMES).reshape(self.counts.shape)
        scored = ~np.isnan(scores)
        self.scores[:, :, 0] += np.bincount(place[scored], minlength=size).reshape(2, GROUPS)
        self.scores[:, :, 1] += np.bincount(place[scored], scores[scored], minlength=size).reshape(2, GROUPS)

    def label(self, draw: float, outcome: int, is_fraud: bool, *, was: bool | None = None) -> None:
        """A label of a payment of this time came, or changed from what it `was`."""
        if outcome < Outcome.REVIEW or math.isnan(draw):
            return
        side, group = divmod(int(self._places(np.array([draw]))[0][0]), GROUPS)
        if was is None:
            self.labelled[side, group, 0] += 1
        self.labelled[side, group, 1] += int(is_fraud) - int(was or False)

    def compare(self, bounds: Bounds) -> Comparison:
        """How the canary stands."""
        payments = self.counts.sum(axis=2)
        stopped = self.counts[:, :, Outcome.REVIEW :].sum(axis=2)
        declined = self.counts[:, :, Outcome.DECLINE]
        alpha = bounds.alpha / 3  # three differences (Bonferroni)
        enough = int(payments[CANARY].sum()) >= bounds.payments_min and int(payments[CHAMPION].sum()) >= bounds.payments_min
        labels = int(self.labelled[:, :, 0].sum(axis=1).min()) >= bounds.labels_min
        found = (
            self._difference("stop", stopped, payments, -bounds.stop_fall_max, bounds.stop_rise_max, alpha, enough),
            self._difference("decline", declined, payments, -1.0, bounds.decline_rise_max, alpha, enough),
            self._difference(
                "precision", self.labelled[:, :, 1], self.labelled[:, :, 0], -bounds.precision_fall_max, 1.0, alpha, enough and labels
            ),
        )
        verdict, why = _verdict(found, int(payments[CANARY].sum()), bounds, labels)
        totals = self.counts.sum(axis=1)
        names = ("champion", "canary")
        scored = self.scores.sum(axis=1)
        return Comparison(
            verdict, why, (int(totals[CANARY].sum()), int(totals[CHAMPION].sum())),
            {name: {o.text: _share(totals[side, o], totals[side].sum()) for o in Outcome} for side, name in enumerate(names)},
            {name: _share(scored[side, 1], scored[side, 0]) for side, name in enumerate(names)}, found,
        )  # fmt: skip

    def _difference(
        self, name: str, hits: NDArray[Any], of: NDArray[Any], low: float, high: float, alpha: float, enough: bool
    ) -> Difference:
        sides = [_ratio(hits[side], of[side]) for side in (CHAMPION, CANARY)]
        if any(side is None for side in sides):
            rates = [None if side is None else side[0] for side in sides]
            return Difference(name, rates[1], rates[0], None, None, None, None, None, low, high, "waiting")
        (champion, champion_v), (canary, canary_v) = sides  # type: ignore[misc]
        d, v = canary - champion, champion_v + canary_v
        # The mixture is as wide as the smaller bound: where the verdict is decided.
        tau2 = min(abs(low), abs(high)) ** 2
        reach = math.sqrt(v * (v + tau2) / tau2 * (math.log((v + tau2) / v) - 2.0 * math.log(alpha)))
        p = min(1.0, math.sqrt((v + tau2) / v) * math.exp(-tau2 * d * d / (2.0 * v * (v + tau2))))
        if enough:
            self.least_p[name] = p = min(p, self.least_p.get(name, 1.0))
        verdict = "waiting"
        if enough and (d - reach > high or d + reach < low):
            verdict = "worse"
        elif enough and low < d - reach and d + reach < high:
            verdict = "ok"
        return Difference(name, canary, champion, d, d - reach, d + reach, p, math.erfc(abs(d) / math.sqrt(2.0 * v)), low, high, verdict)

    def _places(self, draws: Floats) -> tuple[NDArray[np.int64], Bools]:
        """side · GROUPS + group of every draw that is one, and which are."""
        known = ~np.isnan(draws)
        draws = draws[known]
        canary = draws < self.share
        within = np.where(canary, draws / self.share, (draws - self.share) / (1.0 - self.share))
        group = np.minimum((within * GROUPS).astype(np.int64), GROUPS - 1)
        return np.where(canary, CANARY * GROUPS, CHAMPION * GROUPS) + group, known

    def merge(self, other: Canary) -> Canary:
        """The sums of both, of the same share."""
        assert self.share == other.share, "one experiment has one share"
        out = Canary(self.share)
        for name in ("counts", "scores", "labelled"):
            setattr(out, name, getattr(self, name) + getattr(other, name))
        out.least_p = {name: min(self.least_p.get(name, 1.0), other.least_p.get(name, 1.0)) for name in {*self.least_p, *other.least_p}}
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`."""
        return {
            "share": self.share, "counts": self.counts.tolist(), "scores": self.scores.tolist(), "labelled": self.labelled.tolist(), "least_p": dict(self.least_p),
        }  # fmt: skip

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Canary:
        out = Canary(float(data["share"]))
        out.counts = np.array(data["counts"], np.int64).reshape(out.counts.shape)
        out.scores = np.array(data["scores"], np.float64).reshape(out.scores.shape)
        out.labelled = np.array(data["labelled"], np.int64).reshape(out.labelled.shape)
        out.least_p = dict(data["least_p"])
        return out


def _verdict(found: tuple[Difference, ...], payments: int, bounds: Bounds, labels: bool) -> tuple[str, str]:
    if payments < bounds.payments_min:
        return "waiting", f"the canary has decided {payments:,} of at least {bounds.payments_min:,} payments"
    for d in found:
        if d.verdict == "worse":
            return "worse", f"{d.name}: {_percent(d.canary)} beside {_percent(d.champion)}; the difference is surely beyond {_bounds(d)}"
    # Without labels precision cannot be judged, and does not hold back what can.
    open_ones = [d for d in found if d.verdict == "waiting" and (labels or d.name != "precision")]
    if open_ones:
        return "waiting", "; ".join(f"{d.name}: the difference may still lie on either side of {_bounds(d)}" for d in open_ones)
    return "ok", "all differences are surely within their bounds" + ("" if labels else "; too few labels yet to compare precision")


def _bounds(d: Difference) -> str:
    parts = [f"{100 * bound:+g} points" for bound in (d.lower_bound, d.upper_bound) if abs(bound) < 1]
    return " and ".join(parts)


def _percent(rate: float | None) -> str:
    return "unknown" if rate is None else f"{100 * rate:.2f} %"


def _share(part: Any, whole: Any) -> float | None:
    return None if whole == 0 else float(part) / float(whole)


def _ratio(hits: NDArray[Any], of: NDArray[Any]) -> tuple[float, float] | None:
    """A rate over groups and its variance; None where there is nothing."""
    n = float(of.sum())
    if n == 0:
        return None
    rate = float(hits.sum()) / n
    between = GROUPS / (GROUPS - 1) * float(np.sum((hits - rate * of) ** 2)) / (n * n)
    smooth = (float(hits.sum()) + 0.5) / (n + 1.0)  # none of n is no proof of never
    return rate, max(between, smooth * (1.0 - smooth) / n)
