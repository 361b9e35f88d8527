"""Commands that change what decides: bodies checked and handed to whoever logs them. It knows no connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

import msgspec

from fraudloop.api import wire
from fraudloop.api.problems import FieldError, at_fault
from fraudloop.errors import FraudloopError, NotFoundError, RefusedError
from fraudloop.limits import STORE_TEXT_CHARACTERS_MAX

T = TypeVar("T")

#: The lists that name somebody, and the slots that hold a model.
ENTRY_LISTS: Final = ("block", "allow", "watch")
SLOTS: Final = ("champion", "challenger", "canary")


class Control(Protocol):
    """Reads what is in force and puts other things in force, each as a record of the log.

    `what` of `read`: `rules`, `policy`, `lists`, `list:NAME`, `models`, `observe`. `what` of `command`, with its body: `rules`, `policy` (the whole document),
    `list` {name, entries}, `entry` and `entry_removed` {list, entity, id, expires_us}, `model` {slot, model, share}. expected: the hash that has to
    be in force, None for any; StoreConflict if another is. Exactly one of `done` and `refuse` is called, now or later, in the loop's thread.
    """

    def read(self, what: str) -> Mapping[str, Any]:
        """Plain data. NotFoundError where there is no such list."""
        ...

    def command(
        self,
        what: str,
        body: Mapping[str, Any],
        who: str,
        why: str,
        expected: str | None,
        done: Callable[[wire.Commanded], None],
        refuse: Callable[[FraudloopError], None],
    ) -> None: ...


class Order(msgspec.Struct, frozen=True):
    """What `Control.command` is to be called with."""

    what: str
    body: dict[str, Any]
    who: str
    why: str
    expected: str | None


def order(what: str, data: bytes, name: str | None, key: str | None) -> Order:
    """The command of a body. name: the list or slot in the path. key: the name of the caller's key; it stands beside who they say they are.

    RefusedError names the field at fault, NotFoundError a list or slot that is none.
    """
    if what == "rules":
        rules = decode(data, wire.PutRules)
        return _order(what, rules, rules.rules, key)
    if what == "policy":
        policy = decode(data, wire.PutPolicy)
        return _order(what, policy, policy.policy, key)
    if what == "list":
        words = decode(data, wire.PutList)
        if name in ENTRY_LISTS:
            raise NotFoundError(f"{name!r} holds entries, not words: POST to /lists/{name}/entries", field="name")
        return _order(what, words, {"name": name, "entries": words.entries}, key)
    if what == "model":
        model = decode(data, wire.PutModel)
        if name not in SLOTS:
            raise NotFoundError(f"no slot {name!r}; slots are {', '.join(SLOTS)}", field="slot")
        if model.share is not None and not 0 < model.share <= 0.5:
            raise at_fault("share", "share.range", "must be above 0 and at most 0.5")
        return _order(what, model, {"slot": name, "model": model.model, "share": model.share}, key)
    entry = decode(data, wire.PutEntry)
    if name not in ENTRY_LISTS:
        raise NotFoundError(f"no list {name!r} of entries; they are {', '.join(ENTRY_LISTS)}", field="name")
    body = {"list": name, "entity": entry.entity, "id": entry.id, "expires_us": _time_us(entry.expires_at)}
    if not entry.id:
        raise at_fault("id", "id.missing", "has no value")
    return _order(what, entry, body, key)


def _order(what: str, told: wire.Command, body: dict[str, Any], key: str | None) -> Order:
    for name, text in (("who", told.who), ("why", told.why)):
        if not text.strip():
            raise at_fault(name, f"{name}.missing", "has no value")
        if len(text) > STORE_TEXT_CHARACTERS_MAX:
            raise at_fault(name, f"{name}.length", f"has at most {STORE_TEXT_CHARACTERS_MAX} characters")
    return Order(what, body, told.who if key is None else f"{told.who} (key {key})", told.why, told.expected)


def _time_us(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        time = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        time = None
    if time is None or time.tzinfo is None:
        raise at_fault("expires_at", "expires_at.format", "must be a time with an offset, like 2027-01-01T00:00:00Z")
    return round(time.timestamp()) * 1_000_000


def decode(data: bytes, kind: type[T]) -> T:
    """The body as a type; RefusedError names the field at fault, msgspec.DecodeError is for what is no JSON."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise fault(error) from None


def fault(error: msgspec.ValidationError) -> RefusedError:
    """A validation error as a field at fault.

    >>> try: decode(b'{"who": 1, "why": "x", "rules": {}}', wire.PutRules)
    ... except RefusedError as error: error.fields["errors"][0].field
    'who'
    """
    text = str(error)
    reason, _, path = text.partition(" - at `$")
    name = path.removesuffix("`").lstrip(".")
    if "`" in reason and ("required field" in reason or "unknown field" in reason):
        inner = reason.split("`")[1]
        name = f"{name}.{inner}" if name else inner
    name = name or "body"
    return RefusedError(f"{name}: {reason}", errors=(FieldError(name, f"{name}.type", reason),))
