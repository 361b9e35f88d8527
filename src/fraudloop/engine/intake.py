"""Labels and profiles on their way into the log: a label is joined to its payment, and settled against the labels it has already.

Precedence is `domain.label.effective`: source rank, then when it became known, then order of arrival. The record carries all that the fold
needs, so nothing is looked up when the log is read again.
"""

from __future__ import annotations

import numpy as np

from fraudloop.domain.label import Label
from fraudloop.engine.state import State
from fraudloop.errors import InputError
from fraudloop.ledger.files import Files
from fraudloop.ledger.records import Labelled, Transacted, decode


class NoPayment(InputError):
    """There is no payment with this transaction_id in the log; send the payment first, then its label."""


def find(state: State, files: Files, transaction_id: str) -> tuple[int, Transacted] | None:
    """The LSN and record of a payment; None if there is none."""
    lsn = int(state.known.get(state.fingerprints([transaction_id]))[0])
    if lsn < state.first_lsn:
        return None
    record = decode(state.positions.read(files, lsn))
    if not isinstance(record, Transacted) or record.row[0] != transaction_id:
        return None
    return lsn, record


def last_label(state: State, files: Files, lsn: int) -> tuple[int, Labelled] | None:
    """The last label of the payment at an LSN, with its own LSN."""
    at = int(state.labels.get(np.array([lsn], np.int64))[0])
    if at < 0:
        return None
    record = decode(state.positions.read(files, at))
    assert isinstance(record, Labelled), "labels are noted where they lie"
    return at, record


def settle(state: State, files: Files, label: Label, received_us: int) -> Labelled:
    """The record of a label. NoPayment if its payment is not in the log; InputError if it was known before the payment took place."""
    found = find(state, files, label.transaction_id)
    if found is None:
        raise NoPayment(transaction_id=label.transaction_id)
    lsn, payment = found
    moment = payment.row[state.columns.index("timestamp")]
    assert isinstance(moment, int), "a payment has a time"
    if label.known_at_us < moment:
        raise InputError("a label cannot be known before its transaction", field="known_at")
    before = last_label(state, files, lsn)
    return settled(lsn, payment, label, received_us, None if before is None else before[1])


def settled(lsn: int, payment: Transacted, label: Label, received_us: int, before: Labelled | None) -> Labelled:
    """What a label changes, given the last one before it."""
    was, was_known, was_rank = (0, 0, 0) if before is None else (before.after, before.time_us, before.rank)
    takes = before is None or (label.rank, label.known_at_us) >= (was_rank, was_known)
    after, time_us, rank = (int(label.is_fraud), label.known_at_us, label.rank) if takes else (was, was_known, was_rank)
    return Labelled(
        lsn, label.transaction_id, label.is_fraud, label.source, label.known_at_us, label.reason, received_us, was, after, time_us, was_known if was else None, rank,
        tuple(payment.row), payment.hashes, payment.received_us,
    )  # fmt: skip
