"""How commands speak: results on stdout (a table for people or one JSON document), everything else on stderr.

It knows no command. rich and msgspec are loaded when something is shown, because `fraudloop --help` shows nothing
of it and should be quick.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

from fraudloop.telemetry import Progress, silent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Between two lines of progress where stderr is no terminal: a log of an hour has 360 lines, and none is stale by more.
PROGRESS_LINE_S: Final = 10.0


def print_json(value: object) -> None:
    """One JSON document and a newline on stdout; NaN and infinities become null. Keys keep their order."""
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode() + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """A table on stdout; the columns named in `right` are aligned to the right."""
    from rich.text import Text

    out = console(sys.stdout)
    out.print(Text(title, style="italic"), soft_wrap=True)  # as long as it is: a table's own title wraps at the table's width
    out.print(table(columns, rows, right))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> Table:
    """A rich table of plain cells."""
    from rich.table import Table
    from rich.text import Text

    out = Table(header_style="bold")
    for column in columns:
        out.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        out.add_row(*(Text(cell(value)) for value in row))
    return out


def cell(value: object) -> str:
    """The text of a table cell: counts with thousands, measures with four digits after the point, nothing for None.

    >>> cell(1234567), cell(0.687012), cell(None), cell(True)
    ('1,234,567', '0.6870', '', 'yes')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1_000 else f"{value:,.0f}"
    return str(value)


def note(text: str) -> None:
    """One line for people, on stderr, so that stdout stays the result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def print_error(message: str, *, kind: str, fields: Mapping[str, object], as_json: bool) -> None:
    """One error on stderr: a line for people, or with `--json` one document `{error, message, fields}`."""
    if as_json:
        import msgspec

        body = {"error": kind, "message": message, "fields": dict(fields)}
        sys.stderr.write(msgspec.json.encode(body, enc_hook=str).decode() + "\n")
        return
    console(sys.stderr).print(f"[bold red]error:[/] {_escape(message)}", soft_wrap=True)


def console(file: TextIO) -> Console:
    """A rich console that writes plain text where `file` is no terminal."""
    from rich.console import Console

    return Console(file=file, highlight=False, width=None if file.isatty() else 140)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Progress]:
    """Show the progress of a block on stderr: bars on a terminal, otherwise a line now and then; nothing if quiet.

    The block gets a function `(stage, done, total)`; a new stage name starts a new bar.
    """
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    with Bars(*columns, console=console(sys.stderr)) as bars:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(_escape(stage), total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield show


def _lines() -> Progress:
    last: dict[str, float] = {}

    def show(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        finished = total > 0 and done >= total
        if finished or now - last.get(stage, -PROGRESS_LINE_S) >= PROGRESS_LINE_S:
            last[stage] = now
            note(f"{stage}: {done:,}" + (f" of {total:,} ({100 * done // total} %)" if total else ""))

    return show


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
