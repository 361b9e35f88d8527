"""How much room the disk of the log has: ok, low (somebody should act), full (nothing more may be decided)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from fraudloop.limits import DAY_S, DISK_FULL_BYTES, DISK_LOW_SHARE


class Room(Enum):
    """OK; LOW: an alarm; FULL: 503 until there is room again."""

    OK = "ok"
    LOW = "low"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class HeadRoom:
    """free_bytes, total_bytes: of the disk. days_left: at the present rate, until it is full; None where nothing is written."""

    state: Room
    free_bytes: int
    total_bytes: int
    days_left: float | None


def head_room(free_bytes: int, total_bytes: int, bytes_per_day: float) -> HeadRoom:
    """Low below DISK_LOW_SHARE of the disk or below what a day brings, whichever is more; full below DISK_FULL_BYTES.

    >>> head_room(50_000_000_000, 100_000_000_000, 60_000_000_000).state
    <Room.LOW: 'low'>
    """
    left = None if bytes_per_day <= 0 else max(0.0, free_bytes - DISK_FULL_BYTES) / bytes_per_day
    if free_bytes < DISK_FULL_BYTES:
        state = Room.FULL
    elif free_bytes < max(DISK_LOW_SHARE * total_bytes, bytes_per_day):
        state = Room.LOW
    else:
        state = Room.OK
    return HeadRoom(state, free_bytes, total_bytes, left)


def disk_room(folder: Path, bytes_per_s: float = 0.0) -> HeadRoom:
    """Of the disk that a folder lies on; bytes_per_s: at which the log grows now. 10 µs: cheap enough for every second."""
    usage = shutil.disk_usage(folder)
    return head_room(usage.free, usage.total, bytes_per_s * DAY_S)
