"""Times in buckets: percentiles of any number of requests in a few kilobytes."""

from __future__ import annotations

import math
from typing import Final

#: Buckets in each factor e: one is 0.78 % wide.
_BUCKETS_PER_E: Final = 128

PERCENTILES: Final = (0.5, 0.9, 0.95, 0.99, 0.999)


class Histogram:
    """Nanoseconds in buckets 0.78 % wide; percentiles are upper edges: they err by less than that, never downwards. `max` is exact.

    >>> seen = Histogram()
    >>> for ns in range(1_000, 101_000, 1_000): seen.add(ns)
    >>> 50_000 <= seen.percentile(0.5) < 50_400, seen.percentile(1.0), seen.count
    (True, 100000, 100)
    """

    __slots__ = ("_counts", "count", "max")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = self.max = 0

    def add(self, ns: int) -> None:
        at = int(math.log(ns) * _BUCKETS_PER_E) if ns > 1 else 0
        counts = self._counts
        counts[at] = counts.get(at, 0) + 1
        self.count += 1
        if ns > self.max:
            self.max = ns

    def percentile(self, share: float) -> int:
        """The value that this share does not exceed; 0 of nothing."""
        need = math.ceil(share * self.count)
        for at in sorted(self._counts):
            need -= self._counts[at]
            if need <= 0:
                return min(self.max, math.ceil(math.exp((at + 1) / _BUCKETS_PER_E)))
        return 0

    def to_dict(self) -> dict[str, float]:
        """Milliseconds at PERCENTILES, and the maximum."""
        out = {f"p{100 * share:g}".replace(".", "_"): self.percentile(share) / 1e6 for share in PERCENTILES}
        return {**out, "max": self.max / 1e6}
