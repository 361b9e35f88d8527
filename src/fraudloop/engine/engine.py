"""The scoring loop: payments in, decisions out, the log between. One thread decides, another flushes; it knows no HTTP.

    ask ─▶ queue ─▶ step: ids ─▶ fold ─▶ judge ─▶ reasons ─▶ append ─▶ (flush beside) ─▶ durable ─▶ answer

Batch n + 1 is computed while n is being flushed, and is answered after n. Nothing is answered before it is on disk. A failed append or
flush, or a defect, ends the epoch: whoever was not answered is told to come again, and the state is made anew from snapshot and log.
"""

from __future__ import annotations

import time
import traceback
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fraudloop.door.row import Row, same_body
from fraudloop.engine.beside import Beside
from fraudloop.engine.deciding import InForce, decisions_of, judge, reasons_of
from fraudloop.engine.flusher import Flusher
from fraudloop.engine.state import Hashes, State
from fraudloop.engine.syncer import Syncer
from fraudloop.errors import ConflictError, DefectError, FencedError, FraudloopError, LedgerError, UnavailableError
from fraudloop.ledger.files import Files
from fraudloop.ledger.log import Log
from fraudloop.ledger.records import Record, Transacted, decode, encode_all

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Groups that may be under way to the disk: at ten thousand payments a second as many as come in half a second. More would be computed for
#: nothing when the disk is gone.
FLIGHTS_MAX: Final = 128

#: One in so many batches is counted feature by feature, for what drifts does so over hours; and is followed phase by phase, for asking the
#: system for a thread's processor time is a call into it each time, at every edge of a phase.
SAMPLED: Final = 8

#: Upper edges of the times of flushes, seconds.
FLUSH_EDGES_S: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0)

#: What a payment costs is followed by a running mean with this weight for the newest batch.
_COST_WEIGHT: Final = 0.1

#: And one batch counts for at most so many times the mean before it.
_COST_RISE_MAX: Final = 4.0

#: A batch of so many is decided as cheaply as a larger one; and how long a flush is waited for that smaller ones may grow.
_ENOUGH: Final = 64
_FLUSH_S_SHORT: Final = 0.003

#: Fewer are answered as soon one by one.
_TOGETHER: Final = 16

#: A moment in which nothing ran leaves many waiting, and they are decided soon: for so long so many times more may wait than while more come
#: than can be decided (the rule of B. Maurer, "Fail at Scale", ACM Queue 2015, after CoDel: a queue that does not empty for 0.1 s is a bad one).
_PATIENCE_NS: Final = 100_000_000
_PATIENT: Final = 6

_TOO_MANY: Final = UnavailableError("too many requests are waiting; come again", retry_after_s=1)
_NO_DISK: Final = UnavailableError("the log's disk does not answer; come again", retry_after_s=1)

#: So few payments cost hardly more together than one of them; what a payment costs among others is seen in larger batches.
_SOME: Final = 16


def _no_time() -> int:
    """The clock of batches that are not followed."""
    return 0


class Ticket(Protocol):
    """One request under way. row: canonical. decide: False to absorb only. arrived_ns: of the monotonic clock."""

    row: Row
    decide: bool
    arrived_ns: int
    received_us: int

    def together(self, records: Sequence[Transacted]) -> AbstractContextManager[object]:
        """Within it tickets are answered with these records: what is cheaper for many at once may be done when it begins and when it ends.
        It raises nothing."""
        ...

    def answer(self, record: Transacted, lsn: int) -> None:
        """It is on disk."""
        ...

    def refuse(self, error: FraudloopError) -> None:
        """It was not taken, or nobody knows yet whether it was."""
        ...


class Flushing(Protocol):
    """What flushes the log beside the loop: `flusher.Flusher`, or a stand-in that does it when a test says so. since: as there."""

    since: float

    def wanted(self) -> None:
        """Something was appended."""
        ...

    def stop(self) -> None:
        """Flush what is there and end. LedgerError: that, or a flush before, failed."""
        ...


@dataclass(slots=True)
class Flight:
    """A group that was appended and is being flushed."""

    next_lsn: int
    tickets: list[Ticket] = field(default_factory=list)
    records: list[Transacted] = field(default_factory=list)
    waiting: dict[int, list[Ticket]] = field(default_factory=dict)
    command: Command | None = None
    first_lsn: int = 0


@dataclass(slots=True)
class Command:
    """What is to be changed between two batches. make: the records that the log is told, made of the state as it is then; an error of it
    is for `refuse`, and nothing is changed; of no records nothing is appended. apply: called once they are appended and the state has
    taken them. done(lsn): they are on disk; the first of them has this LSN. refuse: they were not appended, or nobody knows."""

    make: Callable[[], Sequence[Record]]
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
    #: Processor time by phase: what the batches that were followed took, times as many as each stands for.
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
    a flush, before the disk counts as gone. reason_ns_max: from the arrival of the first payment of a batch
    until the reasons of approved ones are given up."""

    batch_max: int = 256
    queue_max: int = 4_096
    queue_ns_max: float = 8e6
    flush_s_max: float = 2.0
    reason_ns_max: int = 2_000_000


class Engine:
    """Decides what is asked, in order of arrival. `step` and `durable` are called by one thread, the loop's.

    wake: called from the flusher's thread when something became durable, to have `durable` called in the loop's. flusher: made
    with the log, and what is to be called when something was flushed, or could not be; where it is a `Syncer`, the loop watches its `fd`
    and calls `flushed` instead.
    """

    def __init__(
        self, state: State, log: Log, in_force: InForce, wake: Callable[[int], None], limits: Limits,
        flusher: Callable[[Log, Callable[[int, float], None], Callable[[FraudloopError], None]], Flushing] = Flusher,
    ) -> None:  # fmt: skip
        self.state, self.log, self.in_force, self.limits = state, log, in_force, limits
        self.queue: deque[Ticket] = deque()
        self.commands: deque[Command] = deque()
        self.flights: deque[Flight] = deque()
        self.pending: dict[str, tuple[Flight | None, int, Ticket]] = {}
        self.counters = Counters()
        #: One in so many batches is followed.
        self.sampled = SAMPLED
        self.beside = Beside()
        #: Why nothing new may be decided, None while it may be; what was decided is answered still.
        self.halted: UnavailableError | None = None
        #: What a payment has cost the loop lately, from its body to its answer, and the reasons of one, in batches of some; nanoseconds of
        #: processor time.
        self.cost_ns = 75_000.0
        self.reason_ns = 20_000.0
        self._files: Files = log.files
        self._wake = wake
        self._failed: FraudloopError | None = None
        self._closed = False
        #: What a step has taken out of the queue, and nobody else answers for yet.
        self._taken: Sequence[Ticket] = ()
        #: The loop's processor time when the newest batch began, 0 if something else than payments took of it since; what it took since to decide
        #: and to answer; how many the batch had, and how many were sent away since.
        self._began_ns = self._own_ns = self._before = self._away = 0
        #: Whether more come than can be decided, and not for a moment alone; since when (0: they do not).
        self.strained = False
        self._strained_ns = 0
        #: Whether more than the entities may be unlike the log: something was being changed when the epoch ended.
        self.unsure = False
        #: The place of the newest defect.
        self.defect: str | None = None
        self.flusher = flusher(log, self._flushed, self._fail)

    def _fail(self, error: FraudloopError) -> None:
        self._because(error)
        self._wake(-1)

    def _because(self, error: FraudloopError) -> None:
        """The epoch has ended; its first reason is the one that counts, unless another writer is there."""
        if self._failed is None or isinstance(error, FencedError):
            self._failed = error

    def _flushed(self, lsn: int, seconds: float) -> None:
        self._count_flush(seconds)
        self._wake(lsn)

    def flushed(self) -> None:
        """The syncer has told something: answer what is durable now."""
        assert isinstance(self.flusher, Syncer), "only a syncer is watched"
        try:
            lsn, seconds = self.flusher.collect()
        except FraudloopError as error:
            self._because(error)
            self.durable(-1)
            return
        self._count_flush(seconds)
        self.durable(lsn)

    def _count_flush(self, seconds: float) -> None:
        self.counters.flushes[bisect_left(FLUSH_EDGES_S, seconds)] += 1
        self.counters.flush_s += seconds

    def ask(self, ticket: Ticket) -> None:
        """Put a request into the queue, or refuse it where it would wait too long: who is in keeps its latency."""
        away = self.turned_away()
        if away is None:
            self.queue.append(ticket)
        else:
            ticket.refuse(away)

    def turned_away(self) -> UnavailableError | None:
        """Why a request that comes now is refused, whatever it says, which is counted; None: it would be queued.

        Asked before a request is read: where more come than can be decided, reading those that are sent away would take the time of those
        that are not.
        """
        waiting, limits = len(self.queue), self.limits
        if self._failed is not None:
            return self._unavailable()
        most_ns = limits.queue_ns_max if self.strained else limits.queue_ns_max * _PATIENT
        if waiting >= limits.queue_max or (waiting >= _SOME and waiting * self.cost_ns > most_ns):
            return self._send_away(_TOO_MANY)
        if self.flusher.since and time.monotonic() - self.flusher.since > limits.flush_s_max:
            return self._send_away(_NO_DISK)
        return None

    def _send_away(self, error: UnavailableError) -> UnavailableError:
        self.counters.shed += 1
        self._away += 1
        return error

    def take(self, ticket: Ticket) -> None:
        """Queue a request that is not turned away."""
        self.queue.append(ticket)

    @property
    def failed(self) -> FraudloopError | None:
        """Why the epoch has ended, None while it goes on."""
        return self._failed

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(f"the log cannot be written now ({self._failed}); come again", retry_after_s=1)

    def step(self) -> None:
        """Change what is to be changed, then decide what waits, at most a batch of it.

        After a defect the state may hold what the log does not: the epoch ends, as it does when the log cannot be written.
        """
        try:
            self._turn()
        except Exception as error:  # noqa: BLE001 - the edge of the loop: whoever waits is told, and the state is made anew
            self._end(self._defective(error), self._taken)
            self._taken = ()

    @property
    def busy(self) -> bool:
        """Whether a step would do something now: not while the disk has more under way than it may, nor after the epoch has ended."""
        return self._failed is None and bool(self.commands or (self.queue and len(self.flights) < FLIGHTS_MAX))

    @property
    def ripe(self) -> bool:
        """Whether a batch should begin now rather than after the flush that is under way.

        A flush takes less time than a batch: who waits for it is answered a whole batch sooner, and requests that come meanwhile are read.
        Only when enough wait, or it takes long, the next batch is decided beside it; and the longer it takes, the larger the batches: a disk that
        stands still for a tenth of a second finds all who came meanwhile decided, in groups that are not too many.
        """
        if not self.busy or self.commands or not self.flights:
            return self.busy
        waiting = len(self.queue)
        return waiting >= _ENOUGH or (waiting >= len(self.flights) and time.monotonic() - self.flusher.since > _FLUSH_S_SHORT)

    def _turn(self) -> None:
        while self.commands and self._failed is None:
            self._change(self.commands.popleft())
            self._began_ns = 0
        if self._failed is not None or len(self.flights) >= FLIGHTS_MAX:
            return
        tickets = [self.queue.popleft() for _ in range(min(len(self.queue), self.limits.batch_max))]
        if not tickets:
            if not self.flights:  # who is under way is answered first
                self.beside.turn(self.in_force)
                self._began_ns = 0
            return
        begin = time.thread_time_ns()
        self._measure(begin, tickets)
        sampled = self.counters.batches % self.sampled == 0
        now_ns = time.thread_time_ns if sampled else _no_time
        self._taken = tickets
        state, in_force = self.state, self.in_force
        hashes = state.hashes([ticket.row for ticket in tickets])
        fresh, hashes = self._fresh(tickets, hashes)
        self._taken = fresh
        at_ids = now_ns()
        if not fresh:
            return
        if self.halted is not None:
            for ticket in fresh:
                ticket.refuse(self.halted)
            return
        rows = [ticket.row for ticket in fresh]
        received = self._received(fresh)
        events = state.events(rows, received, hashes)
        vectors = state.vectors(events)
        at_fold = now_ns()
        judged = judge(in_force, rows, received, vectors, explained=self._approved_max(fresh, 0) >= len(fresh))
        at_judge = now_ns()
        told = reasons_of(in_force, judged, vectors.values, self._approved_max(fresh, judged.stopped))
        at_reasons, now = now_ns(), time.perf_counter_ns()
        made = decisions_of(in_force, judged, vectors, told, [(now - ticket.arrived_ns) // 1_000 for ticket in fresh])
        records = state.records(
            rows, received, [made_ if ticket.decide else None for made_, ticket in zip(made, fresh, strict=True)], hashes
        )
        at_records = now_ns()
        try:
            first = self.log.append(self.log.epoch, encode_all(records))
        except FraudloopError as error:
            self._end(error, fresh)
            return
        state.note(first, records, *self.log.place, payments=state.fingerprints_in(hashes))
        state.chain = self.log.digest
        flight = Flight(self.log.next_lsn, fresh, records)
        for at, ticket in enumerate(fresh):
            self.pending[str(ticket.row["transaction_id"])] = (flight, at, ticket)
        self.flights.append(flight)
        self._taken = ()
        self.flusher.wanted()
        self.beside.note(in_force, judged, rows, vectors.values, received[-1])
        at_append = time.thread_time_ns()
        self._own_ns += at_append - begin
        deferred = told.count(None)
        self._count(len(fresh), deferred)
        if sampled:
            self.counters.features(vectors.values)
            self._follow((("ids", at_ids - begin), ("fold", at_fold - at_ids), ("judge", at_judge - at_fold), ("reasons", at_reasons - at_judge),
                          ("records", at_records - at_reasons), ("append", at_append - at_records)))  # fmt: skip
            if (explained := len(fresh) - deferred) > _SOME:
                self.reason_ns += _COST_WEIGHT * ((at_reasons - at_judge) / explained - self.reason_ns)

    def _measure(self, begin_ns: int, tickets: Sequence[Ticket]) -> None:
        """A batch begins: follow what a payment costs, and whether those who wait become fewer again by themselves."""
        n, now = len(tickets), time.perf_counter_ns()
        if now - tickets[0].arrived_ns <= self.limits.queue_ns_max / 2:
            self._strained_ns = 0
        elif not self._strained_ns:
            self._strained_ns = now
        self.strained = self._strained_ns > 0 and now - self._strained_ns > _PATIENCE_NS
        spent, own, before = begin_ns - self._began_ns, self._own_ns, self._before
        if self._began_ns and min(before, n) >= _SOME:  # small batches tell what batches cost
            cost = own / before + (spent - own) / (n + self._away)  # whoever was sent away was read too
            # One batch that met a new plan or a cold cache is no reason to send those after it away.
            self.cost_ns += _COST_WEIGHT * (min(cost, _COST_RISE_MAX * self.cost_ns) - self.cost_ns)
        self._began_ns, self._own_ns, self._before, self._away = begin_ns, 0, n, 0

    def _approved_max(self, fresh: Sequence[Ticket], stopped: int) -> int:
        """How many approved payments of a batch may have their reasons before the answer. stopped: those that have them anyway.

        What the first of them has waited already is taken from the time: under load reasons give way before a payment is sent away.
        """
        waited = time.perf_counter_ns() - fresh[0].arrived_ns
        left = self.limits.reason_ns_max - waited
        if left <= 0:
            return 0
        if len(fresh) <= _SOME:
            return len(fresh)
        return int(left / self.reason_ns) - stopped

    def _change(self, command: Command) -> None:
        try:
            records = command.make()
        except FraudloopError as error:
            command.refuse(error)
            return
        except Exception as error:  # noqa: BLE001 - nothing was changed yet: who gave the command is told, everything goes on
            command.refuse(self._defective(error))
            return
        if not records:
            command.apply()
            command.done(self.log.next_lsn)
            return
        try:
            first = self.log.append(self.log.epoch, encode_all(records))
        except FraudloopError as error:
            self.commands.appendleft(command)
            self._end(error, [])
            return
        try:
            self.state.note(first, records, *self.log.place)
            self.state.chain = self.log.digest
            for record in records:
                self.state.change(record)
            command.apply()
        except Exception as error:
            self.unsure = True
            command.refuse(self._defective(error))
            raise
        self.flights.append(Flight(self.log.next_lsn, command=command, first_lsn=first))
        self.flusher.wanted()

    def durable(self, lsn: int) -> None:
        """Answer whatever lies below an LSN; -1: the epoch has ended."""
        if lsn < 0:
            self._end(self._failed or UnavailableError(), [])
            return
        begin = time.thread_time_ns()
        while self.flights and self.flights[0].next_lsn <= lsn:
            flight = self.flights.popleft()
            if flight.command is not None:
                try:
                    flight.command.done(flight.first_lsn)
                except Exception as error:  # noqa: BLE001 - as in `_answer`
                    flight.command.refuse(self._defective(error))
                continue
            if len(flight.tickets) < _TOGETHER:
                self._tell(flight)
            else:
                asked = next((ticket for ticket in flight.tickets if ticket.decide), flight.tickets[0])
                with asked.together(flight.records):
                    self._tell(flight)
        self._own_ns += time.thread_time_ns() - begin

    def _tell(self, flight: Flight) -> None:
        first = flight.next_lsn - len(flight.tickets)
        for at, (ticket, record) in enumerate(zip(flight.tickets, flight.records, strict=True)):
            del self.pending[str(ticket.row["transaction_id"])]
            self._answer(ticket, record, first + at)
            for other in flight.waiting.get(at, ()):
                self._answer(other, record, first + at)

    def _answer(self, ticket: Ticket, record: Transacted, lsn: int) -> None:
        try:
            ticket.answer(record, lsn)
        except Exception as error:  # noqa: BLE001 - the edge of a request: those after it are answered all the same
            ticket.refuse(self._defective(error))

    def _defective(self, error: Exception) -> FraudloopError:
        """What is told of a defect: its place, never the data."""
        if isinstance(error, DefectError):
            return error
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
        self.defect = f"{type(error).__name__} at {place}"
        return DefectError(f"a defect in fraudloop ({self.defect}); nothing that was answered is lost", place=place)

    def _received(self, tickets: Sequence[Ticket]) -> list[int]:
        """When each arrived by the wall clock, never going back."""
        out, newest = [], self.state.received_us
        for ticket in tickets:
            newest = max(newest, ticket.received_us)
            ticket.row["received_at"] = newest  # not what the caller says
            out.append(newest)
        return out

    def _fresh(self, tickets: Sequence[Ticket], hashes: Hashes) -> tuple[list[Ticket], Hashes]:
        """Those that were not told before, and their hashes among those of all; the others are answered as they were, wait for the first, or
        are in conflict."""
        ids = [str(ticket.row["transaction_id"]) for ticket in tickets]
        known = self.state.known.get(self.state.fingerprints_in(hashes)).tolist()
        out: list[Ticket] = []
        here: dict[str, Ticket] = {}
        later: list[tuple[Ticket, Ticket]] = []
        done = 0
        kept: list[int] = []
        try:
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
                    kept.append(done)
                done += 1
        except Exception:
            self._taken = [*out, *(ticket for ticket, _ in later), *tickets[done:]]
            raise
        if later:
            # Told twice within a batch: the second is taken up once the first is on its way.
            for ticket, first in later:
                if self._same(ticket, first.row):
                    self.queue.appendleft(ticket)
        return out, hashes if len(out) == len(tickets) else hashes[kept]

    def _answered(self, ticket: Ticket, lsn: int) -> bool:
        """Answer from the log; False if the record there is of another id with the same fingerprint."""
        try:
            record = decode(self.state.positions.read(self._files, lsn))
        except LedgerError as error:
            ticket.refuse(UnavailableError(f"the stored answer cannot be read now ({error}); come again", retry_after_s=1))
            return True
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
        self._because(error)
        self.unsure = self.unsure or any(flight.command is not None for flight in self.flights)
        unavailable = self._unavailable()
        for ticket in tickets:
            ticket.refuse(error if isinstance(error, DefectError) else unavailable)
        for ticket in [
            *(t for flight in self.flights for t in [*flight.tickets, *(o for os in flight.waiting.values() for o in os)]),
            *self.queue,
        ]:
            ticket.refuse(unavailable)
        for command in [*(flight.command for flight in self.flights if flight.command is not None), *self.commands]:
            command.refuse(unavailable)
        self.flights.clear()
        self.queue.clear()
        self.commands.clear()
        self.pending.clear()

    def _count(self, decided: int, deferred: int) -> None:
        counters = self.counters
        counters.batches += 1
        counters.decided += decided
        counters.deferred += deferred
        counters.batch_sizes[min(9, (decided - 1).bit_length())] += 1

    def _follow(self, phases: Sequence[tuple[str, int]]) -> None:
        """What the phases of a batch took that stands for `sampled` batches."""
        spent_ns = self.counters.phases_ns
        for name, spent in phases:
            spent_ns[name] = spent_ns.get(name, 0) + self.sampled * spent

    def close(self) -> None:
        """Flush what was appended; answer it; let go of the log. A second call does nothing. LedgerError: the last flush failed, and who
        was not answered was told so."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flusher.stop()
        except FraudloopError as error:
            self._because(error)
        try:
            if self._failed is None:
                self.durable(self.log.flush())
            else:
                self._end(self._failed, [])
        except FraudloopError as error:
            self._end(error, [])
            raise
        finally:
            if self._failed is None:
                self.log.close()
            else:
                self._files.close()
