"""The oracle gives what was worked out by hand; and the page of semantics draws no line that nothing proves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.oracle import oracle
from tests.timelines import TIMELINES, Timeline

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "semantics.md"


@pytest.mark.parametrize("timeline", TIMELINES, ids=lambda t: t.id)
def test_the_oracle_gives_what_was_worked_out_by_hand(timeline: Timeline) -> None:
    answer = oracle(timeline.feature_set, timeline.events)
    for name, expected in timeline.expected.items():
        column = answer.names.index(name)
        assert [row[column] for row in answer.values] == pytest.approx(list(expected), rel=1e-10, abs=0, nan_ok=True), name
    assert answer.status == list(timeline.status or [0] * len(answer.status))


@pytest.mark.parametrize("timeline", TIMELINES, ids=lambda t: t.id)
def test_every_timeline_is_told_in_the_page_of_semantics(timeline: Timeline) -> None:
    assert f"`{timeline.id}`" in PAGE.read_text("utf-8")


def test_every_proof_that_the_page_names_exists() -> None:
    ids = {t.id for t in TIMELINES}
    proofs = [proof for line in re.findall(r"^→ (.+)$", PAGE.read_text("utf-8"), re.MULTILINE) for proof in re.findall(r"`([^`]+)`", line)]
    assert len(proofs) > 30
    for proof in proofs:
        if "::" in proof:
            file, name = proof.split("::")
            assert f"def {name}(" in (ROOT / "tests" / file).read_text("utf-8"), f"docs/semantics.md names {proof}, which is no test"
        else:
            assert proof in ids, f"docs/semantics.md names {proof}, which is no timeline"
