"""The thread that flushes the log while the next batch is computed, and tells the loop how far it came. It decides nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fraudloop.errors import FraudloopError, LedgerError
from fraudloop.ledger.log import Log


class Flusher:
    """Flushes whenever something was appended since; one flush takes all that came before it.

    done(lsn, seconds): called in the flusher's thread after each flush: everything below `lsn` is on disk. failed(error): the epoch has
    ended; called once, and the thread ends.
    """

    def __init__(self, log: Log, done: Callable[[int, float], None], failed: Callable[[FraudloopError], None]) -> None:
        self._log, self._done, self._failed = log, done, failed
        self._wanted = threading.Semaphore(0)
        self._stopping = False
        #: When the flush that is under way began (monotonic seconds), 0 if none is.
        self.since = 0.0
        self._thread = threading.Thread(target=self._run, name="flusher", daemon=True)
        self._thread.start()

    def wanted(self) -> None:
        """Something was appended."""
        self._wanted.release()

    def stop(self) -> None:
        """Flush what is there and end."""
        self._stopping = True
        self._wanted.release()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wanted.acquire()
            while self._wanted.acquire(blocking=False):
                pass  # one flush serves all
            self.since = time.monotonic()
            try:
                lsn = self._log.flush()
            except FraudloopError as error:
                self._failed(error)
                return
            except Exception as error:  # noqa: BLE001 - the edge of a thread: if it ended without a word, everybody would wait for ever
                self._failed(LedgerError(f"the log cannot be flushed ({type(error).__name__}: {error})"))
                return
            took, self.since = time.monotonic() - self.since, 0.0
            self._done(lsn, took)
            if self._stopping and lsn == self._log.next_lsn:
                return
