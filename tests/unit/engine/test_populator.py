"""Memory that was asked for is there before it is written, and what stood in it stands there still."""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fraudloop.engine.populator import Populator

PAGE = mmap.PAGESIZE


def there(memory: NDArray[np.int64]) -> int:
    """How many of its pages the system has laid out."""
    first, pages = memory.ctypes.data // PAGE, memory.nbytes // PAGE
    with Path("/proc/self/pagemap").open("rb") as file:
        file.seek(8 * first)
        return sum(entry[0] >> 63 for entry in struct.iter_unpack("<Q", file.read(8 * pages)))


def fresh(pages: int) -> NDArray[np.int64]:
    return np.frombuffer(mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), np.int64)


@pytest.fixture
def populator() -> Populator:
    if not Path("/proc/self/pagemap").exists():
        pytest.skip("no Linux: pages cannot be looked at")
    return Populator()


def wait_until_there(memory: NDArray[np.int64], pages: int) -> None:
    end = time.monotonic() + 30
    while there(memory) < pages:
        if time.monotonic() > end:
            pytest.skip("the system lays nothing out (Linux before 5.14)")
        time.sleep(0.01)


def test_what_was_asked_for_is_laid_out_and_unchanged(populator: Populator) -> None:
    memory = fresh(600)
    memory[0], memory[300 * PAGE // 8] = 7, 8
    assert there(memory) < 600
    populator.ask(memory.ctypes.data, memory.nbytes)
    wait_until_there(memory, 600)
    assert (memory[0], memory[300 * PAGE // 8], int(np.count_nonzero(memory))) == (7, 8, 2)
    populator.stop()


def test_memory_that_is_no_longer_there_is_passed_over(populator: Populator) -> None:
    memory = fresh(50)
    populator.ask(1 << 46, 1 << 21)
    populator.ask(memory.ctypes.data, memory.nbytes)
    wait_until_there(memory, 50)
    populator.stop()
    populator.stop()
    populator.ask(memory.ctypes.data, memory.nbytes)  # nobody is there any more: nothing happens


def test_told_to_stop_it_does_not_lay_out_the_rest(populator: Populator) -> None:
    memory = fresh(1 << 18)  # 1 GiB
    for at in range(0, len(memory), len(memory) // 4):
        populator.ask(memory.ctypes.data + 8 * at, memory.nbytes // 4)
    populator.stop()
    assert there(memory) < 1 << 18


def test_the_thread_gives_way_to_others(populator: Populator) -> None:
    memory = fresh(50)
    while os.getpriority(os.PRIO_PROCESS, populator._thread.native_id or 0) == os.getpriority(os.PRIO_PROCESS, 0):
        populator.ask(memory.ctypes.data, memory.nbytes)  # from the first time on that it runs machine code
    assert os.getpriority(os.PRIO_PROCESS, populator._thread.native_id or 0) > os.getpriority(os.PRIO_PROCESS, 0)
    populator.stop()
