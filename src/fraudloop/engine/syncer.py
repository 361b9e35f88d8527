"""Flushes the log beside the loop without ever holding the interpreter: a thread that runs machine code alone.

    loop ──a byte──▶ pipe ──▶ [read ─ fdatasync ─ write] ──a byte──▶ pipe ──▶ loop

An ordinary thread has to take the interpreter from the loop after every flush: each time both wait for one another, which took
a third of the throughput on one core. What is to be flushed stands in a few shared words; who may be answered is decided by the loop.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Any, Final

import numpy as np
from numba import types

from fraudloop.compiled import njit
from fraudloop.ledger.log import Log

# Shared words: descriptors to read from and write to; what is wanted, which is the LSN up to which was appended and the descriptor of the
# file, in one word so that both are of one moment; LSN up to which was flushed; whether a flush failed, whether to stop; nanoseconds of the
# last flush; a moment of the clock (two words); room for a read.
_IN, _OUT, _WANTED, _DONE, _FAILED, _STOP, _TOOK, _CLOCK, _ROOM = 0, 1, 2, 3, 4, 5, 6, 7, 9
_ROOM_WORDS: Final = 64

#: Bits of a word for a descriptor; an LSN has the others.
_FILE_BITS: Final = 20

_read = types.ExternalFunction("read", types.int64(types.int32, types.int64, types.int64))
_write = types.ExternalFunction("write", types.int64(types.int32, types.int64, types.int64))
_clock = types.ExternalFunction("clock_gettime", types.int32(types.int32, types.int64))
_MONOTONIC: Final = time.CLOCK_MONOTONIC
_fdatasync = types.ExternalFunction("fdatasync", types.int32(types.int32))


class Syncer:
    """Flushes whatever was appended before it was asked; one flush serves all that asked meanwhile.

    The loop watches `fd`, and calls `collect` when it can be read. since: when the flush that is under way was asked for, 0 if none is.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        asked, self._ask = os.pipe()
        self.fd, told = os.pipe()
        for handle in (self.fd, self._ask):
            os.set_blocking(handle, False)
        self._shared = np.zeros(_ROOM + _ROOM_WORDS, np.int64)
        self._shared[_IN], self._shared[_OUT] = asked, told
        self._handles: tuple[int, ...] = (asked, told, self._ask, self.fd)
        self.since = 0.0
        self._thread = threading.Thread(target=_run, args=(self._shared, self._shared.ctypes.data), name="syncer", daemon=True)
        self._thread.start()

    def wanted(self) -> None:
        """Something was appended."""
        target, handle = self._log.begin_flush()
        assert handle < 1 << _FILE_BITS, "a process has fewer files"
        self._shared[_WANTED] = target << _FILE_BITS | handle
        if not self.since:
            self.since = time.monotonic()
        with contextlib.suppress(BlockingIOError):  # the pipe is full of wishes already
            os.write(self._ask, b"w")

    def collect(self) -> tuple[int, float]:
        """The LSN below which everything is on disk, and how long that took; FencedError or LedgerError as `Log.flush`."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 4096)
        if self._shared[_FAILED]:
            raise self._log.fail_flush()
        lsn = int(self._shared[_DONE])
        took = float(self._shared[_TOOK]) * 1e-9
        self.since = time.monotonic() if lsn < self._shared[_WANTED] >> _FILE_BITS else 0.0
        self._log.end_flush(lsn)
        return lsn, took

    def stop(self) -> None:
        """End the thread; what it had not flushed is the caller's to flush. A second call does nothing. LedgerError: a flush had failed, or did now,
        and nobody may flush again: the kernel may have dropped the pages and say that all is well."""
        if not self._handles:
            return
        self._shared[_STOP] = 1
        with contextlib.suppress(BlockingIOError):
            os.write(self._ask, b"s")
        self._thread.join()
        for handle in self._handles:
            os.close(handle)
        self._handles, self.fd = (), -1
        if self._shared[_FAILED]:
            raise self._log.fail_flush()


@njit
def _run(shared: Any, address: Any) -> None:
    room = address + 8 * _ROOM
    while True:
        if _read(np.int32(shared[_IN]), room, 512) <= 0 or shared[_STOP] != 0:
            return
        wanted = shared[_WANTED]
        _clock(np.int32(_MONOTONIC), address + 8 * _CLOCK)
        begin = shared[_CLOCK] * 1_000_000_000 + shared[_CLOCK + 1]
        if _fdatasync(np.int32(wanted & ((1 << _FILE_BITS) - 1))) != 0:
            shared[_FAILED] = 1
            _write(np.int32(shared[_OUT]), room, 1)
            return
        _clock(np.int32(_MONOTONIC), address + 8 * _CLOCK)
        shared[_TOOK] = shared[_CLOCK] * 1_000_000_000 + shared[_CLOCK + 1] - begin
        shared[_DONE] = wanted >> _FILE_BITS
        _write(np.int32(shared[_OUT]), room, 1)


def warm() -> None:
    """Run the kernel once: it is told to stop at its first byte."""
    asked, ask = os.pipe()
    shared = np.zeros(_ROOM + _ROOM_WORDS, np.int64)
    shared[_IN], shared[_STOP] = asked, 1
    os.write(ask, b"s")
    _run(shared, shared.ctypes.data)
    os.close(asked)
    os.close(ask)
