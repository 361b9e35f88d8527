"""The hot endpoints: requests become tickets of the engine, durable decisions become answers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from fraudloop.api.http import Connection, Head
from fraudloop.api.wire import PROBLEM, Answers, problem
from fraudloop.door.row import Row, RowDoor
from fraudloop.engine.engine import Engine
from fraudloop.errors import ConflictError, FraudloopError, UnavailableError
from fraudloop.ledger.records import Transacted

#: A payment's body. Smaller: payments with a dozen own fields would be refused. Larger: memory for whoever sends nonsense.
BODY_BYTES_MAX: Final = 64 * 1024


class Ask:
    """One request of `POST /score_transaction` or `POST /events` under way."""

    __slots__ = ("_app", "_connection", "arrived_ns", "decide", "received_us", "row")

    def __init__(self, app: Scorer, connection: Connection, row: Row, decide: bool) -> None:
        self._app, self._connection = app, connection
        self.row, self.decide = row, decide
        self.arrived_ns = time.perf_counter_ns()
        self.received_us = app.now_us()

    def answer(self, record: Transacted, lsn: int) -> None:
        if record.decision is None:
            self._connection.respond(200, b'{"transaction_id":%b,"absorbed":true}' % msgspec.json.encode(record.row[0]))
        else:
            self._connection.respond(200, self._app.answers.encode(record))

    def refuse(self, error: FraudloopError) -> None:
        self._app.refuse(self._connection, error)


class Scorer:
    """The application of the hot endpoints over one engine."""

    body_bytes_max = BODY_BYTES_MAX

    def __init__(self, engine: Engine, door: RowDoor, loop: asyncio.AbstractEventLoop, now_us: Callable[[], int]) -> None:
        self.engine, self.door, self.now_us = engine, door, now_us
        self.answers = Answers()
        self.use(engine)
        self._loop = loop
        self._scheduled = False
        self._decode = msgspec.json.Decoder().decode
        self._routes: dict[tuple[str, str], Callable[[Connection, Head, bytes], None]] = {
            ("POST", "/score_transaction"): self._score,
            ("POST", "/events"): self._events,
            ("GET", "/health"): self._health,
        }

    def use(self, engine: Engine) -> None:
        """Go on with another engine over the same log."""
        self.engine = engine
        self.answers.plan(engine.in_force.plan, engine.in_force.features.names)

    def route(self, head: Head) -> Any:
        found = self._routes.get((head.method, head.path))
        if found is None:
            known = {path for _, path in self._routes}
            return self._wrong_method if head.path in known else self._unknown
        return found

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        head.route(connection, head, body)

    def fail(self, connection: Connection, status: int, detail: str) -> None:
        connection.respond(status, problem(status, "not a request", detail), PROBLEM)

    def refuse(self, connection: Connection, error: FraudloopError) -> None:
        """Answer with an error."""
        if isinstance(error, ConflictError):
            connection.respond(
                409,
                problem(
                    409, "conflict", str(error), [{"field": "transaction_id", "rule": "transaction_id.conflict", "reason": str(error)}]
                ),
                PROBLEM,
            )
        elif isinstance(error, UnavailableError):
            connection.respond(503, problem(503, "unavailable", str(error)), PROBLEM, b"retry-after: %d\r\n" % error.retry_after_s)
        else:
            connection.respond(500, problem(500, "internal error", str(error)), PROBLEM)

    def _score(self, connection: Connection, head: Head, body: bytes) -> None:
        self._take(connection, body, True)

    def _events(self, connection: Connection, head: Head, body: bytes) -> None:
        self._take(connection, body, False)

    def _take(self, connection: Connection, body: bytes, decide: bool) -> None:
        try:
            given = self._decode(body)
        except msgspec.DecodeError as error:
            connection.respond(
                400, problem(400, "not JSON", str(error), [{"field": "body", "rule": "body.json", "reason": str(error)}]), PROBLEM
            )
            return
        if not isinstance(given, dict):
            connection.respond(
                422,
                problem(
                    422,
                    "refused",
                    "the body must be a JSON object",
                    [{"field": "body", "rule": "body.object", "reason": "must be a JSON object"}],
                ),
                PROBLEM,
            )
            return
        found = self.door.admit(given)
        if found.row is None:
            errors = [{"field": r.field, "rule": r.rule, "reason": r.reason} for r in found.refusals]
            connection.respond(422, problem(422, "refused", "; ".join(f"{r.field}: {r.reason}" for r in found.refusals), errors), PROBLEM)
            return
        self.engine.ask(Ask(self, connection, found.row, decide))
        self.poke()

    def poke(self) -> None:
        """There is something for the engine to do."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        self._scheduled = False
        self.engine.step()
        if self.engine.queue:
            self._scheduled = True
            self._loop.call_soon(self._step)

    def _health(self, connection: Connection, head: Head, body: bytes) -> None:
        connection.respond(
            200,
            msgspec.json.encode(
                {
                    "live": True,
                    "ready": True,
                    "pid": os.getpid(),
                    "degraded": bool(self.engine.in_force.why),
                    "why": list(self.engine.in_force.why),
                }
            ),
        )

    def _unknown(self, connection: Connection, head: Head, body: bytes) -> None:
        connection.respond(404, problem(404, "not found", f"there is nothing at {head.path}; see /docs"), PROBLEM)

    def _wrong_method(self, connection: Connection, head: Head, body: bytes) -> None:
        connection.respond(405, problem(405, "method not allowed", f"{head.method} is not for {head.path}; see /docs"), PROBLEM)
