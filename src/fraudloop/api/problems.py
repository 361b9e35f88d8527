"""Errors over the wire: one table from class to status, and one JSON body on every route (RFC 9457). It knows no route."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, Final

import msgspec

from fraudloop import errors as e
from fraudloop.api.http import REASONS
from fraudloop.domain.money import AmountError
from fraudloop.door.row import Refusal
from fraudloop.engine.intake import NoPayment

PROBLEM: Final = b"application/problem+json"

#: Where the page that explains a type of error stands, relative to the service.
TYPES: Final = "/docs#"


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field at fault: its name as the body has it, the rule that it breaks, and the reason in words. index: of the row or event in a batch."""

    field: str
    rule: str
    reason: str
    index: int | None = None


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as RFC 9457 has it. type: a page that explains it. errors: the fields at fault, where any is. request_id: as in the header."""

    type: str
    title: str
    status: int
    detail: str
    errors: Sequence[FieldError] = ()
    request_id: str | None = None


class Kind(msgspec.Struct, frozen=True):
    """What an error is over the wire."""

    status: int
    slug: str
    title: str


#: Error -> what it is over the wire. A class that is not here is what its nearest parent is.
KINDS: Final[dict[type[e.FraudloopError], Kind]] = {
    e.FraudloopError: Kind(500, "internal", "Internal error"),
    e.DefectError: Kind(500, "defect", "A defect"),
    e.InputError: Kind(422, "refused", "Refused"),
    NoPayment: Kind(422, "refused", "Refused"),
    e.RefusedError: Kind(422, "refused", "Refused"),
    e.DefinitionError: Kind(422, "definition", "A definition is not understood"),
    e.ColumnMapError: Kind(422, "refused", "Refused"),
    AmountError: Kind(422, "refused", "Refused"),
    e.DataError: Kind(422, "refused", "Refused"),
    e.RuleError: Kind(422, "rule", "A rule is not understood"),
    e.BundleError: Kind(422, "bundle", "The bundle cannot be used"),
    e.NotFoundError: Kind(404, "not-found", "Not found"),
    e.StoreError: Kind(404, "not-found", "Not found"),
    e.ConflictError: Kind(409, "conflict", "Conflict"),
    e.StoreConflict: Kind(409, "moved", "Somebody else was first"),
    e.PublishConflict: Kind(409, "moved", "Somebody else was first"),
    e.CheckFailed: Kind(409, "check-failed", "A check did not pass"),
    e.UnauthorizedError: Kind(401, "key", "No API key that is known"),
    e.ForbiddenError: Kind(403, "scope", "The API key lacks a scope"),
    e.LimitedError: Kind(429, "rate", "Too many requests"),
    e.UnavailableError: Kind(503, "unavailable", "Unavailable"),
    e.LedgerError: Kind(503, "log", "The log cannot be used"),
    e.FencedError: Kind(503, "fenced", "Another writer has taken over"),
    e.RefoldNeeded: Kind(503, "warming", "Not warm yet"),
    e.SnapshotError: Kind(503, "log", "The state cannot be restored"),
    e.TrackingError: Kind(502, "gateway", "Another part did not answer"),
    e.GatewayError: Kind(502, "gateway", "Another part did not answer"),
    e.TransportError: Kind(502, "gateway", "Another part did not answer"),
}

#: Requests that are none, by status: their titles are those of HTTP.
WIRE: Final = (400, 404, 405, 408, 413, 415, 417, 431, 501, 503, 505)

_encode = msgspec.json.Encoder().encode


def kind_of(error: type[e.FraudloopError]) -> Kind:
    """The row of the nearest class.

    >>> kind_of(e.ConflictError).status
    409
    """
    return next(KINDS[parent] for parent in error.__mro__ if parent in KINDS)


def of_refusals(refusals: Iterable[Refusal], index: int | None = None) -> tuple[FieldError, ...]:
    """The door's refusals as fields at fault. A field without a name is told as `""`."""
    return tuple(FieldError(r.field or '""', r.rule, r.reason, index) for r in refusals)


def refused(refusals: Iterable[Refusal], index: int | None = None) -> e.RefusedError:
    """The error of a body that the door did not take."""
    found = of_refusals(refusals, index)
    return e.RefusedError("; ".join(f"{r.field}: {r.reason}" for r in found), errors=found)


def at_fault(field: str, rule: str, reason: str, index: int | None = None) -> e.RefusedError:
    """The error of one field."""
    return e.RefusedError(f"{field}: {reason}", errors=(FieldError(field, rule, reason, index),))


def problem_of(error: e.FraudloopError, request_id: str | None = None) -> Problem:
    """What is told of an error. Fields are named by `errors`, or by `field`, in the error's own fields."""
    kind = kind_of(type(error))
    found = error.fields.get("errors")
    fields: tuple[FieldError, ...] = (
        tuple(_field(one) for one in found) if isinstance(found, Sequence) and not isinstance(found, str) else ()
    )
    if not fields:
        name = error.fields.get("field")
        if name is None and "transaction_id" in error.fields:
            name = "transaction_id"
        if name is None and kind.status == 422:
            name = "body"
        if name is not None:
            fields = (FieldError(str(name), f"{name}.{kind.slug}", str(error)),)
    detail = "the service met a defect; the request id finds it in the log" if kind.status == 500 else str(error)
    return Problem(TYPES + kind.slug, kind.title, kind.status, detail, fields, request_id)


def _field(one: Any) -> FieldError:
    """A field at fault, of the door's refusal as well."""
    return one if isinstance(one, FieldError) else FieldError(one.field, one.rule, one.reason)


def problem_of_wire(status: int, detail: str, field: str, request_id: str | None = None) -> Problem:
    """What is told of a request that is none."""
    reason = REASONS[status]
    return Problem(
        f"{TYPES}{reason.lower().replace(' ', '-')}", reason, status, detail, (FieldError(field, f"{field}.http", detail),), request_id
    )


def encode(problem: Problem) -> bytes:
    """The body of an error."""
    return _encode(problem)


def headers_of(error: e.FraudloopError) -> bytes:
    """The headers that go with an error: when to come again, and how to show who one is."""
    status = kind_of(type(error)).status
    if status in (429, 503):
        wait = error.fields.get("retry_after_s", 1)
        return b"retry-after: %d\r\n" % (max(1, ceil(wait)) if isinstance(wait, int | float) else 1)
    if status == 401:
        return b'www-authenticate: Bearer realm="fraudloop"\r\n'
    return b""
