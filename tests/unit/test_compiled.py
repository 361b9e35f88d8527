"""Machine code of kernels: found where it may be, loaded only from where it is safe, and only if whole and of these sources.

Each case runs a tiny kernel in a package of its own that holds the real `compiled.py`, in fresh processes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import fraudloop.compiled as real

TINY = """
from fraudloop.compiled import njit

@njit
def tiny(x):
    return x * 2 + 1
"""

#: What a process does: reads Numba with all it needs while it still may, gives up its rights where told so, runs the kernel.
RUN = """
import os, sys, tempfile
import numba
from numba.core import caching
if sys.argv[1] == "nobody" and os.geteuid() == 0:
    numba.njit(lambda x: x + 1)(1)
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
if sys.argv[2] == "no temporary folder":
    tempfile._candidate_tempdir_list = lambda: []
from fraudloop import compiled
from fraudloop.features import tiny
print(tiny.tiny(20), sum(tiny.tiny._cache_hits.values()), compiled.__file__)
"""

#: One process that puts one bad file after another in the place of each good one.
TORN = """
import importlib, pathlib, sys
from fraudloop.features import tiny

def run():
    importlib.reload(tiny)
    return tiny.tiny(20), sum(tiny.tiny._cache_hits.values())

assert run() == (41, 0)
whole = {path: path.read_bytes() for path in pathlib.Path(sys.argv[1]).iterdir()}
assert len(whole) == 2
for path, data in whole.items():
    bad = [b"", data[:1], data[:-1], data + b"more", b"no code at all", *(data[: len(data) * k // 8] for k in range(1, 8))]
    for at in range(0, len(data), len(data) // 40):
        bad.append(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
    for what in bad:
        path.write_bytes(what)
        assert run() == (41, 0), (path, what[:40], len(what))
        assert run() == (41, 1), "it is whole again"
        for name, good in whole.items():
            name.write_bytes(good)
assert run() == (41, 1)
"""


@dataclass
class Package:
    """A package with one kernel, and the folders of a process that runs it."""

    root: Path

    @property
    def package(self) -> Path:
        return self.root / "site" / "fraudloop"

    @property
    def own(self) -> Path:
        return self.package / "_compiled"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    def process(self, code: str, *arguments: str, **env: str) -> str:
        given = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self.root / "site"),
            "TMPDIR": str(self.temporary),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env=given | env, cwd="/", capture_output=True, text=True, check=False, timeout=240
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def run(self, who: str = "me", where: str = "anywhere", **env: str) -> tuple[int, int]:
        """(what the kernel gave for 20, how often machine code was loaded rather than made)."""
        value, hits, file = self.process(RUN, who, where, **env).split(maxsplit=2)
        assert file.strip() == str(self.package / "compiled.py")
        return int(value), int(hits)

    def files(self, folder: Path) -> list[str]:
        return sorted(p.suffix for p in folder.rglob("*") if p.is_file())

    def close(self) -> None:
        """Read-only, as a system's packages are."""
        for path in [*self.package.rglob("*"), self.package, self.root / "site"]:
            path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.fixture
def package() -> Iterator[Package]:
    # Below the system's own temporary folder, which others may enter; those of the tests are closed.
    root = Path(tempfile.mkdtemp(prefix="fraudloop-test-"))
    out = Package(root)
    (out.package / "features").mkdir(parents=True)
    for name in ("__init__.py", "limits.py", "features/__init__.py"):
        (out.package / name).touch()
    (out.package / "features" / "tiny.py").write_text(TINY)
    shutil.copy(real.__file__, out.package / "compiled.py")
    root.chmod(0o755)
    out.home.mkdir(mode=0o755)
    out.temporary.mkdir()
    out.temporary.chmod(0o1777)
    yield out
    for path in [root, *root.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(root)


def test_code_is_made_once_and_then_loaded(package: Package) -> None:
    cache = package.root / "given"
    assert package.run(FRAUDLOOP_CACHE_DIR=str(cache)) == (41, 0)
    assert package.files(cache) == [".nbc", ".nbi"]
    assert package.run(FRAUDLOOP_CACHE_DIR=str(cache)) == (41, 1)
    assert not package.own.exists()
    assert package.files(package.temporary) == []


@pytest.mark.parametrize("where", ["anywhere", "no temporary folder"])
def test_a_read_only_install_with_prepared_code_needs_no_home_and_writes_nothing(package: Package, where: str) -> None:
    assert package.run() == (41, 0)
    assert package.files(package.own) == [".nbc", ".nbi"]
    package.close()
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in package.root.rglob("*") if p != package.temporary}
    assert package.run("nobody", where) == (41, 1)
    assert {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in package.root.rglob("*") if p != package.temporary} == before


def test_a_read_only_install_without_prepared_code_keeps_it_at_home(package: Package) -> None:
    package.close()
    if os.geteuid() == 0:
        os.chown(package.home, 65534, 65534)
    assert package.run("nobody", HOME=str(package.home)) == (41, 0)
    assert package.files(package.home) == [".nbc", ".nbi"]
    assert package.run("nobody", HOME=str(package.home)) == (41, 1)
    assert package.files(package.temporary) == []


def test_without_a_home_the_temporary_folder_serves(package: Package) -> None:
    package.close()
    assert package.run("nobody") == (41, 0)
    folders = list(package.temporary.iterdir())
    assert [oct(f.stat().st_mode & 0o022) for f in folders] == ["0o0"], "others may not write there"
    assert package.run("nobody") == (41, 1)


def test_where_nothing_can_be_written_the_kernel_still_runs(package: Package) -> None:
    package.close()
    assert package.run("nobody", "no temporary folder") == (41, 0)


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_folder_that_others_can_write_to_is_neither_read_nor_written(package: Package, mode: int) -> None:
    package.run()
    package.own.chmod(mode)
    (package.own / "mark").touch()
    before = sorted((p.name, p.stat().st_mtime_ns) for p in package.own.iterdir())
    assert package.run(HOME=str(package.home)) == (41, 0)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in package.own.iterdir()) == before
    assert package.files(package.home) == [".nbc", ".nbi"], "the next place serves"
    package.own.chmod(0o755)
    shutil.rmtree(package.home / ".cache")
    assert package.run(HOME=str(package.home)) == (41, 1), "it was the mode alone"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a folder of another user")
def test_a_folder_of_another_user_is_neither_read_nor_written(package: Package) -> None:
    package.close()
    theirs = package.temporary / "fraudloop-kernels-65534"
    assert package.run("nobody") == (41, 0)
    os.chown(theirs, 12345, 12345)
    theirs.chmod(0o755)
    assert package.run("nobody") == (41, 0)


def test_another_source_of_any_kernel_makes_the_code_stale(package: Package) -> None:
    assert package.run() == (41, 0)
    tiny = package.package / "features" / "tiny.py"
    tiny.write_text(TINY.replace("* 2", "* 3"))
    assert package.run() == (61, 0)
    # A constant of another file is compiled in too, though the function's own file is the same.
    (package.package / "limits.py").write_text("DAY = 1\n")
    assert package.run() == (61, 0)
    (package.package / "other.py").write_text("DAY = 1\n")
    os.utime(tiny, (1, 1))
    assert package.run() == (61, 1), "neither what is no source of a kernel nor the age of one changes anything"


def test_a_file_torn_or_changed_anywhere_is_made_anew(package: Package) -> None:
    package.process(TORN, str(package.own))


def test_code_of_older_sources_is_not_taken_for_that_of_these(package: Package) -> None:
    """A process killed between writing the index and the code leaves the new index beside the old code."""
    assert package.run() == (41, 0)
    (code,) = package.own.glob("*.nbc")
    old = code.read_bytes()
    (package.package / "features" / "tiny.py").write_text(TINY.replace("* 2", "* 3"))
    assert package.run() == (61, 0)
    code.write_bytes(old)
    assert package.run() == (61, 0)


def test_sources_of_kernels_are_all_watched() -> None:
    """Every module that holds kernel code is among those whose change makes machine code stale."""
    package = Path(real.__file__).parent
    watched = {path for pattern in real.KERNEL_SOURCES for path in package.glob(pattern)}
    holds = {
        path
        for path in package.rglob("*.py")
        if "register_jitable" in path.read_text("utf-8") or "compiled import njit" in path.read_text("utf-8")
    }
    assert holds - watched <= {package / "compiled.py"}
    for pattern in real.KERNEL_SOURCES:
        assert list(package.glob(pattern)), f"{pattern} names no file"
