"""`serve` as a family of processes: one that decides, one that stands by, and helpers; whoever dies is replaced.

The listening socket is the supervisor's: it outlives every child, so no connection is refused while one takes over from another. When the
process that decides dies or does not answer, the one that stands by is told to act (its epoch fences the old one off), and another one
is started to stand by. It knows no engine: children are commands, and speak by a pipe (`standby`, `active`) and their exit codes.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

#: A child that dies sooner than this after its start waits before it is started again, longer each time.
_YOUNG_S: Final = 5.0
_BACKOFF_S_MAX: Final = 30.0

#: The process that decides is asked for its health so often, and taken for dead after so many answers that did not come.
_PING_S: Final = 1.0
_PING_TIMEOUT_S: Final = 2.0
_PINGS_MISSED_MAX: Final = 3

#: How long who decides, and who stands by, may take to end by themselves: what is under way is answered, and a snapshot is written.
_END_S: Final = 30.0

#: How long the helpers may. What they had not done is done after the next start.
_HELPER_END_S: Final = 5.0

#: A killed helper is waited for no longer: it runs nothing any more, but on a busy machine it may take long to be gone, as the worker has only
#: what processor time nobody else wants.
_GONE_S: Final = 5.0


@dataclass(slots=True, eq=False)
class Child:
    """A process and what it said. role: of the commands. said: its last word, '' before the first."""

    role: str
    process: asyncio.subprocess.Process
    started: float
    said: str = ""
    word: asyncio.Event = field(default_factory=asyncio.Event)


class Supervisor:
    """Keeps the family alive. command(role, listen_fd, ready_fd): how a child is started; helpers: roles of further children that are
    started again when they end. say: one line for people."""

    def __init__(
        self,
        listener: socket.socket,
        command: Callable[[str, int, int], Sequence[str]],
        helpers: Sequence[str],
        say: Callable[[str], None],
        *,
        standby: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._listener, self._command, self._helpers, self._say = listener, command, helpers, say
        self._address: tuple[str, int] = listener.getsockname()[:2]
        self._with_standby, self._environment = standby, environment
        self._active: Child | None = None
        self._standby: Child | None = None
        self._others: dict[str, Child] = {}
        self._failures: dict[str, int] = {}
        self._stopping = False
        #: Held while one process takes over from another.
        self._changing = asyncio.Lock()
        self._family: set[Child] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Until a signal to stop; the exit code of the process that decided."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        self._active = await self._start("active")
        self._keep(self._pings())
        waiting = asyncio.create_task(stop.wait())
        try:
            await self._until_active(waiting)
            if not stop.is_set():
                if self._with_standby:
                    self._standby = await self._start("standby")
                for role in self._helpers:
                    self._others[role] = await self._start(role)
            await waiting
        finally:
            code = await self._stop()
        return code

    async def _until_active(self, waiting: asyncio.Task[bool]) -> None:
        active = self._active
        assert active is not None
        said = asyncio.create_task(active.word.wait())
        await asyncio.wait([said, waiting], return_when=asyncio.FIRST_COMPLETED)
        said.cancel()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, role: str) -> Child:
        ready, told = os.pipe()
        command = self._command(role, self._listener.fileno(), told)
        # A group of its own, so that Ctrl-C in a terminal is for the supervisor alone; but of its session: Linux shares a core out between
        # sessions first, and a worker that is to get what the scorer leaves would get half.
        process = await asyncio.create_subprocess_exec(
            *command, pass_fds=(self._listener.fileno(), told), env=None if self._environment is None else dict(self._environment), process_group=0
        )  # fmt: skip
        os.close(told)
        child = Child(role, process, time.monotonic())
        self._family.add(child)
        self._keep(self._listen(child, ready))
        self._keep(self._mourn(child))
        return child

    async def _listen(self, child: Child, ready: int) -> None:
        """What a child says of its role, a word a line."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ready, "rb"))
        try:
            while line := await reader.readline():
                child.said = line.decode("ascii", "replace").strip()
                child.word.set()
                self._failures.pop(child.role, None)
                if child.said == "active":
                    self._say(f"process {child.process.pid} decides")
                elif child.said == "standby":
                    self._say(f"process {child.process.pid} stands by")
        finally:
            transport.close()

    async def _mourn(self, child: Child) -> None:
        """Wait for a child's end, and replace it."""
        code = await child.process.wait()
        self._family.discard(child)
        child.word.set()
        if self._stopping:
            return
        if child is self._active:
            self._say(f"process {child.process.pid} that decided has ended ({_why(code)})")
            async with self._changing:
                await self._replace_active()
        elif child is self._standby:
            self._say(f"process {child.process.pid} that stood by has ended ({_why(code)})")
            await self._pause(child)
            if not self._is_stopping() and child is self._standing_by():
                self._standby = await self._start("standby")
        else:
            self._say(f"{child.role} has ended ({_why(code)})")
            await self._pause(child)
            if not self._is_stopping():
                self._others[child.role] = await self._start(child.role)

    async def _replace_active(self) -> None:
        begin = time.monotonic()
        heir, self._standby = self._standby, None
        if heir is not None:
            await heir.word.wait()  # it may still be reading the log; a fresh one would have to as well
        if heir is not None and heir.process.returncode is None and heir.said == "standby":
            self._active = heir
            heir.word.clear()
            heir.process.send_signal(signal.SIGUSR1)
        else:
            if self._active is not None:
                await self._pause(self._active)
            self._active = await self._start("active")
        active = self._active
        await active.word.wait()
        if active.said == "active" and active.process.returncode is None:
            self._say(f"taken over in {time.monotonic() - begin:.2f} s")
        if self._with_standby and self._standing_by() is None and not self._is_stopping():
            self._standby = await self._start("standby")

    def _standing_by(self) -> Child | None:
        return self._standby

    def _is_stopping(self) -> bool:
        return self._stopping

    async def _pause(self, child: Child) -> None:
        """Wait before a child that died young is started again."""
        if time.monotonic() - child.started > _YOUNG_S:
            self._failures.pop(child.role, None)
            return
        failures = self._failures[child.role] = self._failures.get(child.role, 0) + 1
        await asyncio.sleep(min(_BACKOFF_S_MAX, 0.2 * 2**failures))

    async def _pings(self) -> None:
        """Kill the process that decides when it lives and does not answer."""
        missed = 0
        while True:
            await asyncio.sleep(_PING_S)
            active = self._active
            if active is None or active.said != "active" or self._stopping:  # told to stop, it answers no more
                missed = 0
                continue
            ok = await asyncio.get_running_loop().run_in_executor(None, self._ping)
            missed = 0 if ok else missed + 1
            if missed >= _PINGS_MISSED_MAX and active is self._active and active.process.returncode is None:
                self._say(f"process {active.process.pid} has not answered for {missed * (_PING_S + _PING_TIMEOUT_S):.0f} s; it is ended")
                with contextlib.suppress(ProcessLookupError):
                    active.process.kill()
                missed = 0

    def _ping(self) -> bool:
        host, port = self._address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a comparison
        connection = http.client.HTTPConnection(host, port, timeout=_PING_TIMEOUT_S)
        try:
            connection.request("GET", "/health", headers={"connection": "close"})
            return connection.getresponse().status < 600
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    async def _stop(self) -> int:
        """End the family: who decides first, so that all that was taken is answered."""
        async with self._changing:
            self._stopping = True
            code = 0 if self._active is None else await _end(self._active, _END_S)
        ends = [_end(child, _END_S) if child is self._standby else _end(child, _HELPER_END_S, _GONE_S) for child in self._family]
        await asyncio.gather(*ends)
        self._listener.close()
        for task in list(self._tasks):
            task.cancel()
        return code


async def _end(child: Child, seconds: float, gone_s: float | None = None) -> int:
    """Have a child end, and kill it after so long; its exit code. gone_s: how long a killed one is waited for, None: until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        child.process.terminate()
    try:
        # One that somebody killed before it was told to end has nothing more to answer: the log has all of it.
        return max(0, await asyncio.wait_for(child.process.wait(), seconds))
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            child.process.kill()
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(child.process.wait(), gone_s)
    return -signal.SIGKILL


def _why(code: int) -> str:
    if code < 0:
        return f"by signal {signal.Signals(-code).name}"
    return f"exit code {code}"
