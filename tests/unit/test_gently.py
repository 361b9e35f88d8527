"""Large files beside a log that is being flushed: the same bytes, in pieces of which each is on its way before the next."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fraudloop import gently
from fraudloop.gently import PIECE_BYTES, GentleFile, remove, remove_tree


def test_what_is_written_is_what_is_read_however_it_is_cut(tmp_path: Path) -> None:
    data = np.random.default_rng(1).integers(0, 256, 3 * PIECE_BYTES + 7, np.uint8)
    with GentleFile(tmp_path / "state") as file:
        for begin, end in ((0, 5), (5, 5), (5, PIECE_BYTES + 9), (PIECE_BYTES + 9, len(data))):
            assert file.write(data[begin:end].data) == end - begin
        file.sync()
    assert (tmp_path / "state").read_bytes() == data.tobytes()


def test_never_more_than_a_piece_is_held_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(gently, "_send", lambda handle, begin, count: sent.append((begin, count)))
    with GentleFile(tmp_path / "state") as file:
        for _ in range(10):
            file.write(bytes(PIECE_BYTES // 3))
            assert os.fstat(file.fileno()).st_size - sum(count for _, count in sent) < PIECE_BYTES
        file.write(bytes(4 * PIECE_BYTES))
    assert [begin for begin, _ in sent] == [at * PIECE_BYTES for at in range(len(sent))] and len(sent) == 7
    assert {count for _, count in sent} == {PIECE_BYTES}


def test_the_disk_is_really_asked(tmp_path: Path) -> None:
    with GentleFile(tmp_path / "state") as file:
        file.write(bytes(PIECE_BYTES))
        if gently._range is not None:
            assert gently._range(file.fileno(), 0, PIECE_BYTES, gently._WAIT_WRITE_WAIT) == 0


def test_a_full_disk_is_told_by_the_write(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with GentleFile("/dev/full") as file, pytest.raises(OSError, match="No space"):
        file.write(b"x")


def test_a_large_file_is_cut_before_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gently, "CUT_BYTES", 1_000)
    cuts: list[int] = []
    really = os.ftruncate

    def cut(handle: int, size: int) -> None:
        cuts.append(size)
        really(handle, size)

    monkeypatch.setattr(os, "ftruncate", cut)
    path = tmp_path / "old"
    path.write_bytes(bytes(3_500))
    remove(path)
    assert not path.exists() and cuts == [2_500, 1_500, 500]
    remove(path)  # and nothing where there is nothing


def test_a_copy_made_of_links_keeps_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gently, "CUT_BYTES", 1_000)
    path, copy = tmp_path / "old", tmp_path / "copy"
    path.write_bytes(bytes(3_500))
    copy.hardlink_to(path)
    remove(path)
    assert not path.exists() and copy.read_bytes() == bytes(3_500)


def test_a_folder_goes_with_all_in_it(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"kept")
    folder = tmp_path / "old"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "state").write_bytes(bytes(10))
    (folder / "link").symlink_to(kept)
    remove_tree(folder)
    remove_tree(folder)
    assert not folder.exists() and kept.read_bytes() == b"kept"
