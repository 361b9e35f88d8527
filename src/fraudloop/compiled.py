"""Compiled kernels: one decorator, `njit`, and where their machine code is kept.

Numba's own cache needs a writable folder beside the source or a home directory, and notices a change only in the
file of the function itself. Here the code is looked for in several places, read-only ones included, and is
valid for exactly the sources of all kernel modules together. Nothing is read or written before the first call.

    python -m fraudloop.compiled       compile everything now, so that the first use does not wait
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, _Cache, _CacheLocator
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])

#: Modules with kernels; each has a function `warm()` that runs every kernel once.
KERNEL_MODULES = (
    "fraudloop.features.warm",
    "fraudloop.door.identity",
    "fraudloop.scoring.logarithm",
    "fraudloop.scoring.preprocessing",
    "fraudloop.door.spread",
    "fraudloop.scoring.trees",
    "fraudloop.scoring.tree_shap",
    "fraudloop.scoring.network_kernel",
    "fraudloop.scoring.calibration",
    "fraudloop.scoring.model",
    "fraudloop.decisions.rule_program",
    "fraudloop.monitoring.sketches",
    "fraudloop.ledger.punctured",
    "fraudloop.engine.known",
    "fraudloop.engine.metronome",
    "fraudloop.engine.populator",
    "fraudloop.engine.syncer",
    "fraudloop.decisions.ranking",
    "fraudloop.decisions.policy",
    "fraudloop.decisions.decide",
)

#: Sources that the machine code depends on, relative to the package: a change in any of them makes all of it stale.
KERNEL_SOURCES = (
    "door/identity.py",
    "door/spread.py",
    "door/events.py",
    "features/*.py",
    "scoring/logarithm.py",
    "scoring/preprocessing.py",
    "scoring/trees.py",
    "scoring/tree_shap.py",
    "scoring/network_kernel.py",
    "scoring/lanes.py",
    "scoring/calibration.py",
    "scoring/model.py",
    "decisions/rule_program.py",
    "monitoring/sketches.py",
    "ledger/punctured.py",
    "engine/known.py",
    "engine/metronome.py",
    "engine/populator.py",
    "engine/syncer.py",
    "decisions/ranking.py",
    "decisions/policy.py",
    "decisions/decide.py",
    "limits.py",
)

_PACKAGE = Path(__file__).resolve().parent


def plain(x: NDArray[Any]) -> NDArray[np.float64]:
    """An array as the kernels are compiled for: float64, rows one after another, aligned and writable; itself where it is so already,
    which `np.require` takes longer to see than many a kernel takes for its work."""
    return x if x.dtype == np.float64 and x.flags.carray else np.require(x, np.float64, ("C", "W", "A"))


def njit(function: F) -> F:
    """Compile with Numba in nopython mode, machine code kept as this module says. No fastmath: every operation is
    the IEEE one, so that features are the same bits on every machine.

    >>> @njit
    ... def twice(x):
    ...     return 2 * x
    >>> twice(21)
    42
    """
    dispatcher = numba.njit(error_model="numpy", nogil=True)(function)
    dispatcher._cache = _KernelCache(function)
    return dispatcher  # type: ignore[no-any-return]


def cache_directories() -> Iterator[Path]:
    """Where machine code is looked for, in order; it is written to the first that can be written to."""
    given = os.environ.get("FRAUDLOOP_CACHE_DIR")
    if given:
        yield Path(given) / "kernels"
    yield _PACKAGE / "_compiled"
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") and str(Path(os.environ["HOME"]) / ".cache"))
    if home:
        yield Path(home) / "fraudloop" / "kernels"
    try:
        temporary = Path(tempfile.gettempdir())
    except FileNotFoundError:
        return  # a system where nothing can be written to
    yield temporary / f"fraudloop-kernels-{os.getuid() if hasattr(os, 'getuid') else 0}"


@lru_cache(maxsize=1)
def source_stamp() -> str:
    """A hash of all kernel sources."""
    digest = hashlib.sha256()
    for pattern in KERNEL_SOURCES:
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _is_ours(path: Path) -> bool:
    """Machine code is only loaded from a folder that no one else could have written to."""
    if not hasattr(os, "getuid"):
        return True
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_uid in (os.getuid(), 0) and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


class _Locator(_CacheLocator):
    """One folder, chosen by the cache that owns it."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name, self._py_file = path, name, str(path)

    def get_cache_path(self) -> str:
        return str(self._path)

    def ensure_cache_path(self) -> None:
        # What root prepares beside the package, the account of a service must be able to read.
        self._path.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not _is_ours(self._path):
            raise PermissionError(f"{self._path} can be written to by others; machine code is not kept there")

    def get_source_stamp(self) -> str:
        return source_stamp()

    def get_disambiguator(self) -> str:
        return hashlib.sha256(self._name.encode()).hexdigest()[:12]


class _Writer:
    """Hashes what is written to a file."""

    def __init__(self, file: Any, digest: Any) -> None:
        self._file, self._digest = file, digest

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)


class _Files(IndexDataCacheFile):
    """Numba's two files of a function, each closed by a checksum of its sources' stamp, of Numba's version and of itself.

    What is torn or changed counts as absent; so does code of other sources, which a process killed between writing the
    index and the code leaves under a name that the new index gives.
    """

    def _digest(self) -> Any:
        return hashlib.sha256(f"{self._source_stamp} {self._version}\0".encode())

    def _is_whole(self, path: str) -> bool:
        try:
            data = Path(path).read_bytes()
        except OSError:
            return False
        digest = self._digest()
        digest.update(data[: -digest.digest_size])
        return bool(data[-digest.digest_size :] == digest.digest())

    def _load_index(self) -> Any:
        return super()._load_index() if self._is_whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        # An OSError is what tells the caller that there is no such code.
        if not self._is_whole(self._data_path(name)):
            raise FileNotFoundError(name)
        return super()._load_data(name)

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[Any]:
        with super()._open_for_write(filepath) as file:
            digest = self._digest()
            yield _Writer(file, digest)
            file.write(digest.digest())


def _folder_cache(function: Callable[..., Any], path: Path) -> FunctionCache:
    class Locator:
        @staticmethod
        def from_function(py_func: Callable[..., Any], _: str) -> _Locator:
            return _Locator(path, f"{py_func.__module__}.{py_func.__qualname__}")

    impl: Any = type("Impl", (CompileResultCacheImpl,), {"_locator_classes": [Locator]})
    cache = type("FolderCache", (FunctionCache,), {"_impl_class": impl})(function)
    cache._cache_file = _Files(cache.cache_path, cache._impl.filename_base, source_stamp())
    return cache


class _KernelCache(_Cache):
    """Looks in every folder of `cache_directories`, made at the first compile or load, not at import."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._enabled = True
        self._made: list[tuple[Path, FunctionCache]] | None = None

    def _caches(self) -> list[tuple[Path, FunctionCache]]:
        if self._made is None:
            self._made = [(path, _folder_cache(self._function, path)) for path in cache_directories()]
        return self._made

    @property
    def cache_path(self) -> str:
        return str(self._caches()[0][0])

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        for path, cache in self._caches() if self._enabled else ():
            if not _is_ours(path):
                continue
            try:
                found = cache.load_overload(sig, target_context)
            except OSError:
                continue  # a file that cannot be read is no reason to stop: compile anew
            if found is not None:
                return found
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        for _, cache in self._caches() if self._enabled else ():
            try:
                cache.save_overload(sig, data)
                return
            except OSError:
                continue  # read-only here; the next place may do, and without any the code lives for this process

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def flush(self) -> None:
        for _, cache in self._caches():
            cache.flush()


def warm() -> list[str]:
    """Compile (or load) every kernel; the names of the modules done."""
    done = []
    for name in KERNEL_MODULES:
        importlib.import_module(name).warm()
        done.append(name)
    return done


if __name__ == "__main__":
    print("\n".join(f"compiled {name}" for name in warm()), file=sys.stderr)
