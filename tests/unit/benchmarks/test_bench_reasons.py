"""The case of reasons runs in a tiny setting; that it agrees with the libraries is checked while it does."""

from __future__ import annotations

import pytest

from benchmarks import bench_reasons, bench_scoring


def test_reasons_are_timed_beside_the_libraries_after_they_agree(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = bench_reasons.Work(bench_scoring.Sizes(customers=50, rows=3_000, trees=12, depth=3, rounds=1, call_rows=0), 0.01, 3)
    figures = bench_reasons.main(work=tiny)
    for name in ("xgboost", "lightgbm", "forest"):
        part = figures[name]
        assert isinstance(part, dict) and set(part["by_batch"]) == {"1", "32", "1000"}
        assert part["largest_difference"] <= 1e-5
    assert "lightgbm, library" in capsys.readouterr().out
