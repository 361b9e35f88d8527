"""The life of rules: a rule set put in force in place of another, and one rule moved from state to state.

    draft ─▶ shadow ⇄ live         a rule that acts was watched first
      │         │       │
      └─────────┴───────┴─▶ retired          and does not come back under its id

Sets are never overwritten: each is a record of the log, and their history is the log.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from fraudloop.control.change import Change, check_expected, checked_person
from fraudloop.decisions.rules import Rule, RuleSet, State, vocabulary, wanted_features
from fraudloop.domain.definitions import FeatureSet
from fraudloop.errors import InputError, RuleError
from fraudloop.ledger.records import Activated

#: From which state a rule may go to which.
MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.DRAFT: frozenset({State.SHADOW, State.RETIRED}),
    State.SHADOW: frozenset({State.DRAFT, State.LIVE, State.RETIRED}),
    State.LIVE: frozenset({State.SHADOW, State.RETIRED}),
    State.RETIRED: frozenset(),
}

#: In which a rule may begin.
BEGINNINGS: Final = frozenset({State.DRAFT, State.SHADOW})

#: What changes what a rule does, beside its state.
_ACTS: Final = ("when", "outcome", "score", "unknown")


def publish(
    now: Activated | None,
    new: RuleSet,
    *,
    features: FeatureSet,
    lists: Collection[str],
    expected: str | None,
    who: str,
    why: str,
    at_us: int,
    at_once: bool = False,
    numbers: Collection[str] = (),
    words: Collection[str] = (),
) -> Change:
    """Put a rule set in force in place of the one that is.

    now: the activation in force. features, numbers, words: what conditions may name (`decisions.rules.vocabulary`); lists: the named
    lists. expected: the hash that the publisher believes to be in force. at_once: let rules act that were not in shadow as they are
    now; the record says which.

    RuleError: a condition is not understood. InputError: who or why is missing, nothing changes, or a rule goes where it may not.
    PublishConflict: another set is in force.
    """
    who, why = checked_person(who, why)
    check_expected("rules", now, expected)
    before = RuleSet("none", ()) if now is None else RuleSet.from_dict(now.body)
    if now is not None and new.hash == now.hash:
        raise InputError("these rules are in force already; nothing changes", hash=new.hash)
    wanted = wanted_features(new, features, (*numbers, *words))
    names = vocabulary(replace(features, features=(*features.features, *wanted)), numbers, words)
    new.in_state(State.DRAFT, State.SHADOW, State.LIVE).conditions(names, frozenset(lists))
    at_risk = [] if now is None else unwatched(before, new)
    if at_risk and not at_once:
        raise InputError(unwatched_text(at_risk), rules=at_risk)
    if at_risk:
        why = f"{why} (at once: {', '.join(at_risk)})"
    body = new.to_dict()
    return Change((Activated("rules", new.hash, body, who, why, at_us),), new.hash, diff({} if now is None else now.body, body), wanted)


def move(now: Activated | None, rule_id: str, to: State, *, features: FeatureSet, lists: Collection[str], **about: Any) -> Change:
    """Move one rule of the set in force to another state; `about` and errors as of :func:`publish`."""
    before = RuleSet("none", ()) if now is None else RuleSet.from_dict(now.body)
    return publish(now, moved(before, rule_id, to), features=features, lists=lists, **about)


def in_shadow(before: RuleSet, new: RuleSet) -> RuleSet:
    """The set with the rules of another one beside its own, in shadow; drafts and rules in shadow are replaced by those of their id.

    InputError for a rule whose id is live or retired: what is tried beside it has an id of its own.
    """
    kept = {rule.id: rule for rule in before.rules}
    for rule in new.rules:
        was = kept.get(rule.id)
        if was is not None and was.state in (State.LIVE, State.RETIRED):
            raise InputError(
                f"rule {rule.id!r} is {was.state.value}; give the rule that is to be tried beside it an id of its own", rule=rule.id
            )
        kept[rule.id] = replace(rule, state=State.SHADOW)
    return RuleSet(before.name, tuple(kept.values()))


def moved(before: RuleSet, rule_id: str, to: State) -> RuleSet:
    """The set with one rule in another state."""
    rule = before.get(rule_id)
    if rule is None:
        raise RuleError(f"no rule {rule_id!r} in force; there are {', '.join(r.id for r in before.rules) or 'none'}", rule=rule_id)
    if rule.state is to:
        raise InputError(f"rule {rule_id!r} is {to.value} already", rule=rule_id)
    return RuleSet(before.name, tuple(replace(r, state=to) if r.id == rule_id else r for r in before.rules))


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs between the bodies of two rule sets, in words; an empty body is no set."""
    old, new = (RuleSet.from_dict(body) if body else RuleSet("", ()) for body in (before, after))
    out: list[str] = []
    for rule in new.rules:
        was = old.get(rule.id)
        if was is None:
            out.append(f"added {rule.id!r}, {rule.state.value}: {_does(rule)} when {rule.when}")
            continue
        if was.state is not rule.state:
            out.append(f"{rule.id!r}: {was.state.value} → {rule.state.value}")
        for name in (*_ACTS, "overridable", "reason"):
            mine, theirs = (_shown(getattr(r, name)) for r in (was, rule))
            if mine != theirs:
                out.append(f"{rule.id!r}: {name} {mine} → {theirs}")
    out += [f"removed {rule.id!r}, which was {rule.state.value}" for rule in old.rules if new.get(rule.id) is None]
    shared = [r.id for r in new.rules if old.get(r.id) is not None]
    if shared != [r.id for r in old.rules if new.get(r.id) is not None]:
        out.append("the order in which reasons are told changes")
    if before and new.name != old.name:
        out.append(f"name {old.name!r} → {new.name!r}")
    return tuple(out)


def unwatched_text(rules: Sequence[str]) -> str:
    """Why such rules are refused, and the two ways on."""
    return f"{', '.join(rules)}: would act without having been in shadow as it is now; publish it in shadow first, or say that it must act at once"


def unwatched(before: RuleSet, after: RuleSet) -> list[str]:
    """Rules that would act without having been in shadow as they are; InputError for a move that is none."""
    out = []
    for rule in after.rules:
        was = before.get(rule.id)
        if was is None:
            if rule.state is State.LIVE:
                out.append(rule.id)
            elif rule.state not in BEGINNINGS:
                raise InputError(f"rule {rule.id!r}: a new rule begins as draft or in shadow, not as {rule.state.value}", rule=rule.id)
            continue
        if was.state is not rule.state and rule.state not in MOVES[was.state]:
            if rule.state is State.LIVE and was.state is State.DRAFT:
                out.append(rule.id)
                continue
            ways = ", ".join(sorted(state.value for state in MOVES[was.state])) or "nowhere: give the new rule an id of its own"
            raise InputError(
                f"rule {rule.id!r}: {was.state.value} → {rule.state.value} is no way; from {was.state.value} it goes to {ways}",
                rule=rule.id,
            )
        if was.state is State.RETIRED and was != rule:
            raise InputError(f"rule {rule.id!r} is retired and stays as it was; give the new rule an id of its own", rule=rule.id)
        if rule.state is State.LIVE and any(getattr(was, name) != getattr(rule, name) for name in _ACTS):
            out.append(rule.id)
    return out


def _does(rule: Rule) -> str:
    parts = ([rule.outcome.text] if rule.outcome is not None else []) + ([f"score {rule.score:+g}"] if rule.score else [])
    return " and ".join(parts)


def _shown(value: Any) -> str:
    return str(getattr(value, "text", value))
