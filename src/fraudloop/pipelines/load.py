"""An open-loop load generator for HTTP/1.1: each request goes out when it is due, whatever the server does. It knows no payment.

    source ─▶ due now? ─▶ a free connection ─▶ server          latency counts from here: │◀── due          answered ──▶│
                  │no: an alarm wakes for the next one             a stall of the server delays all that came due in it

A closed loop sends nothing while it waits, so it does not see what a stall does to those who come meanwhile ("coordinated
omission"; Tene, "How NOT to Measure Latency", 2013). Here what is due waits for a connection and its wait counts. One thread, one core.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fraudloop.errors import InputError
from fraudloop.pipelines.exchange import Connection, Target
from fraudloop.pipelines.histogram import Histogram

#: How often what takes too long is looked for. Timeouts err by as much.
_SWEEP_S: Final = 0.05

#: Of its own lateness: beyond it (and a tenth of the latency found) a run tells of the generator, not of the server.
_LATE_NS_MAX: Final = 1_000_000

_BUSY_SHARE_MAX: Final = 0.9

#: Requests that are due and not answered, at most: what is due beyond them goes out later, and its wait counts. More would be memory
#: for a server that does not keep up anyway: 100,000 bodies of 500 bytes are 100 MB.
BACKLOG_MAX: Final = 100_000

#: In a closed loop, a few for each connection: enough that some can wait behind others of their key.
_CLOSED_BACKLOG: Final = 4

#: How soon a full backlog is looked at again.
_FULL_WAIT_NS: Final = 5_000_000


class Sending(NamedTuple):
    """One request. due_ns: after the start. data: the whole request. key: those of one key go out one after the other, each when the
    one before was answered. tag: handed back with the answer."""

    due_ns: int
    data: bytes
    key: str | None = None
    tag: Any = None


def at_rate(target: Target, bodies: Iterable[bytes], rate: float) -> Iterator[Sending]:
    """A constant rate in requests a second: the n-th is due n/rate after the start. 0: at once, each when a connection is free."""
    request = target.requests()
    if rate <= 0:
        return (Sending(0, request(body)) for body in bodies)
    step = 1e9 / rate
    return (Sending(round(n * step), request(body)) for n, body in enumerate(bodies))


@dataclass(frozen=True, slots=True)
class Retry:
    """What is sent again: answers of these statuses, after their Retry-After (else `after_s`); lost, refused and timed out ones after
    `after_s`. Only for requests that the server takes once. within_s: after it was due, a request is given up."""

    statuses: frozenset[int] = frozenset({503})
    after_s: float = 1.0
    within_s: float = 60.0


@dataclass(slots=True)
class Report:
    """What a run found. Times in milliseconds.

    scheduled = unsent + sent; sent = completed + closed + protocol errors + unanswered. latency: from when a request was due to the
    last byte of its answer, timeouts at the age at which they were given up; of_2xx: of those answered so; service: from sending on;
    lateness: the generator's own, over requests that were due while a connection was free; waited: those that were not so lucky.
    """

    rate: float
    duration_s: float
    connections: int
    scheduled: int
    sent: int
    completed: int
    ok: int
    status: dict[int, int]
    errors: dict[str, int]
    timeouts: dict[str, int]
    reconnects: int
    retried: int
    waited: int
    achieved: float
    latency: dict[str, float]
    of_2xx: dict[str, float]
    service: dict[str, float]
    lateness: dict[str, float]
    cpu_share: float
    is_bottleneck: bool


#: Called with each answer that counts as one: the tag, the status, the body, nanoseconds since it was due.
Answered = Callable[[Any, int, bytes, int], None]


class _Request:
    __slots__ = ("counts", "data", "due_ns", "free", "key", "sent_ns", "tag", "tries")

    def __init__(self, sending: Sending, start_ns: int, counts: bool) -> None:
        self.due_ns = start_ns + sending.due_ns
        self.data, self.key, self.tag = sending.data, sending.key, sending.tag
        self.counts = counts
        self.free = True
        self.sent_ns = self.tries = 0


@dataclass(slots=True)
class Counts:
    """What has happened so far, of what counts."""

    scheduled: int = 0
    sent: int = 0
    completed: int = 0
    ok: int = 0
    retried: int = 0
    reconnects: int = 0
    waited: int = 0
    status: dict[int, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=lambda: {"connect": 0, "closed": 0, "protocol": 0})
    timeouts: dict[str, int] = field(default_factory=lambda: {"unsent": 0, "unanswered": 0})
    latency: Histogram = field(default_factory=Histogram)
    of_2xx: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    lateness: Histogram = field(default_factory=Histogram)


class Load:
    """One run against one server. source: in the order of `due_ns`.

    rate: what the source was made with, for the report; 0 sends closed-loop. warmup_s: what is due before it does not count.
    duration_s: what is due after warm-up and it is not sent; None: all of the source.
    """

    def __init__(
        self, target: Target, source: Iterable[Sending], *, rate: float, duration_s: float | None = None, warmup_s: float = 0.0,
        connections: int = 64, timeout_s: float = 5.0, retry: Retry | None = None, answered: Answered | None = None,
    ) -> None:  # fmt: skip
        self.counts = Counts()
        self.in_flight = 0
        self._target, self._source, self._rate = target, iter(source), rate
        self._warmup_ns = round(warmup_s * 1e9)
        self._end_ns = None if duration_s is None else self._warmup_ns + round(duration_s * 1e9)
        self._wanted, self._timeout_ns, self._retry = connections, round(timeout_s * 1e9), retry
        self._backlog_max = _CLOSED_BACKLOG * connections if rate == 0 else BACKLOG_MAX
        self._answered = answered
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Future[None]
        self._alarm: _Alarm
        self._start_ns = self._last_ns = 0
        self._next: Sending | None = None
        self._idle: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[_Request] = deque()
        self._lanes: dict[str, deque[_Request]] = {}
        self._stopped = False

    # --- the run -------------------------------------------------------------------------------------------------

    def run(self, begin: Callable[[asyncio.AbstractEventLoop], None] = lambda loop: None) -> Report:
        """Send everything and wait for the answers; on uvloop where it is installed. InputError: nothing listens there.

        begin: called in the loop before the first request.
        """
        gc.collect()
        gc.freeze()  # what was there before is not walked again while requests are due
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(self.serve(begin))
        finally:
            gc.unfreeze()

    async def serve(self, begin: Callable[[asyncio.AbstractEventLoop], None] = lambda loop: None) -> Report:
        """As `run`, within a loop that runs already."""
        self._loop = loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        await self._open_all()
        begin(loop)
        self._alarm = _Alarm(loop, self._send_due)
        began_cpu = time.process_time()
        self._start_ns = self._last_ns = time.monotonic_ns()
        sweep = loop.call_later(_SWEEP_S, self._sweep)
        self._sweeper = sweep
        self._pull()
        self._send_due()
        try:
            await self._over
        finally:
            self._alarm.close()
            self._sweeper.cancel()
            for task in list(self._opening):
                task.cancel()
            for connection in list(self._all):
                connection.drop()
        return self._report(time.process_time() - began_cpu)

    def stop(self) -> None:
        """Send nothing more that is not due; the run ends once what was sent is answered or given up."""
        self._stopped = True
        self._next = None
        self._finish()

    async def _open_all(self) -> None:
        found = await asyncio.gather(*(self._connect() for _ in range(self._wanted)), return_exceptions=True)
        for one in found:
            if isinstance(one, BaseException):
                for connection in list(self._all):
                    connection.drop()
                raise InputError(
                    f"http://{self._target.host}:{self._target.port} does not answer ({one}); start the service first"
                ) from one
            self._idle.append(one)

    async def _connect(self) -> Connection:
        _, connection = await self._loop.create_connection(lambda: Connection(self), self._target.host, self._target.port)
        self._all.add(connection)
        return connection

    # --- what is due ---------------------------------------------------------------------------------------------

    def _pull(self) -> None:
        self._next = None if self._stopped else next(self._source, None)
        if self._next is not None and self._end_ns is not None:
            due = self._next.due_ns if self._rate > 0 else time.monotonic_ns() - self._start_ns
            if due >= self._end_ns:
                self._next = None

    def _send_due(self) -> None:
        if self._rate == 0:
            while self._idle and self._next is not None and self.in_flight < self._backlog_max:
                self._dispatch(self._next._replace(due_ns=time.monotonic_ns() - self._start_ns))
                self._pull()
        else:
            while (sending := self._next) is not None:
                due = self._start_ns + sending.due_ns
                now = time.monotonic_ns()
                if due > now or self.in_flight >= self._backlog_max:
                    self._alarm.at(due if due > now else now + _FULL_WAIT_NS)
                    return
                self._dispatch(sending)
                self._pull()
        self._alarm.off()
        self._finish()

    def _dispatch(self, sending: Sending) -> None:
        counts = sending.due_ns >= self._warmup_ns
        request = _Request(sending, self._start_ns, counts)
        self.in_flight += 1
        if counts:
            self.counts.scheduled += 1
        key = sending.key
        if key is not None:
            lane = self._lanes.get(key)
            if lane is not None:
                request.free = False
                lane.append(request)
                return
            self._lanes[key] = deque()
        self._offer(request)

    def _offer(self, request: _Request) -> None:
        """Send on a free connection, or as soon as there is one."""
        while self._idle:
            connection = self._idle.popleft()
            if connection.transport is not None:
                connection.send(request)
                return
        request.free = False
        if len(self._all) + len(self._opening) < self._wanted:
            self.counts.reconnects += 1
            task = self._loop.create_task(self._reopen(request))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._waiting.append(request)

    async def _reopen(self, request: _Request) -> None:
        try:
            connection = await self._connect()
        except OSError:
            self._failed(request, "connect")
            return
        connection.send(request)

    def free(self, connection: Connection) -> None:
        """A connection has nothing to do."""
        if self._waiting:
            connection.send(self._waiting.popleft())
            return
        self._idle.append(connection)
        if self._rate == 0 and self._next is not None:
            self._send_due()

    # --- what became of it ---------------------------------------------------------------------------------------

    def sent(self, request: _Request, now: int) -> None:
        """A request goes out."""
        if request.counts and not request.tries:
            self.counts.sent += 1
            if request.free:
                self.counts.lateness.add(now - request.due_ns)
            else:
                self.counts.waited += 1

    def done(self, request: _Request, status: int, body: bytes, retry_after_s: float | None) -> None:
        """An answer is there."""
        now = time.monotonic_ns()
        if self._retry is not None and status in self._retry.statuses and self._again(request, retry_after_s):
            return
        if request.counts:
            counts, took = self.counts, now - request.due_ns
            counts.completed += 1
            counts.status[status] = counts.status.get(status, 0) + 1
            counts.latency.add(took)
            counts.service.add(now - request.sent_ns)
            if 200 <= status < 300:
                counts.ok += 1
                counts.of_2xx.add(took)
            self._last_ns = now
        if self._answered is not None:
            self._answered(request.tag, status, body, now - request.due_ns)
        self._end(request)

    def lost(self, request: _Request, what: str) -> None:
        """The connection ended before the answer did, or the answer is none."""
        self._failed(request, what)

    def _failed(self, request: _Request, what: str) -> None:
        if self._retry is not None and self._again(request, None):
            return
        if request.counts:
            self.counts.errors[what] += 1
        self._end(request)

    def _again(self, request: _Request, after_s: float | None) -> bool:
        """Send it once more, unless it has had its time."""
        retry = self._retry
        assert retry is not None, "somebody wants it sent again"
        wait = retry.after_s if after_s is None else after_s
        if self._stopped or time.monotonic_ns() + wait * 1e9 > request.due_ns + retry.within_s * 1e9:
            return False
        self.counts.retried += 1
        request.tries += 1
        self._loop.call_later(wait, self._offer, request)
        return True

    def _end(self, request: _Request) -> None:
        self.in_flight -= 1
        if request.key is not None:
            lane = self._lanes[request.key]
            if lane:
                self._offer(lane.popleft())
            else:
                del self._lanes[request.key]
        if not self.in_flight:
            self._finish()

    def _finish(self) -> None:
        if self._next is None and not self.in_flight and not self._over.done():
            self._over.set_result(None)

    def _sweep(self) -> None:
        """Give up what waits too long: for a connection since it was due, for its answer since it was sent, as a client would."""
        now = time.monotonic_ns()
        for connection in list(self._all):
            request = connection.request
            # Were it counted from when it was due, a server that lags would be sent requests whose time is nearly over: connections
            # would be dropped for nearly all, and the load would measure its own reconnecting.
            if request is not None and now - (request.sent_ns or request.due_ns) > self._timeout_ns:
                connection.drop()
                self._timed_out(request, "unanswered", now)
                self.forget(connection)
        while self._waiting and now - self._waiting[0].due_ns > self._timeout_ns and not self._waiting[0].tries:
            self._timed_out(self._waiting.popleft(), "unsent", now)
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    def _timed_out(self, request: _Request, what: str, now: int) -> None:
        if self._retry is not None and self._again(request, 0.0):
            return
        if request.counts:
            self.counts.timeouts[what] += 1
            self.counts.latency.add(now - request.due_ns)
        self._end(request)

    def gone(self, connection: Connection) -> None:
        """A connection does not count any more."""
        self._all.discard(connection)

    def forget(self, connection: Connection) -> None:
        """There is room for another connection."""
        if self._waiting and len(self._all) + len(self._opening) < self._wanted:
            self._offer(self._waiting.popleft())

    # --- the report ----------------------------------------------------------------------------------------------

    @property
    def elapsed_s(self) -> float:
        """Since the start."""
        return (time.monotonic_ns() - self._start_ns) / 1e9 if self._start_ns else 0.0

    def _report(self, cpu_s: float) -> Report:
        counts, now = self.counts, time.monotonic_ns()
        began = self._start_ns + self._warmup_ns
        # To the end of the schedule, or to the last answer if that is later.
        until = self._last_ns if self._end_ns is None or self._stopped else max(self._last_ns, self._start_ns + self._end_ns)
        seconds = max(1e-9, (until - began) / 1e9)
        share = cpu_s / max(1e-9, (now - self._start_ns) / 1e9)
        late = counts.lateness.percentile(0.99)
        waited = counts.waited > counts.scheduled / 100
        bottleneck = self._rate > 0 and late > _LATE_NS_MAX and late > counts.latency.percentile(0.99) / 10
        bottleneck |= share > _BUSY_SHARE_MAX and (self._rate == 0 or waited)
        return Report(
            self._rate, seconds, self._wanted, counts.scheduled, counts.sent, counts.completed, counts.ok, dict(sorted(counts.status.items())),
            counts.errors, counts.timeouts, counts.reconnects, counts.retried, counts.waited, counts.completed / seconds,
            counts.latency.to_dict(), counts.of_2xx.to_dict(), counts.service.to_dict(), counts.lateness.to_dict(), share, bottleneck,
        )  # fmt: skip


class _Alarm:
    """Calls back at a time of the monotonic clock: to the microsecond by Linux' timerfd, elsewhere to the loop's millisecond."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[], None]) -> None:
        self._loop, self._ring = loop, ring
        self._handle: asyncio.TimerHandle | None = None
        self._fd = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd >= 0:
            self._spec = (ctypes.c_long * 4)()
            # Setting it anew makes it quiet again, so nothing is read from it: the callback always sets it, or turns it off.
            loop.add_reader(self._fd, ring)

    def at(self, when_ns: int) -> None:
        """Ring then; an alarm set before is forgotten."""
        if self._fd >= 0:
            self._spec[2], self._spec[3] = divmod(when_ns, 1_000_000_000)
            self._libc.timerfd_settime(self._fd, 1, self._spec, None)
        else:
            self.off()
            self._handle = self._loop.call_later(max(0.0, (when_ns - time.monotonic_ns()) / 1e9), self._ring)

    def off(self) -> None:
        """Do not ring."""
        if self._fd >= 0:
            self._spec[2] = self._spec[3] = 0
            self._libc.timerfd_settime(self._fd, 1, self._spec, None)
        elif self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        """Let go of the timer."""
        self.off()
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def run(
    target: Target, bodies: Iterable[bytes], *, rate: float, duration_s: float, warmup_s: float = 0.0, connections: int = 64, timeout_s: float = 5.0,
    answered: Answered | None = None,
) -> Report:  # fmt: skip
    """Send bodies at a constant rate (0: closed loop, to find the ceiling) for `warmup_s` and then `duration_s`."""
    source = at_rate(target, bodies, rate)
    return Load(
        target, source, rate=rate, duration_s=duration_s, warmup_s=warmup_s, connections=connections, timeout_s=timeout_s, answered=answered
    ).run()
