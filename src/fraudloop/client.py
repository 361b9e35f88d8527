"""A client of the service on the standard library alone: connections kept open, retries that cannot decide twice, errors with their fields.

A payment that was sent twice under one id gets the stored answer, so everything but commands may be sent again after a broken connection, 429,
502 or 503, until the deadline.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from typing import Any, Final
from urllib.parse import quote, urlsplit

from fraudloop.errors import (
    ConflictError,
    ForbiddenError,
    FraudloopError,
    InputError,
    LimitedError,
    NotFoundError,
    RefusedError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
)

#: Statuses after which the same request is sent again.
_AGAIN: Final = frozenset({429, 502, 503})

#: The first wait before a retry, and the longest; each is drawn between 0 and twice the one before (full jitter).
_WAIT_S: Final = 0.05
_WAIT_S_MAX: Final = 2.0

_ERRORS: Final[Mapping[int, type[FraudloopError]]] = {
    400: RefusedError, 401: UnauthorizedError, 403: ForbiddenError, 404: NotFoundError, 409: ConflictError, 413: RefusedError, 415: RefusedError,
    422: RefusedError, 429: LimitedError, 502: UnavailableError, 503: UnavailableError,
}  # fmt: skip


class Client:
    """Calls one service; may be used by many threads at once.

    url: like `http://127.0.0.1:8000` or `https://fraud.example`. key: of `fraudloop keys create`. deadline_s: how long a call may take with all its
    retries. timeout_s: of one attempt. connections_max: kept open while idle. headers: sent with every request.

    Errors are FraudloopErrors with the fields `status`, `errors` (the fields at fault: field, rule, reason) and `request_id`: RefusedError,
    ConflictError, NotFoundError, UnauthorizedError, ForbiddenError; after the deadline LimitedError, UnavailableError or TransportError.

    >>> client = Client(url)  # doctest: +SKIP
    >>> client.score({"transaction_id": "t-1", "timestamp": "2026-11-28T12:00:00Z", "amount": "49.90"})["decision"]  # doctest: +SKIP
    'approve'
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        deadline_s: float = 10.0,
        timeout_s: float = 5.0,
        connections_max: int = 8,
        headers: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InputError(f"{url!r} is not the address of a service, like http://127.0.0.1:8000", field="url")
        self._tls, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._base = parts.path.rstrip("/")
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "fraudloop-client",
            **(headers or {}),
        }
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._deadline_s, self._timeout_s, self._most = deadline_s, timeout_s, connections_max
        self._sleep = sleep
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    # --- the routes ----------------------------------------------------------------------------------------------

    def score(self, transaction: Mapping[str, Any]) -> dict[str, Any]:
        """Decide a payment: `POST /score_transaction`."""
        found: dict[str, Any] = self.call("POST", "/score_transaction", transaction)
        return found

    def events(self, events: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Absorb one event or a list of up to 1,000 without deciding: `POST /events`."""
        found: dict[str, Any] = self.call("POST", "/events", events if isinstance(events, Mapping) else list(events))
        return found

    def feedback(
        self, transaction_id: str, is_fraud: bool, *, source: str | None = None, known_at: str | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        """Tell whether a payment was fraud: `POST /feedback`."""
        label = {"transaction_id": transaction_id, "is_fraud": is_fraud, "source": source, "known_at": known_at, "reason": reason}
        found: dict[str, Any] = self.call("POST", "/feedback", {name: value for name, value in label.items() if value is not None})
        return found

    def predict(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """Score features that the caller brings: `POST /predict`."""
        found: dict[str, Any] = self.call("POST", "/predict", features)
        return found

    def predict_batch(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Score up to 1,000 rows: `POST /predict/batch`."""
        found: list[dict[str, Any]] = self.call("POST", "/predict/batch", {"rows": list(rows)})["predictions"]
        return found

    def decision(self, transaction_id: str) -> dict[str, Any]:
        """A decision as the log has it: `GET /decisions/{id}`. NotFoundError if there is none."""
        found: dict[str, Any] = self.call("GET", f"/decisions/{quote(transaction_id, safe='')}")
        return found

    def health(self) -> dict[str, Any]:
        """How the service is: `GET /health`."""
        found: dict[str, Any] = self.call("GET", "/health")
        return found

    # --- calling -------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, *, again: bool = True) -> Any:
        """Any route; its decoded answer. again: whether it may be sent twice, which is so for everything but commands (PUT, DELETE)."""
        data = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        again = again and method in ("GET", "POST")
        until = time.monotonic() + self._deadline_s
        wait = _WAIT_S
        while True:
            least = 0.0
            try:
                status, headers, answer = self._once(method, path, data, until)
            except (OSError, http.client.HTTPException) as error:
                problem: FraudloopError = TransportError(
                    f"{method} {path}: the connection broke ({type(error).__name__}: {error}); the same request may be sent again"
                )
                problem.__cause__ = error
            else:
                if 200 <= status < 300:
                    return json.loads(answer) if answer else None
                problem = _problem(method, path, status, headers, answer)
                if status not in _AGAIN:
                    raise problem
                least = _seconds(headers.get("retry-after"))
            pause = max(least, random.uniform(0, wait))  # noqa: S311 - so that clients do not come back together
            wait = min(2 * wait, _WAIT_S_MAX)
            if not again or time.monotonic() + pause >= until:
                raise problem
            self._sleep(pause)

    def close(self) -> None:
        """Close what is open; the client may be used on."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _once(self, method: str, path: str, data: bytes | None, until: float) -> tuple[int, Message, bytes]:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        timeout = min(self._timeout_s, left)
        connection = self._take(timeout)
        keep = False
        try:
            connection.request(method, self._base + path, data, self._headers)
            answer = connection.getresponse()
            body = answer.read()
            keep = not answer.will_close
            return answer.status, answer.headers, body
        finally:
            if keep:
                self._give(connection)
            else:
                connection.close()

    def _take(self, timeout: float) -> http.client.HTTPConnection:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None and connection.sock is not None and not _gone(connection.sock):
            connection.sock.settimeout(timeout)
            return connection
        if connection is not None:
            connection.close()
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=timeout)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _give(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < self._most:
                self._idle.append(connection)
                return
        connection.close()


def _gone(sock: socket.socket) -> bool:
    """Whether the other side has closed an idle connection, or said something nobody asked for."""
    try:
        sock.settimeout(0)
        sock.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except (OSError, ValueError):
        return True
    return True


def _problem(method: str, path: str, status: int, headers: Message, body: bytes) -> FraudloopError:
    told: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        found = json.loads(body)
        told = found if isinstance(found, dict) else {}
    kind = _ERRORS.get(status, FraudloopError)
    return kind(
        f"{method} {path}: {status} {told.get('title', '')}: {told.get('detail', 'no detail')}",
        status=status,
        type=told.get("type"),
        errors=told.get("errors", []),
        request_id=headers.get("x-request-id"),
        retry_after_s=_seconds(headers.get("retry-after")) or None,
    )


def _seconds(text: str | None) -> float:
    """Of a Retry-After header in seconds; 0 where there is none."""
    try:
        return min(max(float(text or 0), 0.0), 3_600.0)
    except ValueError:
        return 0.0
