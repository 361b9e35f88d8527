"""What one decision costs without the sockets: bytes of a request in, bytes of its answer out, by batch size and by phase.

    python -m benchmarks.bench_decision [--quick] [--profile ROWS]

Everything is real but the network and the flush: server and its parsing, door, engine, model, reasons, sealing, log, answers. A batch is so
many connections that ask at once. Times are processor time of this process in the medians of many batches; all reasons are given before the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import itertools
import os
import pstats
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.bench_service import QUICK, Sizes, bodies, store_with_bundle, write_rules
from benchmarks.tables import show
from fraudloop.api.backing import Backing
from fraudloop.api.http import Connection, Server
from fraudloop.api.lines import Lines
from fraudloop.api.scorer import Parts, Scorer
from fraudloop.clock import SystemClock
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.identity import DEFAULT_KEY
from fraudloop.door.pan import TokenKey
from fraudloop.door.rates import RateTable
from fraudloop.door.row import RowDoor
from fraudloop.door.shape import Shape
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.service import Service
from fraudloop.errors import FraudloopError
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log

BATCHES: Final = (1, 8, 32, 64, 128)
CUSTOMERS: Final = 1_000
HEAD: Final = b"POST /score_transaction HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


class Unflushed:
    """Takes what was appended for durable: the disk is measured elsewhere."""

    def __init__(self, log: Log, done: Callable[[int, float], None], failed: Callable[[FraudloopError], None]) -> None:
        self._log, self.since = log, 0.0

    def wanted(self) -> None:
        pass

    def durable(self) -> int:
        """Up to where everything is."""
        lsn, _ = self._log.begin_flush()
        self._log.end_flush(lsn)
        return lsn

    def stop(self) -> None:
        pass


class Pipe:
    """A transport that counts what is written."""

    def __init__(self) -> None:
        self.answers = 0
        self.bytes = 0

    def write(self, data: bytes) -> None:
        self.answers += 1
        self.bytes += len(data)
        assert data.startswith(b"HTTP/1.1 200"), data

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 1) if name == "peername" else None


class Asking:
    """A service in this process, and connections that ask it."""

    def __init__(self, folder: Path, sizes: Sizes, loop: asyncio.AbstractEventLoop) -> None:
        config = ServeConfig(
            data=str(folder / "data"),
            rules=str(write_rules(folder / "rules.toml")),
            name="fraud",
            reason_budget_ms=1e6,
            queue_ms_max=1e6,
            batch_max=1_024,
        )
        config.log.mkdir(parents=True)
        clock = SystemClock()
        self.service = Service.open(
            config, FolderFiles(config.log), store_with_bundle(folder / "store", sizes), clock, lambda lsn: None, key=DEFAULT_KEY,
            columns={name: str(kind) for name, kind in TRANSACTION_SCHEMA.items()}, units={"amount": "EUR"}, flusher=Unflushed,
        )  # fmt: skip
        assert self.service.slots.champion is not None, self.service.alarms
        tokens = TokenKey()
        self.backing = Backing(self.service, tokens, lambda: None)
        self.engine = self.service.engine
        self.engine.sampled = 1  # every batch is followed
        self.sink = os.open(os.devnull, os.O_WRONLY)
        self.lines = Lines(self.sink, every=1)
        app = Scorer(
            Parts(engine=self.engine, door=RowDoor(Shape(), RateTable.sample(), tokens), clock=clock, health=self.backing.health, stats=self.backing.stats, lines=self.lines),
            loop,
        )  # fmt: skip
        for name in self.service.engine.state.plans:
            app.answers.plan(name[:16], self.service.plan_names(name[:16]))
        self.server = Server(app)
        app.listen(self.server)
        self.connections: list[Connection] = []
        self.bodies: Iterator[bytes] = bodies(CUSTOMERS)

    def close(self) -> None:
        """Let go of log and lines."""
        self.service.close()
        self.lines.close()
        os.close(self.sink)

    def batch(self, rows: int) -> dict[str, float]:
        """Ask, decide, answer; nanoseconds of processor time by phase."""
        while len(self.connections) < rows:
            connection = self.server()
            connection.connection_made(Pipe())
            self.connections.append(connection)
        requests = [HEAD % len(body) + body for body in itertools.islice(self.bodies, rows)]
        before = dict(self.engine.counters.phases_ns)
        now = time.thread_time_ns
        begin = now()
        for connection, request in zip(self.connections, requests, strict=False):
            connection.data_received(request)
        taken = now()
        self.engine.step()
        decided = now()
        self.engine.durable(self.engine.flusher.durable())  # type: ignore[attr-defined]
        end = now()
        found = {name: float(spent - before.get(name, 0)) for name, spent in self.engine.counters.phases_ns.items()}
        return {"http and door": float(taken - begin), **found, "the rest of the step": float(decided - taken) - sum(found.values()),
                "answer": float(end - decided), "all": float(end - begin)}  # fmt: skip


def main(quick: bool = False, profile: int = 0, quantile: float = 0.5, batches_max: int = 10_000) -> dict[str, object]:
    """Print the table, µs a decision. quantile: of the batches; a small one is what a machine does while nobody disturbs it.
    batches_max: of each size."""
    sizes = QUICK if quick else Sizes()
    Path("out").mkdir(exist_ok=True)
    with contextlib.closing(asyncio.new_event_loop()) as loop, tempfile.TemporaryDirectory(dir="out") as name:
        asking = Asking(Path(name), sizes, loop)
        for rows in BATCHES:
            for _ in range(min(40, batches_max)):
                asking.batch(rows)
        if profile:
            profiler = cProfile.Profile()
            profiler.enable()
            for _ in range(max(20, 20_000 // profile)):
                asking.batch(profile)
            profiler.disable()
            asking.close()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
            return {}
        found: dict[int, dict[str, float]] = {}
        for rows in BATCHES:
            taken = [asking.batch(rows) for _ in range(min(batches_max, max(30, (2_000 if quick else 10_000) // rows)))]
            found[rows] = {name: float(np.quantile([one[name] for one in taken], quantile)) / rows / 1e3 for name in taken[0]}
        asking.close()
    names = list(found[1])
    show("A decision without sockets and flush, µs", ("", *(f"batch of {rows}" for rows in BATCHES)), [[n, *(f"{found[rows][n]:.1f}" for rows in BATCHES)] for n in names])  # fmt: skip
    return {str(rows): {f"{n.replace(' ', '_')}_us": round(v, 2) for n, v in found[rows].items()} for rows in BATCHES}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_decision", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer batches, a smaller model")
    parser.add_argument("--profile", type=int, default=0, metavar="ROWS", help="profile batches of so many instead")
    parser.add_argument("--quantile", type=float, default=0.5, help="of the batches; 0.5 is the median")
    given = parser.parse_args()
    main(given.quick, given.profile, given.quantile)
