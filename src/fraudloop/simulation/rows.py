"""Transactions while they are made: numbers only, one array a column. `tables` turns them into names and texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.simulation.pattern import SCHEMES
from fraudloop.simulation.pick import Floats, Ints

#: What a row is part of, by code. `ordinary`: everyday purchases. 1 to 6: the schemes, with genuine behaviour that
#: goes the same way. `lead_in`: genuine purchases that a scheme begins with. `spree`: a genuine burst of shopping.
ORIGINS: Final = ("ordinary", *SCHEMES, "lead_in", "spree")
ORDINARY: Final = 0
LEAD_IN: Final = ORIGINS.index("lead_in")
SPREE: Final = ORIGINS.index("spree")

STATUSES: Final = ("captured", "authorised", "declined_by_issuer", "reversed")
NONE: Final = -1


@dataclass(slots=True)
class Rows:
    """n transactions.

    euro is the price in euro. online: bought online; present: card present. degrees are NaN where unknown. device is
    a number (NONE: no device), device_type an index (NONE), ip 0 where there is none. card is the slot of the
    customer's card. origin is an index of ORIGINS, episode tells apart the runs of schemes and sprees (NONE).
    fraud is the truth.
    """

    time_us: Ints
    customer: NDArray[np.int32]
    merchant: NDArray[np.int32]
    euro: Floats
    online: NDArray[np.bool_]
    present: NDArray[np.bool_]
    latitude: Floats
    longitude: Floats
    device: Ints
    device_type: NDArray[np.int8]
    ip: NDArray[np.uint32]
    card: NDArray[np.int8]
    status: NDArray[np.int8]
    origin: NDArray[np.int8]
    episode: NDArray[np.int32]
    fraud: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_us)

    def take(self, at: Ints | NDArray[np.bool_] | slice) -> Rows:
        """These rows, in the order of `at`."""
        return Rows(*(getattr(self, f.name)[at] for f in fields(self)))

    def put(self, at: NDArray[np.bool_], other: Rows) -> None:
        """Replace the rows where `at` by those of `other`, one for each."""
        for f in fields(self):
            getattr(self, f.name)[at] = getattr(other, f.name)

    @classmethod
    def concat(cls, parts: Sequence[Rows]) -> Rows:
        """All rows of the parts, one after another; at least one part."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))
