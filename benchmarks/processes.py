"""Servers as processes of their own: started on a core, waited for, ended. Load comes from this process on another core."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

START_S_MAX: Final = 120.0


@cache
def cores() -> tuple[int, int]:
    """The core for the server and that for the load, of those that this process had at first: later it has bound itself to one; the same
    twice where there is but one."""
    have = sorted(os.sched_getaffinity(0))
    return have[0], have[-1]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(
    command: Sequence[str], port: int, core: int, *, environment: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server and all its processes on one core, while the block runs; RuntimeError with the end of its log if it does not listen."""
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(log.open("wb")) if log is not None else subprocess.DEVNULL
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}, start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
        try:
            _wait(process, port, log)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def cpu_s(*servers: subprocess.Popen[bytes]) -> float:
    """Seconds of processor time that these and their children have used: what a machine shared with others disturbs far less."""
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
            spent[int(path.parent.name)] = int(fields[11]) + int(fields[12])
    family = {server.pid for server in servers}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    ticks = sum(spent.get(pid, 0) for pid in family)
    return ticks / os.sysconf("SC_CLK_TCK")


def _wait(process: subprocess.Popen[bytes], port: int, log: Path | None) -> None:
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    told = log.read_text("utf-8", "replace")[-2_000:] if log is not None else ""
    raise RuntimeError(f"the server does not listen on {port}: {told}")
