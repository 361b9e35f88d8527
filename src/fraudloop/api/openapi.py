"""The OpenAPI 3.1 description of the service, made from the table of routes and the types of `wire`. It knows no handler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from fraudloop.api import wire
from fraudloop.api.http import REASONS
from fraudloop.api.keys import SCOPES
from fraudloop.api.problems import Problem
from fraudloop.api.routes import ROUTES, Route, errors_of

_TYPES: Final = (
    wire.Answer, wire.Absorbed, wire.AbsorbedMany, wire.Feedback, wire.Decided, wire.Prediction, wire.Predictions, wire.Health, wire.Commanded,
    wire.PutRules, wire.PutPolicy, wire.PutList, wire.PutEntry, wire.PutModel, wire.Erase, wire.Page, Problem,
)  # fmt: skip

TAGS: Final = {
    "decisions": "Payments in, decisions out; what is told about them later.",
    "predictions": "Stateless scores of features that the caller brings.",
    "control": "What decides: rules, policy, lists, models. Every change is a record of the log.",
    "service": "How the service is, and this description.",
}

_MEANS: Final = {
    400: "Not a request, or the body is not JSON",
    401: "No API key that is known",
    403: "The API key lacks the scope, or without keys the caller is not of this machine",
    404: "There is nothing of this name",
    408: "The request did not come in whole in time",
    409: "The same id with another body, or another version is in force",
    413: "The body is too large",
    415: "The body is not sent as application/json",
    422: "A field is at fault; `errors` names it",
    429: "Too many requests of this caller; see Retry-After",
    431: "The head is too large",
    500: "A defect; the request id finds it in the log",
    502: "The desk did not answer as it should",
    503: "Not now; send the same request again, see Retry-After",
}


def description(version: str) -> dict[str, Any]:
    """The whole document.

    >>> description("0.1.0")["openapi"]
    '3.1.0'
    """
    schemas, components = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    del schemas
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fraudloop",
            "version": version,
            "summary": "Real-time payment-fraud decisions",
            "description": (
                "A payment comes in; a decision goes out with its reasons, and it is on disk before the answer leaves. Every error is a problem of "
                "RFC 9457 and names the field at fault. `X-Request-Id` is taken from the request if it is 1 to 64 plain characters, else made, and "
                "stands in the answer and in the log."
            ),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of `fraudloop keys create`. " + _scopes()},
                "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same key in a header of its own."},
            },
        },
    }


def _scopes() -> str:
    return "Scopes: " + "; ".join(f"{name}: {text}" for name, text in SCOPES.items()) + "."


def _operation(route: Route) -> dict[str, Any]:
    out: dict[str, Any] = {
        "operationId": route.handler,
        "summary": route.summary,
        "description": route.text,
        "tags": [route.tag],
        "responses": dict(_responses(route)),
    }
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}} for name in route.parameters]
    parameters += [{"name": name, "in": "query", "description": text, "schema": {"type": "string"}} for name, text in route.query.items()]
    if parameters:
        out["parameters"] = parameters
    if route.body is not None:
        content: dict[str, Any] = {"schema": _schema(route.body)}
        if route.example is not None:
            content["example"] = route.example
        out["requestBody"] = {"required": True, "content": {"application/json": content}}
    if route.scope is not None:
        out["security"] = [{"key": []}, {"header": []}, {}]
        out["description"] += f" Scope: `{route.scope}`."
    return out


def _responses(route: Route) -> Iterator[tuple[str, Any]]:
    schema = {"type": "string"} if route.answer is None else _schema(route.answer)
    yield "200", {"description": "Done", "headers": _HEADERS, "content": {route.media: {"schema": schema}}}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in errors_of(route):
        headers = (
            {**_HEADERS, "Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}} if status in (429, 503) else _HEADERS
        )
        yield str(status), {"description": _MEANS.get(status, REASONS[status]), "headers": headers, "content": problem}


_HEADERS: Final[dict[str, Any]] = {"X-Request-Id": {"schema": {"type": "string"}, "description": "as it was given, or made"}}


def _schema(kind: Any) -> dict[str, Any]:
    """A type of `wire` as a reference; a schema with types in it as it is."""
    if isinstance(kind, dict):
        return {
            name: [_schema(part) if isinstance(part, type | dict) else part for part in value] if name == "anyOf" else value
            for name, value in kind.items()
        }
    return {"$ref": f"#/components/schemas/{kind.__name__}"}
