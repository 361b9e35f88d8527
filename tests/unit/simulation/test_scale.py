"""Ten million transactions within their time and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

#: Runs the command and prints the peak of its own memory. What the kernel reports of a child (ru_maxrss) begins with the
#: memory of the process that started it, so a large test process would be measured instead.
PEAK = """
import sys
from pathlib import Path
from fraudloop.cli.main import run
code = run(sys.argv[1:])
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print("peak_kb", status["VmHWM"].split()[0])
sys.exit(code)
"""


def run(tmp_path: Path, rows: int) -> tuple[float, float]:
    """Seconds and peak memory in GB of writing so many rows in a process of their own."""
    command = [sys.executable, "-c", PEAK, "generate", "--transactions", str(rows), "--out", str(tmp_path / "t.parquet"), "--json"]
    before = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.monotonic() - before
    assert pq.ParquetFile(tmp_path / "t.parquet").metadata.num_rows == rows
    return seconds, int(done.stdout.rsplit("peak_kb", 1)[1]) / 1e6


pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which only Linux has")


@pytest.mark.prove
def test_ten_million_transactions_take_less_than_90_seconds_and_6_gb(tmp_path: Path) -> None:
    seconds, gigabytes = run(tmp_path, 10_000_000)
    assert seconds < 90 and gigabytes < 6


def test_memory_stays_far_below_the_table(tmp_path: Path) -> None:
    """A million rows are 250 MB as a table; the process holds a few blocks of it."""
    _, gigabytes = run(tmp_path, 1_000_000)
    assert gigabytes < 1.5
