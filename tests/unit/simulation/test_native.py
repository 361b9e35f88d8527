"""What the generator writes passes the one door by the `native` map, to the last label."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from fraudloop.data.ingest import read
from fraudloop.simulation.generator import FraudDataGenerator


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz"])
def test_every_row_label_and_profile_is_admitted(suffix: str, tmp_path: Path) -> None:
    generator = FraudDataGenerator(seed=8, transactions=5_000)
    files = {name: tmp_path / f"{name}{suffix}" for name in ("transactions", "labels", "profiles")}
    generator.write(files["transactions"], labels=files["labels"], profiles=files["profiles"])
    made = generator.generate()

    beside = read(files["transactions"], "native")
    assert beside.rejected.height == 0 and beside.transactions.height == 5_000
    assert beside.transactions["amount_base"].null_count() == 0, "every currency has a rate"
    assert beside.transactions["utc_offset"].cast(pl.Int64).equals(made.transactions["utc_offset"].cast(pl.Int64))
    labelled = made.transactions.filter(pl.col("label_known_at").is_not_null()).sort("transaction_id")
    events = beside.labels.sort("transaction_id")
    assert events["transaction_id"].equals(labelled["transaction_id"]) and events["is_fraud"].equals(labelled["is_fraud"])
    assert events["source"].equals(labelled["label_source"])
    assert events["known_at"].dt.epoch("ms").equals(labelled["label_known_at"].dt.epoch("ms"))

    apart = read(files["transactions"], "native", labels=files["labels"], profiles=files["profiles"])
    assert apart.rejected.height == 0
    assert apart.labels.height == made.labels.height and apart.profiles.height == made.profiles.height
    assert apart.labels.filter(~pl.col("is_fraud")).height == made.report.reversed
    assert apart.profiles["home_latitude"].null_count() == 0
