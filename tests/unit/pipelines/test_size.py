"""What a service needs: the constants are those that are measured, and the arithmetic is what it says."""

from __future__ import annotations

import json

import pytest

from fraudloop.cli.main import run
from fraudloop.errors import InputError
from fraudloop.ledger.records import Transacted, encode
from fraudloop.pipelines.size import MEASURED, measure, size
from tests.ledgers import records_of


def test_the_constants_are_as_measured() -> None:
    found = measure()
    for name in ("key", "event", "record"):
        assert getattr(found, name) == pytest.approx(getattr(MEASURED, name), rel=0.1), name
    # A log of other payments, with other features, is of the same order.
    other = [len(encode(record)) for record in records_of(200) if isinstance(record, Transacted)]
    assert 0.2 < sum(other) / len(other) / MEASURED.record < 2


def test_parts_add_up_and_follow_from_what_is_told() -> None:
    base = size(customers=100_000, rate=10, retention_days=30)
    assert base.disk_bytes == sum(need.bytes for need in base.needs if need.where == "disk")
    assert base.memory_bytes == 2 * size(customers=100_000, rate=10, retention_days=30, standby=False).memory_bytes
    by = {need.name: need.bytes for need in base.needs}
    longer = {need.name: need.bytes for need in size(customers=100_000, rate=10, retention_days=60).needs}
    assert longer["log"] == 2 * by["log"] and longer["state"] == by["state"], "retention is disk and ids"
    wider = {need.name: need.bytes for need in size(customers=100_000, rate=10, retention_days=30, windows=("1h", "90d")).needs}
    assert wider["state"] > 2 * by["state"] and wider["log"] == by["log"], "windows are state"
    assert by["ids"] * MEASURED.known_full / MEASURED.known >= 10 * 30 * 86_400, "the table holds all of them"
    with pytest.raises(InputError, match="must be above 0"):
        size(customers=0, rate=1)


def test_the_command_prints_memory_and_disk(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["size", "--customers", "1000000", "--rate", "50", "--retention", "90", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["memory_bytes"] > 1e9 and {need["where"] for need in told["needs"]} == {"memory", "disk"}
    assert run(["size", "--customers", "1000", "--rate", "1"]) == 0
    shown = capsys.readouterr()
    assert "together" in shown.out and "size --measure" in shown.out + shown.err
