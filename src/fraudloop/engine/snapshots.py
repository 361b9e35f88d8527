"""Snapshots written beside the work: a forked child has the state as it was, and writes it while the parent goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fraudloop.engine.recovery import SNAPSHOTS_KEPT, newest_first
from fraudloop.engine.state import State
from fraudloop.gently import remove_tree


class Snapshots:
    """Writes into a folder when enough has come since the last one. records, seconds: how much is enough.

    A child that is killed leaves an unfinished folder, which the next one removes.
    """

    def __init__(self, folder: Path, records: int, seconds: float) -> None:
        self.folder, self.records, self.seconds = folder, records, seconds
        newest = newest_first(folder)
        self.last_lsn = int(newest[0].name) if newest else 0
        self._last_s = time.monotonic()
        self._child = 0

    def due(self, state: State) -> bool:
        """Whether enough has come, and no child is at work."""
        self.reap()
        new = state.next_lsn - self.last_lsn
        return not self._child and new > 0 and (new >= self.records or time.monotonic() - self._last_s >= self.seconds)

    def begin(self, state: State) -> None:
        """Fork a child that writes the state as it is now."""
        self.last_lsn, self._last_s = state.next_lsn, time.monotonic()
        child = os.fork()
        if child:
            self._child = child
            return
        try:
            # Neither the log's lock nor the port may live on in here when the parent is killed.
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            os.nice(10)
            write(self.folder, state)
            os._exit(0)
        finally:
            os._exit(1)  # whatever happened, the child never goes on as its parent

    def reap(self) -> None:
        """Take note of a child that has ended."""
        if self._child:
            done, _ = os.waitpid(self._child, os.WNOHANG)
            if done:
                self._child = 0

    def wait(self) -> None:
        """Until no child is at work."""
        if self._child:
            os.waitpid(self._child, 0)
            self._child = 0


def write(folder: Path, state: State) -> Path:
    """Write a snapshot, and remove those that are no longer kept."""
    if folder.is_dir():
        for unfinished in folder.glob(".*.new"):
            remove_tree(unfinished)
    path = state.snapshot(folder)
    for old in newest_first(folder)[SNAPSHOTS_KEPT:]:
        remove_tree(old)
    return path
