"""Reasons: a sentence and a stable code for every kind of feature, the largest contribution first."""

from __future__ import annotations

import math

import pytest

from fraudloop.decisions.reasons import CATEGORY, CODES, COLUMN, MISSING, Reason, reasons
from fraudloop.domain.definitions import FeatureSet, Kind

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
        ("customer_count_24h", 1.0, "1 transaction of this customer in the last 24h"),
        ("customer_count_24h", 12.0, "12 transactions of this customer in the last 24h"),
        ("merchant_count_7d_after_7d", 0.0, "no transaction of this merchant in 7d up to 7d ago"),
        ("customer_amount_sum_24h", 1234.5, "amount adds up to 1,234.50 EUR for this customer in the last 24h"),
        ("customer_amount_std_30d", 3.0, "this customer's standard deviation of amount in the last 30d is 3.00 EUR"),
        ("customer_amount_min_24h", 3.0, "this customer's smallest amount in the last 24h is 3.00 EUR"),
        ("customer_amount_max_24h", 3.0, "this customer's largest amount in the last 24h is 3.00 EUR"),
        ("customer_country_distinct_24h", 1.0, "1 country with this customer in the last 24h"),
        ("customer_country_distinct_24h", 3.0, "3 different countries with this customer in the last 24h"),
        ("customer_amount_deviation", -1.25, "amount is 1.2 standard deviations below this customer's 30d mean"),
        ("merchant_fraud_count_30d", 2.0, "2 frauds of this merchant became known in the last 30d"),
        ("merchant_fraud_rate_7d_after_7d", 0.125, "12.5 % of this merchant's transactions in 7d up to 7d ago were fraud"),
        ("merchant_fraud_streak_60d_after_7d", 3.0, "the last 3 transactions of this merchant in 60d up to 7d ago were all fraud"),
        ("merchant_fraud_streak_60d_after_7d", 0.0, "the latest transaction of this merchant in 60d up to 7d ago was genuine"),
        ("merchant_seconds_since_genuine_60d", 7200.0, "2.0 h after this merchant's last genuine transaction"),
        ("customer_seconds_since_last", 45.0, "45 s after this customer's last transaction"),
        ("customer_seconds_since_last_fraud", 864000.0, "10.0 days after a fraud of this customer became known"),
        ("customer_km_from_last", 3.21, "3.20 km from this customer's last place"),
        ("customer_km_from_home", 1234.5, "1,234 km from this customer's home"),
        ("customer_speed_kmh", 1755.0, "1,755 km/h from this customer's last place to this one"),
        ("customer_impossible_travel", 1.0, "too far from this customer's last place to have travelled"),
        ("customer_is_new_country", 1.0, "country not seen with this customer in 180 days"),
        ("customer_is_new_country", 0.0, "country seen with this customer before"),
        ("customer_age_days", 12.4, "this customer is known for 12 days"),
        ("is_foreign", 1.0, "outside this customer's home country"),
        ("hour_of_day", 23.0, "paid between 23:00 and 00:00 local time"),
        ("day_of_week", 6.0, "paid on a Sunday"),
        ("is_weekend", 0.0, "paid on a working day"),
        ("is_night", 1.0, "paid at night"),
        ("amount_to_usual", 6.1, "amount is 6.1 × customer amount mean 30d"),
        ("amount_over_usual", -5.0, "amount is 5.00 below customer amount mean 30d"),
    ],
)
def test_a_feature_is_a_sentence(name: str, value: float, text: str) -> None:
    assert told(name, value).text == text


def test_the_sentences_above_speak_of_every_kind() -> None:
    assert {f.kind for f in FEATURES.features} == set(Kind)
    assert len(set(CODES.values())) == len(Kind)


@pytest.mark.parametrize("name", FEATURES.names)
def test_the_code_goes_by_the_kind(name: str) -> None:
    kind = next(f.kind for f in FEATURES.features if f.name == name)
    assert told(name, 1.0).code == CODES[kind]


def test_a_number_is_held_against_the_longest_usual_mean_that_is_known() -> None:
    usual = {"customer_amount_mean_7d": 100.0, "customer_amount_mean_30d": 67.54}
    assert told("amount", 412.0, **usual).text == "amount 412.00 EUR, 6.1 × the customer's 30d mean"
    assert (
        told("amount", 412.0, **{**usual, "customer_amount_mean_30d": math.nan}).text == "amount 412.00 EUR, 4.1 × the customer's 7d mean"
    )
    assert told("amount", 412.0).text == "amount 412.00 EUR"
    assert told("customer_amount_max_24h", 412.0, amount=412.0).text == "412.00 EUR is this customer's largest amount in the last 24h"
    assert told("customer_amount_mean_30d", 50.0, amount=200.0).text.endswith("is 50.00 EUR; this one is 4.0 ×")


@pytest.mark.parametrize("value", [None, math.nan])
def test_what_is_not_known_says_so(value: float | None) -> None:
    assert told("customer_km_from_home", value) == Reason(MISSING, "customer_km_from_home is not known", 1.5, "customer_km_from_home")


def test_columns_that_are_no_features_have_a_sentence_too() -> None:
    assert told("merchant_category", "digital_goods") == Reason(CATEGORY, "merchant category is digital_goods", 1.5, "merchant_category")
    assert told("city_pop", 12000.0) == Reason(COLUMN, "city pop is 12,000", 1.5, "city_pop")


def test_the_largest_comes_first_whatever_its_sign_and_nothing_that_adds_nothing() -> None:
    found = reasons(FEATURES, {}, {"a": 0.5, "b": -2.0, "c": 0.0, "d": 0.5, "e": 0.1}, top=3)
    assert [(r.source, r.contribution) for r in found] == [("b", -2.0), ("a", 0.5), ("d", 0.5)]
    assert [r.source for r in reasons(FEATURES, {}, {"c": 0.0, "e": 0.1})] == ["e"]
