"""Canonical rows of a micro-batch into events for the fold: `assemble` without tables, for what arrives in the order of the log."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.assemble import columns_of
from fraudloop.door.events import LABEL, MISSING, PROFILE, SYSTEM_NUMBERS, TRANSACTION, Events
from fraudloop.door.identity import DEFAULT_KEY, hash_columns, hash_texts
from fraudloop.door.row import Row
from fraudloop.door.spread import spread
from fraudloop.errors import InputError
from fraudloop.limits import AMOUNT_MINOR_MAX


@dataclass(frozen=True, slots=True)
class LabelChange:
    """What a label changes, as the writer found it: see `events.SYSTEM_NUMBERS`, "Of a label".

    transaction: the canonical row of its transaction. time_us: when the label in force after it became known. before,
    after: whether fraud was in force before and after it. before_known_at_us: since when the former was known; counts
    where before is true. absorbed: whether the transaction entered the windows.
    """

    transaction: Row
    time_us: int
    before: bool
    after: bool
    before_known_at_us: int | None
    absorbed: bool


#: One event of the log: a transaction's or profile's canonical row, or a label's change, with its kind and arrival.
Item = tuple[int, "Row | LabelChange", int]


class Batcher:
    """Prepared for the features of a plan; makes the events of one batch after another.

    beside: columns of text whose hashes are wanted beside those of the events' keys.

    >>> batcher = Batcher(FeatureSet.load("handbook"))
    >>> row = {"transaction_id": "t1", "timestamp": 5, "customer_id": "c1", "amount_base": 999}
    >>> events = batcher.events([row], [7])
    >>> int(events.time_us[0]), int(events.received_us[0]), len(events)
    (5, 7, 1)
    >>> batcher.mixed([(TRANSACTION, row, 7), (LABEL, LabelChange(row, 9, False, True, None, True), 9)]).kind.tolist()
    [2, 1]
    """

    def __init__(self, features: FeatureSet, key: bytes = DEFAULT_KEY, beside: Sequence[str] = ()) -> None:
        keys, numbers = columns_of(features)
        self.key = key
        self.key_names, self._key_columns = tuple(keys), tuple(keys.values())
        self._texts = (*self._key_columns, *dict.fromkeys(name for name in beside if name not in self._key_columns))
        self.number_names = tuple(dict.fromkeys([*numbers, *SYSTEM_NUMBERS]))
        self._numbers = [(self.number_names.index(name), column) for name, column in numbers.items()]
        self._entities = {entity.name: self.key_names.index(entity.name) for entity in features.entities}
        # Numbers that features speak of come first among all numbers, so that they fill one slice.
        assert [at for at, _ in self._numbers] == list(range(len(numbers)))
        self._take = itemgetter(*numbers.values(), "timestamp")
        self._take_keys, self._take_texts = itemgetter(*self._key_columns), itemgetter(*self._texts)

    @property
    def key_columns(self) -> dict[str, str]:
        """The column that each key is the hash of, by its name."""
        return dict(zip(self.key_names, self._key_columns, strict=True))

    @property
    def entities(self) -> Collection[str]:
        """The names of the keys that have a state."""
        return self._entities

    def place(self, column: str) -> int:
        """Where the hash of a column stands in `hashes`; ValueError for one that is neither a key's nor beside."""
        return self._texts.index(column)

    def hashes(self, rows: Sequence[Row]) -> NDArray[np.uint64]:
        """Of the text of canonical rows, made in one go: uint64 [n, len(key_names) and as many as are beside, 2], zeros for null."""
        return self._hashes(rows, self._texts, self._take_texts)

    def _hashes(self, rows: Sequence[Row], names: Sequence[str], take: Callable[[Row], Any]) -> NDArray[np.uint64]:
        try:
            columns = [*zip(*map(take, rows), strict=True)] or [()] * len(names)
        except KeyError:  # a row that leaves out what is null
            columns = [tuple(row.get(name) for row in rows) for name in names]
        try:
            return hash_columns(columns, self.key)
        except (TypeError, AttributeError):  # truth values among them
            return hash_columns([[_word(text) for text in column] for column in columns], self.key)

    def events(self, rows: Sequence[Row], received_us: Sequence[int], hashes: NDArray[np.uint64] | None = None) -> Events:
        """The events of canonical rows in log order. received_us: when each arrived, never decreasing. hashes: of these rows, if they were
        made already.

        InputError for a number that is no integer: one that is aggregated needs a scale in the shape.
        """
        n, width = len(rows), len(self._numbers)
        try:
            columns = [*zip(*map(self._take, rows), strict=True)] or [()] * (width + 1)
        except KeyError:  # a row that leaves out what is null
            full = dict.fromkeys(column for _, column in self._numbers)
            return self.events([{**full, **row} for row in rows], received_us, hashes)
        flat: list[Any] = []
        for column in columns:
            flat += [MISSING] * n if not any(column) and column.count(None) == n else column
        try:
            taken = array("q", flat)  # takes whole numbers of 64 bits alone
        except (TypeError, OverflowError):
            names = [*(column for _, column in self._numbers), "timestamp"]
            taken = array(
                "q",
                [
                    MISSING if value is None else value if type(value) is int else _whole(value, names[at // n])
                    for at, value in enumerate(flat)
                ],
            )
        numbers, time_us = np.empty((n, len(self.number_names)), np.int64), np.empty(n, np.int64)
        if n and (far := spread(np.frombuffer(taken, np.int64), width, numbers, time_us)) >= 0:
            raise _too_large(self._numbers[far][1])
        if hashes is None:
            keys = self._hashes(rows, self._key_columns, self._take_keys)
        else:
            keys = np.ascontiguousarray(hashes[:, : len(self.key_names)])
        kind = np.empty(n, np.uint8)
        kind.fill(TRANSACTION)
        received = np.array(array("q", received_us))
        return Events(
            kind,
            time_us,
            received,
            keys,
            numbers,
            np.arange(n),
            self.key_names,
            self.number_names,
        )

    def mixed(self, items: Sequence[Item]) -> Events:
        """The events of transactions, labels and profiles in log order; `row` is the place of each among its own kind.

        An item is (kind, canonical row, received_us), for a label (LABEL, LabelChange, received_us). A profile's row is of
        `domain.profile.PROFILE_SCHEMA`, its times in microseconds. InputError for a profile of an entity that these
        features do not know.
        """
        n = len(items)
        kind = np.array([item[0] for item in items], np.uint8)
        bought = [item[1] for item in items if item[0] == TRANSACTION]
        received = np.array([item[2] for item in items], np.int64)
        plain = self.events(bought, [0] * len(bought))  # type: ignore[arg-type]
        if len(bought) == n:
            return Events(kind, plain.time_us, received, plain.keys, plain.numbers, plain.row, self.key_names, self.number_names)
        at = np.flatnonzero(kind == TRANSACTION)
        time_us, row = np.empty(n, np.int64), np.empty(n, np.int64)
        keys = np.zeros((n, len(self.key_names), 2), np.uint64)
        numbers = np.full((n, len(self.number_names)), MISSING, np.int64)
        time_us[at], keys[at], numbers[at], row[at] = plain.time_us, plain.keys, plain.numbers, plain.row
        texts: list[str | None] = []
        places: list[tuple[int, int]] = []
        seen = {LABEL: 0, PROFILE: 0}
        for i, (what, item, _) in enumerate(items):
            if what == TRANSACTION:
                continue
            row[i] = seen[what]
            seen[what] += 1
            if what == LABEL:
                assert isinstance(item, LabelChange)
                time_us[i] = item.time_us
                self._label(item, numbers[i])
                found = [(at, item.transaction.get(self._key_columns[at])) for at in self._entities.values()]
            else:
                assert isinstance(item, dict)
                moment = item["time"]
                assert isinstance(moment, int)
                time_us[i] = moment
                found = self._profile(item, numbers[i])
            for place, text in found:
                places.append((i, place))
                texts.append(_word(text))
        if places:
            keys[tuple(np.array(places).T)] = hash_texts(texts, self.key)
        return Events(kind, time_us, received, keys, numbers, row, self.key_names, self.number_names)

    def _label(self, label: LabelChange, into: NDArray[np.int64]) -> None:
        moment = label.transaction["timestamp"]
        assert isinstance(moment, int)
        known = label.before_known_at_us if label.before else None
        for name, value in (
            ("transaction_time", moment),
            ("before", int(label.before)),
            ("after", int(label.after)),
            ("before_known_at", MISSING if known is None else known),
            ("absorbed", int(label.absorbed)),
        ):
            into[self.number_names.index(name)] = value

    def _profile(self, profile: Row, into: NDArray[np.int64]) -> list[tuple[int, Any]]:
        entity = profile["entity"]
        if entity not in self._entities:
            raise InputError(f"a profile of {entity!r}; these features speak of {', '.join(self._entities)}", entity=entity)
        for name in ("home_latitude", "home_longitude", "opened_at", "utc_offset"):
            value = profile.get(name)
            if value is not None:
                assert isinstance(value, int)
                into[self.number_names.index(name)] = int(value)
        assert isinstance(entity, str)
        return [(self._entities[entity], profile["id"]), (self.key_names.index("home_country"), profile.get("home_country"))]


def _word(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    raise InputError(f"{value!r} is not text; map it as an id or category, so that it is read as text")


def _whole(value: object, column: str) -> int:
    if not isinstance(value, int):
        raise InputError(
            f"column {column!r} holds {value!r}; a number that is aggregated is exact: give it a scale in the column map", column=column
        )
    return int(value)


def _too_large(column: str) -> InputError:
    return InputError(
        f"column {column!r} holds a number beyond {AMOUNT_MINOR_MAX:,} in smallest units; give it a smaller scale", column=column
    )
