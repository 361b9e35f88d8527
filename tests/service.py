"""A scorer over engines in memory, on real sockets: for tests of the HTTP side. What is decided is a plain function of the payment."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import uvloop
from numpy.typing import NDArray

from fraudloop.api.absorb import Noted
from fraudloop.api.http import Bounds, Server
from fraudloop.api.metrics import EngineStats
from fraudloop.api.scorer import Found, Inside, Parts, Scorer
from fraudloop.api.wire import Commanded, Health
from fraudloop.clock import SystemClock
from fraudloop.domain.label import SOURCE_RANKS
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.rates import RateTable
from fraudloop.door.row import Refusal, RowDoor
from fraudloop.door.shape import Shape
from fraudloop.errors import ConflictError, FraudloopError, NotFoundError, RefusedError, StoreConflict, UnavailableError
from fraudloop.ledger.records import Decision, Labelled, Reason, Transacted

NAMES = tuple(f"customer_amount_sum_{hours}h" for hours in range(1, 61))
PAYMENT: dict[str, Any] = {
    "transaction_id": "t-1", "timestamp": "2026-11-28T12:00:00Z", "amount": "49.90", "currency": "EUR", "customer_id": "c-7", "merchant_id": "m-3",
    "merchant_category": "electronics", "country": "DE", "is_online": True, "device": {"id": "d-5", "type": "phone"},
}  # fmt: skip


def payment(name: str, **changes: Any) -> dict[str, Any]:
    return {**PAYMENT, "transaction_id": name, **changes}


class MemoryEngine:
    """Decides by the amount, remembers in a dict, answers at the end of its step."""

    def __init__(self) -> None:
        self.queue: deque[Any] = deque()
        self.log: list[tuple[Transacted, dict[str, Any]]] = []
        self.known: dict[str, int] = {}
        self.labels: dict[str, tuple[int, Labelled]] = {}
        self.refusing: UnavailableError | None = None
        self.holding = False
        self.room = 4_096

    def ask(self, ticket: Any) -> None:
        away = self.turned_away()
        if away is not None:
            ticket.refuse(away)
        else:
            self.take(ticket)

    def turned_away(self) -> UnavailableError | None:
        return self.refusing or (UnavailableError("too many are waiting", retry_after_s=1) if len(self.queue) >= self.room else None)

    def take(self, ticket: Any) -> None:
        self.queue.append(ticket)

    def step(self) -> None:
        while self.queue and not self.holding:
            ticket = self.queue.popleft()
            name = ticket.row["transaction_id"]
            at = self.known.get(name)
            if at is None:
                at = self.known[name] = len(self.log)
                record = Transacted(
                    tuple(ticket.row.values()), ticket.received_us, decision(ticket.row["amount_base"]) if ticket.decide else None
                )
                self.log.append((record, ticket.row))
            elif any(self.log[at][1][key] != value for key, value in ticket.row.items() if key not in ("received_at", "rate_version")):
                ticket.refuse(ConflictError("the same transaction_id came before with another body", transaction_id=name))
                continue
            ticket.answer(self.log[at][0], at)

    def find(self, transaction_id: str) -> Found | None:
        at = self.known.get(transaction_id)
        if at is None:
            return None
        record, row = self.log[at]
        return Found(at, record, row, self.labels.get(transaction_id), NAMES)

    def label(self, body: Mapping[str, Any], ticket: Noted) -> None:
        name, fraud, source = body.get("transaction_id"), body.get("is_fraud"), body.get("source") or "file"
        wrong = [
            Refusal(field, f"{field}.type", reason)
            for field, bad, reason in (
                ("transaction_id", not isinstance(name, str) or not name, "must be text"),
                ("is_fraud", not isinstance(fraud, bool), "must be true or false"),
                ("source", not isinstance(source, str) or source not in SOURCE_RANKS, "is no source"),
            )
            if bad
        ]
        if wrong:
            ticket.refuse(RefusedError("; ".join(f"{r.field}: {r.reason}" for r in wrong), errors=wrong))
        elif name not in self.known:
            ticket.refuse(NotFoundError(f"no payment {str(name)[:50]!r}", field="transaction_id"))
        else:
            told = Labelled(
                self.known[str(name)], str(name), bool(fraud), source, 1, None, 1, 0, int(bool(fraud)), 1, None, SOURCE_RANKS[source]
            )
            self.labels[str(name)] = (len(self.log), told)
            ticket.noted(len(self.log), in_force=bool(fraud))

    def profile(self, body: Mapping[str, Any], ticket: Noted) -> None:
        for field in ("entity", "id"):
            if not isinstance(body.get(field), str) or not body[field]:
                ticket.refuse(RefusedError(f"{field}: must be text", errors=[Refusal(field, f"{field}.missing", "must be text")]))
                return
        ticket.noted(len(self.log))


def decision(amount_base: Any, outcome: int | None = None) -> Decision:
    amount = float(amount_base or 0) / 100
    score = min(0.99, amount / 10_000)
    values = np.full(len(NAMES), amount)
    values[3] = np.nan
    reasons = tuple(Reason(f"{name}_high", f"{amount:g} in {name}: raises the risk", 0.5, name) for name in NAMES[:4])
    found = outcome if outcome is not None else int(score > 0.1) + int(score > 0.3) + int(score > 0.9)
    return Decision(
        found, found, 0, score, score, ("large",) if found else (), reasons, False, (), values.tobytes(), 0, 0, "m" * 16, "r" * 16, "p" * 16, "q" * 16,
        "test", latency_us=812, method="exact",
    )  # fmt: skip


class MemoryControl:
    def __init__(self) -> None:
        self.held: dict[str, Any] = {
            "rules": {"hash": "r0", "rules": []},
            "policy": {"hash": "p0"},
            "lists": {},
            "models": {"champion": None},
            "observe": {"observe": False},
        }
        self.orders: list[tuple[Any, ...]] = []

    def read(self, what: str) -> Mapping[str, Any]:
        kind, _, name = what.partition(":")
        if kind == "list":
            if name not in self.held["lists"]:
                raise NotFoundError(f"no list {name[:50]!r}", field="name")
            return {"name": name, "entries": self.held["lists"][name]}
        found: Mapping[str, Any] = self.held[kind]
        return found

    def command(
        self, what: str, body: Mapping[str, Any], who: str, why: str, expected: str | None,
        done: Callable[[Commanded], None], refuse: Callable[[FraudloopError], None],
    ) -> None:  # fmt: skip
        if expected not in (None, "r0", "p0"):
            refuse(StoreConflict("another version is in force", field="expected"))
            return
        self.orders.append((what, dict(body), who, why, expected))
        if what == "list":
            self.held["lists"][body["name"]] = body["entries"]
        done(Commanded(len(self.orders), "abc", [f"+ {what}"]))


class MemoryPredictor:
    """Half the chance for an amount of 1,000; numbers and words as a small model has them."""

    version = "m" * 16
    numbers = ("amount", "customer_count_1h", "customer_count_24h", "customer_amount_sum_24h", "customer_km_from_home")
    words = ("merchant_category",)
    threshold = 0.5

    def score(self, values: NDArray[np.float64], words: Mapping[str, Sequence[str | None]]) -> NDArray[np.float64]:
        return np.clip(np.nan_to_num(values[:, 0]) / 2_000, 0.001, 0.999)


def parts(engine: MemoryEngine | None = None, **changes: Any) -> Parts:
    engine = engine or MemoryEngine()
    predictor = MemoryPredictor()
    made = Parts(
        engine=engine,
        door=RowDoor(Shape(), RateTable.sample()),
        clock=SystemClock(),
        health=lambda: Health(True, engine.refusing is None, False, (), "active", len(engine.log), len(engine.queue), 0.0, "0.1.0"),
        stats=lambda: EngineStats(decided=len(engine.log)),
        records=engine,
        intake=engine,
        control=MemoryControl(),
        predictor=lambda: predictor,
        version="0.1.0",
        build="test",
    )
    return replace(made, **changes)


class Running:
    """A scorer on a port of this machine, and on a Unix socket for inside, in a thread of its own."""

    def __init__(self, scorer: Scorer, server: Server, loop: asyncio.AbstractEventLoop, port: int) -> None:
        self.scorer, self.server, self.loop, self.port = scorer, server, loop, port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, function: Callable[[], Any]) -> Any:
        """Run something in the loop's thread."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, body (decoded if JSON) and headers of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            given.setdefault("content-type", "application/json")
        try:
            connection.request(method, path, data, given)
            answer = connection.getresponse()
            text = answer.read()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, json.loads(text) if text and "json" in told.get("content-type", "") else text, told
        finally:
            connection.close()

    def raw(self, data: bytes, *, pieces: Sequence[int] = (), timeout: float = 5.0) -> bytes:
        """Everything that comes back for some bytes, sent in pieces cut at these places; then the sending side is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            begin = 0
            try:
                for end in [*sorted(pieces), len(data)]:
                    connection.sendall(data[begin:end])
                    begin = end
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            out = b""
            while True:
                try:
                    part = connection.recv(65_536)
                except ConnectionResetError:
                    return out
                if not part:
                    return out
                out += part


@contextmanager
def running(made: Parts | None = None, bounds: Bounds | None = None, inside: Path | None = None) -> Iterator[Running]:
    """A scorer that runs for a block."""
    loop = uvloop.new_event_loop()
    ready = threading.Event()
    out: list[Running] = []

    async def main() -> None:
        scorer = Scorer(made or parts(), loop)
        scorer.answers.plan("q" * 16, NAMES)
        server = Server(scorer, bounds)
        scorer.listen(server)
        scorer.start()
        listening = await loop.create_server(server, "127.0.0.1", 0)
        within = None if inside is None else await loop.create_unix_server(Server(Inside(scorer)), str(inside))
        found = Running(scorer, server, loop, listening.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        found.stop = asyncio.Event()  # type: ignore[attr-defined]
        out.append(found)
        ready.set()
        await found.stop.wait()  # type: ignore[attr-defined]
        listening.close()
        if within is not None:
            within.close()
        await server.drained(2.0)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert ready.wait(20)
    try:
        yield out[0]
    finally:
        loop.call_soon_threadsafe(out[0].stop.set)  # type: ignore[attr-defined]
        thread.join(20)
        loop.close()


assert set(PAYMENT) - {"device", "amount"} <= set(TRANSACTION_SCHEMA)
