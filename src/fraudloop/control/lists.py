"""Lists changed: entries of the block, allow and watch lists set or taken away, and named lists replaced.

Ids are written as the door writes them: a card number becomes its token, a country its alpha-2 code. Otherwise an entry would hit nothing.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from fraudloop.control.change import Change, checked_person, format_time
from fraudloop.decisions.entries import COLUMNS, KINDS, Entries, Says
from fraudloop.decisions.lists import NamedList
from fraudloop.domain.country import alpha2
from fraudloop.domain.transaction import COUNTRY_FIELDS, ID_FIELDS
from fraudloop.door.pan import TokenKey, holds_pan
from fraudloop.errors import InputError, PublishConflict
from fraudloop.ledger.records import Activated, Listed
from fraudloop.limits import ENTRIES_A_COMMAND_MAX, ENTRIES_MAX, ID_BYTES_MAX, NAMED_LISTS_BYTES_MAX, TIMESTAMP_MAX_US

#: How `export` and `import` write entries.
CSV_COLUMNS: Final = ("entity", "id", "expires", "who", "why")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be listed. entity: customer, merchant, device, card, ip, country, merchant_category, or one of the feature set.
    expires_us: when it ends (received_us < expires_us), None for never."""

    entity: str
    id: str
    expires_us: int | None = None


def add(
    entries: Entries,
    kind: str,
    new: Sequence[Entry],
    *,
    who: str,
    why: str,
    at_us: int,
    tokens: TokenKey,
    columns: Mapping[str, str] = COLUMNS,
) -> Change:
    """Set entries of a list, all or none. entries: those there are. columns: by entity, where its id stands in a payment.

    InputError names the first entry that cannot be, by its place among those given.
    """
    who, why = checked_person(who, why)
    _check_kind(kind)
    _check_count(len(new))
    if len(entries) + len(new) > ENTRIES_MAX:
        raise InputError(f"{len(entries):,} entries are listed; with {len(new):,} more there would be above {ENTRIES_MAX:,}")
    records, diff = [], []
    for place, entry in enumerate(new, 1):
        at = f"entry {place}: " if len(new) > 1 else ""
        key = _checked_id(entry.entity, entry.id, tokens, columns, at)
        if entry.expires_us is not None and not at_us < entry.expires_us <= TIMESTAMP_MAX_US:
            raise InputError(f"{at}expires must lie ahead (now is {format_time(at_us)}) and before 2100", place=place)
        was = entries.get(kind, entry.entity, key)
        if was is not None and was.expires_us is not None and was.expires_us <= at_us:
            was = None
        records.append(Listed(kind, entry.entity, key, entry.expires_us, False, who, why, at_us))
        until = _until(entry.expires_us)
        diff.append(f"{kind} {entry.entity} {key}: {until}" + ("" if was is None else f"; was {_until(was.expires_us)} by {was.who}"))
    return Change(tuple(records), None, tuple(diff))


def remove(
    entries: Entries,
    kind: str,
    gone: Sequence[Entry],
    *,
    who: str,
    why: str,
    at_us: int,
    tokens: TokenKey,
    columns: Mapping[str, str] = COLUMNS,
) -> Change:
    """Take entries of a list away, all or none; InputError for one that is not there."""
    who, why = checked_person(who, why)
    _check_kind(kind)
    _check_count(len(gone))
    records, diff = [], []
    for place, entry in enumerate(gone, 1):
        at = f"entry {place}: " if len(gone) > 1 else ""
        key = _checked_id(entry.entity, entry.id, tokens, columns, at)
        was = entries.get(kind, entry.entity, key)
        if was is None:
            raise InputError(f"{at}{entry.entity} {key} is not on the {kind} list", place=place)
        records.append(Listed(kind, entry.entity, key, None, True, who, why, at_us))
        diff.append(f"{kind} {entry.entity} {key}: removed; was {_until(was.expires_us)} by {was.who} ({was.why})")
    return Change(tuple(records), None, tuple(diff))


def replace_list(
    now: Activated | None, shipped: Mapping[str, NamedList], new: NamedList, *, expected: str | None, who: str, why: str, at_us: int
) -> Change:
    """Put a named list in force in place of the one of its name. now: the activation of lists in force. expected: the hash of the list
    of that name that the publisher believes to be in force, None for a new one.

    The record holds every published list by name: what decides is known from one record. InputError: the same words as another version,
    or the same version with other words. PublishConflict: another list is in force.
    """
    who, why = checked_person(who, why)
    published: dict[str, Any] = {} if now is None else dict(now.body)
    was = NamedList.from_dict(published[new.name]) if new.name in published else shipped.get(new.name)
    in_force = None if was is None else was.hash
    if expected != in_force:
        told = "is not there" if was is None else f"is version {was.version} ({in_force and in_force[:12]})"
        by = f", published by {now.who} at {format_time(now.received_us)}" if now is not None and new.name in published else ""
        raise PublishConflict(f"the list {new.name!r} {told}{by}; look at it and publish again", expected=expected, in_force=in_force)
    if was is not None and was.hash == in_force == new.hash:
        raise InputError(f"the list {new.name!r} is in force as it is; nothing changes", hash=new.hash)
    if was is not None and was.version == new.version and was.entries != new.entries:
        raise InputError(
            f"the list {new.name!r}: version {new.version} is in force with other words; give it a new version", version=new.version
        )
    for word in new.entries:
        if holds_pan(word):
            raise InputError(f"the list {new.name!r}: a word holds a card number")
    published[new.name] = new.to_dict()
    body = dict(sorted(published.items()))
    encoded = msgspec.json.encode(body)
    if len(encoded) > NAMED_LISTS_BYTES_MAX:
        raise InputError(f"the named lists would have {len(encoded):,} bytes; at most {NAMED_LISTS_BYTES_MAX:,}: list an entity instead")
    before = {} if was is None else {new.name: was.to_dict()}
    record = Activated("lists", lists_hash(body), body, who, why, at_us)
    return Change((record,), new.hash, diff(before, {new.name: new.to_dict()}))


def lists_hash(body: Mapping[str, Mapping[str, Any]]) -> str:
    """32 hex digits of all published lists."""
    return hashlib.sha256("".join(NamedList.from_dict(one).hash for one in body.values()).encode()).hexdigest()[:32]


def diff(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """What differs between published lists, by name."""
    out = []
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if new is None or old is None:
            one = new or old or {}
            out.append(f"{name}: {'removed' if new is None else 'new'}, version {one['version']}, {len(one['entries']):,} words")
            continue
        if old == new:
            continue
        if old["version"] != new["version"]:
            out.append(f"{name}: version {old['version']} → {new['version']}")
        added, gone = sorted(set(new["entries"]) - set(old["entries"])), sorted(set(old["entries"]) - set(new["entries"]))
        out += [f"{name}: {what} {_some(words)}" for what, words in (("added", added), ("removed", gone)) if words]
        if old.get("source") != new.get("source"):
            out.append(f"{name}: source {old.get('source')!r} → {new.get('source')!r}")
    return tuple(out)


def read_csv(text: str, where: str = "entries") -> list[Entry]:
    """Entries of a CSV with a head: `entity`, `id`, and, if they end, `expires` (ISO 8601 with an offset); further columns are left alone.

    >>> read_csv("entity,id,expires\\ncard,c1,\\n")
    [Entry(entity='card', id='c1', expires_us=None)]
    """
    reader = csv.DictReader(io.StringIO(text, newline=""))
    head = reader.fieldnames or ()
    for name in ("entity", "id"):
        if name not in head:
            close = get_close_matches(name, head, n=1)
            raise InputError(f"{where}: no column {name!r}{f', only {close[0]!r}' if close else ''}; the head is entity,id,expires")
    out = []
    for line in reader:
        try:
            out.append(
                Entry((line["entity"] or "").strip(), (line["id"] or "").strip(), parse_time((line.get("expires") or "").strip() or None))
            )
        except InputError as error:
            raise InputError(f"{where}: line {reader.line_num}: {error}", line=reader.line_num) from error
    return out


def write_csv(entries: Iterable[Says]) -> str:
    """What `read_csv` reads, with who listed each and why."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for e in entries:
        writer.writerow((e.entity, e.id, "" if e.expires_us is None else format_time(e.expires_us), e.who, e.why))
    return out.getvalue()


def parse_time(text: str | None) -> int | None:
    """Microseconds of an ISO time with an offset, None for none.

    >>> parse_time("1970-01-01T00:00:01Z")
    1000000
    """
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.min  # noqa: DTZ901 - without an offset, so refused below
    if found.tzinfo is None:
        raise InputError(f"expires = {text!r} is no time with an offset, like 2027-01-31T12:00:00Z")
    gap = found.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (gap.days * 86_400 + gap.seconds) * 1_000_000 + gap.microseconds


def _checked_id(entity: str, key: str, tokens: TokenKey, columns: Mapping[str, str], at: str) -> str:
    if entity not in columns:
        close = get_close_matches(entity, columns, n=1, cutoff=0.5)
        near = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"{at}no entity {entity!r}{near}; there are {', '.join(columns)}", entity=entity)
    column = columns[entity]
    if not key.strip():
        raise InputError(f"{at}an entry needs an id", entity=entity)
    key = key.strip()
    if len(key.encode()) > ID_BYTES_MAX:
        raise InputError(f"{at}the id has more than {ID_BYTES_MAX:,} bytes", entity=entity)
    if column in COUNTRY_FIELDS:
        found = alpha2(key)
        if found is None:
            raise InputError(f"{at}{key!r} is no country of ISO 3166-1", entity=entity)
        return found
    if holds_pan(key):
        if column not in ID_FIELDS:
            raise InputError(f"{at}a card number stands where none may be ({entity})", entity=entity)
        return tokens.token(key)
    return key


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(f"no list {kind!r} of entries; there are {', '.join(KINDS)}", list=kind)


def _check_count(count: int) -> None:
    if not 0 < count <= ENTRIES_A_COMMAND_MAX:
        raise InputError(f"{count:,} entries; a command has 1 to {ENTRIES_A_COMMAND_MAX:,}")


def _until(expires_us: int | None) -> str:
    return "without end" if expires_us is None else f"until {format_time(expires_us)}"


def _some(words: Sequence[str], most: int = 10) -> str:
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest:,} more" if rest > 0 else "")
