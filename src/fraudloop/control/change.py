"""What every change of what decides has in common: who, why, on the basis of what, and what it changes in words.

A change is made of values and gives records for the log; whoever writes the log appends them. It reads no clock and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fraudloop.domain.definitions import FeatureDefinition
from fraudloop.errors import InputError, PublishConflict
from fraudloop.ledger.records import Activated, Record
from fraudloop.limits import CONTROL_TEXT_CHARACTERS_MAX


@dataclass(frozen=True, slots=True)
class Change:
    """records: for the log, in order. hash: of what is in force after them. diff: what changes, a line each. wanted: features that it
    reads and the plan lacks; until the plan has them, what was published is warming and what was in force before decides."""

    records: tuple[Record, ...]
    hash: str | None
    diff: tuple[str, ...]
    wanted: tuple[FeatureDefinition, ...] = ()

    @property
    def warming(self) -> bool:
        return bool(self.wanted)


@dataclass(frozen=True, slots=True)
class Version:
    """One line of a history: what was put in force at an LSN, by whom, why, and what it changed."""

    lsn: int
    hash: str | None
    who: str
    why: str
    received_us: int
    diff: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "lsn": self.lsn, "hash": self.hash, "at": format_time(self.received_us), "who": self.who, "why": self.why, "diff": list(self.diff),
        }  # fmt: skip


def checked_person(who: str, why: str) -> tuple[str, str]:
    """Who changes something and why, without blanks around them; InputError if one is missing or too long."""
    for name, text in (("who", who), ("why", why)):
        if not text.strip():
            raise InputError(f"{name} is missing: every change names who made it, and why", key=name)
        if len(text) > CONTROL_TEXT_CHARACTERS_MAX:
            raise InputError(f"{name} has {len(text):,} characters; at most {CONTROL_TEXT_CHARACTERS_MAX:,}", key=name)
    return who.strip(), why.strip()


def check_expected(what: str, now: Activated | None, expected: str | None) -> None:
    """PublishConflict unless `expected` is the hash in force (None: nothing is)."""
    in_force = None if now is None else now.hash
    if expected == in_force:
        return
    if now is None or in_force is None:
        raise PublishConflict(f"no {what} are in force; leave out what you expect", expected=expected, in_force=None)
    wanted = "nothing" if expected is None else expected[:12]
    raise PublishConflict(
        f"{what} {in_force[:12]} are in force, not {wanted}: {now.who} published them at {format_time(now.received_us)} ({now.why}); "
        "look at what they changed, and publish again with that hash if yours still should be",
        expected=expected, in_force=in_force, who=now.who, at=format_time(now.received_us),
    )  # fmt: skip


def history(
    what: str, records: Iterable[tuple[int, Record]], diff: Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[str, ...]]
) -> list[Version]:
    """Everything that was in force under a name, oldest first. records: (LSN, record) of the log. diff: of two bodies."""
    out: list[Version] = []
    before: Mapping[str, Any] = {}
    for lsn, record in records:
        if isinstance(record, Activated) and record.what == what:
            out.append(Version(lsn, record.hash, record.who, record.why, record.received_us, diff(before, record.body)))
            before = record.body
    return out


def flat_diff(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> tuple[str, ...]:
    """What differs between two nested tables, a line a key.

    >>> flat_diff({"review": 0.5}, {"review": 0.4, "control": {"share": 0.01}})
    ('review: 0.5 → 0.4', 'control.share: added, 0.01')
    """
    out: list[str] = []
    for key in dict.fromkeys((*before, *after)):
        name = f"{path}{key}"
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            out += flat_diff(old if isinstance(old, Mapping) else {}, new if isinstance(new, Mapping) else {}, f"{name}.")
        elif old == new:
            continue
        elif old is None:
            out.append(f"{name}: added, {new}")
        elif new is None:
            out.append(f"{name}: removed, was {old}")
        else:
            out.append(f"{name}: {old} → {new}")
    return tuple(out)


def format_time(us: int) -> str:
    """ISO 8601 in UTC, seconds.

    >>> format_time(0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
