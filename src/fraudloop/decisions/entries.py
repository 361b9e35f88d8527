"""Entries of the block, allow and watch lists: which payments they hit now. Pure; time is the logged arrival.

An entry names an entity and an id, and may end: it holds at received_us < expires_us. Of one list, entity and id the last record counts.
A micro-batch asks each entity that has entries once, by a set operation over a whole column; a row is looked at only if its id is listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

#: The lists, the weakest last: in this order an answer tells of them.
KINDS: Final = ("block", "allow", "watch")

#: Where the id of an entity stands in a payment. Entities of the feature set come beside these, and count more.
COLUMNS: Final[Mapping[str, str]] = {
    "customer": "customer_id", "merchant": "merchant_id", "device": "device_id", "card": "card_id", "ip": "ip", "country": "country",
    "merchant_category": "merchant_category",
}  # fmt: skip

#: An entry's end where it has none: later than any arrival.
NEVER: Final = 2**63 - 1

Bools = NDArray[np.bool_]
Rows = Sequence[Mapping[str, Any]]


class Says(Protocol):
    """A record of the log about an entry (`ledger.records.Listed`): it is set, or taken away."""

    @property
    def list(self) -> str: ...
    @property
    def entity(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def expires_us(self) -> int | None: ...
    @property
    def removed(self) -> bool: ...
    @property
    def who(self) -> str: ...
    @property
    def why(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that holds for a payment."""

    list: str
    entity: str
    id: str

    @property
    def code(self) -> str:
        """As answers name it: `block:device`."""
        return f"{self.list}:{self.entity}"


class Hits(msgspec.Struct, frozen=True, gc=False):
    """block, allow, watch: bool [n]. found: by row that any entry hits, the entries, in the order of KINDS and then of entities."""

    block: Bools
    allow: Bools
    watch: Bools
    found: Mapping[int, Sequence[Hit]] = msgspec.field(default_factory=dict)

    def codes(self, row: int) -> list[str]:
        """The entries of a row as answers name them."""
        return [hit.code for hit in self.found.get(row, ())]


class Entries:
    """The entries that the log says, changed by its records alone.

    >>> from fraudloop.ledger.records import Listed
    >>> entries = Entries()
    >>> entries.apply(Listed("block", "device", "d1", 2_000, False, "ann", "stolen", 1_000))
    >>> hits = entries.look_up([{"device_id": "d1"}, {"device_id": "d1"}], [1_999, 2_000])
    >>> hits.block.tolist(), hits.codes(0)
    ([True, False], ['block:device'])
    """

    def __init__(self, columns: Mapping[str, str] = COLUMNS) -> None:
        #: entity -> id -> list -> the entry.
        self._of: dict[str, dict[str, dict[str, Says]]] = {}
        #: entity -> its ids once more: asking a set costs two thirds of asking the keys.
        self._ids: dict[str, set[str]] = {}
        self._columns = {**COLUMNS, **columns}
        self._order = tuple(self._columns)

    def __len__(self) -> int:
        return sum(len(lists) for ids in self._of.values() for lists in ids.values())

    def __iter__(self) -> Iterator[Says]:
        """Every entry, expired ones too, by entity, id and list."""
        for entity in sorted(self._of):
            for key in sorted(self._of[entity]):
                yield from (lists[kind] for lists in (self._of[entity][key],) for kind in KINDS if kind in lists)

    def apply(self, record: Says) -> None:
        """Set or take away what a record says; records of named lists are left alone."""
        if record.list not in KINDS:
            return
        if not record.removed:
            self._of.setdefault(record.entity, {}).setdefault(record.id, {})[record.list] = record
            self._ids.setdefault(record.entity, set()).add(record.id)
            return
        self._remove(record)

    def _remove(self, record: Says) -> None:
        ids = self._of.get(record.entity, {})
        lists = ids.get(record.id)
        if lists is None:
            return
        lists.pop(record.list, None)
        if not lists:
            del ids[record.id]
            self._ids[record.entity].discard(record.id)
        if not ids:
            del self._of[record.entity], self._ids[record.entity]

    def apply_all(self, records: Iterable[Says]) -> Entries:
        """The same of several, in their order; gives itself."""
        for record in records:
            self.apply(record)
        return self

    def get(self, kind: str, entity: str, key: str) -> Says | None:
        """An entry, expired or not."""
        return self._of.get(entity, {}).get(key, {}).get(kind)

    def forget_expired(self, received_us: int) -> int:
        """Let go of entries that no arrival from now on can meet; how many there were. Changes no answer, since arrivals never go back."""
        gone = [entry for entry in self if _end(entry) <= received_us]
        for entry in gone:
            self._remove(entry)
        return len(gone)

    def look_up(self, rows: Rows, received_us: Sequence[int]) -> Hits:
        """Which payments an entry hits, and which entry."""
        n = len(rows)
        if not self._of:
            none = np.zeros(n, bool)
            none.flags.writeable = False
            return Hits(none, none, none)
        found: dict[int, list[Hit]] = {}
        for entity in self._order:
            ids = self._of.get(entity)
            if ids is None:
                continue
            column = self._columns[entity]
            try:
                if self._ids[entity].isdisjoint(map(itemgetter(column), rows)):
                    continue
            except KeyError:
                pass  # a column that not every row has
            for at, row in enumerate(rows):
                lists = ids.get(row.get(column))  # type: ignore[arg-type]
                if lists is not None:
                    found.setdefault(at, []).extend(
                        Hit(entry.list, entity, entry.id) for entry in lists.values() if received_us[at] < _end(entry)
                    )
        block, allow, watch = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n, bool)
        by_kind = {"block": block, "allow": allow, "watch": watch}
        for at, hits in found.items():
            hits.sort(key=_strength)  # stable: entities keep their order
            for hit in hits:
                by_kind[hit.list][at] = True
        return Hits(block, allow, watch, found)


def _end(entry: Says) -> int:
    return NEVER if entry.expires_us is None else entry.expires_us


def _strength(hit: Hit) -> int:
    return KINDS.index(hit.list)
