"""Requests and answers of HTTP/1.1 as bytes: one connection, one request at a time. It knows no schedule: that is its owner's."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from fraudloop.errors import InputError

#: Bytes of an answer. One that is longer is not of a service that this is for.
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go: `http://HOST:PORT/PATH`.

    >>> Target.of("http://127.0.0.1:8000/score").request(b"{}").split(b"\\r\\n")[0]
    b'POST /score HTTP/1.1'
    """

    host: str
    port: int
    path: str
    headers: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of(url: str, headers: Iterable[tuple[str, str]] = ()) -> Target:
        """InputError for what is no http URL."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        try:
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port = None, 0
        if parts.scheme != "http" or not host or any(c in url for c in "\r\n "):
            raise InputError(f"{url!r} is no URL like http://127.0.0.1:8000; TLS is for what stands before the service")
        return Target(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), tuple(headers))

    def at(self, path: str) -> Target:
        """The same server, another path."""
        return Target(self.host, self.port, path, self.headers)

    def request(self, body: bytes, method: str = "POST") -> bytes:
        """The bytes of a request."""
        return self._head(method) + b"%d\r\n\r\n%b" % (len(body), body)

    def requests(self, method: str = "POST") -> Callable[[bytes], bytes]:
        """`request` with all but the length made beforehand."""
        head = self._head(method)
        return lambda body: head + b"%d\r\n\r\n%b" % (len(body), body)

    def _head(self, method: str) -> bytes:
        host = f"[{self.host}]" if ":" in self.host else self.host
        given = {"Host": f"{host}:{self.port}", "Content-Type": "application/json", **dict(self.headers)}
        lines = [f"{method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "Content-Length: "]
        return "\r\n".join(lines).encode("latin-1")


class Pending(Protocol):
    """A request under way. data: all of its bytes. sent_ns: when it went out, by the monotonic clock."""

    data: bytes
    sent_ns: int


class Owner(Protocol):
    """Whoever keeps connections."""

    def sent(self, request: Any, now: int) -> None:
        """A request goes out."""
        ...

    def done(self, request: Any, status: int, body: bytes, retry_after_s: float | None) -> None:
        """Its answer is there."""
        ...

    def lost(self, request: Any, what: str) -> None:
        """The connection was `closed` before the answer was there, or what came is none (`protocol`)."""
        ...

    def free(self, connection: Connection) -> None:
        """A connection has nothing to do."""
        ...

    def gone(self, connection: Connection) -> None:
        """A connection does not count any more."""
        ...

    def forget(self, connection: Connection) -> None:
        """There is room for another one."""
        ...


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    __slots__ = ("_buffer", "_chunks", "_close", "_load", "_need", "_retry_after", "_status", "request", "transport")

    def __init__(self, load: Owner) -> None:
        self._load = load
        self.transport: Any = None
        self.request: Any = None  # a Pending, of the kind that its owner makes
        self._buffer = b""
        self._need = 0
        self._status = 0
        self._retry_after: float | None = None
        self._close = self._chunks = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, request: Pending) -> None:
        """Send it; the connection is free."""
        self.request = request
        request.sent_ns = now = time.monotonic_ns()
        self._load.sent(request, now)
        self.transport.write(request.data)

    def data_received(self, data: bytes) -> None:
        if self.request is None:
            if self.transport is not None:  # an answer that nobody asked for
                self.drop()
                self._load.forget(self)
            return
        if self._buffer:
            data = self._buffer + data
        if not self._need:
            end = data.find(b"\r\n\r\n")
            if end < 0 or not self._head(data, end):
                self._buffer = data
                if end >= 0 or len(data) > _ANSWER_BYTES_MAX:
                    self._wrong()
                return
        if self._chunks:
            body = _unchunk(data, self._need)
            if body is None:
                self._buffer = data
                return
        elif len(data) < self._need:
            self._buffer = data
            return
        else:
            body = data[data.find(b"\r\n\r\n") + 4 : self._need]
        self._done(body)

    def _head(self, data: bytes, end: int) -> bool:
        """Read the head that ends at `end`; False if it is none."""
        if data[:7] != b"HTTP/1." or not data[9:12].isdigit():
            return False
        self._status = int(data[9:12])
        head = data[:end].lower()
        at = head.find(b"\r\ncontent-length:")
        self._chunks = False
        if at >= 0:
            stop = head.find(b"\r", at + 2)
            length = head[at + 17 : stop if stop >= 0 else end].strip()
            if not length.isdigit() or len(length) > 12:
                return False
            self._need = end + 4 + int(length)
        elif b"\r\ntransfer-encoding: chunked" in head:
            self._chunks, self._need = True, end + 4
        elif self._status in (204, 304):
            self._need = end + 4
        else:
            return False
        self._close = b"\r\nconnection: close" in head
        self._retry_after = None
        if self._status == 503 and (at := head.find(b"\r\nretry-after:")) >= 0:
            with contextlib.suppress(ValueError):
                self._retry_after = float(head[at + 14 :].split(b"\r\n", 1)[0])
        return True

    def _done(self, body: bytes) -> None:
        request, load = self.request, self._load
        assert request is not None, "somebody waits for the answer"
        self.request, self._buffer, self._need = None, b"", 0
        closes = self._close
        if closes:
            self.drop()
        load.done(request, self._status, body, self._retry_after)
        if closes:
            load.forget(self)
        elif self.transport is not None and self.request is None:
            load.free(self)

    def _wrong(self) -> None:
        request, self.request = self.request, None
        self.drop()
        if request is not None:
            self._load.lost(request, "protocol")
        self._load.forget(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is None:
            return  # it was dropped
        request, self.request, self.transport = self.request, None, None
        self._load.gone(self)
        if request is not None:
            self._load.lost(request, "closed")
        self._load.forget(self)

    def drop(self) -> None:
        """Close at once, without telling anybody."""
        transport, self.transport, self.request = self.transport, None, None
        self._load.gone(self)
        if transport is not None:
            transport.abort()


def _unchunk(data: bytes, at: int) -> bytes | None:
    """The body that begins at `at`, in chunks; None while it is not whole."""
    parts: list[bytes] = []
    while (end := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:end].split(b";", 1)[0], 16)
        if len(data) < end + 4 + size:
            return None
        if size == 0:
            return b"".join(parts)
        parts.append(data[end + 2 : end + 2 + size])
        at = end + 4 + size
    return None
