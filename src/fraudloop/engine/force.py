"""What is in force, made of what the state says is active: rules, policy, lists, slots. Values in, a value out."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fraudloop.decisions.decide import DecisionPolicy
from fraudloop.decisions.lists import NamedList, shipped_lists
from fraudloop.decisions.rules import CompiledRules, RuleSet, vocabulary
from fraudloop.decisions.rules import wanted_features as named_features
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.engine.build import build_id
from fraudloop.engine.deciding import InForce
from fraudloop.engine.loaded import SHORT, Loaded
from fraudloop.engine.state import State
from fraudloop.errors import RuleError

#: The slots by the aliases of the store that fill them.
SLOTS: Final = ("champion", "canary", "challenger")

#: Modes of a service, as `Activated("mode")` names them.
DECIDE: Final = "decide"
OBSERVE: Final = "observe"


@dataclass(frozen=True, slots=True)
class Slots:
    """The bundles that are loaded. canary_share: of customers, that the canary decides."""

    champion: Loaded | None = None
    challenger: Loaded | None = None
    canary: Loaded | None = None
    canary_share: float = 0.0

    def put(self, slot: str, loaded: Loaded | None) -> Slots:
        """These with another bundle in a slot."""
        assert slot in SLOTS, f"no slot {slot!r}"
        return replace(self, **{slot: loaded})  # type: ignore[arg-type]

    @property
    def features(self) -> tuple[FeatureSet, ...]:
        return tuple(loaded.features for loaded in (self.champion, self.canary, self.challenger) if loaded is not None)


def rules_of(state: State) -> RuleSet:
    """The rule set that is active."""
    return RuleSet.from_dict(state.active["rules"][1].body) if "rules" in state.active else RuleSet("none", ())


def policy_of(state: State) -> DecisionPolicy:
    """The policy that is active."""
    return DecisionPolicy.from_dict(state.active["policy"][1].body)


def lists_of(state: State) -> dict[str, NamedList]:
    """The named lists: those shipped, and those that were published in their place or beside them."""
    out = shipped_lists()
    if "lists" in state.active:
        out |= {name: NamedList.from_dict(body) for name, body in state.active["lists"][1].body.items()}
    return out


def wanted_features(base: FeatureSet, slots: Slots, rules: RuleSet, known: Collection[str] = ()) -> FeatureSet:
    """The union that the state is to run: the base set, what the slots read, and what rules that run name beyond both, the fallback rules too.

    DefinitionError if two of them mean different things by one name of an entity or field.
    """
    out = base
    for features in slots.features:
        out = out.merge(features)
    return replace(out, features=(*out.features, *named_features(with_fallback(rules), out, known)))


def own_columns(state: State) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the numbers and of the words that the user's own columns are, as the log says."""
    types = state.types or ("String",) * len(state.columns)
    own = [(name, kind) for name, kind in zip(state.columns, types, strict=True) if name not in TRANSACTION_SCHEMA]
    return tuple(name for name, kind in own if kind != "String"), tuple(name for name, kind in own if kind == "String")


def canary_share(state: State, otherwise: float) -> float:
    """The share of customers that the canary decides, as the log says; otherwise: where it never did."""
    said = state.active.get("canary")
    return otherwise if said is None else float(said[1].body.get("share", otherwise))


def observes(state: State) -> bool:
    """Whether another system decides, and nothing is done on what is found here."""
    return "mode" in state.active and state.active["mode"][1].hash == OBSERVE


def compile_active(rules: RuleSet, features: FeatureSet, lists: Mapping[str, NamedList], state: State) -> CompiledRules:
    """The rules that run, ready. RuleError names the rule and the place."""
    return rules.compile(vocabulary(features, *own_columns(state)), frozenset(lists))


def with_fallback(rules: RuleSet) -> RuleSet:
    """The rules in force and, behind them, the shipped ones for when there is no model."""
    own = {rule.id for rule in rules.rules}
    return RuleSet(rules.name, (*rules.rules, *(rule for rule in RuleSet.load("fallback").rules if rule.id not in own)))


def in_force(state: State, slots: Slots, secret: bytes, why: tuple[str, ...] = ()) -> InForce:
    """All that decides, as the state has it."""
    features, lists = state.features, lists_of(state)
    policy, policy_hash = policy_of(state), state.active["policy"][1].hash or ""
    observe = observes(state)
    if observe:
        policy = replace(policy, control=None)  # nobody is let through who is not stopped
    fallback = None
    if slots.champion is None:
        with contextlib.suppress(RuleError):  # features of one's own may lack what the shipped rules read
            fallback = compile_active(with_fallback(rules_of(state)), features, lists, state)
    return InForce(
        features, features.hash[:SHORT], compile_active(rules_of(state), features, lists, state), policy, policy_hash[:SHORT], build_id(), secret,
        champion=slots.champion, canary=slots.canary, canary_share=slots.canary_share, fallback=fallback, lists={name: named.entries for name, named in lists.items()}, entries=state.entries,
        why=why, observe=observe,
    )  # fmt: skip
