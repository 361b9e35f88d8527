"""Files are whole or not there, and say the same in every format."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from fraudloop.errors import InputError
from fraudloop.simulation.generator import FraudDataGenerator
from fraudloop.simulation.writers import open_table


def test_csv_gzipped_csv_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    generator = FraudDataGenerator(seed=4, transactions=2_000, days=30)
    for name in ("t.csv", "t.csv.gz", "t.parquet"):
        generator.write(tmp_path / name)
    text = (tmp_path / "t.csv").read_bytes()
    assert gzip.decompress((tmp_path / "t.csv.gz").read_bytes()) == text
    table = pl.read_parquet(tmp_path / "t.parquet")
    again = pl.read_csv(tmp_path / "t.csv", schema_overrides={"utc_offset": pl.Int16}).with_columns(
        pl.col("timestamp", "label_known_at").str.to_datetime(time_unit="us", time_zone="UTC")
    )
    assert again.equals(table)


def test_row_groups_have_the_size_of_a_chunk(tmp_path: Path) -> None:
    FraudDataGenerator(seed=4, transactions=2_500).write(tmp_path / "t.parquet", chunk_rows=1_000)
    meta = pq.ParquetFile(tmp_path / "t.parquet").metadata
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [1_000, 1_000, 500]


def test_a_broken_run_leaves_no_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("old")

    def fail() -> None:
        with open_table(path, 10) as table:
            table.write(pl.DataFrame({"a": [1]}))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("out", "labels", "says"),
    [("t.xlsx", None, "must end in"), ("none/t.csv", None, "no folder"), ("t.csv", "t.csv", "same file"), ("t.csv", "l.txt", "labels")],
)
def test_a_file_that_cannot_be_written_is_refused_before_any_work(out: str, labels: str | None, says: str, tmp_path: Path) -> None:
    generator = FraudDataGenerator(transactions=1_000_000)
    with pytest.raises(InputError, match=says):
        generator.write(tmp_path / out, labels=tmp_path / labels if labels else None)
    assert not list(tmp_path.iterdir())
