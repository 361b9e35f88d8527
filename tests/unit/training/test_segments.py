"""Segments: every figure equals its plain definition on the rows of that value; chance alone is not called a gap."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.decisions.policy import Policy
from fraudloop.errors import InputError
from fraudloop.training.metrics import Scored
from fraudloop.training.segments import (
    FRAUDS_MIN,
    GENUINE_MIN,
    MEASURES,
    VALUES_MAX,
    _holm,
    segment_columns,
    segment_report,
    wilson,
)
from fraudloop.training.train import to_json

POLICY = Policy(decline=0.9, review=0.5)


def rows(y: Sequence[bool], score: Sequence[float], card: Sequence[int] | None = None) -> Scored:
    n = len(y)
    cards = np.arange(n) if card is None else np.asarray(card)
    return Scored(
        np.asarray(y, bool), np.asarray(score, np.float64), np.zeros(n, np.int64), cards.astype(np.int64), np.ones(n), np.ones(n, bool)
    )


def drawn(n: int, seed: int, cards: int | None = None) -> tuple[Scored, np.random.Generator]:
    """Calibrated scores of n transactions, 5 % fraud; with `cards`, the frauds of a card go together."""
    random = np.random.default_rng(seed)
    score = np.where(random.random(n) < 0.06, random.beta(8, 3, n), random.beta(1, 80, n))
    if cards is None:
        return rows(list(random.random(n) < score), list(score)), random
    card = random.integers(0, cards, n)
    luck = random.random(cards)[card]
    return rows(list(luck < score), list(score), list(card)), random


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 0.6, 0.9, 0.95]), st.sampled_from(["a", "b", None]), st.integers(0, 3)),
        min_size=1,
        max_size=60,
    )
)
def test_every_count_and_rate_is_its_plain_definition(data: list[tuple[bool, float, str | None, int]]) -> None:
    y, score, words, card = (list(column) for column in zip(*data, strict=True))
    report = segment_report(rows(y, score, card), {"x": words}, POLICY, rounds=20)
    found = report["columns"]["x"]["values"]
    assert {v["value"] for v in found} == set(words)
    for value in found:
        own = [(fraud, s) for fraud, s, word, _ in data if word == value["value"]]
        genuine, frauds = [s for fraud, s in own if not fraud], [s for fraud, s in own if fraud]
        alerts = [fraud for fraud, s in own if s > 0.5]

        def share(part: Sequence[Any], whole: Sequence[Any]) -> float | None:
            return len(part) / len(whole) if whole else None

        assert value["transactions"] == len(own)
        assert value["frauds"] == len(frauds)
        assert value["alerts"] == len(alerts)
        assert value["false_positive_rate"]["value"] == pytest.approx(share([s for s in genuine if s > 0.5], genuine))
        assert value["false_decline_rate"]["value"] == pytest.approx(share([s for s in genuine if s > 0.9], genuine))
        assert value["recall"]["value"] == pytest.approx(share([s for s in frauds if s > 0.5], frauds))
        assert value["precision"]["value"] == pytest.approx(share([a for a in alerts if a], alerts))
        assert value["calibration"]["value"] == pytest.approx(sum(s - fraud for fraud, s in own) / len(own), abs=1e-12)
        assert value["outcomes"]["decline"] == pytest.approx(share([s for _, s in own if s > 0.9], own))
        assert sum(value["outcomes"].values()) == pytest.approx(1.0)
        for measure in MEASURES:
            found_rate = value[measure]
            if found_rate["value"] is not None:
                assert found_rate["low"] - 1e-12 <= found_rate["value"] <= found_rate["high"] + 1e-12
    json.loads(to_json(report))


def test_the_gap_is_between_the_judged_values_that_lie_farthest_apart() -> None:
    scored, random = drawn(20_000, 1)
    words = random.choice(["a", "b", "c"], 20_000)
    score = np.where((words == "c") & (random.random(20_000) < 0.05), 0.7, scored.score)
    report = segment_report(rows(list(scored.y), list(score)), {"x": words.tolist()}, POLICY)
    gap = report["columns"]["x"]["gaps"]["false_positive_rate"]
    rates = {v["value"]: v["false_positive_rate"]["value"] for v in report["columns"]["x"]["values"]}
    assert gap["highest"] == {"value": "c", "rate": max(rates.values())}
    assert gap["lowest"]["rate"] == min(rates.values())
    assert gap["gap"] == pytest.approx(max(rates.values()) - min(rates.values()))
    assert gap["low"] < gap["gap"] < gap["high"]
    assert gap["low"] > 0.03
    assert gap["beyond_chance"]
    assert gap["passing_ratio"] == pytest.approx((1 - max(rates.values())) / (1 - min(rates.values())))
    assert gap["times"] == pytest.approx(max(rates.values()) / min(rates.values()))


def test_a_value_with_too_few_frauds_is_shown_and_not_judged() -> None:
    scored, _ = drawn(6_000, 2)
    words = ["big"] * 6_000
    frauds = np.flatnonzero(scored.y)[: FRAUDS_MIN - 1]
    for at in frauds:
        words[at] = "small"
    report = segment_report(scored, {"x": words}, POLICY)
    small = next(v for v in report["columns"]["x"]["values"] if v["value"] == "small")
    assert small["recall"]["of"] == FRAUDS_MIN - 1
    assert small["recall"]["value"] is not None
    assert not small["recall"]["judged"]
    gap = report["columns"]["x"]["gaps"]["recall"]
    assert (gap["judged"], gap["not_judged"], gap["gap"]) == (1, 1, None)
    assert report["method"]["minimum"]["genuine"] == GENUINE_MIN


@pytest.mark.parametrize("cards", [None, 400], ids=["independent", "cards_go_together"])
def test_chance_alone_is_seldom_called_a_gap(cards: int | None) -> None:
    """Values drawn without regard to anything: a gap is called real in about 5 % of reports at most."""
    called = 0
    for seed in range(30):
        scored, random = drawn(4_000, 100 + seed, cards)
        words = random.integers(0, 4, 400)[scored.card % 400] if cards else random.integers(0, 4, 4_000)
        report = segment_report(scored, {"x": [f"v{w}" for w in words]}, POLICY, rounds=10, seed=seed)
        called += any(gap.get("beyond_chance", False) for gap in report["columns"]["x"]["gaps"].values())
    assert called <= 6  # binomial(30, 0.05) is above 6 less than once in a thousand times


def test_a_value_that_is_never_declined_has_an_interval_above_zero() -> None:
    scored = rows([False] * 1_000, [0.1] * 1_000)
    report = segment_report(scored, {"x": ["a", "b"] * 500}, POLICY, rounds=10)
    rate = report["columns"]["x"]["values"][0]["false_decline_rate"]
    assert rate["value"] == rate["low"] == 0.0
    assert rate["high"] == pytest.approx(wilson(0.0, 500)[1])
    assert report["columns"]["x"]["gaps"]["false_decline_rate"]["p"] == 1.0
    assert report["columns"]["x"]["gaps"]["false_decline_rate"]["times"] is None


def test_a_cards_rows_together_widen_the_interval() -> None:
    scored, _ = drawn(4_000, 3)
    together = rows(list(scored.y), list(scored.score), list(np.argsort(np.argsort(scored.score)) // 20))
    alone, grouped = (
        segment_report(s, {"x": ["a"] * 4_000}, POLICY, rounds=10)["overall"]["false_positive_rate"] for s in (scored, together)
    )
    assert grouped["value"] == alone["value"]
    assert grouped["high"] - grouped["low"] > 2 * (alone["high"] - alone["low"])


def test_small_values_of_a_long_column_are_one_row_that_is_never_judged() -> None:
    scored, _ = drawn(3_000, 4)
    words = [f"v{i % 80:02d}" if i % 2 else "most" for i in range(3_000)]
    found = segment_report(scored, {"x": words}, POLICY, rounds=10)["columns"]["x"]
    assert len(found["values"]) == VALUES_MAX
    assert found["values"][0]["value"] == "most"
    assert found["values"][-1]["value"] == "others"
    assert sum(v["merged"] for v in found["values"]) == 41
    assert not any(found["values"][-1][measure]["judged"] for measure in MEASURES)
    assert sum(v["transactions"] for v in found["values"]) == 3_000


def test_the_same_seed_gives_the_same_report() -> None:
    scored, random = drawn(2_000, 5)
    words = random.choice(["a", "b"], 2_000).tolist()
    assert to_json(segment_report(scored, {"x": words}, POLICY)) == to_json(segment_report(scored, {"x": words}, POLICY))


def test_no_rows_and_no_columns_are_an_empty_report() -> None:
    report = segment_report(rows([], []), {"x": []}, POLICY)
    assert report["columns"]["x"]["values"] == []
    assert report["overall"]["transactions"] == 0
    assert segment_report(rows([], []), {}, POLICY)["method"]["comparisons"] == 0


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="1 values for 0 rows"):
        segment_report(rows([], []), {"x": ["a"]}, POLICY)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holms_adjustment_is_its_definition(p: list[float]) -> None:
    got = _holm(p)
    ranked = sorted(p)
    for value, adjusted in zip(p, got, strict=True):
        rank = max(i for i, other in enumerate(ranked) if other == value)
        assert adjusted == pytest.approx(max(min(1.0, (len(p) - i) * ranked[i]) for i in range(rank + 1)))


class TestColumns:
    """What becomes a segment."""

    def test_the_columns_that_a_payment_table_has_are_taken_by_themselves(self) -> None:
        table = pl.DataFrame(
            {"country": ["DE"], "is_online": [True], "amount": [1.0], "merchant_category": pl.Series([None], dtype=pl.String)}
        )
        assert segment_columns(table) == {"country": ["DE"], "channel": ["online"]}

    def test_a_column_that_is_not_there_is_named_with_the_nearest(self) -> None:
        with pytest.raises(InputError, match="did you mean 'age_group'"):
            segment_columns(pl.DataFrame({"age_group": ["a"]}), ["age_grp"])

    def test_numbers_fall_into_groups_of_equal_size_and_few_ones_stay(self) -> None:
        table = pl.DataFrame({"age": [float(i) for i in range(100)], "stars": [1, 2] * 50})
        found = segment_columns(table, ["age", "stars"])
        assert sorted({str(word) for word in found["age"]}) == [
            "0 to below 24.75",
            "24.75 to below 49.5",
            "49.5 to below 74.25",
            "74.25 to 99",
        ]
        assert {word: found["age"].count(word) for word in set(found["age"])} == dict.fromkeys(set(found["age"]), 25)
        assert set(found["stars"]) == {"1", "2"}

    def test_missing_numbers_and_truth_values_stay_missing(self) -> None:
        table = pl.DataFrame({"x": [None, math.nan, *range(20)], "b": [None, True, False] + [None] * 19}, strict=False)
        found = segment_columns(table, ["x", "b"])
        assert found["x"][:2] == [None, None]
        assert found["b"][:3] == [None, "yes", "no"]
