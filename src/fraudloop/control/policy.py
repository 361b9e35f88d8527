"""A policy put in force in place of another. Policies are never overwritten: each is a record of the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fraudloop.control.change import Change, check_expected, checked_person, flat_diff
from fraudloop.decisions.policy import DecisionPolicy
from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind
from fraudloop.errors import DefinitionError, InputError
from fraudloop.ledger.records import Activated


def publish(
    now: Activated | None, new: DecisionPolicy, *, features: FeatureSet, expected: str | None, who: str, why: str, at_us: int
) -> Change:
    """Put a policy in force. now: the activation in force; expected: the hash that the publisher believes it has.

    InputError: who or why is missing, nothing changes, or cold_start counts what is no count feature. PublishConflict: another policy is
    in force.
    """
    who, why = checked_person(who, why)
    check_expected("policies", now, expected)
    if now is not None and new.hash == now.hash:
        raise InputError("this policy is in force already; nothing changes", hash=new.hash)
    wanted: tuple[FeatureDefinition, ...] = ()
    if new.cold_start is not None:
        name = new.cold_start.count
        definition = next((feature for feature in features.features if feature.name == name), None)
        if definition is None:
            try:
                definition = features.parse_name(name)
            except DefinitionError as error:
                raise InputError(f"policy: cold_start.count: {error}", key="cold_start.count") from error
            wanted = (definition,)
        if definition.kind is not Kind.COUNT:
            raise InputError(f"policy: cold_start.count = {name!r} is no count, like customer_count_30d", key="cold_start.count")
    body = new.to_dict()
    return Change((Activated("policy", new.hash, body, who, why, at_us),), new.hash, diff({} if now is None else now.body, body), wanted)


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What differs between the bodies of two policies, a line a key."""
    return flat_diff(before, after)
