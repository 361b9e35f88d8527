"""Every route of the service, once: method, path, who may call it, what goes in and comes out, what can go wrong, and an example that runs.

The scorer and the desk take their routing from this table, and `openapi` its documentation: a route cannot exist without it. It knows no
handler.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fraudloop.api import wire
from fraudloop.limits import HTTP_BATCH_BYTES_MAX, HTTP_BODY_BYTES_MAX, HTTP_CONTROL_BYTES_MAX

SCORER: Final = "scorer"
DESK: Final = "desk"


@dataclass(frozen=True, slots=True)
class Route:
    """handler: the name of the method that serves it. scope: of the key, None for everybody. body, answer: types of `wire`, or a JSON schema
    where the body is open. errors: statuses beyond those of every route. query: name -> what it is."""

    method: str
    path: str
    handler: str
    scope: str | None
    summary: str
    text: str
    answer: Any
    body: Any = None
    errors: tuple[int, ...] = ()
    example: Any = None
    where: str = SCORER
    body_bytes_max: int = HTTP_BODY_BYTES_MAX
    media: str = "application/json"
    tag: str = "decisions"
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def pattern(self) -> re.Pattern[str]:
        """Of the path, with a group for each parameter."""
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))

    @property
    def parameters(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"\{(\w+)\}", self.path)


#: A payment as callers write it; its names, other names and nesting are in docs/reference/columns.md.
TRANSACTION: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Transaction",
    "description": "A payment. Other names of a field and further columns are as the column map says; nothing else is kept.",
    "required": ["transaction_id", "timestamp", "amount"],
    "properties": {
        "transaction_id": {
            "type": "string",
            "maxLength": 1024,
            "description": "unique; the same id with the same body gets the stored answer",
        },
        "timestamp": {"type": "string", "format": "date-time", "description": "when it happened, with an offset"},
        "amount": {"type": ["number", "string"], "description": "in major units, exact"},
        "currency": {"type": ["string", "null"], "description": "ISO 4217; the base currency where it is missing"},
        "customer_id": {"type": ["string", "null"]},
        "merchant_id": {"type": ["string", "null"]},
        "merchant_category": {"type": ["string", "null"]},
        "country": {"type": ["string", "null"], "description": "of the merchant: ISO alpha-2, alpha-3 or English name"},
        "is_online": {"type": ["boolean", "null"]},
        "card_present": {"type": ["boolean", "null"]},
        "card_id": {"type": ["string", "null"], "description": "a token; card numbers are replaced at the door"},
        "status": {"type": ["string", "null"], "enum": ["authorised", "declined_by_issuer", "captured", "refunded", "reversed", None]},
        "flow": {"type": ["string", "null"]},
        "location": {
            "type": ["object", "null"],
            "properties": {"latitude": {"type": "number"}, "longitude": {"type": "number"}},
        },
        "device": {
            "type": ["object", "null"],
            "properties": {"id": {"type": "string"}, "type": {"type": "string"}, "ip": {"type": "string"}},
        },
    },
}

LABEL: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Label",
    "description": "What a source says of a payment, since when it knows.",
    "required": ["transaction_id", "is_fraud"],
    "properties": {
        "transaction_id": {"type": "string", "maxLength": 1024},
        "is_fraud": {"type": "boolean"},
        "source": {"type": ["string", "null"], "description": "chargeback, customer_report, review, file or rule, the strongest first"},
        "known_at": {"type": ["string", "null"], "format": "date-time", "description": "now where it is missing"},
        "reason": {"type": ["string", "null"]},
    },
}

PROFILE: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Profile",
    "description": "What is known of an entity from a time on.",
    "required": ["entity", "id", "time"],
    "properties": {
        "entity": {"type": "string", "description": "customer, merchant, device or what the feature set names"},
        "id": {"type": "string", "maxLength": 1024},
        "time": {"type": "string", "format": "date-time", "description": "from when on this is known"},
        "home_country": {"type": ["string", "null"]},
        "home_location": {"type": ["object", "null"], "properties": {"latitude": {"type": "number"}, "longitude": {"type": "number"}}},
        "opened_at": {"type": ["string", "null"], "format": "date-time"},
        "utc_offset": {"type": ["integer", "null"], "description": "minutes"},
        "segment": {"type": ["string", "null"]},
    },
}


def _event(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    return {
        **schema,
        "title": f"{schema['title']} event",
        "properties": {"kind": {"type": "string", "enum": [kind]}, **schema["properties"]},
    }


_LABEL_EVENT, _PROFILE_EVENT = _event(LABEL, "label"), _event(PROFILE, "profile")
EVENT: Final[dict[str, Any]] = {
    "anyOf": [
        _event(TRANSACTION, "transaction"),
        {**_LABEL_EVENT, "required": ["kind", *_LABEL_EVENT["required"]]},
        {**_PROFILE_EVENT, "required": ["kind", *_PROFILE_EVENT["required"]]},
    ]
}
EVENTS: Final[dict[str, Any]] = {"anyOf": [EVENT, {"type": "array", "items": EVENT, "minItems": 1, "maxItems": 1000}]}

FEATURES: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Features",
    "description": (
        "Inputs of the model by name. Besides the model's own names: transactions_last_{w}, total_amount_last_{w}, average_amount_last_{w} "
        "(w like 1h, 24h, 7d), distance_from_home, distance_from_last, seconds_since_last. What the model does not read is ignored; "
        "what it reads and is not brought is missing."
    ),
    "additionalProperties": {"type": ["number", "string", "boolean", "null"]},
}
ROWS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["rows"],
    "properties": {"rows": {"type": "array", "items": FEATURES, "minItems": 1, "maxItems": 1000}},
    "additionalProperties": False,
}

RULES: Final[dict[str, Any]] = {
    "type": "object",
    "description": "`hash`, who put it in force and since when, and the set itself",
    "additionalProperties": True,
}

_TX: Final = {
    "transaction_id": "t-1001", "timestamp": "2026-11-28T12:00:00Z", "amount": "49.90", "currency": "EUR", "customer_id": "c-7", "merchant_id": "m-3",
    "merchant_category": "electronics", "country": "DE", "is_online": True, "device": {"id": "d-5", "type": "phone"},
}  # fmt: skip
_WHO: Final = {"who": "ana@example.com", "why": "chargebacks of last week"}

ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "POST", "/score_transaction", "score", "score", "Decide a payment",
        "The decision is on disk before it is answered. The same id and body gets the stored answer; the same id with another body is 409. "
        "503 never means that nothing was decided: send the same request again.",
        wire.Answer, TRANSACTION, (409, 422), _TX,
    ),
    Route(
        "POST", "/events", "events", "events", "Absorb events without deciding",
        "One event or a list of up to 1,000: payments (the default `kind`), labels and profiles, in order. Of a list, what is refused is named "
        "in the answer by its index, and the rest is absorbed. Labels need the scope `feedback`.",
        {"anyOf": [wire.Absorbed, wire.AbsorbedMany]}, EVENTS, (404, 409, 422), [{**_TX, "transaction_id": "t-1000"}], body_bytes_max=HTTP_BATCH_BYTES_MAX,
    ),
    Route(
        "POST", "/feedback", "feedback", "feedback", "Tell whether a payment was fraud",
        "A label acts from its position in the log on. A stronger source outweighs a weaker one; a source takes its word back by saying the opposite.",
        wire.Feedback, LABEL, (404, 409, 422), {"transaction_id": "t-1001", "is_fraud": True, "source": "chargeback", "known_at": "2026-11-28T12:30:00Z"},
    ),
    Route(
        "GET", "/decisions/{id}", "decision", "read", "A decision as the log has it",
        "With the features that it saw, all its reasons and the last label.", wire.Decided, None, (404,),
    ),
    Route(
        "GET", "/decisions", "decisions", "read", "Payments by outcome, customer, merchant and time",
        "Newest first, a page at a time: `before_lsn` of an answer leads to the next page. From the index, which follows the log by a second or two.",
        wire.Page, None, (422, 502, 503), where=DESK,
        query={
            "outcome": "approve, challenge, review or decline; several with commas",
            "customer": "a customer's id",
            "merchant": "a merchant's id",
            "from": "arrived at or after this time or day (RFC 3339)",
            "until": "arrived before this time or day",
            "before_lsn": "below this position of the log",
            "limit": "rows of a page, 1 to 1000; 50 unless told",
        },
    ),
    Route(
        "POST", "/customers/erase", "erase", "admin", "Make a customer's personal fields unreadable",
        "The log says so first, then the customer's key is destroyed: ids, cards, devices, addresses and home of all payments and profiles until then become null, in log and "
        "export. Decisions, amounts and features stay, and a retry of a payment still gets its stored answer. Doing it again erases what came since.",
        wire.Commanded, wire.Erase, (409, 422), {"customer_id": "c-77", **_WHO}, body_bytes_max=HTTP_CONTROL_BYTES_MAX, tag="control",
    ),
    Route(
        "POST", "/predict", "predict", "score", "Score features that the caller brings",
        "Stateless: nothing is remembered. confidence is the chance that is_fraud is right, by the calibrated probability.",
        wire.Prediction, FEATURES, (422,), {"amount": 49.9, "transactions_last_1h": 3, "transactions_last_24h": 5, "total_amount_last_24h": 310.5, "distance_from_home": 12.0},
        tag="predictions",
    ),
    Route(
        "POST", "/predict/batch", "predict_batch", "score", "Score up to 1,000 rows",
        "As /predict, in order.", wire.Predictions, ROWS, (422,), {"rows": [{"amount": 49.9, "transactions_last_1h": 3}, {"amount": 1250.0}]},
        body_bytes_max=HTTP_BATCH_BYTES_MAX, tag="predictions",
    ),
    Route("GET", "/rules", "rules", "read", "The rules in force", "The whole set, its hash and who published it.", RULES, tag="control"),
    Route(
        "PUT", "/rules", "put_rules", "control", "Publish rules", "Takes effect at one position of the log, between two payments.",
        wire.Commanded, wire.PutRules, (409, 422),
        {"rules": {"name": "mine", "rules": [{"id": "large_abroad", "when": "amount > 500 and is_foreign", "outcome": "review", "reason": "Large and abroad", "state": "live"}]}, **_WHO},
        body_bytes_max=HTTP_CONTROL_BYTES_MAX, tag="control",
    ),
    Route("GET", "/policy", "policy", "read", "The policy in force", "Tiers, fallbacks and what is done where something is missing.", RULES, tag="control"),
    Route(
        "PUT", "/policy", "put_policy", "control", "Publish a policy", "Takes effect at one position of the log.", wire.Commanded, wire.PutPolicy, (409, 422),
        {"policy": {"review": 0.3, "decline": 0.9}, **_WHO}, body_bytes_max=HTTP_CONTROL_BYTES_MAX, tag="control",
    ),
    Route("GET", "/lists", "lists", "read", "Every list", "Named lists with their versions; how many entries block, allow and watch hold.", RULES, tag="control"),
    Route("GET", "/lists/{name}", "a_list", "read", "One list", "Its words, or its entries.", RULES, None, (404,), tag="control"),
    Route(
        "PUT", "/lists/{name}", "put_list", "control", "Publish a named list", "All its words at once.", wire.Commanded, wire.PutList, (409, 422),
        {"entries": ["KP", "IR"], **_WHO}, body_bytes_max=HTTP_CONTROL_BYTES_MAX, tag="control",
    ),
    Route(
        "POST", "/lists/{name}/entries", "put_entry", "control", "Block, allow or watch somebody", "An entry of the list `block`, `allow` or `watch`, until it expires.",
        wire.Commanded, wire.PutEntry, (404, 409, 422), {"entity": "device", "id": "d-5", "expires_at": "2027-01-01T00:00:00Z", **_WHO}, tag="control",
    ),
    Route(
        "DELETE", "/lists/{name}/entries", "remove_entry", "control", "Take an entry away", "The body names it.", wire.Commanded, wire.PutEntry, (404, 409, 422),
        {"entity": "device", "id": "d-5", **_WHO}, tag="control",
    ),
    Route(
        "GET", "/models", "models", "read", "The models in force",
        "Champion, challenger and canary, with their hashes and since when; how the canary and the challenger stand; guards; alarms.", RULES, tag="control",
    ),
    Route(
        "GET", "/observe", "observe", "read", "Our decisions beside those of the other system",
        "Observe mode: payments, money and known fraud by both decisions, and the payments that the two judge most differently.", RULES, tag="control",
    ),
    Route(
        "PUT", "/models/{slot}", "put_model", "control", "Put a bundle into a slot", "`challenger` or `canary`, with the share of customers that a canary decides (above 0, at most 0.5); the bundle is in the store already. A champion is promoted by `fraudloop models promote`, with a gate report that it passed.",
        wire.Commanded, wire.PutModel, (404, 409, 422), {"model": "payments@candidate", **_WHO}, tag="control",
    ),
    Route(
        "GET", "/health", "health", None, "How the service is", "Always 200 while the loop turns; see `ready` and `degraded`.", wire.Health, tag="service",
    ),
    Route("GET", "/health/live", "live", None, "Is it alive?", "For a supervisor that restarts what is not.", wire.Health, tag="service"),
    Route("GET", "/health/ready", "ready", None, "Does it take payments?", "For a balancer: 503 while it does not.", wire.Health, None, (503,), tag="service"),
    Route("GET", "/metrics", "metrics", "read", "Prometheus metrics", "See docs/reference/metrics.md.", None, None, (502, 503), where=DESK, media="text/plain", tag="service"),
    Route("GET", "/openapi.json", "openapi", None, "This description", "OpenAPI 3.1.", RULES, None, (502, 503), where=DESK, tag="service"),
    Route("GET", "/docs", "docs", None, "This page", "Rendered by the service, with nothing loaded from elsewhere.", None, None, (502, 503), where=DESK, media="text/html", tag="service"),
    Route("GET", "/", "home", None, "Where to begin", "Health, versions, links.", None, None, (502, 503), where=DESK, media="text/html", tag="service"),
)  # fmt: skip


def errors_of(route: Route) -> Sequence[int]:
    """Every status that a route can answer beyond 200."""
    found = {400, 408, 413, 429, 431, 500, 503, *route.errors}
    if route.scope is not None:
        found |= {401, 403}
    if route.body is not None:
        found |= {415}
    return sorted(found)
