"""Snapshots that are cut short, changed, foreign or interrupted: refused with a reason, and the old file stays."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fraudloop.domain.definitions import Kind
from fraudloop.door.events import Events
from fraudloop.errors import SnapshotError
from fraudloop.features import plan as plan_module
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from tests.strategies import every_feature, long_run

ROOT = Path(__file__).parents[2]
#: One of each thing that a state holds: events, labels, numbers, known values, homes, the last event.
KINDS = (Kind.COUNT, Kind.STD, Kind.DISTINCT, Kind.FRAUD_COUNT, Kind.FRAUD_RATE, Kind.IS_NEW, Kind.KM_FROM_HOME, Kind.SPEED_KMH)
EVERY = every_feature()
FEW = EVERY.select(next(f.name for f in EVERY.features if f.kind is kind and f.window_us in (0, 3_600_000_000)) for kind in KINDS)
MAGIC = b"fraudloop-state\n"


@pytest.fixture(scope="module")
def events() -> Events:
    return long_run(1, FEW, 150)


@pytest.fixture(scope="module")
def fold(events: Events) -> Fold:
    out = Fold(compile_plan(FEW))
    out.step(events)
    return out


@pytest.fixture(scope="module")
def whole(fold: Fold, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "state"
    fold.snapshot(path)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


def head_of(data: bytes) -> tuple[dict[str, Any], int]:
    """The head and where it ends."""
    length = int.from_bytes(data[len(MAGIC) : len(MAGIC) + 8], "little")
    end = len(MAGIC) + 8 + length
    return json.loads(data[len(MAGIC) + 8 : end]), end


def resealed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The snapshot with another head, as a build that meant it would have written it: checksum and all."""
    head, end = head_of(data)
    change(head)
    text, body = json.dumps(head).encode(), data[end:-32]
    return MAGIC + len(text).to_bytes(8, "little") + text + body + hashlib.sha256(text + body).digest()


def refused(path: Path, data: bytes, match: str) -> None:
    path.write_bytes(data)
    with pytest.raises(SnapshotError, match=match) as caught:
        Fold.restore(path)
    assert str(path) in str(caught.value)
    assert "fold the log again" in str(caught.value)


def test_an_unchanged_file_is_restored(path: Path, whole: bytes, fold: Fold) -> None:
    """Also when it was written out again by the helper below: what that changes is what is refused."""
    path.write_bytes(resealed(whole, lambda head: None))
    assert Fold.restore(path).digest() == fold.digest()


def test_a_file_cut_short_anywhere_is_refused(path: Path, whole: bytes) -> None:
    head, end = head_of(whole)
    slots = end + head["words"] * 8
    table = slots + head["slots"] * 8
    checksum = len(whole) - 32
    sections = [0, len(MAGIC), len(MAGIC) + 8, end, slots, table, checksum, len(whole)]
    assert sorted(set(sections)) == sections
    for section in sections:
        for size in (section - 1, section, section + 1):
            if 0 <= size < len(whole):
                refused(path, whole[:size], "not a snapshot|damaged|cut short")
    refused(path, whole + b"\0", "cut short")


def test_a_changed_byte_anywhere_is_refused(path: Path, whole: bytes) -> None:
    """Every byte of the head, where a changed digit or letter is still a head, and many of the rest."""
    chance = random.Random(2)
    _, end = head_of(whole)
    others = [end, len(whole) - 33, len(whole) - 32, len(whole) - 1, *(chance.randrange(end, len(whole)) for _ in range(150))]
    for at in [*range(end), *others]:
        data = bytearray(whole)
        data[at] ^= 1 << chance.randrange(8)
        refused(path, bytes(data), "not a snapshot|damaged|cut short|checksum|version")


@pytest.mark.parametrize(
    "what", [b"", b"PAR1", b"\x89PNG\r\n\x1a\n" + bytes(100), b"fraudloop-state", MAGIC, MAGIC + b"\xff" * 8 + b"{}", MAGIC + bytes(8)]
)
def test_a_file_that_is_no_snapshot_is_refused(path: Path, what: bytes) -> None:
    refused(path, what, "not a snapshot|damaged|cut short")


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(SnapshotError, match=r"cannot be read .*; fold the log again"):
            Fold.restore(path)


@pytest.mark.parametrize("version", [0, 1, "2", None])
def test_another_version_is_refused_by_its_name(path: Path, whole: bytes, version: object) -> None:
    refused(path, resealed(whole, lambda head: head.update(version=version)), f"version {version}")


def test_features_that_this_build_does_not_know_are_refused(path: Path, whole: bytes) -> None:
    refused(path, resealed(whole, lambda head: head["features"]["features"][0].update(kind="fourier")), "does not know")
    refused(path, resealed(whole, lambda head: head["features"].pop("features")), "does not know")
    refused(path, resealed(whole, lambda head: head.update(features=None)), "does not know")


def test_a_state_of_other_features_is_not_read_as_of_these(path: Path, whole: bytes) -> None:
    """Swapping the feature set of a head would read one running number as another."""

    def other_window(head: dict[str, Any]) -> None:
        row = next(f for f in head["features"]["features"] if f.get("window") == "1h")
        row["window"] = "2h"

    refused(path, resealed(whole, other_window), "lays its state out in another way")


def test_a_state_laid_out_by_another_build_is_refused(path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(whole)
    monkeypatch.setattr(plan_module, "BUCKETS_PER_WINDOW", 512)
    with pytest.raises(SnapshotError, match="lays its state out in another way"):
        Fold.restore(path)


@pytest.mark.parametrize("name", ["words", "slots", "keys"])
@pytest.mark.parametrize("value", [-1, 2**62, "many", None])
def test_sizes_that_make_no_sense_are_refused_before_memory_is_asked_for(path: Path, whole: bytes, name: str, value: object) -> None:
    refused(path, resealed(whole, lambda head: head.update({name: value})), "damaged|cut short")


# --- writing -------------------------------------------------------------------------------------------------------


class Interrupted(RuntimeError):
    pass


def test_a_failure_between_any_two_writes_leaves_the_old_file(
    path: Path, whole: bytes, fold: Fold, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks = list(fold._chunks())
    assert len(chunks) >= 5
    for stop in range(len(chunks)):
        path.write_bytes(whole)

        def broken(stop: int = stop) -> Iterator[bytes | memoryview]:
            yield from chunks[:stop]
            raise Interrupted

        # `Fold` has slots for nothing: the method is replaced on the class for this one call.
        monkeypatch.setattr(Fold, "_chunks", lambda self, broken=broken: broken())
        with pytest.raises(Interrupted):
            fold.snapshot(path)
        monkeypatch.undo()
        assert path.read_bytes() == whole
        assert [p.name for p in path.parent.iterdir()] == ["state"]


def test_bytes_are_on_disk_before_the_name_and_the_name_before_the_return(path: Path, fold: Fold, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noting_replace(self: Path, target: Path) -> Path:
        done.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    fold.snapshot(path)
    assert done == ["file", "name", "folder"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, fold: Fold) -> None:
    with pytest.raises(FileNotFoundError, match="absent"):
        fold.snapshot(tmp_path / "absent" / "state")


def test_a_folder_in_the_place_of_the_file_is_left_alone(tmp_path: Path, fold: Fold) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "kept").touch()
    with pytest.raises(OSError, match="state"):
        fold.snapshot(tmp_path / "state")
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    assert (tmp_path / "state" / "kept").exists()


WRITER = """
import sys
from pathlib import Path
from fraudloop.features.fold import Fold
fold = Fold.restore(sys.argv[1])
"""


def run(code: str, *arguments: str, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WRITER + code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        preexec_fn=before,
    )


def test_a_full_disk_leaves_the_old_file(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, len(whole) // 2))

    code = """
try:
    fold.snapshot(sys.argv[1])
except OSError as error:
    print("OSError", error.strerror)
"""
    done = run(code, str(path), before=small_files_only)
    assert done.stdout.startswith("OSError File too large"), done
    assert path.read_bytes() == whole
    assert [p.name for p in path.parent.iterdir()] == ["state"]


def test_a_folder_that_may_not_be_written_to_leaves_the_old_file(path: Path, whole: bytes, tmp_path: Path) -> None:
    path.write_bytes(whole)
    tmp_path.chmod(0o555)
    code = """
import os
# By its name alone, from inside: the folders above may be closed to others, and root may write anywhere.
os.chdir(os.path.dirname(sys.argv[1]))
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    fold.snapshot("state")
except OSError as error:
    print(type(error).__name__, error.strerror, error.filename)
"""
    try:
        done = run(code, str(path))
    finally:
        tmp_path.chmod(0o755)
    assert done.stdout == "PermissionError Permission denied .state.new\n", done
    assert path.read_bytes() == whole
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_a_kill_while_writing_leaves_one_whole_state(path: Path, whole: bytes, events: Events) -> None:
    """A process folds and writes without end and is killed at any moment; what it leaves is a state it had."""
    path.write_bytes(whole)
    digests = path.with_name("digests")
    digests.write_text(Fold.restore(path).digest() + "\n")
    code = """
from tests.strategies import long_run
more = long_run(5, fold.plan.features, 2_000)
at = 0
with open(sys.argv[2], "a") as known:
    while True:
        fold.step(more[at : at + 3])
        at = (at + 3) % 1_990
        known.write(fold.digest() + "\\n")
        known.flush()
        fold.snapshot(sys.argv[1])
"""
    chance = random.Random(3)
    changed = 0
    for _ in range(3):
        before = path.read_bytes()
        process = subprocess.Popen([sys.executable, "-c", WRITER + code, str(path), str(digests)], cwd=ROOT)
        lines = len(digests.read_text().splitlines())
        give_up = time.monotonic() + 120
        while len(digests.read_text().splitlines()) < lines + 5:
            assert process.poll() is None, "the writer stopped by itself"
            assert time.monotonic() < give_up, "the writer writes nothing"
            time.sleep(0.01)
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        changed += path.read_bytes() != before
        restored = Fold.restore(path)
        assert restored.digest() in digests.read_text().splitlines()
        assert restored.verify()
        restored.snapshot(path)
        assert sorted(p.name for p in path.parent.iterdir()) == ["digests", "state"], "what the kill left is gone with the next snapshot"
    assert changed == 3
