"""Tables from files in chunks: CSV (any delimiter, gz) and Parquet. It knows no column's meaning.

CSV cells stay text, so that amounts and ids come through exactly; the door converts them. Every way a file can be no
table has its own message.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from fraudloop.errors import InputError
from fraudloop.limits import COLUMNS_MAX

DELIMITERS: Final = (",", ";", "\t", "|")

#: Rows read at a time. Smaller: the fixed cost of a pass (some milliseconds) shows. Larger: a pass over a chunk needs
#: more than about 1 GB beside the result.
CHUNK_ROWS: Final = 500_000
_SNIFF_BYTES: Final = 1 << 16


#: A column that chunks of a CSV have where lines of it are malformed: why, null where a line is well.
MALFORMED: Final = "!malformed"

# Lines that one record of a CSV may span; more is a quote that was never closed.
_RECORD_LINES_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Source:
    """A table in a file, not yet read: its columns (fields of structs with a dot), and for Parquet its rows (None where
    only reading tells). `text` reads a CSV again, slowly, where the quick way stumbles."""

    path: Path
    columns: tuple[str, ...]
    rows: int | None
    lazy: pl.LazyFrame
    text: _Text | None = None

    def chunks(self, columns: Sequence[str] | None = None, rows: int = CHUNK_ROWS) -> Iterator[tuple[int, pl.DataFrame]]:
        """(first row, frame) in file order; `columns` picks some. A line of a CSV that has more fields than the header
        comes as nulls with the column MALFORMED. InputError if the file breaks off, or is no longer a table."""
        lazy = self.lazy
        if columns is not None:
            own = set(lazy.collect_schema().names())
            lazy = lazy.select(list(dict.fromkeys(c if c in own else c.split(".", 1)[0] for c in columns)))
        first = 0
        try:
            for frame in lazy.collect_batches(chunk_size=rows, maintain_order=True):
                if frame.height:
                    yield first, frame
                    first += frame.height
        except (pl.exceptions.PolarsError, OSError) as error:
            if self.text is None or isinstance(error, OSError):
                # The message of a Parquet error speaks of the file, not of values; that of a CSV could show one.
                why = _said(error) if self.text is None else "it breaks off"
                raise InputError(f"{self.path} is damaged: {why}") from None
            yield from self.text.chunks(first, columns or self.columns, rows)


@dataclass(frozen=True, slots=True)
class _Text:
    """A CSV read line by line: as the quick reader reads it, but for malformed lines."""

    path: Path
    packed: bool
    encoding: str
    delimiter: str

    def chunks(self, skip: int, columns: Sequence[str], rows: int) -> Iterator[tuple[int, pl.DataFrame]]:
        opened = (
            gzip.open(self.path, "rt", encoding=self.encoding, newline="")  # noqa: SIM115 - closed below, by `with`
            if self.packed
            else self.path.open(encoding=self.encoding, newline="")
        )
        with opened as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            try:
                header = next(reader)
                wanted = [header.index(name) for name in columns]
                first, cells, why = skip, [[] for _ in columns], []  # type: tuple[int, list[list[str | None]], list[str | None]]
                line = reader.line_num
                for i, row in enumerate(reader):
                    if reader.line_num - line > _RECORD_LINES_MAX:
                        raise InputError(f"{self.path}, line {line + 1}: a quote is opened and not closed")
                    torn = reader.line_num - line > 1 and len(row) < len(header)
                    line = reader.line_num
                    if i < skip:
                        continue
                    reason = None
                    if len(row) > len(header):
                        reason = f"{len(row)} fields, the header has {len(header)}"
                    elif torn:
                        reason = "a quote is opened and not closed"
                    for cell, at in zip(cells, wanted, strict=True):
                        cell.append(None if reason or at >= len(row) or row[at] == "" else row[at])
                    why.append(reason)
                    if len(why) == rows:
                        yield first, _frame(columns, cells, why)
                        first, cells, why = first + rows, [[] for _ in columns], []
            except csv.Error as error:
                raise InputError(f"{self.path}, line {reader.line_num}: {error}") from None
            except UnicodeDecodeError as error:
                written = "UTF-8" if self.encoding == "utf-8-sig" else self.encoding
                raise InputError(
                    f'{self.path} is not written in {written}; say how it is, like encoding = "cp1252" under [csv] in the column map'
                ) from error
            except (OSError, EOFError) as error:
                raise InputError(f"{self.path} is damaged: it breaks off") from error
            if why:
                yield first, _frame(columns, cells, why)


def _frame(columns: Sequence[str], cells: Sequence[Sequence[str | None]], why: Sequence[str | None]) -> pl.DataFrame:
    frame = pl.DataFrame({name: pl.Series(cell, dtype=pl.String) for name, cell in zip(columns, cells, strict=True)})
    malformed = pl.Series(MALFORMED, why, dtype=pl.String)
    return frame.with_columns(malformed) if malformed.null_count() < len(malformed) else frame


def scan(path: str | Path, delimiter: str | None = None, encoding: str = "utf8") -> Source:
    """Open a table: Parquet or CSV, by its first bytes and its name.

    delimiter: of a CSV; None finds it. InputError says what is wrong with the file and what to do.
    """
    path = Path(path)
    head = _head(path)
    named_parquet = path.suffix.lower() in (".parquet", ".pq")
    if head[:4] == b"PAR1" or named_parquet:
        return _scan_parquet(path, head)
    return _scan_csv(path, head, delimiter, encoding)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(_SNIFF_BYTES)
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder; give one file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not head:
        raise InputError(f"{path} is empty")
    return head


def _scan_parquet(path: Path, head: bytes) -> Source:
    if head[:4] != b"PAR1":
        raise InputError(f"{path} is named Parquet but is none (it does not begin with PAR1); name a CSV .csv")
    try:
        lazy = pl.scan_parquet(path)
        names = _dotted(lazy.collect_schema())
        rows = int(lazy.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{path} is a damaged Parquet file: {_said(error)}") from error
    return Source(path, names, rows, lazy)


def _dotted(schema: pl.Schema) -> tuple[str, ...]:
    names = []
    for name, dtype in schema.items():
        names += [f"{name}.{part.name}" for part in dtype.fields] if isinstance(dtype, pl.Struct) else [name]
    return tuple(names)


def _said(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]


def _scan_csv(path: Path, head: bytes, delimiter: str | None, encoding: str) -> Source:
    packed = head[:2] == b"\x1f\x8b"
    if packed:
        head = _unpacked_head(path)
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") and encoding == "utf8":
        encoding = "utf-16"
    if encoding == "utf8" and b"\0" in head:
        raise InputError(f"{path} is no table: it holds bytes that no text has; give CSV (also .gz) or Parquet")
    try:
        text = head.decode("utf-8-sig" if encoding == "utf8" else encoding, errors="ignore")
    except LookupError as error:
        raise InputError(f"{path}: no encoding {encoding!r}; use one like utf8, latin1, cp1252") from error
    lines = _whole_lines(text, len(head) < _SNIFF_BYTES)
    if not lines.strip():
        raise InputError(f"{path} is empty")
    mark = delimiter or _sniff(lines)
    header = next(csv.reader(io.StringIO(lines), delimiter=mark))
    _check_header(path, header)
    source: Path | io.BytesIO = path
    if encoding != "utf8":
        source = io.BytesIO(_transcoded(path, packed, encoding))
    try:
        lazy = pl.scan_csv(source, separator=mark, infer_schema=False, has_header=True)
        names = tuple(lazy.collect_schema().names())
    except (pl.exceptions.PolarsError, OSError):
        raise InputError(f"{path} cannot be read as CSV; give CSV (also .gz) or Parquet") from None
    return Source(path, names, None, lazy, _Text(path, packed, "utf-8-sig" if encoding == "utf8" else encoding, mark))


def _unpacked_head(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            head = file.read(_SNIFF_BYTES)
    except (OSError, EOFError) as error:
        raise InputError(f"{path} is a damaged gzip file: {error}") from error
    if not head:
        raise InputError(f"{path} is empty")
    return head


def _transcoded(path: Path, packed: bool, encoding: str) -> bytes:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if packed else content).decode(encoding).encode()
    except (UnicodeDecodeError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as {encoding}: {error}") from error


def _whole_lines(text: str, all_of_it: bool) -> str:
    """The text without a last line that was cut."""
    end = text.rfind("\n")
    return text if all_of_it or end < 0 else text[: end + 1]


def _sniff(lines: str) -> str:
    """The delimiter that cuts the first lines into the same number of columns, the most of them.

    >>> _sniff("a;b\\n1,5;2\\n")
    ';'
    """
    best, best_score = DELIMITERS[0], (0.0, 0)
    for mark in DELIMITERS:
        widths = []
        for row in csv.reader(io.StringIO(lines), delimiter=mark):
            if row:
                widths.append(len(row))
            if len(widths) == 100:
                break
        if not widths or widths[0] < 2:
            continue
        score = (sum(w == widths[0] for w in widths) / len(widths), widths[0])
        if score > best_score:
            best, best_score = mark, score
    return best


def _check_header(path: Path, header: Sequence[str]) -> None:
    names = [name.strip() for name in header]
    if len(names) > COLUMNS_MAX:
        raise InputError(f"{path}: {len(names):,} columns, at most {COLUMNS_MAX:,}; is the delimiter right?")
    twice = sorted({n for n in names if n and names.count(n) > 1})
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} stands twice in the header; name each column once")
