"""The index behind the log: what a row costs in each way of finding a payment by its id, once the index is large; and lookups and pages.

    python -m benchmarks.bench_index [--quick]

All ways hold the same payments, in batches of one transaction each, with customers and merchants to be found too. Random ids; a new
process for each way is not needed, as each has a file of its own and is measured at its end, when it is largest.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.tables import show
from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.index import Ask, Index, Indexer, Lookup, Payment, Place, Rows, Version, Watermark, fingerprint
from fraudloop.ledger.log import Log
from fraudloop.ledger.memory_index import MemoryIndex
from fraudloop.ledger.records import Activated, Configured, Decision, Transacted, encode
from fraudloop.ledger.sqlite_index import SqliteIndex

ROWS = 2_000_000
BATCH = 50_000
READ = 200_000
CUSTOMERS: Final = 500_000
MERCHANTS: Final = 5_000

VERSION: Final = Version(0, "a" * 16, "b" * 16, "c" * 16, "d" * 16, "build", "champion")


def batches(rows: int, batch: int) -> Iterator[Rows]:
    """Payments of random ids, as the indexer hands them over."""
    for begin in range(0, rows, batch):
        random = np.random.default_rng(begin)
        size = min(batch, rows - begin)
        keys = random.integers(-(2**63), 2**63 - 1, size, np.int64)
        customers, merchants = random.integers(0, CUSTOMERS, size) * 7_919_000_003, random.integers(0, MERCHANTS, size) * 104_729_000_003
        scores = random.random(size)
        lsns = np.arange(begin, begin + size)
        payments = [
            Payment(lsn, lsn * 1_000, lsn * 1_000, f"{key & 0xFFFFFFFFFFFFFFFF:016x}-{lsn % 9973:06d}", c, f"m{m % 9973}", m, 1_999, int(s > 0.99) * 3, 0, 2, s, s, 0)
            for lsn, key, c, m, s in zip(lsns.tolist(), keys.tolist(), customers.tolist(), merchants.tolist(), scores.tolist(), strict=True)
        ]  # fmt: skip
        lookups = []
        for kind, column in ((0, keys), (1, customers), (2, merchants)):
            order = np.lexsort((lsns, column))
            lookups += [Lookup(kind, k, n) for k, n in zip(column[order].tolist(), lsns[order].tolist(), strict=True)]
        yield Rows(payments, lookups, [], [], [Place(n, "s", n) for n in lsns[::32].tolist()], [VERSION] if begin == 0 else [])


def mark_of(rows: Rows) -> Watermark:
    return Watermark("00", rows.payments[-1].lsn + 1, "00", "{}", rows.payments[-1].received_us)


def lookup_table(index: Index) -> Callable[[Rows], None]:
    """The way that was chosen."""

    def add(rows: Rows) -> None:
        first = rows.payments[0].lsn
        index.write(rows, mark_of(rows), first or -1)

    return add


def own_indexes(path: Path, unique_text: bool) -> Callable[[Rows], None]:
    """The usual way: indexes on the columns of the hot table itself; the id as unique text, or its fingerprint as a number."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536;")
    connection.execute(
        "CREATE TABLE payments (lsn INTEGER PRIMARY KEY, received_us INTEGER, time_us INTEGER, transaction_id TEXT, customer INTEGER, merchant_id TEXT,"
        " merchant INTEGER, amount_base INTEGER, outcome INTEGER, tier INTEGER, decided INTEGER, fraud_score REAL, risk_score REAL, version INTEGER, key INTEGER)"
    )
    connection.execute("CREATE UNIQUE INDEX of_id ON payments (transaction_id)" if unique_text else "CREATE INDEX of_key ON payments (key)")
    connection.execute("CREATE INDEX of_customer ON payments (customer, lsn)")
    connection.execute("CREATE INDEX of_merchant ON payments (merchant, lsn)")

    def add(rows: Rows) -> None:
        keys = {lookup.lsn: lookup.key for lookup in rows.lookups if lookup.kind == 0}
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO payments VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", [(*p, keys[p.lsn]) for p in rows.payments])
        connection.execute("COMMIT")

    return add


def fill(add: Callable[[Rows], None], rows: int, batch: int) -> tuple[float, float]:
    """Microseconds a row of processor time and of wall clock over the last tenth, or the last two batches."""
    cpu = wall = 0.0
    counted = 0
    for made in batches(rows, batch):
        begin_cpu, begin = time.process_time(), time.perf_counter()
        add(made)
        if made.payments[0].lsn >= rows - max(rows // 10, 2 * batch):
            cpu, wall, counted = cpu + time.process_time() - begin_cpu, wall + time.perf_counter() - begin, counted + len(made.payments)
    return cpu / counted * 1e6, wall / counted * 1e6


def ask(index: Index, rows: int) -> dict[str, float]:
    """Milliseconds at the median and the worst of some questions, as a page of the console asks them."""
    random = np.random.default_rng(3)
    keys = np.concatenate([[lookup.key for lookup in made.lookups[:20]] for made in batches(min(rows, 3 * BATCH), BATCH)]).tolist()
    customers = (random.integers(0, CUSTOMERS, 50) * 7_919_000_003).tolist()
    merchants = (random.integers(0, MERCHANTS, 50) * 104_729_000_003).tolist()
    questions: dict[str, list[Callable[[], object]]] = {
        "decision by id": [lambda key=key: index.payments(key) for key in keys],  # type: ignore[misc]
        "newest 50": [lambda: index.page(Ask())] * 20,
        "newest 50 declined": [lambda: index.page(Ask(outcomes=frozenset({3})))] * 20,
        "50 in the middle, a risk above 0.9": [lambda: index.page(Ask(until_us=rows * 500, risk_min=0.9))] * 20,
        "50 of a customer": [lambda c=c: index.page(Ask(customer=c)) for c in customers],  # type: ignore[misc]
        "50 declined of a merchant": [lambda m=m: index.page(Ask(merchant=m, outcomes=frozenset({3}))) for m in merchants],  # type: ignore[misc]
    }
    out = {}
    for name, calls in questions.items():
        spent = []
        for call in calls:
            begin = time.perf_counter()
            call()
            spent.append((time.perf_counter() - begin) * 1e3)
        out[name] = float(np.median(spent))
    return out


def indexing(records: int) -> float:
    """Microseconds a record of processor time that reading, decoding and hashing take, without a store."""
    features = FeatureSet.load("default")
    vector = np.zeros(len(features.names)).tobytes()
    row = list(dict.fromkeys(TRANSACTION_SCHEMA))
    decision = Decision(0, 0, 2, 0.1, 0.1, (), (), False, (), vector, 0, 0, "a" * 16, "r", "p", "plan", "build")
    with tempfile.TemporaryDirectory() as folder:
        log = Log.open(FolderFiles(Path(folder)))
        log.append(
            log.epoch,
            [encode(Configured(tuple(TRANSACTION_SCHEMA), "k")), encode(Activated("features", "h", features.to_dict(), "", "", 0))],
        )
        for begin in range(0, records, 32):
            log.append(
                log.epoch, [encode(Transacted((f"t{begin + n}", begin, *row[2:]), begin, decision)) for n in range(32)]
            )  # fmt: skip
        log.close()
        indexer = Indexer(FolderFiles(Path(folder)), MemoryIndex())
        fingerprint("the kernel is loaded by now")
        begin_cpu = time.process_time()
        done = indexer.catch_up()
        return (time.process_time() - begin_cpu) / done * 1e6


def postgres_url() -> str | None:
    """Where a PostgreSQL answers, if one does; its database `postgres` gets a schema that is dropped afterwards."""
    import psycopg

    for place in (os.environ.get("FRAUDLOOP_BENCH_POSTGRES", ""), "host=/var/run/postgresql user=postgres dbname=postgres"):
        try:
            if place:
                psycopg.connect(place, connect_timeout=2).close()
                return place
        except psycopg.Error:
            continue
    return None


def main(quick: bool = False) -> dict[str, object]:
    """Print the tables and return the figures."""
    rows = ROWS // 10 if quick else ROWS
    figures: dict[str, object] = {"rows": rows}
    table: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:

        def case(name: str, add: Callable[[Rows], None], batch: int, path: Path | None) -> None:
            cpu, wall = fill(add, rows, batch)
            size = path.stat().st_size / rows if path is not None else None
            figures[f"{name}, batches of {batch:,}"] = {"cpu_us": round(cpu, 1), "wall_us": round(wall, 1), "bytes": size and round(size)}
            table.append([name, f"{batch:,}", f"{cpu:.1f}", f"{wall:.1f}", "" if size is None else f"{size:.0f}"])

        small = 1_000
        for name, text in (("unique text id in the table", True), ("64-bit key in the table", False)):
            path = Path(folder) / f"{text}.sqlite"
            case(name, own_indexes(path, text), BATCH, path)
            path.unlink()
        path = Path(folder) / "small.sqlite"
        case("lookups apart, sorted", lookup_table(SqliteIndex(path)), small, path)
        path.unlink()
        path = Path(folder) / "large.sqlite"
        index = SqliteIndex(path)
        case("lookups apart, sorted", lookup_table(index), BATCH, path)
        asked = {"SQLite": ask(index, rows)}
        index.close()
        url = postgres_url()
        if url is not None:
            import psycopg

            from fraudloop.ledger.postgres_index import PostgresIndex

            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("DROP SCHEMA IF EXISTS fraudloop_bench CASCADE")
                connection.execute("CREATE SCHEMA fraudloop_bench")
                server = PostgresIndex(f"{url} options='-csearch_path=fraudloop_bench'")
                case("PostgreSQL, lookups apart (client only)", lookup_table(server), BATCH, None)
                connection.execute("ANALYZE fraudloop_bench.payments, fraudloop_bench.lookups")
                asked["PostgreSQL"] = ask(server, rows)
                server.close()
                connection.execute("DROP SCHEMA fraudloop_bench CASCADE")
    show(f"A row of an index of {rows:,} payments", ["way", "batch", "cpu µs", "wall µs", "bytes"], table)
    show(
        "A question, ms at the median",
        ["", *asked],
        [[name, *(f"{found[name]:.2f}" for found in asked.values())] for name in asked["SQLite"]],
    )
    reading = indexing(READ // 10 if quick else READ)
    show("Reading the log into rows, without a store", ["", "cpu µs a record"], [["read, check, decode, hash", f"{reading:.1f}"]])
    return figures | {"questions_ms": asked, "reading_cpu_us": round(reading, 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_index", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    main(parser.parse_args().quick)
