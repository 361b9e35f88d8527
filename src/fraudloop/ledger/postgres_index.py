"""The index in PostgreSQL, in a schema of its own. Its SQL is in `sql/`; psycopg is loaded when one is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fraudloop.errors import LedgerError
from fraudloop.ledger.index import Ask, Control, LabelRow, Payment, Place, Rows, Version, Watermark
from fraudloop.ledger.statements import DROPPED, TABLES, page_query, queries, range_of, schema

if TYPE_CHECKING:
    import psycopg

R = TypeVar("R")

#: Where the tables stand, unless the URL says otherwise (`options=-csearch_path=…`).
SCHEMA: Final = "fraudloop"


class PostgresIndex:
    """An index behind a URL like `postgresql://host/database`; its tables are made if they are not there. LedgerError for whatever the
    server refuses, and where it cannot be reached; the next call connects again."""

    def __init__(self, url: str) -> None:
        import psycopg

        self._psycopg = psycopg
        self._url = url.replace("postgresql+psycopg://", "postgresql://", 1)
        self._sql = queries("postgres")
        self._open: psycopg.Connection[Any] | None = None
        with self._told():
            self._connection()

    def watermark(self) -> Watermark | None:
        rows = self._rows("watermark", Watermark._make, ())
        return rows[0] if rows else None

    def versions(self) -> list[Version]:
        return self._rows("versions", Version._make, ())

    def write(self, rows: Rows, watermark: Watermark, after_lsn: int) -> None:
        with self._told(), self._connection().transaction(), self._connection().cursor() as cursor:
            if after_lsn < 0:
                cursor.execute(self._sql["begin_watermark"], watermark)
            else:
                cursor.execute(self._sql["move_watermark"], (*watermark, after_lsn))
            if cursor.rowcount != 1:
                raise LedgerError("another process fills this index; let only one do so", after_lsn=after_lsn)
            for table in (*DROPPED, "versions"):
                added = getattr(rows, table)
                if added:
                    with cursor.copy(self._sql[f"add_{table}"]) as copy:
                        for row in added:
                            copy.write_row(row)

    def payments(self, transaction: int) -> list[Payment]:
        return self._rows("of_transaction", Payment._make, (transaction,))

    def page(self, ask: Ask, *, before_lsn: int | None = None, limit: int = 50) -> list[Payment]:
        times = (time for time in (ask.from_us, ask.until_us) if time is not None)
        name, values = page_query(ask, before_lsn, limit, *range_of(ask, map(self._first_received, times)))
        return self._rows(name, Payment._make, values)

    def labels(self, payment_lsn: int) -> list[LabelRow]:
        return self._rows("labels", LabelRow._make, (payment_lsn,))

    def controls(self, *, after_lsn: int = -1, limit: int = 1_000) -> list[Control]:
        return self._rows("controls", Control._make, (after_lsn, limit))

    def place(self, lsn: int) -> Place | None:
        mark = self.watermark()
        if mark is None or lsn >= mark.next_lsn:
            return None
        rows = self._rows("place", Place._make, (lsn,))
        return rows[0] if rows else None

    def drop_before(self, lsn: int) -> None:
        with self._told(), self._connection().transaction():
            for table in DROPPED:
                self._connection().execute(self._sql[f"drop_{table}"], (lsn,))

    def clear(self) -> None:
        with self._told(), self._connection().transaction():
            self._connection().execute("TRUNCATE " + ", ".join(TABLES))

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def _connection(self) -> psycopg.Connection[Any]:
        if self._open is None or self._open.closed:
            self._open = self._psycopg.connect(self._url, autocommit=True, connect_timeout=5)
            self._open.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
            if "search_path" not in self._url:
                self._open.execute(f"SET search_path TO {SCHEMA}")
            self._open.execute(schema("postgres"))
        return self._open

    def _first_received(self, time_us: int) -> int | None:
        rows: list[int] = self._rows("first_received", lambda row: row[0], (time_us,))
        return rows[0] if rows else None

    def _rows(self, name: str, make: Callable[[Any], R], values: Any) -> list[R]:
        with self._told():
            return [make(row) for row in self._connection().execute(self._sql[name], values)]

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as error:
            if isinstance(error, self._psycopg.OperationalError):
                self.close()
            line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise LedgerError(f"the index in PostgreSQL cannot be used ({line}); it is filled again once the server answers") from error
