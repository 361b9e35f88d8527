"""Pages of payments from the index: what a query asks for, and the answer. It knows no route, and no SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final

import msgspec

from fraudloop.api.problems import at_fault
from fraudloop.api.wire import Listing, Page, Versions
from fraudloop.domain.outcome import Outcome
from fraudloop.door.identity import DEFAULT_KEY
from fraudloop.door.pan import TokenKey, hide, holds_pan
from fraudloop.errors import LedgerError
from fraudloop.ledger.index import Ask, Index, Payment, Version, fingerprint
from fraudloop.limits import INDEX_PAGE_MAX

LIMIT: Final = 50
_NAMES: Final = ("outcome", "customer", "merchant", "from", "until", "before_lsn", "limit")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OUTCOMES: Final = {outcome.text: int(outcome) for outcome in Outcome}


class Listings:
    """Pages from an index that another process fills. open_index: called when the first page is asked for, and again after it failed."""

    def __init__(self, open_index: Callable[[], Index], key: bytes = DEFAULT_KEY, tokens: TokenKey | None = None) -> None:
        self._open, self._key, self._tokens = open_index, key, tokens or TokenKey()
        self._index: Index | None = None
        self._versions: dict[int, Version] = {}
        self._lock = Lock()

    def page(self, query: Iterable[tuple[str, str]]) -> Page:
        """The page that a query asks for. RefusedError names the parameter at fault; LedgerError: the index cannot be used."""
        ask, before_lsn, limit = self.asked(query)
        with self._lock:
            try:
                index = self._index = self._index or self._open()
                mark = index.watermark()
                found = index.page(ask, before_lsn=before_lsn, limit=limit)
                if any(row.version is not None and row.version not in self._versions for row in found):
                    self._versions = {version.version: version for version in index.versions()}
            except LedgerError:
                if self._index is not None:
                    self._index.close()
                    self._index = None
                raise
        rows = [self._listing(row) for row in found]
        return Page(rows, rows[-1].lsn if len(rows) == limit else None, 0 if mark is None else mark.next_lsn)

    def asked(self, query: Iterable[tuple[str, str]]) -> tuple[Ask, int | None, int]:
        """What a query means: which payments, below which LSN, how many."""
        given: dict[str, str] = {}
        for name, text in query:
            if name not in _NAMES:
                raise at_fault(hide(name), "query.unknown", f"is no parameter here; they are {', '.join(_NAMES)}")
            if name in given and name != "outcome":
                raise at_fault(name, f"{name}.twice", "is given twice")
            given[name] = f"{given[name]},{text}" if name in given else text
        outcomes = None
        if "outcome" in given:
            words = [word.strip().lower() for word in given["outcome"].split(",")]
            if not all(word in _OUTCOMES for word in words):
                raise at_fault("outcome", "outcome.unknown", f"must be among {', '.join(_OUTCOMES)}")
            outcomes = frozenset(_OUTCOMES[word] for word in words)
        ask = Ask(
            _time_us("from", given.get("from")), _time_us("until", given.get("until")), outcomes, self._fingerprint(given.get("customer")),
            self._fingerprint(given.get("merchant")),
        )  # fmt: skip
        return ask, _whole("before_lsn", given.get("before_lsn"), 0, 2**62), _whole("limit", given.get("limit"), 1, INDEX_PAGE_MAX) or LIMIT

    def _fingerprint(self, text: str | None) -> int | None:
        """Of an id as the log keeps it."""
        if text is None:
            return None
        return fingerprint(self._tokens.token(text) if holds_pan(text) else text.strip(), self._key)

    def _listing(self, row: Payment) -> Listing:
        version = None if row.version is None else self._versions.get(row.version)
        return Listing(
            row.transaction_id, row.lsn, _text(row.received_us), _text(row.time_us), row.merchant_id, row.amount_base,
            None if row.outcome is None else Outcome(row.outcome).text, None if row.tier is None else Outcome(row.tier).text,  # type: ignore[arg-type]
            row.fraud_score, row.risk_score, None if version is None else Versions(version.model, version.rules, version.policy, version.plan, version.build),
        )  # fmt: skip


def _whole(name: str, text: str | None, least: int, most: int) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 19 or not least <= int(text) <= most:
        raise at_fault(name, f"{name}.range", f"must be a whole number from {least:,} to {most:,}")
    return int(text)


def _time_us(name: str, text: str | None) -> int | None:
    """Microseconds of a time with an offset, or of the beginning of a day in UTC."""
    if text is None:
        return None
    # A plus sign that was not escaped arrives as a blank.
    text = text.strip().replace(" ", "+" if "T" in text and text.count(":") > 1 else "T", 1)
    try:
        time = msgspec.convert(f"{text}T00:00:00Z" if len(text) == 10 else text, datetime)
    except msgspec.ValidationError:
        time = None
    if time is None or time.tzinfo is None:
        raise at_fault(name, f"{name}.format", "must be a day like 2027-01-31, or a time with an offset like 2027-01-31T12:00:00Z")
    return (time - _EPOCH) // timedelta(microseconds=1)


def _text(us: int) -> str:
    return (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")
