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


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
def test_the_recipe_decides() -> None:
    figures = bench_service.main(parts=["recipe"], sizes=TINY)
    assert isinstance(figures["recipe"], dict)
    assert figures["recipe"]["decisions_per_s"] > 0
    assert set(figures["recipe"]["at_half"]["status"]) == {200}
