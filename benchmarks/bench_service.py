"""The service on one core, its load on another: what HTTP alone costs, what the self-built recipe does, what the service does.

    python -m benchmarks.bench_service [--quick] [echo] [recipe] [service] [batch]

Load is open-loop: latency counts from the moment a request was due. Ceilings are closed-loop and say nothing of latency. Each server runs
in a fresh process; flushes of the disk are measured in the same run, because a bound on latency is stated in them.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from benchmarks import bench_scoring
from benchmarks.echo_servers import SERVERS
from benchmarks.processes import cores, cpu_s, free_port, running
from benchmarks.tables import show
from fraudloop.domain.definitions import FeatureSet
from fraudloop.pipelines.exchange import Target
from fraudloop.pipelines.load import Report, run
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import BundleStore
from fraudloop.training.algorithms import find_algorithm
from fraudloop.training.train import to_json

PARTS: Final = ("echo", "recipe", "service", "batch")
RULES: Final = 20
TREES, DEPTH = 400, 4

#: Events of history that are imported at most: every customer has at least one.
HISTORY_MAX: Final = 1_000_000

#: Bytes of one flush: what a batch of some dozen decisions writes.
FLUSH_BYTES: Final = 32 * 1024

#: A flush that takes longer is none of the disk's own: whoever else uses it, or its host, was in the way.
SLOW_FLUSH_MS: Final = 25.0

#: Everything a request may have: the service takes it all, the recipe what it knows.
CATEGORIES: Final = ("grocery", "travel", "fuel", "electronics", "gambling", "restaurants")
COUNTRIES: Final = ("DE", "DE", "DE", "FR", "NL", "US")

FIGURES: Final = ("p50", "p90", "p99", "p99_9")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Seconds of load, rates, and customers whose history is in the state before. ceilings: closed loops, the middle one of which counts."""

    ceiling_s: float = 3.0
    ceilings: int = 3
    share: float = 0.7  # of the ceiling: the load of a service that has room left, whatever this machine does today
    share_s: float = 20.0
    rate: float = 10_000.0
    rate_s: float = 60.0
    warmup_s: float = 5.0
    burst: float = 20_000.0
    burst_s: float = 10.0
    customers: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    history_per_customer: int = 3
    echoes: tuple[str, ...] = tuple(SERVERS)
    recipe_s: float = 8.0
    connections: int = 128  # of closed loops
    open_connections: int = 1_024  # of open ones: who waits for a connection waits in the load, and not for the service
    train_rows: int = 60_000
    batch_rows: int = 1_000
    flushes: int = 500


QUICK: Final = Sizes(
    ceiling_s=1.0, ceilings=1, share_s=3.0, rate=2_000.0, rate_s=4.0, warmup_s=1.0, burst=4_000.0, burst_s=1.5, customers=(1_000,), recipe_s=2.0, train_rows=8_000, flushes=100
)  # fmt: skip


@lru_cache(maxsize=4)
def _tails(customers: int, seed: int) -> tuple[list[bytes], list[int]]:
    """What bodies end with, and whose they are. Made before the clock starts."""
    dice = np.random.default_rng(seed)
    tails = []
    for _ in range(8_192):
        body = {
            "merchant_id": f"m{dice.integers(max(20, customers // 10))}", "merchant_category": CATEGORIES[dice.integers(len(CATEGORIES))],
            "amount": f"{float(np.exp(dice.normal(3.5, 1.0))):.2f}", "currency": "EUR", "country": COUNTRIES[dice.integers(len(COUNTRIES))],
            "is_online": bool(dice.random() < 0.4),
        }  # fmt: skip
        tails.append(json.dumps(body, separators=(",", ":"))[1:].encode())
    # A customer is drawn for each payment apart, so that a million customers are met and not 8,192.
    return tails, dice.integers(customers, size=max(8_191, min(customers, 1_000_000))).tolist()


def bodies(customers: int, seed: int = 0, run_name: str = "b") -> Iterator[bytes]:
    """Payments of this moment, each with an id of its own; the rest of the body comes from a few thousand made beforehand.

    Everybody buys within some 20 km of home, from a device or two of their own; one payment in 200 is far away, one in 100 from a device
    that many share.
    """
    tails, people = _tails(customers, seed)
    return _bodies(itertools.cycle(tails), itertools.cycle(people), run_name.encode())


def _bodies(tails: Iterator[bytes], people: Iterator[int], name: bytes) -> Iterator[bytes]:
    stamp, until = b"", 0.0
    for number, tail, person in zip(itertools.count(1), tails, people, strict=False):
        now = time.time()
        if now >= until:
            stamp, until = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00").encode() + b"Z", now + 0.001
        latitude, longitude = (
            45 + person * 7_919 % 9_000 / 1_000 + number % 97 / 500,
            -1 + person * 104_729 % 26_000 / 1_000 + number % 89 / 500,
        )
        yield (
            b'{"transaction_id":"%b-%d","timestamp":"%b","customer_id":"c%d","device":{"id":"d%d"},"location":{"latitude":%.4f,"longitude":%.4f},%b'
            % (name, number, stamp, person, number % 17 if number % 100 == 0 else 100 + 2 * person + number % 2, latitude + (8 if number % 200 == 7 else 0), longitude, tail)
        )  # fmt: skip


def on_core(core: int) -> None:
    """Let this process run there."""
    os.sched_setaffinity(0, {core})


def flush_s(folder: Path, times: int) -> dict[str, float]:
    """Milliseconds of writing 32 kB at the end of a file and flushing it: median, p99, maximum."""
    took = []
    data = os.urandom(FLUSH_BYTES)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(times):
            start = time.perf_counter()
            os.write(file.fileno(), data)
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - start) * 1e3)
    return {"median_ms": float(np.median(took)), "p99_ms": float(np.quantile(took, 0.99)), "max_ms": max(took)}


def figures_of(found: Report) -> dict[str, object]:
    """What is kept of a run."""
    return {
        "achieved_per_s": round(found.achieved, 1), "scheduled": found.scheduled, "ok": found.ok, "status": found.status, "timeouts": sum(found.timeouts.values()),
        "errors": sum(found.errors.values()), **{f"{name}_ms": round(found.latency[name], 3) for name in (*FIGURES, "max")}, **{f"ok_{name}_ms": round(found.of_2xx[name], 3) for name in FIGURES},
        "lateness_p99_ms": round(found.lateness["p99"], 3), "load_cpu_share": round(found.cpu_share, 2), "load_is_bottleneck": found.is_bottleneck,
    }  # fmt: skip


def row_of(name: str, figures: dict[str, Any]) -> list[object]:
    """A row of the tables: latencies of what was answered with 2xx, so that quick refusals do not flatter them, and how many were shed."""
    cells = [f"{figures[f'ok_{p}_ms']:.2f}" for p in FIGURES]
    shed = figures["status"].get(503, 0)
    return [name, f"{figures['achieved_per_s']:,.0f}", *cells, f"{shed:,}", "late" if figures["load_is_bottleneck"] else ""]


LATENCY_HEAD: Final = ("", "answers/s", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "shed", "load")


def ceiling(
    target: Target, name: str, seconds: float, connections: int, *servers: subprocess.Popen[bytes], customers: int = 1_000, times: int = 1
) -> tuple[Report, int]:
    """The middle one of some closed loops by its answers by a second of the servers' processor time, and these."""
    found = []
    for number in range(times):
        before = cpu_s(*servers)
        one = run(target, bodies(customers, run_name=f"{name}{number}"), rate=0, duration_s=seconds, connections=connections)
        found.append((round(one.ok / max(0.01, cpu_s(*servers) - before)), number, one))
    per_cpu_s, _, middle = sorted(found)[times // 2]
    return middle, per_cpu_s


# --- (a) echo ---------------------------------------------------------------------------------------------------------


def echo(sizes: Sizes) -> dict[str, object]:
    """What HTTP alone can do on one core, and its latency at the rate of the service."""
    server_core, load_core = cores()
    figures: dict[str, Any] = {}
    for name in sizes.echoes:
        port = free_port()
        with running([sys.executable, "-m", "benchmarks.echo_servers", name, str(port)], port, server_core) as server:
            on_core(load_core)
            target = Target.of(f"http://127.0.0.1:{port}/score_transaction")
            run(target, bodies(1_000), rate=0, duration_s=0.5, connections=sizes.connections)
            closed, per_cpu_s = ceiling(target, "c", sizes.ceiling_s, sizes.connections, server, times=sizes.ceilings)
            at_rate = run(
                target,
                bodies(1_000),
                rate=sizes.rate,
                duration_s=sizes.share_s,
                warmup_s=sizes.warmup_s / 5,
                connections=sizes.open_connections,
            )
        figures[name] = {
            "ceiling_per_s": round(closed.achieved),
            "per_cpu_s": per_cpu_s,
            "ceiling_load_cpu_share": round(closed.cpu_share, 2),
            "at_rate": figures_of(at_rate),
        }
    show("Echo on one core, closed loop", ("", "answers/s", "a second of processor time", "load's share of its core"),
         [[n, f"{f['ceiling_per_s']:,}", f"{f['per_cpu_s']:,}", f"{f['ceiling_load_cpu_share']:.0%}"] for n, f in figures.items()])  # fmt: skip
    show(f"Echo at {sizes.rate:,.0f}/s, open loop", LATENCY_HEAD, [row_of(n, f["at_rate"]) for n, f in figures.items()])
    return figures


# --- (b) the recipe ---------------------------------------------------------------------------------------------------


def recipe(sizes: Sizes) -> dict[str, object]:
    """What the self-built service decides a second on one core: Redis on it too, for it is part of the service."""
    if shutil.which("redis-server") is None:
        return {"skipped": "no redis-server on this machine"}
    server_core, load_core = cores()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "benchmarks.recipe", "fit", str(folder / "model.pickle")], check=True)
        redis_port, port = free_port(), free_port()
        redis = ["redis-server", "--port", str(redis_port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", name]
        told = {"RECIPE_MODEL": str(folder / "model.pickle"), "RECIPE_REDIS": str(redis_port), "OMP_NUM_THREADS": "1"}
        app = [sys.executable, "-m", "uvicorn", "benchmarks.recipe:app", "--port", str(port), "--log-level", "warning", "--no-access-log"]
        with (
            running(redis, redis_port, server_core) as store,
            running(app, port, server_core, environment=told, log=folder / "log") as server,
        ):
            on_core(load_core)
            target = Target.of(f"http://127.0.0.1:{port}/score_transaction")
            run(target, bodies(1_000, run_name="w"), rate=0, duration_s=1.0, connections=8)
            closed, per_cpu_s = ceiling(target, "c", sizes.recipe_s, 8, store, server)
            assert closed.ok == closed.completed, f"the recipe answers {closed.status}"
            half = run(target, bodies(1_000, run_name="h"), rate=max(1.0, closed.achieved / 2), duration_s=sizes.recipe_s, connections=sizes.connections)  # fmt: skip
    figures: dict[str, Any] = {"decisions_per_s": round(closed.achieved, 1), "per_cpu_s": per_cpu_s, "at_half": figures_of(half)}
    show(
        "The self-built recipe on one core",
        ("", "decisions/s", "a second of processor time"),
        [["closed loop", f"{closed.achieved:,.0f}", per_cpu_s]],
    )
    show(f"The recipe at half of that, {closed.achieved / 2:,.0f}/s", LATENCY_HEAD, [row_of("recipe", figures["at_half"])])
    return figures


# --- (c) the service --------------------------------------------------------------------------------------------------


def bundle_for(sizes: Sizes) -> Bundle:
    """400 trees of depth 4 and a network of 256-128-64, in equal parts, on the default features."""
    small = bench_scoring.Sizes(1_000, sizes.train_rows, TREES, DEPTH, 1, 0)
    inputs, y = bench_scoring.rows_of(small)
    changed: dict[str, dict[str, Any]] = {"xgboost": {"rounds": TREES, "depth": DEPTH, "bins": 256}, "network": {}}
    fitted = {}
    for name, given in changed.items():
        algorithm = find_algorithm(name)
        known = algorithm.params({})
        x = bench_scoring.fitted_preprocessing(inputs, name)[1].apply(inputs)
        model = algorithm.fit(x, y, np.ones(len(y)), {**known, **{k: v for k, v in given.items() if k in known}}, 0, 1)
        fitted[name] = (model.model_format, model.encode())
    bare = bench_scoring.bundle_of(inputs, y, tuple(changed), fitted)
    files = {
        **bare.files, "features.json": to_json(FeatureSet.load("default").to_dict()), "metrics.json": b"{}", "reference.parquet": b"PAR1",
        "thresholds.json": to_json({"decline": 0.9, "review": 0.5, "challenge": None}),
    }  # fmt: skip
    return Bundle(files, bare.members, {"created": "2026-01-01T00:00:00Z", "seed": 0})


def store_with_bundle(folder: Path, sizes: Sizes) -> BundleStore:
    """A store whose champion is that bundle; made once and kept in `out/`."""
    kept = Path("out") / f"bench-bundle-{sizes.train_rows}"
    if not kept.is_dir():
        kept.parent.mkdir(exist_ok=True)
        bundle_for(sizes).save(kept)
    store = BundleStore(folder)
    found = store.put(Bundle.load(kept))
    store.set_alias("fraud@champion", found, expected=None, who="bench", why="bench", at_us=int(time.time() * 1e6))
    return store


#: Twenty rules as analysts write them, three comparisons each; on ordinary traffic few of them hit, as rules should.
CONDITIONS: Final = (
    "customer_impossible_travel and amount > 20 and customer_count_24h >= 2",
    "customer_amount_deviation > 10 and amount > 100 and customer_count_30d >= 5",
    "customer_count_1h > 20 and amount > 1 and customer_merchant_distinct_1h >= 3",
    "in_list(country, 'high_risk_countries') and customer_is_new_device and amount > 10",
    "amount > 5000 and is_night and customer_is_new_merchant",
    "amount > 2500 and is_foreign and customer_is_new_country",
    "customer_amount_sum_24h > 10000 and customer_count_24h > 10 and amount > 500",
    "customer_amount_sum_1h > 4000 and customer_merchant_distinct_1h >= 3 and is_night",
    "device_customer_distinct_24h > 5 and amount > 50 and is_online",
    "device_customer_distinct_7d > 8 and amount > 100 and is_online",
    "device_count_1h > 30 and amount < 5 and device_customer_distinct_24h > 3",
    "merchant_fraud_rate_7d_after_7d > 0.2 and merchant_count_7d > 50 and amount > 100",
    "merchant_fraud_rate_30d_after_7d > 0.1 and amount > 1000 and is_night",
    "customer_speed_kmh > 1500 and customer_km_from_last > 500 and amount > 20",
    "customer_km_from_home > 5000 and customer_is_new_country and amount > 500",
    "customer_age_days < 1 and amount > 3000 and is_online",
    "customer_seconds_since_last < 2 and customer_count_1h > 15 and amount > 10",
    "merchant_category = 'gambling' and amount > 3000 and is_night",
    "currency <> 'EUR' and amount > 4000 and customer_count_30d < 3",
    "card_present = false and amount > 6000 and customer_is_new_device",
)


def write_rules(path: Path) -> Path:
    """The rules, live; each adds next to nothing, so that outcomes stay the model's."""
    assert len(CONDITIONS) == RULES
    text = ['name = "bench"']
    for number, condition in enumerate(CONDITIONS, 1):
        text += ["[[rules]]", f'id = "rule_{number}"', f'when = "{condition}"', f'reason = "rule {number} of the benchmark"', "score = 0.0001", 'state = "live"']  # fmt: skip
    path.write_text("\n".join(text) + "\n")
    return path


def history(path: Path, customers: int, each: int, seed: int = 3) -> Path:
    """Some payments of every customer in the last days, in a file."""
    dice = np.random.default_rng(seed)
    n = customers * each
    end = datetime.now(UTC) - timedelta(hours=1)
    seconds = np.sort(dice.integers(0, 20 * 86_400, n))
    table = pl.DataFrame(
        {
            "transaction_id": pl.Series(np.arange(n)).cast(pl.String).str.replace("^", "h-"),
            "timestamp": pl.Series(int((end - timedelta(days=20)).timestamp()) * 1_000_000 + seconds * 1_000_000).cast(
                pl.Datetime("us", "UTC")
            ),
            "customer_id": pl.Series(dice.permutation(n) % customers).cast(pl.String).str.replace("^", "c"),
            "merchant_id": pl.Series(dice.integers(0, max(20, customers // 10), n)).cast(pl.String).str.replace("^", "m"),
            "amount": np.round(np.exp(dice.normal(3.5, 1.0, n)), 2),
            "currency": ["EUR"] * n,
            "country": pl.Series(dice.choice(COUNTRIES, n)),
            "device_id": pl.Series(dice.integers(0, 2 * customers, n)).cast(pl.String).str.replace("^", "d"),
        }
    )
    table.write_parquet(path)
    return path


def served(folder: Path, sizes: Sizes, customers: int, load: Callable[[Target, subprocess.Popen[bytes]], Any]) -> Any:
    """Import history, start the service on its core, send load, stop."""
    server_core, load_core = cores()
    store = store_with_bundle(folder / "store", sizes)
    told = {"FRAUDLOOP_STORE": str(store.root), "OMP_NUM_THREADS": "1"}
    data, rules = folder / "data", write_rules(folder / "rules.toml")
    if sizes.history_per_customer:
        path = history(folder / "history.parquet", customers, max(1, min(sizes.history_per_customer, HISTORY_MAX // customers)))
        # Not by the command line: what a new log begins with is told here, rules of the benchmark too.
        script = (
            "import sys; from pathlib import Path; from fraudloop.engine.config import ServeConfig; from fraudloop.pipelines.importing import import_file\n"
            "from fraudloop.settings import Settings; import os; path, data, rules = sys.argv[1:]\n"
            "import_file(Path(path), ServeConfig(data=data, rules=rules, name='fraud'), settings=Settings.from_env(os.environ))"
        )
        subprocess.run([sys.executable, "-c", script, str(path), str(data), str(rules)], check=True, env={**os.environ, **told})
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "fraudloop",
        "serve",
        "--data",
        str(data),
        "--port",
        str(port),
        "--rules",
        str(rules),
        "--name",
        "fraud",
        "--no-standby",  # who stands by belongs on another core, as on another machine's
    ]
    with running(command, port, server_core, environment=told, log=folder / "serve.log") as server:
        wait_ready(port)
        wait_settled(port)
        os.sync()  # what importing, and the cases before, have left to the disk is theirs
        on_core(load_core)
        return load(Target.of(f"http://127.0.0.1:{port}/score_transaction"), server)


def wait_ready(port: int, most_s: float = 300.0) -> None:
    """Until the service says that it is ready."""
    end = time.monotonic() + most_s
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                if json.loads(answer.read())["ready"]:
                    return
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the service was not ready within {most_s} s")


class _Inside(http.client.HTTPConnection):
    """To the socket that the service's own processes use."""

    def __init__(self, path: Path) -> None:
        super().__init__("inside", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def wait_settled(port: int, most_s: float = 120.0, rest_s: float = 8.0) -> None:
    """Until the desk answers too: the processes of the family start one after another, on the same core."""
    end = time.monotonic() + most_s
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                if answer.status == 200:
                    break
        except OSError:
            time.sleep(0.5)
    time.sleep(rest_s)


def phases(data: Path) -> dict[str, Any]:
    """Where the time went, as the service counts it; empty where it does not tell."""
    connection = _Inside(data / "run" / "scorer.sock")
    try:
        connection.request("GET", "/internal/stats")
        found: dict[str, Any] = json.loads(connection.getresponse().read())["engine"]
        return found
    except (OSError, ValueError, KeyError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


def flushes_between(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """The service's own flushes between two looks at its counts: how many, the p99 (within its bin as if spread evenly) and how many took over
    SLOW_FLUSH_MS; empty where it does not tell."""
    if not before or not after:
        return {}
    edges_ms = [0.0, *(edge * 1e3 for edge in after["flush_s"]["edges"])]
    counts = np.subtract(after["flush_s"]["counts"], before["flush_s"]["counts"])
    edges_ms.append(edges_ms[-1])  # what is above the last edge
    reached = np.cumsum(counts)
    at = int(np.searchsorted(reached, 0.99 * reached[-1]))
    inside = (0.99 * reached[-1] - (reached[at] - counts[at])) / max(1, counts[at])
    slow = int(counts[int(np.searchsorted(edges_ms, SLOW_FLUSH_MS)) :].sum())
    return {"flushes": int(reached[-1]), "p99_ms": round(edges_ms[at] + inside * (edges_ms[at + 1] - edges_ms[at]), 3), "slow": slow}


def service(sizes: Sizes) -> dict[str, object]:
    """Latency at a rate and in a burst, by how many customers the state holds."""
    figures: dict[str, Any] = {}
    rows = []
    for customers in sizes.customers:
        with tempfile.TemporaryDirectory(dir="out") as name:

            def load(target: Target, server: subprocess.Popen[bytes], customers: int = customers, name: str = name) -> dict[str, Any]:
                run(target, bodies(customers, run_name="w"), rate=sizes.rate / 10, duration_s=2.0, connections=sizes.connections)
                closed, per_cpu_s = ceiling(
                    target, "c", sizes.ceiling_s, sizes.connections, server, customers=customers, times=sizes.ceilings
                )
                ceiling_per_s = closed.ok / closed.duration_s
                part = run(target, bodies(customers, run_name="p"), rate=sizes.share * ceiling_per_s, duration_s=sizes.share_s, warmup_s=sizes.warmup_s, connections=sizes.open_connections)  # fmt: skip
                before = phases(Path(name) / "data")
                steady = run(target, bodies(customers, run_name="s"), rate=sizes.rate, duration_s=sizes.rate_s, warmup_s=sizes.warmup_s, connections=sizes.open_connections)  # fmt: skip
                told = phases(Path(name) / "data")
                burst = run(
                    target, bodies(customers, run_name="u"), rate=sizes.burst, duration_s=sizes.burst_s, connections=sizes.open_connections
                )
                return {
                    "part": figures_of(part),
                    "steady": figures_of(steady),
                    "burst": figures_of(burst),
                    "ceiling_per_s": round(ceiling_per_s),
                    "per_cpu_s": per_cpu_s,
                    "phases": told,
                    "own_flushes": flushes_between(before, told),
                }

            figures[str(customers)] = found = served(Path(name), sizes, customers, load)
            found["flush"] = flush_s(Path(name), sizes.flushes)
        rows += [
            row_of(
                f"{customers:,} customers, {sizes.share:.0%} of the ceiling: {sizes.share * found['ceiling_per_s']:,.0f}/s", found["part"]
            ),
            row_of(f"  {sizes.rate:,.0f}/s", found["steady"]),
            row_of(f"  burst of {sizes.burst:,.0f}/s", found["burst"]),
        ]
    show("The service on one core, open loop", LATENCY_HEAD, rows)
    show("Ceiling, closed loop, and flushes of 32 kB", ("customers", "decisions/s", "a second of processor time", "flush median ms", "p99 ms"),
         [[f"{int(n):,}", f"{f['ceiling_per_s']:,}", f"{f['per_cpu_s']:,}", f"{f['flush']['median_ms']:.2f}", f"{f['flush']['p99_ms']:.2f}"] for n, f in figures.items()])  # fmt: skip
    show(f"The service's own flushes at {sizes.rate:,.0f}/s, under that load", ("customers", "flushes", "p99 ms", f"over {SLOW_FLUSH_MS:g} ms"),
         [[f"{int(n):,}", *(f"{f['own_flushes'].get(k, 0):,}" for k in ("flushes", "p99_ms", "slow"))] for n, f in figures.items()])  # fmt: skip
    for name, found in figures.items():
        spent = found["phases"].get("phases_s", {})
        decided = max(1, found["phases"].get("decided", 0))
        if spent:
            left = found["phases"].get("deferred", 0) / decided
            show(f"Where the time goes, {int(name):,} customers; reasons of {left:.0%} left to the reader", ("phase", "µs a decision"), [[k, f"{v / decided * 1e6:.1f}"] for k, v in spent.items()])  # fmt: skip
    return figures


# --- /predict/batch ---------------------------------------------------------------------------------------------------


def batch(sizes: Sizes) -> dict[str, object]:
    """Rows a second through POST /predict/batch, a thousand at a time."""
    with tempfile.TemporaryDirectory(dir="out") as name:

        def load(target: Target, server: subprocess.Popen[bytes]) -> dict[str, object]:
            dice = np.random.default_rng(5)
            rows = [
                {
                    "amount": round(float(np.exp(dice.normal(3.5, 1.0))), 2), "transactions_last_1h": int(dice.poisson(1)), "transactions_last_24h": int(dice.poisson(3)),
                    "total_amount_last_24h": round(float(np.exp(dice.normal(4.5, 1.0))), 2), "distance_from_home": round(float(dice.uniform(0, 500)), 1),
                }
                for _ in range(sizes.batch_rows)
            ]  # fmt: skip
            body = json.dumps({"rows": rows}).encode()
            found = run(target.at("/predict/batch"), itertools.repeat(body), rate=0, duration_s=sizes.ceiling_s, connections=2)
            if not found.ok:
                return {"skipped": f"POST /predict/batch answers {found.status}"}
            return {"rows_per_s": round(found.ok * sizes.batch_rows / found.duration_s), "batch": sizes.batch_rows, **figures_of(found)}

        figures: dict[str, object] = served(Path(name), Sizes(history_per_customer=0, train_rows=sizes.train_rows), 1_000, load)
    show("POST /predict/batch", ("", "rows/s"), [[f"{sizes.batch_rows:,} a request", figures.get("rows_per_s", figures.get("skipped"))]])
    return figures


def main(quick: bool = False, parts: Sequence[str] = (), sizes: Sizes | None = None) -> dict[str, object]:
    """Print the tables and return the figures, by part, and the ratios between them."""
    sizes = sizes or (QUICK if quick else Sizes())
    Path("out").mkdir(exist_ok=True)
    before = os.sched_getaffinity(0)
    figures: dict[str, Any] = {}
    try:
        for name in parts or PARTS:
            figures[name] = {"echo": echo, "recipe": recipe, "service": service, "batch": batch}[name](sizes)
            os.sched_setaffinity(0, before)
    finally:
        os.sched_setaffinity(0, before)
    figures["ratios"] = ratios(figures)
    if figures["ratios"]:
        show("Ratios of this run", ("", "times"), [[k.replace("_", " "), v] for k, v in figures["ratios"].items()])
    return figures


def ratios(figures: dict[str, Any]) -> dict[str, float]:
    """The service beside the best echo and the recipe, by processor time of the closed loops; and its p99 beside the echo's p99 and two flushes."""
    if "service" not in figures or not figures["service"]:
        return {}
    out = {}
    first = next(iter(figures["service"].values()))
    if "echo" in figures:
        for kind, of in (("", "bare"), ("-json", "json"), ("-queue", "queue")):
            field = [figures["echo"][f"{server}{kind}"] for server in ("uvicorn", "granian")]
            out[f"of_the_best_{of}_echo_of_the_field"] = round(first["per_cpu_s"] / max(f["per_cpu_s"] for f in field), 3)
        out["of_its_own_bare_protocol"] = round(first["per_cpu_s"] / figures["echo"]["thin"]["per_cpu_s"], 3)
        # Of the disk while it has nothing else to do; and as the service saw it under its load, where the index is written too.
        flushes_ms = {"two_flushes": 2 * first["flush"]["p99_ms"], "two_flushes_under_load": 2 * first["own_flushes"].get("p99_ms", 0.0)}
        for kind, of in (("", "bare"), ("-json", "json"), ("-queue", "queue")):
            best = max((figures["echo"][f"{server}{kind}"] for server in ("uvicorn", "granian")), key=lambda f: f["per_cpu_s"])
            for name, both_ms in flushes_ms.items():
                over = first["steady"]["ok_p99_ms"] / (best["at_rate"]["ok_p99_ms"] + both_ms)
                out[f"p99_over_that_of_the_best_{of}_echo_and_{name}"] = round(over, 2)
    if "decisions_per_s" in figures.get("recipe", {}):
        out["times_the_recipe"] = round(first["per_cpu_s"] / figures["recipe"]["per_cpu_s"], 1)
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_service", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="echo, recipe, service, batch; all if none is given")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, fewer customers")
    given = parser.parse_args()
    main(given.quick, given.parts)
