"""A shop's payments in CSV under other names, with the column map and the feature set to read them: for tests of commands."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tests.worlds import feature_table

FEATURES = """
features = ["amount", "hour_of_day", "customer_count_24h", "customer_amount_mean_7d"]
[entities]
customer = "customer_id"
[numbers]
amount = { column = "amount_base", scale = 2 }
"""


def write_shop(path: Path, rows: int = 5_000) -> Path:
    """Write `orders.csv`, `map.toml` and `features.toml` into a folder, and give it back."""
    table = feature_table(rows=rows)
    table.select(
        pl.col("transaction_id").alias("order"), pl.col("timestamp").dt.strftime("%d.%m.%Y %H:%M:%S%.6f").alias("when"), pl.col("customer_id").alias("buyer"),
        pl.col("amount").alias("total"), pl.lit("EUR").alias("cur"), pl.col("country").alias("land"), pl.col("is_fraud").cast(pl.Int8).alias("bad"),
    ).write_csv(path / "orders.csv", separator=";")  # fmt: skip
    (path / "map.toml").write_text(
        'zone = "UTC"\naliases = false\n[csv]\ndelimiter = ";"\n[time]\nformat = "%d.%m.%Y %H:%M:%S%.f"\n'
        '[columns]\ntransaction_id = "order"\ntimestamp = "when"\ncustomer_id = "buyer"\namount = "total"\ncurrency = "cur"\ncountry = "land"\n'
        '[label]\ncolumn = "bad"\ndelay = "5d"\n'
    )
    (path / "features.toml").write_text(FEATURES)
    return path
