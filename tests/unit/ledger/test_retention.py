"""Segments go when they are old, exported, indexed and below the oldest snapshot; the rest can be read as before."""

from __future__ import annotations

import contextlib
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.errors import LedgerError
from fraudloop.ledger.export import days, export
from fraudloop.ledger.index import Ask, Indexer
from fraudloop.ledger.log import Reader, segments, verify
from fraudloop.ledger.memory_index import MemoryIndex
from fraudloop.ledger.retention import Aged, aged, plan, retain
from fraudloop.ledger.room import Room, disk_room, head_room
from fraudloop.ledger.simulated import PowerLoss, SimulatedFiles
from fraudloop.ledger.standing import Standing, begin_of, standing_after
from fraudloop.limits import DAY_US, DISK_FULL_BYTES
from tests.ledgers import BEGIN_US, records_of, write

RECORDS = records_of(400, seed=2, days=8)
NOW_US = BEGIN_US + 8 * DAY_US


def prepared(tmp_path: Path) -> tuple[SimulatedFiles, MemoryIndex]:
    files, index = SimulatedFiles(), MemoryIndex()
    write(files, RECORDS, segment_bytes=20_000)
    Indexer(files, index).catch_up()
    export(files, tmp_path)
    return files, index


@given(
    ages=st.lists(st.integers(0, 9), max_size=8), cutoff=st.integers(0, 10), exported=st.integers(0, 90), indexed=st.integers(0, 90), snapshot=st.integers(0, 90),
)  # fmt: skip
def test_what_goes_is_a_run_from_the_oldest_on_of_which_everything_holds(
    ages: list[int], cutoff: int, exported: int, indexed: int, snapshot: int
) -> None:
    row = [Aged(str(n), 10 * n, 10 * n + 10, 7, age) for n, age in enumerate(sorted(ages))]
    row.append(Aged("last", 10 * len(row), 10 * len(row), 7, None))
    found = plan(row, cutoff_us=cutoff, exported_lsn=exported, indexed_lsn=indexed, snapshot_lsn=snapshot)
    may = [s.newest_us is not None and s.newest_us <= cutoff and s.next_lsn <= min(exported, indexed, snapshot) for s in row]
    going = may.index(False)
    assert found.segments == tuple(s.name for s in row[:going])
    assert (found.first_lsn, found.bytes) == (row[going].first_lsn, 7 * going)


def test_old_segments_go_and_what_is_left_is_read_indexed_and_exported_as_before(tmp_path: Path) -> None:
    files, index = prepared(tmp_path / "out")
    whole = verify(files)
    done = retain(files, tmp_path / "out", index, snapshot_lsn=len(RECORDS), now_us=NOW_US, retention_days=3)
    assert done.kept_for == "age" and len(done.segments) > 3
    first = segments(files)[0].first_lsn
    assert first == done.first_lsn > 0
    assert all(getattr(record, "received_us", 0) <= NOW_US - 3 * DAY_US for record in RECORDS[:first])
    after = verify(files)
    assert (after.first_lsn, after.next_lsn, after.digest) == (first, whole.next_lsn, whole.digest)
    assert begin_of(files) == standing_after(Standing(), Reader(files, first).read()) or begin_of(files).columns
    again = MemoryIndex()
    Indexer(files, again, begin=begin_of(files)).catch_up()
    assert again.page(Ask(), limit=1_000) == index.page(Ask(), limit=1_000) or _facts(again) == _facts(index)
    assert export(files, tmp_path / "out") == []
    export(files, tmp_path / "fresh", begin=begin_of(files))
    assert days(tmp_path / "fresh")[-1].next_lsn == days(tmp_path / "out")[-1].next_lsn


def _facts(index: MemoryIndex) -> list[tuple[object, ...]]:
    """Payments with their versions by content: numbers of versions are given from the log's beginning on."""
    versions = index.versions()
    return [(*p[:-1], None if p.version is None else versions[p.version][1:]) for p in index.page(Ask(), limit=1_000)]


@pytest.mark.parametrize("lacks", ["snapshot", "export", "index"])
def test_nothing_goes_that_is_not_in_a_snapshot_the_export_and_the_index(tmp_path: Path, lacks: str) -> None:
    files, index = prepared(tmp_path / "out")
    out = tmp_path / ("nowhere" if lacks == "export" else "out")
    if lacks == "index":
        index = MemoryIndex()
    found = retain(files, out, index, snapshot_lsn=0 if lacks == "snapshot" else len(RECORDS), now_us=NOW_US, retention_days=3)
    assert (found.segments, found.kept_for) == ((), lacks)
    assert segments(files)[0].first_lsn == 0


def test_the_last_segment_stays_whatever_its_age(tmp_path: Path) -> None:
    files, index = prepared(tmp_path)
    row = aged(files)
    found = retain(files, tmp_path, index, snapshot_lsn=10**9, now_us=NOW_US * 2, retention_days=0)
    assert found.kept_for in ("export", "last") and segments(files)[-1].name == row[-1].name


def test_a_damaged_export_lets_nothing_go(tmp_path: Path) -> None:
    files, index = prepared(tmp_path)
    name = tmp_path / "2026-01-01" / "payments.parquet"
    name.write_bytes(name.read_bytes()[:-1])
    with pytest.raises(LedgerError, match="was changed"):
        retain(files, tmp_path, index, snapshot_lsn=len(RECORDS), now_us=NOW_US, retention_days=3)
    assert segments(files)[0].first_lsn == 0


def test_dry_says_what_would_go_and_lets_it_stay(tmp_path: Path) -> None:
    files, index = prepared(tmp_path)
    before = files.names()
    assert retain(files, tmp_path, index, snapshot_lsn=len(RECORDS), now_us=NOW_US, retention_days=3, dry=True).segments
    assert files.names() == before


def test_a_power_cut_at_any_step_leaves_a_log_that_is_read_and_a_run_that_goes_on(tmp_path: Path) -> None:
    files, index = prepared(tmp_path)
    names = {name: bytes(data) for name, data in files.now.items()}
    wanted = retain(SimulatedFiles(names), tmp_path, index, snapshot_lsn=len(RECORDS), now_us=NOW_US, retention_days=3, dry=True).first_lsn
    for crash in range(1, 40):
        for seed in range(3):
            disk = SimulatedFiles(names, crash_at=crash)
            own = MemoryIndex()
            Indexer(SimulatedFiles(names), own).catch_up()
            with contextlib.suppress(PowerLoss):
                retain(disk, tmp_path, own, snapshot_lsn=len(RECORDS), now_us=NOW_US, retention_days=3)
            found = disk.after_power_loss(Random(seed))
            verify(found)
            assert begin_of(found).columns or segments(found)[0].first_lsn == 0
            retain(found, tmp_path, own, snapshot_lsn=len(RECORDS), now_us=NOW_US, retention_days=3)
            assert segments(found)[0].first_lsn == wanted
            assert own.page(Ask(), limit=1_000)[-1].lsn >= wanted


@given(free=st.integers(0, 10**13), total=st.integers(1, 10**13), rate=st.floats(0, 1e12))
def test_room_is_full_below_a_segment_and_low_below_a_tenth_or_a_day(free: int, total: int, rate: float) -> None:
    found = head_room(free, total, rate)
    if free < DISK_FULL_BYTES:
        assert found.state is Room.FULL
    elif free < total / 10 or free < rate:
        assert found.state is Room.LOW
    else:
        assert found.state is Room.OK


def test_the_room_of_a_real_disk_is_what_it_says(tmp_path: Path) -> None:
    found = disk_room(tmp_path)
    assert 0 < found.free_bytes <= found.total_bytes and found.days_left is None
    assert disk_room(tmp_path, found.free_bytes).state is not Room.OK
