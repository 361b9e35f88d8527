"""One process that decides, or stands by to: it follows the log until it is told to act, then serves the hot endpoints.

    stand by ──SIGUSR1──▶ active ──SIGTERM──▶ drained

The listening socket is given, already bound: connections that come between two processes wait in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fraudloop.api.http import protocol_factory
from fraudloop.api.scorer import Scorer
from fraudloop.clock import SystemClock
from fraudloop.door.row import RowDoor
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.engine import Engine
from fraudloop.engine.loaded import Loaded
from fraudloop.engine.recovery import Follower, recover
from fraudloop.engine.service import Service
from fraudloop.errors import FraudloopError, RefoldNeeded
from fraudloop.ledger.files import FolderFiles
from fraudloop.scoring.store import BundleStore

#: How often the standby looks for new groups.
_FOLLOW_S: Final = 0.02

#: Python gives other threads the interpreter after so long: the flusher must not wait for a batch to end.
_SWITCH_S: Final = 0.0005


@dataclass(slots=True)
class Process:
    """What a process is made of. door: of the requests' shape. columns: of canonical rows. ready: called with the role once it is taken."""

    config: ServeConfig
    store: BundleStore
    door: RowDoor
    columns: tuple[str, ...]
    key: bytes
    listener: socket.socket
    ready: Callable[[str], None] = lambda role: None
    units: dict[str, str] = field(default_factory=dict)


def run(process: Process, *, standby: bool) -> int:
    """Serve until told to stop; the exit code."""
    sys.setswitchinterval(_SWITCH_S)
    follower: Follower | None = None
    if standby:
        follower = _stand_by(process)
        if follower is None:
            return 0
    try:
        import uvloop

        runner: Any = uvloop.run
    except ImportError:
        runner = asyncio.run
    code: int = runner(_serve(process, follower))
    return code


def _stand_by(process: Process) -> Follower | None:
    """Follow the log until the signal to act (the follower) or to stop (None)."""
    act, stop = threading.Event(), threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: act.set())
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    follower = recover(FolderFiles(process.config.log), process.config.snapshots, process.key)
    process.ready("standby")
    while not act.is_set():
        if stop.is_set():
            return None
        if not follower.follow(64):
            time.sleep(_FOLLOW_S)
    return follower


async def _serve(process: Process, follower: Follower | None) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    clock = SystemClock()
    engine: list[Engine] = []
    service = Service.open(
        process.config, FolderFiles(process.config.log), process.store, clock, lambda lsn: _wake(loop, engine, lsn), key=process.key,
        columns=process.columns, units=process.units, standby=follower,
    )  # fmt: skip
    engine.append(service.engine)
    app = Scorer(service.engine, process.door, loop, clock.now_us)
    factory, connections = protocol_factory(app)
    server = await loop.create_server(factory, sock=process.listener)
    watcher = asyncio.create_task(_watch(service, app, loop))
    # What was made at the start stays: no collection walks it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    process.ready("active")
    await stopping.wait()
    server.close()
    watcher.cancel()
    await _drain(service, connections)
    service.close()
    return 0


def _wake(loop: asyncio.AbstractEventLoop, engine: list[Engine], lsn: int) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(lambda: engine[0].durable(lsn))


async def _watch(service: Service, app: Scorer, loop: asyncio.AbstractEventLoop) -> None:
    """Follow the aliases of the store."""
    while True:
        await asyncio.sleep(service.config.follow_s)
        for slot, name in await loop.run_in_executor(None, service.look):
            loaded: Loaded | None = await loop.run_in_executor(None, service.prepare, slot, name)
            if name is not None and loaded is None:
                continue  # an alarm was raised; the old one stays
            try:
                service.change_slot(slot, loaded, "as the store has it")
            except RefoldNeeded as error:
                service.alarms[f"bundle:{slot}"] = f"{slot} {str(name)[:12]} waits: {error}"
                continue
            app.poke()


async def _drain(service: Service, connections: Any) -> None:
    """Let what is under way be answered, at most some seconds long."""
    end = time.monotonic() + 10.0
    engine = service.engine
    while (engine.queue or engine.flights) and time.monotonic() < end:
        await asyncio.sleep(0.005)
    for connection in list(connections):
        connection.close_idle()
    with contextlib.suppress(FraudloopError):
        engine.flusher.wanted()
