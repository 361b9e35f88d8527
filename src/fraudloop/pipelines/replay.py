"""A table of past payments sent to a running service, in the order of the log, at a rate; then everything it decided checked.

    table ─▶ door ─▶ canonical rows ─▶ order of arrival ─▶ bodies ─▶ load ─▶ service ─▶ its log ─▶ `offline.compare`
                                       (copies, disorder and lateness put in, from a seed)

Payments of one customer go out one after the other, for their order is what the numbers depend on. What the service sends away for now
(503) is sent again with the same id until it is decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.clock import Clock, SystemClock
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED, read
from fraudloop.door.outward import body_of, time_text
from fraudloop.door.shape import Number
from fraudloop.errors import InputError
from fraudloop.limits import HOUR_US, SECOND_US
from fraudloop.pipelines.data import column_map, resources
from fraudloop.pipelines.exchange import Target
from fraudloop.pipelines.histogram import Histogram
from fraudloop.pipelines.load import Load, Report, Retry, Sending
from fraudloop.pipelines.shift import REPLAY_BEFORE_US, arrivals, part, shift_us, shifted
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent

Ints = NDArray[np.int64]

PAYMENT, LABEL = 0, 1

#: How far what is put in lies from its place, in the payments' own time: a client that tries again, a network that overtakes, a terminal
#: that was offline. The last stays below the lateness that features know (24 h).
DUPLICATE_AFTER_US: Final = 60 * SECOND_US
REORDER_BY_US: Final = 60 * SECOND_US
LATE_BY_US: Final = 20 * HOUR_US

#: Rows made into bodies at a time: a pause of a millisecond for the sender.
_CHUNK: Final = 128

#: Waits that a restart of the service takes.
_RETRY: Final = Retry(after_s=1.0, within_s=120.0)

_TIMEOUT_S: Final = 10.0
_CONNECTIONS: Final = 128
_LIVE_S: Final = 1.0

#: Refusals that are kept to be shown.
_REFUSALS_KEPT: Final = 5


@dataclass(frozen=True, slots=True)
class Disorder:
    """Shares of payments that are sent twice, pass others or come late, drawn from a seed."""

    duplicate: float = 0.0
    reorder: float = 0.0
    late: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("duplicate", "reorder", "late"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"--{name} {getattr(self, name)}: a share is from 0 to 1")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast: `rate` payments a second, or `speed` times their own time, or neither: as fast as answers come (a closed loop).

    own_times: payments keep their times; else each gets the moment at which it would have been due, so that a service whose clock is
    today's takes its history as fresh.
    """

    rate: float | None = None
    speed: float | None = None
    own_times: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What is sent when: kind (PAYMENT, LABEL) and row of its table, by `arrival_us`, ascending; copy: whether it is sent a second time.
    time_us: of each payment in its table."""

    arrival_us: Ints
    kind: NDArray[np.uint8]
    row: Ints
    copy: NDArray[np.bool_]
    time_us: Ints

    def __len__(self) -> int:
        return len(self.row)


@dataclass(slots=True)
class Live:
    """How it goes, once a second: sent so far of all, answers a second and their latency (ms) since the last time."""

    elapsed_s: float
    done: int
    total: int
    rate: float
    p50: float
    p99: float
    outcomes: dict[str, int]
    retried: int


@dataclass(slots=True)
class Replayed:
    """What came of it. outcomes: of payments by their first answer. degraded: answers that said so. refused: first answers of neither
    200 nor 503, shown. unlike: second answers that differ from the first. undecided: payments without any answer. shift_us: what was added to every time."""

    load: Report
    payments: int
    labels: int
    sent_payments: int
    outcomes: dict[str, int]
    degraded: int
    copies: int
    unlike: int
    undecided: int
    refused: dict[str, int]
    labels_taken: int
    stopped: bool
    began_us: int = 0
    rejected_rows: int = 0
    shift_us: int = 0


class _Tag(NamedTuple):
    kind: int
    row: int
    copy: bool


class _Answer(msgspec.Struct):
    decision: str | None = None
    degraded: bool = False


@dataclass(slots=True)
class _Seen:
    """What answers said so far."""

    outcomes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    answered: set[int] = field(default_factory=set)
    first: dict[int, bytes] = field(default_factory=dict)
    degraded: int = 0
    copies: int = 0
    unlike: int = 0
    labels_taken: int = 0
    done: int = 0
    recent: Histogram = field(default_factory=Histogram)


def order_of(payments: pl.DataFrame, labels: pl.DataFrame, disorder: Disorder) -> Order:
    """The order in which canonical payments and labels arrive: by time, labels first, then by row; with disorder put in.

    payments: `timestamp` and `received_at` as datetimes. labels: `known_at`.

    >>> from datetime import UTC, datetime, timedelta
    >>> times = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=m) for m in (2, 0, 1)]
    >>> table = pl.DataFrame({"timestamp": times, "received_at": times})
    >>> order_of(table, pl.DataFrame({"known_at": times[:1]}), Disorder()).row.tolist()
    [1, 2, 0, 0]
    """
    time_us = payments["received_at"].fill_null(payments["timestamp"]).to_physical().to_numpy().astype(np.int64)
    n = len(time_us)
    dice = np.random.default_rng(disorder.seed)
    arrival = time_us.copy()
    passed, late, twice = (dice.random(n) < share for share in (disorder.reorder, disorder.late, disorder.duplicate))
    arrival += np.where(passed, dice.integers(0, REORDER_BY_US, n), 0)
    arrival += np.where(late, dice.integers(0, LATE_BY_US, n), 0)
    again = np.flatnonzero(twice)
    copies = arrival[again] + dice.integers(0, DUPLICATE_AFTER_US, len(again))
    known = labels["known_at"].to_physical().to_numpy().astype(np.int64)
    moments = np.concatenate([arrival, copies, known])
    kind = np.repeat(np.array([PAYMENT, PAYMENT, LABEL], np.uint8), [n, len(again), len(known)])
    row = np.concatenate([np.arange(n), again, np.arange(len(known))])
    copy = np.repeat([False, True, False], [n, len(again), len(known)])
    at = np.lexsort((row, copy, kind == PAYMENT, moments))
    return Order(moments[at], kind[at], row[at], copy[at], time_us)


def sendings(
    payments: pl.DataFrame, labels: pl.DataFrame, order: Order, pace: Pace, target: Target, *, numbers: dict[str, Number], prefix: str = "",
    clock: Clock,
) -> Iterator[Sending]:  # fmt: skip
    """The requests of an order, made as they are asked for. prefix: put before each transaction_id, so that a table can be sent again."""
    score, feedback = target.at(_join(target.path, "/score_transaction")).requests(), target.at(_join(target.path, "/feedback")).requests()
    encode = msgspec.json.Encoder().encode
    plain = payments.with_columns(pl.col(pl.Datetime).to_physical())
    # A label goes the way of its payment's customer, behind the payment.
    key_of = payments.select("transaction_id", key=pl.col("customer_id").fill_null(pl.concat_str(pl.lit("#"), "transaction_id")))
    told = labels.join(key_of, on="transaction_id", how="left", maintain_order="left").with_columns(pl.col(pl.Datetime).to_physical())
    first_us = int(order.arrival_us[0]) if len(order) else 0
    twice, moments = set(order.row[order.copy].tolist()), dict[int, int]()
    began_us = clock.now_us()
    for begin in range(0, len(order), _CHUNK):
        kinds, rows = order.kind[begin : begin + _CHUNK], order.row[begin : begin + _CHUNK]
        of_payments = plain[rows[kinds == PAYMENT]].iter_rows(named=True)
        of_labels = told[rows[kinds == LABEL]].iter_rows(named=True)
        for at, kind in enumerate(kinds.tolist(), begin):
            due_us = _due_us(order, pace, at, first_us)
            tag = _Tag(kind, int(order.row[at]), bool(order.copy[at]))
            if kind == PAYMENT:
                row = next(of_payments)
                if not pace.own_times:
                    moment = moments.get(tag.row) if tag.copy else None
                    if moment is None:
                        moment = began_us + _moment_us(order, pace, tag.row, first_us, clock.now_us() - began_us)
                        if tag.row in twice:
                            moments[tag.row] = moment
                    row["timestamp"] = moment
                row["transaction_id"] = prefix + row["transaction_id"]
                key = row["customer_id"] or "#" + row["transaction_id"]
                yield Sending(due_us * 1_000, score(encode(body_of(row, numbers))), key, tag)
            else:
                row = next(of_labels)
                known_us = row["known_at"] if pace.own_times else min(began_us + due_us, clock.now_us())
                body = {"transaction_id": prefix + row["transaction_id"], "is_fraud": row["is_fraud"], "source": row["source"]}
                body |= {"known_at": time_text(known_us), "reason": row["reason"]}
                yield Sending(due_us * 1_000, feedback(encode(body)), row["key"], tag)


def _due_us(order: Order, pace: Pace, at: int, first_us: int) -> int:
    """When the at-th of an order is due, from the start."""
    if pace.rate is not None:
        return round(at / pace.rate * 1e6)
    if pace.speed is not None:
        return round((int(order.arrival_us[at]) - first_us) / pace.speed)
    return 0


def _moment_us(order: Order, pace: Pace, row: int, first_us: int, now_us: int) -> int:
    """When a payment took place, from the start, in the time of the replay: when it would be due if it came at once."""
    time_us = int(order.time_us[row])
    if pace.rate is not None:
        return round(int(np.searchsorted(order.arrival_us, time_us)) / pace.rate * 1e6)
    if pace.speed is not None:
        return round((time_us - first_us) / pace.speed)
    return now_us


def _join(path: str, end: str) -> str:
    return path.rstrip("/") + end


def replay(
    path: str | Path, url: str, pace: Pace, *, columns: str | Path = "native", labels: Path | None = None, with_labels: bool = False,
    disorder: Disorder | None = None, limit: int | None = None, prefix: str = "", connections: int = _CONNECTIONS,
    shift: str | None = None, since_us: int | None = None, max_rejected: float = DEFAULT_MAX_REJECTED, headers: tuple[tuple[str, str], ...] = (), settings: Settings | None = None, clock: Clock | None = None,
    progress: Progress = silent, live: Callable[[Live], None] = lambda now: None,
) -> Replayed:  # fmt: skip
    """Send a table to the service at `url` and say what it answered. Interrupted (SIGINT), it stops sending and reports.

    labels: a file of labels, sent to POST /feedback when they became known. with_labels: those that the table itself holds, likewise.
    limit: the first so many payments. shift: `now` or a duration that is added to every time of the table (`pipelines.shift`); payments then keep
    their distance, what lies after now is left out, and so is what lies before `since_us`: 23 hours before now unless given, for a
    service takes older ones as too late. InputError: the table cannot be read, or nothing listens there.
    """
    settings, clock = settings or Settings(), clock or SystemClock()
    target = Target.of(url, headers)
    mapped = column_map(columns, settings)
    ingested = read(path, mapped, None, max_rejected, labels=labels, resources=resources(mapped, settings), progress=progress)
    moved_us = 0
    if shift is not None and ingested.transactions.height:
        now_us = clock.now_us()
        moved_us = shift_us(shift, int(arrivals(ingested.transactions).max()), now_us)  # type: ignore[arg-type]
        ingested = part(shifted(ingested, moved_us), now_us - REPLAY_BEFORE_US if since_us is None else since_us, now_us)
        pace = replace(pace, own_times=True)
    elif since_us is not None:
        ingested = part(ingested, since_us)
    payments = ingested.transactions.drop(list(mapped.shape.segments))
    told = ingested.labels if labels is not None or with_labels else ingested.labels.head(0)
    if limit is not None:
        payments = payments.sort(pl.col("received_at").fill_null(pl.col("timestamp")), maintain_order=True).head(limit)
        told = told.filter(pl.col("transaction_id").is_in(payments["transaction_id"].implode()))
    if not payments.height:
        raise InputError(f"{path}: no payments to send")
    told = told.filter(pl.col("transaction_id").is_in(payments["transaction_id"].implode()))
    order = order_of(payments, told, disorder or Disorder())
    began_us = clock.now_us()
    seen, load, stopped = _send(payments, told, order, pace, target, mapped.shape.numbers, prefix, connections, clock, live)
    return Replayed(
        load, payments.height, told.height, len(order), dict(seen.outcomes.most_common()), seen.degraded, seen.copies, seen.unlike,
        payments.height - len(seen.answered), dict(seen.refused.most_common(_REFUSALS_KEPT)), seen.labels_taken, stopped, began_us, ingested.rejected.height, moved_us,
    )  # fmt: skip


def _send(
    payments: pl.DataFrame, labels: pl.DataFrame, order: Order, pace: Pace, target: Target, numbers: Any, prefix: str, connections: int, clock: Clock,
    live: Callable[[Live], None],
) -> tuple[_Seen, Report, bool]:  # fmt: skip
    seen = _Seen()
    decode = msgspec.json.Decoder(_Answer).decode
    twice = set(order.row[order.copy].tolist())

    def answered(tag: _Tag, status: int, body: bytes, took_ns: int) -> None:
        seen.done += 1
        seen.recent.add(took_ns)
        if tag.kind == LABEL:
            seen.labels_taken += 200 <= status < 300
            if not 200 <= status < 300:
                seen.refused[f"label {status}: {_detail(body)}"] += 1
            return
        if tag.row in twice:
            mark = blake2b(b"%d" % status + body, digest_size=8).digest()
            before = seen.first.setdefault(tag.row, mark)
            if tag.row in seen.answered:
                seen.copies += 1
                seen.unlike += before != mark
                return
        seen.answered.add(tag.row)
        if status != 200:
            seen.refused[f"{status}: {_detail(body)}"] += 1
            return
        answer = decode(body)
        seen.outcomes[answer.decision or "absorbed"] += 1
        seen.degraded += answer.degraded

    source = sendings(payments, labels, order, pace, target, numbers=numbers, prefix=prefix, clock=clock)
    closed = pace.rate is None and pace.speed is None
    load = Load(
        target, source, rate=0.0 if closed else pace.rate or len(order) / max(1e-9, _due_us(order, pace, len(order) - 1, int(order.arrival_us[0])) / 1e6),
        connections=connections, timeout_s=_TIMEOUT_S, retry=_RETRY, answered=answered,
    )  # fmt: skip
    stops = [0]

    def stop() -> None:
        stops[0] += 1
        if stops[0] > 1:
            raise KeyboardInterrupt
        load.stop()

    def tick(loop: asyncio.AbstractEventLoop, before: int) -> None:
        recent, seen.recent = seen.recent, Histogram()
        rate = (seen.done - before) / _LIVE_S
        p50, p99 = recent.percentile(0.5) / 1e6, recent.percentile(0.99) / 1e6
        live(Live(load.elapsed_s, seen.done, len(order), rate, p50, p99, dict(seen.outcomes), load.counts.retried))
        loop.call_later(_LIVE_S, tick, loop, seen.done)

    def begin(loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not in a thread, not on Windows
            loop.add_signal_handler(signal.SIGINT, stop)
        loop.call_later(_LIVE_S, tick, loop, 0)

    report = load.run(begin)
    return seen, report, stops[0] > 0


def _detail(body: bytes) -> str:
    """What an error says, shortened; never a whole body."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return "not JSON"
    return str(found.get("detail", ""))[:120] if isinstance(found, dict) else ""
