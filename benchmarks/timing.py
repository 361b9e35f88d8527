"""Timing for benchmark cases: what is compared runs in turns within one process, so that a slow moment hits all alike.

Beside the wall clock it takes the processor time of the process, which a machine shared with others disturbs far less.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of the rounds of one candidate: wall clock, and `median_cpu_s` of processor time over all threads."""

    best_s: float
    median_s: float
    worst_s: float
    median_cpu_s: float
    rounds: int


def compare(candidates: Mapping[str, Callable[[], object]], rounds: int = 5, *, warm: bool = True) -> dict[str, Timing]:
    """Time each candidate once a round, in turns, after one round that is not counted (compilation, page faults).

    warm: whether there is such a round; without it the candidates have been run before.

    >>> sorted(compare({"a": lambda: None, "b": lambda: None}, rounds=2))
    ['a', 'b']
    """
    wall: dict[str, list[float]] = {name: [] for name in candidates}
    cpu: dict[str, list[float]] = {name: [] for name in candidates}
    gc.collect()
    gc.freeze()  # what was there before is not walked again by the collections between the rounds
    try:
        for turn in range(rounds + warm):
            for name, function in candidates.items():
                gc.collect()
                start, start_cpu = time.perf_counter(), time.process_time()
                function()
                spent, spent_cpu = time.perf_counter() - start, time.process_time() - start_cpu
                if turn >= warm:
                    wall[name].append(spent)
                    cpu[name].append(spent_cpu)
    finally:
        gc.unfreeze()
    return {name: Timing(min(wall[name]), median(wall[name]), max(wall[name]), median(cpu[name]), len(wall[name])) for name in candidates}


def measure(function: Callable[[], object], rounds: int = 5, *, warm: bool = True) -> Timing:
    """Time one function as `compare` does.

    >>> measure(lambda: None, rounds=3).rounds
    3
    """
    return compare({"it": function}, rounds, warm=warm)["it"]
