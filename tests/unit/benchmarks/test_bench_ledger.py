"""The cases of the ledger run in a tiny setting and give figures."""

from __future__ import annotations

import pytest

from benchmarks import bench_index, bench_personal


def test_ways_of_an_index_are_timed_side_by_side(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench_index, "ROWS", 4_000)
    monkeypatch.setattr(bench_index, "BATCH", 1_000)
    monkeypatch.setattr(bench_index, "READ", 640)
    figures = bench_index.main()
    assert figures["rows"] == 4_000 and "lookups apart, sorted" in capsys.readouterr().out


def test_sealing_is_timed_for_known_and_new_customers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_personal, "BATCHES", 4)
    monkeypatch.setattr(bench_personal, "ERASED", (0, 5))
    figures = bench_personal.main()
    assert figures["0 erased"]["nodes"] == 1 and 0 < figures["bytes_more"] < 200  # type: ignore[index,operator]
