"""A disk in memory that loses power: for tests of whatever must survive it. It behaves like `files.FolderFiles`.

Every step that a real disk takes is counted. At the step of `crash_at` the power goes (PowerLoss); `after_power_loss`
then gives a disk as it may legally be found: synced bytes are there; of what was written since, any sectors of 512
bytes may be there, be zeros, or be missing from the end; a file being replaced is the old or the new one. `after_kill` is milder:
the process alone died, so all that it wrote is there. At the step of `fail_at` the disk is full.
"""

from __future__ import annotations

import errno
from random import Random
from typing import Final

from fraudloop.errors import LedgerError

SECTOR_BYTES: Final = 512


class PowerLoss(BaseException):
    """The power is gone in the middle of a step. No handler of errors may catch it, as none could."""


class SimulatedFiles:
    """`Files` in memory. names: content at first.

    >>> files = SimulatedFiles()
    >>> files.create("a", b"head"); files.write("a", 4, b" lost?")
    >>> files.after_kill().read("a", 0, 99)
    b'head lost?'
    >>> len(files.after_power_loss(Random(1)).read("a", 0, 99)) in range(4, 11)
    True
    """

    def __init__(self, names: dict[str, bytes] | None = None, *, crash_at: int | None = None, fail_at: int | None = None) -> None:
        self.now: dict[str, bytearray] = {name: bytearray(data) for name, data in (names or {}).items()}
        #: What is on disk for certain: up to which byte all is as it was written, and the length.
        self.synced: dict[str, tuple[int, int]] = {name: (len(data), len(data)) for name, data in self.now.items()}
        self.steps = 0
        self.crash_at, self.fail_at = crash_at, fail_at
        self._versions: dict[str, int] = {}
        self._either: dict[str, bytes | None] = {}
        self._held: set[str] = set()

    # --- what a log asks for --------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return sorted(self.now)

    def size(self, name: str) -> int:
        return len(self.now[name])

    def read(self, name: str, offset: int, count: int) -> bytes:
        return bytes(self.now[name][offset : offset + count])

    def stamp(self, name: str) -> tuple[int, ...]:
        return (self._versions.get(name, 0),) if name in self.now else ()

    def create(self, name: str, data: bytes, *, scrub: bool = False) -> None:
        self._step()  # a fresh file is written
        self._step()  # and synced
        older = bytes(self.now[name]) if name in self.now else None
        self._either[name] = older
        self.now[name], self.synced[name] = bytearray(data), (len(data), len(data))
        self._versions[name] = self._versions.get(name, 0) + 1
        self._step()  # it has the name, which is not on disk yet
        del self._either[name]

    def write(self, name: str, offset: int, data: bytes) -> None:
        file, half = self.now[name], len(data) // 2
        assert offset <= len(file) and not any(file[offset:]), "what was written is not written over"
        if data:
            self.synced[name] = min(offset, self.synced[name][0]), self.synced[name][1]
            file[offset : offset + half] = data[:half]
            self._step()
            file[offset + half : offset + len(data)] = data[half:]

    def extend(self, name: str, size: int) -> None:
        more = size - len(self.now[name])
        if more > 0:
            self.now[name] += bytes(more // 2)
            self._step()
            self.now[name] += bytes(more - more // 2)

    def sync(self, name: str) -> None:
        self._step()
        self.synced[name] = len(self.now[name]), len(self.now[name])

    def handle(self, name: str) -> int:
        raise OSError(errno.EBADF, "a disk in memory has no descriptors")

    def cut(self, name: str, size: int) -> None:
        self._either[name] = bytes(self.now[name])
        del self.now[name][size:]
        self.synced[name] = len(self.now[name]), len(self.now[name])
        self._step()
        del self._either[name]

    def remove(self, name: str) -> None:
        self._either[name] = bytes(self.now.pop(name))
        self._step()
        del self._either[name]
        del self.synced[name]

    def lock(self, name: str) -> None:
        if name in self._held:
            raise LedgerError(f"another writer holds {name}")
        self._held.add(name)

    def unlock(self, name: str) -> None:
        self._held.discard(name)

    def close(self) -> None:
        self._held.clear()

    # --- what may be found afterwards -----------------------------------------------------------------------------

    def after_power_loss(self, random: Random) -> SimulatedFiles:
        """A disk as it may be found after the power went now."""
        found: dict[str, bytes] = {}
        for name in sorted({*self.now, *self._either}):
            data: bytes | bytearray | None = self.now.get(name)
            if name in self._either and random.random() < 0.5:
                data = self._either[name]
                if data is not None:
                    found[name] = bytes(data)
            elif data is not None:
                found[name] = _torn(bytes(data), *self.synced.get(name, (len(data), len(data))), random)
        return SimulatedFiles(found)

    def after_kill(self) -> SimulatedFiles:
        """A disk after the process died now."""
        return SimulatedFiles({name: bytes(data) for name, data in self.now.items()})

    def _step(self) -> None:
        self.steps += 1
        if self.steps == self.crash_at:
            raise PowerLoss(f"at step {self.steps}")
        if self.steps == self.fail_at:
            raise OSError(errno.ENOSPC, "No space left on device")


def _torn(data: bytes, synced: int, length: int, random: Random) -> bytes:
    """The synced bytes, and of the others some: a length between, and sectors that were or were not written."""
    end = random.choice((length, len(data), random.randint(length, len(data))))
    out = bytearray(data[:end])
    lost = random.choice((0.0, 0.3, 1.0))
    start = synced
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if random.random() < lost:
            out[start:stop] = bytes(stop - start)
        start = stop
    return bytes(out)
