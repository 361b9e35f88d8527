"""The fold on one core: history at full speed, micro-batches, bytes of state, digest and snapshots.

    python -m benchmarks.bench_fold [--quick | --full]

Events are made before the clock runs: what is timed is `Fold.step`. Rates are given by processor time (what one core
does when it has nothing else to do) and by the wall clock. `--full` gives a million customers all of their 45
payments in 30 days (46 million events, about 4 GB and 10 minutes); without it each has about five.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

from benchmarks.tables import show
from benchmarks.worlds import Payments, handbook_shaped, labels_of
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.assemble import assemble
from fraudloop.door.events import Events
from fraudloop.features.fold import Fold, Vectors
from fraudloop.features.plan import compile_plan
from fraudloop.features.warm import warm
from fraudloop.pipelines.features import CHUNK_EVENTS, events_of

HANDBOOK: Final = "FRAUDLOOP_HANDBOOK"
BATCH: Final = 32

#: Customers from which the growth of the process says something of a customer: the fold begins with 64 MB, and what
#: earlier cases gave back is as much.
RESIDENT_FROM: Final = 100_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """rounds: how often the Handbook-shaped table is folded. days: of that table. few, many: customers. few_warm,
    few_timed, many_warm, many_timed: payments. batches: micro-batches timed. chunk: payments a step."""

    rounds: int
    customers: int
    terminals: int
    days: int
    few: int
    few_warm: int
    few_timed: int
    many: int
    many_warm: int
    many_timed: int
    batches: int
    chunk: int = CHUNK_EVENTS


# 5,000 customers make 7,500 payments a day: the windows of 30 days are full after 225,000, and 45 days are warm-up.
NORMAL: Final = Sizes(3, 5_000, 10_000, 183, 5_000, 340_000, 1_050_000, 1_000_000, 1_300_000, 4_000_000, 4_000)
FULL: Final = Sizes(3, 5_000, 10_000, 183, 5_000, 340_000, 1_050_000, 1_000_000, 45_000_000, 1_600_000, 4_000)
QUICK: Final = Sizes(3, 5_000, 10_000, 60, 5_000, 250_000, 525_000, 200_000, 262_144, 1_050_000, 1_000)


class _Clock:
    """Seconds of processor and wall clock spent inside `with`, run by run."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def __enter__(self) -> None:
        self._start = time.process_time(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.cpu.append(time.process_time() - self._start[0])
        self.wall.append(time.perf_counter() - self._start[1])


def _room(features: FeatureSet, rows: int) -> Vectors:
    """Arrays that steps fill again and again, as a service does; written to, so that they count as memory before the fold does."""
    return Vectors(np.ones((rows, len(features.names))), np.ones(rows, np.uint8), np.ones(rows, np.uint32))


def _fill(fold: Fold, runs: Iterable[Events], room: Vectors) -> list[tuple[int, float, float]]:
    """Fold some runs; by run the transactions, the seconds of processor and of wall clock."""
    out = []
    for run in runs:
        n, clock = run.transactions, _Clock()
        view = Vectors(room.values[:n], room.status[:n], room.approximate[:n])
        with clock:
            fold.step(run, view)
        out.append((n, clock.cpu[0], clock.wall[0]))
    return out


def _rates(spent: list[tuple[int, float, float]]) -> dict[str, float]:
    """Median and slowest run by processor time, median by wall clock, in transactions a second. The last, short run is left out."""
    whole = [row for row in spent if row[0] * 2 >= spent[0][0]]
    by_cpu = [n / cpu for n, cpu, _ in whole]
    return {
        "transactions_per_cpu_s": round(median(by_cpu)),
        "slowest_run_per_cpu_s": round(min(by_cpu)),
        "transactions_per_wall_s": round(median(n / wall for n, _, wall in whole)),
        "transactions": sum(n for n, _, _ in spent),
        "runs": len(whole),
    }


def resident_bytes() -> int | None:
    """Memory of this process, where the system tells."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") if file.is_file() else None


def handbook(sizes: Sizes) -> dict[str, Any]:
    """The Handbook preset over a table of its shape, from an empty state each round."""
    features = FeatureSet.load("handbook")
    path = os.environ.get(HANDBOOK)
    if path:
        _, events = events_of(path, "handbook", features)
    else:
        table = handbook_shaped(sizes.customers, sizes.terminals, sizes.days)
        events = assemble(table, labels_of(table), None, features)
    room = _room(features, min(sizes.chunk, len(events)))
    rounds = []
    for _ in range(sizes.rounds):
        spent = _fill(Fold(compile_plan(features)), (events[at : at + sizes.chunk] for at in range(0, len(events), sizes.chunk)), room)
        rounds.append((sum(n for n, _, _ in spent), sum(cpu for _, cpu, _ in spent), sum(wall for _, _, wall in spent)))
    return {"table": "the Handbook's own" if path else "made, of the Handbook's shape", "features": len(features.names), **_rates(rounds)}


def micro(fold: Fold, payments: Payments, features: FeatureSet, begin: int, batches: int) -> dict[str, float]:
    """Batches of 32, each a step of its own, on the state that is there; microseconds."""
    room, clock = _room(features, BATCH), _Clock()
    # Batches are cut from one run and copied out: each comes from memory of its own, as from a socket.
    run = payments.events(features, begin, begin + batches * BATCH)
    for at in range(0, len(run) - BATCH, BATCH):
        batch = run[at : at + BATCH]
        batch = Events(batch.kind.copy(), batch.time_us.copy(), batch.received_us.copy(), batch.keys.copy(), batch.numbers.copy(),
                       batch.row.copy(), batch.key_names, batch.number_names)  # fmt: skip
        n = batch.transactions
        view = Vectors(room.values[:n], room.status[:n], room.approximate[:n])
        with clock:
            fold.step(batch, view)
    return {
        "batches": len(clock.cpu),
        "median_us": round(median(clock.wall) * 1e6, 1),
        "p99_us": round(float(np.quantile(clock.wall, 0.99)) * 1e6, 1),
        "median_cpu_us": round(median(clock.cpu) * 1e6, 1),
        "p99_cpu_us": round(float(np.quantile(clock.cpu, 0.99)) * 1e6, 1),
    }


def keep(fold: Fold) -> dict[str, float]:
    """Digest, check of the digest, snapshot (flushed to disk) and restore; seconds. The restored state is the same one."""
    out: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        for name, work in (
            ("digest", fold.digest),
            ("verify", fold.verify),
            ("snapshot", lambda: fold.snapshot(path)),
            ("restore", lambda: Fold.restore(path)),
        ):
            rounds = []
            for _ in range(3):
                clock = _Clock()
                with clock:
                    done = work()
                rounds.append((clock.wall[0], clock.cpu[0]))
                if name == "restore":
                    assert isinstance(done, Fold) and done.digest() == fold.digest(), "the restored state differs"
                del done
            out[f"{name}_s"] = round(median(wall for wall, _ in rounds), 6)
            out[f"{name}_cpu_s"] = round(median(cpu for _, cpu in rounds), 6)
        out["snapshot_bytes"] = path.stat().st_size
    return out


def default(customers: int, warm_up: int, timed: int, sizes: Sizes) -> dict[str, Any]:
    """The default set: a state is filled, then timed run by run, then by micro-batches; its size; its keeping."""
    features = FeatureSet.load("default")
    extra = sizes.batches * BATCH
    payments = Payments.make(customers, warm_up + timed + extra)
    room = _room(features, sizes.chunk)
    before = resident_bytes()
    fold = Fold(compile_plan(features))
    _fill(fold, payments.runs(features, sizes.chunk, 0, warm_up), room)
    spent = _fill(fold, payments.runs(features, sizes.chunk, warm_up, warm_up + timed), room)
    after = resident_bytes()
    out: dict[str, Any] = {"customers": customers, "features": len(features.names), "warm_up": warm_up, **_rates(spent)}
    out["micro_batch"] = micro(fold, payments, features, warm_up + timed, sizes.batches)
    days = (payments.time_us[-1] - payments.time_us[0]) / 86_400e6
    out["payments_in_30_days"] = round(min(30.0, days) * len(payments) / days / customers, 1)
    out["state_bytes"] = fold.size_bytes()
    out["state_bytes_per_customer"] = round(fold.size_bytes() / customers)
    out["resident_bytes_per_customer"] = (
        None if before is None or after is None or customers < RESIDENT_FROM else round((after - before) / customers)
    )
    out["keep"] = keep(fold)
    return out


def bytes_by_part(payments: Payments) -> dict[str, int]:
    """State for each customer by part: the default set cut down to the features of one entity at a time, and the
    customer's once more with counts and amounts alone (a kept event is then a time and an amount)."""
    features = FeatureSet.load("default")
    parts = {entity.name: [f.name for f in features.features if f.entity == entity.name] for entity in features.entities}
    amounts = ("count", "sum", "mean", "std", "max", "deviation")
    parts["customer's counts and amounts"] = [f.name for f in features.features if f.entity == "customer" and f.kind.value in amounts]
    out = {}
    for part, names in parts.items():
        own = features.select(names)
        fold = Fold(compile_plan(own))
        _fill(fold, payments.runs(own, CHUNK_EVENTS), _room(own, CHUNK_EVENTS))
        out[part] = round(fold.size_bytes() / payments.customers)
    return out


def main(quick: bool = False, sizes: Sizes | None = None) -> dict[str, object]:
    """Print the tables and return the figures."""
    sizes = sizes or (QUICK if quick else NORMAL)
    warm()
    told = handbook(sizes)
    few = default(sizes.few, sizes.few_warm, sizes.few_timed, sizes)
    few["bytes_by_part"] = bytes_by_part(Payments.make(sizes.few, sizes.few_warm + sizes.few_timed))
    many = default(sizes.many, sizes.many_warm, sizes.many_timed, sizes)
    named = [
        (f"handbook preset, {told['table']}", told, 1_000_000),
        (f"default set, {sizes.few:,} customers", few, 400_000),
        (f"default set, {sizes.many:,} customers", many, 200_000),
    ]
    show(
        "Fold.step over history, one core, transactions a second",
        ["", "features", "timed", "runs", "median by CPU", "slowest by CPU", "median by wall", "aim"],
        [
            [
                name, row["features"], f"{row['transactions']:,}", row["runs"], f"{row['transactions_per_cpu_s']:,}",
                f"{row['slowest_run_per_cpu_s']:,}", f"{row['transactions_per_wall_s']:,}", f"{aim:,}",
            ]
            for name, row, aim in named
        ],
    )  # fmt: skip
    show(
        f"A live micro-batch of {BATCH}, microseconds",
        ["state of", "batches", "median", "p99", "median by CPU", "p99 by CPU"],
        [[f"{row['customers']:,} customers", *list(row["micro_batch"].values())] for _, row, _ in named[1:]],
    )
    show(
        "State of the default set, bytes for each customer (merchants and devices shared out)",
        ["", "payments in 30 days", "in use", "resident", "by part"],
        [
            [
                f"{row['customers']:,} customers", row["payments_in_30_days"], row["state_bytes_per_customer"], row["resident_bytes_per_customer"] or "",
                ", ".join(f"{k} {v}" for k, v in row.get("bytes_by_part", {}).items()),
            ]
            for _, row, _ in named[1:]
        ],
    )  # fmt: skip
    show(
        "Keeping the state, seconds",
        ["", "digest", "verify", "snapshot", "restore", "snapshot MB"],
        [
            [
                f"{row['customers']:,} customers",
                *(row["keep"][f"{what}_s"] for what in ("digest", "verify", "snapshot", "restore")),
                round(row["keep"]["snapshot_bytes"] / 1e6, 1),
            ]
            for _, row, _ in named[1:]
        ],
    )
    return {"handbook": told, "default_few": few, "default_many": many}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_fold", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller tables")
    parser.add_argument("--full", action="store_true", help="a million customers with full windows")
    args = parser.parse_args()
    main(sizes=FULL if args.full else QUICK if args.quick else NORMAL)
