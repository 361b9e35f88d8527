"""The case of the service in a tiny setting: echo servers answer under load, the recipe decides, bodies are payments that the door takes."""

from __future__ import annotations

import itertools
import json
import shutil

import pytest

from benchmarks import bench_service
from benchmarks.echo_servers import SERVERS
from fraudloop.door.rates import RateTable
from fraudloop.door.row import RowDoor
from fraudloop.door.shape import Shape

TINY = bench_service.Sizes(ceiling_s=0.5, rate=100.0, warmup_s=0.1, recipe_s=0.5, echoes=("uvicorn", "granian-queue", "thin"))


def test_bodies_are_payments_with_ids_of_their_own() -> None:
    door = RowDoor(Shape(), RateTable.sample())
    rows = [door.admit(json.loads(body)).row for body in itertools.islice(bench_service.bodies(50), 500)]
    assert all(row is not None and row["customer_id"] and row["device_id"] for row in rows)
    assert len({row["transaction_id"] for row in rows if row}) == 500
    assert 30 < len({row["customer_id"] for row in rows if row}) <= 50


def test_echo_servers_answer_at_their_ceiling_and_at_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    figures = bench_service.main(parts=["echo"], sizes=TINY)
    assert isinstance(figures["echo"], dict) and set(figures["echo"]) == set(TINY.echoes) <= set(SERVERS)
    for part in figures["echo"].values():
        assert part["ceiling_per_s"] > 0 and part["per_cpu_s"] > 0
        assert set(part["at_rate"]["status"]) == {200}
    assert "closed loop" in capsys.readouterr().out


def test_the_flushes_between_two_looks_are_told_from_their_bins() -> None:
    edges = [0.001, 0.002, 0.025, 0.1]
    before = {"flush_s": {"edges": edges, "counts": [5, 0, 0, 0, 0]}}
    after = {"flush_s": {"edges": edges, "counts": [105, 100, 0, 1, 0]}}
    found = bench_service.flushes_between(before, after)
    assert found == {"flushes": 201, "p99_ms": pytest.approx(1.99, abs=0.01), "slow": 1}
    assert bench_service.flushes_between({}, after) == {}


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_the_recipe_decides() -> None:
    figures = bench_service.main(parts=["recipe"], sizes=TINY)
    assert isinstance(figures["recipe"], dict)
    assert figures["recipe"]["decisions_per_s"] > 0
    assert set(figures["recipe"]["at_half"]["status"]) == {200}
