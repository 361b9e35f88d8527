"""The desk: everything that is for people and scrapers, in a process of its own, so that no page or metric stops a decision.

A Starlette application on a Unix socket; the scorer's port passes on to it whatever is not its own. It asks the scorer over the scorer's own
Unix socket (`ScorerLink`), and writes nothing itself.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from fraudloop.api import pages, problems
from fraudloop.api.http import REASONS
from fraudloop.api.listings import Listings
from fraudloop.api.metrics import Stats, render
from fraudloop.api.openapi import description
from fraudloop.api.problems import PROBLEM
from fraudloop.api.routes import DESK, ROUTES
from fraudloop.door.pan import hide
from fraudloop.errors import FraudloopError, UnavailableError

#: How long the scorer may take to tell its counts: it is asked between two batches.
_SCORER_S: Final = 5.0

_HTML_HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


class ScorerLink:
    """Asks the scorer over its Unix socket."""

    def __init__(self, path: str, seconds: float = _SCORER_S) -> None:
        self._path, self._seconds = path, seconds

    async def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body; OSError where it does not answer."""
        return await run_in_threadpool(self._ask, method, path, body)

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = _Unix(self._path, self._seconds)
        try:
            connection.request(method, path, body, {"content-type": "application/json", "host": "localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"the scorer did not answer in HTTP: {error}") from error
        finally:
            connection.close()

    async def stats(self) -> Stats | None:
        """The counts, None where the scorer does not answer."""
        try:
            status, body = await self.ask("GET", "/internal/stats")
            return msgspec.json.decode(body, type=Stats) if status == 200 else None
        except (OSError, msgspec.DecodeError):
            return None

    async def health(self) -> dict[str, Any] | None:
        """As `GET /health` has it, None where the scorer does not answer."""
        try:
            status, body = await self.ask("GET", "/health")
            return msgspec.json.decode(body, type=dict[str, Any]) if status == 200 else None
        except (OSError, msgspec.DecodeError):
            return None


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Desk:
    """The handlers. scorer: None where there is none to ask. links: path -> text, on the first page beside its own."""

    def __init__(
        self, scorer: ScorerLink | None, version: str, links: Mapping[str, str] | None = None, listings: Listings | None = None
    ) -> None:
        self._scorer, self._version, self._listings = scorer, version, listings
        self._links = {"/docs": "API", "/health": "health", "/metrics": "metrics", **(links or {})}
        self._document = description(version)
        self._json = msgspec.json.encode(self._document)
        self._page = pages.docs(self._document)
        self._rendering = asyncio.Lock()

    async def metrics(self, request: Request) -> Response:
        async with self._rendering:  # two scrapers do not make it twice as slow for both
            stats = None if self._scorer is None else await self._scorer.stats()
            text = await run_in_threadpool(render, stats)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def decisions(self, request: Request) -> Response:
        if self._listings is None:
            raise UnavailableError("there is no index here", retry_after_s=60)
        page = await run_in_threadpool(self._listings.page, request.query_params.multi_items())
        return Response(msgspec.json.encode(page), media_type="application/json")

    async def openapi(self, request: Request) -> Response:
        return Response(self._json, media_type="application/json")

    async def docs(self, request: Request) -> Response:
        return HTMLResponse(self._page, headers=_HTML_HEADERS)

    async def home(self, request: Request) -> Response:
        health = stats = None
        if self._scorer is not None:
            health, stats = await asyncio.gather(self._scorer.health(), self._scorer.stats())
        slots = {} if stats is None else dict(stats.engine.slots)
        return HTMLResponse(pages.home(self._version, health, slots, self._links), headers=_HTML_HEADERS)


def create_desk(
    scorer: ScorerLink | None,
    *,
    version: str,
    routes: Sequence[BaseRoute] = (),
    links: Mapping[str, str] | None = None,
    listings: Listings | None = None,
) -> Starlette:
    """The application. routes: further ones (console, cases), behind its own. listings: pages of payments, None without an index.

    Who asks is in the headers `x-fraudloop-key` and `x-fraudloop-scopes`, set by the relay. Errors of FraudloopError become problems.
    """
    desk = Desk(scorer, version, links, listings)
    own = [Route(route.path, getattr(desk, route.handler), methods=[route.method]) for route in ROUTES if route.where == DESK]
    return Starlette(
        routes=[*own, *routes], exception_handlers={FraudloopError: _problem, HTTPException: _http_problem, Exception: _defect}
    )


def scopes_of(request: Request) -> frozenset[str] | None:
    """The scopes of who asks; None where the service is open."""
    told = request.headers.get("x-fraudloop-scopes")
    return None if told is None else frozenset(told.split(","))


def _told(problem: problems.Problem, headers: Mapping[str, str] | None = None) -> Response:
    return Response(problems.encode(problem), problem.status, dict(headers or {}), PROBLEM.decode())


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, FraudloopError), "registered for these"
    lines = problems.headers_of(error).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines if line)
    return _told(problems.problem_of(error, request.headers.get("x-request-id")), headers)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for these"
    status = error.status_code if error.status_code in REASONS else 400
    detail = f"there is nothing at {hide(request.url.path, 200)}; see /docs" if status == 404 else str(error.detail)
    field = {404: "path", 405: "method"}.get(status, "request")
    return _told(problems.problem_of_wire(status, detail, field, request.headers.get("x-request-id")), error.headers)


async def _defect(request: Request, error: Exception) -> Response:
    return _told(problems.problem_of(FraudloopError(), request.headers.get("x-request-id")))
