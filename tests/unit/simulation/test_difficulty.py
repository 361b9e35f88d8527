"""Not a toy: raw columns do not give fraud away, history helps, and nothing beats the stated bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import xgboost as xgb
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from fraudloop.door.rates import RATE_SCALE, RateTable
from fraudloop.simulation.generator import FraudDataGenerator, Generated

RAW = ("amount", "hour", "weekday", "merchant_category", "currency", "country", "is_online", "card_present", "latitude", "longitude",
       "device_type", "status", "utc_offset")  # fmt: skip
HISTORY = ("euro", "foreign", "from_home", "local_hour", "mean_before", "ratio", "count_before", "gap_s", "gap_3_s", "new_device", "new_merchant",
           "new_country", "device_count", "from_last", "merchant_gap_5_s", "device_gap_s", "count_24h", "sum_24h", "count_1h")  # fmt: skip


def features(world: Generated) -> pl.DataFrame:
    """Raw columns as numbers, and simple history by Polars, each from rows up to and including its own."""
    c = pl.col
    rates = pl.DataFrame(
        {
            "currency_name": [r.currency for r in RateTable.sample().rates],
            "rate": [r.value / 10**RATE_SCALE for r in RateTable.sample().rates],
        }
    )
    home = world.profiles.select(customer_id="id", home="home_country", home_latitude="home_latitude", home_longitude="home_longitude")
    words = ("merchant_category", "currency", "country", "device_type", "status")
    rows = (
        world.transactions.join(world.truth.select("transaction_id", "true_fraud", "scheme"), on="transaction_id", maintain_order="left")
        .join(home, on="customer_id", maintain_order="left")
        .with_columns(
            currency_name=c("currency"), country_name=c("country"), hour=c("timestamp").dt.hour(), weekday=c("timestamp").dt.weekday()
        )
        .join(rates, on="currency_name", maintain_order="left")
        .with_columns(c(word).rank("dense").cast(pl.Float64) for word in words)
        .with_columns(
            euro=c("amount") * c("rate"), local_hour=(c("timestamp") + pl.duration(minutes=c("utc_offset").cast(pl.Int64))).dt.hour(), one=1
        )
    )

    def degrees(north: pl.Expr, east: pl.Expr) -> pl.Expr:
        return (north**2 + east**2).sqrt()

    def since(rows_back: int, *key: str) -> pl.Expr:
        return (c("timestamp") - c("timestamp").shift(rows_back).over(key)).dt.total_seconds()

    before = pl.int_range(pl.len())
    rows = rows.with_columns(
        foreign=c("country_name") != c("home"),
        from_home=degrees(c("latitude") - c("home_latitude"), c("longitude") - c("home_longitude")),
        from_last=degrees(c("latitude").diff().over("customer_id"), c("longitude").diff().over("customer_id")),
        count_before=before.over("customer_id"),
        mean_before=(c("euro").cum_sum().over("customer_id") - c("euro")) / before.over("customer_id"),
        gap_s=since(1, "customer_id"),
        gap_3_s=since(3, "customer_id"),
        new_device=c("device_id").is_not_null() & (before.over("customer_id", "device_id") == 0),
        new_merchant=before.over("customer_id", "merchant_id") == 0,
        new_country=before.over("customer_id", "country_name") == 0,
        device_count=pl.when(c("device_id").is_not_null()).then(before.over("device_id")),
        device_gap_s=pl.when(c("device_id").is_not_null()).then(since(1, "device_id")),
        merchant_gap_5_s=since(5, "merchant_id"),
    )
    return rows.with_columns(
        ratio=c("euro") / c("mean_before"),
        count_24h=c("one").rolling_sum_by("timestamp", "24h").over("customer_id"),
        count_1h=c("one").rolling_sum_by("timestamp", "1h").over("customer_id"),
        sum_24h=c("euro").rolling_sum_by("timestamp", "24h").over("customer_id"),
    )


@dataclass(frozen=True)
class Result:
    auc_roc: float
    average_precision: float
    scores: NDArray[np.float64]


def learn(rows: pl.DataFrame, columns: tuple[str, ...], target: str) -> Result:
    """XGBoost on the first 65 % of the rows in time order, measured on the rest."""
    cut = int(rows.height * 0.65)
    x = rows.select(pl.col(column).cast(pl.Float64) for column in columns).to_numpy()
    y = rows[target].to_numpy().astype(int)
    model = xgb.XGBClassifier(
        n_estimators=120, max_depth=6, learning_rate=0.1, subsample=0.8, colsample_bytree=0.7, min_child_weight=3, n_jobs=1
    )
    scores = model.fit(x[:cut], y[:cut]).predict_proba(x[cut:])[:, 1]
    return Result(float(roc_auc_score(y[cut:], scores)), float(average_precision_score(y[cut:], scores)), scores)


def check(transactions: int, *, with_truth: bool) -> None:
    world = FraudDataGenerator(seed=21, transactions=transactions).generate()
    rows = features(world)
    raw, history = learn(rows, RAW, "is_fraud"), learn(rows, RAW + HISTORY, "is_fraud")
    bound = world.report.reachable_average_precision
    assert 0.80 < raw.auc_roc < 0.97, raw
    assert history.average_precision > 1.6 * raw.average_precision, (raw, history)
    assert history.average_precision < bound, (history, bound)
    if with_truth:
        assert learn(rows, RAW + HISTORY, "true_fraud").average_precision < world.report.reachable_average_precision_true
    # What nothing can tell apart from genuine purchases is not told apart: not above its night and foreign share.
    tail = rows[int(rows.height * 0.65) :]
    quiet = ((tail["scheme"] == "ordinary") & tail["true_fraud"]).to_numpy()
    genuine = ~tail["true_fraud"].to_numpy()
    alarm = history.scores > np.quantile(history.scores[genuine], 0.998)
    assert alarm[quiet].mean() < 0.06


def test_raw_columns_do_not_give_fraud_away_and_history_helps() -> None:
    check(80_000, with_truth=False)


@pytest.mark.prove
def test_the_same_holds_for_a_million_transactions() -> None:
    check(1_000_000, with_truth=True)


def test_a_judge_who_knows_the_strata_reaches_the_bound_and_no_more() -> None:
    """The bound is not slack of its own: ranking by the true probability comes close to it. What is missing is what the
    judge of the bound also hears (labels already known within a run) and scikit-learn's way with ties."""
    world = FraudDataGenerator(seed=22, transactions=200_000).generate()
    reached = average_precision_score(world.truth["true_fraud"].to_numpy(), world.truth["fraud_probability"].to_numpy())
    assert reached == pytest.approx(world.report.reachable_average_precision_true, abs=0.05)
    assert reached <= world.report.reachable_average_precision_true + 0.003
