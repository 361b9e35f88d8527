"""Records of a history, sealed and encoded: here, or in processes beside the fold, which has to go event by event.

A run of payments becomes the bytes of their records by its rows, hashes and keys alone, so runs can be made in any process and order;
they are given back in theirs. Whoever waits for a run that is not ready makes another one meanwhile.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.ledger.personal import Sealing, Vault
from fraudloop.ledger.records import Transacted, encode
from fraudloop.limits import IMPORT_PROCESSES_MAX

#: Runs under way for each process, and made ahead of who takes them: so that nobody waits, and memory holds a few of them.
_AHEAD: Final = 3


@dataclass(frozen=True, slots=True)
class Payments:
    """n payments. public: their rows in the order of the log's columns, what is sealed null. personal: the sealed columns. hashes: uint64
    [n, hashed columns, 2]. received_us: int64 [n]."""

    public: pl.DataFrame
    personal: pl.DataFrame
    hashes: NDArray[np.uint64]
    received_us: NDArray[np.int64]


def to_records(payments: Payments, sealing: Sealing | None, vault: Vault | None) -> list[bytes]:
    """The encoded records of payments, in order: as `engine.state.State.records`, column by column. Without a vault nothing is sealed."""
    public, received = payments.public.rows(), payments.received_us.tolist()
    if sealing is None or vault is None:
        return [*map(encode, map(Transacted, public, received))]
    sealed, raw = sealing.seal_columns(vault, payments.personal.rows(), payments.hashes)
    return [*map(encode, map(Transacted, public, received, repeat(None), sealed, raw))]


def spare_processes() -> int:
    """How many processes this machine has room for beside the one that folds."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores - 1, IMPORT_PROCESSES_MAX)


class Sealers:
    """Makes records of runs. processes: beside this one, 0 for none; they are started with the first run, by importing the program's main
    module anew, so that it must begin nothing on import. folder: of the vault.

    >>> rows = pl.DataFrame({"transaction_id": ["t1", "t2"]})
    >>> run = Payments(rows, pl.DataFrame(), np.empty((2, 0, 2), np.uint64), np.array([5, 6]))
    >>> with Sealers(None, None, None) as sealers:
    ...     [len(records) for records in sealers.records([run, run])]
    [2, 2]
    """

    def __init__(self, sealing: Sealing | None, vault: Vault | None, folder: Path | None, processes: int = 0) -> None:
        self._sealing, self._vault = sealing, vault
        self._room = processes * _AHEAD
        self._pool: ProcessPoolExecutor | None = None
        if processes:
            self._pool = ProcessPoolExecutor(
                processes, mp_context=get_context("spawn"), initializer=_begin, initargs=(sealing, None if vault is None else folder)
            )

    def __enter__(self) -> Sealers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def records(self, runs: Iterable[Payments]) -> Iterator[list[bytes]]:
        """The records of each run, in order."""
        coming = iter(runs)
        if self._pool is not None:  # it takes a second until a process has begun
            up = self._pool.submit(_nothing)
            while not up.done() and (run := next(coming, None)) is not None:
                yield to_records(run, self._sealing, self._vault)
        made: deque[tuple[Payments, Future[list[bytes]] | list[bytes]]] = deque()
        while True:
            under_way = sum(isinstance(one, Future) and not one.done() for _, one in made)
            while self._pool is not None and under_way < self._room and len(made) <= self._room and (run := next(coming, None)) is not None:
                made.append((run, self._submit(run)))
                under_way += 1
            if made and (self._ready(made[0][1]) or len(made) > self._room):
                yield self._take(*made.popleft())
            elif (run := next(coming, None)) is not None:
                made.append((run, to_records(run, self._sealing, self._vault)))
            elif made:
                yield self._take(*made.popleft())
            else:
                return

    @staticmethod
    def _ready(one: Future[list[bytes]] | list[bytes]) -> bool:
        return not isinstance(one, Future) or one.done()

    def _submit(self, run: Payments) -> Future[list[bytes]] | list[bytes]:
        assert self._pool is not None, "runs are given to a pool"
        try:
            return self._pool.submit(_work, run)
        except BrokenProcessPool:
            self._pool = None
            return to_records(run, self._sealing, self._vault)

    def _take(self, run: Payments, one: Future[list[bytes]] | list[bytes]) -> list[bytes]:
        if not isinstance(one, Future):
            return one
        try:
            return one.result()
        except BrokenProcessPool:  # a process was killed, as by a machine short of memory: what it had is made here
            self._pool = None
            return to_records(run, self._sealing, self._vault)


#: Of a process beside: what it seals with.
_own: tuple[Sealing | None, Vault | None] = (None, None)


def _begin(sealing: Sealing | None, folder: Path | None) -> None:
    global _own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives the work, which then ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _own = sealing, None if folder is None else Vault.open(folder, make=False)


def _end_with_parent() -> None:
    """Who is killed ends nobody; a pool's process would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _nothing() -> None:
    """Asked of a process, to know when it has begun."""


def _work(run: Payments) -> list[bytes]:
    return to_records(run, *_own)


def runs_of(
    public: pl.DataFrame, personal: pl.DataFrame, hashes: Sequence[Any], spans: Iterable[tuple[NDArray[np.int64], Any, NDArray[np.int64]]]
) -> Iterator[Payments]:
    """The runs of a table. spans: of each run its rows, int64 [n]; the keys of their events, uint64 [n, keys, 2]; when they arrived, int64 [n],
    microseconds. hashes: by hashed column its place among the keys and None, or -1 and the hashes of the whole table, uint64 [rows, 2]."""
    for rows, keys, received in spans:
        own = np.empty((len(rows), len(hashes), 2), np.uint64)
        for at, (place, of_table) in enumerate(hashes):
            own[:, at] = keys[:, place] if of_table is None else of_table[rows]
        yield Payments(public[rows], personal[rows], own, received)
