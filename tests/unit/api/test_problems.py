"""Every error has its row; every problem its shape."""

from __future__ import annotations

import importlib
import pkgutil

import msgspec
import pytest

import fraudloop
from fraudloop.api import problems
from fraudloop.api.http import REASONS
from fraudloop.door.row import Refusal
from fraudloop.errors import ConflictError, FraudloopError, LimitedError, RefusedError, UnauthorizedError, UnavailableError


def every_error() -> list[type[FraudloopError]]:
    for module in pkgutil.walk_packages(fraudloop.__path__, "fraudloop."):
        if module.name.split(".")[1] in ("api", "engine", "ledger", "door", "errors", "client", "scoring", "decisions"):
            importlib.import_module(module.name)
    out, left = [], [FraudloopError]
    while left:
        kind = left.pop()
        if not kind.__module__.startswith("fraudloop.simulation"):  # no route reaches it; another test may have loaded it
            out.append(kind)
        left += kind.__subclasses__()
    return out


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_row_of_its_own(kind: type[FraudloopError]) -> None:
    assert kind in problems.KINDS, "add it to fraudloop.api.problems.KINDS"
    row = problems.KINDS[kind]
    assert row.status in REASONS and row.title and row.slug
    problem = problems.problem_of(kind(), "r-1")
    told = msgspec.json.decode(problems.encode(problem))
    assert told["type"] == f"/docs#{row.slug}" and told["status"] == row.status and told["request_id"] == "r-1" and told["detail"]
    if row.status == 422:
        assert told["errors"][0]["field"] == "body"


def test_a_defect_tells_nothing_of_itself() -> None:
    assert "c-7" not in problems.problem_of(FraudloopError("customer c-7")).detail


def test_fields_come_from_the_door_from_the_api_or_from_the_error_itself() -> None:
    refusals = [Refusal("amount", "amount.format", "is no number")]
    for error in (RefusedError("x", errors=refusals), problems.refused(refusals)):
        [field] = problems.problem_of(error).errors
        assert (field.field, field.rule, field.reason) == ("amount", "amount.format", "is no number")
    assert problems.problem_of(ConflictError(transaction_id="t")).errors[0].field == "transaction_id"
    assert problems.problem_of(UnauthorizedError(field="authorization")).errors[0].field == "authorization"


@pytest.mark.parametrize(
    ("error", "header"),
    [
        (UnavailableError(retry_after_s=3), b"retry-after: 3\r\n"),
        (UnavailableError(), b"retry-after: 1\r\n"),
        (LimitedError(retry_after_s=0.01), b"retry-after: 1\r\n"),
        (LimitedError(retry_after_s=2.2), b"retry-after: 3\r\n"),
        (UnauthorizedError(), b'www-authenticate: Bearer realm="fraudloop"\r\n'),
        (ConflictError(), b""),
    ],
)
def test_headers_say_when_to_come_again_and_how_to_show_a_key(error: FraudloopError, header: bytes) -> None:
    assert problems.headers_of(error) == header


def test_a_field_without_a_name_is_named_all_the_same() -> None:
    [field] = problems.of_refusals([Refusal("", "card_number", "holds a card number")])
    assert field.field == '""'
