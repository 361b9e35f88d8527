"""Reasons: a sentence and a stable code for every kind of feature, the largest contribution first."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.decisions.ranking import rank
from fraudloop.decisions.reasons import CATEGORY, CODES, COLUMN, MEANINGS, MISSING, Reason, ReasonWriter, reasons
from fraudloop.domain.definitions import FeatureSet, Kind
from fraudloop.scoring.inputs import Inputs

FEATURES = FeatureSet.from_dict(
    {
        "entities": {"customer": "customer_id", "merchant": "merchant_id"},
        "numbers": {"amount": {"column": "amount_base", "scale": 2}},
        "categories": {"country": "country"},
        "features": [
            "amount", "customer_count_24h", "merchant_count_7d_after_7d", "customer_amount_sum_24h", "customer_amount_mean_30d",
            "customer_amount_mean_7d", "customer_amount_std_30d", "customer_amount_min_24h", "customer_amount_max_24h",
            "customer_country_distinct_24h", "customer_amount_deviation", "merchant_fraud_count_30d", "merchant_fraud_rate_7d_after_7d",
            "merchant_fraud_streak_60d_after_7d", "merchant_seconds_since_genuine_60d", "customer_seconds_since_last",
            "customer_seconds_since_last_fraud", "customer_km_from_last", "customer_km_from_home", "customer_speed_kmh",
            "customer_impossible_travel", "customer_is_new_country", "customer_age_days", "is_foreign", "hour_of_day", "day_of_week",
            "is_weekend", "is_night",
            {"name": "amount_to_usual", "kind": "ratio", "of": ["amount", "customer_amount_mean_30d"]},
            {"name": "amount_over_usual", "kind": "difference", "of": ["amount", "customer_amount_mean_30d"]},
        ],
    }
)  # fmt: skip


def told(name: str, value: float | str | None, **others: float) -> Reason:
    [reason] = reasons(FEATURES, {name: value, **others}, {name: 1.5}, units={"amount": "EUR"})
    assert reason.contribution == 1.5
    assert reason.source == name
    return reason


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("customer_count_24h", 1.0, "1 payment by this customer in the last 24 hours"),
        ("customer_count_24h", 12.0, "12 payments by this customer in the last 24 hours"),
        ("merchant_count_7d_after_7d", 0.0, "no payment at this merchant in the 7 days up to 7 days ago"),
        ("customer_amount_sum_24h", 1234.5, "amount of payments by this customer in the last 24 hours adds up to 1,234.50 EUR"),
        ("customer_amount_std_30d", 3.0, "amount of payments by this customer varied by 3.00 EUR in the last 30 days (standard deviation)"),
        ("customer_amount_min_24h", 3.0, "this customer's smallest amount in the last 24 hours is 3.00 EUR"),
        ("customer_amount_max_24h", 3.0, "this customer's largest amount in the last 24 hours is 3.00 EUR"),
        ("customer_country_distinct_24h", 1.0, "1 country in payments by this customer in the last 24 hours"),
        ("customer_country_distinct_24h", 3.0, "3 different countries in payments by this customer in the last 24 hours"),
        ("customer_amount_deviation", -1.25, "amount is 1.2 standard deviations below this customer's mean over 30 days"),
        ("merchant_fraud_count_30d", 2.0, "2 frauds at this merchant became known in the last 30 days"),
        ("merchant_fraud_rate_7d_after_7d", 0.125, "12.5 % of payments at this merchant in the 7 days up to 7 days ago were fraud"),
        (
            "merchant_fraud_streak_60d_after_7d",
            3.0,
            "the latest 3 payments at this merchant in the 60 days up to 7 days ago were all fraud",
        ),
        ("merchant_fraud_streak_60d_after_7d", 0.0, "the latest payment at this merchant in the 60 days up to 7 days ago was genuine"),
        ("merchant_seconds_since_genuine_60d", 7200.0, "2 hours after the last genuine payment at this merchant"),
        ("customer_seconds_since_last", 45.0, "45 seconds after the last payment by this customer"),
        ("customer_seconds_since_last_fraud", 864000.0, "10 days after a fraud on this customer became known"),
        ("customer_km_from_last", 3.21, "3.20 km from this customer's last place"),
        ("customer_km_from_home", 1234.5, "1,234 km from this customer's home"),
        ("customer_speed_kmh", 1755.0, "1,755 km/h would have been needed from this customer's last place to this one"),
        ("customer_impossible_travel", 1.0, "too far from this customer's last place to have travelled"),
        ("customer_is_new_country", 1.0, "country not seen with this customer in 180 days"),
        ("customer_is_new_country", 0.0, "country seen with this customer before"),
        ("customer_age_days", 12.4, "this customer is known for 12 days"),
        ("is_foreign", 1.0, "outside this customer's home country"),
        ("hour_of_day", 23.0, "paid between 23:00 and 00:00 local time"),
        ("day_of_week", 6.0, "paid on a Sunday"),
        ("is_weekend", 0.0, "paid on a working day"),
        ("is_night", 1.0, "paid at night"),
        ("amount_to_usual", 6.1, "amount is 6.1 × this customer's mean amount in the last 30 days"),
        ("amount_over_usual", -5.0, "amount is 5.00 below this customer's mean amount in the last 30 days"),
    ],
)
def test_a_feature_is_a_sentence(name: str, value: float, text: str) -> None:
    assert told(name, value).text == text


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == {*CODES.values(), CATEGORY, COLUMN, MISSING}


def test_the_sentences_above_speak_of_every_kind() -> None:
    assert {f.kind for f in FEATURES.features} == set(Kind)
    assert len(set(CODES.values())) == len(Kind)


@pytest.mark.parametrize("name", FEATURES.names)
def test_the_code_goes_by_the_kind(name: str) -> None:
    kind = next(f.kind for f in FEATURES.features if f.name == name)
    assert told(name, 1.0).code == CODES[kind]


VELOCITY = FeatureSet.from_dict(
    {
        "entities": {"customer": "customer_id", "merchant": "merchant_id", "device": "device_id", "branch": "branch_id"},
        "numbers": {"amount": {"column": "amount_base", "scale": 2}},
        "features": [
            "customer_count_1h", "customer_count_24h", "customer_count_30d", "customer_amount_sum_24h", "customer_amount_sum_30d", "customer_age_days",
            "merchant_count_1h", "merchant_count_30d", "device_count_1h", "branch_count_1h",
        ],
    }
)  # fmt: skip


def told_of(name: str, value: float, typical: Mapping[str, float] | None = None, others: Mapping[str, float] | None = None) -> str:
    [reason] = reasons(VELOCITY, {name: value, **(others or {})}, {name: 1.0}, units={"amount": "EUR"}, typical=typical)
    return reason.text


@pytest.mark.parametrize(
    ("name", "value", "others", "text"),
    [
        ("customer_count_1h", 12.0, {"customer_count_30d": 731.0}, "12 payments by this customer in the last hour; this customer usually makes 1"),
        ("customer_count_1h", 12.0, {"customer_count_30d": 20.0}, "12 payments by this customer in the last hour; this customer usually makes fewer than 1"),
        ("customer_count_1h", 2.0, {"customer_count_30d": 1440.0}, "2 payments by this customer in the last hour, as usual"),
        ("customer_count_1h", 3.0, {"customer_count_24h": 26.0, "customer_count_30d": math.nan}, "3 payments by this customer in the last hour; this customer usually makes 1"),
        ("customer_count_1h", 3.0, {"customer_count_30d": 50.0, "customer_age_days": 2.0}, "3 payments by this customer in the last hour; this customer usually makes 1"),
        ("customer_count_1h", 3.0, {"customer_count_30d": 5.0, "customer_age_days": 0.05}, "3 payments by this customer in the last hour"),
        ("merchant_count_1h", 90.0, {"merchant_count_30d": 7_280.0}, "90 payments at this merchant in the last hour; this merchant usually takes 10"),
        ("device_count_1h", 3.0, {}, "3 payments from this device in the last hour"),
        ("branch_count_1h", 1.0, {}, "1 payment of this branch in the last hour"),
        ("customer_amount_sum_24h", 900.0, {"customer_amount_sum_30d": 3_800.0}, "amount of payments by this customer in the last 24 hours adds up to 900.00 EUR; usually 100.00 EUR"),
    ],
)  # fmt: skip
def test_what_is_usual_comes_from_the_longer_windows_of_the_same_row(name: str, value: float, others: dict[str, float], text: str) -> None:
    assert told_of(name, value, others=others) == text


def test_without_an_own_usual_number_the_typical_one_is_told_unless_it_is_the_same() -> None:
    typical = {"device_count_1h": 1.0, "customer_count_1h": 2.0}
    assert told_of("device_count_1h", 3.0, typical) == "3 payments from this device in the last hour; typical is 1"
    assert told_of("device_count_1h", 1.0, typical) == "1 payment from this device in the last hour"
    assert told_of("customer_count_1h", 3.0, typical, {"customer_count_30d": 722.0}).endswith("usually makes 1")
    [far] = reasons(FEATURES, {"customer_km_from_home": 840.0}, {"customer_km_from_home": 1.0}, typical={"customer_km_from_home": 3.2})
    assert far.text == "840 km from this customer's home; typical is 3.20 km"


def test_a_number_is_held_against_the_longest_usual_mean_that_is_known() -> None:
    usual = {"customer_amount_mean_7d": 100.0, "customer_amount_mean_30d": 67.54}
    assert told("amount", 412.0, **usual).text == "amount is 412.00 EUR, 6.1 × this customer's mean amount in the last 30 days of 67.54 EUR"
    shorter = told("amount", 412.0, **{**usual, "customer_amount_mean_30d": math.nan})
    assert shorter.text == "amount is 412.00 EUR, 4.1 × this customer's mean amount in the last 7 days of 100.00 EUR"
    assert told("amount", 412.0).text == "amount is 412.00 EUR"
    assert told("customer_amount_max_24h", 412.0, amount=412.0).text == "412.00 EUR is this customer's largest amount in the last 24 hours"
    assert told("customer_amount_mean_30d", 50.0, amount=200.0).text.endswith("is 50.00 EUR; this payment is 4.0 × that")


def test_a_deviation_tells_the_number_and_the_mean_where_the_row_has_them() -> None:
    found = told("customer_amount_deviation", 4.2, amount=412.0, customer_amount_mean_30d=67.54).text
    assert found == "amount 412.00 EUR is 4.2 standard deviations above this customer's mean of 67.54 EUR over 30 days"
    assert told("customer_amount_deviation", 0.01).text == "amount is this customer's mean over 30 days"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 seconds"), (1, "1 second"), (45, "45 seconds"), (119, "119 seconds"), (180, "3 minutes"), (7_200, "2 hours"), (200_000, "2 days")])  # fmt: skip
def test_durations_are_read_as_people_say_them(seconds: float, text: str) -> None:
    assert told("customer_seconds_since_last", float(seconds)).text == f"{text} after the last payment by this customer"


def test_which_way_and_how_far_is_said_in_words() -> None:
    found = reasons(FEATURES, {}, {"a": 1.5, "b": -0.5, "c": 0.1, "d": -2.0}, top=4)
    assert [(r.source, r.effect) for r in found] == [
        ("d", "lowers the risk strongly"), ("a", "raises the risk strongly"), ("b", "lowers the risk"), ("c", "raises the risk slightly"),
    ]  # fmt: skip
    assert [r.share for r in found] == pytest.approx([2.0 / 4.1, 1.5 / 4.1, 0.5 / 4.1, 0.1 / 4.1])


@pytest.mark.parametrize("value", [None, math.nan])
@pytest.mark.parametrize("name", FEATURES.names)
def test_what_is_not_known_says_so(name: str, value: float | None) -> None:
    reason = told(name, value)
    assert (reason.code, reason.contribution, reason.source) == (MISSING, 1.5, name)
    assert reason.text.endswith(" is not known")
    assert "_" not in reason.text
    assert "None" not in reason.text


def test_columns_that_are_no_features_have_a_sentence_too() -> None:
    assert told("merchant_category", "digital_goods") == Reason(
        CATEGORY, "merchant category is digital_goods", 1.5, "merchant_category", 1.0
    )
    assert told("city_pop", 12000.0) == Reason(COLUMN, "city pop is 12,000", 1.5, "city_pop", 1.0)


def test_the_largest_comes_first_whatever_its_sign_and_nothing_that_adds_nothing() -> None:
    found = reasons(FEATURES, {}, {"a": 0.5, "b": -2.0, "c": 0.0, "d": 0.5, "e": 0.1}, top=3)
    assert [(r.source, r.contribution) for r in found] == [("b", -2.0), ("a", 0.5), ("d", 0.5)]
    assert [r.source for r in reasons(FEATURES, {}, {"c": 0.0, "e": 0.1})] == ["e"]


# --- a writer for many rows ---------------------------------------------------------------------------------------

SETS = {"every kind": FEATURES, "velocity": VELOCITY, "default": FeatureSet.load("default")}


def test_the_recorded_reasons_are_written_to_the_letter() -> None:
    """Random rows and what was told of them when sentences were still made anew for every row."""
    for case in json.loads((Path(__file__).parents[2] / "golden" / "reasons.json").read_text("utf-8")):
        writer = ReasonWriter(SETS[case["set"]], case["units"], case["typical"])
        found = writer.of_row(case["values"], case["contributions"], case["top"])
        assert [(r.code, r.text, r.contribution, r.source) for r in found] == [tuple(row[:4]) for row in case["reasons"]]
        assert [r.share for r in found] == pytest.approx([row[4] for row in case["reasons"]], abs=1e-12)


@pytest.mark.parametrize("top", [0, 1, 4, 100])
def test_a_batch_has_the_reasons_of_its_rows(top: int) -> None:
    features = SETS["default"]
    random = np.random.default_rng(4)
    values = np.round(random.exponential(30.0, (25, len(features.names))), 2)
    values[random.random(values.shape) < 0.2] = math.nan
    words = [None if at % 3 == 0 else f"word {at}" for at in range(25)]
    columns = (*features.names[::-2], "category", "nowhere")
    contributions = np.round(random.normal(size=(25, len(columns))), 1)  # ties and zeros among them
    writer = ReasonWriter(features, {"amount": "EUR"}, dict.fromkeys(features.names[::3], 3.0))
    inputs = Inputs(features.names, values, {"category": words})
    alone = [
        writer.of_row(
            {**dict(zip(features.names, values[at].tolist(), strict=True)), "category": words[at]},
            dict(zip(columns, contributions[at].tolist(), strict=True)),
            top,
        )
        for at in range(25)
    ]
    assert writer.of_batch(inputs, columns, contributions, top) == alone
    asked = [7, 3, 20]
    assert writer.of_batch(inputs, columns, contributions[asked], top, asked) == [alone[at] for at in asked]
    assert writer.of_batch(inputs[:0], columns, contributions[:0], top) == []


ANY_NUMBER = st.one_of(
    st.integers(0, 40).map(float), st.floats(-1e3, 1e6), st.floats(), st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 1e300])
)


@given(st.data())
def test_whatever_rows_hold_a_batch_has_the_reasons_of_its_rows(data: st.DataObject) -> None:
    features = data.draw(st.sampled_from(list(SETS.values())))
    names = tuple(data.draw(st.lists(st.sampled_from((*features.names, "other")), unique=True)))
    n = data.draw(st.integers(1, 4))
    values = np.array(
        data.draw(st.lists(st.lists(ANY_NUMBER, min_size=len(names), max_size=len(names)), min_size=n, max_size=n)), np.float64
    ).reshape(n, len(names))
    words = data.draw(st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=n, max_size=n))
    columns = tuple(data.draw(st.permutations((*features.names, "category", "nowhere", "other"))))
    contributions = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(n, len(columns)))
    writer = ReasonWriter(features, {"amount": "EUR"}, dict.fromkeys(features.names[::2], 3.0))
    found = writer.of_batch(Inputs(names, values, {"category": words}), columns, contributions, 6)
    for at in range(n):
        row: dict[str, float | str | None] = {
            name: None if value != value and at % 2 else value for name, value in zip(names, values[at].tolist(), strict=True)
        }
        row["category"] = words[at]
        by_name = dict(zip(columns, contributions[at].tolist(), strict=True))
        assert writer.of_row(row, by_name, 6) == found[at] == reasons_made_anew(features, row, by_name)


def reasons_made_anew(features: FeatureSet, row: Mapping[str, float | str | None], contributions: Mapping[str, float]) -> list[Reason]:
    return reasons(features, row, contributions, top=6, units={"amount": "EUR"}, typical=dict.fromkeys(features.names[::2], 3.0))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("customer_count_24h", math.inf, "the number of payments by this customer in the last 24 hours is inf"),
        ("hour_of_day", -math.inf, "the local hour is -inf"),
        ("customer_amount_mean_30d", math.inf, "this customer's mean amount in the last 30 days is inf EUR"),
    ],
)
def test_what_has_no_end_is_told_all_the_same(name: str, value: float, text: str) -> None:
    assert told(name, value).text == text


def test_texts_are_right_beyond_as_many_as_are_kept() -> None:
    writer = ReasonWriter(FEATURES)
    for count in [*range(2, 1_500), *range(2, 1_500)]:
        [reason] = writer.of_row({"customer_count_24h": float(count)}, {"customer_count_24h": 1.0})
        assert reason.text == f"{count:,} payments by this customer in the last 24 hours"


@given(st.lists(st.lists(st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, -2.0, 3.25]), min_size=5, max_size=5), max_size=4), st.integers(0, 7))
def test_rank_is_the_sorted_order(rows: list[list[float]], top: int) -> None:
    order = np.array([3, 0, 4, 1, 2])
    places, chosen, whole = rank(np.array(rows).reshape(-1, 5), order, top)
    for row, found, values, total in zip(rows, places.tolist(), chosen.tolist(), whole.tolist(), strict=True):
        expected = sorted((at for at in order.tolist() if row[at]), key=lambda at: -abs(row[at]))[:top]
        assert [at for at in found if at >= 0] == expected
        assert values[: len(expected)] == [row[at] for at in expected]
        assert total == pytest.approx(sum(map(abs, row)))
