"""From what lies on disk to the state: the newest snapshot that fits the log, and the log from there on.

It only reads. A snapshot that does not fit is passed over with its reason; the log alone gives the same state, more slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fraudloop.domain.definitions import FeatureSet
from fraudloop.engine.state import State
from fraudloop.errors import LedgerError, RefoldNeeded, SnapshotError
from fraudloop.ledger.files import Files
from fraudloop.ledger.log import Reader, segments
from fraudloop.telemetry import Progress, silent

#: Snapshots that are kept: the newest, and one more in case it is damaged.
SNAPSHOTS_KEPT: Final = 2


@dataclass(slots=True)
class Follower:
    """A state that follows a log: recovered once, then kept up by `follow`. passed_over: snapshots that did not fit, and why."""

    files: Files
    state: State
    reader: Reader
    passed_over: list[str] = field(default_factory=list)

    def follow(self, most: int = 1 << 62, until: Callable[[], bool] = lambda: False) -> int:
        """Absorb what came since, at most so many groups; how many records."""
        before = self.state.next_lsn
        for number, group in enumerate(self.reader.read(), 1):
            self.state.apply(group)
            self.state.chain = self.reader.digest
            if number >= most or until():
                break
        return self.state.next_lsn - before


def recover(files: Files, snapshots: Path | None, key: bytes, progress: Progress = silent) -> Follower:
    """The state as the log has it now. LedgerError if neither a snapshot nor the log goes back far enough."""
    passed_over: list[str] = []
    follower = _from_snapshot(files, snapshots, key, passed_over) or Follower(files, State(key), Reader(files, 0))
    follower.passed_over = passed_over
    while True:
        try:
            _read_on(follower, progress)
            return follower
        except RefoldNeeded as error:
            # What a later model or rule reads is not in the kept events: fold everything again, with that from the beginning.
            wider, before = error.fields["features"], follower.state.wider
            assert isinstance(wider, FeatureSet), "the state says which features it was asked for"
            state = State(key)
            state.wider = wider if before is None else before.merge(wider)
            follower = Follower(files, state, Reader(files, 0), passed_over)


def refold(files: Files, features: FeatureSet, key: bytes, progress: Progress = silent) -> Follower:
    """The state by folding the whole log under these features from its beginning. LedgerError if the log no longer goes back so far."""
    state = State(key)
    state.wider = features
    follower = Follower(files, state, Reader(files, 0))
    _read_on(follower, progress)
    return follower


def caught_up(follower: Follower, snapshots: Path | None, progress: Progress = silent) -> Follower:
    """The state with all that the log has now; recovered anew where what came since cannot be folded into it."""
    try:
        _read_on(follower, progress)
    except RefoldNeeded:
        return recover(follower.files, snapshots, follower.state.key, progress)
    return follower


def _read_on(follower: Follower, progress: Progress) -> None:
    begin = follower.state.next_lsn
    while follower.follow(256) >= 256:  # fewer: the end was reached, as it was then; a writer may never pause
        progress("recovering", follower.state.next_lsn - begin, 0)


def _from_snapshot(files: Files, folder: Path | None, key: bytes, passed_over: list[str]) -> Follower | None:
    for path in newest_first(folder):
        try:
            state = State.restore(path, key)
            reader = Reader(files, state.next_lsn)
            chain = reader.digest if reader.seek() else None
        except (SnapshotError, LedgerError) as error:
            passed_over.append(str(error))
            continue
        if chain is None or (state.chain and chain != state.chain):
            passed_over.append(f"{path}: is of another log")
            continue
        return Follower(files, state, reader)
    return None


def newest_first(folder: Path | None) -> list[Path]:
    """The snapshots of a folder."""
    if folder is None or not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.name.isdigit()), key=lambda path: path.name, reverse=True)


def log_is_empty(files: Files) -> bool:
    """Whether nothing was ever appended."""
    return not segments(files)
