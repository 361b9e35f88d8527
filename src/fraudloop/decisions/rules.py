"""Rules and rule sets: what analysts write, as data with a version, and what they say of payments. Pure.

    name = "payments"

    [[rules]]
    id = "many_in_an_hour"
    when = "customer_count_1h > 20"
    outcome = "review"                # or score = 0.2, added to the score
    reason = "More than 20 payments within an hour"
    state = "live"                    # draft, shadow, live, retired
    overridable = true                # whether an allow entry overrides it
    unknown = "no"                    # what an unknown condition is: no, yes, or review

A draft is checked and not evaluated; a rule in shadow is evaluated and acts on nothing; a live one acts; a retired one stays
readable. A rule set is never changed: another one has another hash.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.rule_language import Expression, Type, names_in, parse
from fraudloop.decisions.rule_program import Program, compile_rules, settle
from fraudloop.decisions.toml_text import to_toml
from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind
from fraudloop.domain.outcome import Outcome
from fraudloop.domain.transaction import FLAG_FIELDS
from fraudloop.errors import DefinitionError, InputError, RuleError
from fraudloop.limits import RULES_MAX

#: Kinds of feature that are 0 or 1, and so stand in a condition as they are: `... and is_foreign`.
FLAG_KINDS: Final = frozenset({Kind.IS_FOREIGN, Kind.IS_NEW, Kind.IS_NIGHT, Kind.IS_WEEKEND, Kind.IMPOSSIBLE_TRAVEL})

#: Fields of the payment itself that rules may read beside the features. A name that is a feature means the feature.
WORD_FIELDS: Final = (
    "transaction_id", "customer_id", "merchant_id", "merchant_category", "currency", "country", "home_country", "device_id", "device_type", "ip", "card_id",
    "status", "flow",
)  # fmt: skip

_ID = re.compile(r"^[a-z][a-z0-9_]{0,63}$")


class State(StrEnum):
    """A rule's life."""

    DRAFT = "draft"
    SHADOW = "shadow"
    LIVE = "live"
    RETIRED = "retired"


class Unknown(StrEnum):
    """What a condition that is unknown counts as: no hit, a hit, or REVIEW."""

    NO = "no"
    YES = "yes"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. outcome: what a hit asks for at least. score: what a hit adds to the score. One of the two, or both."""

    id: str
    when: str
    reason: str
    outcome: Outcome | None = None
    score: float = 0.0
    overridable: bool = True
    state: State = State.DRAFT
    unknown: Unknown = Unknown.NO

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self),
            "outcome": None if self.outcome is None else self.outcome.text,
            "state": self.state.value,
            "unknown": self.unknown.value,
        }


@lru_cache(maxsize=64)
def _hash_of(rules: RuleSet) -> str:
    """Asked for with every batch that is decided, and a millisecond to make."""
    return hashlib.sha256(json.dumps(rules.to_dict(), sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in the order in which their reasons are told."""

    name: str
    rules: tuple[Rule, ...]

    @property
    def hash(self) -> str:
        """32 hex digits of all that the set means."""
        return _hash_of(self)

    def in_state(self, *states: State) -> RuleSet:
        """The rules in these states."""
        return RuleSet(self.name, tuple(rule for rule in self.rules if rule.state in states))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`."""
        return {"name": self.name, "rules": [rule.to_dict() for rule in self.rules]}

    def to_toml(self) -> str:
        """As a file that :meth:`load` reads."""
        return to_toml(self.to_dict())

    def get(self, rule_id: str) -> Rule | None:
        """The rule of an id."""
        return next((rule for rule in self.rules if rule.id == rule_id), None)

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "rules") -> RuleSet:
        """Build and check all but the conditions; RuleError names the rule, the key and the nearest known one."""
        for key in data:
            if key not in ("name", "rules"):
                raise RuleError(f"{where}: unknown key {key!r}{_nearest(key, ['name', 'rules'])}")
        rows = data.get("rules", [])
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise RuleError(f"{where}: rules must be a list of tables, each begun by [[rules]]")
        if len(rows) > RULES_MAX:
            raise RuleError(f"{where}: {len(rows):,} rules; a set has at most {RULES_MAX:,}")
        rules = tuple(_rule(row, number, where) for number, row in enumerate(rows, 1))
        ids = Counter(rule.id for rule in rules)
        for rule in rules:
            if ids[rule.id] > 1:
                raise RuleError(f"{where}: the rule {rule.id!r} stands twice", rule=rule.id)
        return RuleSet(str(data.get("name", "rules")), rules)

    @staticmethod
    def load(spec: str | Path) -> RuleSet:
        """The shipped set by name (`default`), or a TOML file by path.

        >>> [rule.id for rule in RuleSet.load("default").rules][:2]
        ['impossible_travel', 'far_above_habit']
        """
        shipped = resources.files("fraudloop.decisions") / "presets"
        if "/" not in str(spec) and not str(spec).endswith(".toml"):
            names = sorted(entry.name.removesuffix(".toml") for entry in shipped.iterdir() if entry.name.endswith(".toml"))
            if str(spec) not in names:
                raise RuleError(f"no rule set {str(spec)!r}{_nearest(str(spec), names)}; shipped: {', '.join(names)}, or give a .toml file")
            text = (shipped / f"{spec}.toml").read_text("utf-8")
        else:
            try:
                text = Path(spec).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise RuleError(f"{spec}: cannot be read ({error}); give a shipped set or a TOML file") from error
        try:
            return RuleSet.from_dict(tomllib.loads(text), str(spec))
        except tomllib.TOMLDecodeError as error:
            raise RuleError(f"{spec}: not valid TOML: {error}") from error

    def conditions(self, names: Mapping[str, Type], lists: frozenset[str] | None = None) -> dict[str, Expression]:
        """The conditions as trees, by rule; RuleError names the rule and the place in its condition."""
        out = {}
        for rule in self.rules:
            try:
                out[rule.id] = parse(rule.when, names, lists)
            except RuleError as error:
                raise RuleError(f"rule {rule.id!r}: {error}", rule=rule.id, **error.fields) from error
        return out

    def compile(self, names: Mapping[str, Type], lists: frozenset[str] | None = None) -> CompiledRules:
        """Ready to evaluate: the rules that are live or in shadow."""
        chosen = self.in_state(State.LIVE, State.SHADOW)
        return CompiledRules(chosen, compile_rules(list(chosen.conditions(names, lists).values())))


@dataclass(frozen=True, slots=True)
class CompiledRules:
    """A rule set with its program."""

    rules: RuleSet
    program: Program
    _acts: NDArray[np.int8] = field(init=False, repr=False, compare=False)
    _scores: NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        acts = [
            (
                rule.unknown is Unknown.YES, int(rule.outcome or 0), Outcome.REVIEW if rule.unknown is Unknown.REVIEW else 0, rule.state is State.LIVE,
                not rule.overridable,
            )
            for rule in self.rules.rules
        ]  # fmt: skip
        object.__setattr__(self, "_acts", np.array(acts, np.int8).reshape(len(acts), 5))
        object.__setattr__(self, "_scores", np.array([rule.score for rule in self.rules.rules], np.float64))

    def verdicts(self, answers: NDArray[np.int8]) -> Verdicts:
        """What the answers of the program, int8 [rules, n], ask for."""
        n = answers.shape[1]
        hits, unknown = np.empty(answers.shape, bool), np.empty(answers.shape, bool)
        asked, change, counts = np.zeros((2, n), np.int8), np.zeros(n), np.zeros(len(answers), np.int64)
        settle(answers, self._acts, self._scores, hits, unknown, asked, change, counts)
        return Verdicts(hits, unknown, asked[0], asked[1], change, counts)


class Verdicts(msgspec.Struct, frozen=True, gc=False):
    """hits, unknown: bool [rules, n]. outcome: int8 [n], what live rules ask for at least (0: nothing). firm: the same of rules
    that no allow entry overrides. score_change: float64 [n]. counts: int64 [rules], how many each hits."""

    hits: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    outcome: NDArray[np.int8]
    firm: NDArray[np.int8]
    score_change: NDArray[np.float64]
    counts: NDArray[np.int64]


def vocabulary(features: FeatureSet, numbers: Collection[str] = (), words: Collection[str] = ()) -> dict[str, Type]:
    """The names that a rule may use: the features, the fields of a payment, and columns of the user's own."""
    out = dict.fromkeys(WORD_FIELDS, Type.TEXT) | dict.fromkeys(FLAG_FIELDS, Type.FLAG)
    out |= dict.fromkeys(words, Type.TEXT) | dict.fromkeys(numbers, Type.NUMBER)
    return out | {feature.name: Type.FLAG if feature.kind in FLAG_KINDS else Type.NUMBER for feature in features.features}


def wanted_features(rules: RuleSet, features: FeatureSet, known: Collection[str] = ()) -> tuple[FeatureDefinition, ...]:
    """The features that conditions name and `features` lacks, as the grammar of names understands them (retired rules read nothing).

    known: names beside the features that mean something already. Names that nobody understands are left to `RuleSet.conditions`,
    which says where they stand.

    >>> rules = RuleSet.from_dict({"rules": [{"id": "a", "when": "customer_count_5m > 3", "outcome": "review", "reason": "r"}]})
    >>> [feature.name for feature in wanted_features(rules, FeatureSet.load("default"))]
    ['customer_count_5m']
    """
    have = {*features.names, *known, *WORD_FIELDS, *FLAG_FIELDS}
    out: dict[str, FeatureDefinition] = {}
    for rule in rules.in_state(State.DRAFT, State.SHADOW, State.LIVE).rules:
        try:
            names = names_in(rule.when)
        except RuleError:
            continue
        for name in names:
            if name in have or name in out:
                continue
            try:
                out[name] = features.parse_name(name)
            except DefinitionError:
                continue
    return tuple(out.values())


def _rule(row: Mapping[str, Any], number: int, where: str) -> Rule:
    known = [field.name for field in fields(Rule)]
    at = f"{where}: rule {str(row.get('id', number))!r}"
    for key in row:
        if key not in known:
            raise RuleError(f"{at}: unknown key {key!r}{_nearest(key, known)}")
    for key in ("id", "when", "reason"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise RuleError(f"{at}: {key} is missing; every rule has an id, a condition (when) and a reason")
    if not _ID.match(row["id"]):
        raise RuleError(f"{at}: an id has lower-case letters, digits and _, and begins with a letter")
    score = row.get("score", 0.0)
    if isinstance(score, bool) or not isinstance(score, int | float) or not -1.0 <= score <= 1.0:
        raise RuleError(f"{at}: score = {score!r} must be a number from -1 to 1")
    try:
        outcome = None if row.get("outcome") is None else Outcome.from_text(str(row["outcome"]))
        state = State(row.get("state", "draft"))
        unknown = Unknown(row.get("unknown", "no"))
    except (ValueError, InputError) as error:
        raise RuleError(f"{at}: {error}") from error
    if outcome is Outcome.APPROVE:
        raise RuleError(f"{at}: a rule cannot approve; an allow list does")
    if outcome is None and score == 0:
        raise RuleError(f"{at}: it does nothing; give an outcome or a score")
    overridable = row.get("overridable", True)
    if not isinstance(overridable, bool):
        raise RuleError(f"{at}: overridable must be true or false")
    return Rule(row["id"], row["when"].strip(), row["reason"].strip(), outcome, float(score), overridable, state, unknown)


def _nearest(word: str, among: Collection[str]) -> str:
    close = get_close_matches(word, list(among), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
