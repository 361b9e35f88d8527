"""How long a model takes to score: single rows, batches, and a steady stream of requests. Clock and sleep are given.

The stream is an open loop: request k is due at k / rate, whether or not the one before is done, and its latency counts
from when it was due. A stall so delays every request behind it and is seen (no coordinated omission).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from fraudloop.clock import Clock
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Model
from fraudloop.training.metrics import Floats

#: Calls before the first that counts: they load what is loaded once.
_WARM_UP: Final = 10


def single_rows(model: Model, inputs: Inputs, calls: int, clock: Clock) -> Floats:
    """Milliseconds of scoring one row, float64 [calls]; the rows of `inputs` in turn."""
    rows = [inputs[at : at + 1] for at in range(min(len(inputs), calls))]
    return _timed([lambda row=row: model.score(row) for row in rows], calls, clock)  # type: ignore[misc]


def batches(model: Model, inputs: Inputs, rows: int, calls: int, clock: Clock) -> Floats:
    """Milliseconds of scoring a batch of `rows` rows, float64 [calls]; the rows of `inputs` again and again."""
    at = np.arange(rows) % len(inputs)
    batch = Inputs(inputs.names, inputs.values[at], {name: [words[i] for i in at.tolist()] for name, words in inputs.categories.items()})
    return _timed([lambda: model.score(batch)], calls, clock)


def _timed(work: Sequence[Callable[[], object]], calls: int, clock: Clock) -> Floats:
    for call in range(_WARM_UP):
        work[call % len(work)]()
    out = np.empty(calls)
    for call in range(calls):
        begin = clock.elapsed_ns()
        work[call % len(work)]()
        out[call] = (clock.elapsed_ns() - begin) / 1e6
    return out


def open_loop(
    request: Callable[[int], object], rate: float, seconds: float, clock: Clock, sleep: Callable[[float], None] = time.sleep
) -> Floats:
    """Milliseconds from when each request was due to when it was answered, float64 [rate * seconds].

    request: answers request k. rate: requests a second, evenly spaced.
    """
    count = max(1, round(rate * seconds))
    for at in range(min(_WARM_UP, count)):
        request(at)
    out = np.empty(count)
    begin = clock.elapsed_ns()
    for at in range(count):
        due = begin + round(at * 1e9 / rate)
        if (wait := due - clock.elapsed_ns()) > 0:
            sleep(wait / 1e9)
        request(at)
        out[at] = (clock.elapsed_ns() - due) / 1e6
    return out
