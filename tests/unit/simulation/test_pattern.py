"""Strengths, scheme shares and drift are checked and named where they do not fit."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from fraudloop.errors import InputError
from fraudloop.simulation.pattern import SCHEMES, FraudPattern, PatternError, parse_change, parse_values, read_changes


def test_the_defaults_are_the_published_strengths() -> None:
    pattern = FraudPattern()
    assert (pattern.amount_multiplier, pattern.late_night_probability) == (5, 0.7)
    assert (pattern.foreign_probability, pattern.velocity_multiplier) == (0.6, 10)
    assert sum(pattern.mix.values()) == pytest.approx(1) and tuple(pattern.mix) == SCHEMES


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount_multiplier", 0.5),
        ("amount_multiplier", float("nan")),
        ("late_night_probability", 1.01),
        ("foreign_probability", -0.1),
        ("velocity_multiplier", float("inf")),
        ("velocity_multiplier", True),
        ("quiet_share", 0.95),
        ("double_share", 2),
        ("mix", {"card_testin": 1.0}),
        ("mix", {"card_testing": 0.0}),
        ("mix", {"card_testing": -1.0}),
    ],
)
def test_a_strength_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(PatternError, match=name) as caught:
        FraudPattern(**{name: value})
    assert caught.value.exit_code == 2


def test_a_mistyped_scheme_is_answered_with_the_nearest() -> None:
    with pytest.raises(PatternError, match="did you mean 'card_testing'"):
        FraudPattern(mix={"card_testin": 1.0})


def test_shares_of_schemes_are_scaled_and_missing_ones_are_none() -> None:
    mix = FraudPattern(mix={"bust_out": 3, "card_testing": 1}).mix
    assert mix["bust_out"] == 0.75 and mix["card_testing"] == 0.25 and mix["account_takeover"] == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2025-09-01", "DATE:name=value"),
        ("2025-13-01:amount_multiplier=2", "not a date"),
        ("2025-09-01:amount_multiplier", "form name=value"),
        ("2025-09-01:amount_multiplier=x", "not a number"),
        ("2025-09-01:amount_multiplyer=2", "did you mean 'amount_multiplier'"),
        ("2025-09-01:bust_out=1,bust_out=2", "given twice"),
    ],
)
def test_a_drift_that_cannot_be_read_says_why(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_change(text)


def test_drift_comes_from_texts_and_toml_files_in_order_of_dates(tmp_path: Path) -> None:
    file = tmp_path / "drift.toml"
    file.write_text('["2025-03-01"]\nfraud_rate = 0.02\n["2025-02-01"]\nbust_out = 0.5\n')
    changes = read_changes([str(file), "2025-02-15:amount_multiplier=2"])
    assert [change.since for change in changes] == [date(2025, 2, 1), date(2025, 2, 15), date(2025, 3, 1)]
    pattern, rate = changes[0].apply(FraudPattern(), 0.01)
    assert pattern.mix["bust_out"] == pytest.approx(0.5 / 1.38) and rate == 0.01
    assert changes[2].apply(pattern, 0.01)[1] == 0.02


@pytest.mark.parametrize("text", ["x = 1", '["2025-03-01"]\nbust_out = "much"', "[", '["March"]\nbust_out = 1'])
def test_a_drift_file_that_cannot_be_used_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "drift.toml"
    file.write_text(text)
    with pytest.raises(InputError, match="drift"):
        read_changes([str(file)])
    with pytest.raises(InputError, match=r"none\.toml"):
        read_changes([str(tmp_path / "none.toml")])


def test_values_are_read_with_spaces() -> None:
    assert parse_values(" a = 1 ,b=2e-1", "mix") == {"a": 1.0, "b": 0.2}
