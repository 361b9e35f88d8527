"""Contracts hold independently of the door: tables that never passed it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from fraudloop.data.columns import Expectations
from fraudloop.data.contracts import Finding, check_business, check_labels, check_transactions
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.rates import RateTable
from fraudloop.door.shape import Shape
from fraudloop.door.table import admit, polars_schema

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def transactions(n: int = 3) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"transaction_id": [f"t{i}" for i in range(n)], "timestamp": [NOON] * n, "amount": ["1"] * n, "currency": ["EUR"] * n}
    )
    return admit(frame, Shape(), RateTable.sample()).accepted.drop("row")


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("amount_minor", 10**15 + 1, "amount_minor.range"),
        ("timestamp", datetime(1969, 12, 31, tzinfo=UTC), "timestamp.range"),
        ("utc_offset", 15 * 60, "utc_offset.range"),
        ("latitude", 900_000_001, "latitude.range"),
        ("home_longitude", -1_800_000_001, "home_longitude.range"),
        ("country", "QQ", "country.unknown"),
        ("currency", "euro", "currency.format"),
        ("status", "teapot", "status.unknown"),
        ("customer_id", "x" * 1_025, "customer_id.length"),
        ("flow", "", "flow.length"),
    ],
)
def test_a_value_out_of_range_or_format_is_found_in_its_row(column: str, value: object, rule: str) -> None:
    table = transactions()
    dtype = polars_schema(TRANSACTION_SCHEMA)[column]
    table = table.with_columns(pl.when(pl.int_range(pl.len()) == 1).then(pl.lit(value, dtype=dtype)).otherwise(column).alias(column))
    checked = check_transactions(table, Expectations(), {})
    assert checked.bad.select("at", "column", "rule").rows() == [(1, column, rule)]
    assert [(f.rule, f.rows) for f in checked.findings] == [(rule, 1)]


def test_a_good_table_has_no_findings() -> None:
    checked = check_transactions(transactions(), Expectations(), {})
    assert checked.bad.is_empty()
    assert checked.findings == ()


@pytest.mark.parametrize("change", [pl.col("amount_minor").cast(pl.Float64), pl.lit(None, dtype=pl.String).alias("transaction_id")])
def test_a_table_of_the_wrong_types_is_a_defect_of_the_door(change: pl.Expr) -> None:
    with pytest.raises(AssertionError, match="breaks its own contract"):
        check_transactions(transactions().with_columns(change), Expectations(), {})


def test_all_failures_are_collected_and_nulls_are_none() -> None:
    table = transactions().with_columns(points=pl.Series([5.0, 11.0, None]), kind=pl.Series(["a", "z", None]))
    expect = Expectations(ranges={"points": (0, 10)}, values={"kind": ("a", "b")})
    checked = check_transactions(table, expect, {"points": pl.Float64(), "kind": pl.String()})
    assert checked.bad.select("at", "rule").sort("rule").rows() == [(1, "expect.kind.values"), (1, "expect.points.range")]


def test_labels_are_held_against_their_transactions() -> None:
    labels = pl.DataFrame(
        {
            "transaction_id": ["a", "b", "c", "d"],
            "is_fraud": [True] * 4,
            "source": ["review", "review", "review", "horoscope"],
            "known_at": [NOON, NOON - timedelta(microseconds=1), NOON, NOON],
            "reason": pl.Series([None] * 4, dtype=pl.String),
            "transaction_time": [NOON, NOON, None, NOON],
        },
        schema_overrides={"known_at": pl.Datetime("us", "UTC"), "transaction_time": pl.Datetime("us", "UTC")},
    )
    assert check_labels(labels).bad.select("at", "column", "rule").rows() == [
        (1, "known_at", "label.before_transaction"),
        (2, "transaction_id", "label.no_transaction"),
        (3, "source", "source.unknown"),
    ]


def test_business_rules_are_failures_or_remarks() -> None:
    fit = {"fraud_rate": 0.01, "out_of_order_rows": 0, "unknown_currency_rows": 0, "no_rate_rows": 0}
    assert check_business(fit, Expectations()) == ()
    assert check_business({**fit, "fraud_rate": None}, Expectations()) == ()
    assert check_business({**fit, "fraud_rate": 0.6}, Expectations()) == (
        Finding("business", "fraud_rate", "60.0000% outside the expected 0.0000% to 50.0000%", 0, True),
    )
    for strict in (False, True):
        found = check_business({**fit, "out_of_order_rows": 3}, Expectations(sorted_by_time=strict))
        assert [(f.rule, f.rows, f.failure) for f in found] == [("time_order", 3, strict)]
