"""Random numbers by purpose: each stream is named by (seed, purpose, index) and by nothing else.

So what one part of the world draws never depends on how much another drew, on the size of a chunk or on which thread
came first. It knows nothing of payments.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. The numbers are part of what a seed means: never renumber, only append."""

    CUSTOMERS = 1
    MERCHANTS = 2
    USUAL = 3
    TRIPS = 4
    CALENDAR = 5
    BACKGROUND = 6
    SPREES = 7
    SCHEMES = 8
    QUIET = 9
    LABELS = 10


def stream(seed: int, purpose: Purpose, *index: int) -> np.random.Generator:
    """The generator of one purpose.

    >>> float(stream(7, Purpose.TRIPS).random()) == float(stream(7, Purpose.TRIPS).random())
    True
    >>> float(stream(7, Purpose.TRIPS).random()) == float(stream(7, Purpose.TRIPS, 1).random())
    False
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(int(purpose), *index))))
