"""`labels import` and `profiles import`: a table sent to a running service as events, in batches. The service's door reads the values.

A batch that was cut off may be sent again: the same label or profile told twice changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl

from fraudloop.data.readers import MALFORMED, scan
from fraudloop.errors import InputError
from fraudloop.telemetry import Progress, silent

#: Events of a request: what the service takes at most.
BATCH: Final = 1_000

#: Refusals that are kept with row and reason; beyond them they are only counted.
SHOWN_MAX: Final = 100

#: Of each kind, the columns without which no row of a file can be one.
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {"label": ("is_fraud", "fraud", "label"), "profile": ("id", "customer_id", "user_id")}


class Sender(Protocol):
    """What takes a list of events: `client.Client`."""

    def events(self, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the service did not take. row: of the file, from 1, without its header."""

    row: int
    field: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Told:
    """rows: of the file. taken: in the log of the service now. refused: not taken; `refusals` says why of the first of them."""

    rows: int
    taken: int
    refused: int
    refusals: tuple[Refused, ...]
    seconds: float


def tell(path: Path, kind: str, service: Sender, *, entity: str | None = None, progress: Progress = silent) -> Told:
    """Send every row of a file. kind: `label` or `profile`. entity: of profiles whose file has no such column.

    InputError: the file is no table of these. An error of the service ends it; what was taken until then stays, and telling it again is no harm.
    """
    source = scan(path)
    if not {name.lower() for name in source.columns} & {*_NEEDED[kind]}:
        raise InputError(f"{path}: no {kind}s: it has none of the columns {', '.join(_NEEDED[kind])}", columns=list(source.columns))
    begin, rows, taken, refused = time.monotonic(), 0, 0, 0
    refusals: list[Refused] = []
    for first, batch in _batches(source.chunks(), kind, entity):
        answer = service.events(batch)
        rows += len(batch)
        taken += int(answer["absorbed"])
        refused += int(answer["refused"])
        for error in answer["errors"]:
            if len(refusals) < SHOWN_MAX:
                refusals.append(Refused(first + int(error.get("index") or 0) + 1, error["field"], error["rule"], error["reason"]))
        progress(f"telling {kind}s", rows, source.rows or 0)
    if not rows:
        raise InputError(f"{path} has a header but no rows")
    return Told(rows, taken, refused, tuple(refusals), time.monotonic() - begin)


def _batches(chunks: Iterator[tuple[int, pl.DataFrame]], kind: str, entity: str | None) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    for first, frame in chunks:
        for at in range(0, frame.height, BATCH):
            rows = frame.slice(at, BATCH).to_dicts()
            yield first + at, [_event(row, kind, entity) for row in rows]


def _event(row: Mapping[str, Any], kind: str, entity: str | None) -> dict[str, Any]:
    """A row as the service's door reads it: nulls left out, times as text."""
    out = {name: _plain(value) for name, value in row.items() if value is not None and name != MALFORMED}
    if kind == "profile" and entity is not None:
        out.setdefault("entity", entity)
    return {**out, "kind": kind}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat() + ("" if value.tzinfo else "Z")
    if isinstance(value, date):
        return value.isoformat()
    return {name: _plain(one) for name, one in value.items() if one is not None} if isinstance(value, dict) else value
