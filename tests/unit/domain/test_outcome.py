"""The order of outcomes and their words."""

from __future__ import annotations

import pytest

from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError


def test_outcomes_are_ordered_by_severity_and_merge_by_max() -> None:
    assert [o.text for o in sorted(Outcome)] == ["approve", "challenge", "review", "decline"]
    assert max(Outcome.CHALLENGE, Outcome.DECLINE, Outcome.REVIEW) is Outcome.DECLINE


def test_a_word_leads_back_to_its_outcome_and_another_word_is_refused() -> None:
    assert all(Outcome.from_text(o.text) is o for o in Outcome)
    with pytest.raises(InputError, match="'allow' is not an outcome"):
        Outcome.from_text("allow")
