"""Canonical rows of a micro-batch into events for the fold: `assemble` without tables, for transactions as they arrive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.assemble import columns_of
from fraudloop.door.events import MISSING, SYSTEM_NUMBERS, TRANSACTION, Events
from fraudloop.door.identity import DEFAULT_KEY, hash_texts
from fraudloop.door.row import Row
from fraudloop.errors import InputError
from fraudloop.limits import AMOUNT_MINOR_MAX


class Batcher:
    """Prepared for the features of a plan; makes the events of one batch after another.

    >>> batcher = Batcher(FeatureSet.load("handbook"))
    >>> row = {"transaction_id": "t1", "timestamp": 5, "customer_id": "c1", "amount_base": 999}
    >>> events = batcher.events([row], [7])
    >>> int(events.time_us[0]), int(events.received_us[0]), len(events)
    (5, 7, 1)
    """

    def __init__(self, features: FeatureSet, key: bytes = DEFAULT_KEY) -> None:
        keys, numbers = columns_of(features)
        self.key = key
        self.key_names, self._key_columns = tuple(keys), tuple(keys.values())
        self.number_names = tuple(dict.fromkeys([*numbers, *SYSTEM_NUMBERS]))
        self._numbers = [(self.number_names.index(name), column) for name, column in numbers.items()]

    def events(self, rows: Sequence[Row], received_us: Sequence[int]) -> Events:
        """The events of canonical rows in log order. received_us: when each arrived, never decreasing.

        InputError for a number that is no integer: one that is aggregated needs a scale in the shape.
        """
        n, k = len(rows), len(self._key_columns)
        texts = [_word(row.get(column)) for row in rows for column in self._key_columns]
        numbers = np.full((n, len(self.number_names)), MISSING, np.int64)
        for at, column in self._numbers:
            numbers[:, at] = [_number(row.get(column), column) for row in rows]
        return Events(
            np.full(n, TRANSACTION, np.uint8),
            np.array([row["timestamp"] for row in rows], np.int64),
            np.array(received_us, np.int64),
            hash_texts(texts, self.key).reshape(n, k, 2),
            numbers,
            np.arange(n),
            self.key_names,
            self.number_names,
        )


def _word(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    raise InputError(f"{value!r} is not text; map it as an id or category, so that it is read as text")


def _number(value: object, column: str) -> int:
    if value is None:
        return MISSING
    if not isinstance(value, int):
        raise InputError(
            f"column {column!r} holds {value!r}; a number that is aggregated is exact: give it a scale in the column map", column=column
        )
    if abs(value) > AMOUNT_MINOR_MAX:
        raise InputError(
            f"column {column!r} holds a number beyond {AMOUNT_MINOR_MAX:,} in smallest units; give it a smaller scale", column=column
        )
    return value
