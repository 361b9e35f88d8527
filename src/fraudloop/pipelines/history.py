"""What was in force when, read from the log of a service's folder; the service may be running."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fraudloop.control import change, lists, policy, rules
from fraudloop.errors import InputError
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Reader
from fraudloop.ledger.records import Activated, Record, decode

_DIFFS: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[str, ...]]]] = {
    "rules": rules.diff,
    "policy": policy.diff,
    "lists": lists.diff,
}

#: How an `Activated` begins in the log: an array of seven, of which the first is its tag. Millions of payments need not be read for it.
_BEGINS: Final = b"\x97\x05"


def history(data: Path, what: str) -> list[change.Version]:
    """Every version of `rules`, `policy` or `lists` that was in force, oldest first. data: the folder of the service."""
    folder = data / "log"
    if not folder.is_dir():
        raise InputError(f"{data} holds no log; give the folder that `fraudloop serve --data` has")
    return change.history(what, _activations(folder), _DIFFS[what])


def _activations(folder: Path) -> Iterator[tuple[int, Record]]:
    for group in Reader(FolderFiles(folder)).read():
        for lsn, data in enumerate(group.records, group.first_lsn):
            if data[:2] == _BEGINS:
                record = decode(data)
                assert isinstance(record, Activated), "what begins so is an activation"
                yield lsn, record
