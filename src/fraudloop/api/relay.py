"""Passes requests that are not the scorer's on to the desk, over a Unix socket. Bounded in number, size and time; it renders nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final

from fraudloop.api.http import Connection, Head
from fraudloop.api.keys import Key
from fraudloop.errors import FraudloopError, GatewayError, UnavailableError
from fraudloop.limits import RELAY_BYTES_MAX, RELAY_REQUESTS_MAX, RELAY_S_MAX

#: Headers of one hop, and those that the relay sets itself.
_OWN: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade", "content-length",
     "expect", "x-request-id", "x-forwarded-for", "authorization", "x-api-key"}
)  # fmt: skip
_PASSED: Final = re.compile(
    rb"(?:connection|keep-alive|transfer-encoding|content-length|content-type|x-request-id|date|server|upgrade|trailer)", re.IGNORECASE
)
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([2-5][0-9]{2})(?: [^\r\n]*)?")


class Relay:
    """path: of the desk's socket. Who asked is told to it in `x-fraudloop-key` (the key's id and name) and `x-fraudloop-scopes`, which no caller
    can set: the desk believes them because only this process can open its socket."""

    def __init__(
        self,
        path: str,
        loop: asyncio.AbstractEventLoop,
        *,
        seconds_max: float = RELAY_S_MAX,
        bytes_max: int = RELAY_BYTES_MAX,
        requests_max: int = RELAY_REQUESTS_MAX,
    ) -> None:
        self._path, self._loop = path, loop
        self._seconds, self._bytes, self._most = seconds_max, bytes_max, requests_max
        self._under_way: set[asyncio.Task[None]] = set()

    def forward(self, connection: Connection, head: Head, body: bytes, key: Key | None, refuse: Callable[[FraudloopError], None]) -> None:
        """Answer a request with what the desk answers, later; or refuse it now."""
        if len(self._under_way) >= self._most:
            refuse(UnavailableError("the desk is busy; come again", retry_after_s=2))
            return
        task = self._loop.create_task(self._pass(connection, head, body, key, refuse))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _pass(
        self, connection: Connection, head: Head, body: bytes, key: Key | None, refuse: Callable[[FraudloopError], None]
    ) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                status, content_type, headers, data = await self._ask(_request(connection, head, body, key), head.method)
        except TimeoutError:
            refuse(UnavailableError(f"the desk did not answer within {self._seconds:g} seconds", retry_after_s=2))
        except asyncio.LimitOverrunError:
            refuse(GatewayError("the desk did not answer in HTTP/1.1"))
        except (OSError, EOFError):
            refuse(UnavailableError("the desk is not there; come again", retry_after_s=2))
        except GatewayError as error:
            refuse(error)
        else:
            connection.respond(status, data, content_type, headers)

    async def _ask(self, request: bytes, method: str) -> tuple[int, bytes, bytes, bytes]:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=65_536)
        try:
            writer.write(request)
            await writer.drain()
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError as error:
                raise GatewayError("the desk answered with too large a head") from error
            lines = head[:-4].split(b"\r\n")
            found = _STATUS.fullmatch(lines[0])
            if found is None:
                raise GatewayError("the desk did not answer in HTTP/1.1")
            status, content_type, headers = int(found[1]), b"application/octet-stream", b""
            length: int | None = None
            chunked = False
            for line in lines[1:]:
                name, _, value = line.partition(b":")
                lower, value = name.lower(), value.strip()
                if lower == b"content-length" and value.isdigit():
                    length = int(value)
                elif lower == b"transfer-encoding":
                    chunked = value.lower() == b"chunked"
                elif lower == b"content-type":
                    content_type = value
                elif not _PASSED.fullmatch(name):
                    headers += line + b"\r\n"
            if method == "HEAD" or status in (204, 304):
                return status, content_type, headers, b""
            return status, content_type, headers, await self._body(reader, length, chunked)
        finally:
            writer.close()

    async def _body(self, reader: asyncio.StreamReader, length: int | None, chunked: bool) -> bytes:
        if length is not None and length > self._bytes:
            raise GatewayError("the desk answered with more than is passed on")
        if length is not None:
            return await reader.readexactly(length)
        out = bytearray()
        while True:
            want = 65_536
            if chunked:
                size = (await reader.readuntil(b"\r\n")).partition(b";")[0].strip()
                try:
                    want = int(size, 16)
                except ValueError as error:
                    raise GatewayError("the desk did not answer in HTTP/1.1") from error
                if len(out) + want > self._bytes:
                    raise GatewayError("the desk answered with more than is passed on")
                part = await reader.readexactly(want)
                await reader.readuntil(b"\r\n")
            else:
                part = await reader.read(want)
            if not part:
                return bytes(out)
            out += part
            if len(out) > self._bytes:
                raise GatewayError("the desk answered with more than is passed on")


def _request(connection: Connection, head: Head, body: bytes, key: Key | None) -> bytes:
    """The request as the desk gets it."""
    target = head.path + (f"?{head.query}" if head.query else "")
    lines = [f"{head.method} {target} HTTP/1.1"]
    for name, value in head.headers.items():
        if name not in _OWN and not name.startswith("x-fraudloop-"):
            lines.append(f"{name}: {value}")
    if "host" not in head.headers:
        lines.append("host: desk")
    peer = connection.transport.get_extra_info("peername")
    if isinstance(peer, tuple) and peer:
        lines.append(f"x-forwarded-for: {peer[0]}")
    if key is not None:
        lines += [f"x-fraudloop-key: {key.id} {key.name}", f"x-fraudloop-scopes: {','.join(key.scopes)}"]
    lines += [f"x-request-id: {connection.request_id.decode('latin-1')}", f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
