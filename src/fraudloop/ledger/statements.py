"""SQL of the stores, from the `.sql` files beside it: a schema whole, queries by the name that stands above each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from fraudloop.ledger.index import Ask, Key, mask_of
from fraudloop.limits import INDEX_PAGE_MAX

_FOLDER: Final = Path(__file__).resolve().parent / "sql"
_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)

#: Tables whose rows go with the log's segments. Versions are few and stay.
DROPPED: Final = ("payments", "lookups", "labels", "controls", "places")
TABLES: Final = (*DROPPED, "versions", "watermark")

#: Above every LSN.
_END: Final = 2**62


def schema(store: str) -> str:
    """The tables of a store: `sqlite` or `postgres`."""
    return (_FOLDER / f"{store}_schema.sql").read_text("utf-8")


@lru_cache
def queries(store: str) -> Mapping[str, str]:
    """The queries of a store by name.

    >>> "page" in queries("sqlite")
    True
    """
    parts = _NAME.split((_FOLDER / f"{store}_queries.sql").read_text("utf-8"))[1:]
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


def page_query(ask: Ask, before_lsn: int | None, limit: int, first_lsn: int, until_lsn: int | None) -> tuple[str, dict[str, Any]]:
    """The name of the query that answers with the fewest rows read, and its values. first_lsn, until_lsn: what the times of `ask` mean."""
    assert 0 < limit <= INDEX_PAGE_MAX, f"a page has 1 to {INDEX_PAGE_MAX} rows"
    before = min(_END if before_lsn is None else before_lsn, _END if until_lsn is None else until_lsn)
    values = {
        "first": first_lsn, "before": before, "mask": mask_of(ask.outcomes), "risk_min": ask.risk_min, "risk_max": ask.risk_max, "limit": limit,
    }  # fmt: skip
    if ask.customer is not None:
        return "page_of_key", values | {"kind": int(Key.CUSTOMER), "key": ask.customer, "merchant": ask.merchant}
    if ask.merchant is not None:
        return "page_of_key", values | {"kind": int(Key.MERCHANT), "key": ask.merchant, "merchant": None}
    if ask.outcomes is not None and 0 not in ask.outcomes:
        return "page_stopped", values
    return "page", values


def range_of(ask: Ask, first_from: Iterator[int | None]) -> tuple[int, int | None]:
    """The LSNs [first, until) that the times of `ask` mean; until None: to the end. first_from: the first LSN received from `from_us` on,
    and from `until_us` on, in this order and only where asked; None where there is none."""
    first, until = 0, None
    if ask.from_us is not None:
        found = next(first_from)
        first = _END if found is None else found
    if ask.until_us is not None:
        until = next(first_from)
    return first, until
