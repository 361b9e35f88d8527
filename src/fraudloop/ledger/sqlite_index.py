"""The index in a SQLite file: one writer, readers beside it (WAL). Its SQL is in `sql/`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from fraudloop.errors import LedgerError
from fraudloop.ledger.index import Ask, Control, LabelRow, Payment, Place, Rows, Version, Watermark
from fraudloop.ledger.statements import DROPPED, TABLES, page_query, queries, range_of, schema

R = TypeVar("R")

#: How long a statement waits for another process's transaction, which is one batch.
_BUSY_S: Final = 30.0

#: Page cache: the upper levels of the lookup at a hundred million rows.
_CACHE_KB: Final = 64 * 1024


class SqliteIndex:
    """An index in one file; made if it is not there. LedgerError for whatever SQLite refuses.

    >>> index = SqliteIndex(":memory:")
    >>> index.watermark() is None, index.page(Ask())
    (True, [])
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self._sql = queries("sqlite")
        with self._told():
            if path != ":memory:":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{_CACHE_KB};")
            self._connection.executescript(schema("sqlite"))

    def watermark(self) -> Watermark | None:
        rows = self._rows("watermark", Watermark._make, ())
        return rows[0] if rows else None

    def versions(self) -> list[Version]:
        return self._rows("versions", Version._make, ())

    def write(self, rows: Rows, watermark: Watermark, after_lsn: int) -> None:
        with self._told(), self._transaction() as connection:
            if after_lsn < 0:
                moved = connection.execute(self._sql["begin_watermark"], watermark)
            else:
                moved = connection.execute(self._sql["move_watermark"], (*watermark, after_lsn))
            if moved.rowcount != 1:
                raise LedgerError("another process fills this index; let only one do so", after_lsn=after_lsn)
            for table in (*DROPPED, "versions"):
                connection.executemany(self._sql[f"add_{table}"], getattr(rows, table))

    def payments(self, transaction: int) -> list[Payment]:
        return self._rows("of_transaction", Payment._make, (transaction,))

    def page(self, ask: Ask, *, before_lsn: int | None = None, limit: int = 50) -> list[Payment]:
        times = (time for time in (ask.from_us, ask.until_us) if time is not None)
        name, values = page_query(ask, before_lsn, limit, *range_of(ask, map(self._first_received, times)))
        return self._rows(name, Payment._make, values)

    def labels(self, payment_lsn: int) -> list[LabelRow]:
        return [row._replace(is_fraud=bool(row.is_fraud)) for row in self._rows("labels", LabelRow._make, (payment_lsn,))]

    def controls(self, *, after_lsn: int = -1, limit: int = 1_000) -> list[Control]:
        return self._rows("controls", Control._make, (after_lsn, limit))

    def place(self, lsn: int) -> Place | None:
        mark = self.watermark()
        if mark is None or lsn >= mark.next_lsn:
            return None
        rows = self._rows("place", Place._make, (lsn,))
        return rows[0] if rows else None

    def drop_before(self, lsn: int) -> None:
        with self._told(), self._transaction() as connection:
            for table in DROPPED:
                connection.execute(self._sql[f"drop_{table}"], (lsn,))

    def clear(self) -> None:
        with self._told():
            with self._transaction() as connection:
                for table in TABLES:
                    connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own
            self._connection.execute("VACUUM")

    def close(self) -> None:
        self._connection.close()

    def _first_received(self, time_us: int) -> int | None:
        rows: list[int] = self._rows("first_received", lambda row: row[0], (time_us,))
        return rows[0] if rows else None

    def _rows(self, name: str, make: Callable[[Any], R], values: Any) -> list[R]:
        with self._told():
            return [make(row) for row in self._connection.execute(self._sql[name], values)]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"{self.path}: the index cannot be used ({error}); if it stays so: fraudloop ledger reindex") from error
