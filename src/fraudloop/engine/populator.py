"""Has the system lay out memory before the loop writes it: a thread that runs machine code alone.

    loop ──address, bytes──▶ pipe ──▶ [read ─ madvise]

The first write into a large page waits until all of it is cleared: 0.2 ms, and 10 ms on a virtual machine whose host has yet to find the
memory. At ten thousand payments a second the state grows by a page or two a second, and each held up everybody. The thread gives way
to all others; what it has not come to, the loop lays out itself as before.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
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

#: A tenth of a core that others want. Not less (SCHED_IDLE): the thread takes the system's lock on the memory of the process, and a process
#: that is killed has ended, and its locks are free, when its last thread has run once more. On a busy machine that took ten seconds.
_NICE: Final = 10

# What is shared: an address, bytes, whether the thread runs machine code, whether it is to end.
_ADDRESS, _BYTES, _RUNS, _STOP = 0, 1, 2, 3
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
        self._behind = False
        self._asked = np.zeros(4, np.int64)
        # Loaded, or compiled, here: in the thread that would hold the compiler's lock, and the loop wait for it.
        self._asked[_STOP] = 1
        os.write(self._ask, _ASKED.pack(0, 0))
        _run(asked, self._asked, self._asked.ctypes.data)
        self._asked[:] = 0
        self._thread = threading.Thread(target=_run, args=(asked, self._asked, self._asked.ctypes.data), name="populator", daemon=True)
        self._thread.start()

    def ask(self, address: int, size: int) -> None:
        """Lay out so many bytes from an address on, soon. Does not wait."""
        if not self._handles:
            return
        if not self._behind and self._asked[_RUNS]:
            self._step_back()
        begin = address & -_PAGE
        with contextlib.suppress(BlockingIOError):  # thousands are asked for already
            os.write(self._ask, _ASKED.pack(begin, address + size - begin))

    def _step_back(self) -> None:
        """Have the thread run after others. Not before it runs machine code: with the interpreter's lock it must not wait."""
        self._behind = True
        if sys.platform == "linux" and self._thread.native_id is not None:  # elsewhere this would be of the whole process
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._thread.native_id, _NICE)

    def stop(self) -> None:
        """End the thread, after the page that it is at; what else it was asked is not laid out. A second call does nothing."""
        if not self._handles:
            return
        self._asked[_STOP] = 1
        with contextlib.suppress(BlockingIOError):  # full: it reads something, and ends
            os.write(self._ask, _ASKED.pack(0, 0))
        self._thread.join()
        for handle in self._handles:
            os.close(handle)
        self._handles = ()


@njit
def _run(handle: Any, asked: Any, address: Any) -> None:
    asked[_RUNS] = 1
    while _read(np.int32(handle), address, 16) == 16 and asked[_STOP] == 0:
        done = 0
        while done < asked[_BYTES] and asked[_STOP] == 0:
            size = min(_STEP, asked[_BYTES] - done)
            if _madvise(asked[_ADDRESS] + done, size, np.int32(_POPULATE_WRITE)) != 0:
                break
            done += size


def warm() -> None:
    """Run the kernel once: it is told to stop at once."""
    populator = Populator()
    populator.stop()
