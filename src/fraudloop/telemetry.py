"""What a run tells about itself: counters, stage times and progress, as plain values.

It writes nowhere: the edge (command line, service) prints or exports what was counted. Labels are words, never ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from fraudloop.clock import Clock, SystemClock

#: Long work calls `progress(stage, done, total)`; `total` is 0 where it is not known. The edge decides how to show it.
Progress: TypeAlias = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """The progress of work that nobody watches."""


@dataclass(slots=True)
class Telemetry:
    """Counters and stage times of one run; not shared between threads.

    >>> seen = Telemetry()
    >>> seen.count("rows_rejected", rule="amount_range")
    >>> seen.count("rows_rejected", 2, rule="amount_range")
    >>> seen.counters
    {'rows_rejected{rule="amount_range"}': 3}
    """

    clock: Clock = field(default_factory=SystemClock)
    counters: dict[str, int] = field(default_factory=dict)
    stages_ns: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, n: int = 1, **labels: str) -> None:
        """Add `n` to the counter of this name and these labels."""
        assert n >= 0, "counters only grow"
        key = name + ("{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}" if labels else "")
        self.counters[key] = self.counters.get(key, 0) + n

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to the stage of this name, whether or not it succeeds."""
        start = self.clock.elapsed_ns()
        try:
            yield
        finally:
            self.stages_ns[name] = self.stages_ns.get(name, 0) + self.clock.elapsed_ns() - start

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Counters and seconds by stage, for reports."""
        return {"counters": dict(self.counters), "seconds": {name: ns / 1e9 for name, ns in self.stages_ns.items()}}
