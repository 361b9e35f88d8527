"""The few things the log asks of a disk, and the folder that does them. What lies in the files is not known here.

A write is on disk only after `sync` of its file; a new name only after `create` returns. Everything between may be lost,
torn or reordered by a power failure: `ledger.simulated` is a disk that does just that.

A file may be longer than what was written to it (`extend`): a write into bytes that are there already changes neither length nor place of the
file, so a flush of it is one write to the disk instead of two or three that wait for one another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Protocol

from fraudloop.errors import LedgerError

_LOCK = ".lock"
_FRESH = ".new"

#: Open files: the one that is written, and the one before it, which another thread may still be flushing.
_OPEN_MAX = 2

#: Of a file that is extended again and again, what stays in memory behind its end: those who follow it are seconds behind, not minutes.
_CACHED_BYTES = 32 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Files(Protocol):
    """A flat folder of files. OSError for whatever the disk refuses."""

    def names(self) -> list[str]:
        """Every file but the lock and unfinished ones, sorted."""
        ...

    def size(self, name: str) -> int:
        """Bytes of a file."""
        ...

    def read(self, name: str, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset`; fewer at the end of the file."""
        ...

    def stamp(self, name: str) -> tuple[int, ...]:
        """Differs once the file of this name has been replaced; () if there is none."""
        ...

    def create(self, name: str, data: bytes, *, scrub: bool = False) -> None:
        """A whole file, in place of an older one of the name: after a power failure the old or the new, never a part.

        scrub: write zeros over the older one's bytes afterwards, as far as the file system lets (one that copies on write does not).
        """
        ...

    def write(self, name: str, offset: int, data: bytes) -> None:
        """All of `data` from `offset` on: at the end of a file, or over zeros that `extend` left there."""
        ...

    def extend(self, name: str, size: int) -> None:
        """Lengthen a file to `size` bytes by zeros that take their place on the disk; no longer one is left as it is."""
        ...

    def sync(self, name: str) -> None:
        """Returns once everything written to the file is on disk."""
        ...

    def handle(self, name: str) -> int:
        """The descriptor that `write` writes a file by, where there is a real one; OSError where there is none."""
        ...

    def cut(self, name: str, size: int) -> None:
        """Shorten a file to `size` bytes, on disk when it returns."""
        ...

    def remove(self, name: str) -> None:
        """Take a file away, on disk when it returns."""
        ...

    def lock(self, name: str) -> None:
        """Hold the lock of this name until `unlock` or `close`. LedgerError if another process holds it."""
        ...

    def unlock(self, name: str) -> None:
        """Let go of a lock."""
        ...

    def close(self) -> None:
        """Let go of the lock and of open files; a second call does nothing."""
        ...


class FolderFiles:
    """A folder of a real disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._beside = f"{self.folder}{os.sep}"
        self._open: dict[str, int] = {}
        #: Of open files that are extended, up to where they have left the memory.
        self._let_go: dict[str, int] = {}
        self._locks: dict[str, int] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"{folder}: the log's folder cannot be made ({error.strerror})") from error

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_file() and path.suffix not in (_LOCK, _FRESH))

    def size(self, name: str) -> int:
        return (self.folder / name).stat().st_size

    def read(self, name: str, offset: int, count: int) -> bytes:
        with (self.folder / name).open("rb") as file:
            file.seek(offset)
            return file.read(count)

    def stamp(self, name: str) -> tuple[int, ...]:
        try:
            found = os.stat(self._beside + name)  # noqa: PTH116 - making a Path costs more than asking, and this runs with every flush
        except FileNotFoundError:
            return ()
        return (found.st_ino, found.st_mtime_ns)

    def create(self, name: str, data: bytes, *, scrub: bool = False) -> None:
        old = _open_old(self.folder / name) if scrub else None
        try:
            self._replace(name, data)
            if old is not None:
                _write(old, bytes(os.fstat(old).st_size))
                os.fsync(old)
        finally:
            if old is not None:
                os.close(old)

    def _replace(self, name: str, data: bytes) -> None:
        fresh = self.folder / f"{name}{_FRESH}"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            _write(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        fresh.replace(self.folder / name)
        self._sync_folder()

    def write(self, name: str, offset: int, data: bytes) -> None:
        _write(self.handle(name), data, offset)

    def extend(self, name: str, size: int) -> None:
        handle = self.handle(name)
        have = os.fstat(handle).st_size
        if have >= size:
            return
        _write(handle, bytes(size - have), have)  # not `fallocate`: a first write into what that sets aside changes the file's metadata
        begin, end = self._let_go.get(name, 0), (have - _CACHED_BYTES) & -_PAGE_BYTES
        if end > begin and hasattr(os, "posix_fadvise"):
            # The next pages are then those that are let go here, and not ones that a virtual machine's host has yet to find.
            with contextlib.suppress(OSError):
                os.posix_fadvise(handle, begin, end - begin, os.POSIX_FADV_DONTNEED)
            self._let_go[name] = end

    def sync(self, name: str) -> None:
        os.fdatasync(self.handle(name))

    def cut(self, name: str, size: int) -> None:
        handle = self.handle(name)
        os.ftruncate(handle, size)
        os.fsync(handle)

    def remove(self, name: str) -> None:
        self._forget(name)
        (self.folder / name).unlink()
        self._sync_folder()

    def lock(self, name: str) -> None:
        handle = os.open(self.folder / f"{name}{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise LedgerError(f"{self.folder}: another process writes this log; stop it first, or take over from it") from error
        self._locks[name] = handle

    def unlock(self, name: str) -> None:
        os.close(self._locks.pop(name))

    def close(self) -> None:
        for name in list(self._open):
            self._forget(name)
        for name in list(self._locks):
            self.unlock(name)

    def handle(self, name: str) -> int:
        if name not in self._open:
            if len(self._open) >= _OPEN_MAX:
                self._forget(next(iter(self._open)))
            self._open[name] = os.open(self.folder / name, os.O_WRONLY | os.O_CLOEXEC)
        return self._open[name]

    def _forget(self, name: str) -> None:
        with contextlib.suppress(KeyError):
            os.close(self._open.pop(name))
            self._let_go.pop(name, None)

    def _sync_folder(self) -> None:
        handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _open_old(path: Path) -> int | None:
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _write(handle: int, data: bytes, offset: int = 0) -> None:
    """All of it: the kernel may take a part at a time."""
    rest = memoryview(data)
    while rest:
        taken = os.pwrite(handle, rest, offset)
        rest, offset = rest[taken:], offset + taken
