"""Large files written and removed on a disk that somebody else is flushing: a little at a time.

A system keeps what is written in memory and gives it to the disk when the file is flushed, hundreds of megabytes at once; whoever flushes a few kilobytes
meanwhile waits behind them. The same holds for the blocks of a large file that is removed, where the file system tells the disk of them
(`discard`). Here each piece is on its way before the next is written, so nobody waits for more than one.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

#: What somebody else's flush may have to wait for: a millisecond or two of a disk that writes 500 MB/s.
PIECE_BYTES: Final = 1024 * 1024

#: What is cut off a file at once. Larger than a piece, for only its blocks are given back, and each cut is flushed.
CUT_BYTES: Final = 16 * 1024 * 1024

#: `sync_file_range`: wait for what is on its way in the range, give the rest to the disk, and wait for that. It flushes neither the disk's own cache
#: nor what belongs to the file, so it costs others nothing.
_WAIT_WRITE_WAIT: Final = 1 | 2 | 4


class GentleFile(io.FileIO):
    """A file that is written anew from its beginning. What is written is not durable before `sync`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, GentleFile(Path(folder) / "state") as file:
    ...     file.write(b"some" * 3), file.sync(), (Path(folder) / "state").read_bytes()
    (12, None, b'somesomesome')
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, "wb")
        self._written = self._sent = 0

    def write(self, data: Any, /) -> int:
        """All of it: bytes, or what has bytes side by side. OSError as for any file."""
        view = memoryview(data)
        if not view.nbytes:
            return 0
        rest = view.cast("B")
        while rest:
            taken = super().write(rest[: PIECE_BYTES - (self._written - self._sent)])
            rest = rest[taken:]
            self._written += taken
            if self._written - self._sent >= PIECE_BYTES:
                _send(self.fileno(), self._sent, self._written - self._sent)
                self._sent = self._written
        return view.nbytes

    def sync(self) -> None:
        """What was written is on disk when it returns."""
        os.fsync(self.fileno())


def remove(path: Path) -> None:
    """Remove a file that nobody reads: who does, finds it cut short. One that has another name too, as in a copy made of links, keeps its content
    there. Nothing if there is none."""
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        try:
            found = os.fstat(handle)
            left = found.st_size if found.st_nlink == 1 else 0
            while left > CUT_BYTES:
                left -= CUT_BYTES
                os.ftruncate(handle, left)
                os.fsync(handle)
        finally:
            os.close(handle)
        path.unlink()


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, as `remove` does each file; what cannot be removed stays. Nothing if there is none."""
    with contextlib.suppress(OSError):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                remove(path)
    shutil.rmtree(folder, ignore_errors=True)


def _sync_file_range() -> Any:
    found = getattr(ctypes.CDLL(None), "sync_file_range", None) if sys.platform == "linux" else None
    if found is not None:
        found.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return found


_range = _sync_file_range()


def _send(handle: int, begin: int, count: int) -> None:
    """Give a part of a file to the disk. Other systems than Linux do so when they like."""
    if _range is not None:
        _range(handle, begin, count, _WAIT_WRITE_WAIT)  # a file system that cannot does so at the end
