"""How many requests a caller may send: a token bucket for each key or address, in constant time and memory. It reads no clock."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from fraudloop.errors import InputError
from fraudloop.limits import ADDRESSES_MAX


@dataclass(frozen=True, slots=True)
class Rate:
    """per_s: requests a second in the long run. burst: at once, after a silence; a second's worth where it is not said."""

    per_s: float
    burst: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.per_s <= 1e6 or not 0 <= self.burst <= 1e7:
            raise InputError("a rate is above 0 and at most a million a second, a burst at most ten million", field="rate")


class Bucket:
    """The bucket of one caller, kept as the one time at which it will be full again.

    >>> bucket = Bucket(Rate(per_s=10, burst=2))
    >>> [round(bucket.take(5.0), 3) for _ in range(3)], bucket.take(5.1)
    ([0.0, 0.0, 0.1], 0.0)
    """

    __slots__ = ("_depth", "_full_at", "_step")

    def __init__(self, rate: Rate) -> None:
        self._step = 1.0 / rate.per_s
        self._depth = max(rate.burst or rate.per_s, 1.0) * self._step * (1.0 + 1e-9)
        self._full_at = 0.0

    def take(self, now: float, n: float = 1.0) -> float:
        """Take n tokens at `now` (seconds): 0, or how long to wait until they are there; then none are taken.

        More than the bucket holds are lent once it is full, so that a large batch is not refused for ever.
        """
        full_at = self._full_at
        if full_at < now:
            full_at = now
        after = full_at + n * self._step
        over = after - now - self._depth
        if over > 0.0 and full_at > now:
            return min(over, full_at - now)
        self._full_at = after
        return 0.0


class Addresses:
    """The buckets of addresses, those seen last."""

    def __init__(self, rate: Rate, most: int = ADDRESSES_MAX) -> None:
        self._rate, self._most = rate, most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, address: str) -> Bucket:
        """Of one address; made where it was not seen lately."""
        found = self._buckets.get(address)
        if found is None:
            if len(self._buckets) >= self._most:
                self._buckets.popitem(last=False)
            found = self._buckets[address] = Bucket(self._rate)
        else:
            self._buckets.move_to_end(address)
        return found
