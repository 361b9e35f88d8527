"""The index in memory: for tests, and for a look at a log that needs no file. The plainest reading of what an index answers."""

from __future__ import annotations

from fraudloop.errors import LedgerError
from fraudloop.ledger.index import Ask, Control, LabelRow, Payment, Place, Rows, Version, Watermark


class MemoryIndex:
    """Lists in the order of the log.

    >>> MemoryIndex().page(Ask())
    []
    """

    def __init__(self) -> None:
        self._rows = Rows()
        self._mark: Watermark | None = None

    def watermark(self) -> Watermark | None:
        return self._mark

    def versions(self) -> list[Version]:
        return list(self._rows.versions)

    def write(self, rows: Rows, watermark: Watermark, after_lsn: int) -> None:
        if (self._mark.next_lsn if self._mark is not None else -1) != after_lsn:
            raise LedgerError("another process fills this index; let only one do so", after_lsn=after_lsn)
        mine = self._rows
        mine.payments += rows.payments
        mine.lookups += rows.lookups
        mine.labels += rows.labels
        mine.controls += rows.controls
        mine.places += rows.places
        mine.versions += rows.versions
        self._mark = watermark

    def payments(self, transaction: int) -> list[Payment]:
        lsns = {lookup.lsn for lookup in self._rows.lookups if lookup.kind == 0 and lookup.key == transaction}
        return [payment for payment in reversed(self._rows.payments) if payment.lsn in lsns]

    def page(self, ask: Ask, *, before_lsn: int | None = None, limit: int = 50) -> list[Payment]:
        found = [p for p in reversed(self._rows.payments) if (before_lsn is None or p.lsn < before_lsn) and _asked(ask, p)]
        return found[:limit]

    def labels(self, payment_lsn: int) -> list[LabelRow]:
        return [label for label in self._rows.labels if label.payment == payment_lsn]

    def controls(self, *, after_lsn: int = -1, limit: int = 1_000) -> list[Control]:
        return [control for control in self._rows.controls if control.lsn > after_lsn][:limit]

    def place(self, lsn: int) -> Place | None:
        if self._mark is None or lsn >= self._mark.next_lsn:
            return None
        return next((place for place in reversed(self._rows.places) if place.first_lsn <= lsn), None)

    def drop_before(self, lsn: int) -> None:
        mine = self._rows
        self._rows = Rows(
            [row for row in mine.payments if row.lsn >= lsn], [row for row in mine.lookups if row.lsn >= lsn],
            [row for row in mine.labels if row.lsn >= lsn], [row for row in mine.controls if row.lsn >= lsn],
            [row for row in mine.places if row.first_lsn >= lsn], mine.versions,
        )  # fmt: skip

    def clear(self) -> None:
        self._rows, self._mark = Rows(), None

    def close(self) -> None:
        pass


def _asked(ask: Ask, p: Payment) -> bool:
    return (
        (ask.from_us is None or p.received_us >= ask.from_us)
        and (ask.until_us is None or p.received_us < ask.until_us)
        and (ask.outcomes is None or p.outcome in ask.outcomes)
        and (ask.customer is None or p.customer == ask.customer)
        and (ask.merchant is None or p.merchant == ask.merchant)
        and (ask.risk_min is None or (p.risk_score is not None and p.risk_score >= ask.risk_min))
        and (ask.risk_max is None or (p.risk_score is not None and p.risk_score <= ask.risk_max))
    )
