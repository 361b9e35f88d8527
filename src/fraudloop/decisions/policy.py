"""The policy: which score leads to which outcome, for whom, and what is let through on purpose. It knows no rule.

Scores are calibrated, so a threshold is a chance: `decline = 0.9` declines what is fraud in at least nine of ten cases. `Policy` is a set
of tiers, `DecisionPolicy` the whole document. Pure but for `load`.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit
from fraudloop.decisions.costs import Costs
from fraudloop.decisions.toml_text import to_toml
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError

Floats = NDArray[np.float64]

# As the kernel reads them.
_APPROVE, _CHALLENGE, _REVIEW, _DECLINE = (
    int(outcome) for outcome in (Outcome.APPROVE, Outcome.CHALLENGE, Outcome.REVIEW, Outcome.DECLINE)
)


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
        out = np.empty(len(scores), np.int8)
        _outcomes(np.ascontiguousarray(scores, np.float64), np.array(self.bounds), out)
        return out

    @property
    def bounds(self) -> tuple[float, float, float]:
        """As the kernel reads them: nothing is above a challenge that there is not."""
        return math.inf if self.challenge is None else self.challenge, self.review, self.decline

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


#: What becomes of a payment without a score: an analyst looks, or the fallback rules alone decide (where there are none: as `review`).
WITHOUT_MODEL: Final = ("review", "rules")

_KNOWN: Final = {
    "": ("name", "decline", "review", "challenge", "without_model", "costs", "cold_start", "degraded", "control"),
    "costs": tuple(field.name for field in fields(Costs)),
    "cold_start": ("count", "below", "decline", "review", "challenge"),
    "degraded": ("decline", "review", "challenge"),
    "control": ("share", "amount_max", "experiment"),
}


@dataclass(frozen=True, slots=True)
class DecisionPolicy:
    """Everything in a policy that a decision reads.

    tiers: of those with a history. costs: where given, the outcome of least expected cost stands in place of these tiers wherever score and
    amount are known. cold_start, degraded: stricter tiers for payments with little history, and while the entities' state is gone; an
    outcome is at least theirs. without_model: one of WITHOUT_MODEL.
    """

    tiers: Policy
    cold_start: ColdStart | None = None
    control: ControlShare | None = None
    costs: Costs | None = None
    degraded: Policy | None = None
    without_model: str = "review"
    name: str = "policy"
    #: As the kernel reads them: challenge, review and decline of `tiers`, of a cold start and of the degraded, float64 [3, 3], beyond any score where
    #: there are none; what a missed fraud costs by its amount and by itself, what looking costs, and what a false alarm does, float64 [4], or [0].
    bounds: Floats = field(init=False, repr=False, compare=False)
    prices: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        stricter = (None if self.cold_start is None else self.cold_start.policy, self.degraded)
        bounds = [self.tiers.bounds, *((math.inf,) * 3 if policy is None else policy.bounds for policy in stricter)]
        costs = self.costs
        prices = [] if costs is None else [costs.missed_share, costs.missed_fixed, costs.review + costs.review_price, costs.false_alarm]
        object.__setattr__(self, "bounds", np.array(bounds, np.float64))
        object.__setattr__(self, "prices", np.array(prices, np.float64))

    @property
    def approves_without_model(self) -> bool:
        """Whether the fallback rules alone decide where there is no score."""
        return self.without_model == "rules"

    @property
    def hash(self) -> str:
        """32 hex digits of all that the policy means."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:32]

    def tier(
        self,
        risk: Floats,
        amount: Floats,
        cold: NDArray[np.bool_] | None = None,
        degraded: NDArray[np.bool_] | None = None,
        fallback: bool = False,
    ) -> NDArray[np.int8]:
        """What the policy alone says of n payments, int8 [n] of Outcome.

        risk, amount: float64 [n], NaN unknown. cold: little history; degraded: the state of its entities is gone; None: nobody's. fallback: the
        fallback rules were asked, because there is no model.
        """
        n = len(risk)
        out, none = np.empty(n, np.int8), np.zeros(n, bool)
        _tiers(
            risk, amount, none if cold is None else cold, none if degraded is None else degraded, self.bounds, self.prices,
            fallback and self.approves_without_model, out,
        )  # fmt: skip
        return out

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "policy") -> DecisionPolicy:
        """Of a table with `decline`, `review`, `challenge`, `without_model` and tables `costs`, `cold_start`, `degraded` and `control`.

        InputError names the key and the nearest known one.

        >>> policy = DecisionPolicy.from_dict({"decline": 0.9, "review": 0.5, "control": {"share": 0.01, "amount_max": 200}})
        >>> policy.control.share
        0.01
        """
        _check_keys(data, "", where)
        parts: dict[str, Mapping[str, Any]] = {}
        for part in ("costs", "cold_start", "degraded", "control"):
            given = data.get(part)
            if given is None:
                continue
            if not isinstance(given, Mapping):
                raise InputError(f"{where}: {part} must be a table, begun by [{part}]")
            _check_keys(given, part, where)
            parts[part] = given
        without_model = data.get("without_model", "review")
        if without_model not in WITHOUT_MODEL:
            raise InputError(
                f"{where}: without_model = {without_model!r} must be one of {', '.join(WITHOUT_MODEL)}{_nearest(str(without_model), WITHOUT_MODEL)}"
            )
        tiers = Policy.from_dict(data)
        cold_start = control = degraded = costs = None
        if (cold := parts.get("cold_start")) is not None:
            try:
                count, below = str(cold["count"]), int(cold["below"])
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{where}: cold_start needs count, below, decline and review ({error})") from error
            cold_start = ColdStart(count, below, _stricter(cold, tiers, f"{where}: cold_start"))
        if (lost := parts.get("degraded")) is not None:
            degraded = _stricter(lost, tiers, f"{where}: degraded")
        if (let := parts.get("control")) is not None:
            try:
                control = ControlShare(float(let["share"]), float(let["amount_max"]), str(let.get("experiment", "control")))
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{where}: control needs share and amount_max ({error})") from error
        if (prices := parts.get("costs")) is not None:
            costs = Costs.from_dict(prices)
        return DecisionPolicy(tiers, cold_start, control, costs, degraded, without_model, str(data.get("name", "policy")))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`. What is as it is without being said is left out."""
        out: dict[str, Any] = {"name": self.name, **_given(self.tiers.to_dict())}
        if self.without_model != "review":
            out["without_model"] = self.without_model
        if self.costs is not None:
            out["costs"] = self.costs.to_dict()
        if self.cold_start is not None:
            out["cold_start"] = {"count": self.cold_start.count, "below": self.cold_start.below, **_given(self.cold_start.policy.to_dict())}
        if self.degraded is not None:
            out["degraded"] = _given(self.degraded.to_dict())
        if self.control is not None:
            out["control"] = {"share": self.control.share, "amount_max": self.control.amount_max, "experiment": self.control.experiment}
        return out

    def to_toml(self) -> str:
        """As a file that :meth:`load` reads."""
        return to_toml(self.to_dict())

    @staticmethod
    def from_toml(text: str, where: str = "policy") -> DecisionPolicy:
        """Of the text of a file."""
        try:
            return DecisionPolicy.from_dict(tomllib.loads(text), where)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{where}: not valid TOML: {error}") from error

    @staticmethod
    def load(spec: str | Path) -> DecisionPolicy:
        """A shipped policy by name (`default`), or a TOML file by path.

        >>> DecisionPolicy.load("default").tiers
        Policy(decline=0.9, review=0.5, challenge=None)
        """
        if "/" not in str(spec) and not str(spec).endswith(".toml"):
            shipped = resources.files("fraudloop.decisions") / "presets" / "policies"
            names = sorted(entry.name.removesuffix(".toml") for entry in shipped.iterdir() if entry.name.endswith(".toml"))
            if str(spec) not in names:
                raise InputError(f"no policy {str(spec)!r}{_nearest(str(spec), names)}; shipped: {', '.join(names)}, or give a .toml file")
            return DecisionPolicy.from_toml((shipped / f"{spec}.toml").read_text("utf-8"), f"policy {spec}")
        try:
            text = Path(spec).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{spec}: cannot be read ({error}); give a shipped policy or a TOML file") from error
        return DecisionPolicy.from_toml(text, str(spec))


def _stricter(data: Mapping[str, Any], tiers: Policy, where: str) -> Policy:
    try:
        out = Policy.from_dict(data)
    except InputError as error:
        raise InputError(str(error).replace("policy:", f"{where}:", 1)) from error
    if out.decline > tiers.decline or out.review > tiers.review:
        raise InputError(f"{where} must not be milder than the tiers of those with a history")
    return out


def _check_keys(data: Mapping[str, Any], part: str, where: str) -> None:
    for key in data:
        if key not in _KNOWN[part]:
            full = f"{part}.{key}" if part else str(key)
            raise InputError(f"{where}: unknown key {full!r}{_nearest(str(key), _KNOWN[part])}", key=full)


def _given(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if value is not None}


def _nearest(word: str, among: Collection[str]) -> str:
    close = get_close_matches(word, list(among), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


@njit
def _outcome_of(score: float, bounds: Floats) -> int:
    """The outcome of a score by challenge, review and decline."""
    if score != score:
        return _REVIEW
    if score > bounds[2]:
        return _DECLINE
    if score > bounds[1]:
        return _REVIEW
    if score > bounds[0]:
        return _CHALLENGE
    return _APPROVE


@njit
def _outcomes(scores: Floats, bounds: Floats, out: NDArray[np.int8]) -> None:
    for at in range(len(scores)):
        out[at] = _outcome_of(scores[at], bounds)


@njit
def _cheapest(chance: float, amount: float, prices: Floats) -> int:
    """The outcome of least expected cost (`Costs.tiers`), the mildest of those that cost the same."""
    least, found = chance * (prices[0] * abs(amount) + prices[1]), _APPROVE
    if prices[2] < least:
        least, found = prices[2], _REVIEW
    if (1.0 - chance) * prices[3] < least:
        found = _DECLINE
    return found


@njit
def tier_of(risk: float, amount: float, cold: bool, degraded: bool, bounds: Floats, prices: Floats, approves: bool) -> int:
    """`DecisionPolicy.tier` of one payment. bounds, prices: of the policy. approves: there is no model, and the fallback rules decide alone."""
    if risk != risk and approves and not degraded:
        return _APPROVE  # without the state these rules see too little as well: then somebody looks
    out = _outcome_of(risk, bounds[0])
    if len(prices) and risk == risk and amount == amount:
        out = _cheapest(risk, amount, prices)
        if risk > bounds[0, 0]:
            out = max(out, _CHALLENGE)
    if cold:
        out = max(out, _outcome_of(risk, bounds[1]))
    if degraded:
        out = max(out, _outcome_of(risk, bounds[2]))
    return out


@njit
def _tiers(
    risk: Floats, amount: Floats, cold: NDArray[np.bool_], degraded: NDArray[np.bool_], bounds: Floats, prices: Floats, approves: bool, out: NDArray[np.int8]
) -> None:  # fmt: skip
    for at in range(len(risk)):
        out[at] = tier_of(risk[at], amount[at], cold[at], degraded[at], bounds, prices, approves)


def warm() -> None:
    """Run the kernels once, so that their machine code is ready."""
    scores = np.zeros(1)
    Policy().tiers(scores)
    DecisionPolicy(Policy()).tier(scores, scores)
