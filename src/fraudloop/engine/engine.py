"""The scoring loop: payments in, decisions out, the log between. One thread decides, another flushes; it knows no HTTP.

    ask ─▶ queue ─▶ step: ids ─▶ fold ─▶ judge ─▶ reasons ─▶ append ─▶ (flush beside) ─▶ durable ─▶ answer

Batch n + 1 is computed while n is being flushed, and is answered after n. Nothing is answered before it is on disk. A failed append or
flush ends the epoch: whoever was not answered is told to come again, and the state is made anew from snapshot and log.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fraudloop.door.row import Row, same_body
from fraudloop.engine.beside import Beside
from fraudloop.engine.deciding import InForce, decisions_of, judge, reasons_of
from fraudloop.engine.flusher import Flusher
from fraudloop.engine.state import State
from fraudloop.errors import ConflictError, FraudloopError, UnavailableError
from fraudloop.ledger.files import Files
from fraudloop.ledger.log import Log
from fraudloop.ledger.records import Record, Transacted, decode, encode

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Groups that may be under way to the disk. More would be computed for nothing when the disk is gone.
FLIGHTS_MAX: Final = 64

#: One in so many batches is counted feature by feature: what drifts does so over hours.
SAMPLED: Final = 8

#: Upper edges of the times of flushes, seconds.
FLUSH_EDGES_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)

#: What a payment costs is followed by a running mean with this weight for the newest batch.
_COST_WEIGHT: Final = 0.1


class Ticket(Protocol):
    """One request under way. row: canonical. decide: False to absorb only. arrived_ns: of the monotonic clock."""

    row: Row
    decide: bool
    arrived_ns: int
    received_us: int

    def answer(self, record: Transacted, lsn: int) -> None:
        """It is on disk."""
        ...

    def refuse(self, error: FraudloopError) -> None:
        """It was not taken, or nobody knows yet whether it was."""
        ...


@dataclass(slots=True)
class Flight:
    """A group that was appended and is being flushed."""

    next_lsn: int
    tickets: list[Ticket] = field(default_factory=list)
    records: list[Transacted] = field(default_factory=list)
    waiting: dict[int, list[Ticket]] = field(default_factory=dict)
    command: Command | None = None


@dataclass(slots=True)
class Command:
    """What is to be changed between two batches. records: what the log says of it. apply: called once they are appended and the state
    has taken them. done(lsn): they are on disk; the first of them has this LSN. refuse: they were not appended, or nobody knows."""

    records: Sequence[Record]
    apply: Callable[[], None]
    done: Callable[[int], None]
    refuse: Callable[[FraudloopError], None]


@dataclass(slots=True)
class Counters:
    """What the loop has done since it began, for metrics: plain sums, read from elsewhere."""

    batches: int = 0
    decided: int = 0
    absorbed: int = 0
    repeated: int = 0
    conflicts: int = 0
    shed: int = 0
    deferred: int = 0
    phases_ns: dict[str, int] = field(default_factory=dict)
    #: By upper edge: batches by size (1, 2, 4, ... 256, above), flushes by time (`FLUSH_EDGES_S`, above), and their time together.
    batch_sizes: Ints = field(default_factory=lambda: np.zeros(10, np.int64))
    flushes: Ints = field(default_factory=lambda: np.zeros(len(FLUSH_EDGES_S) + 1, np.int64))
    flush_s: float = 0.0
    labels: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    #: Of one in SAMPLED batches: payments, and by feature how many had a value, their sum and sum of squares.
    feature_rows: int = 0
    feature_values: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    feature_totals: Floats = field(default_factory=lambda: np.zeros(0))
    feature_squares: Floats = field(default_factory=lambda: np.zeros(0))

    def features(self, values: Floats) -> None:
        """Count the vectors of a batch, float64 [n, features]."""
        if len(self.feature_values) != values.shape[1]:
            k = values.shape[1]
            self.feature_rows, self.feature_values = 0, np.zeros(k, np.int64)
            self.feature_totals, self.feature_squares = np.zeros(k), np.zeros(k)
        there = ~np.isnan(values)
        known = np.where(there, values, 0.0)
        self.feature_rows += len(values)
        self.feature_values += there.sum(axis=0)
        self.feature_totals += known.sum(axis=0)
        self.feature_squares += (known * known).sum(axis=0)


@dataclass(frozen=True, slots=True)
class Limits:
    """batch_max: payments decided together. queue_max, queue_ns_max: that may wait, and the time that they may be going to. flush_s_max: of
    a flush, before the disk counts as gone. reason_ns_max: for the reasons of a batch."""

    batch_max: int = 256
    queue_max: int = 4_096
    queue_ns_max: float = 12e6
    flush_s_max: float = 2.0
    reason_ns_max: int = 2_000_000


class Engine:
    """Decides what is asked, in order of arrival. `step` and `durable` are called by one thread, the loop's.

    wake: called from the flusher's thread when something became durable, to have `durable` called in the loop's.
    """

    def __init__(self, state: State, log: Log, in_force: InForce, wake: Callable[[int], None], limits: Limits) -> None:
        self.state, self.log, self.in_force, self.limits = state, log, in_force, limits
        self.queue: deque[Ticket] = deque()
        self.commands: deque[Command] = deque()
        self.flights: deque[Flight] = deque()
        self.pending: dict[str, tuple[Flight | None, int, Ticket]] = {}
        self.counters = Counters()
        self.beside = Beside()
        #: Why nothing new may be decided, None while it may be; what was decided is answered still.
        self.halted: UnavailableError | None = None
        #: What a payment has cost lately, in nanoseconds.
        self.cost_ns = 50_000.0
        self._files: Files = log.files
        self._wake = wake
        self._failed: FraudloopError | None = None
        self.flusher = Flusher(log, self._flushed, self._fail)

    def _fail(self, error: FraudloopError) -> None:
        self._failed = error
        self._wake(-1)

    def _flushed(self, lsn: int, seconds: float) -> None:
        self.counters.flushes[bisect_left(FLUSH_EDGES_S, seconds)] += 1
        self.counters.flush_s += seconds
        self._wake(lsn)

    def ask(self, ticket: Ticket) -> None:
        """Put a request into the queue, or refuse it where it would wait too long: who is in keeps its latency."""
        waiting, limits = len(self.queue), self.limits
        if self._failed is not None:
            ticket.refuse(self._unavailable())
        elif waiting >= limits.queue_max or waiting * self.cost_ns > limits.queue_ns_max:
            self.counters.shed += 1
            ticket.refuse(UnavailableError("too many requests are waiting; come again", retry_after_s=1))
        elif self.flusher.since and time.monotonic() - self.flusher.since > limits.flush_s_max:
            self.counters.shed += 1
            ticket.refuse(UnavailableError("the log's disk does not answer; come again", retry_after_s=1))
        else:
            self.queue.append(ticket)

    @property
    def failed(self) -> FraudloopError | None:
        """Why the epoch has ended, None while it goes on."""
        return self._failed

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(f"the log cannot be written now ({self._failed}); come again", retry_after_s=1)

    def step(self) -> None:
        """Change what is to be changed, then decide what waits, at most a batch of it."""
        while self.commands and self._failed is None:
            self._change(self.commands.popleft())
        if self._failed is not None or len(self.flights) >= FLIGHTS_MAX:
            return
        tickets = [self.queue.popleft() for _ in range(min(len(self.queue), self.limits.batch_max))]
        if not tickets:
            self.beside.turn(self.in_force)
            return
        begin = time.thread_time_ns()
        fresh = self._fresh(tickets)
        at_ids = time.thread_time_ns()
        if not fresh:
            return
        if self.halted is not None:
            for ticket in fresh:
                ticket.refuse(self.halted)
            return
        state, in_force = self.state, self.in_force
        rows = [ticket.row for ticket in fresh]
        received = self._received(fresh)
        assert state.fold is not None, "features are active"
        events = state.events(rows, received)
        vectors = state.fold.step(events)
        at_fold = time.thread_time_ns()
        judged = judge(in_force, rows, received, vectors)
        at_judge = time.thread_time_ns()
        until = time.perf_counter_ns() + self.limits.reason_ns_max
        told = reasons_of(in_force, judged, vectors.values, lambda: time.perf_counter_ns() < until)
        at_reasons, now = time.thread_time_ns(), time.perf_counter_ns()
        made = decisions_of(in_force, judged, vectors, told, [(now - ticket.arrived_ns) // 1_000 for ticket in fresh])
        records = state.records(
            rows, events, received, [made_ if ticket.decide else None for made_, ticket in zip(made, fresh, strict=True)]
        )
        at_records = time.thread_time_ns()
        try:
            first = self.log.append(self.log.epoch, [encode(record) for record in records])
        except FraudloopError as error:
            self._end(error, fresh)
            return
        state.note(first, records, *self.log.place)
        flight = Flight(self.log.next_lsn, fresh, records)
        for at, ticket in enumerate(fresh):
            self.pending[str(ticket.row["transaction_id"])] = (flight, at, ticket)
        self.flights.append(flight)
        self.flusher.wanted()
        self.beside.note(in_force, judged, rows, vectors.values, received[-1])
        at_append = time.thread_time_ns()
        self.cost_ns += _COST_WEIGHT * ((at_append - begin) / len(tickets) - self.cost_ns)
        if self.counters.batches % SAMPLED == 0:
            self.counters.features(vectors.values)
        self.counters.deferred += told.count(None)
        self._count(len(fresh), (("ids", at_ids - begin), ("fold", at_fold - at_ids), ("judge", at_judge - at_fold),
                                 ("reasons", at_reasons - at_judge), ("records", at_records - at_reasons), ("append", at_append - at_records)))  # fmt: skip

    def _change(self, command: Command) -> None:
        try:
            first = self.log.append(self.log.epoch, [encode(record) for record in command.records])
        except FraudloopError as error:
            command.refuse(error)
            self._end(error, [])
            return
        self.state.note(first, command.records, *self.log.place)
        for record in command.records:
            self.state.change(record)
        command.apply()
        self.flights.append(Flight(self.log.next_lsn, command=command))
        self.flusher.wanted()

    def durable(self, lsn: int) -> None:
        """Answer whatever lies below an LSN; -1: the epoch has ended."""
        if lsn < 0:
            self._end(self._failed or UnavailableError(), [])
            return
        while self.flights and self.flights[0].next_lsn <= lsn:
            flight = self.flights.popleft()
            if flight.command is not None:
                flight.command.done(flight.next_lsn - len(flight.command.records))
                continue
            first = flight.next_lsn - len(flight.tickets)
            for at, (ticket, record) in enumerate(zip(flight.tickets, flight.records, strict=True)):
                del self.pending[str(ticket.row["transaction_id"])]
                ticket.answer(record, first + at)
                for other in flight.waiting.get(at, ()):
                    other.answer(record, first + at)

    def _received(self, tickets: Sequence[Ticket]) -> list[int]:
        """When each arrived by the wall clock, never going back."""
        out, newest = [], self.state.received_us
        for ticket in tickets:
            newest = max(newest, ticket.received_us)
            out.append(newest)
        return out

    def _fresh(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Those that were not told before; the others are answered as they were, wait for the first, or are in conflict."""
        ids = [str(ticket.row["transaction_id"]) for ticket in tickets]
        known = self.state.known.get(self.state.fingerprints(ids)).tolist()
        out: list[Ticket] = []
        here: dict[str, Ticket] = {}
        later: list[tuple[Ticket, Ticket]] = []
        for name, lsn, ticket in zip(ids, known, tickets, strict=True):
            if name in here:
                later.append((ticket, here[name]))
            elif name in self.pending:
                flight, at, first = self.pending[name]
                if self._same(ticket, first.row):
                    assert flight is not None, "what is pending is in a flight"
                    flight.waiting.setdefault(at, []).append(ticket)
            elif lsn >= self.state.first_lsn and self._answered(ticket, lsn):
                pass
            else:
                here[name] = ticket
                out.append(ticket)
        if later:
            # Told twice within a batch: the second is taken up once the first is on its way.
            for ticket, first in later:
                if self._same(ticket, first.row):
                    self.queue.appendleft(ticket)
        return out

    def _answered(self, ticket: Ticket, lsn: int) -> bool:
        """Answer from the log; False if the record there is of another id with the same fingerprint."""
        record = decode(self.state.positions.read(self._files, lsn))
        assert isinstance(record, Transacted), "known ids are those of payments"
        if record.row[0] != ticket.row["transaction_id"]:
            return False
        if self._same(ticket, self.state.row_beside(record, ticket.row)):
            ticket.answer(record, lsn)
        return True

    def _same(self, ticket: Ticket, row: Row) -> bool:
        """Whether both are one body; refuses the ticket if they are not."""
        if same_body(ticket.row, row):
            self.counters.repeated += 1
            return True
        self.counters.conflicts += 1
        ticket.refuse(ConflictError("the same transaction_id came before with another body", transaction_id=ticket.row["transaction_id"]))
        return False

    def _end(self, error: FraudloopError, tickets: Sequence[Ticket]) -> None:
        """The epoch is over: nobody who was not answered may be told anything but to come again."""
        self._failed = error
        unavailable = self._unavailable()
        for ticket in [
            *tickets,
            *(t for flight in self.flights for t in [*flight.tickets, *(o for os in flight.waiting.values() for o in os)]),
            *self.queue,
        ]:
            ticket.refuse(unavailable)
        self.flights.clear()
        self.queue.clear()
        self.pending.clear()

    def _count(self, decided: int, phases: Sequence[tuple[str, int]]) -> None:
        counters = self.counters
        counters.batches += 1
        counters.decided += decided
        counters.batch_sizes[min(9, (decided - 1).bit_length())] += 1
        for name, spent in phases:
            counters.phases_ns[name] = counters.phases_ns.get(name, 0) + spent

    def close(self) -> None:
        """Flush what was appended; answer it; let go of the log."""
        self.flusher.stop()
        if self._failed is None:
            self.durable(self.log.durable_lsn)
            self.log.close()
        else:
            self._files.close()
