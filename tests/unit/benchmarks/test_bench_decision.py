"""The case of one decision in a tiny setting: every phase takes time, and what is asked is answered."""

from __future__ import annotations

import pytest

from benchmarks import bench_decision


def test_every_phase_is_timed_by_batch_size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench_decision, "BATCHES", (1, 4))
    figures = bench_decision.main(quick=True, batches_max=12)
    assert set(figures) == {"1", "4"}
    for found in figures.values():
        assert isinstance(found, dict)
        assert {"http_and_door_us", "fold_us", "judge_us", "reasons_us", "records_us", "append_us", "answer_us", "all_us"} <= set(found)
        assert all(value >= 0 for value in found.values()) and found["all_us"] > found["judge_us"] > 0
    assert "without sockets" in capsys.readouterr().out
