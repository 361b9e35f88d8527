"""Servers that give a body back: what HTTP alone costs in Python. `python -m benchmarks.echo_servers uvicorn|granian|thin PORT`.

uvicorn runs raw ASGI (uvloop, httptools), granian its own RSGI, `thin` the protocol that the service itself speaks. One worker each.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fraudloop.api.http import Connection, Head, Routed, Server


async def asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[dict[str, Any]], Any]) -> None:
    """ASGI without a framework."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def rsgi(scope: Any, protocol: Any) -> None:
    """RSGI, granian's own interface."""
    body = await protocol()
    protocol.response_bytes(200, [("content-type", "application/json"), ("content-length", str(len(body)))], body)


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


def _run_uvicorn(port: int) -> None:
    import uvicorn

    uvicorn.run(asgi, host="127.0.0.1", port=port, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning")


def _run_granian(port: int) -> None:
    from granian import Granian
    from granian.constants import Interfaces

    Granian("benchmarks.echo_servers:rsgi", address="127.0.0.1", port=port, interface=Interfaces.RSGI, workers=1, log_enabled=False).serve()


def _run_thin(port: int) -> None:
    import uvloop

    uvloop.run(_thin(port))


SERVERS: Final[dict[str, Callable[[int], None]]] = {"uvicorn": _run_uvicorn, "granian": _run_granian, "thin": _run_thin}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
