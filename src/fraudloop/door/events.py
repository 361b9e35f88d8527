"""A run of the log as arrays: what the fold reads. The door makes it; it knows no file and no feature."""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

PROFILE: Final = 0
LABEL: Final = 1
TRANSACTION: Final = 2

#: Bits of a transaction's status: what kept it out of the windows (`docs/semantics.md`, "Late and early").
TOO_LATE: Final = 1
TOO_EARLY: Final = 2

#: The value of a number that is not there.
MISSING: Final = np.iinfo(np.int64).min

#: Numbers that the fold knows by name, beside the number fields of the feature set (`amount`, ...).
#: Degrees are in units of 1e-7 degree, offsets in minutes, times in microseconds since 1970 UTC.
#: Of a transaction: latitude, longitude, utc_offset (its own), zone_offset (of the configured zone at its time).
#: Of a transaction or profile: home_latitude, home_longitude. Of a profile: opened_at, utc_offset.
#: Of a label: transaction_time, before (0 or 1), after (0 or 1), before_known_at (MISSING where before = 0),
#: absorbed (0 if its transaction was too late or too early to enter the windows, else 1).
SYSTEM_NUMBERS: Final = (
    "latitude", "longitude", "utc_offset", "zone_offset", "home_latitude", "home_longitude", "opened_at",
    "transaction_time", "before", "after", "before_known_at", "absorbed",
)  # fmt: skip

#: Keys that the fold knows by name beside the entities and categories of the feature set.
SYSTEM_KEYS: Final = ("country", "home_country")


class Events(msgspec.Struct, frozen=True, gc=False):
    """n events in log order.

    kind: uint8 [n], one of PROFILE, LABEL, TRANSACTION.
    time_us: int64 [n], event time of a transaction, time of a profile; of a label, when the label in force after it
    became known (its own known_at, or that of the stronger label it did not displace).
    received_us: int64 [n], never decreasing.
    keys: uint64 [n, len(key_names), 2], 128-bit keyed hashes of ids and categories; (0, 0) is null.
    numbers: int64 [n, len(number_names)], MISSING where absent.
    row: int64 [n], the source row of each event in its own table (transactions, labels or profiles).
    """

    kind: NDArray[np.uint8]
    time_us: NDArray[np.int64]
    received_us: NDArray[np.int64]
    keys: NDArray[np.uint64]
    numbers: NDArray[np.int64]
    row: NDArray[np.int64]
    key_names: tuple[str, ...]
    number_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, at: slice) -> Events:
        """A run of these events, without copying."""
        return Events(self.kind[at], self.time_us[at], self.received_us[at], self.keys[at], self.numbers[at],
                      self.row[at], self.key_names, self.number_names)  # fmt: skip

    @property
    def transactions(self) -> int:
        """How many of them are transactions, which is how many vectors the fold gives."""
        return self.kind.tobytes().count(TRANSACTION)  # sooner than a comparison
