"""Tables to files, part by part: Parquet, CSV or gzipped CSV by the suffix of the name.

A file is written beside its name and moved there when complete, so that a broken run leaves no half of a table. It
knows no column.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fraudloop.errors import InputError

SUFFIXES: Final = (".parquet", ".csv", ".csv.gz")


class TableWriter(Protocol):
    """Takes the parts of one table in order."""

    def write(self, frame: pl.DataFrame) -> None:
        """Append the rows of a frame; all frames have the same columns."""

    def close(self) -> None:
        """Write what is left and end the file."""


class _Parquet:
    def __init__(self, path: Path, chunk_rows: int) -> None:
        self._path, self._chunk_rows = path, chunk_rows
        self._writer: pq.ParquetWriter | None = None
        self._left: pl.DataFrame | None = None

    def write(self, frame: pl.DataFrame) -> None:
        if self._writer is None:
            schema = frame.clear().to_arrow(compat_level=pl.CompatLevel.oldest()).schema
            texts = [name for name, kind in frame.schema.items() if kind == pl.String and not name.endswith("_id") and name != "ip"]
            self._writer = pq.ParquetWriter(self._path, schema, compression="zstd", compression_level=1, use_dictionary=texts)
        whole = frame if self._left is None else pl.concat([self._left, frame])
        full = whole.height - whole.height % self._chunk_rows
        for at in range(0, full, self._chunk_rows):
            self._put(whole.slice(at, self._chunk_rows))
        self._left = whole.slice(full)

    def _put(self, frame: pl.DataFrame) -> None:
        assert self._writer is not None
        table: pa.Table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
        self._writer.write_table(table, row_group_size=self._chunk_rows)

    def close(self) -> None:
        if self._left is not None and self._left.height:
            self._put(self._left)
        if self._writer is not None:
            self._writer.close()


class _Csv:
    def __init__(self, path: Path, *, packed: bool) -> None:
        self._raw = path.open("wb")
        # No name and no time inside, so that the same rows are the same bytes.
        zipped = gzip.GzipFile(filename="", fileobj=self._raw, mode="wb", compresslevel=4, mtime=0) if packed else None
        self._file, self._zipped, self._begun = cast("IO[bytes]", zipped or self._raw), zipped, False

    def write(self, frame: pl.DataFrame) -> None:
        frame.write_csv(self._file, include_header=not self._begun, datetime_format="%Y-%m-%dT%H:%M:%S%.3fZ")
        self._begun = True

    def close(self) -> None:
        if self._zipped is not None:
            self._zipped.close()
        self._raw.close()


def check_path(name: str, path: Path) -> Path:
    """The path itself, if a table can be written there; else an InputError that says why not."""
    if not path.name.endswith(SUFFIXES):
        raise InputError(f"{name}: {path.name} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}", name=name, path=str(path))
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{name}: there is no folder {path.absolute().parent} to write {path.name} to", name=name, path=str(path))
    return path


@contextmanager
def open_table(path: Path, chunk_rows: int) -> Iterator[TableWriter]:
    """A writer for a table; the file appears when the block ends well, and nothing is left when it does not.

    chunk_rows: rows of a Parquet row group.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.name.endswith(".parquet"):
            writer: TableWriter = _Parquet(part, chunk_rows)
        else:
            writer = _Csv(part, packed=path.name.endswith(".gz"))
        try:
            yield writer
        finally:
            writer.close()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
