"""HTTP/1.1 for the hot paths: bytes of a connection in, requests out, answers back in order. It knows no route's meaning.

Clients of a payment system keep connections open and send the same head again and again. So a head that was parsed once is looked up
by its bytes, with everything that was made of it (route, key, limits); only new heads go through httptools. Headers that differ with every
request (ids, traces) are cut out before the lookup. `Server.forget` drops what was remembered.

One request of a connection is under way at a time; what a client sends ahead waits. Time is the server's own count of seconds, moved by
`Server.sweep`, so that following it costs a request nothing.
"""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final, Protocol

import httptools

from fraudloop.door.pan import DIGITS_MIN, MAY_HOLD_PAN, holds_pan
from fraudloop.limits import (
    HTTP_AHEAD_BYTES_MAX,
    HTTP_BODY_BYTES_MAX,
    HTTP_CONNECTIONS_MAX,
    HTTP_DRAIN_S_MAX,
    HTTP_HEAD_BYTES_MAX,
    HTTP_HEAD_REMEMBERED_BYTES_MAX,
    HTTP_HEADS_MAX,
    HTTP_IDLE_S_MAX,
    HTTP_LINGER_S,
    HTTP_REQUEST_S_MAX,
    HTTP_UNREAD_S_MAX,
)

JSON: Final = b"application/json"

REASONS: Final = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large",
    415: "Unsupported Media Type", 417: "Expectation Failed", 422: "Unprocessable Content", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}  # fmt: skip

#: Headers that differ with every request of a client and change nothing about it.
_VARYING: Final = re.compile(rb"\r\n(x-request-id|traceparent|tracestate|x-b3-[a-z]+|x-amzn-trace-id):([^\r\n]*)", re.IGNORECASE)
_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,64}")
_MAY_HOLD_PAN: Final = re.compile(MAY_HOLD_PAN.pattern.encode())
_ID_NAMES: Final = (b"\r\nx-request-id: ", b"\r\nX-Request-ID: ", b"\r\nX-Request-Id: ")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t]*;[\x20-\x7e\t]{0,256})?")
_TRAILERS_MAX: Final = 4_096


class Routed(Protocol):
    """What an application made of a head. body_bytes_max: of its bodies. remember: whether the same bytes may mean the same again."""

    body_bytes_max: int
    remember: bool


@dataclass(slots=True)
class Head:
    """What a request's head says. path: without the query. headers: names in lower case. length: of the body, -1 for one in chunks.
    old: of HTTP/1.0. waits: the client sends the body once it is told to. route: what the application made of it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    length: int = 0
    keep_alive: bool = True
    old: bool = False
    waits: bool = False
    route: Any = None


class Application(Protocol):
    """What serves requests."""

    def connected(self, connection: Connection) -> None:
        """A connection was opened; `connection.owner` is the application's to set."""
        ...

    def route(self, head: Head) -> Routed:
        """Called once for each new head; what it gives stands in `head.route`."""
        ...

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        """Answer by `connection.respond`, now or later; the connection gives no further request before."""
        ...

    def fail(self, connection: Connection, status: int, detail: str, field: str) -> None:
        """Answer a request that is none: `connection.respond`; the connection is closed after. field: the part of it at fault."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large, how many and how long; see `fraudloop.limits`. Times in seconds."""

    head_bytes_max: int = HTTP_HEAD_BYTES_MAX
    ahead_bytes_max: int = HTTP_AHEAD_BYTES_MAX
    connections_max: int = HTTP_CONNECTIONS_MAX
    heads_max: int = HTTP_HEADS_MAX
    request_s_max: float = HTTP_REQUEST_S_MAX
    idle_s_max: float = HTTP_IDLE_S_MAX
    unread_s_max: float = HTTP_UNREAD_S_MAX
    linger_s: float = HTTP_LINGER_S


@dataclass(slots=True)
class HttpCounters:
    """Plain sums, for metrics. bad: requests that were none, by status."""

    connections: int = 0
    turned_away: int = 0
    timed_out: int = 0
    parsed: int = 0
    requests: int = 0
    bad: dict[int, int] = field(default_factory=dict)


class Server:
    """What the connections of one application share; call it to make one (it is the protocol factory of `loop.create_server`).

    `start` sweeps once a second; a test calls `sweep` itself. `drain` ends: idle connections are closed, those with a request under way after
    its answer, which says `connection: close`.
    """

    def __init__(self, app: Application, bounds: Bounds | None = None) -> None:
        self.app = app
        self.bounds = bounds or Bounds()
        self.heads: dict[bytes, Head] = {}
        self.connections: set[Connection] = set()
        self.counters = HttpCounters()
        self.draining = False
        #: Seconds by the server's own count.
        self.now = 1.0
        self._ids = os.urandom(6).hex().encode()
        self._id = 0
        self._timer: asyncio.TimerHandle | None = None
        self.date = b""
        self.ok = b""
        self._dated()

    def __call__(self) -> Connection:
        return Connection(self)

    def forget(self) -> None:
        """Drop every head that is remembered: routes, keys or limits have changed."""
        self.heads.clear()

    def request_id(self) -> bytes:
        """A new id of a request: random for the process, then counted."""
        self._id += 1
        return b"%b-%x" % (self._ids, self._id)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sweep once a second from now on."""
        begun = loop.time()
        offset = self.now

        def turn() -> None:
            self.sweep(offset + loop.time() - begun)
            self._timer = loop.call_later(1.0, turn)

        self._timer = loop.call_later(1.0, turn)

    def sweep(self, now: float) -> None:
        """It is `now`, in seconds: close what has taken too long."""
        self.now = now
        self._dated()
        bounds = self.bounds
        for connection in list(self.connections):
            connection.check(now, bounds)

    def drain(self) -> None:
        """Take no further request; close what is idle."""
        self.draining = True
        self.forget()
        for connection in list(self.connections):
            connection.drain()

    async def drained(self, seconds: float = HTTP_DRAIN_S_MAX) -> None:
        """Drain, wait for what is under way at most so long, then cut what is left."""
        self.drain()
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while self.connections and loop.time() < until:
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.transport.abort()
        if self._timer is not None:
            self._timer.cancel()

    def _dated(self) -> None:
        self.date = b"date: %b\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n" % formatdate(usegmt=True).encode()
        self.ok = b"HTTP/1.1 200 OK\r\n%bcontent-type: application/json\r\nx-request-id: " % self.date


class Connection(asyncio.Protocol):
    """One connection. Requests are given one at a time, in order; what a client sends ahead waits."""

    __slots__ = ("_blocked", "_body", "_buffer", "_busy", "_closing", "_ended", "_eof", "_handle", "_head", "_inside", "_paused", "_server",
                 "_since", "owner", "request_id", "transport")  # fmt: skip

    def __init__(self, server: Server) -> None:
        self._server = server
        self.transport: Any = None
        #: The application's own.
        self.owner: Any = None
        #: Of the request under way.
        self.request_id = b""
        self._handle = -1  # of the socket, while the transport holds nothing back
        self._buffer = bytearray()  # bytes that wait: part of a head, or what was sent ahead
        self._body: _Sized | _Chunked | None = None  # of the request that comes in
        self._head: Head | None = None  # of the request that comes in or is under way
        self._busy = False  # a request is under way
        self._inside = False  # requests are being taken from what came in
        self._blocked = False  # the client does not read
        self._paused = False  # the client is not read
        self._closing = False  # no further request after this one
        self._eof = False  # the client sends no more
        self._ended = False  # answered for the last time; what still comes is swallowed
        self._since = server.now  # of what is waited for: the rest of a request, the next one, that the client reads

    # --- from the loop -------------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        socket = transport.get_extra_info("socket")
        self._handle = -1 if socket is None else socket.fileno()
        server = self._server
        server.counters.connections += 1
        full = len(server.connections) >= server.bounds.connections_max
        server.connections.add(self)
        server.app.connected(self)
        if full or server.draining:
            server.counters.turned_away += 1
            self._bad(503, "too many connections; come again" if full else "the service is going away; come again", "connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._closing = self._ended = True
        self._buffer.clear()
        self._body = None

    def eof_received(self) -> bool:
        """The client sends no more: what is under way is still answered."""
        self._eof = True
        if not self._busy and not self._blocked and not self._ended:
            self._end()
        return not self._ended

    def pause_writing(self) -> None:
        self._blocked = True
        if not self._ended:
            self._since = self._server.now

    def resume_writing(self) -> None:
        self._blocked = False
        if not self._busy and not self._ended:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        if self._busy or self._blocked:
            self._buffer += data
            if len(self._buffer) > self._server.bounds.ahead_bytes_max and not self._paused:
                self._paused = True
                self.transport.pause_reading()
            return
        if self._body is not None:
            data = self._continue(data)
            if not data:
                return
        elif self._buffer:
            begin = max(0, len(self._buffer) - 3)
            self._buffer += data
            if self._buffer.find(b"\r\n\r\n", begin) < 0 and len(self._buffer) <= self._server.bounds.head_bytes_max:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
            self._resume(data)
            return
        self._take_all(data)

    def _resume(self, data: bytes) -> None:
        """Take requests of which the first began earlier: a slow head leaves its body the less time."""
        since, served = self._since, self._server.counters.requests
        self._take_all(data)
        if self._body is not None and self._server.counters.requests == served:
            self._since = since

    # --- requests ------------------------------------------------------------------------------------------------

    def _take_all(self, data: bytes) -> None:
        """Give requests as long as they are whole, and the one before is answered."""
        self._inside = True
        while data and not self._ended:
            if self._busy or self._blocked:
                self._buffer += data
                if len(self._buffer) > self._server.bounds.ahead_bytes_max and not self._paused:
                    self._paused = True
                    self.transport.pause_reading()
                break
            data = self._take(data)
        self._inside = False
        if self._eof and not self._busy and not self._blocked and not self._ended:
            self._end()

    def _take(self, data: bytes) -> bytes:
        """Give the request that `data` begins with if it is whole, keep its part if not; the rest."""
        server = self._server
        end = data.find(b"\r\n\r\n")
        if end <= 0 or data[0] == 13:
            return self._odd(data, end)
        key = data[:end]
        head = server.heads.get(key)
        if head is None:
            head = self._by_rest(key) or self._parse(key)
            if head is None:
                return b""
        else:
            self.request_id = b"%b-%x" % (server._ids, server._id)
            server._id += 1
        begin = end + 4
        length = head.length
        if length > head.route.body_bytes_max:
            self._too_large(head)
            return b""
        rest = begin + length
        if length < 0 or len(data) < rest:
            self._head = head
            self._body = _Chunked(head.route.body_bytes_max) if length < 0 else _Sized(length)
            self._since = server.now
            if head.waits and len(data) == begin:
                self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
            return self._continue(data[begin:])
        self._give(head, data[begin:rest])
        return data[rest:] if len(data) > rest else b""

    def _odd(self, data: bytes, end: int) -> bytes:
        """What does not begin with a whole head."""
        if data.startswith(b"\r\n"):
            return data[2:]  # an empty line before a request is to be overlooked
        if end > self._server.bounds.head_bytes_max or (end < 0 and len(data) > self._server.bounds.head_bytes_max):
            self._bad(431, f"the head of a request has at most {self._server.bounds.head_bytes_max} bytes", "head")
        elif end >= 0:
            self._bad(400, "this is not a request of HTTP/1.1", "head")
        else:
            if not self._buffer:
                self._since = self._server.now
            self._buffer += data
        return b""

    def _continue(self, data: bytes) -> bytes:
        """More of a body; what lies behind it."""
        body, head = self._body, self._head
        assert body is not None and head is not None, "a body has a head"
        rest = body.feed(data)
        if body.problem:
            if body.problem == 413:
                self._too_large(head)
            else:
                self._bad(400, "the chunks of the body are malformed", "body", named=True)
            return b""
        if body.done:
            self._body = None
            self._give(head, b"".join(body.parts))
        return rest

    def _give(self, head: Head, body: bytes) -> None:
        self._busy = True
        self._head = head
        if not head.keep_alive:
            self._closing = True
        server = self._server
        server.counters.requests += 1
        server.app.serve(self, head, body)

    def _by_rest(self, data: bytes) -> Head | None:
        """A head that is remembered but for its request id, written as most clients write it; sets the id."""
        for name in _ID_NAMES:
            begin = data.find(name)
            if begin >= 0:
                end = data.find(b"\r\n", begin + 2)
                given, rest = (data[begin + 16 :], b"") if end < 0 else (data[begin + 16 : end], data[end:])
                head = self._server.heads.get(data[:begin] + rest)
                if head is not None:
                    self.request_id = given if _is_sane(given) else self._server.request_id()
                return head
        return None

    def _parse(self, data: bytes) -> Head | None:
        """A head that is not remembered as it stands."""
        server = self._server
        if len(data) > server.bounds.head_bytes_max:
            self._bad(431, f"the head of a request has at most {server.bounds.head_bytes_max} bytes", "head")
            return None
        given = b""
        varying = _VARYING.search(data) is not None
        if varying:
            for name, value in _VARYING.findall(data):
                if name.lower() == b"x-request-id":
                    given = value.strip()
            data = _VARYING.sub(b"", data)
        self.request_id = given if _is_sane(given) else server.request_id()
        head = server.heads.get(data) if varying else None
        if head is not None:
            return head
        server.counters.parsed += 1
        found = parse(data)
        if isinstance(found, Bad):
            self._bad(found.status, found.detail, found.field, named=True)
            return None
        found.route = server.app.route(found)
        if found.route.remember and len(data) <= HTTP_HEAD_REMEMBERED_BYTES_MAX:
            if len(server.heads) >= server.bounds.heads_max:
                server.heads.clear()
            server.heads[data] = found
        return found

    def _too_large(self, head: Head) -> None:
        self._bad(413, f"a body has at most {head.route.body_bytes_max} bytes here", "body", named=True)

    def _bad(self, status: int, detail: str, field: str, *, named: bool = False) -> None:
        """Refuse what came, and everything after it. named: the request got as far as having an id."""
        counters = self._server.counters
        counters.bad[status] = counters.bad.get(status, 0) + 1
        self._buffer.clear()
        self._body = self._head = None
        self._busy = self._closing = True
        if not named:
            self.request_id = self._server.request_id()
        self._server.app.fail(self, status, detail, field)

    # --- answers -------------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        """Write to the client; the connection is open.

        The socket takes nearly every answer whole at once, which spares the transport's own bookkeeping. From the first time that it does not,
        whatever is left and all after it are the transport's, which keeps their order.
        """
        handle = self._handle
        if handle >= 0:
            try:
                sent = os.write(handle, data)
            except OSError:  # full, or gone: the transport finds out which
                sent = 0
            if sent == len(data):
                return
            self._handle, data = -1, data[sent:]
        self.transport.write(data)

    def respond_ok(self, body: bytes) -> None:
        """Answer the present request with 200 and JSON."""
        head = self._head
        if self._closing or head is None or head.old or head.method == "HEAD":
            self.respond(200, body)
            return
        if self.transport.is_closing():
            return
        self._send(b"%b%b\r\ncontent-length: %d\r\n\r\n%b" % (self._server.ok, self.request_id, len(body), body))
        self._busy = False
        if self._buffer or self._paused or self._eof:
            self._go_on()
        else:
            self._since = self._server.now

    def respond(self, status: int, body: bytes, content_type: bytes = JSON, headers: bytes = b"") -> None:
        """Answer the present request. headers: further ones, each ended by CR LF."""
        transport = self.transport
        if transport.is_closing():
            return
        server, head = self._server, self._head
        if server.draining:
            self._closing = True
        if self._closing:
            headers += b"connection: close\r\n"
        elif head is not None and head.old:
            headers += b"connection: keep-alive\r\n"
        if status != 204:
            headers += b"content-type: %b\r\ncontent-length: %d\r\n" % (content_type, len(body))
        if head is not None and head.method == "HEAD":
            body = b""
        self._send(
            b"HTTP/1.1 %d %b\r\n%bx-request-id: %b\r\n%b\r\n%b"
            % (status, REASONS.get(status, "Unknown").encode(), server.date, self.request_id, headers, body)
        )
        self._busy = False
        if self._closing:
            self._end(refused=head is None)
        elif self._buffer or self._paused or self._eof:
            self._go_on()
        else:
            self._since = server.now

    def _go_on(self) -> None:
        """The next request that was sent ahead."""
        if self._inside or self._busy or self._blocked:
            return
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._paused:
            self._paused = False
            self.transport.resume_reading()
        self._since = self._server.now
        if self._body is not None:
            data = self._continue(data)
        self._take_all(data)

    def _end(self, *, refused: bool = False) -> None:
        """Answered for the last time."""
        self._ended = True
        self._buffer.clear()
        self._body = None
        self._since = self._server.now
        if refused and self.transport.can_write_eof():
            # Closing with bytes unread would reset the connection, and the client might never see the answer.
            self.transport.write_eof()
            if self._paused:
                self._paused = False
                self.transport.resume_reading()
        else:
            self.transport.close()

    # --- time ----------------------------------------------------------------------------------------------------

    def check(self, now: float, bounds: Bounds) -> None:
        """Close the connection if what it waits for has taken too long."""
        waited = now - self._since
        if self._ended:
            if waited > bounds.linger_s:
                if self._blocked and waited <= bounds.unread_s_max:
                    return
                self.transport.abort()
        elif self._blocked:
            if waited > bounds.unread_s_max:
                self._server.counters.timed_out += 1
                self.transport.abort()
        elif self._busy:
            return  # the application's own limits hold
        elif self._body is not None or self._buffer:
            if waited > bounds.request_s_max:
                self._server.counters.timed_out += 1
                self._bad(408, f"a request has to be whole within {bounds.request_s_max:g} seconds", "body" if self._body else "head")
        elif waited > bounds.idle_s_max:
            self._ended = True
            self.transport.close()

    def drain(self) -> None:
        """Close the connection if nothing is under way on it; else after its answer."""
        self._closing = True
        if not self._busy and self._body is None and not self._buffer and not self._blocked:
            self._ended = True
            self.transport.close()


@dataclass(frozen=True, slots=True)
class Bad:
    """Why bytes are not a request. field: the part at fault."""

    status: int
    detail: str
    field: str = "head"


def parse(data: bytes) -> Head | Bad:
    """A head without the empty line at its end. What two parsers could read in two ways is refused: that is how requests are smuggled.

    >>> parse(b"GET /health HTTP/1.1\\r\\nHost: a").path
    '/health'
    >>> parse(b"POST / HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 1\\r\\nContent-Length: 2").field
    'content-length'
    """
    plain = data.replace(b"\r\n", b"")
    if b"\r" in plain or b"\n" in plain or b"\0" in plain or b"\r\n " in data or b"\r\n\t" in data:
        return Bad(400, "a line of the head ends with CR LF, and no line goes on in the next")
    reader = _HeadReader()
    try:
        parser = httptools.HttpRequestParser(reader)
        parser.feed_data(data + b"\r\n\r\n")
    except httptools.HttpParserUpgrade:
        pass  # asked for another protocol; it is answered in this one
    except httptools.HttpParserError as error:
        text = str(error).lower()
        field = next((name for name in ("transfer-encoding", "content-length") if name in text), "head")
        return Bad(400, "this is not a request of HTTP/1.1" if field == "head" else "a body has one length, or comes in chunks", field)
    if not reader.complete_head:
        return Bad(400, "this is not a request of HTTP/1.1")
    version, method = parser.get_http_version(), parser.get_method().decode("latin-1")
    if version not in ("1.1", "1.0"):
        return Bad(505, "requests are of HTTP/1.1")
    if method == "CONNECT":
        return Bad(405, "this is no proxy", "method")
    try:
        url = httptools.parse_url(reader.url)
    except httptools.HttpParserError:
        return Bad(400, "the target of the request is not a path", "path")
    if not url.path or not reader.url.isascii():
        return Bad(400, "the target of the request is not a path", "path")
    headers = reader.headers
    if version == "1.1" and ("host" not in headers or "host" in reader.twice):
        return Bad(400, "a request has one Host", "host")
    if "transfer-encoding" in headers:
        if "content-length" in headers or version == "1.0":
            return Bad(400, "a body is sent with Content-Length or in chunks, not both", "transfer-encoding")
        if headers["transfer-encoding"].lower() != "chunked":
            return Bad(501, "the only transfer coding here is chunked", "transfer-encoding")
        length = -1
    else:
        text = headers.get("content-length", "0")
        if not text.isascii() or not text.isdigit() or len(text) > 12:
            return Bad(400, "Content-Length is one number of bytes", "content-length")
        length = int(text)
    waits = False
    if "expect" in headers and version == "1.1":
        if headers["expect"].lower() != "100-continue":
            return Bad(417, "the only expectation met here is 100-continue", "expect")
        waits = True
    said = {word.strip() for word in headers.get("connection", "").lower().split(",")}
    keep_alive = "close" not in said if version == "1.1" else "keep-alive" in said
    return Head(
        method, url.path.decode("latin-1"), (url.query or b"").decode("latin-1"), headers, length, keep_alive, version == "1.0", waits
    )


class _HeadReader:
    """What httptools tells of a head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: dict[str, str] = {}
        self.twice: set[str] = set()
        self.complete_head = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        if key in self.headers:
            # Twice the same header is one list of values; so a second length is no number any more.
            self.twice.add(key)
            text = f"{self.headers[key]}, {text}"
        self.headers[key] = text

    def on_headers_complete(self) -> None:
        self.complete_head = True


class _Sized:
    """A body of known length."""

    __slots__ = ("_need", "done", "parts", "problem")

    def __init__(self, length: int) -> None:
        self.parts: list[bytes] = []
        self._need = length
        self.done = False
        self.problem = 0

    def feed(self, data: bytes) -> bytes:
        """The next bytes; those behind the body."""
        if len(data) < self._need:
            if data:
                self.parts.append(data)
                self._need -= len(data)
                if len(self.parts) >= 256:
                    self.parts = [b"".join(self.parts)]  # a byte a packet is no list of 64,000
            return b""
        self.parts.append(data[: self._need])
        self.done = True
        return data[self._need :]


class _Chunked:
    """A body in chunks. problem: 400 or 413 once it cannot go on."""

    __slots__ = ("_buffer", "_left", "_most", "_size", "_state", "_trailers", "done", "parts", "problem")

    def __init__(self, most: int) -> None:
        self.parts: list[bytes] = []
        self.done = False
        self.problem = 0
        self._buffer = b""
        self._state = "size"
        self._left = self._size = self._trailers = 0
        self._most = most

    def feed(self, data: bytes) -> bytes:
        """The next bytes; those behind the body."""
        data = self._buffer + data
        at = 0
        while True:
            if self._state == "data":
                part = data[at : at + self._left]
                if part:
                    self.parts.append(part)
                    if len(self.parts) >= 4_096:
                        self.parts = [b"".join(self.parts)]
                at += len(part)
                self._left -= len(part)
                if self._left:
                    break
                self._state = "end"
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                most = 2 if self._state == "end" else 300 if self._state == "size" else _TRAILERS_MAX
                if len(data) - at > most or (self._state == "end" and len(data) > at and data[at] != 13):
                    self.problem = 400
                break
            line = data[at:line_end]
            at = line_end + 2
            if self._state == "end":
                if line:
                    self.problem = 400
                    break
                self._state = "size"
            elif self._state == "size":
                found = _CHUNK.fullmatch(line)
                if found is None:
                    self.problem = 400
                    break
                self._left = int(found[1], 16)
                self._size += self._left
                if self._size > self._most:
                    self.problem = 413
                    break
                self._state = "data" if self._left else "trailers"
            elif line:
                self._trailers += len(line)
                if self._trailers > _TRAILERS_MAX or b"\n" in line or b"\r" in line:
                    self.problem = 400
                    break
            else:
                self.done = True
                return data[at:]
        self._buffer = data[at:]
        return b""


def _is_sane(given: bytes) -> bool:
    """Whether a request's own id may stand in answers and lines: not one that holds a card number."""
    if not _SANE_ID.fullmatch(given):
        return False
    return len(given) < DIGITS_MIN or _MAY_HOLD_PAN.search(given) is None or not holds_pan(given.decode("ascii"))


__all__ = [
    "HTTP_BODY_BYTES_MAX",
    "JSON",
    "REASONS",
    "Application",
    "Bad",
    "Bounds",
    "Connection",
    "Head",
    "HttpCounters",
    "Routed",
    "Server",
    "parse",
]
