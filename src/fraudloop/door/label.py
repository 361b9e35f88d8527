"""The door for one label: what `table.admit_labels` does to a table of them, for `POST /feedback` and events.

It knows no transaction: whether there is one, and whether the label is older than it, is for whoever joins the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from fraudloop.domain.label import DEFAULT_SOURCE, FIELDS, SOURCE_RANKS, Label
from fraudloop.door import value
from fraudloop.door.body import Refusal
from fraudloop.door.pan import TokenKey, hide
from fraudloop.door.record import Record

_RECORD: Final = Record(
    FIELDS,
    {
        "transaction_id": value.identifier,
        "is_fraud": value.flag,
        "source": partial(value.choice, among=tuple(SOURCE_RANKS)),
        "known_at": value.time,
        "reason": value.word,
    },
    ("transaction_id", "is_fraud"),
    "transaction_id",
    frozenset({"known_at"}),
)


@dataclass(frozen=True, slots=True)
class LabelAdmission:
    """label: the canonical label, or None if it was refused; refusals say why. notes: as `table.Admitted.notes`."""

    label: Label | None
    refusals: tuple[Refusal, ...] = ()
    notes: Counter[str] = field(default_factory=Counter)


def admit_label(body: Mapping[str, Any], now_us: int, tokens: TokenKey | None = None, source: str = DEFAULT_SOURCE) -> LabelAdmission:
    """A label from a decoded JSON object.

    now_us: microseconds since 1970 UTC; a label without `known_at` became known now, one from the future is refused.
    tokens: the key for card numbers in the id; None is the default key. source: of a label that names none.

    >>> admit_label({"id": "t1", "fraud": "yes", "source": "chargeback"}, 5).label
    Label(transaction_id='t1', is_fraud=True, known_at_us=5, source='chargeback', reason=None)
    >>> [(r.field, r.rule) for r in admit_label({"id": "t1", "fraud": 1, "source": "rumour"}, 5).refusals]
    [('source', 'source.unknown')]
    """
    got, fields, refusals, notes = _RECORD.admit(body, tokens or TokenKey())
    known_at = got.get("known_at")
    if known_at is not None and known_at > now_us:
        refusals.append(Refusal(hide(fields["known_at"]), "known_at.future", "is in the future; a label is known when it is told"))
    if refusals:
        return LabelAdmission(None, tuple(refusals), notes)
    label = Label(got["transaction_id"], got["is_fraud"], now_us if known_at is None else known_at, got["source"] or source, got["reason"])
    return LabelAdmission(label, (), notes)
