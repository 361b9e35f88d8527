"""What a machine has and lacks: Python, packages, compiled kernels, folders, cores and memory, as findings.

It reads the machine and changes nothing, except that kernels which are not ready get compiled.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fraudloop import compiled
from fraudloop.pipelines.tracking import tracking_of
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.mlflow_client import redacted

#: The default feature set over a million customers with 45 transactions each needs about 1.5 GB of state;
#: below this a machine still works, on smaller tables.
MEMORY_ADVISED_BYTES: Final = 4 * 1024**3

DISK_ADVISED_BYTES: Final = 1024**3

#: Below this a service runs out of them before HTTP_CONNECTIONS_MAX connections are open.
FILES_ADVISED: Final = 8_192

#: A flush that takes longer leaves little of a latency budget of 50 ms once a second one waits behind it.
FLUSH_ADVISED_S: Final = 0.010

_CONNECT_S = 2.0

#: What each extra is for, as the advice says it.
_EXTRA_FOR: Final = {
    "score": "score with a network that fraudloop did not write",
    "data": "validate tables by contract",
    "train": "train, evaluate and plot",
    "track": "track runs in MLflow",
    "bench": "compare with pandas and DuckDB",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `needed`: without it nothing works; otherwise `advice` says what it is for."""

    group: str
    name: str
    value: str
    ok: bool
    needed: bool
    advice: str = ""


def examine(settings: Settings, progress: Progress = silent, data: Path | None = None) -> list[Finding]:
    """Look at everything, in the order of the table that `fraudloop doctor` prints. data: the folder of a service, on whose disk flushes are timed."""
    return [_python(), *_packages(), _kernels(progress), *_folders(settings), _tracking(settings), *_serving(data), _cores(), _memory()]


def _python() -> Finding:
    ok = (3, 11) <= sys.version_info[:2] < (3, 14)
    advice = "" if ok else "use Python 3.11, 3.12 or 3.13"
    return Finding("python", platform.python_implementation(), platform.python_version(), ok, needed=True, advice=advice)


def _packages() -> Iterator[Finding]:
    """Every requirement of the package and of its extras for users, each once, by what is installed."""
    wanted: dict[str, list[str]] = {group: [] for group in ("core", *_EXTRA_FOR)}
    for text in metadata.requires("fraudloop") or ():
        found = re.match(r"[A-Za-z0-9._-]+", text)
        extra = re.search(r"""extra\s*==\s*['"]([a-z]+)['"]""", text)
        assert found is not None, text
        wanted.setdefault(extra[1] if extra else "core", []).append(found[0])
    seen: set[str] = {"fraudloop"}
    for group in ("core", *_EXTRA_FOR):
        for name in sorted(set(wanted[group]) - seen):
            seen.add(name)
            yield _package(group, name)


def _package(group: str, name: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        advice = f"pip install {name}" if group == "core" else f"pip install 'fraudloop[{group}]' to {_EXTRA_FOR[group]}"
        return Finding(group, name, "-", ok=False, needed=group == "core", advice=advice)
    return Finding(group, name, version, ok=True, needed=group == "core")


def _kernels(progress: Progress) -> Finding:
    """Load every kernel. Machine code that had to be made now shows as files that were not there before."""
    progress("loading the compiled kernels", 0, 1)
    before = _machine_code()
    start = time.monotonic()
    compiled.warm()
    seconds = time.monotonic() - start
    made = len(_machine_code() - before)
    progress("loading the compiled kernels", 1, 1)
    if not made:
        return Finding("kernels", "compiled cache", f"ready, loaded in {seconds:.1f} s", ok=True, needed=True)
    return Finding("kernels", "compiled cache", f"{made} kernels compiled just now in {seconds:.1f} s", ok=True, needed=True)


def _machine_code() -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for folder in compiled.cache_directories() for path in folder.rglob("*.nbc")}


def _folders(settings: Settings) -> Iterator[Finding]:
    kept = [folder for folder in compiled.cache_directories() if folder.is_dir()]
    if settings.cache_dir is not None:
        kept = [settings.cache_dir]
    for name, path in [
        ("kernel cache", kept[0] if kept else None),
        ("working folder", Path.cwd()),
        ("temporary files", Path(tempfile.gettempdir())),
    ]:
        if path is None:
            yield Finding("folders", name, "-", ok=False, needed=False, advice="set FRAUDLOOP_CACHE_DIR to a folder that can be written")
            continue
        writable = path.is_dir() and os.access(path, os.W_OK)
        free = _free_bytes(path)
        advice = "" if writable else "cannot be written"
        if writable and free < DISK_ADVISED_BYTES:
            advice = "less than 1 GB is free"
        yield Finding(
            "folders", name, f"{path} ({free / 1e9:.1f} GB free)", writable and not advice, needed=name == "temporary files", advice=advice
        )


def _free_bytes(path: Path) -> int:
    while not path.exists():
        path = path.parent
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _tracking(settings: Settings) -> Finding:
    """Where runs go, and whether something listens there; MLflow itself takes seconds to load and is not asked."""
    group, name = "tracking", "runs and registry"
    tracking = tracking_of(None, settings)
    if tracking is None:
        return Finding(group, name, "not tracked", ok=True, needed=False, advice="set FRAUDLOOP_TRACKING or give --track to keep runs")
    shown = redacted(tracking.uri) + (f", artifacts in {tracking.artifacts}" if tracking.artifacts else "")
    found = urlsplit(tracking.uri)
    if not found.hostname:
        return Finding(group, name, shown, ok=True, needed=False)
    port = found.port or {"https": 443, "http": 80}.get(found.scheme, 5432)
    try:
        socket.create_connection((found.hostname, port), _CONNECT_S).close()
    except OSError as error:
        return Finding(group, name, shown, ok=False, needed=False, advice=f"{found.hostname}:{port} does not answer ({error})")
    return Finding(group, name, shown, ok=True, needed=False)


def _serving(data: Path | None) -> Iterator[Finding]:
    """What `fraudloop serve` is quick by, and what it can be stopped by."""
    wanted = {"httptools": "decide over HTTP", "uvloop": "turn the loop faster", "onnxruntime": _EXTRA_FOR["score"]}
    for name, what in wanted.items():
        try:
            yield Finding("serve", name, metadata.version(name), ok=True, needed=False)
        except metadata.PackageNotFoundError:
            yield Finding("serve", name, "-", ok=False, needed=False, advice=f"pip install {name} to {what}")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    few = files < FILES_ADVISED
    yield Finding(
        "serve",
        "open files",
        f"{files:,}",
        not few,
        needed=False,
        advice=f"ulimit -n {FILES_ADVISED}: each connection is one" if few else "",
    )
    folder = data or Path.cwd()
    while not folder.exists():
        folder = folder.parent
    try:
        middle, worst = _flushes(folder)
    except OSError as error:
        yield Finding(
            "serve", "flush to disk", "-", ok=False, needed=False, advice=f"{folder}: {error.strerror}; name the data folder with --data"
        )
        return
    slow = middle > FLUSH_ADVISED_S
    advice = "every decision waits for a flush: put the data folder on a faster disk" if slow else ""
    yield Finding(
        "serve",
        "flush to disk",
        f"{1e3 * middle:.2f} ms at the median, {1e3 * worst:.1f} at worst ({folder})",
        not slow,
        needed=False,
        advice=advice,
    )


def _flushes(folder: Path, times: int = 50) -> tuple[float, float]:
    """Seconds of a flush as the log does it: the median and the worst of some."""
    found = []
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".fraudloop-doctor-") as file:
        for _ in range(times):
            file.write(bytes(4_096))
            file.flush()
            begin = time.perf_counter()
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - begin)
    return statistics.median(found), max(found)


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Finding("machine", "cores", str(cores), ok=True, needed=False)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    ok = total >= MEMORY_ADVISED_BYTES
    return Finding("machine", "memory", f"{total / 1e9:.1f} GB", ok, needed=False, advice="" if ok else "large tables need 4 GB or more")
