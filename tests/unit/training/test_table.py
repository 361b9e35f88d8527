"""The feature table as arrays: columns, days of a zone, cards, and which label was known when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from fraudloop.errors import InputError
from fraudloop.training import table as t
from tests.worlds import DAY_US, FIRST, feature_table


def at(day: float) -> datetime:
    return FIRST + timedelta(days=day)


def us(day: float) -> int:
    return round(at(day).timestamp() * 1_000_000)


def test_features_come_first_then_the_users_own_numbers_and_lacking_ones_are_named() -> None:
    table = feature_table(200).with_columns(own=pl.lit(1.0))
    assert t.number_columns(table, ["customer_count_24h", "amount"]) == ("customer_count_24h", "amount", "customer_amount_mean_7d", "own")
    with pytest.raises(InputError, match="lacks 1 of 2 features: customer_count_24; the nearest column is 'customer_count_24h'"):
        t.number_columns(table, ["amount", "customer_count_24"])


def test_categories_are_words_not_ids_and_not_constants() -> None:
    table = feature_table(300).with_columns(status=pl.lit("authorised"), window_status=pl.lit("in_time"), one=pl.lit("same"))
    assert t.word_columns(table) == ("country",)
    assert t.word_columns(table, ["one"]) == ("one",)
    with pytest.raises(InputError, match="no category column 'contry'; did you mean 'country'"):
        t.word_columns(table, ["contry"])


def test_days_are_those_of_the_zone() -> None:
    table = pl.DataFrame({"timestamp": [datetime(1970, 1, 1, 23, 30, tzinfo=UTC), datetime(1969, 12, 31, 23, 30, tzinfo=UTC)]})
    assert t.local_days(table, "UTC").tolist() == [0, -1]
    assert t.local_days(table, "Europe/Berlin").tolist() == [1, 0]


def test_a_card_is_its_id_else_its_customer_else_its_own() -> None:
    table = pl.DataFrame({"card_id": ["a", None, None, "a", None], "customer_id": ["x", "y", "y", "z", None]})
    codes = t.cards(table)
    assert codes[0] == codes[3]
    assert codes[1] == codes[2]
    assert len(set(codes.tolist())) == 3
    assert len(set(t.cards(pl.DataFrame({"transaction_id": ["1", "2"]})).tolist())) == 2


def test_a_label_counts_from_when_it_is_known() -> None:
    table = pl.DataFrame(
        {
            "transaction_id": ["1", "2", "3", "4"],
            "timestamp": [at(0)] * 4,
            "is_fraud": [True, True, False, None],
            "label_known_at": [at(3), None, at(1), None],
        }
    )
    truth = t.truth_of(table, 7 * DAY_US)
    assert truth.by(us(3) - 1).tolist() == [False] * 4
    assert truth.by(us(3)).tolist() == [True, False, False, False]
    assert truth.by(us(7)).tolist() == [True, True, False, False]
    assert truth.stated.tolist() == [True, True, True, False]


def test_a_reversal_counts_from_when_it_came() -> None:
    table = pl.DataFrame(
        {"transaction_id": ["1", "2"], "timestamp": [at(0)] * 2, "is_fraud": [False, True], "label_known_at": [at(20), at(5)]}
    )
    labels = pl.DataFrame(
        {
            "transaction_id": ["1", "1", "2"],
            "is_fraud": [True, False, True],
            "source": ["chargeback", "chargeback", "review"],
            "known_at": [at(2), at(20), at(5)],
            "reason": [None, None, None],
        },
        schema_overrides={"reason": pl.String},
    )
    truth = t.truth_of(table, 7 * DAY_US, labels)
    assert [truth.by(us(day)).tolist() for day in (1, 2, 19, 20)] == [[False, False], [True, False], [True, True], [False, True]]


def test_a_table_without_labels_says_so() -> None:
    with pytest.raises(InputError, match="no labels"):
        t.truth_of(pl.DataFrame({"transaction_id": ["1"], "timestamp": [at(0)]}), 0)


def test_inputs_are_numbers_and_words_with_null_as_missing() -> None:
    inputs = t.inputs_of(pl.DataFrame({"a": [1, None], "w": ["x", None]}), ["a"], ["w"])
    np.testing.assert_array_equal(inputs.values, [[1.0], [np.nan]])
    assert inputs.categories["w"] == ["x", None]


def test_money_is_in_units_of_the_base_currency() -> None:
    assert t.amounts(pl.DataFrame({"amount_base": [1234, None]})).tolist() == [12.34, 0.0]
    assert t.amounts(pl.DataFrame({"amount": [1.5, None]})).tolist() == [1.5, 0.0]
