"""HTTP/1.1 for the few hot paths: bytes of a connection in, requests out, answers back in order. It knows no route's meaning.

Clients of a payment system keep connections open and send the same head again and again. So a head that was parsed once is looked up
by its bytes; only new heads go through httptools. Bodies are cut by Content-Length; chunked ones by httptools too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httptools

#: Bytes of a request's head. Smaller: long tokens and trace headers would be refused. Larger: memory for whoever sends nonsense.
HEAD_BYTES_MAX: Final = 16_384

#: Heads that are remembered. Each client and path has one for each length of body.
_HEADS_MAX: Final = 8_192

_REASONS: Final = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 411: "Length Required", 413: "Content Too Large", 415: "Unsupported Media Type",
    417: "Expectation Failed", 422: "Unprocessable Content", 429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


@dataclass(slots=True)
class Head:
    """What a request's head says. path: without the query. headers: names in lower case. route: what the application made of it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    length: int
    keep_alive: bool
    route: Any = None


class Application(Protocol):
    """What serves requests."""

    body_bytes_max: int

    def route(self, head: Head) -> Any:
        """Called once for each new head; what `serve` is given with each request of it."""
        ...

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        """Answer by `connection.respond`, now or later; the connection gives no further request before."""
        ...

    def fail(self, connection: Connection, status: int, detail: str) -> None:
        """Answer a request that is none: `connection.respond`, then the connection is closed."""
        ...


class Connection(asyncio.Protocol):
    """One connection. Requests are given one at a time, in order; what a client sends ahead waits."""

    __slots__ = ("_app", "_buffer", "_busy", "_closing", "_connections", "_head", "_heads", "_parser", "started", "transport")

    def __init__(self, app: Application, heads: dict[bytes, Head], connections: set[Connection]) -> None:
        self._app, self._heads, self._connections = app, heads, connections
        self.transport: Any = None
        self._buffer = b""
        self._busy = False
        self._closing = False
        self._head: Head | None = None
        self._parser: _Chunked | None = None
        #: When the request that is not whole yet began, by the loop's clock; 0 while there is none.
        self.started = 0.0

    # --- from the loop -------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._closing = True

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if self._busy:
            self._buffer = data
            if len(data) > 2 * (HEAD_BYTES_MAX + self._app.body_bytes_max):
                self.transport.pause_reading()
            return
        self._next(data)

    # --- requests ------------------------------------------------------------------------------------------------

    def _next(self, data: bytes) -> None:
        """Give the application the request that `data` begins with, if it is whole."""
        if self._parser is not None:
            self._chunk(data)
            return
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > HEAD_BYTES_MAX:
                self._bad(431, f"the head of a request has at most {HEAD_BYTES_MAX} bytes")
            else:
                self._wait(data)
            return
        head = self._heads.get(data[:end])
        if head is None:
            head = self._parse(data[:end])
            if head is None:
                return
        body_at = end + 4
        if head.length < 0:
            self._parser = _Chunked(self._app.body_bytes_max)
            self._head = head
            self._parser.feed(data[:body_at])
            self._chunk(data[body_at:])
            return
        if head.length > self._app.body_bytes_max:
            self._bad(413, f"a body has at most {self._app.body_bytes_max} bytes here")
            return
        rest = body_at + head.length
        if len(data) < rest:
            if "expect" in head.headers and len(data) == body_at:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._wait(data)
            return
        self._buffer = data[rest:] if len(data) > rest else b""
        self._give(head, data[body_at:rest])

    def _chunk(self, data: bytes) -> None:
        parser, head = self._parser, self._head
        assert parser is not None and head is not None, "a chunked body has a head"
        problem = parser.feed(data)
        if problem:
            self._bad(*problem)
        elif parser.done:
            self._parser = self._head = None
            self._buffer = b""
            self._give(head, b"".join(parser.parts))
        else:
            self._buffer = b""
            self._started()

    def _give(self, head: Head, body: bytes) -> None:
        self._busy = True
        self.started = 0.0
        if not head.keep_alive:
            self._closing = True
        self._app.serve(self, head, body)

    def _wait(self, data: bytes) -> None:
        self._buffer = data
        self._started()

    def _started(self) -> None:
        if not self.started:
            self.started = asyncio.get_running_loop().time()

    def _parse(self, data: bytes) -> Head | None:
        """A head seen for the first time."""
        if len(data) > HEAD_BYTES_MAX:
            self._bad(431, f"the head of a request has at most {HEAD_BYTES_MAX} bytes")
            return None
        reader = _HeadReader()
        try:
            parser = httptools.HttpRequestParser(reader)
            parser.feed_data(data + b"\r\n\r\n")
            url = httptools.parse_url(reader.url)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._bad(400, "this is not a request of HTTP/1.1")
            return None
        if not reader.complete_head or url.path is None:
            self._bad(400, "this is not a request of HTTP/1.1")
            return None
        headers = reader.headers
        if "transfer-encoding" in headers:
            if headers["transfer-encoding"].lower() != "chunked" or "content-length" in headers:
                self._bad(501, "a body is sent with Content-Length or in chunks")
                return None
            length = -1
        else:
            text = headers.get("content-length", "0")
            if not text.isascii() or not text.isdigit() or len(text) > 12:
                self._bad(400, "Content-Length is a number of bytes")
                return None
            length = int(text)
        head = Head(
            parser.get_method().decode("latin-1"), url.path.decode("latin-1"), (url.query or b"").decode("latin-1"), headers, length, parser.should_keep_alive(),
        )  # fmt: skip
        head.route = self._app.route(head)
        if len(self._heads) >= _HEADS_MAX:
            self._heads.clear()
        self._heads[data] = head
        return head

    def _bad(self, status: int, detail: str) -> None:
        self._buffer = b""
        self._parser = self._head = None
        self._busy = self._closing = True
        self._app.fail(self, status, detail)

    # --- answers -------------------------------------------------------------------------------------------------

    def respond(self, status: int, body: bytes, content_type: bytes = b"application/json", headers: bytes = b"") -> None:
        """Answer the present request. headers: further ones, each ended by CR LF."""
        transport = self.transport
        if transport.is_closing():
            return
        if self._closing:
            headers += b"connection: close\r\n"
        transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%bcontent-length: %d\r\n\r\n%b"
            % (status, _REASONS.get(status, "Unknown").encode(), content_type, headers, len(body), body)
        )
        self._after()

    def respond_raw(self, data: bytes) -> None:
        """Answer with bytes that are a whole response already."""
        if not self.transport.is_closing():
            self.transport.write(data)
            self._after()

    def _after(self) -> None:
        if self._closing:
            self.transport.close()
            return
        self._busy = False
        if self._buffer:
            data, self._buffer = self._buffer, b""
            self.transport.resume_reading()
            self._next(data)

    def close_idle(self) -> None:
        """Close the connection if no request is under way on it; else after its answer."""
        self._closing = True
        if not self._busy:
            self.transport.close()


class _HeadReader:
    """What httptools tells of a head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.complete_head = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        # Twice the same header is one list of values; a second length would be a smuggled request.
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        self.complete_head = True


class _Chunked:
    """A body in chunks, by httptools."""

    def __init__(self, most: int) -> None:
        self.parts: list[bytes] = []
        self.done = False
        self._size, self._most = 0, most
        self._parser = httptools.HttpRequestParser(self)

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        self.parts.append(data)

    def on_message_complete(self) -> None:
        self.done = True

    def feed(self, data: bytes) -> tuple[int, str] | None:
        """The next bytes; what is wrong with them, if anything is."""
        if data:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade):
                return 400, "the chunks of the body are malformed"
        return (413, f"a body has at most {self._most} bytes here") if self._size > self._most else None


def protocol_factory(app: Application) -> tuple[Callable[[], Connection], set[Connection]]:
    """What a server makes its connections with, and the set of those that are open."""
    heads: dict[bytes, Head] = {}
    connections: set[Connection] = set()
    return lambda: Connection(app, heads, connections), connections
