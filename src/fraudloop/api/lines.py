"""One line of JSON for each decision, without personal data: no id of a payment or person; the LSN finds the record.

The loop only puts values aside; they become bytes in batches and are written by a thread, so that a slow reader never stops a decision. Lines
beyond what may wait are dropped and counted.
"""

from __future__ import annotations

import os
import threading
from typing import Final

import msgspec

from fraudloop.domain.outcome import Outcome
from fraudloop.ledger.records import Decision
from fraudloop.limits import LOG_LINES_WAITING_MAX

#: Lines that are encoded together. More would make the loop pause for longer than a quarter of a millisecond.
_AT_ONCE: Final = 256


class Line(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What stands in a line. at_us: arrival, microseconds since 1970 UTC. slot: of the model. why: what was degraded."""

    event: str
    at_us: int
    request_id: str
    lsn: int
    outcome: str
    fraud_score: float | None
    risk_score: float | None
    model: str | None
    rules: str
    policy: str
    latency_us: int
    slot: str = "champion"
    why: tuple[str, ...] = ()


_OUTCOMES: Final = tuple(outcome.text for outcome in Outcome)


class Lines:
    """Takes decisions and writes their lines to a file descriptor.

    every: 1 for all, n for one of n by LSN, 0 for none; decisions that are not approved are always told unless it is 0.
    """

    def __init__(self, handle: int, *, every: int = 1, waiting_max: int = LOG_LINES_WAITING_MAX) -> None:
        self.every = every
        self.dropped = 0
        self._handle = handle
        self._most = waiting_max
        self._waiting: list[Line] = []
        self._chunks: list[tuple[int, bytes]] = []
        self._queued = 0
        self._encoder = msgspec.json.Encoder()
        self._wanted = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="lines", daemon=True)
        self._thread.start()

    def decided(self, request_id: bytes, received_us: int, lsn: int, d: Decision) -> None:
        """A decision was answered."""
        every = self.every
        if every != 1 and (not every or (lsn % every and not d.outcome)):
            return
        waiting = self._waiting
        waiting.append(
            Line("decision", received_us, request_id.decode("latin-1"), lsn, _OUTCOMES[d.outcome], d.fraud_score, d.risk_score, d.model, d.rules, d.policy,
                 d.latency_us, d.slot, d.why)  # type: ignore[arg-type]
        )  # fmt: skip
        if len(waiting) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Hand over what was put aside; called once a second beside."""
        waiting = self._waiting
        if not waiting:
            return
        self._waiting = []
        if self._queued + len(waiting) > self._most:
            self.dropped += len(waiting)
            return
        data = self._encoder.encode_lines(waiting)
        with self._wanted:
            self._queued += len(waiting)
            self._chunks.append((len(waiting), data))
            self._wanted.notify()

    def close(self, seconds: float = 2.0) -> None:
        """Write what is there, and end; a reader that does not read is not waited for."""
        self.flush()
        with self._wanted:
            self._closing = True
            self._wanted.notify()
        self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._wanted:
                while not self._chunks and not self._closing:
                    self._wanted.wait()
                chunks, self._chunks = self._chunks, []
                if not chunks:
                    return
            for count, data in chunks:
                if not _write(self._handle, data):
                    self.dropped += count
                with self._wanted:
                    self._queued -= count


def _write(handle: int, data: bytes) -> bool:
    """All of the bytes; False if nobody takes them any more."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(handle, view) :]
        except OSError:
            return False
    return True
