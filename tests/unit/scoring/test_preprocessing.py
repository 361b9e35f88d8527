"""Preprocessing as data: unknown words, missing and infinite numbers, the way through JSON, and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from fraudloop.errors import BundleError, InputError
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.preprocessing import NumberStep, OneHotStep, OrdinalStep, Preprocessing

STEPS = Preprocessing(
    (
        NumberStep("amount", fill=5.0, indicator=True, centre=5.0, scale=2.0, low=0.0, high=9.0),
        OneHotStep("country", ("DE", "FR")),
        OrdinalStep("device", ("phone", "web")),
    )
)


def inputs(amount: list[float], country: list[str | None], device: list[str | None]) -> Inputs:
    return Inputs(("amount",), np.array(amount).reshape(-1, 1), {"country": country, "device": device})


def test_every_kind_of_value_gets_its_column() -> None:
    out = STEPS.apply(inputs([7.0, math.nan, 100.0], ["FR", None, "XX"], ["phone", "tv", None]))
    assert STEPS.outputs == ("amount", "amount=missing", "country=DE", "country=FR", "country=other", "country=missing", "device")
    np.testing.assert_array_equal(out, [[1, 0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1, 2], [2, 0, 0, 0, 1, 0, math.nan]])


def test_an_infinite_number_is_a_missing_one() -> None:
    for value in (math.inf, -math.inf):
        row = STEPS.apply(inputs([value], ["DE"], ["web"]))
        np.testing.assert_array_equal(row, STEPS.apply(inputs([math.nan], ["DE"], ["web"])))


def test_without_a_filling_missing_stays_missing() -> None:
    out = Preprocessing((NumberStep("a"),)).apply(Inputs(("a",), np.array([[math.nan], [1.0]])))
    np.testing.assert_array_equal(out, [[math.nan], [1.0]])


def test_unknown_words_give_the_row_of_other_and_change_no_other_row() -> None:
    known = inputs([1.0, 2.0], ["DE", "FR"], ["phone", "web"])
    both = inputs([1.0, 2.0, 3.0], ["DE", "FR", "new word \u2603"], ["phone", "web", "x" * 10_000])
    np.testing.assert_array_equal(STEPS.apply(both)[:2], STEPS.apply(known))


def test_it_survives_the_way_through_json_unchanged() -> None:
    again = Preprocessing.from_dict(json.loads(json.dumps(STEPS.to_dict())))
    assert again == STEPS


def test_a_column_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'amount'.*nearest is 'amuont'"):
        STEPS.apply(Inputs(("amuont",), np.zeros((1, 1)), {"country": ["DE"], "device": ["web"]}))
    with pytest.raises(InputError, match="'device'"):
        STEPS.apply(Inputs(("amount",), np.zeros((1, 1)), {"country": ["DE"]}))


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "pickle", "column": "a"},
        {"kind": "number"},
        {"kind": "number", "column": "a", "scale": 0.0},
        {"kind": "number", "column": "a", "centre": "1"},
        {"kind": "number", "column": "a", "fill": math.inf},
        {"kind": "one_hot", "column": "a", "levels": ["x", "x"]},
        {"kind": "ordinal", "column": "a", "levels": [1, 2]},
        {"kind": "number", "column": "a", "surprise": 1},
        "number",
    ],
)
def test_a_step_that_is_not_understood_is_refused(step: Any) -> None:
    with pytest.raises(BundleError, match=r"preprocessing\.json"):
        Preprocessing.from_dict({"steps": [step]})


def test_a_column_in_two_steps_is_refused() -> None:
    step = {"kind": "number", "column": "a"}
    with pytest.raises(BundleError, match="two steps"):
        Preprocessing.from_dict({"steps": [step, step]})
