"""The endpoints of the scorer's process: requests become tickets of the engine, durable decisions become answers.

Who asks and what for is settled once for each head (`route`), so a request costs its body and its answer. Whatever is not here is passed on to
the desk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import unquote

import msgspec
import numpy as np

from fraudloop.api import problems
from fraudloop.api.absorb import Door, Event, Intake, Many, take
from fraudloop.api.commands import Control, fault, order
from fraudloop.api.http import Connection, Head, Server
from fraudloop.api.keys import Key, Keys, is_local
from fraudloop.api.lines import Lines
from fraudloop.api.metrics import EngineStats, HttpStats, Stats, Tally
from fraudloop.api.predict import Predictions, Predictor
from fraudloop.api.problems import PROBLEM, at_fault, refused
from fraudloop.api.rates import Addresses, Bucket, Rate
from fraudloop.api.relay import Relay
from fraudloop.api.routes import ROUTES, SCORER, Route
from fraudloop.api.wire import Absorbed, AbsorbedMany, Answers, Commanded, Decided, Feedback, Health, Told
from fraudloop.clock import Clock
from fraudloop.door.pan import hide
from fraudloop.door.row import Row
from fraudloop.errors import (
    ConflictError,
    ForbiddenError,
    FraudloopError,
    LimitedError,
    NotFoundError,
    UnauthorizedError,
    UnavailableError,
)
from fraudloop.ledger.records import Decision, Labelled, Reason, Transacted, Value
from fraudloop.limits import HTTP_BATCH_ROWS_A_TURN, HTTP_BATCH_ROWS_MAX, HTTP_BODY_BYTES_MAX

T = TypeVar("T")
_Body = Mapping[str, Any]


class Deciding(Protocol):
    """What the scorer needs of the engine: tickets in, and a turn of the loop while some wait."""

    @property
    def queue(self) -> Sized: ...

    def ask(self, ticket: Any) -> None:
        """Queue a ticket, or refuse it."""
        ...

    def turned_away(self) -> UnavailableError | None:
        """Why any ticket would be refused now; None: it is for `take`."""
        ...

    def take(self, ticket: Any) -> None:
        """Queue a ticket that is not turned away."""
        ...

    def step(self) -> None:
        """Decide a batch of what waits."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A payment in the log: its record, its row by column, the LSN and record of its last label, and the names of its vector's features."""

    lsn: int
    record: Transacted
    row: Mapping[str, Value]
    label: tuple[int, Labelled] | None = None
    names: Sequence[str] = ()
    reasons: Sequence[Reason] | None = None


class Records(Protocol):
    """Looks payments up in the log."""

    def find(self, transaction_id: str) -> Found | None:
        """The payment of an id. `reasons`: those of a decision whose own were deferred, computed now."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What one scorer is made of. stats, health: asked when somebody wants to know. keys: None for an open service. rate: of each address
    while the service is open. predictor: the model in force, None while there is none."""

    engine: Deciding
    door: Door
    clock: Clock
    health: Callable[[], Health]
    stats: Callable[[], EngineStats]
    records: Records | None = None
    intake: Intake | None = None
    control: Control | None = None
    predictor: Callable[[], Predictor | None] = lambda: None
    keys: Keys | None = None
    rate: Rate | None = None
    lines: Lines | None = None
    relay: Relay | None = None
    defect: Callable[[BaseException, str], None] = lambda error, request_id: None
    version: str = ""
    build: str = ""


class Routed:
    """What was made of a head: what serves it, within which bounds, for whom."""

    __slots__ = ("body_bytes_max", "bucket", "error", "handler", "head", "headers", "key", "parameters", "path", "remember")

    def __init__(self, handler: Callable[[Connection, Routed, bytes], None], head: Head, path: str, body_bytes_max: int) -> None:
        self.handler, self.head, self.path, self.body_bytes_max = handler, head, path, body_bytes_max
        self.remember = False
        self.bucket: Bucket | None = None
        self.key: Key | None = None
        self.parameters: dict[str, str] = {}
        self.error: FraudloopError | None = None
        self.headers = b""


class Ask:
    """One request of `POST /score_transaction` under way."""

    __slots__ = ("_app", "_connection", "_routed", "arrived_ns", "received_us", "row")

    decide = True

    def __init__(self, app: Scorer, connection: Connection, routed: Routed, row: Row) -> None:
        self._app, self._connection, self._routed, self.row = app, connection, routed, row
        self.arrived_ns = time.perf_counter_ns()
        self.received_us = app._now_us()

    def answer(self, record: Transacted, lsn: int) -> None:
        d = record.decision
        app, connection = self._app, self._connection
        if d is None:
            self.refuse(
                ConflictError("this payment was absorbed without a decision before, and is not decided again", transaction_id=record.row[0])
            )
            return
        app.note(d)
        lines = app._lines
        if lines is not None:
            lines.decided(connection.request_id, record.received_us, lsn, d)
        connection.respond_ok(app._encode(record))

    def together(self, records: Sequence[Transacted]) -> AbstractContextManager[object]:
        self._app.answers.ahead(records)
        return self._app.together

    def refuse(self, error: FraudloopError) -> None:
        self._app.refuse(self._connection, self._routed, error)


class _Together:
    """While it lasts a group of decisions is answered, whose bodies were made ahead; they are counted together at its end."""

    def __init__(self, app: Scorer) -> None:
        self._app = app
        self._noted: list[Decision] = []

    def __enter__(self) -> None:
        self._app.note = self._noted.append

    def __exit__(self, *error: object) -> None:
        app = self._app
        app.note = app.tally.decided
        app.answers.ahead(())
        self.count()

    def count(self) -> None:
        """Count what was answered since."""
        if self._noted:
            self._app.tally.decided_all(self._noted)
            self._noted.clear()


class Scorer:
    """The application of the scorer's port."""

    def __init__(self, parts: Parts, loop: asyncio.AbstractEventLoop) -> None:
        self.parts = parts
        self.tally = Tally()
        #: Takes each decision that was answered.
        self.note: Callable[[Decision], None] = self.tally.decided
        self.together = _Together(self)
        self.answers = Answers()
        self.server: Server | None = None
        self.started = time.time()
        self._loop = loop
        self._scheduled = False
        self._engine, self._lines = parts.engine, parts.lines
        self._glance, self._admit = parts.door.glance, parts.door.admit
        self._turned_away, self._take = parts.engine.turned_away, parts.engine.take
        self._ask, self._now_us, self._encode = parts.engine.ask, parts.clock.now_us, self.answers.encode
        #: By what is told of those who are sent away unread: the body around the request's id, and its headers.
        self._away: dict[str, tuple[bytes, bytes, bytes]] = {}
        self._object = msgspec.json.Decoder(dict[str, Any]).decode
        self._predictions: Predictions | None = None
        self._buckets: dict[str, Bucket | None] = {}
        self._addresses = Addresses(parts.rate) if parts.rate is not None and parts.keys is None else None
        self._plain: dict[str, list[tuple[Route, Any]]] = {}
        self._patterns: list[tuple[Route, Any]] = []
        for route in ROUTES:
            handler = getattr(self, f"_{route.handler}") if route.where == SCORER else self._elsewhere
            if route.parameters:
                self._patterns.append((route, handler))
            else:
                self._plain.setdefault(route.path, []).append((route, handler))

    def listen(self, server: Server) -> None:
        """The server of the public port: its heads are forgotten when keys change, its counts stand in the metrics."""
        self.server = server

    def start(self) -> None:
        """Beat once a second from now on, and sweep the server's connections."""
        if self.server is not None:
            self.server.start(self._loop)

        def turn() -> None:
            self.beat()
            self._loop.call_later(1.0, turn)

        self._loop.call_later(1.0, turn)

    def beat(self) -> None:
        """Once a second: keys that have changed, lines that wait."""
        keys = self.parts.keys
        if keys is not None and keys.refresh():
            self._buckets.clear()
            if self.server is not None:
                self.server.forget()
        if self._lines is not None:
            self._lines.flush()

    def stats(self) -> Stats:
        """Everything that is counted, for the desk."""
        self.together.count()
        if self._lines is not None:
            self.tally.lines_dropped = self._lines.dropped
        http = HttpStats()
        if self.server is not None:
            c = self.server.counters
            http = HttpStats(
                len(self.server.connections), c.connections, c.turned_away, c.timed_out, c.requests,
                {str(status): n for status, n in c.bad.items()},
            )  # fmt: skip
        return Stats(self.parts.version, self.parts.build, self.started, self.parts.stats(), self.tally, http)

    # --- of the server -------------------------------------------------------------------------------------------

    def connected(self, connection: Connection) -> None:
        if self._addresses is not None:
            peer = connection.transport.get_extra_info("peername")
            connection.owner = self._addresses.bucket(str(peer[0]) if isinstance(peer, tuple) and peer else "unix")

    def route(self, head: Head) -> Routed:
        """Whose request it is and what serves it."""
        try:
            key = self._who(head)
        except FraudloopError as error:
            return self._wrong(head, head.path, error)
        return self.routed(head, key, checked=self.parts.keys is not None)

    def routed(self, head: Head, key: Key | None, *, checked: bool) -> Routed:
        """What serves a request of this key; checked: whether a key is needed at all."""
        found, parameters = self._find(head.path)
        if not found:
            if self.parts.relay is None:
                return self._wrong(head, "*", NotFoundError(f"there is nothing at {hide(head.path, 200)}; see /docs", field="path"))
            out = Routed(self._elsewhere, head, "*", HTTP_BODY_BYTES_MAX)
            out.key = key
            return out
        path = found[0][0].path
        method = "GET" if head.method == "HEAD" else head.method
        if method == "OPTIONS":
            out = Routed(self._options, head, path, HTTP_BODY_BYTES_MAX)
            out.headers = _allow(found)
            return out
        for route, handler in found:
            if route.method != method:
                continue
            if checked and route.scope is not None:
                if key is None:
                    return self._wrong(head, path, UnauthorizedError(field="authorization"))
                if not key.opens(route.scope):
                    return self._wrong(
                        head, path, ForbiddenError(f"the key {key.name!r} lacks the scope {route.scope}", field="authorization")
                    )
            if route.body is not None and not _is_json(head.headers.get("content-type", "")):
                out = self._wrong(head, path, at_fault("content-type", "content-type.json", "the body must be sent as application/json"))
                out.handler = self._media
                return out
            out = Routed(handler, head, path, route.body_bytes_max)
            out.remember = not parameters
            out.key, out.parameters = key, parameters
            out.bucket = None if key is None else self._bucket(key)
            return out
        out = self._wrong(head, path, NotFoundError(f"{head.method} is not for {path}; see /docs", field="method"))
        out.handler, out.headers = self._method, _allow(found)
        return out

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        routed: Routed = head.route
        bucket = routed.bucket or connection.owner
        if bucket is not None:
            wait = bucket.take(time.monotonic())
            if wait:
                self._limit(connection, routed, wait)
                return
        try:
            routed.handler(connection, routed, body)
        except FraudloopError as error:
            self.refuse(connection, routed, error)
        except msgspec.ValidationError as error:
            self.refuse(connection, routed, fault(error))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            self._told(connection, routed, problems.problem_of_wire(400, f"the body is not JSON: {error}", "body"))
        except Exception as error:  # noqa: BLE001 - the edge of a request: a defect is answered with an id, and logged with it
            self.parts.defect(error, connection.request_id.decode("latin-1"))
            self.refuse(connection, routed, FraudloopError())

    def fail(self, connection: Connection, status: int, detail: str, field: str) -> None:
        connection.respond(
            status,
            problems.encode(problems.problem_of_wire(status, detail, field, connection.request_id.decode("latin-1"))),
            PROBLEM,
            b"retry-after: 1\r\n" if status == 503 else b"",
        )

    def refuse(self, connection: Connection, routed: Routed, error: FraudloopError) -> None:
        """Answer with an error."""
        self._told(connection, routed, problems.problem_of(error), problems.headers_of(error))

    def _told(self, connection: Connection, routed: Routed, problem: problems.Problem, headers: bytes = b"") -> None:
        self.tally.request(f"{routed.path} {problem.status}")
        problem = msgspec.structs.replace(problem, request_id=connection.request_id.decode("latin-1"))
        connection.respond(problem.status, problems.encode(problem), PROBLEM, headers)

    # --- who, and where ------------------------------------------------------------------------------------------

    def _who(self, head: Head) -> Key | None:
        """The key that a request shows. UnauthorizedError for one that is none."""
        keys = self.parts.keys
        if keys is None:
            # Open to this machine alone: not to pages that its browser shows.
            for name in ("host", "origin"):
                text = head.headers.get(name)
                if text and not is_local(_host(text)):
                    raise ForbiddenError(f"without API keys the service answers this machine alone, not {name} {text[:100]}", field=name)
            return None
        told = head.headers.get("x-api-key")
        name = "x-api-key"
        if told is None and "authorization" in head.headers:
            scheme, _, told = head.headers["authorization"].partition(" ")
            name = "authorization"
            if scheme.lower() != "bearer":
                raise UnauthorizedError(field=name)
        if told is None:
            return None
        found = keys.find(told.strip())
        if found is None:
            raise UnauthorizedError(field=name)
        return found

    def _bucket(self, key: Key) -> Bucket | None:
        if key.id not in self._buckets:
            self._buckets[key.id] = None if key.rate is None else Bucket(key.rate)
        return self._buckets[key.id]

    def _find(self, path: str) -> tuple[list[tuple[Route, Any]], dict[str, str]]:
        found = self._plain.get(path)
        if found is not None:
            return found, {}
        out, parameters = [], {}
        for route, handler in self._patterns:
            match = route.pattern.fullmatch(path)
            if match is not None:
                out.append((route, handler))
                parameters = {name: unquote(text) for name, text in match.groupdict().items()}
        return out, parameters

    def _wrong(self, head: Head, path: str, error: FraudloopError) -> Routed:
        out = Routed(self._refused, head, path, HTTP_BODY_BYTES_MAX)
        out.error = error
        return out

    def _refused(self, connection: Connection, routed: Routed, body: bytes) -> None:
        assert routed.error is not None, "what is refused has a reason"
        self.refuse(connection, routed, routed.error)

    def _method(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._told(connection, routed, problems.problem_of_wire(405, str(routed.error), "method"), routed.headers)

    def _media(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._told(
            connection, routed, problems.problem_of_wire(415, str(routed.error), "content-type"), b"accept-post: application/json\r\n"
        )

    def _options(self, connection: Connection, routed: Routed, body: bytes) -> None:
        connection.respond(204, b"", headers=routed.headers)

    def _limit(self, connection: Connection, routed: Routed, wait: float) -> None:
        self.tally.limited += 1
        self.refuse(
            connection, routed, LimitedError(f"too many requests; come again in {wait:.2g} seconds", retry_after_s=wait, field="rate")
        )

    def _charge(self, connection: Connection, routed: Routed, n: int) -> bool:
        """Count the items of a batch beyond its first against the caller's rate; False if that was too many, and it is answered."""
        bucket = routed.bucket or connection.owner
        wait = bucket.take(time.monotonic(), n) if bucket is not None and n > 0 else 0.0
        if wait:
            self._limit(connection, routed, wait)
        return not wait

    def _elsewhere(self, connection: Connection, routed: Routed, body: bytes) -> None:
        if self.parts.relay is None:
            raise UnavailableError("the desk is not running here", retry_after_s=5)
        self.parts.relay.forward(connection, routed.head, body, routed.key, lambda error: self.refuse(connection, routed, error))

    # --- decisions -----------------------------------------------------------------------------------------------

    def _score(self, connection: Connection, routed: Routed, body: bytes) -> None:
        away = self._turned_away()
        if away is not None:
            self._send_away(connection, routed, away)
            return
        row = self._glance(body)
        if row is None:
            found = self._admit(self._object(body))
            row = found.row
            if row is None:
                raise refused(found.refusals)
        self._take(Ask(self, connection, routed, row))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._step)

    def _send_away(self, connection: Connection, routed: Routed, error: UnavailableError) -> None:
        """Answer with an error that many are told, at a fraction of what `refuse` costs."""
        detail = str(error)
        found = self._away.get(detail)
        if found is None:
            if len(self._away) > 16:
                self._away.clear()
            whole = problems.encode(problems.problem_of(error, _ID_HERE))
            before, _, after = whole.partition(_ID_HERE.encode())
            found = self._away[detail] = before, after, problems.headers_of(error)
        self.tally.request(f"{routed.path} 503")
        connection.respond(503, b"%b%b%b" % (found[0], connection.request_id, found[1]), PROBLEM, found[2])

    def _step(self) -> None:
        self._scheduled = False
        self._engine.step()
        if self._engine.queue:
            self._scheduled = True
            self._loop.call_soon(self._step)

    def _asked(self, ticket: Any) -> None:
        self._ask(ticket)
        self._schedule()

    def _queue(self, ticket: Any) -> None:
        """What is not turned away, for the next step."""
        self._take(ticket)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._step)

    def _events(self, connection: Connection, routed: Routed, body: bytes) -> None:
        given = msgspec.json.decode(body)
        labels = routed.key is None or routed.key.opens("feedback")

        def admit(one: Any, ticket: Event, ask: Callable[[Event], None]) -> None:
            take(one, ticket, self.parts.door, ask, self.parts.intake, labels)

        def done(what: Absorbed | AbsorbedMany | FraudloopError) -> None:
            if isinstance(what, FraudloopError):
                self.refuse(connection, routed, what)
            else:
                connection.respond_ok(msgspec.json.encode(what))

        if isinstance(given, dict):
            admit(given, Event("transaction", self._now_us(), done), self._asked)
            return
        if not isinstance(given, list) or not 0 < len(given) <= HTTP_BATCH_ROWS_MAX:
            raise at_fault("body", "body.object", f"must be an event, or a list of 1 to {HTTP_BATCH_ROWS_MAX} events")
        if self._charge(connection, routed, len(given) - 1):
            Many(given, admit, self._turned_away, self._queue, self._now_us, self._loop.call_soon, done).turn()

    def _feedback(self, connection: Connection, routed: Routed, body: bytes) -> None:
        given = self._object(body)
        intake = self.parts.intake
        if intake is None:
            raise UnavailableError("labels are not taken here", retry_after_s=60)
        intake.label(given, _Label(self, connection, routed, str(given.get("transaction_id", ""))))

    def _decision(self, connection: Connection, routed: Routed, body: bytes) -> None:
        if self.parts.records is None:
            raise UnavailableError("decisions cannot be looked up here", retry_after_s=60)
        name = routed.parameters["id"]
        found = self.parts.records.find(name)
        if found is None:
            raise NotFoundError(f"no payment {hide(name, 100)!r} in the log", field="id")
        connection.respond_ok(msgspec.json.encode(self.decided(name, found)))

    def decided(self, transaction_id: str, found: Found) -> Decided:
        """A payment of the log as `GET /decisions/{id}` tells it."""
        d = found.record.decision
        label = None
        if found.label is not None:
            lsn, told = found.label
            label = Told(lsn, told.is_fraud, told.source, _time(told.known_us), told.reason, bool(told.after))
        features: dict[str, float | None] = {}
        if d is not None:
            values = np.frombuffer(d.vector).tolist()
            names = found.names or self.answers.names(d.plan)
            features = {name: None if value != value else value for name, value in zip(names, values, strict=False)}
        answer = None if d is None else self.answers.answer(transaction_id, d, found.reasons)
        return Decided(transaction_id, found.lsn, _time(found.record.received_us), dict(found.row), answer, features, label)

    # --- predictions ---------------------------------------------------------------------------------------------

    def _model(self) -> Predictions:
        predictor = self.parts.predictor()
        if predictor is None:
            raise UnavailableError("no model is in force", retry_after_s=60)
        if self._predictions is None or self._predictions.predictor is not predictor:
            self._predictions = Predictions(predictor)
        return self._predictions

    def _predict(self, connection: Connection, routed: Routed, body: bytes) -> None:
        [told] = self._model().predict([self._object(body)], one=True)
        self.tally.predictions += 1
        connection.respond_ok(msgspec.json.encode(told))

    def _predict_batch(self, connection: Connection, routed: Routed, body: bytes) -> None:
        rows = _ROWS(body).rows
        if not 0 < len(rows) <= HTTP_BATCH_ROWS_MAX:
            raise at_fault("rows", "rows.count", f"must be 1 to {HTTP_BATCH_ROWS_MAX} rows")
        if not self._charge(connection, routed, len(rows) // 100):
            return
        model = self._model()
        told: list[Any] = []

        def turn() -> None:
            # Some rows between two turns of the loop, so that decisions do not wait for them.
            try:
                told.extend(model.predict(rows[len(told) : len(told) + 4 * HTTP_BATCH_ROWS_A_TURN], len(told)))
            except FraudloopError as error:
                self.refuse(connection, routed, error)
                return
            if len(told) < len(rows):
                self._loop.call_soon(turn)
                return
            self.tally.predictions += len(rows)
            connection.respond_ok(b'{"predictions":%b}' % msgspec.json.encode(told))

        turn()

    # --- what is in force ----------------------------------------------------------------------------------------

    def _read(self, connection: Connection, what: str) -> None:
        if self.parts.control is None:
            raise UnavailableError("what is in force cannot be read here", retry_after_s=60)
        connection.respond_ok(msgspec.json.encode(self.parts.control.read(what)))

    def _command(self, connection: Connection, routed: Routed, what: str, body: bytes) -> None:
        control = self.parts.control
        if control is None:
            raise UnavailableError("nothing can be published here", retry_after_s=60)
        name = routed.parameters.get("name") or routed.parameters.get("slot")
        told = order(what, body, name, None if routed.key is None else routed.key.name)

        def done(commanded: Commanded) -> None:
            connection.respond_ok(msgspec.json.encode(commanded))

        control.command(told.what, told.body, told.who, told.why, told.expected, done, lambda error: self.refuse(connection, routed, error))

    def _rules(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._read(connection, "rules")

    def _put_rules(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._command(connection, routed, "rules", body)

    def _policy(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._read(connection, "policy")

    def _put_policy(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._command(connection, routed, "policy", body)

    def _lists(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._read(connection, "lists")

    def _a_list(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._read(connection, f"list:{routed.parameters['name']}")

    def _put_list(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._command(connection, routed, "list", body)

    def _put_entry(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._command(connection, routed, "entry", body)

    def _remove_entry(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._command(connection, routed, "entry_removed", body)

    def _erase(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._command(connection, routed, "erase", body)

    def _models(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._read(connection, "models")

    def _observe(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._read(connection, "observe")

    def _put_model(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._command(connection, routed, "model", body)

    # --- the service ---------------------------------------------------------------------------------------------

    def _health(self, connection: Connection, routed: Routed, body: bytes) -> None:
        connection.respond_ok(msgspec.json.encode(self.parts.health()))

    def _live(self, connection: Connection, routed: Routed, body: bytes) -> None:
        self._health(connection, routed, body)

    def _ready(self, connection: Connection, routed: Routed, body: bytes) -> None:
        health = self.parts.health()
        if not health.ready:
            raise UnavailableError(f"not ready: {'; '.join(health.why) or health.role}", retry_after_s=1)
        connection.respond_ok(msgspec.json.encode(health))


class _Label:
    """A label of `POST /feedback` under way."""

    def __init__(self, app: Scorer, connection: Connection, routed: Routed, transaction_id: str) -> None:
        self._app, self._connection, self._routed, self._id = app, connection, routed, transaction_id

    def noted(self, lsn: int | None, *, parked: bool = False, in_force: bool | None = None) -> None:
        self._connection.respond_ok(msgspec.json.encode(Feedback(self._id, lsn, parked, in_force)))

    def refuse(self, error: FraudloopError) -> None:
        self._app.refuse(self._connection, self._routed, error)


class Inside:
    """The application of the scorer's own Unix socket, for the desk beside it: the same routes without a key, and the counts.

    Only who may open the socket (mode 0600) is answered, so nobody is asked who they are.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def connected(self, connection: Connection) -> None:
        pass

    def route(self, head: Head) -> Routed:
        if head.path == "/internal/stats":
            out = Routed(self._stats, head, head.path, HTTP_BODY_BYTES_MAX)
            out.remember = True
            return out
        return self._scorer.routed(head, None, checked=False)

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        self._scorer.serve(connection, head, body)

    def fail(self, connection: Connection, status: int, detail: str, field: str) -> None:
        self._scorer.fail(connection, status, detail, field)

    def _stats(self, connection: Connection, routed: Routed, body: bytes) -> None:
        connection.respond_ok(msgspec.json.encode(self._scorer.stats()))


#: Stands for the request's id, which needs no escaping in JSON, in a body that is made once.
_ID_HERE: Final = "the-id-of-the-request"


class _Rows(msgspec.Struct, forbid_unknown_fields=True):
    rows: list[dict[str, Any]]


_ROWS: Final = msgspec.json.Decoder(_Rows).decode


def _allow(found: Sequence[tuple[Route, Any]]) -> bytes:
    methods = {route.method for route, _ in found} | {"OPTIONS"}
    if "GET" in methods:
        methods.add("HEAD")
    return f"allow: {', '.join(sorted(methods))}\r\n".encode()


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def _host(text: str) -> str:
    """The name in a Host or Origin."""
    text = text.partition("://")[2] or text
    return text[: text.find("]") + 1] if text.startswith("[") else text.partition(":")[0]


def _time(us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")
