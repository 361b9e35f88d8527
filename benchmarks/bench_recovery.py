"""Import of history, a snapshot, and a restart to ready: a log of many events, and a tail of live decisions behind the snapshot.

The table comes in pieces, so that memory holds the state and one piece. What is timed is a whole `import_file` (reading, door, fold, sealing,
log, flushes) less its snapshot, which is timed by itself; the restart is a fresh process from its start until its engine could decide.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import polars as pl

from benchmarks.tables import show
from fraudloop.clock import SystemClock
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.recovery import newest_first, recover
from fraudloop.engine.service import Service
from fraudloop.engine.snapshots import write
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.records import Transacted
from fraudloop.limits import DAY_US
from fraudloop.pipelines import importing
from fraudloop.pipelines.sealers import spare_processes
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import DEFAULT_HASH_KEY, Settings

BEGIN_US: Final = 1_704_067_200_000_000
DAYS: Final = 180
UNITS: Final = {"amount": "EUR"}

#: What a process does that is started again: its own lines of time, seconds since the parent started it.
RESTART: Final = """
import sys, time
from pathlib import Path
begin = float(sys.argv[3])
from benchmarks.bench_recovery import open_service
from fraudloop.engine.config import ServeConfig
service, read_s = open_service(ServeConfig(data=sys.argv[1]), Path(sys.argv[2]))
print(time.time() - begin, read_s, time.process_time(), service.engine.state.next_lsn, service.engine.state.digest())
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """events: imported. piece: of the table. tail: decided live behind the snapshot."""

    events: int = 10_000_000
    piece: int = 1_000_000
    tail: int = 200_000


QUICK: Final = Sizes(100_000, 50_000, 5_000)


def table(first: int, rows: int, total: int, seed: int = 1) -> pl.DataFrame:
    """Payments of a shop with a tenth as many customers as payments; ids and times go on from piece to piece."""
    random = np.random.default_rng([seed, first])
    number = np.arange(first, first + rows)

    def named(prefix: str, values: Any) -> pl.Series:
        return prefix + pl.Series(values).cast(pl.String)

    return pl.DataFrame(
        {
            "transaction_id": named("t", number),
            "timestamp": pl.Series(BEGIN_US + number * (DAYS * DAY_US // total)).cast(pl.Datetime("us", "UTC")),
            "customer_id": named("c", random.integers(0, max(10, total // 10), rows)),
            "merchant_id": named("m", random.zipf(1.3, rows) % 50_000),
            "device_id": named("d", random.integers(0, max(10, total // 8), rows)),
            "merchant_category": pl.Series(np.array(["grocery", "travel", "electronics", "fuel"])[random.integers(0, 4, rows)]),
            "amount": pl.Series(np.round(random.gamma(1.2, 40, rows) + 0.5, 2)),
            "currency": pl.Series(["EUR"] * rows),
            "country": pl.Series(np.array(["DE", "FR", "AT"])[random.integers(0, 3, rows)]),
            "is_online": pl.Series(random.random(rows) < 0.4),
        }
    )


def open_service(config: ServeConfig, store: Path) -> tuple[Service, float]:
    """A service that could decide, and the seconds of reading snapshot and log."""
    start = time.perf_counter()
    follower = recover(FolderFiles(config.log), config.snapshots, DEFAULT_HASH_KEY)
    assert not follower.passed_over, follower.passed_over
    read_s = time.perf_counter() - start
    service = Service.open(
        config, FolderFiles(config.log), BundleStore(store), SystemClock(), lambda lsn: None, key=DEFAULT_HASH_KEY, columns=TRANSACTION_SCHEMA, units=UNITS,
        standby=follower,
    )  # fmt: skip
    return service, read_s


class Payment:
    """A ticket that nobody waits for."""

    decide = True

    def __init__(self, row: dict[str, Any]) -> None:
        self.row, self.received_us, self.arrived_ns = row, int(row["received_at"]), time.perf_counter_ns()

    def together(self, records: Sequence[Transacted]) -> AbstractContextManager[object]:
        return nullcontext()

    def answer(self, record: Transacted, lsn: int) -> None:
        pass

    def refuse(self, error: Exception) -> None:
        raise AssertionError(str(error))


def live(service: Service, first: int, rows: int, total: int) -> None:
    """Decide payments in batches of 64, as a busy service does."""
    engine = service.engine
    made = table(first, rows, total).with_columns(pl.lit("payments").alias("flow"), (pl.col("amount") * 100).round().cast(pl.Int64).alias("amount_minor"))  # fmt: skip
    made = made.with_columns(pl.col("amount_minor").alias("amount_base"), pl.col("timestamp").alias("received_at")).drop("amount")
    have = set(made.columns)
    canonical = made.select([pl.col(name) if name in have else pl.lit(None).alias(name) for name in TRANSACTION_SCHEMA])
    for at, row in enumerate(canonical.with_columns(pl.col(pl.Datetime).dt.timestamp("us")).iter_rows(named=True), 1):
        engine.ask(Payment(row))
        if at % 64 == 0 or at == rows:
            engine.step()
            while len(engine.flights) > 32:
                engine.durable(engine.log.durable_lsn)
    engine.durable(engine.log.flush())


def children_s() -> float:
    """Seconds of processor time of the processes that sealed beside this one and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(quick: bool = False, sizes: Sizes | None = None) -> dict[str, object]:
    """Print the tables and return the figures."""
    sizes = sizes or (QUICK if quick else Sizes())
    total = sizes.events + sizes.tail
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = ServeConfig(data=str(folder / "data"), queue_ms_max=1e9)
        settings = Settings(store=folder / "store")
        snapshot_s: list[float] = []

        def timed(where: Path, state: Any) -> Path:
            start = time.perf_counter()
            out = write(where, state)
            snapshot_s.append(time.perf_counter() - start)
            return out

        patched = patch.object(importing, "write", timed)
        patched.start()
        clock_s = cpu_s = append_s = 0.0
        for first in range(0, sizes.events, sizes.piece):
            rows = min(sizes.piece, sizes.events - first)
            path = folder / "piece.parquet"
            table(first, rows, total).write_parquet(path)
            if first == 0:  # what every process compiles or loads once is no part of the rate
                warm = folder / "warm.parquet"
                table(0, 1_000, total).write_parquet(warm)
                importing.import_file(warm, ServeConfig(data=str(folder / "warm")), settings=settings)
                snapshot_s.clear()
            opening = time.perf_counter(), time.process_time()
            if first:  # its start is a restart, which is timed below
                recover(FolderFiles(config.log), config.snapshots, DEFAULT_HASH_KEY)
            opened = time.perf_counter() - opening[0], time.process_time() - opening[1]
            start, begin = time.perf_counter(), time.process_time() + children_s()
            found = importing.import_file(path, config, settings=settings, processes=spare_processes())
            clock_s += time.perf_counter() - start - snapshot_s[-1] - opened[0]
            cpu_s += time.process_time() + children_s() - begin - snapshot_s[-1] - opened[1]
            append_s += found.seconds
            print(f"  {first + rows:>12,} events, {(first + rows) / clock_s:,.0f}/s", flush=True)
        patched.stop()
        newest = newest_first(config.snapshots)[0]
        snapshot_bytes = sum(path.stat().st_size for path in newest.iterdir())
        log_bytes = sum(path.stat().st_size for path in config.log.iterdir())
        service, _ = open_service(config, settings.store)
        start = time.perf_counter()
        live(service, sizes.events, sizes.tail, total)
        live_s = time.perf_counter() - start
        digest, next_lsn = service.engine.state.digest(), service.engine.state.next_lsn
        service.close()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1_024
        del service
        begun = time.time()
        done = subprocess.run(
            [sys.executable, "-c", RESTART, config.data, str(settings.store), str(begun)], check=True, capture_output=True, text=True
        ).stdout.split()
    ready_s, read_s, ready_cpu_s = (float(word) for word in done[:3])
    assert done[4] == digest and int(done[3]) == next_lsn, "the restart has the state that was left"
    figures: dict[str, object] = {
        "events": sizes.events, "import_per_s": round(sizes.events / clock_s), "import_per_cpu_s": round(sizes.events / cpu_s),
        "append_per_s": round(sizes.events / append_s), "log_bytes_an_event": round(log_bytes / sizes.events), "snapshot_s": round(snapshot_s[-1], 2),
        "snapshot_bytes": snapshot_bytes, "tail": sizes.tail, "live_per_s": round(sizes.tail / live_s), "ready_s": round(ready_s, 2), "read_s": round(read_s, 2),
        "ready_cpu_s": round(ready_cpu_s, 2), "peak_bytes": peak,
    }  # fmt: skip
    show(f"Import of {sizes.events:,} events", ("", "events/s", "a second of processor time"),
         [["read, door, fold, seal, log", f"{figures['import_per_s']:,}", f"{figures['import_per_cpu_s']:,}"], ["fold, seal and log alone", f"{figures['append_per_s']:,}", ""]])  # fmt: skip
    show(f"Restart with a tail of {sizes.tail:,} live decisions", ("", "seconds"),
         [["snapshot written", figures["snapshot_s"]], ["snapshot and tail read", figures["read_s"]], ["process started to ready", figures["ready_s"]], ["of that processor time", figures["ready_cpu_s"]]])  # fmt: skip
    return figures


if __name__ == "__main__":
    main("--quick" in sys.argv, Sizes(int(sys.argv[sys.argv.index("--events") + 1])) if "--events" in sys.argv else None)
