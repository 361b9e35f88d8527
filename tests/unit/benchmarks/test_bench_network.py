"""The comparison of the network's kernel with ONNX Runtime in a tiny size."""

from __future__ import annotations

import pytest

from benchmarks import bench_network


def test_kernel_and_runtime_agree_and_both_are_timed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench_network, "BATCHES", (1, 40))
    monkeypatch.setattr(bench_network, "SIZES", (6, 20, 1))
    figures = bench_network.main(quick=True)
    assert len(figures) == 2 * 2 * 2
    assert "with contributions" in capsys.readouterr().out
