"""Card numbers sent in every field of every route: none is anywhere under the data folder, in a line, a message or a metric."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl
import pytest

from fraudloop.api.routes import LABEL, PROFILE, ROUTES, TRANSACTION
from fraudloop.api.worker import read_report
from fraudloop.cli.main import run
from fraudloop.door.pan import luhn
from fraudloop.ledger.personal import Vault
from fraudloop.ledger.records import Profiled, Transacted
from tests.family import Served, clean_state, payment, records, serving, wait_for

NOW = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

#: Issuer prefix and length of the schemes' published test numbers; the digits are put together here, so that none stands in this file.
SCHEMES = (("4" + "1" * 14, 16), ("5" * 12 + "444", 16), ("3782" + "822463" + "1000", 15), ("6011" + "1" * 11, 16), ("3530" + "1" * 3 + "3330" + "0000", 16), ("3056930902590", 14))  # fmt: skip


def cards() -> list[str]:
    out = []
    for prefix, length in SCHEMES:
        stem = prefix[: length - 1].ljust(length - 1, "0")
        out.append(next(stem + digit for digit in "0123456789" if luhn(stem + digit)))
    return out


CARDS = cards()


def written(number: str) -> list[str]:
    """As people write one."""
    return [number, " ".join(re.findall("....?", number)), "-".join(re.findall("....?", number))]


def paths_of(schema: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, inner in schema.get("properties", {}).items():
        yield (*at, name)
        yield from paths_of(inner, (*at, name))


def with_value(body: dict[str, Any], at: tuple[str, ...], value: object) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(json.dumps(body))
    inner = out
    for name in at[:-1]:
        if not isinstance(inner.get(name), dict):
            inner[name] = {}
        inner = inner[name]
    inner[at[-1]] = value
    return out


def everywhere(served: Served) -> int:
    """Send them in every place; how many requests were made. No answer is a defect."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    made = 0
    turn = 0

    def value() -> str:
        nonlocal turn
        turn += 1
        number = CARDS[turn % len(CARDS)]
        text = written(number)[turn // len(CARDS) % 3]
        return text if turn % 2 else f"card {text} of a friend"

    def send(method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> None:
        nonlocal made
        made += 1
        connection.request(
            method, path, None if body is None else json.dumps(body), {"content-type": "application/json", **(headers or {})}
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status != 500, (method, path, body)

    label = {"transaction_id": "T1", "is_fraud": True, "source": "chargeback", "reason": "told by phone"}
    profile = {"entity": "customer", "id": "C1", "time": NOW, "home_country": "DE"}
    unknown = (("note",), ("memo", "text"), ("device", "serial"), ("customer", "id"))
    for number in (7, 8):
        for at in (*paths_of(TRANSACTION), *unknown):
            send("POST", "/score_transaction", with_value(payment(10_000 * number + made, timestamp=NOW), at, value()))
            send("POST", "/events", [with_value(payment(10_000 * number + made, timestamp=NOW), at, value())])
        for at in (*paths_of(LABEL), *unknown):
            send("POST", "/feedback", with_value(label, at, value()))
            send("POST", "/events", with_value({**label, "kind": "label"}, at, value()))
        for at in (*paths_of(PROFILE), *unknown, ("kind",)):
            send("POST", "/events", with_value({**profile, "kind": "profile"}, at, value()))
        for card in CARDS:
            for at in (("amount",), ("customer_id",), ("device", "id"), ("merchant_id",), ("utc_offset",)):
                send("POST", "/score_transaction", with_value(payment(10_000 * number + made, timestamp=NOW), at, int(card)))
            send("POST", "/score_transaction", {**payment(made, timestamp=NOW), card: "x"})
            send("POST", "/predict", {card: 1, "amount": int(card)})
    who = {"who": "ana", "why": "a test"}
    rule = {"id": "one", "when": "amount > 1", "outcome": "review", "reason": "large", "state": "live"}
    bodies: list[tuple[str, str, dict[str, Any]]] = [
        ("PUT", "/rules", {"rules": {"name": "mine", "rules": [rule]}, **who}),
        ("PUT", "/policy", {"policy": {"name": "p", "review": 0.3, "decline": 0.9}, **who}),
        ("PUT", "/lists/words", {"entries": ["KP"], **who}),
        ("POST", "/lists/block/entries", {"entity": "card", "id": "k1", **who}),
        ("DELETE", "/lists/block/entries", {"entity": "card", "id": "k1", **who}),
        ("PUT", "/models/challenger", {"model": None, **who}),
        ("POST", "/customers/erase", {"customer_id": "C30", **who}),
    ]
    for method, path, body in bodies:
        for name in body:
            inner = body[name]
            if isinstance(inner, dict):
                for deep in inner:
                    send(method, path, {**body, name: {**inner, deep: value()}})
            elif isinstance(inner, list):
                send(method, path, {**body, name: [*inner, value()]})
            else:
                send(method, path, {**body, name: value()})
        send(method, path, {**body, "expected": value()})
    for name in rule:
        send("PUT", "/rules", {"rules": {"name": "mine", "rules": [{**rule, name: value()}]}, **who})
    send("PUT", "/rules", {"rules": {"name": "mine", "rules": [{**rule, "when": f"customer_id == '{CARDS[0]}'"}]}, **who})
    for route in ROUTES:
        if "{" in route.path:
            send(
                route.method,
                re.sub(r"\{\w+\}", CARDS[1], route.path),
                {**who, "entries": ["KP"], "model": None, "entity": "card", "id": "x"} if route.body else None,
            )
    for card in CARDS:
        send("GET", f"/decisions/{card}")
        send("GET", f"/decisions?customer={card}&merchant={card}")
        send("GET", f"/decisions?{card}=1&from={card}")
        send("GET", f"/nothing/{card}?{card}")
        for header in ("x-request-id", "authorization", "x-api-key", "user-agent", "traceparent", "x-own", "origin", "host"):
            send("POST", "/score_transaction", payment(90_000 + made, timestamp=NOW), {header: quote(card)})
            send("GET", "/metrics", None, {header: card})
    connection.close()
    return made


def read_out(data: Path) -> str:
    """What is binary, compressed or sealed, as text: the records with their personal values opened, and the export's tables."""
    state = clean_state(data)
    state.vault = Vault.open(data / "vault", make=False)
    out = []
    for record in records(data):
        out.append(repr(record))
        if isinstance(record, Transacted):
            out.append(repr(state.row_of(record)))
            if record.decision is not None:
                out.append(repr(np.frombuffer(record.decision.vector).tolist()))
        elif isinstance(record, Profiled) and record.personal:
            out.append(repr(state.vault.unseal(np.frombuffer(record.hashes, np.uint64)[:2], record.personal)))
    out += [repr(pl.read_parquet(path).to_dicts()) for path in (data / "export").rglob("*.parquet")]
    return "\n".join(out)


def digits_of(data: bytes) -> bytes:
    """With every separator that people write between digits taken away."""
    return re.sub(rb"(?<=[0-9])[ ._-](?=[0-9])", b"", data)


def test_no_card_number_is_kept_or_said_anywhere(tmp_path: Path) -> None:
    lines, data = tmp_path / "lines.jsonl", tmp_path / "data"
    with serving(data, "--no-standby", "--lines", str(lines)) as served:
        wait_for(lambda: served.ask("GET", "/metrics")[0] == 200, 60)
        assert served.ask("POST", "/score_transaction", payment(1, timestamp=NOW))[0] == 200
        made = everywhere(served)
        metrics = served.ask("GET", "/metrics")[1]["text"]
        lsn = served.ask("GET", "/health")[1]["lsn"]
        wait_for(lambda: (found := read_report(data / "run")) is not None and found.indexed_lsn >= lsn, 60)
        assert served.stop() == 0
    assert run(["ledger", "export", "--data", str(data), "--partial"]) == 0
    assert made > 300 and len(records(data)) > 100
    found = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert {path.relative_to(data).parts[0] for path in found} >= {"log", "snapshots", "index.sqlite", "export", "run", "vault"}
    found |= {
        Path("read out"): read_out(data).encode(),
        Path("lines"): lines.read_bytes(),
        Path("stderr"): served.errors.read_bytes(),
        Path("metrics"): metrics.encode(),
    }
    assert b"tok_" in b"".join(found.values()), "tokens stand where numbers were"
    for path, content in found.items():
        plain = digits_of(content)
        for card in CARDS:
            assert card.encode() not in plain, f"{path} holds a card number"


@pytest.mark.parametrize("card", CARDS)
def test_the_numbers_are_card_numbers(card: str) -> None:
    assert luhn(card) and 14 <= len(card) <= 16
