"""A shop's small table with all that training reads of it, for tests that track and reproduce."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from fraudloop.pipelines.train import Trained, train_file
from fraudloop.settings import Settings
from fraudloop.training.config import TrainConfig
from fraudloop.training.mlflow_client import client
from fraudloop.training.tracking import Tracking
from tests.worlds import feature_table

FEATURES = """
features = ["amount", "hour_of_day", "customer_count_24h", "customer_amount_mean_7d"]
[entities]
customer = "customer_id"
[numbers]
amount = { column = "amount_base", scale = 2 }
"""
MAP = """
zone = "UTC"
aliases = false
features = "features.toml"
rates = "rates.csv"
[csv]
delimiter = ";"
[time]
format = "%d.%m.%Y %H:%M:%S%.f"
[columns]
transaction_id = "order"
timestamp = "when"
customer_id = "buyer"
amount = "total"
currency = "cur"
country = "land"
[label]
file = "labels.csv"
"""
RATES = "currency,valid_from,rate,version\nEUR,2000-01-01,1,shop-1\nUSD,2000-01-01,0.9,shop-1\n"
CONFIG = {
    "threads": 1, "members": 2, "folds": 2, "algorithms": ["logistic", "xgboost"], "xgboost": {"rounds": 24}, "budget": {"per_day": 20},
    "candidates": {"xgboost": [{"depth": 3}, {"depth": 4}]},
}  # fmt: skip
TEST = "2024-02-20..2024-02-29"


def local_tracking(folder: Path) -> Tracking:
    """The default place under a folder, with MLflow's tables in it: making them takes seconds, so they are made once."""
    tracking = Tracking.of("default", None, folder)
    assert tracking is not None
    path = Path(tracking.uri.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True)
    path.write_bytes(_empty_database())
    return tracking


@lru_cache(maxsize=1)
def _empty_database() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        client(f"sqlite:///{folder}/tracking.db")
        return (Path(folder) / "tracking.db").read_bytes()


def shop(folder: Path, rows: int = 3_000) -> Path:
    """Write the shop's files; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    table = feature_table(rows=rows)
    table.select(
        pl.col("transaction_id").alias("order"), pl.col("timestamp").dt.strftime("%d.%m.%Y %H:%M:%S%.6f").alias("when"), pl.col("customer_id").alias("buyer"),
        pl.col("amount").alias("total"), pl.when(pl.col("amount") < 9).then(pl.lit("USD")).otherwise(pl.lit("EUR")).alias("cur"), pl.col("country").alias("land"),
    ).write_csv(folder / "orders.csv", separator=";")  # fmt: skip
    table.filter("is_fraud").select(
        "transaction_id", "is_fraud", pl.col("label_known_at").dt.strftime("%d.%m.%Y %H:%M:%S%.6f").alias("known_at")
    ).write_csv(folder / "labels.csv", separator=";")
    (folder / "map.toml").write_text(MAP)
    (folder / "features.toml").write_text(FEATURES)
    (folder / "rates.csv").write_text(RATES)
    return folder


def train_shop(folder: Path, out: Path, tracking: Tracking | None = None, **config: Any) -> Trained:
    """Train the shop's model."""
    return train_file(
        folder / "orders.csv", out, columns=folder / "map.toml", test_days=TEST, label_delay="5d", config=TrainConfig.from_dict({**CONFIG, **config}),
        settings=Settings(zone="UTC"), tracking=tracking,
    )  # fmt: skip
