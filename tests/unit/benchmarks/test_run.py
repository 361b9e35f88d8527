"""The runner: a fresh process for each case, figures kept, a failure told and not hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.timing import compare

GOOD = "import os\ndef main():\n    print('a table')\n    return {'pid': os.getpid(), 'rows_per_s': 5.5}\n"
BAD = "def main():\n    raise ValueError('no')\n"


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    for name, text in (("bench_a.py", GOOD), ("bench_b.py", GOOD), ("bench_bad.py", BAD), ("helper.py", BAD)):
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def test_each_case_runs_in_a_process_of_its_own_and_its_figures_are_kept(cases: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = cases / "out" / "bench.json"
    assert run.run(cases, ["a", "b"], out) == 0
    report = json.loads(out.read_bytes())
    assert report["cases"]["a"]["figures"]["rows_per_s"] == 5.5
    assert report["cases"]["a"]["figures"]["pid"] != report["cases"]["b"]["figures"]["pid"]
    assert report["machine"]["packages"]["polars"]
    assert "a table" in capfd.readouterr().out


def test_a_failed_case_is_told_and_the_others_still_run(cases: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = cases / "bench.json"
    assert run.run(cases, [], out) == 1
    report = json.loads(out.read_bytes())
    assert list(report["cases"]) == ["a", "b", "bad"]
    assert report["cases"]["bad"]["error"] == "exit code 1"
    assert "bad failed" in capfd.readouterr().out


def test_an_unknown_case_is_refused_with_those_there_are(cases: Path) -> None:
    with pytest.raises(SystemExit, match="no benchmark c; there are: a, b, bad"):
        run.find(cases, ["c"])


def test_candidates_run_in_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    timings = compare({"x": lambda: order.append("x"), "y": lambda: order.append("y")}, rounds=2)
    assert order == ["x", "y"] * 3
    assert timings["x"].rounds == 2
    assert timings["x"].best_s <= timings["x"].median_s <= timings["x"].worst_s
