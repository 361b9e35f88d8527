"""Has the system look a thousand times a second who should run, while the loop decides: a thread of machine code that only sleeps.

    loop ──a byte──▶ pipe ──▶ [read ─ sleep ─ sleep ─ ... until the loop has rested]

On a core that the family shares, whoever wakes up while the loop runs is owed a moment of it, however low its priority. It gets that moment the
next time that threads change, and then keeps the core until the clock's tick, 4 ms on most systems, with the loop ready to run
(EEVDF, Linux 6.6 and later: Stoica and Abdel-Wahab, "Earliest Eligible Virtual Deadline First", 1995). Only somebody who wakes up takes the core away before that. This
thread does, and is gone at once; then it is the loop's turn.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
import threading
from typing import Any, Final

import numpy as np
from numba import types

from fraudloop.compiled import njit

#: Nobody keeps the core for much longer; a wake-up costs some 10 µs, so a hundredth of a core.
_PERIOD_NS: Final = 1_000_000

#: Periods without a step of the loop after which the thread sleeps until there is one.
_REST: Final = 50

#: What the thread asks for at a time. Who wakes up and asks for less takes the core from who asked for more (Linux 6.12 and later; before, only from
#: SCHED_IDLE). The least that there is.
_SLICE_NS: Final = 100_000

#: `sched_setattr` by machine; size, policy, flags, nice, priority, slice, deadline, period.
_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
_ATTRIBUTES: Final = struct.Struct("IIQiIQQQ")

# Shared words: steps of the loop, whether the thread watches them, whether it is to end; a time to sleep (two words); room for a read.
_STEPS, _WATCHES, _STOP, _TIME, _ROOM = 0, 1, 2, 3, 5
_ROOM_WORDS: Final = 8

_read = types.ExternalFunction("read", types.int64(types.int32, types.int64, types.int64))
_nanosleep = types.ExternalFunction("nanosleep", types.int32(types.int64, types.int64))


class Metronome:
    """Wakes up regularly while there are steps, and sleeps when there are none.

    >>> metronome = Metronome()
    >>> metronome.step()
    >>> metronome.stop()
    """

    def __init__(self) -> None:
        asked, self._ask = os.pipe()
        os.set_blocking(self._ask, False)
        self._handles: tuple[int, ...] = (asked, self._ask)
        self._shared = np.zeros(_ROOM + _ROOM_WORDS, np.int64)
        self._shared[_TIME + 1] = _PERIOD_NS
        # Loaded, or compiled, here: in the thread that would hold the compiler's lock, and the loop wait for it.
        self._shared[_STOP] = 1
        os.write(self._ask, b"s")
        _run(asked, self._shared, self._shared.ctypes.data)
        self._shared[_STOP] = 0
        self._steps = 0
        self._thread = threading.Thread(target=_run, args=(asked, self._shared, self._shared.ctypes.data), name="metronome", daemon=True)
        self._thread.start()
        _shorten(self._thread.native_id)

    def step(self) -> None:
        """The loop takes a step. Does not wait."""
        shared = self._shared
        self._steps += 1
        shared[_STEPS] = self._steps
        if not shared[_WATCHES] and self._handles:
            with contextlib.suppress(BlockingIOError):  # it is told already
                os.write(self._ask, b"w")

    def stop(self) -> None:
        """End the thread. A second call does nothing."""
        if not self._handles:
            return
        self._shared[_STOP] = 1
        with contextlib.suppress(BlockingIOError):
            os.write(self._ask, b"s")
        self._thread.join()
        for handle in self._handles:
            os.close(handle)
        self._handles = ()


def is_wanted() -> bool:
    """Whether everybody here has to share one core: among several, the system finds another for whoever has to wait."""
    return sys.platform == "linux" and len(os.sched_getaffinity(0)) == 1


def _shorten(thread: int | None) -> None:
    """Have a thread ask for little at a time; systems that do not know of it refuse, and nothing is lost."""
    number = _SETATTR.get(platform.machine())
    if number is None or thread is None or sys.platform != "linux":
        return
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, os.getpriority(os.PRIO_PROCESS, thread), 0, _SLICE_NS, 0, 0)
    ctypes.CDLL(None).syscall(ctypes.c_long(number), ctypes.c_long(thread), ctypes.c_char_p(attributes), ctypes.c_long(0))


@njit
def _run(handle: Any, shared: Any, address: Any) -> None:
    while _read(np.int32(handle), address + 8 * _ROOM, 8 * _ROOM_WORDS) > 0 and shared[_STOP] == 0:
        shared[_WATCHES] = 1
        seen, rested = shared[_STEPS], 0
        while rested < _REST and shared[_STOP] == 0:
            _nanosleep(address + 8 * _TIME, 0)
            if shared[_STEPS] == seen:
                rested += 1
            else:
                seen, rested = shared[_STEPS], 0
        shared[_WATCHES] = 0


def warm() -> None:
    """Run the kernel once: it is told to stop at once."""
    metronome = Metronome()
    metronome.stop()
