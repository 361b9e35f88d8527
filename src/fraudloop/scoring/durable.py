"""File operations that survive a power cut, and a lock between processes. Each one is a method, so that a test can stop
the process between any two of them. It knows no bundle and no store.

A name that was made, replaced or taken away is only certain once its folder was flushed: `sync_folder`.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from fraudloop.errors import FraudloopError

#: How often a held lock is tried again.
_RETRY_S: Final = 0.02


class Disk:
    """The operations in the order a caller writes them; each has taken effect when it returns. OSError as the system gives it."""

    def make_folder(self, path: Path) -> None:
        """Make one folder; nothing if it is there."""
        path.mkdir(exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Write a whole file and flush it."""
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def append(self, path: Path, data: bytes) -> None:
        """Write at the end of a file, made if it is not there, and flush it."""
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to `size` bytes and flush it."""
        with path.open("r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder another name at once; a file of that name is replaced."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Take a file away; nothing if it is not there."""
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """Take a folder and all in it away; nothing if it is not there."""
        shutil.rmtree(path, ignore_errors=True)

    def sync_folder(self, path: Path) -> None:
        """Flush the names in a folder, where the system has that (Windows has not)."""
        if sys.platform == "win32":
            return
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def exclusive(path: Path, wait_s: float) -> Iterator[None]:
    """Hold the lock of a file for the block: one process of a machine at a time, and one thread of it. The system lets
    it go when the holder dies. FraudloopError if another still holds it after `wait_s` seconds.
    """
    with path.open("a+b") as file:
        until = time.monotonic() + wait_s
        while not _try_lock(file):
            if time.monotonic() >= until:
                raise FraudloopError(f"{path}: another process has held this lock for {wait_s:g} s; try again when it is done")
            time.sleep(_RETRY_S)
        try:
            yield
        finally:
            _unlock(file)


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _unlock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)
