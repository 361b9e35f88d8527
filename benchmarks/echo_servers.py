"""Servers that give a body back: what HTTP alone costs in Python. `python -m benchmarks.echo_servers NAME PORT`, a name of SERVERS.

uvicorn runs raw ASGI (uvloop, httptools), granian its own RSGI, `thin` the protocol that the service itself speaks. One worker each. With
`-json` they read the body and write it again (msgspec), as whoever answers something must; with `-queue` they wait in between for a loop that takes
all that came meanwhile together, as whoever decides in batches must. Neither does anything else.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from fraudloop.api.http import Connection, Head, Routed, Server

Answer = Callable[[bytes], Awaitable[bytes]]
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


async def raw(body: bytes) -> bytes:
    """The bytes as they came."""
    return body


async def read(body: bytes) -> bytes:
    """What they say, written again."""
    return _encode(_decode(body))


class Queue:
    """The same, once the loop has come to what waits: all of it together."""

    def __init__(self) -> None:
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[bytes]]] = []

    async def __call__(self, body: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._turn)
        self._waiting.append((_decode(body), future))
        return await future

    def _turn(self) -> None:
        waiting, self._waiting = self._waiting, []
        for told, future in waiting:
            if not future.cancelled():
                future.set_result(_encode(told))


ANSWERS: Final[dict[str, Callable[[], Answer]]] = {"": lambda: raw, "-json": lambda: read, "-queue": Queue}


def asgi(answer: Answer) -> Callable[..., Any]:
    """ASGI without a framework."""

    async def app(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[dict[str, Any]], Any]) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        body = await answer(body)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def rsgi(answer: Answer) -> Callable[..., Any]:
    """RSGI, granian's own interface."""

    async def app(scope: Any, protocol: Any) -> None:
        body = await answer(await protocol())
        protocol.response_bytes(200, [("content-type", "application/json"), ("content-length", str(len(body)))], body)

    return app


#: For granian, which takes an application by its name.
rsgi_raw, rsgi_json, rsgi_queue = (rsgi(answer()) for answer in ANSWERS.values())


@dataclass(slots=True)
class Everything:
    """What every head is routed to."""

    body_bytes_max: int = 65_536
    remember: bool = True


class Echo:
    """An application of the thin protocol."""

    def connected(self, connection: Connection) -> None:
        pass

    def route(self, head: Head) -> Routed:
        return Everything()

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        connection.respond_ok(body)

    def fail(self, connection: Connection, status: int, detail: str, field: str) -> None:
        connection.respond(status, b"{}")


async def _thin(port: int) -> None:
    loop = asyncio.get_running_loop()
    made = Server(Echo())
    made.start(loop)
    server = await loop.create_server(made, "127.0.0.1", port)
    await server.serve_forever()


def _run_uvicorn(port: int, kind: str) -> None:
    import uvicorn

    app = asgi(ANSWERS[kind]())
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning")


def _run_granian(port: int, kind: str) -> None:
    from granian import Granian
    from granian.constants import Interfaces

    app = f"benchmarks.echo_servers:rsgi_{kind.removeprefix('-') or 'raw'}"
    Granian(app, address="127.0.0.1", port=port, interface=Interfaces.RSGI, workers=1, log_enabled=False).serve()


def _run_thin(port: int) -> None:
    import uvloop

    uvloop.run(_thin(port))


SERVERS: Final[dict[str, Callable[[int], None]]] = {
    **{f"uvicorn{kind}": partial(_run_uvicorn, kind=kind) for kind in ANSWERS},
    **{f"granian{kind}": partial(_run_granian, kind=kind) for kind in ANSWERS},
    "thin": _run_thin,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
