"""Disks that fail: one kills its process at a given moment, one loses what was not flushed when the power goes."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from fraudloop.scoring.durable import Disk


class Killing(Disk):
    """Kills its own process at the n-th moment: before an operation, in the middle of a write, after an operation."""

    def __init__(self, at: int) -> None:
        self.at, self.done = at, 0

    def _moment(self) -> None:
        if self.done == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.done += 1

    def make_folder(self, path: Path) -> None:
        self._moment()
        super().make_folder(path)

    def write(self, path: Path, data: bytes) -> None:
        self._moment()
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        self._moment()
        super().write(path, data)

    def append(self, path: Path, data: bytes) -> None:
        self._moment()
        size = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            file.write(data[: len(data) // 2])
        self._moment()
        os.truncate(path, size)
        super().append(path, data)

    def truncate(self, path: Path, size: int) -> None:
        self._moment()
        super().truncate(path, size)

    def rename(self, old: Path, new: Path) -> None:
        self._moment()
        super().rename(old, new)
        self._moment()

    def unlink(self, path: Path) -> None:
        self._moment()
        super().unlink(path)

    def remove_tree(self, path: Path) -> None:
        self._moment()
        super().remove_tree(path)

    def sync_folder(self, path: Path) -> None:
        self._moment()
        super().sync_folder(path)
        self._moment()


class PowerCut(Exception):
    """The machine is off."""


class Powered(Disk):
    """Loses what was not flushed when the power goes at the n-th operation: names made, replaced or taken away in a
    folder since it was last flushed are as they were before."""

    def __init__(self, at: int) -> None:
        self.at, self.done = at, 0
        self._undo: list[tuple[Path, Path, Path | None]] = []  # folder, name, what it held
        self._kept = 0

    def _moment(self) -> None:
        if self.done == self.at:
            for _, path, before in reversed(self._undo):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                if before is not None:
                    before.rename(path)
            raise PowerCut
        self.done += 1

    def _remember(self, path: Path) -> None:
        before = None
        if path.exists():
            self._kept += 1
            before = _outside(path) / f"kept-{self._kept}"
            if path.is_dir():
                shutil.copytree(path, before)
            else:
                shutil.copy2(path, before)
        self._undo.append((path.parent, path, before))

    def make_folder(self, path: Path) -> None:
        self._moment()
        if not path.exists():
            self._remember(path)
        super().make_folder(path)

    def write(self, path: Path, data: bytes) -> None:
        self._moment()
        self._remember(path)
        super().write(path, data)

    def append(self, path: Path, data: bytes) -> None:
        self._moment()
        if not path.exists():
            self._remember(path)
        super().append(path, data)

    def rename(self, old: Path, new: Path) -> None:
        self._moment()
        self._remember(old)
        self._remember(new)
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._moment()
        self._remember(path)
        super().unlink(path)

    def sync_folder(self, path: Path) -> None:
        self._moment()
        super().sync_folder(path)
        self._undo = [row for row in self._undo if row[0] != path]


def _outside(path: Path) -> Path:
    """The folder beside the store that a path lies in."""
    return next(parent.parent for parent in path.parents if parent.name == "store")
