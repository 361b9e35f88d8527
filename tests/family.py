"""A real `fraudloop serve` on a free port for tests: started, asked, killed, and its log read."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fraudloop.engine.recovery import recover
from fraudloop.engine.state import State
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Reader
from fraudloop.ledger.records import Record, Transacted, decode_all
from fraudloop.settings import DEFAULT_HASH_KEY

START_S = 120.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass(slots=True)
class Served:
    """The running service. data: its folder."""

    data: Path
    port: int
    process: subprocess.Popen[bytes]
    errors: Path

    def ask(self, method: str, path: str, body: object = None, timeout: float = 30.0) -> tuple[int, dict[str, Any]]:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else {"text": text.decode()}
        finally:
            connection.close()

    def children(self) -> dict[int, str]:
        """The family by process id, with the role that each was started with; after a take-over one that stood by decides."""
        out = {}
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                with contextlib.suppress(OSError):
                    if int((path / "stat").read_text().rsplit(")", 1)[1].split()[1]) == self.process.pid:
                        words = (path / "cmdline").read_bytes().split(b"\0")
                        if b"--role" in words:
                            out[int(path.name)] = words[words.index(b"--role") + 1].decode()
        return out

    def stop(self) -> int:
        """End it as an operator does."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill_all(self) -> None:
        """The machine's plug, as far as processes go."""
        family = [*self.children(), self.process.pid]
        os.kill(self.process.pid, signal.SIGKILL)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)


def start(data: Path, *options: str, env: Mapping[str, str] | None = None) -> Served:
    """Start it and wait until it answers."""
    port = free_port()
    errors = data.parent / f"{data.name}.stderr"
    with errors.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "fraudloop", "serve", "--data", str(data), "--port", str(port), *options], stdout=out, stderr=out,
            env={**os.environ, "FRAUDLOOP_STORE": str(data.parent / "store"), **(env or {})},
        )  # fmt: skip
    served = Served(data, port, process, errors)
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        assert process.poll() is None, f"it ended: {errors.read_text()}"
        with contextlib.suppress(OSError, http.client.HTTPException):
            if served.ask("GET", "/health", timeout=2.0)[0] == 200:
                return served
        time.sleep(0.05)
    served.kill_all()
    raise AssertionError(f"it did not become ready: {errors.read_text()}")


@contextlib.contextmanager
def serving(data: Path, *options: str, env: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A service for the length of a block."""
    served = start(data, *options, env=env)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.kill_all()


def payment(number: int, **other: object) -> dict[str, object]:
    """An ordinary payment with an id of its own."""
    return {
        "transaction_id": f"T{number}", "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "customer_id": f"C{number % 37}", "merchant_id": f"M{number % 11}",
        "merchant_category": "grocery", "amount": 1 + number % 500, "currency": "EUR", "country": "DE", "is_online": number % 3 == 0,
        "device": {"id": f"D{number % 50}", "type": "mobile"}, **other,
    }  # fmt: skip


@dataclass(slots=True)
class Load:
    """Clients that send payments until told to stop, each retried with the same body until it is answered. answers: by id."""

    served: Served
    clients: int = 6
    first: int = 0
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    bad: list[tuple[int, str]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _next: int = 0

    def __enter__(self) -> Load:
        self._next = self.first
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        with contextlib.ExitStack() as open_now:
            self._send(open_now)

    def _send(self, open_now: contextlib.ExitStack) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            with self._lock:
                number = self._next
                self._next += 1
            body = payment(number)
            text = json.dumps(body)
            while True:
                try:
                    if connection is None:
                        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=20)
                        open_now.callback(connection.close)
                    connection.request("POST", "/score_transaction", text, {"content-type": "application/json"})
                    answer = connection.getresponse()
                    data = answer.read()
                except (OSError, http.client.HTTPException):
                    if connection is not None:
                        connection.close()
                    connection = None
                    if self._stop.is_set():
                        return
                    time.sleep(0.01)
                    continue
                if answer.status == 503:
                    if self._stop.is_set():
                        return
                    time.sleep(0.02)
                    continue
                if answer.status != 200:
                    self.bad.append((answer.status, data.decode()))
                else:
                    self.answers[str(body["transaction_id"])] = json.loads(data)
                break


def records(data: Path) -> list[Record]:
    """Everything in the log of a folder, in order."""
    return [record for group in Reader(FolderFiles(data / "log"), 0).read() for record in decode_all(group.records)]


def payments(data: Path) -> list[Transacted]:
    return [record for record in records(data) if isinstance(record, Transacted)]


def clean_state(data: Path) -> State:
    """The state by folding the whole log, without any snapshot."""
    return recover(FolderFiles(data / "log"), None, DEFAULT_HASH_KEY).state


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    """Until it is so; AssertionError after so long."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
