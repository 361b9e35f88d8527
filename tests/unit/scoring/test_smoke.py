"""Smoke cases: stored with the bits of their scores, read back the same; a user's own say what is wrong with them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from fraudloop.errors import BundleError, InputError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.smoke import SMOKE, bundle_cases, case_inputs, cases_bytes, changed_cases, read_cases
from fraudloop.training.smoke import CASES, choose_cases
from tests.bundles import linear_bundle


def with_cases(seed: int = 1, rows: int = 500) -> Bundle:
    bundle = linear_bundle()
    random = np.random.default_rng(seed)
    inputs = Inputs(("amount", "other"), np.where(random.random((rows, 2)) < 0.1, np.nan, random.normal(2, 3, (rows, 2))))
    cases = choose_cases(inputs, random.random(rows) < 0.1, bundle.model())
    return Bundle({**bundle.files, SMOKE: cases_bytes(cases)}, bundle.members, bundle.origin)


def test_cases_come_back_with_the_same_bits_and_score_the_same() -> None:
    bundle = with_cases()
    cases = bundle_cases(bundle)
    assert [case.fraud for case in cases] == [True] * CASES + [False] * CASES
    assert changed_cases(bundle) == []
    assert cases_bytes(cases) == bundle.files[SMOKE]
    model = bundle.model()
    assert model.score(case_inputs(cases, model)).tolist() == [case.score for case in cases]


def test_another_last_bit_of_a_score_is_seen() -> None:
    bundle = with_cases()
    body = json.loads(bundle.files[SMOKE])
    body["cases"][2]["score"] = math.nextafter(body["cases"][2]["score"], 1.0)
    other = Bundle({**bundle.files, SMOKE: json.dumps(body).encode()}, bundle.members)
    assert [row["name"] for row in changed_cases(other)] == ["fraud 3"]


def test_the_same_training_gives_the_same_cases() -> None:
    assert with_cases().files[SMOKE] == with_cases().files[SMOKE]


def test_few_rows_give_few_cases() -> None:
    model = linear_bundle().model()
    inputs = Inputs(("amount",), np.array([[1.0], [2.0]]))
    assert [case.fraud for case in choose_cases(inputs, np.array([True, False]), model)] == [True, False]
    assert choose_cases(inputs[:0], np.zeros(0, bool), model) == ()


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"cases": [{}]}', b'{"cases": [{"name": "a", "fraud": true, "numbers": {"x": "?"}, "words": {}, "score": 1}]}'],
)
def test_cases_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(BundleError, match=SMOKE):
        bundle_cases(Bundle({**linear_bundle().files, SMOKE: data}, linear_bundle().members))


def test_a_bundle_from_before_has_none() -> None:
    assert bundle_cases(linear_bundle()) == ()
    assert changed_cases(linear_bundle()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "[[case]]"), ("case = 1", "[[case]]"), ("[[case]]\nfraud = 1\ninputs = {}", "case 1"), ("[[case]]\nfraud = true", "`inputs`"),
        ("[[case]]\nfraud = true\ninputs = { a = [1] }", "a must be"), ("[[case]]\nfraud = true\ninputs = {}\nscore = 1", "unknown key 'score'"),
        ("[[case]]\nfraud = true\ninputs = {}\n[other]", "nothing else"), ("x", "not valid TOML"),
    ],
)  # fmt: skip
def test_own_cases_that_are_not_understood_say_where(tmp_path: Path, text: str, says: str) -> None:
    import re

    (tmp_path / "smoke.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(says)):
        read_cases(tmp_path / "smoke.toml")
