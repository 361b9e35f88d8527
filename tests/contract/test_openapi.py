"""The service against its own description, by schemathesis; and rubbish on its sockets: no 5xx, every error names its field."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.generation.case import Case
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fraudloop.api.openapi import description
from fraudloop.api.routes import ROUTES, SCORER
from tests.conftest import PROVE
from tests.service import Running, payment, running


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running() as found:
        found.ask("POST", "/score_transaction", payment("t-1001"))
        yield found


def own() -> dict[str, object]:
    """The description of what the scorer serves itself."""
    document = description("0.1.0")
    paths = {route.path for route in ROUTES if route.where == SCORER}
    return {**document, "paths": {path: methods for path, methods in document["paths"].items() if path in paths}}


schema = schemathesis.openapi.from_dict(own())
schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


@schema.parametrize()
@settings(
    max_examples=400 if PROVE else 25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
def test_what_comes_back_is_as_described(case: Case[Any], service: Running) -> None:
    answer = case.call(base_url=service.url, timeout=20)
    if answer.status_code == 503:
        return  # a batch that could not be logged: described, and no defect
    case.validate_response(
        answer, checks=[not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    )


WORDS = ["transaction_id", "timestamp", "amount", "currency", "customer_id", "location", "device", "kind", "is_fraud", "rows", "rules", "who", "why",
         "entries", "expected", "utc_offset", "id", "user_id", "location.latitude", "", "\u0000", "\ud83d\ude00"]  # fmt: skip


def value(draw: random.Random, depth: int = 0) -> object:
    kind = draw.randrange(13 if depth < 4 else 10)
    simple: list[object] = [
        None,
        True,
        draw.randrange(-5, 5),
        10 ** draw.randrange(40),
        draw.random() * 10 ** draw.randrange(-10, 300),
        "",
        "x" * draw.randrange(2_000),
    ]
    if kind < 7:
        return simple[kind]
    if kind == 7:
        return draw.choice(
            ["2026-11-28T12:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+14:00", "2026-02-30", "now", "4111111111111111"]
        )
    if kind == 8:
        return draw.choice(["49.90", "1e400", "-0", "NaN", "1,5", "٣", "\ud83d\ude00", "\u0000", "a\nb", " t-1 "])
    if kind == 9:
        return draw.choice(["EUR", "XXX", "DE", "transaction", "label", "profile", "chargeback"])
    if kind == 10:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(WORDS): value(draw, depth + 1) for _ in range(draw.randrange(6))}


def body(draw: random.Random) -> bytes:
    """Something that a broken or hostile sender sends."""
    kind = draw.randrange(10)
    if kind == 0:
        return draw.randbytes(draw.randrange(200))
    whole = payment(f"t-{draw.randrange(10**9)}")
    if kind < 6:
        for _ in range(draw.randrange(1, 4)):
            whole[draw.choice(WORDS)] = value(draw)
        data = json.dumps(whole).encode()
    else:
        data = json.dumps(value(draw)).encode()
    if kind in (1, 2, 6):
        at = draw.randrange(len(data) + 1)
        data = draw.choice([data[:at], data[:at] + draw.randbytes(3) + data[at:], data + data, data.replace(b'"', b"'")])
    if kind == 7:
        data = b"[" * draw.randrange(3_000) + data
    return data


PATHS = [
    (r.method, r.path.replace("{id}", "t").replace("{name}", "block").replace("{slot}", "canary"))
    for r in ROUTES
    if r.where == SCORER and r.body is not None
]


def rubbish(service: Running, seed: int, count: int) -> dict[int, int]:
    """How many answers of each status; fails on the first that is no answer or not as it should be."""
    draw = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    statuses: dict[int, int] = {}
    for _ in range(count):
        method, path = draw.choice(PATHS)
        data = body(draw)
        connection.request(method, path, data, {"content-type": "application/json"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        statuses[answer.status] = statuses.get(answer.status, 0) + 1
        assert answer.status < 500, (seed, method, path, data[:500], told)
        if answer.status != 200:
            assert told["status"] == answer.status and told["errors"] and all(e["field"] and e["reason"] for e in told["errors"]), (
                data[:500],
                told,
            )
    connection.close()
    return statuses


def test_two_thousand_malformed_bodies_are_refused_by_field(service: Running) -> None:
    statuses = rubbish(service, 20_261_128, 2_000)
    assert {200, 400, 422} <= statuses.keys() and statuses[422] > 500


@pytest.mark.prove
def test_a_hundred_thousand_malformed_bodies_are_refused_by_field(service: Running) -> None:
    for seed in range(50):
        rubbish(service, seed, 2_000)
    assert service.ask("GET", "/health")[0] == 200
