"""A small table of payments whose fraud can partly be learned: for tests of training, without the fold or a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from fraudloop.domain.definitions import FeatureSet

FIRST = datetime(2024, 1, 1, tzinfo=UTC)

FEATURES = FeatureSet.from_dict(
    {
        "entities": {"customer": "customer_id"},
        "numbers": {"amount": {"column": "amount_base", "scale": 2}},
        "features": ["amount", "customer_count_24h", "customer_amount_mean_7d"],
    }
)

DAY_US = 86_400_000_000


def feature_table(rows: int = 6_000, days: int = 60, fraud_rate: float = 0.04, seed: int = 5, label_days: float = 5.0) -> pl.DataFrame:
    """One row a payment in time order. Fraud has higher amounts, more payments a day and other countries; a tenth of
    `customer_amount_mean_7d` is missing; the label of a fraud is known `label_days` after it."""
    random = np.random.default_rng(seed)
    seconds = np.sort(random.integers(0, days * 86_400, rows))
    fraud = random.random(rows) < fraud_rate
    amount = np.round(np.exp(random.normal(3.0, 0.8, rows) + 1.6 * fraud), 2)
    count = random.poisson(2.0 + 3.0 * fraud).astype(np.float64)
    mean = np.where(random.random(rows) < 0.1, np.nan, np.exp(random.normal(3.0, 0.3, rows)))
    country = np.where(random.random(rows) < 0.2 + 0.5 * fraud, random.choice(["US", "BR", "NG"], rows), "DE")
    times = [FIRST + timedelta(seconds=int(s)) for s in seconds]
    return pl.DataFrame(
        {
            "transaction_id": [f"t{i}" for i in range(rows)],
            "timestamp": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "customer_id": [f"c{i}" for i in random.integers(0, 300, rows)],
            "amount_base": (amount * 100).round().astype(np.int64),
            "country": country.tolist(),
            "amount": amount,
            "customer_count_24h": count,
            "customer_amount_mean_7d": mean,
            "is_fraud": fraud,
        }
    ).with_columns(label_known_at=pl.when("is_fraud").then(pl.col("timestamp") + timedelta(days=label_days)))
