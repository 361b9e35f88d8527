"""Has the system lay out memory before the loop writes it: a thread that runs machine code alone.

    loop ──address, bytes──▶ pipe ──▶ [read ─ madvise]

The first write into a large page waits until all of it is cleared: 0.2 ms, and 10 ms on a virtual machine whose host has yet to find the
memory. At ten thousand payments a second the state grows by a page or two a second, and each held up everybody. The thread has what
processor time nobody else wants; what it has not come to, the loop lays out itself as before.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from typing import Any, Final

import numpy as np
from numba import types

from fraudloop.compiled import njit

#: `madvise`: lay out pages as a write would, and change nothing of what is there (Linux 5.14 and later; others refuse, and nothing is lost).
_POPULATE_WRITE: Final = 23

#: Laid out at a time: the system's lock on the memory of the process is held for no more than that.
_STEP: Final = 2 << 20
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")

# What is shared: an address, bytes, and whether the thread runs machine code.
_ADDRESS, _BYTES, _RUNS = 0, 1, 2
_ASKED: Final = struct.Struct("qq")

_read = types.ExternalFunction("read", types.int64(types.int32, types.int64, types.int64))
_madvise = types.ExternalFunction("madvise", types.int32(types.int64, types.int64, types.int32))


class Populator:
    """Lays out what it was asked to, one thing after the other. Memory that is no longer there is passed over.

    >>> populator = Populator()
    >>> memory = np.zeros(1 << 20)
    >>> populator.ask(memory.ctypes.data, memory.nbytes)
    >>> populator.stop()
    """

    def __init__(self) -> None:
        asked, self._ask = os.pipe()
        os.set_blocking(self._ask, False)
        self._handles: tuple[int, ...] = (asked, self._ask)
        self._idle = False
        self._asked = np.zeros(3, np.int64)
        self._thread = threading.Thread(target=_run, args=(asked, self._asked, self._asked.ctypes.data), name="populator", daemon=True)
        self._thread.start()

    def ask(self, address: int, size: int) -> None:
        """Lay out so many bytes from an address on, soon. Does not wait."""
        if not self._handles:
            return
        if not self._idle and self._asked[_RUNS]:
            self._step_back()
        begin = address & -_PAGE
        with contextlib.suppress(BlockingIOError):  # thousands are asked for already
            os.write(self._ask, _ASKED.pack(begin, address + size - begin))

    def _step_back(self) -> None:
        """Have the thread run when nobody else wants to. Not before it runs machine code: with the interpreter's lock it must not wait."""
        self._idle = True
        if hasattr(os, "SCHED_IDLE") and self._thread.native_id is not None:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(self._thread.native_id, os.SCHED_IDLE, os.sched_param(0))

    def stop(self) -> None:
        """End the thread, when it has done what it was asked before. A second call does nothing."""
        if not self._handles:
            return
        os.set_blocking(self._ask, True)
        os.write(self._ask, _ASKED.pack(0, 0))
        self._thread.join()
        for handle in self._handles:
            os.close(handle)
        self._handles = ()


@njit
def _run(handle: Any, asked: Any, address: Any) -> None:
    asked[_RUNS] = 1
    while _read(np.int32(handle), address, 16) == 16 and asked[_BYTES] > 0:
        done = 0
        while done < asked[_BYTES]:
            size = min(_STEP, asked[_BYTES] - done)
            if _madvise(asked[_ADDRESS] + done, size, np.int32(_POPULATE_WRITE)) != 0:
                break
            done += size


def warm() -> None:
    """Run the kernel once: it is told to stop at once."""
    populator = Populator()
    populator.stop()
