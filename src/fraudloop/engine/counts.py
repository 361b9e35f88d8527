"""What guards, canary, challenger and observing have counted, in a file beside the log: who decides next goes on counting.

The log is the truth, and these are no part of it: what was counted since the file was written last is lost with a killed process. It is
replaced by one rename and never flushed; a file that a power failure has spoiled is said to be so, and counting begins anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from fraudloop.engine.beside import Beside
from fraudloop.errors import InputError

_ANEW: Final = "the counts of guards, canary and observing begin anew"


class Counts(msgspec.Struct, frozen=True):
    """durable_lsn: of the log, when they were written: it has gone at least that far ever since. beside: as `Beside.to_dict` gave it."""

    durable_lsn: int
    beside: dict[str, Any]


def encoded(beside: Beside, durable_lsn: int) -> bytes:
    """The content of the file."""
    return msgspec.json.encode(Counts(durable_lsn, beside.to_dict()))


def save(path: Path, content: bytes) -> None:
    """Put it in place of what is there. OSError if it cannot be written."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    fresh.replace(path)


def recall(path: Path, beside: Beside, next_lsn: int, received_us: int) -> str | None:
    """Have `beside` go on with what the file tells; why it does not, None if it does or there is no file.

    next_lsn, received_us: of the log. Counts of one that went further are of another log, as where it was put back from a copy.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Counts)
        if found.durable_lsn > next_lsn:
            return f"{_ANEW}: {path} is of a log that goes further than this one"
        beside.take_up(found.beside, received_us)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, InputError, KeyError, TypeError, ValueError, OverflowError) as error:
        return f"{_ANEW}: {path} cannot be read ({type(error).__name__}: {error})"
    return None
