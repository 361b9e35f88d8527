"""The one place that reads the time. It holds a clock to pass in and one that tests set.

Decisions, folds and the meaning of words never read a clock: time reaches them in events.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """What gives the time: `now_us` for events (microseconds since 1970 UTC), `elapsed_ns` for durations."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 00:00 UTC; may step back when the machine's clock is set."""
        ...

    def elapsed_ns(self) -> int:
        """Nanoseconds from any fixed moment; never steps back."""
        ...


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own time."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def elapsed_ns(self) -> int:
        return time.monotonic_ns()


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told to.

    >>> clock = ManualClock(us=1_000_000)
    >>> clock.advance(us=250)
    >>> clock.now_us(), clock.elapsed_ns()
    (1000250, 1000250000)
    """

    us: int = 0

    def now_us(self) -> int:
        return self.us

    def elapsed_ns(self) -> int:
        return self.us * 1_000

    def advance(self, us: int) -> None:
        """Move forward by `us` microseconds; time does not go back."""
        assert us >= 0, "a manual clock only goes forward"
        self.us += us
