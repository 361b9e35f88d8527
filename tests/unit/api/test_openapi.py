"""The description is of the routes there are, its examples run, and its page shows all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest

from fraudloop.api import openapi, pages
from fraudloop.api.keys import SCOPES
from fraudloop.api.routes import ROUTES, SCORER, Route
from tests.service import parts, payment, running

DOCUMENT = openapi.description("0.1.0")


def test_it_is_valid_json_and_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    names = DOCUMENT["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in names
    ids = [operation["operationId"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids)) == len(ROUTES)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_says_what_goes_in_comes_out_and_goes_wrong(route: Route) -> None:
    operation = DOCUMENT["paths"][route.path][route.method.lower()]
    assert operation["summary"] and operation["description"]
    assert ("requestBody" in operation) == (route.body is not None)
    if route.body is not None:
        assert operation["requestBody"]["content"]["application/json"]["example"]
    statuses = set(operation["responses"])
    assert "200" in statuses and "500" in statuses and ({"401", "403"} <= statuses) == (route.scope is not None)
    assert route.scope is None or route.scope in SCOPES
    assert [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"] == route.parameters


def test_examples_run_and_answers_are_as_described() -> None:
    with running(parts()) as service:
        service.ask("POST", "/score_transaction", payment("t-1001"))
        service.ask("PUT", "/lists/names", {"entries": [], "who": "a", "why": "b"})
        for route in ROUTES:
            if route.where != SCORER:
                continue
            path = route.path.replace("{id}", "t-1001").replace("{slot}", "canary")
            path = path.replace("{name}", "block" if path.endswith("entries") else "names")
            body = payment("t-1002") if route.handler == "score" else route.example
            status, answer, _ = service.ask(route.method, path, body)
            assert status == 200, (route.path, answer)
            schema = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]["200"]["content"][route.media]["schema"]
            jsonschema.validate(answer, {**schema, "components": DOCUMENT["components"]})


def test_the_page_shows_every_route_and_escapes_what_it_shows() -> None:
    page = pages.docs(DOCUMENT)
    for route in ROUTES:
        assert f">{route.path.replace('&', '&amp;')}</code>" in page
    assert "<script" not in page and "http-equiv" not in page
    assert "&lt;b&gt;" in pages.home("<b>", None, {"<b>": "x"}, {})


def test_the_reference_page_is_as_the_routes_are() -> None:
    root = Path(__file__).resolve().parents[3]
    from tools import reference

    assert (root / "docs" / "reference" / "http.md").read_text("utf-8") == reference.pages()["http.md"], "run python tools/reference.py"
