"""The log: positions, groups, epochs, reading beside a writer, damage."""

from __future__ import annotations

import multiprocessing
import os
from itertools import pairwise
from pathlib import Path

import pytest

from fraudloop.errors import FencedError, LedgerError
from fraudloop.ledger import files as files_module
from fraudloop.ledger.files import Files, FolderFiles
from fraudloop.ledger.groups import HEADER_BYTES, SEGMENT_BYTES
from fraudloop.ledger.log import Log, Reader, drop_before, segments, unread, verify
from fraudloop.ledger.simulated import SimulatedFiles


@pytest.fixture(params=["folder", "simulated"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return FolderFiles(tmp_path / "log") if request.param == "folder" else SimulatedFiles()


def records(files: Files, from_lsn: int = 0) -> list[bytes]:
    return [record for group in Reader(files, from_lsn).read() for record in group.records]


def damage(files: Files, name: str, at: int) -> None:
    """Change one byte of a file."""
    data = bytearray(files.read(name, 0, files.size(name)))
    data[at] ^= 0x40
    files.create(name, bytes(data))


def test_records_have_positions_without_gaps_over_restarts(files: Files) -> None:
    log = Log.open(files)
    assert [log.append(log.epoch, [b"a", b"b"]), log.append(log.epoch, [b""])] == [0, 2]
    assert log.flush() == 3
    log.close()
    log = Log.open(files)
    assert log.append(log.epoch, [b"d"]) == 3
    log.close()
    assert records(files) == [b"a", b"b", b"", b"d"]
    assert [record for group in Reader(files, 2).read() for record in group.records] == [b"", b"d"]
    assert verify(files).next_lsn == 4


@pytest.mark.parametrize("ahead", [0, 100, 5_000])
def test_a_reader_beside_the_writer_gets_each_group_once(files: Files, ahead: int) -> None:
    log = Log.open(files, segment_bytes=600, ahead_bytes=ahead)
    reader, seen = Reader(files), []
    for number in range(40):
        log.append(log.epoch, [b"x" * number, str(number).encode()])
        if number % 3 == 0:
            seen += [record for group in reader.read() for record in group.records]
    seen += [record for group in reader.read() for record in group.records]
    assert seen == [part for number in range(40) for part in (b"x" * number, str(number).encode())]
    assert len(segments(files)) > 5
    log.close()


def test_zeros_ahead_are_counted_for_nothing_and_cut_when_a_segment_is_finished(files: Files) -> None:
    log = Log.open(files, segment_bytes=2_000, ahead_bytes=700)
    first = segments(files)[0].name
    log.append(log.epoch, [b"a" * 100])
    written = SEGMENT_BYTES + HEADER_BYTES + 4 + 100
    assert files.size(first) == written + 700
    assert (unread(files, first), unread(files, first, written)) == (written - SEGMENT_BYTES, 0)
    assert verify(files).torn_bytes == 0 and records(files) == [b"a" * 100]
    log.append(log.epoch, [b"b" * 600])  # over zeros that are there
    assert files.size(first) == written + 700
    written += HEADER_BYTES + 4 + 600
    log.append(log.epoch, [b"c" * 600])
    assert files.size(first) == 2_000  # never longer than a segment
    log.append(log.epoch, [b"d" * 600])
    assert len(segments(files)) == 2 and files.size(first) == written + HEADER_BYTES + 4 + 600
    log.close()
    assert records(files) == [b"a" * 100, b"b" * 600, b"c" * 600, b"d" * 600]
    assert [files.read(s.name, 0, 9_999)[-1:] for s in segments(files)] == [b"c", b"d"]


def test_a_killed_writers_zeros_are_cut_by_the_one_after_it() -> None:
    files = SimulatedFiles()
    log = Log.open(files, ahead_bytes=5_000)
    log.append(log.epoch, [b"a"])
    log.flush()
    found = files.after_kill()
    name = segments(found)[0].name
    assert found.size(name) > 5_000
    Log.open(found).close()
    assert found.size(name) == SEGMENT_BYTES + HEADER_BYTES + 5 and records(found) == [b"a"]


def test_what_lies_far_behind_a_service_leaves_the_memory_and_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "_CACHED_BYTES", 1 << 20)
    let_go: list[tuple[int, int]] = []
    real = os.posix_fadvise

    def advise(handle: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        let_go.append((offset, offset + length))
        real(handle, offset, length, advice)

    monkeypatch.setattr(os, "posix_fadvise", advise)
    files = FolderFiles(tmp_path)
    log = Log.open(files, ahead_bytes=200_000)
    wanted = []
    for number in range(50):
        wanted.append(bytes([number]) * 90_000)
        log.append(log.epoch, [wanted[-1]])
        log.flush()
        size = files.size(segments(files)[0].name)
        assert all(end <= max(0, size - (1 << 20)) for _, end in let_go), "what was written just now stays"
    assert len(let_go) > 5 and all(begin == end for (_, end), (begin, _) in pairwise(let_go)), "each byte once"
    assert records(files) == wanted
    log.close()


def test_a_disk_without_room_for_zeros_takes_what_it_can() -> None:
    class Small(SimulatedFiles):
        def extend(self, name: str, size: int) -> None:
            super().extend(name, min(size, 1_000))
            if size > 1_000:
                raise OSError(28, "No space left on device")

    files = Small()
    log = Log.open(files, ahead_bytes=5_000)
    name = segments(files)[0].name
    wanted = [b"%d" % number * 200 for number in range(8)]
    for record in wanted:
        log.append(log.epoch, [record])
        assert files.size(name) >= 1_000
    assert log.flush() == 8
    log.append(log.epoch, [b"last"])
    log.close()
    assert records(files) == [*wanted, b"last"] and not files.read(name, 0, 9_999).endswith(b"\0")


def test_what_comes_while_a_reader_looks_for_the_next_segment_is_no_damage() -> None:
    files = SimulatedFiles()
    log = Log.open(files, segment_bytes=500)
    log.append(log.epoch, [b"a" * 100])
    reader, names = Reader(files), files.names

    def meanwhile() -> list[str]:
        """The writer appends to the segment whose end the reader has just met, and then begins another."""
        if reader.next_lsn == 1 and log.next_lsn == 1:
            log.append(log.epoch, [b"b" * 100])
            log.append(log.epoch, [b"c" * 400])
        return names()

    found: list[bytes] = []
    groups = reader.read()
    found += next(groups).records
    files.names = meanwhile  # type: ignore[method-assign]
    for group in groups:
        found += group.records
    assert [record[:1] for record in found] == [b"a", b"b", b"c"]
    assert len(segments(files)) == 2


def test_reading_may_begin_at_any_position(files: Files) -> None:
    log = Log.open(files, segment_bytes=400)
    for number in range(30):
        log.append(log.epoch, [bytes([number])] * 2)
    log.close()
    for lsn in range(60):
        groups = list(Reader(files, lsn).read())
        assert groups[0].first_lsn <= lsn < groups[0].next_lsn and groups[-1].next_lsn == 60


@pytest.mark.parametrize("ahead", [0, 300])
def test_an_older_writer_cannot_answer_once_a_newer_has_taken_over(files: Files, ahead: int) -> None:
    old = Log.open(files, segment_bytes=500, ahead_bytes=ahead)
    old.append(old.epoch, [b"kept"])
    old.flush()
    new = Log.open(files, take_over=True)
    for number in range(30):  # over the end of its segment too
        old.append(old.epoch, [b"in vain %d" % number])
    with pytest.raises(FencedError):
        old.flush()
    with pytest.raises(LedgerError, match="taken over"):
        old.append(old.epoch, [b"again"])
    assert new.append(new.epoch, [b"new"]) == 1
    new.flush()
    assert records(files) == [b"kept", b"new"]
    verify(files)


def test_a_reader_that_was_ahead_of_a_fenced_writer_is_told(files: Files) -> None:
    old = Log.open(files)
    old.append(old.epoch, [b"kept"])
    reader = Reader(files)
    assert len(list(reader.read())) == 1
    late = Reader(files)
    new = Log.open(files, take_over=True)
    old.append(old.epoch, [b"in vain"])
    new.append(new.epoch, [b"new"])
    assert [g.records for g in late.read()] == [(b"kept",), (b"new",)]
    assert [g.records for g in reader.read()] == [(b"new",)]


def test_two_writers_cannot_open_the_same_log(tmp_path: Path) -> None:
    log = Log.open(FolderFiles(tmp_path))
    with pytest.raises(LedgerError, match="another process writes this log"):
        Log.open(FolderFiles(tmp_path))
    log.close()
    Log.open(FolderFiles(tmp_path)).close()


def test_the_epoch_of_another_writer_is_refused(files: Files) -> None:
    log = Log.open(files)
    with pytest.raises(FencedError):
        log.append(log.epoch - 1, [b"a"])


def test_a_torn_end_is_cut_and_what_was_flushed_stays(files: Files) -> None:
    log = Log.open(files)
    log.append(log.epoch, [b"flushed"])
    log.flush()
    log.append(log.epoch, [b"torn"])
    name = segments(files)[-1].name
    files.cut(name, files.size(name) - 1)
    again = Log.open(files, take_over=True)
    assert again.next_lsn == 1 and records(files) == [b"flushed"]


def test_damage_of_flushed_records_is_refused_and_not_cut(files: Files) -> None:
    log = Log.open(files)
    log.append(log.epoch, [b"answered" * 4])
    log.flush()
    log.append(log.epoch, [b"later"])
    log.flush()
    name, size = segments(files)[-1].name, files.size(segments(files)[-1].name)
    damage(files, name, SEGMENT_BYTES + 90)
    for attempt in (lambda: Log.open(files, take_over=True), lambda: verify(files)):
        with pytest.raises(LedgerError, match=f"{name}: damaged at byte {SEGMENT_BYTES}: records from LSN 0 on"):
            attempt()
    assert files.size(name) == size


def test_damage_anywhere_is_found(files: Files) -> None:
    log = Log.open(files, segment_bytes=300)
    for number in range(12):
        log.append(log.epoch, [b"payload %d" % number])
        log.flush()
    log.close()
    Log.open(files).close()  # after which even the last group is followed by a segment
    whole = verify(files)
    for segment in segments(files):
        for at in range(0, files.size(segment.name), 7):
            damage(files, segment.name, at)
            with pytest.raises(LedgerError):
                verify(files)
            damage(files, segment.name, at)
    assert verify(files) == whole


@pytest.mark.parametrize("how", ["left out", "renamed", "of another log"])
def test_a_segment_left_out_renamed_or_exchanged_is_found(files: Files, how: str) -> None:
    def fill(target: Files) -> None:
        log = Log.open(target, segment_bytes=300)
        for number in range(12):
            log.append(log.epoch, [b"payload %d" % number])
        log.close()

    fill(files)
    middle = segments(files)[2]
    data = files.read(middle.name, 0, files.size(middle.name))
    if how == "left out":
        files.remove(middle.name)
    elif how == "renamed":
        files.remove(middle.name)
        files.create(f"{middle.first_lsn:020d}-{middle.epoch + 1:010d}.segment", data)
    else:
        other = SimulatedFiles()
        fill(other)
        other_name = segments(other)[2].name
        changed = other.read(other_name, 0, other.size(other_name))
        assert (changed == data) is False or how != "of another log"
        files.create(middle.name, changed)
    with pytest.raises(LedgerError):
        verify(files)


def test_old_segments_can_be_dropped_and_reading_says_what_is_gone(files: Files) -> None:
    log = Log.open(files, segment_bytes=300)
    for number in range(20):
        log.append(log.epoch, [b"payload %d" % number])
    log.close()
    assert drop_before(files, 11) >= 1
    first = segments(files)[0].first_lsn
    assert 0 < first <= 11
    assert verify(files).first_lsn == first
    with pytest.raises(LedgerError, match=f"begins at LSN {first}; 0 is no longer kept"):
        list(Reader(files, 0).read())
    assert drop_before(files, 10**9) >= 1 and len(segments(files)) == 1


def test_a_full_disk_ends_the_epoch_and_nothing_more_is_taken() -> None:
    files = SimulatedFiles()
    log = Log.open(files)
    log.append(log.epoch, [b"flushed"])
    log.flush()
    files.fail_at = files.steps + 1
    with pytest.raises(LedgerError, match="No space left"):
        log.append(log.epoch, [b"half" * 100])
    with pytest.raises(LedgerError, match="No space left"):
        log.append(log.epoch, [b"next"])
    with pytest.raises(LedgerError, match="No space left"):
        log.flush()
    again = Log.open(files, take_over=True)
    assert (again.next_lsn, records(files)) == (1, [b"flushed"])


@pytest.mark.parametrize(("data", "why"), [(b"{", "damaged"), (b'{"epoch": -1}', "not a number"), (b'{"epoch": "x"}', "not a number")])
def test_a_damaged_epoch_is_refused(files: Files, data: bytes, why: str) -> None:
    files.create("epoch.json", data)
    with pytest.raises(LedgerError, match=why):
        Log.open(files)


def test_a_file_that_is_no_segment_is_named(files: Files) -> None:
    files.create("copy of 1.segment", b"")
    with pytest.raises(LedgerError, match="copy of 1"):
        segments(files)


def _take(folder: str, results: multiprocessing.Queue[int | str]) -> None:
    try:
        results.put(Log.open(FolderFiles(Path(folder)), take_over=True).epoch)
    except LedgerError as error:
        results.put(str(error))


def test_writers_that_take_over_at_once_get_different_epochs(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    row = [context.Process(target=_take, args=(str(tmp_path), results)) for _ in range(3)]
    for process in row:
        process.start()
    epochs = [results.get(timeout=60) for _ in row]
    for process in row:
        process.join()
    taken = [epoch for epoch in epochs if isinstance(epoch, int)]
    assert taken and len(set(taken)) == len(taken)
