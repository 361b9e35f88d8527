"""Records of a history made here and beside: the same payments in the same order, whatever becomes of the processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fraudloop.door.identity import hash_texts
from fraudloop.ledger.personal import Sealing, Vault
from fraudloop.ledger.records import Transacted, decode
from fraudloop.limits import IMPORT_PROCESSES_MAX
from fraudloop.pipelines.sealers import Payments, Sealers, runs_of, spare_processes, to_records

COLUMNS = ("transaction_id", "customer_id", "amount_minor")
SEALING = Sealing.of(COLUMNS)
RUNS, ROWS = 9, 40


def runs() -> Iterator[Payments]:
    n = RUNS * ROWS
    customers = [f"c{at % 7}" if at % 11 else None for at in range(n)]
    public = pl.DataFrame({"transaction_id": [f"t{at}" for at in range(n)], "customer_id": [None] * n, "amount_minor": range(n)})
    spans = (
        (np.arange(begin, begin + ROWS), np.empty((ROWS, 0, 2), np.uint64), np.arange(begin, begin + ROWS)) for begin in range(0, n, ROWS)
    )
    return runs_of(public, pl.DataFrame({"customer_id": customers}), [(-1, hash_texts(customers))], spans)


def told(records: list[bytes], vault: Vault) -> list[tuple[object, ...]]:
    """What records say, unsealed."""
    out: list[tuple[object, ...]] = []
    for data in records:
        record = decode(data)
        assert isinstance(record, Transacted)
        out.append((*SEALING.unseal(vault, record.row, record.personal, record.hashes).values(), record.received_us))
    return out


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.open(tmp_path / "vault")


@pytest.fixture
def expected() -> list[tuple[object, ...]]:
    return [(f"t{at}", f"c{at % 7}" if at % 11 else None, at, at) for at in range(RUNS * ROWS)]


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_runs_come_back_whole_and_in_order(tmp_path: Path, vault: Vault, expected: list[tuple[object, ...]], processes: int) -> None:
    with Sealers(SEALING, vault, tmp_path / "vault", processes) as sealers:
        found = [told(records, vault) for records in sealers.records(runs())]
    assert [len(one) for one in found] == [ROWS] * RUNS
    assert [row for one in found for row in one] == expected


def test_a_process_that_is_killed_loses_nothing(tmp_path: Path, vault: Vault, expected: list[tuple[object, ...]]) -> None:
    found = []
    with Sealers(SEALING, vault, tmp_path / "vault", 1) as sealers:
        for number, records in enumerate(sealers.records(runs())):
            found += told(records, vault)
            if number == 1 and sealers._pool is not None:
                for pid in list(sealers._pool._processes):
                    os.kill(pid, signal.SIGKILL)
    assert found == expected


KILLED = """
import sys, time
import numpy as np
import polars as pl
from fraudloop.pipelines.sealers import Payments, Sealers
if __name__ == "__main__":
    run = Payments(pl.DataFrame({"transaction_id": ["x" * 4_000] * 400}), pl.DataFrame(), np.empty((400, 0, 2), np.uint64), np.arange(400))
    with Sealers(None, None, None, 1) as sealers:
        for _ in sealers.records([run] * 3):
            pass
        print(*sealers._pool._processes, flush=True)
        for _ in range(2):
            sealers._submit(run)  # more than a pipe holds, for nobody
        time.sleep(60)
"""


def test_who_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    end = time.monotonic() + 20
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < end, "the process beside is still there"
        time.sleep(0.05)


def test_without_sealing_rows_are_as_they_are() -> None:
    run = next(runs())
    first = decode(to_records(run, None, None)[0])
    assert isinstance(first, Transacted)
    assert (tuple(first.row), first.personal, first.hashes) == (("t0", None, 0), b"", b"")


def test_a_machine_keeps_a_core_for_the_fold() -> None:
    assert 0 <= spare_processes() <= min(IMPORT_PROCESSES_MAX, (os.cpu_count() or 1) - 1)
