"""The gate report: the verdict and its reasons first, every check beside its bound, nothing rested on colour."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fraudloop.errors import InputError
from fraudloop.pipelines.card import gate_report_file
from fraudloop.reports.gate_report import gate_facts, gate_report_html
from fraudloop.reports.page import figure
from tests.reported import Page, gate, self_contained


def test_a_refusal_says_why_before_anything_else() -> None:
    html = gate_report_html(gate())
    self_contained(html)
    page = Page(html)
    assert (
        page.text.index("The candidate is refused: 1 of 2 checks did not pass.")
        < page.text.index("P99 31.5 ms, at most 20 ms")
        < page.text.index("Finds enough")
    )
    assert page.headings[1:] == [
        "Checks", "What it was judged on", "Candidate and champion on the same payments", "Outcomes under the policy in force", "Segments", "By country", "Latency",
        "Bounds this gate was given",
    ]  # fmt: skip


def test_a_pass_says_so() -> None:
    report = gate(verdict="pass", checks=gate()["checks"][:1])
    page = Page(gate_report_html(report))
    assert "The candidate may be promoted: all 1 checks passed." in page.text
    assert "refused" not in page.text


def test_each_check_shows_what_was_measured_and_allowed() -> None:
    first, second = gate_facts(gate())["gate"]["checks"]
    assert (first["measured"], first["bound"], first["passed"]) == ("70.0 %", "at least 60.0 %", True)
    assert (second["measured"], second["bound"], second["passed"]) == ("31.500 ms", "at most 20 ms", False)
    assert second["bar"] == {"measured": 80.0, "bound": 50.79}


def test_candidate_and_champion_stand_side_by_side_with_their_interval() -> None:
    facts = gate_facts(gate())
    rows = {row["name"]: row for row in facts["metrics"]["rows"]}
    measured = gate()["metrics"]
    assert rows["Average precision"]["candidate"] == figure(measured["candidate"]["average_precision"])
    assert rows["Average precision"]["champion"] == figure(measured["champion"]["average_precision"])
    assert rows["Average precision"]["change"] == "−0.0500"
    assert rows["Average precision"]["better"] is False
    assert rows["Brier score"]["better"] is None
    found = facts["comparison"]
    assert found["range"] == "−0.0900 to −0.0100"
    assert "ranks worse" in found["verdict"]
    assert 0 < found["low"] < found["at"] < 50


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0.01, 0.09, "ranks better"), (-0.01, 0.09, "cannot be told apart"), (None, None, "There is no interval")]
)
def test_what_the_interval_says_is_said_in_words(low: float | None, high: float | None, words: str) -> None:
    found = gate_facts(gate(comparison={"difference": 0.04, "low": low, "high": high}))["comparison"]
    assert words in found["verdict"]


@pytest.mark.parametrize(
    "part", ["champion", "created", "data", "policy", "metrics", "comparison", "segments", "outcomes", "latency", "config"]
)
def test_what_a_report_lacks_is_left_out(part: str) -> None:
    whole = gate()
    self_contained(gate_report_html({key: value for key, value in whole.items() if key != part}))
    self_contained(gate_report_html({**whole, part: None}))


def test_a_candidate_that_could_not_be_run_is_refused_by_that_alone() -> None:
    check = {
        "name": "integrity",
        "title": "The bundle is whole",
        "passed": False,
        "measured": None,
        "bound": None,
        "relation": "",
        "unit": "",
        "why": "Models/x.json: changed <b>after</b> it was written",
        "detail": {},
    }
    page = Page(gate_report_html({"verdict": "refuse", "candidate": "f" * 64, "champion": None, "checks": [check]}))
    assert "changed <b>after</b> it was written" in page.text
    assert "b" not in {tag for tag, _ in page.tags}


@pytest.mark.parametrize("wrong", [{}, {"verdict": "maybe", "checks": []}, {"verdict": "pass"}], ids=["empty", "verdict", "checks"])
def test_what_is_no_report_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="this is no gate report"):
        gate_report_html(wrong)


def test_its_json_is_written_beside_it(tmp_path: Path) -> None:
    out = gate_report_file(gate(), tmp_path / "gate.html")
    assert json.loads((tmp_path / "gate.json").read_text("utf-8")) == gate()
    again = gate_report_file(tmp_path / "gate.json", tmp_path / "again.html")
    assert again.read_text("utf-8") == out.read_text("utf-8")
