"""The case of the bound in a tiny setting: a stand-in answers what it is asked, and one that takes longer is slower."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import bench_bound
from benchmarks.bench_service import Sizes

TINY = Sizes(
    ceiling_s=0.2, ceilings=1, share_s=1.0, rate=200.0, warmup_s=0.5, connections=4, open_connections=8, flushes=10, echoes=("uvicorn-queue",)
)  # fmt: skip


def test_a_stand_in_answers_everything_and_takes_the_time_that_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    figures: dict[str, Any] = bench_bound.main(costs=[(0.0, 0.0), (3_000.0, 1_000.0)], sizes=TINY)
    assert set(figures["standin"]) == {"0+0", "3000+1000"} and set(figures["bounds_ms"]) == {"uvicorn-queue"}
    for found in figures["standin"].values():
        assert found["ok"] == found["scheduled"] > 100
    assert figures["standin"]["3000+1000"]["ok_p50_ms"] > 4.0, "a batch of one takes 4 ms"
    assert "stand-ins stay within" in capsys.readouterr().out
