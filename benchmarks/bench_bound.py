"""How much processor time a decision may take, if the p99 of the service is to be that of an echo and two flushes.

    python -m benchmarks.bench_bound [--quick] [COST|FIXED+COST ...]

A stand-in answers what an echo answers, over the service's own protocol, log and flushes: it reads the body, takes all that wait together, takes FIXED µs
of processor time for that batch and COST µs for each of it, appends as many bytes as a decision has, and answers what is on disk. It decides nothing.
What it may take to stay within the bound, a decision may take, however it is programmed; it shares its core with nobody, as the service has to.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.bench_service import LATENCY_HEAD, Sizes, bodies, echo, figures_of, flush_s, on_core, row_of
from benchmarks.echo_servers import Everything
from benchmarks.processes import cores, free_port, running
from benchmarks.tables import show
from fraudloop.api.http import Connection, Head, Routed, Server
from fraudloop.engine.metronome import Metronome, is_wanted
from fraudloop.engine.syncer import Syncer
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log
from fraudloop.limits import LOG_AHEAD_BYTES
from fraudloop.pipelines.exchange import Target
from fraudloop.pipelines.load import run

#: Processor time, µs: of a batch, and of each decision in it. From none at all to what the service takes.
COSTS_US: Final = ((0.0, 0.0), (0.0, 20.0), (0.0, 40.0), (100.0, 40.0), (200.0, 40.0), (300.0, 40.0))

#: What a decision has in the log.
RECORD_BYTES: Final = 1_500

#: The echoes that the bound may mean.
ECHOES: Final = ("uvicorn", "granian", "uvicorn-queue", "granian-queue")

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Standin:
    """An application of the thin protocol that does what a service must do beside deciding."""

    def __init__(self, log: Log, fixed_us: float, cost_us: float, loop: asyncio.AbstractEventLoop) -> None:
        self._log, self._cost_ns, self._fixed_ns, self._loop = log, cost_us * 1e3, fixed_us * 1e3, loop
        self._syncer = Syncer(log)
        self._metronome = Metronome() if is_wanted() else None
        self._record = os.urandom(RECORD_BYTES)
        self._queue: list[tuple[Connection, dict[str, Any]]] = []
        self._flights: deque[tuple[int, list[tuple[Connection, bytes]]]] = deque()
        self._scheduled = False
        loop.add_reader(self._syncer.fd, self._flushed)

    def connected(self, connection: Connection) -> None:
        pass

    def route(self, head: Head) -> Routed:
        return Everything()

    def serve(self, connection: Connection, head: Head, body: bytes) -> None:
        self._queue.append((connection, _decode(body)))
        self._soon()

    def fail(self, connection: Connection, status: int, detail: str, field: str) -> None:
        connection.respond(status, b"{}")

    def _soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if not self._queue or self._flights:  # who comes during a flush waits for it, as in the service
            return
        if self._metronome is not None:
            self._metronome.step()
        taken, self._queue = self._queue, []
        until = time.thread_time_ns() + self._fixed_ns + self._cost_ns * len(taken)
        answers = [(connection, _encode(told)) for connection, told in taken]
        while time.thread_time_ns() < until:
            pass
        self._log.append(self._log.epoch, [self._record] * len(taken))
        self._flights.append((self._log.next_lsn, answers))
        self._syncer.wanted()

    def _flushed(self) -> None:
        lsn, _ = self._syncer.collect()
        while self._flights and self._flights[0][0] <= lsn:
            for connection, body in self._flights.popleft()[1]:
                connection.respond_ok(body)
        self._soon()


async def serve(port: int, folder: Path, fixed_us: float, cost_us: float) -> None:
    """Answer on a port until ended."""
    loop = asyncio.get_running_loop()
    made = Server(Standin(Log.open(FolderFiles(folder), ahead_bytes=LOG_AHEAD_BYTES), fixed_us, cost_us, loop))
    made.start(loop)
    server = await loop.create_server(made, "127.0.0.1", port)
    await server.serve_forever()


def main(quick: bool = False, costs: Sequence[tuple[float, float]] = COSTS_US, sizes: Sizes | None = None) -> dict[str, object]:
    """Print the tables and return the figures. costs: µs of a batch, and of a decision."""
    sizes = sizes or replace(Sizes(), ceiling_s=1.0, share_s=4.0 if quick else 20.0, echoes=ECHOES)
    before = os.sched_getaffinity(0)
    Path("out").mkdir(exist_ok=True)
    figures: dict[str, Any] = {}
    try:
        echoes: dict[str, Any] = echo(sizes)
        os.sched_setaffinity(0, before)
        flush = flush_s(Path("out"), sizes.flushes)
        for fixed, cost in costs:
            figures[f"{fixed:g}+{cost:g}"] = standin(sizes, fixed, cost)
            os.sched_setaffinity(0, before)
    finally:
        os.sched_setaffinity(0, before)
    bounds = {name: found["at_rate"]["ok_p99_ms"] + 2 * flush["p99_ms"] for name, found in echoes.items()}
    show(
        f"A stand-in for decisions at {sizes.rate:,.0f}/s, open loop",
        ("µs a batch + µs a decision", *LATENCY_HEAD[1:]),
        [row_of(cost, found) for cost, found in figures.items()],
    )
    show(
        f"Bounds: the p99 of an echo and two flushes of {flush['p99_ms']:.2f} ms",
        ("", "ms", "which stand-ins stay within it"),
        [[name, f"{bound:.2f}", ", ".join(_within(figures, bound)) or "none"] for name, bound in bounds.items()],
    )
    return {"echo": echoes, "flush": flush, "standin": figures, "bounds_ms": {name: round(bound, 3) for name, bound in bounds.items()}}


def standin(sizes: Sizes, fixed_us: float, cost_us: float) -> dict[str, object]:
    """Latency of one stand-in at the rate."""
    server_core, load_core = cores()
    port = free_port()
    with tempfile.TemporaryDirectory(dir="out") as name:
        command = [sys.executable, "-m", "benchmarks.bench_bound", "--serve", str(port), name, f"{fixed_us}+{cost_us}"]
        with running(command, port, server_core):
            on_core(load_core)
            target = Target.of(f"http://127.0.0.1:{port}/score_transaction")
            run(target, bodies(1_000, run_name="w"), rate=0, duration_s=sizes.ceiling_s, connections=sizes.connections)
            found = run(
                target, bodies(1_000), rate=sizes.rate, duration_s=sizes.share_s, warmup_s=sizes.warmup_s / 5, connections=sizes.open_connections
            )  # fmt: skip
    return figures_of(found)


def _within(figures: dict[str, Any], bound_ms: float) -> list[str]:
    return [cost for cost, found in figures.items() if found["ok_p99_ms"] <= bound_ms]


def cost_of(text: str) -> tuple[float, float]:
    """µs of a batch and of a decision.

    >>> cost_of("200+40"), cost_of("40")
    ((200.0, 40.0), (0.0, 40.0))
    """
    fixed, plus, cost = text.rpartition("+")
    return float(fixed) if plus else 0.0, float(cost)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_bound", description=__doc__)
    parser.add_argument(
        "costs", nargs="*", type=cost_of, metavar="COST", help="µs of processor time a decision; FIXED+COST: and of a batch"
    )
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--serve", nargs=2, metavar=("PORT", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        import uvloop

        uvloop.run(serve(int(given.serve[0]), Path(given.serve[1]), *given.costs[0]))
    else:
        main(given.quick, given.costs or COSTS_US)
