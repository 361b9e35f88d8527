"""The desk behind the scorer's port: passed on, bounded, and not missed while it is away."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from fraudloop.api import metrics
from fraudloop.api.desk import ScorerLink, create_desk, scopes_of
from fraudloop.api.keys import Keys
from fraudloop.api.metrics import METRICS, BesideStats, EngineStats, FeatureStats, Histogram, HttpStats, Stats, Tally
from fraudloop.api.relay import Relay
from fraudloop.api.scorer import Parts
from fraudloop.errors import NotFoundError
from tests.service import Running, parts, payment, running

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def desk(path: Path, scorer: Path | None = None, *routes: Route) -> Iterator[None]:
    """The desk on a Unix socket, in a thread."""
    app = create_desk(None if scorer is None else ScorerLink(str(scorer), 2.0), version="0.1.0", routes=routes)
    server = uvicorn.Server(uvicorn.Config(app, uds=str(path), log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(20)


class Later(Relay):
    """A relay that takes the loop of whoever calls it."""

    def __init__(self, path: Path, **told: Any) -> None:
        super().__init__(str(path), None, **told)  # type: ignore[arg-type]

    def forward(self, *told: Any) -> None:
        self._loop = asyncio.get_running_loop()
        super().forward(*told)


@contextmanager
def both(tmp_path: Path, *routes: Route, relay: dict[str, Any] | None = None, **changes: Any) -> Iterator[Running]:
    made: Parts = parts(relay=Later(tmp_path / "desk", **(relay or {})), **changes)
    with desk(tmp_path / "desk", tmp_path / "scorer", *routes), running(made, inside=tmp_path / "scorer") as service:
        yield service


def test_metrics_are_counted_by_the_scorer_and_rendered_by_the_desk(tmp_path: Path) -> None:
    with both(tmp_path) as service:
        for n in range(3):
            service.ask("POST", "/score_transaction", payment(f"t-{n}", amount=str(4_000 * n)))
        status, text, headers = service.ask("GET", "/metrics")
        assert status == 200 and headers["content-type"].startswith("text/plain")
        found = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text.decode())
            for sample in family.samples
            if not sample.labels
        }
        assert found["fraudloop_up"] == found["fraudloop_ready"] == 1
        assert found["fraudloop_decision_latency_seconds_count"] == found["fraudloop_payments_decided_total"] == 3
        assert 'fraudloop_decisions_total{outcome="review"} 2.0' in text.decode()
        assert "t-1" not in text.decode() and "c-7" not in text.decode()


def test_without_the_scorer_metrics_say_that_it_is_away(tmp_path: Path) -> None:
    async def asked() -> str:
        link = ScorerLink(str(tmp_path / "nobody"))
        assert await link.health() is None
        return metrics.render(await link.stats()).decode()

    text = asyncio.run(asked())
    assert "fraudloop_up 0.0" in text and "decisions" not in text


def test_pages_need_nothing_from_elsewhere(tmp_path: Path) -> None:
    with both(tmp_path) as service:
        for path, word in (("/", "Ask for a decision"), ("/docs", "/score_transaction")):
            status, page, headers = service.ask("GET", path)
            text = page.decode()
            assert status == 200 and headers["content-type"] == "text/html; charset=utf-8" and word in text
            assert "default-src 'none'" in headers["content-security-policy"]
            assert not re.search(r"(?:src|href)=[\"'](?:https?:)?//", text) and "<script" not in text
        assert "ready" in service.ask("GET", "/")[1].decode()
        assert service.ask("GET", "/openapi.json")[1]["openapi"] == "3.1.0"


def test_who_asks_is_told_to_the_desk_and_cannot_be_made_up(tmp_path: Path) -> None:
    async def who(request: Request) -> Response:
        scopes = scopes_of(request)
        return JSONResponse(
            {
                "scopes": None if scopes is None else sorted(scopes),
                "headers": dict(request.headers),
                "query": str(request.url.query),
                "body": (await request.body()).decode(),
            }
        )

    keys = Keys(tmp_path)
    told, key = keys.create("ana", ["read", "control"])
    with both(tmp_path, Route("/cases", who, methods=["GET", "POST"]), keys=keys) as service:
        status, body, _ = service.ask("POST", "/cases?a=b", {"x": 1}, X_Api_Key=told, X_Fraudloop_Scopes="admin", X_Request_Id="r-1")
        assert status == 200
        assert (body["scopes"], body["query"], body["body"]) == (["control", "read"], "a=b", '{"x": 1}')
        assert body["headers"]["x-fraudloop-key"] == f"{key.id} ana" and body["headers"]["x-request-id"] == "r-1"
        assert "x-api-key" not in body["headers"]
        assert service.ask("GET", "/cases", None, X_Fraudloop_Scopes="admin", X_Fraudloop_Key="me")[1]["scopes"] is None
        assert service.ask("GET", "/metrics")[0] == 401  # of the table, so checked before it is passed on
        assert service.ask("GET", "/cases", None, X_Api_Key="fl_no")[0] == 401


def test_errors_of_the_desk_are_problems_too(tmp_path: Path) -> None:
    async def fails(request: Request) -> Response:
        raise NotFoundError("no case 7", field="id")

    async def breaks(request: Request) -> Response:
        raise ZeroDivisionError("c-7")

    with both(tmp_path, Route("/cases/7", fails), Route("/broken", breaks)) as service:
        for path, status, field in (("/cases/7", 404, "id"), ("/nothing", 404, "path"), ("/broken", 500, None)):
            got, body, headers = service.ask("GET", path)
            assert got == status == body["status"] and headers["content-type"] == "application/problem+json"
            assert body["request_id"] == headers["x-request-id"] and "c-7" not in json.dumps(body)
            assert [e["field"] for e in body.get("errors", [])] == ([field] if field else [])


def test_streams_are_passed_on_and_too_large_ones_are_not(tmp_path: Path) -> None:
    async def parted(request: Request) -> Response:
        async def lines() -> Any:
            for n in range(int(request.query_params["n"])):
                yield f"{n:09d}\n"

        return StreamingResponse(lines(), media_type="text/csv")

    async def large(request: Request) -> Response:
        return PlainTextResponse("x" * 20_000)

    with both(tmp_path, Route("/parted", parted), Route("/large", large), relay={"bytes_max": 10_000}) as service:
        status, text, headers = service.ask("GET", "/parted?n=500")
        assert status == 200 and len(text) == 5_000 and headers["content-type"].startswith("text/csv")
        assert service.ask("GET", "/parted?n=2000")[0] == 502
        assert service.ask("GET", "/large")[0] == 502
        assert service.ask("HEAD", "/parted?n=1")[:2] == (200, b"")


def test_while_the_desk_is_away_or_slow_decisions_go_on(tmp_path: Path) -> None:
    with running(parts(relay=Later(tmp_path / "nobody"))) as service:
        status, body, headers = service.ask("GET", "/metrics")
        assert status == 503 and "desk" in body["detail"] and headers["retry-after"] == "2"
        assert service.ask("POST", "/score_transaction", payment("t-1"))[0] == 200
    path = tmp_path / "silent"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with running(parts(relay=Later(path, seconds_max=0.3, requests_max=2))) as service:
            found: list[int] = []
            threads = [threading.Thread(target=lambda: found.append(service.ask("GET", "/")[0])) for _ in range(5)]
            for thread in threads:
                thread.start()
            assert service.ask("POST", "/score_transaction", payment("t-1"))[0] == 200
            for thread in threads:
                thread.join()
            assert found == [503] * 5


@pytest.mark.parametrize(
    "answer",
    [b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000],
)
def test_a_desk_that_talks_rubbish_is_502(tmp_path: Path, answer: bytes) -> None:
    path = tmp_path / "odd"
    with socket.socket(socket.AF_UNIX) as odd:
        odd.bind(str(path))
        odd.listen()

        def serve() -> None:
            client, _ = odd.accept()
            with client:
                client.recv(65_536)
                try:
                    client.sendall(answer)
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        with running(parts(relay=Later(path))) as service:
            status, body, _ = service.ask("GET", "/")
        thread.join()
    assert status == 502 and body["status"] == 502


def full() -> Stats:
    """Stats with something of everything."""
    engine = EngineStats(
        modes=["no_model"], phases_s={"fold": 1.0}, features={"amount": FeatureStats(3, 1, 6.0, 14.0)}, unknown={"country": 2}, slots={"champion": "abc"},
        labels={"true": 1}, entries={"block": 2},
        beside=BesideStats(
            guards=[("rule", "large", "60", 0.01)], canary="ok", canary_payments={"canary": 3}, shadow_correlation=0.9,
            observed=[("approve", "decline", 1, 9.5)],
        ),
    )  # fmt: skip
    return Stats("0.1.0", "b", 1.0, engine, Tally(hits={"large": 1}, requests={"POST /x 422": 1}), HttpStats(bad={"400": 1}))


def test_every_metric_of_the_table_is_told_and_no_other() -> None:
    told = {name for name, _, _ in metrics.samples(full())}
    assert told == {metric.name for metric in METRICS}
    text = metrics.render(full()).decode()
    for metric in METRICS:
        exposed = metrics.exposed_name(metric)
        assert f"# HELP {exposed} {metric.help}\n" in text, exposed
        assert re.search(rf"^{exposed}(?:_bucket)?[{{ ]", text, re.MULTILINE), exposed
        for label in metric.labels:
            assert re.search(rf"^{exposed}\{{[^}}]*{label}=", text, re.MULTILINE)
    assert 'fraudloop_feature_mean{feature="amount"} 2.0' in text


def test_the_page_of_metrics_is_as_the_table_is() -> None:
    assert (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8") == metrics.page(), "run python tools/reference.py"


def test_a_histogram_counts_an_edge_with_what_lies_below_it() -> None:
    histogram = Histogram.of((1.0, 2.0))
    for value in (0.0, 1.0, 1.0001, 2.0, 3.0):
        histogram.add(value)
    assert histogram.counts == [2, 2, 1]
