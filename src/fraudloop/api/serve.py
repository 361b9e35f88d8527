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

from fraudloop.api.http import Connection, protocol_factory
from fraudloop.api.scorer import Scorer
from fraudloop.clock import SystemClock
from fraudloop.door.row import RowDoor
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.engine import Engine
from fraudloop.engine.recovery import Follower, recover
from fraudloop.engine.service import Service
from fraudloop.engine.snapshots import Snapshots, write
from fraudloop.errors import FencedError, FraudloopError, RefoldNeeded
from fraudloop.ledger.files import FolderFiles
from fraudloop.scoring.store import BundleStore

#: How often the standby looks for new groups.
_FOLLOW_S: Final = 0.02

#: Python gives other threads the interpreter after so long: the flusher must not wait for a batch to end.
_SWITCH_S: Final = 0.0005

#: How long requests under way may take once the process is told to stop.
_DRAIN_S: Final = 10.0

#: Between two tries to open a log that could not be written.
_HEAL_S: Final = 1.0

#: The exit code of a process that another one has taken over from.
FENCED: Final = 3


@dataclass(slots=True)
class Process:
    """What a process is made of. door: of the requests' shape. columns: of canonical rows. ready: called with the role once it is taken.
    alone: nobody stands by, so this process writes the snapshots."""

    config: ServeConfig
    store: BundleStore
    door: RowDoor
    columns: tuple[str, ...]
    key: bytes
    listener: socket.socket
    ready: Callable[[str], None] = lambda role: None
    units: dict[str, str] = field(default_factory=dict)
    alone: bool = True


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
    code: int = runner(_Active(process).serve(follower))
    return code


def _stand_by(process: Process) -> Follower | None:
    """Follow the log until the signal to act (the follower) or to stop (None); write snapshots meanwhile."""
    act, stop = threading.Event(), threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: act.set())
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    config = process.config
    follower = recover(FolderFiles(config.log), config.snapshots, process.key)
    snapshots = Snapshots(config.snapshots, config.snapshot_records, config.snapshot_s)
    process.ready("standby")
    while not act.is_set():
        if stop.is_set():
            follower.follow()
            if follower.state.next_lsn > snapshots.last_lsn:
                snapshots.wait()
                write(config.snapshots, follower.state)
            return None
        if not follower.follow(64):
            time.sleep(_FOLLOW_S)
        if snapshots.due(follower.state):
            snapshots.begin(follower.state)
    snapshots.wait()
    return follower


class _Active:
    """The process while it decides."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.clock = SystemClock()
        self.stopping = asyncio.Event()
        self.code = 0
        self.loop: asyncio.AbstractEventLoop
        self.service: Service
        self.app: Scorer

    async def serve(self, follower: Follower | None) -> int:
        """Open the log, serve, drain; the exit code."""
        self.loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(name, self.stopping.set)
        self.service = self._open(follower)
        self.app = Scorer(self.service.engine, self.process.door, self.loop, self.clock.now_us)
        factory, connections = protocol_factory(self.app)
        server = await self.loop.create_server(factory, sock=self.process.listener)
        tasks = [asyncio.create_task(work()) for work in (self._watch, self._heal, self._snapshots)]
        # What was made at the start stays: no collection walks it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        self.process.ready("active")
        await self.stopping.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await self._drain(connections)
        return self.code

    def _open(self, follower: Follower | None) -> Service:
        process = self.process
        holder: list[Engine] = []

        def wake(lsn: int) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self.loop.call_soon_threadsafe(lambda: self._durable(holder[0], lsn))

        service = Service.open(
            process.config, FolderFiles(process.config.log), process.store, self.clock, wake, key=process.key, columns=process.columns,
            units=process.units, standby=follower,
        )  # fmt: skip
        holder.append(service.engine)
        return service

    def _durable(self, engine: Engine, lsn: int) -> None:
        engine.durable(lsn)
        if engine.queue:
            self.app.poke()

    async def _watch(self) -> None:
        """Follow the aliases of the store."""
        while True:
            await asyncio.sleep(self.process.config.follow_s)
            for slot, name in await self.loop.run_in_executor(None, self.service.look):
                loaded = await self.loop.run_in_executor(None, self.service.prepare, slot, name)
                if name is not None and loaded is None:
                    continue  # an alarm was raised; the old one stays
                try:
                    self.service.change_slot(slot, loaded, "as the store has it")
                except RefoldNeeded as error:
                    self.service.alarms[f"bundle:{slot}"] = f"{slot} {str(name)[:12]} waits: {error}"
                    continue
                self.app.poke()

    async def _heal(self) -> None:
        """When the log could not be written: stop if another process writes it, else open it anew until that works."""
        while True:
            await asyncio.sleep(_HEAL_S)
            failed = self.service.engine.failed
            if failed is None:
                continue
            if isinstance(failed, FencedError):
                self.code = FENCED
                self.stopping.set()
                return
            self.service.alarms["log"] = str(failed)
            with contextlib.suppress(FraudloopError, OSError):
                self.service.close()
            try:
                service = await self.loop.run_in_executor(None, self._open, None)
            except (FraudloopError, OSError) as error:
                self.service.alarms["log"] = str(error)
                continue
            self.service = service
            self.app.use(service.engine)

    async def _snapshots(self) -> None:
        """Where nobody stands by: snapshots by a forked child."""
        config = self.process.config
        snapshots = Snapshots(config.snapshots, config.snapshot_records, config.snapshot_s)
        while self.process.alone:
            await asyncio.sleep(1.0)
            state = self.service.engine.state
            if self.service.engine.failed is None and not self.service.engine.flights and snapshots.due(state):
                snapshots.begin(state)

    async def _drain(self, connections: set[Connection]) -> None:
        """Let what is under way be answered, at most some seconds long; then close, with a snapshot for the next start."""
        end = time.monotonic() + _DRAIN_S
        engine = self.service.engine
        while (engine.queue or engine.flights) and engine.failed is None and time.monotonic() < end:
            await asyncio.sleep(0.005)
        for connection in list(connections):
            connection.close_idle()
        self.service.close()
        if self.process.alone and engine.failed is None:
            write(self.process.config.snapshots, engine.state)
