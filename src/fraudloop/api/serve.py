"""The processes of `serve`: one that decides, or stands by to; the desk; the worker behind the log.

    stand by ──SIGUSR1──▶ active ──SIGTERM──▶ drained

The listening socket is given, already bound: connections that come between two processes wait in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from fraudloop.api.backing import Backing
from fraudloop.api.http import Server
from fraudloop.api.keys import Keys
from fraudloop.api.lines import Lines
from fraudloop.api.rates import Rate
from fraudloop.api.relay import Relay
from fraudloop.api.scorer import Inside, Parts, Scorer
from fraudloop.api.worker import Watch
from fraudloop.clock import SystemClock
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.pan import TokenKey
from fraudloop.door.row import RowDoor
from fraudloop.engine.config import ServeConfig
from fraudloop.engine.counts import save
from fraudloop.engine.engine import Engine
from fraudloop.engine.loaded import Loaded
from fraudloop.engine.metronome import Metronome, is_wanted
from fraudloop.engine.populator import Populator
from fraudloop.engine.recovery import Follower, caught_up, newest_first, recover
from fraudloop.engine.recovery import refold as follow_from_the_beginning
from fraudloop.engine.service import Service
from fraudloop.engine.snapshots import Snapshots, write
from fraudloop.engine.state import State
from fraudloop.engine.syncer import Syncer
from fraudloop.errors import DefectError, FencedError, FraudloopError, RefoldNeeded, UnavailableError
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Reader
from fraudloop.ledger.room import Room
from fraudloop.scoring.store import BundleStore

#: How often the standby looks for new groups.
_FOLLOW_S: Final = 0.02

#: Python gives other threads the interpreter after so long: the flusher must not wait for a batch to end.
_SWITCH_S: Final = 0.0005

#: How long requests under way may take once the process is told to stop.
_DRAIN_S: Final = 10.0
_DRAIN_DESK_S: Final = 3

#: Between two tries to open a log that could not be written.
_HEAL_S: Final = 1.0

#: The exit code of a process that another one has taken over from.
FENCED: Final = 3

#: Seconds between two collections of young objects, and between two times that counts are kept.
_COLLECT_BEATS: Final = 10
_COUNTS_BEATS: Final = 10

#: Records that the loop itself folds in when a state that was made beside is swapped in: some milliseconds' worth.
_SWAP_RECORDS: Final = 512


@dataclass(slots=True)
class Process:
    """What a process is made of. door: of the requests' shape. columns: of canonical rows, with their types. ready: called with the role once it is taken.
    alone: nobody stands by, so this process writes the snapshots. open_to_all: no keys are asked for. lines: file descriptor of the
    lines of decisions, None for none. types: of columns of the user's own, as `domain.transaction.TRANSACTION_SCHEMA` has them."""

    config: ServeConfig
    store: BundleStore
    door: RowDoor
    tokens: TokenKey
    columns: Mapping[str, str]
    key: bytes
    listener: socket.socket
    ready: Callable[[str], None] = lambda role: None
    units: Mapping[str, str] = field(default_factory=dict)
    own_numbers: tuple[str, ...] = ()
    own_words: tuple[str, ...] = ()
    alone: bool = True
    open_to_all: bool = True
    lines: int | None = None
    rate: Rate | None = None
    refold: Callable[[Path], Sequence[str]] | None = None
    types: Mapping[str, str] = field(default_factory=dict)


def run(process: Process, *, standby: bool) -> int:
    """Serve until told to stop; the exit code."""
    sys.setswitchinterval(_SWITCH_S)
    follower: Follower | None = None
    if standby:
        follower = _stand_by(process)
        if follower is None:
            return 0
    code: int = _runner()(_Active(process).serve(follower))
    return code


def run_desk(config: ServeConfig, version: str, ready: Callable[[str], None], key: bytes, tokens: TokenKey) -> int:
    """The desk on its Unix socket until told to stop."""
    import uvicorn

    from fraudloop.api.desk import ScorerLink, create_desk
    from fraudloop.api.listings import Listings
    from fraudloop.api.worker import open_index

    socket_path, listings = config.run / "desk.sock", Listings(partial(open_index, config), key, tokens)
    app = create_desk(ScorerLink(str(config.run / "scorer.sock")), version=version, listings=listings)
    with _only_for_us(socket_path):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(socket_path))
    # A connection that who decides keeps open, because it is slow to end, does not keep this from ending.
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=_DRAIN_DESK_S
        )
    )
    ready("desk")
    server.run([listener])
    return 0


@contextlib.contextmanager
def _only_for_us(path: Path) -> Iterator[None]:
    """What is bound at a path meanwhile can be opened by this account alone: on these sockets nobody asks for a key."""
    path.unlink(missing_ok=True)
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def _runner() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def _stand_by(process: Process) -> Follower | None:
    """Follow the log until the signal to act (the follower) or to stop (None); write snapshots meanwhile."""
    act, stop = threading.Event(), threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: act.set())
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    config = process.config
    follower = recover(FolderFiles(config.log), config.snapshots, process.key)
    snapshots = Snapshots(config.snapshots, config.snapshot_records, config.snapshot_s)
    Service.rehearse(config, process.store, follower.state, process.units)
    process.ready("standby")
    while not act.is_set():
        if stop.is_set():
            follower = caught_up(follower, config.snapshots)
            if follower.state.next_lsn > snapshots.last_lsn:
                snapshots.wait()
                write(config.snapshots, follower.state)
            return None
        try:
            if not follower.follow(64):
                time.sleep(_FOLLOW_S)
        except RefoldNeeded:
            follower = recover(follower.files, config.snapshots, process.key)
            continue
        if snapshots.due(follower.state):
            snapshots.begin(follower.state)
    return follower


class _Active:
    """The process while it decides."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.clock = SystemClock()
        self.populator = Populator()
        self.metronome = Metronome() if is_wanted() else None
        self.writer = ThreadPoolExecutor(1, "counts")  # one: a file is not written twice at once
        self.stopping = asyncio.Event()
        self.code = 0
        self.loop: asyncio.AbstractEventLoop
        self.service: Service
        self.app: Scorer
        self.backing: Backing

    async def serve(self, follower: Follower | None) -> int:
        """Open the log, serve, drain; the exit code."""
        self.loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(name, self.stopping.set)
        process, config = self.process, self.process.config
        self.service = self._open(follower)
        self._attend(self.service)
        lines = None if process.lines is None else Lines(process.lines, every=config.lines_every)
        config.run.mkdir(parents=True, exist_ok=True)
        self.backing = Backing(self.service, process.tokens, self.poke)
        backing = self.backing
        self.app = Scorer(
            Parts(
                engine=_Turns(self), door=process.door, clock=self.clock, health=backing.health, stats=backing.stats, records=backing, intake=backing, control=backing,
                predictor=backing.predictor, keys=None if process.open_to_all else Keys(config.folder), rate=process.rate, lines=lines,
                relay=Relay(str(config.run / "desk.sock"), self.loop), version=self.service.engine.in_force.build.partition("+")[0],
                build=self.service.engine.in_force.build,
            ),
            self.loop,
        )  # fmt: skip
        self.app.answers.look_up = lambda plan: self.service.plan_names(plan)  # of the service as it is then
        public, inside = Server(self.app), Server(Inside(self.app))
        self.app.listen(public)
        for server in (public, inside):
            server.start(self.loop)
        listening = [await self.loop.create_server(public, sock=process.listener), await self._inside(inside)]
        tasks = [asyncio.create_task(work()) for work in (self._watch, self._heal, self._rebuild, self._snapshots, self._beat)]
        # What was made at the start stays: no collection walks it again. A decision leaves no circles behind, so young objects are looked
        # through now and then by `_beat`, and never in the middle of a batch.
        gc.collect()
        gc.freeze()
        gc.disable()
        process.ready("active")
        await self.stopping.wait()
        for listener in listening:
            listener.close()
        for task in tasks:
            task.cancel()
        await self._drain(public, inside)
        if lines is not None:
            lines.close()
        return self.code

    async def _inside(self, server: Server) -> asyncio.Server:
        """The socket for the desk: only this account can open it."""
        path = self.process.config.run / "scorer.sock"
        with _only_for_us(path):
            return await self.loop.create_unix_server(server, str(path))

    def _open(self, follower: Follower | None) -> Service:
        process = self.process
        service = Service.open(
            process.config, FolderFiles(process.config.log), process.store, self.clock, lambda lsn: None, key=process.key, columns=process.columns,
            units=process.units, standby=follower, flusher=lambda log, done, failed: Syncer(log),
        )  # fmt: skip
        service.own_numbers, service.own_words = process.own_numbers, process.own_words
        return service

    def _attend(self, service: Service) -> None:
        """Watch what its log's flushes tell, and have memory laid out before it is written."""
        service.engine.state.look_ahead(self.populator.ask)
        flusher = service.engine.flusher
        assert isinstance(flusher, Syncer), "the service was opened to be watched"
        self.loop.add_reader(flusher.fd, self._flushed, service.engine)

    def _dismiss(self, service: Service) -> None:
        flusher = service.engine.flusher
        assert isinstance(flusher, Syncer), "the service was opened to be watched"
        if flusher.fd >= 0:
            self.loop.remove_reader(flusher.fd)

    def _flushed(self, engine: Engine) -> None:
        engine.flushed()
        if engine.queue or engine.commands or engine.beside.shadow:
            self.poke()

    def poke(self) -> None:
        """There is something for the loop to do."""
        self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        engine = self.service.engine
        if engine.ripe or not engine.flights:
            self.step(engine)
        if engine.beside.shadow and not engine.queue and not engine.flights:
            self.loop.call_soon(self._turn)  # the challenger looks at one batch after the other while nobody else asks

    def step(self, engine: Engine) -> None:
        """Decide what waits."""
        if self.metronome is not None:
            self.metronome.step()
        engine.step()

    async def _beat(self) -> None:
        """Once a second: keys, lines, what goes on beside the decisions."""
        watch = Watch(self.process.config)
        beats = 0
        while True:
            await asyncio.sleep(1.0)
            self.app.beat()
            beats += 1
            if beats % _COLLECT_BEATS == 0:
                gc.collect(1)
            self._look(watch)
            if self.service.engine.failed is None:
                try:
                    self.service.guard()
                except Exception as error:  # noqa: BLE001 - the edge of a task: what decides goes on deciding, and the alarm says that nothing guards
                    traceback.print_exc()
                    self.service.alarms["guard"] = f"the guards do not work: {type(error).__name__}: {error}"
                self.poke()
                if beats % _COUNTS_BEATS == 0:
                    await self._keep_counts()

    async def _keep_counts(self) -> None:
        """What was counted beside the decisions, for whoever decides next. It is written outside the loop."""
        service = self.service
        try:
            await self.loop.run_in_executor(self.writer, save, service.config.counts, service.counted())
        except OSError as error:
            service.alarms["counts"] = f"the counts of guards, canary and observing cannot be kept: {error}"
        else:
            service.alarms.pop("counts", None)

    def _look(self, watch: Watch) -> None:
        """What the disk and the worker are like: alarms, and whether anything new may be decided."""
        service, engine = self.service, self.service.engine
        found = watch.look(self.clock.now_us())
        for name in [name for name in service.alarms if name in ("disk", "worker") or name.startswith("worker:")]:
            if name not in found:
                del service.alarms[name]
        service.alarms.update(found)
        full = watch.room is not None and watch.room.state is Room.FULL
        engine.halted = UnavailableError(f"the disk of the log is full: {found['disk']}; come again", retry_after_s=10) if full else None
        if watch.report is not None:
            self.backing.log_bytes = watch.report.log_bytes
            engine.state.first_lsn = max(engine.state.first_lsn, watch.report.first_lsn)

    async def _watch(self) -> None:
        """Follow the aliases of the store, and fold anew for what waits for it."""
        while True:
            await asyncio.sleep(self.process.config.follow_s)
            try:
                await self._follow_store()
                if self.service.warming and not self.service.engine.state.gone:
                    await self._warm()
            except Exception as error:  # noqa: BLE001 - the edge of a task: what decides goes on deciding, and the alarm says that nobody follows
                traceback.print_exc()
                self.service.alarms["store"] = f"the store could not be followed: {type(error).__name__}: {error}"
            else:
                self.service.alarms.pop("store", None)

    async def _follow_store(self) -> None:
        service = self.service
        for slot, name in await self.loop.run_in_executor(None, service.look):
            loaded = await self.loop.run_in_executor(None, service.prepare, slot, name)
            if name is not None and loaded is None:
                continue  # an alarm was raised; the old one stays
            service.forget_warming(slot)
            self._put(slot, loaded)
        await self.loop.run_in_executor(None, service.find_former)

    def _put(self, slot: str, loaded: Loaded | None) -> None:
        service = self.service

        def refused(error: FraudloopError) -> None:
            if isinstance(error, RefoldNeeded) and loaded is not None:
                service.warm_up(f"{slot} {loaded.short}", error, partial(self._put_if_still, slot, loaded))
            else:
                service.alarms[f"bundle:{slot}"] = f"{slot} {loaded.short if loaded else 'empty'} cannot be used: {error}"

        service.change_slot(slot, loaded, "as the store has it", refuse=refused)
        self.poke()

    def _put_if_still(self, slot: str, loaded: Loaded) -> None:
        """What was warmed is put into its slot, unless the alias has moved on meanwhile."""
        if self.service.seen.get(slot) == loaded.hash:
            self._put(slot, loaded)

    async def _warm(self) -> None:
        """Fold the log under what waits, in a process of its own, and swap that state in between two batches."""
        if self.process.refold is None:
            return
        service = self.service
        name, warming = next(iter(service.warming.items()))
        folder = self.process.config.run / "refold"
        try:
            path = await refold_beside(self.process, warming.features, folder)
            follower = await self.loop.run_in_executor(None, partial(restore_beside, self.process, path, warming.features))
            await self._nearly(follower, service)
            if service is not self.service or service.warming.get(name) is not warming:
                return  # the log was opened anew, or something else is wanted by now
            while follower.follow():
                pass
            assert follower.state.fold is not None and follower.state.next_lsn == service.engine.log.next_lsn, "nothing is missing"
            service.swap(follower.state.fold, f"{name}: folded anew")
        except (FraudloopError, OSError) as error:
            service.alarms[f"warming:{name}"] = f"{name} cannot be warmed: {error}"
            service.warming.pop(name, None)
            return
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        service.warming.pop(name, None)
        service.alarms.pop(f"warming:{name}", None)
        warming.then()
        self.poke()

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
            name = "defect" if isinstance(failed, DefectError) else "log"
            self.service.alarms[name] = str(failed)
            self._dismiss(self.service)
            sys.stderr.write(f"fraudloop: {failed}\n")
            with contextlib.suppress(FraudloopError, OSError):
                self.service.close()
            try:
                service = await self.loop.run_in_executor(None, self._again)
            except (FraudloopError, OSError) as error:
                self.service.alarms["log"] = str(error)
                continue
            if name == "defect":
                service.alarms[name] = str(failed)  # somebody should look, although it goes on
            self.service = self.backing.service = service
            self._attend(service)

    def _again(self) -> Service:
        """The service over the log opened anew: at once without the state of the entities, if that is wanted and nothing else is in doubt, else
        once the state is folded anew."""
        process = self.process
        if process.config.without_state == "degraded":
            with contextlib.suppress(UnavailableError):
                return Service.blind(self.service, FolderFiles(process.config.log), lambda lsn: None, lambda log, done, failed: Syncer(log))
        return self._open(None)

    async def _nearly(self, follower: Follower, service: Service) -> None:
        """Let a state that is made beside follow the log, until what it lacks can be folded in between two batches."""
        while follower.state.next_lsn < service.engine.log.next_lsn - _SWAP_RECORDS:
            await self.loop.run_in_executor(None, follower.follow, 64)

    async def _rebuild(self) -> None:
        """Where the state of the entities is gone: fold it anew beside, and swap it in between two batches."""
        config = self.process.config
        while True:
            await asyncio.sleep(0.1)
            service = self.service
            if not service.engine.state.gone or service.engine.failed is not None:
                continue
            files = FolderFiles(config.log)
            try:
                follower = await self.loop.run_in_executor(None, recover, files, config.snapshots, self.process.key)
                await self._nearly(follower, service)
                if service is not self.service or service.engine.failed is not None:
                    continue  # the log was opened anew meanwhile
                while follower.follow():
                    pass
                service.restored(follower.state)
                service.engine.state.look_ahead(self.populator.ask)
            except Exception as error:  # noqa: BLE001 - the edge of a task: it is tried again, and the alarm says that the state is not back
                traceback.print_exc()
                service.alarms["state"] = f"the state cannot be folded anew: {type(error).__name__}: {error}"
                await asyncio.sleep(_HEAL_S)
            else:
                service.alarms.pop("state", None)
                self.poke()
            finally:
                files.close()

    async def _snapshots(self) -> None:
        """Where nobody stands by: snapshots by a forked child."""
        config = self.process.config
        snapshots = Snapshots(config.snapshots, config.snapshot_records, config.snapshot_s)
        while self.process.alone:
            await asyncio.sleep(1.0)
            engine = self.service.engine
            if engine.failed is None and not engine.flights and not engine.state.gone and snapshots.due(engine.state):
                snapshots.begin(engine.state)

    async def _drain(self, *servers: Server) -> None:
        """Let what is under way be answered, at most some seconds long; then close, with a snapshot for the next start."""
        end = time.monotonic() + _DRAIN_S
        engine = self.service.engine
        for server in servers:
            server.drain()
        while (engine.queue or engine.commands or engine.flights) and engine.failed is None and time.monotonic() < end:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)  # the last answers go out
        if engine.failed is None:
            await self._keep_counts()
        self._dismiss(self.service)
        self.service.close()
        self.writer.shutdown()
        self.populator.stop()
        if self.metronome is not None:
            self.metronome.stop()
        if self.process.alone and engine.failed is None and not engine.state.gone:
            write(self.process.config.snapshots, engine.state)


class _Turns:
    """The engine of the service as it is now: after a log that could not be written it is another one."""

    def __init__(self, active: _Active) -> None:
        self._active = active

    @property
    def queue(self) -> Any:
        """What a further step would take up now; while the disk is behind, its answer wakes the loop, not this."""
        engine = self._active.service.engine
        return engine.queue if engine.ripe else ()

    def ask(self, ticket: Any) -> None:
        self._active.service.engine.ask(ticket)

    def turned_away(self) -> UnavailableError | None:
        return self._active.service.engine.turned_away()

    def take(self, ticket: Any) -> None:
        self._active.service.engine.take(ticket)

    def step(self) -> None:
        engine = self._active.service.engine
        if engine.ripe:
            self._active.step(engine)


async def refold_beside(process: Process, features: FeatureSet, folder: Path) -> Path:
    """Fold the log under other features in a process of its own; the snapshot it leaves."""
    assert process.refold is not None, "who needs a fold can start one"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_bytes(msgspec.json.encode(features.to_dict()))
    child = await asyncio.create_subprocess_exec(
        *process.refold(folder), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, said = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    if child.returncode:
        raise FraudloopError(f"the fold ended with exit code {child.returncode}: {said.decode('utf-8', 'replace').strip()[-300:]}")
    newest = newest_first(folder)
    if not newest:
        raise FraudloopError("the fold left no snapshot")
    return newest[0]


def refold(config: ServeConfig, folder: Path, key: bytes) -> None:
    """What that process does: follow the log from its beginning under the features of `features.json`, and leave a snapshot."""
    for old in newest_first(folder):
        shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.nice(10)  # decisions come first
    features = FeatureSet.from_dict(msgspec.json.decode((folder / "features.json").read_bytes()))
    follow_from_the_beginning(FolderFiles(config.log), features, key).state.snapshot(folder)


def restore_beside(process: Process, path: Path, features: FeatureSet) -> Follower:
    """The state that was folded beside, ready to follow the log."""
    files = FolderFiles(process.config.log)
    state = State.restore(path, process.key)
    state.wider = features
    return Follower(files, state, Reader(files, state.next_lsn))
