"""The caller of a service, against a server that answers what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from fraudloop.cli.remote import Remote
from fraudloop.errors import (
    FraudloopError,
    InputError,
    NotFoundError,
    PublishConflict,
    RefusedError,
    TransportError,
    UnauthorizedError,
    UnavailableError,
)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: ClassVar[tuple[int, bytes]] = (200, b"{}")
    seen: ClassVar[list[tuple[str, str, Any, str | None]]] = []

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.seen.append((self.command, self.path, json.loads(body) if body else None, self.headers.get("authorization")))
        status, data = self.answer
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - named by the library

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the library
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    Handler.seen.clear()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_bodies_paths_and_the_key_reach_the_service(url: str) -> None:
    Handler.answer = (200, b'{"lsn": 4}')
    with Remote(url + "/base/", "secret") as remote:
        assert remote.call("PUT", "/rules", {"who": "ann"}) == {"lsn": 4}
        assert remote.call("GET", "/lists") == {"lsn": 4}
    with Remote(url) as remote:
        remote.call("DELETE", "/lists/block/entries", {"id": "x"})
    assert Handler.seen == [
        ("PUT", "/base/rules", {"who": "ann"}, "Bearer secret"),
        ("GET", "/base/lists", None, "Bearer secret"),
        ("DELETE", "/lists/block/entries", {"id": "x"}, None),
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, UnauthorizedError), (403, UnauthorizedError), (404, NotFoundError), (409, PublishConflict), (422, RefusedError), (503, UnavailableError),
        (400, InputError), (500, TransportError),
    ],
)  # fmt: skip
def test_problem_details_become_the_error_that_they_name(url: str, status: int, kind: type[FraudloopError]) -> None:
    Handler.answer = (
        status,
        json.dumps({"title": "T", "status": status, "detail": "what is wrong", "errors": [{"field": "why"}]}).encode(),
    )
    with Remote(url) as remote, pytest.raises(kind, match="what is wrong") as error:
        remote.call("GET", "/rules")
    assert type(error.value) is kind
    assert error.value.fields["status"] == status and error.value.fields["errors"] == [{"field": "why"}]


@pytest.mark.parametrize("data", [b"<html>", b"[1]", b""])
def test_an_answer_that_is_none_is_told_as_one(url: str, data: bytes) -> None:
    Handler.answer = (502, data)
    with Remote(url) as remote, pytest.raises(TransportError, match="answers 502 without saying why"):
        remote.call("GET", "/rules")


def test_nobody_there_and_addresses_that_are_none() -> None:
    with Remote("http://127.0.0.1:9") as remote, pytest.raises(TransportError, match="is `fraudloop serve` running there"):
        remote.call("GET", "/rules")
    for wrong in ("127.0.0.1:8000", "ftp://x", "http://", "http://u:p@x", "http://x:port"):
        with pytest.raises(InputError, match="--url"):
            Remote(wrong)
