"""The words of a label: who says that a transaction is fraud, since when it is known, and whose word counts.

Several sources may speak of one transaction, at different times, and take their word back. `effective` says which
label is in force. It is pure: it knows no file, no clock and no transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fraudloop.errors import InputError

#: Columns of a canonical label table, with the names polars gives their types. `known_at` is when the source says
#: it became known, never when it was recorded.
LABEL_SCHEMA: Final[Mapping[str, str]] = MappingProxyType(
    {
        "transaction_id": "String",
        "is_fraud": "Boolean",
        "source": "String",
        "known_at": "Datetime(us, UTC)",
        "reason": "String",
    }
)

REQUIRED: Final = ("transaction_id", "is_fraud", "known_at")

#: The fields a caller may bring, each with the names it also goes by.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "transaction_id": ("tx_id", "id"),
        "is_fraud": ("fraud", "label"),
        "source": ("label_source",),
        "known_at": ("label_known_at", "reported_at"),
        "reason": ("reason_code",),
    }
)

DEFAULT_SOURCE: Final = "file"

#: Whose word counts, the strongest last. Money that moved back under a scheme's rules (chargeback) outweighs what the
#: customer says, who was there (customer_report); that outweighs an analyst, who was not (review); a person who looked
#: at this very case outweighs a bulk import of unknown making (file); and any of them outweighs a rule, which is
#: what labels are there to check.
SOURCE_RANKS: Final[Mapping[str, int]] = MappingProxyType({"rule": 1, "file": 2, "review": 3, "customer_report": 4, "chargeback": 5})


@dataclass(frozen=True, slots=True)
class Label:
    """One statement of one source about one transaction. `known_at_us`: microseconds since 1970 UTC."""

    transaction_id: str
    is_fraud: bool
    known_at_us: int
    source: str = DEFAULT_SOURCE
    reason: str | None = None

    @property
    def rank(self) -> int:
        """The strength of its source.

        >>> Label("t1", True, 0, "chargeback").rank > Label("t1", True, 0, "review").rank
        True
        """
        return source_rank(self.source)


def source_rank(source: str) -> int:
    """The strength of a source; InputError naming the known ones if there is none of this name."""
    try:
        return SOURCE_RANKS[source]
    except KeyError:
        raise InputError(f"no label source {source!r}; sources, the strongest last: {', '.join(SOURCE_RANKS)}") from None


def effective(labels: Iterable[Label]) -> Label | None:
    """The label in force among those of one transaction, given in the order they arrived; None if there is none.

    The strongest source counts; of the same source the one known last; of those the one that arrived last. So a
    source takes its word back by saying the opposite later (a reversal), and a weaker source never moves a stronger
    one. A label that does not come into force leaves the one that was: adding a label gives the new one or the old.

    >>> fraud, won = Label("t1", True, 10, "chargeback"), Label("t1", False, 90, "chargeback")
    >>> effective([fraud, Label("t1", False, 50, "review")]) is fraud, effective([fraud, won]).is_fraud
    (True, False)
    """
    found: Label | None = None
    for label in labels:
        if found is None or (label.rank, label.known_at_us) >= (found.rank, found.known_at_us):
            found = label
    return found
