"""The routes over real sockets: what each answers, to whom, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fraudloop.api.commands import ENTRY_LISTS
from fraudloop.api.keys import Keys
from fraudloop.api.lines import Lines
from fraudloop.api.rates import Rate
from fraudloop.api.routes import ROUTES, SCORER
from fraudloop.errors import UnavailableError
from tests.service import MemoryControl, MemoryEngine, MemoryPredictor, parts, payment, running

WHO = {"who": "ana", "why": "a test"}


def wrong(found: tuple[int, Any, dict[str, str]], status: int, *fields: str) -> dict[str, Any]:
    """That an answer is a problem of this status that names these fields."""
    got, body, headers = found
    assert got == status, body
    assert headers["content-type"] == "application/problem+json"
    assert body["status"] == status and body["title"] and body["detail"] and body["type"].startswith("/docs#")
    assert body["request_id"] == headers["x-request-id"]
    assert [e["field"] for e in body.get("errors", [])] == list(fields)
    out: dict[str, Any] = body
    return out


def test_a_payment_is_decided_and_a_retry_gets_the_stored_answer() -> None:
    with running() as service:
        status, answer, headers = service.ask("POST", "/score_transaction", payment("t-1", amount="1500"), X_Request_Id="mine-1")
        assert status == 200 and headers["x-request-id"] == "mine-1"
        assert list(answer) == [
            "transaction_id", "decision", "fraud_score", "risk_score", "tier", "reasons", "explanation", "degraded", "degraded_why",
            "missing_features", "versions", "latency_ms", "slot", "observe",
        ]  # fmt: skip
        assert answer["decision"] == "challenge" and answer["missing_features"] == ["customer_amount_sum_4h"]
        assert list(answer["reasons"][0]) == ["code", "text", "contribution", "source"]
        assert list(answer["versions"]) == ["model", "rules", "policy", "plan", "build"]
        assert service.ask("POST", "/score_transaction", payment("t-1", amount="1500"))[1] == answer
        wrong(service.ask("POST", "/score_transaction", payment("t-1", amount="2")), 409, "transaction_id")


@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        (b"", 400, ["body"]),
        (b"{", 400, ["body"]),
        (b"[" * 60_000, 422, ["body"]),
        (b'{"a":' * 10_000, 400, ["body"]),
        (b'{"a": "\xff"}', 400, ["body"]),
        (b"[]", 422, ["body"]),
        (b"1", 422, ["body"]),
        (b"{}", 422, ["transaction_id", "timestamp", "amount"]),
        (b'{"transaction_id": "t", "timestamp": "soon", "amount": 1}', 422, ["timestamp"]),
    ],
)
def test_what_is_no_payment_is_refused_by_name(body: bytes, status: int, fields: list[str]) -> None:
    with running() as service:
        wrong(service.ask("POST", "/score_transaction", body), status, *fields)


def test_a_body_has_to_be_sent_as_json_so_that_no_page_can_send_one() -> None:
    with running() as service:
        body = json.dumps(payment("t-1")).encode()
        wrong(service.ask("POST", "/score_transaction", body, content_type="text/plain"), 415, "content-type")
        assert service.ask("POST", "/score_transaction", body, content_type="application/json; charset=utf-8")[0] == 200
        wrong(service.ask("GET", "/rules", None, Host="evil.example"), 403, "host")
        wrong(service.ask("GET", "/rules", None, Origin="https://evil.example"), 403, "origin")
        assert service.ask("GET", "/rules", None, Origin="http://localhost:3000")[0] == 200


def test_methods_and_paths_that_are_none() -> None:
    with running() as service:
        found = service.ask("GET", "/score_transaction")
        wrong(found, 405, "method")
        assert found[2]["allow"] == "OPTIONS, POST"
        wrong(service.ask("GET", "/nowhere"), 404, "path")
        status, _, headers = service.ask("OPTIONS", "/rules")
        assert status == 204 and headers["allow"] == "GET, HEAD, OPTIONS, PUT"
        assert service.ask("HEAD", "/health")[:2] == (200, b"")


def test_an_absorbed_payment_is_not_decided_later() -> None:
    with running() as service:
        assert service.ask("POST", "/events", payment("t-1"))[1] == {
            "absorbed": True,
            "lsn": 0,
            "kind": "transaction",
            "transaction_id": "t-1",
        }
        wrong(service.ask("POST", "/score_transaction", payment("t-1")), 409, "transaction_id")


def test_of_a_list_what_is_good_is_absorbed_and_the_rest_is_named_by_its_index() -> None:
    with running() as service:
        events = [
            payment("t-0"), {"kind": "label", "transaction_id": "t-0", "is_fraud": True}, {"kind": "profile", "entity": "customer", "id": "c-7"},
            payment("t-1", amount="much"), {"kind": "song"}, 5, {"kind": "label", "transaction_id": "none", "is_fraud": True}, payment("t-0"),
            {"kind": "transaction", **payment("t-2")},
        ]  # fmt: skip
        status, body, _ = service.ask("POST", "/events", events)
        assert status == 200
        # The label of a payment in the same list is taken once the payment is in the log; here it comes before.
        assert (body["absorbed"], body["refused"]) == (4, 5)
        assert [(e["index"], e["field"]) for e in body["errors"]] == [
            (1, "transaction_id"), (3, "amount"), (4, "kind"), (5, "body"), (6, "transaction_id")
        ]  # fmt: skip


def test_a_list_of_a_thousand_is_absorbed_in_order_and_one_more_is_refused() -> None:
    engine = MemoryEngine()
    with running(parts(engine)) as service:
        assert service.ask("POST", "/events", [payment(f"t-{n}") for n in range(1_000)])[1]["absorbed"] == 1_000
        assert [row["transaction_id"] for _, row in engine.log] == [f"t-{n}" for n in range(1_000)]
        wrong(service.ask("POST", "/events", [payment(f"u-{n}") for n in range(1_001)]), 422, "body")
        wrong(service.ask("POST", "/events", []), 422, "body")


def test_a_list_is_not_sent_away_because_of_its_own_length() -> None:
    engine = MemoryEngine()
    engine.room = 20
    with running(parts(engine)) as service:
        found = service.ask("POST", "/events", [payment(f"t-{n}") for n in range(300)])
        assert found[0] == 200 and found[1]["absorbed"] == 300


def test_a_list_that_could_not_be_logged_is_503_as_a_whole() -> None:
    engine = MemoryEngine()
    engine.refusing = UnavailableError("come again", retry_after_s=3)
    with running(parts(engine)) as service:
        found = service.ask("POST", "/events", [payment("t-0"), payment("t-1")])
        wrong(found, 503)
        assert found[2]["retry-after"] == "3"


def test_who_is_sent_away_is_not_read_and_is_told_as_everybody_is() -> None:
    engine = MemoryEngine()
    with running(parts(engine)) as service:
        engine.refusing = UnavailableError("come again", retry_after_s=3)
        unread = service.ask("POST", "/score_transaction", {"a card": "nobody reads this"}, X_Request_ID="till-7")
        refused = service.ask("POST", "/events", payment("t-1"), X_Request_ID="till-7")
        wrong(unread, 503)
        assert unread[1] == refused[1] and unread[1]["request_id"] == "till-7"
        assert unread[2]["retry-after"] == refused[2]["retry-after"] == "3"
        assert service.scorer.tally.requests == {"/score_transaction 503": 1, "/events 503": 1}
        engine.refusing = None
        wrong(service.ask("POST", "/score_transaction", {"a card": "read again"}), 422, "transaction_id", "timestamp", "amount")


def test_a_label_and_the_decision_it_is_about() -> None:
    with running() as service:
        service.ask("POST", "/score_transaction", payment("t/1 ä", amount="9500"))
        assert service.ask("POST", "/feedback", {"transaction_id": "t/1 ä", "is_fraud": True})[1] == {
            "transaction_id": "t/1 ä", "lsn": 1, "parked": False, "in_force": True,
        }  # fmt: skip
        status, body, _ = service.ask("GET", "/decisions/t%2F1%20%C3%A4")
        assert status == 200
        assert body["decision"]["decision"] == "decline" and body["label"]["in_force"] is True and body["lsn"] == 0
        assert body["features"]["customer_amount_sum_4h"] is None and body["features"]["customer_amount_sum_1h"] == 9500
        assert body["transaction"]["customer_id"] == "c-7"
        wrong(service.ask("GET", "/decisions/t-2"), 404, "id")
        wrong(service.ask("POST", "/feedback", {"transaction_id": "t-2", "is_fraud": "yes"}), 422, "is_fraud")


def test_predictions_from_features_that_the_caller_brings() -> None:
    with running() as service:
        given = {"amount": 1_500, "transactions_last_1h": 3, "total_amount_last_24h": 10.5, "merchant_category": "toys", "of_no_use": 1}
        status, body, _ = service.ask("POST", "/predict", given)
        assert status == 200
        assert body == {
            "is_fraud": True, "fraud_probability": 0.75, "confidence": 0.75, "model_version": "m" * 16,
            "missing_features": ["customer_count_24h", "customer_km_from_home"],
        }  # fmt: skip
        rows = [{"amount": n} for n in range(1_000)]
        status, body, _ = service.ask("POST", "/predict/batch", {"rows": rows})
        assert status == 200 and len(body["predictions"]) == 1_000
        assert [p["fraud_probability"] for p in body["predictions"][200:]] == [n / 2_000 for n in range(200, 1_000)]
        wrong(service.ask("POST", "/predict", {"amount": "many"}), 422, "amount")
        wrong(service.ask("POST", "/predict", {"amount": 10**400}), 422, "amount")
        found = wrong(service.ask("POST", "/predict/batch", {"rows": [*rows[:700], {"amount": [1]}]}), 422, "amount")
        assert found["errors"][0]["index"] == 700
        wrong(service.ask("POST", "/predict/batch", {"rows": [1]}), 422, "rows[0]")
        wrong(service.ask("POST", "/predict/batch", {"row": []}), 422, "row")
        wrong(service.ask("POST", "/predict/batch", {"rows": []}), 422, "rows")


def test_without_a_model_predictions_are_503() -> None:
    with running(parts(predictor=lambda: None)) as service:
        wrong(service.ask("POST", "/predict", {}), 503)


def test_what_is_in_force_is_read_and_changed_by_commands_that_say_who_and_why() -> None:
    control = MemoryControl()
    with running(parts(control=control)) as service:
        assert service.ask("GET", "/rules")[1]["hash"] == "r0"
        assert service.ask("PUT", "/rules", {"rules": {"name": "x"}, **WHO, "expected": "r0"})[1] == {
            "lsn": 1,
            "hash": "abc",
            "diff": ["+ rules"],
        }
        assert service.ask("PUT", "/policy", {"policy": {}, **WHO})[0] == 200
        assert service.ask("PUT", "/lists/bad_words", {"entries": ["a"], **WHO})[0] == 200
        assert service.ask("GET", "/lists/bad_words")[1]["entries"] == ["a"]
        entry = {"entity": "device", "id": "d-5", "expires_at": "2027-01-01T00:00:00Z", **WHO}
        for name in ENTRY_LISTS:
            assert service.ask("POST", f"/lists/{name}/entries", entry)[0] == 200
        assert service.ask("DELETE", "/lists/block/entries", {"entity": "device", "id": "d-5", **WHO})[0] == 200
        assert service.ask("PUT", "/models/canary", {"model": "payments@candidate", "share": 0.1, **WHO})[0] == 200
        assert [order[0] for order in control.orders] == ["rules", "policy", "list", "entry", "entry", "entry", "entry_removed", "model"]
        assert control.orders[3][1] == {"list": "block", "entity": "device", "id": "d-5", "expires_us": 1_798_761_600_000_000}
        wrong(service.ask("PUT", "/rules", {"rules": {}, **WHO, "expected": "older"}), 409, "expected")
        wrong(service.ask("PUT", "/rules", {"rules": {}, "why": "x"}), 422, "who")
        wrong(service.ask("PUT", "/rules", {"rules": {}, "who": " ", "why": "x"}), 422, "who")
        wrong(service.ask("PUT", "/rules", {"rules": {}, **WHO, "whom": "x"}), 422, "whom")
        wrong(service.ask("PUT", "/rules", {"rules": 1, **WHO}), 422, "rules")
        wrong(service.ask("PUT", "/models/throne", {"model": None, **WHO}), 404, "slot")
        wrong(service.ask("PUT", "/models/canary", {"model": "a", "share": 2, **WHO}), 422, "share")
        wrong(service.ask("POST", "/lists/names/entries", entry), 404, "name")
        wrong(service.ask("PUT", "/lists/block", {"entries": [], **WHO}), 404, "name")
        wrong(service.ask("POST", "/lists/block/entries", {**entry, "expires_at": "soon"}), 422, "expires_at")
        wrong(service.ask("GET", "/lists/none"), 404, "name")


def test_health_is_for_people_supervisors_and_balancers() -> None:
    engine = MemoryEngine()
    with running(parts(engine)) as service:
        assert service.ask("GET", "/health")[1]["ready"] is True
        assert service.ask("GET", "/health/ready")[0] == 200
        engine.refusing = UnavailableError()
        assert service.ask("GET", "/health")[0] == service.ask("GET", "/health/live")[0] == 200
        wrong(service.ask("GET", "/health/ready"), 503)


def test_a_key_opens_its_scopes_and_is_refused_within_a_beat_once_revoked(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    score, kept = keys.create("till", ["score"])
    admin, _ = keys.create("boss", ["admin"])
    control = MemoryControl()
    with running(parts(keys=keys, control=control)) as service:
        wrong(service.ask("POST", "/score_transaction", payment("t-1")), 401, "authorization")
        wrong(service.ask("POST", "/score_transaction", payment("t-1"), Authorization="Bearer fl_no"), 401, "authorization")
        wrong(service.ask("POST", "/score_transaction", payment("t-1"), X_Api_Key=score[:-1] + "!"), 401, "x-api-key")
        wrong(service.ask("POST", "/score_transaction", payment("t-1"), Authorization="Basic abc"), 401, "authorization")
        assert service.ask("POST", "/score_transaction", payment("t-1"), Authorization=f"Bearer {score}")[0] == 200
        assert service.ask("POST", "/score_transaction", payment("t-1"), X_Api_Key=score)[0] == 200
        wrong(service.ask("GET", "/rules", None, X_Api_Key=score), 403, "authorization")
        assert service.ask("PUT", "/rules", {"rules": {}, **WHO}, X_Api_Key=admin)[0] == 200
        assert control.orders[0][2] == "ana (key boss)"
        assert service.ask("GET", "/health")[0] == 200
        Keys(tmp_path).revoke(kept.id)  # another process
        time.sleep(1.2)
        wrong(service.ask("POST", "/score_transaction", payment("t-2"), X_Api_Key=score), 401, "x-api-key")
        fresh, _ = Keys(tmp_path).create("till 2", ["score"])
        service.call(service.scorer.beat)
        assert service.ask("POST", "/score_transaction", payment("t-2"), X_Api_Key=fresh)[0] == 200


def test_labels_in_a_list_need_their_own_scope(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    told, _ = keys.create("feed", ["events"])
    with running(parts(keys=keys)) as service:
        label = {"kind": "label", "transaction_id": "t-1", "is_fraud": True}
        wrong(service.ask("POST", "/events", label, X_Api_Key=told), 403, "kind")


def test_beyond_its_rate_a_caller_is_told_when_to_come_again(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    told, _ = keys.create("slow", ["score", "events"], Rate(1, 3))
    with running(parts(keys=keys)) as service:
        for n in range(3):
            assert service.ask("POST", "/score_transaction", payment(f"t-{n}"), X_Api_Key=told)[0] == 200
        found = service.ask("POST", "/score_transaction", payment("t-9"), X_Api_Key=told)
        wrong(found, 429, "rate")
        assert found[2]["retry-after"] == "1"
    with running(parts(rate=Rate(1, 2))) as service:
        assert [service.ask("GET", "/health")[0] for _ in range(3)] == [200, 200, 429]


def test_a_defect_is_500_with_an_id_and_tells_nothing() -> None:
    seen: list[tuple[BaseException, str]] = []

    class Broken:
        def read(self, what: str) -> dict[str, Any]:
            raise ZeroDivisionError("customer c-7")

        def command(self, *told: Any) -> None:
            raise ZeroDivisionError

    with running(parts(control=Broken(), defect=lambda error, request_id: seen.append((error, request_id)))) as service:
        body = wrong(service.ask("GET", "/rules"), 500)
        assert "c-7" not in json.dumps(body) and seen[0][1] == body["request_id"]
        assert service.ask("GET", "/health")[0] == 200


def test_each_decision_is_a_line_without_personal_data(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    lines = Lines(handle)
    with running(parts(lines=lines)) as service:
        service.ask("POST", "/score_transaction", payment("t-secret", amount="9500"), X_Request_Id="r-1")
        service.call(service.scorer.beat)
        lines.close()
    os.close(handle)
    [line] = [json.loads(text) for text in path.read_text().splitlines()]
    assert (line["event"], line["request_id"], line["lsn"], line["outcome"], line["latency_us"]) == ("decision", "r-1", 0, "decline", 812)
    assert not {"t-secret", "c-7", "d-5", "m-3"} & set(path.read_text().replace('"', " ").split())


def test_counts_follow_what_was_answered() -> None:
    with running() as service:
        for n in range(4):
            service.ask("POST", "/score_transaction", payment(f"t-{n}", amount=str(1_500 * n)))
        service.ask("GET", "/nowhere")
        stats = service.call(service.scorer.stats)
    assert stats.tally.outcomes == [1, 1, 1, 1] or sum(stats.tally.outcomes) == 4
    assert sum(stats.tally.latency_s.counts) == sum(stats.tally.score.counts) == 4
    assert stats.tally.hits == {"large": 4 - stats.tally.outcomes[0]} and stats.tally.requests == {"* 404": 1}
    assert stats.http.requests == 5


def test_every_route_of_the_scorer_has_its_handler() -> None:
    from fraudloop.api.scorer import Scorer

    for route in ROUTES:
        if route.where == SCORER:
            assert callable(getattr(Scorer, f"_{route.handler}"))


def test_decisions_go_on_while_a_batch_is_predicted() -> None:
    turns: list[int] = []

    class Slow(MemoryPredictor):
        def score(self, values: NDArray[np.float64], words: Mapping[str, Sequence[str | None]]) -> NDArray[np.float64]:
            turns.append(len(values))
            return super().score(values, words)

    slow = Slow()
    with running(parts(predictor=lambda: slow)) as service:
        assert service.ask("POST", "/predict/batch", {"rows": [{"amount": 1.0}] * 1_000})[0] == 200
    assert sum(turns) == 1_000 and max(turns) <= 256
