"""Which segments are old enough to go, and their going. The last segment never goes.

A segment goes when its newest record is older than the retention, all of it is in the export and in the index, and the oldest
snapshot that a restart could begin from is above it. What stands at the log's new beginning is left beside it first, so a power cut
between any two steps leaves a log that can be read and a next run that goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from fraudloop.ledger.export import check, days
from fraudloop.ledger.files import Files
from fraudloop.ledger.index import Index
from fraudloop.ledger.log import Reader, drop_before, segments
from fraudloop.ledger.records import decode_all
from fraudloop.ledger.standing import begin_of, leave_begins, standing_after
from fraudloop.limits import DAY_US, RETENTION_DAYS
from fraudloop.telemetry import Progress, silent


@dataclass(frozen=True, slots=True)
class Aged:
    """A segment: [first_lsn, next_lsn), bytes, and when its newest record arrived at the latest; None for the last one."""

    name: str
    first_lsn: int
    next_lsn: int
    bytes: int
    newest_us: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """first_lsn: where the log will begin. segments, bytes: what goes. kept_for: why the next one stays: `age`, `export`, `index`,
    `snapshot` or `last`."""

    first_lsn: int
    segments: tuple[str, ...]
    bytes: int
    kept_for: str


def plan(row: Sequence[Aged], *, cutoff_us: int, exported_lsn: int, indexed_lsn: int, snapshot_lsn: int) -> Plan:
    """Which segments from the oldest on may go. The LSNs are those up to which everything is exported, indexed, and in the oldest snapshot.

    >>> row = [Aged("a", 0, 10, 100, 5), Aged("b", 10, 20, 100, 9), Aged("c", 20, 30, 100, None)]
    >>> plan(row, cutoff_us=9, exported_lsn=15, indexed_lsn=30, snapshot_lsn=30)
    Plan(first_lsn=10, segments=('a',), bytes=100, kept_for='export')
    """
    gone: list[Aged] = []
    for segment in row:
        reason = (
            "last" if segment.newest_us is None
            else "age" if segment.newest_us > cutoff_us
            else "export" if segment.next_lsn > exported_lsn
            else "index" if segment.next_lsn > indexed_lsn
            else "snapshot" if segment.next_lsn > snapshot_lsn
            else None
        )  # fmt: skip
        if reason is not None:
            return Plan(segment.first_lsn, tuple(s.name for s in gone), sum(s.bytes for s in gone), reason)
        gone.append(segment)
    return Plan(0, (), 0, "last")


def aged(files: Files) -> list[Aged]:
    """The segments of a log, oldest first. How old one is follows from the first arrival after it: arrivals never go back along a log."""
    out = []
    row = segments(files)
    for segment, after in pairwise(row):
        out.append(Aged(segment.name, segment.first_lsn, after.first_lsn, files.size(segment.name), _first_arrival(files, after.first_lsn)))
    if row:
        last = row[-1]
        out.append(Aged(last.name, last.first_lsn, last.first_lsn, files.size(last.name), None))
    return out


def retain(
    files: Files,
    out: Path,
    index: Index,
    *,
    snapshot_lsn: int,
    now_us: int,
    retention_days: int = RETENTION_DAYS,
    dry: bool = False,
    progress: Progress = silent,
) -> Plan:
    """Let go of what may go. out: the folder of the export, whose days are checked first. dry: say only what would go.

    snapshot_lsn: up to which the oldest snapshot holds everything; 0 without one, and then nothing goes. LedgerError: an exported day is damaged.
    """
    mark, exported = index.watermark(), days(out)
    exported_lsn = exported[-1].next_lsn if exported else 0
    found = plan(
        aged(files), cutoff_us=now_us - retention_days * DAY_US, exported_lsn=exported_lsn, indexed_lsn=mark.next_lsn if mark else 0,
        snapshot_lsn=snapshot_lsn,
    )  # fmt: skip
    if dry:
        return found
    if found.segments:
        going = [day for day in exported if day.first_lsn < found.first_lsn]
        for done, day in enumerate(going, 1):
            check(out / day.day)
            progress("check the export", done, len(going))
        standing, begins = begin_of(files), {}
        for segment, after in pairwise(segments(files)):
            if after.first_lsn > found.first_lsn:
                break
            standing = standing_after(standing, Reader(files, segment.first_lsn).read(), after.first_lsn)
            begins[after.first_lsn] = standing
        leave_begins(files, begins)
        drop_before(files, found.first_lsn)
    row = segments(files)
    if row and mark is not None:
        index.drop_before(row[0].first_lsn)  # of this run, or of one that was cut short
    return found


def _first_arrival(files: Files, lsn: int) -> int | None:
    """When the first record from an LSN on that has a time arrived."""
    for group in Reader(files, lsn).read():
        for at, record in enumerate(decode_all(group.records), group.first_lsn):
            received = int(getattr(record, "received_us", 0))
            if at >= lsn and received:
                return received
    return None
