"""Ten million transactions within their time and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest


def run(tmp_path: Path, rows: int) -> tuple[float, float]:
    """Seconds and peak memory in GB of writing so many rows in a process of their own."""
    before = time.monotonic()
    command = [sys.executable, "-m", "fraudloop", "generate", "--transactions", str(rows), "--out", str(tmp_path / "t.parquet"), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)  # of this child alone: others of this process may have been larger
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.num_rows == rows
    return time.monotonic() - before, used.ru_maxrss / 1e6


@pytest.mark.prove
def test_ten_million_transactions_take_less_than_90_seconds_and_6_gb(tmp_path: Path) -> None:
    seconds, gigabytes = run(tmp_path, 10_000_000)
    assert seconds < 90 and gigabytes < 6


def test_memory_stays_far_below_the_table(tmp_path: Path) -> None:
    """A million rows are 250 MB as a table; the process holds a few blocks of it."""
    _, gigabytes = run(tmp_path, 1_000_000)
    assert gigabytes < 1.5
