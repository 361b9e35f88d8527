"""Tables in text for the screen: what every case prints. It knows no case."""

from __future__ import annotations

from collections.abc import Sequence


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: the first column to the left, the others to the right.

    >>> show("speed", ["what", "rows/s"], [["fold", "1,000"], ["other", 5]])
    <BLANKLINE>
    speed
      what   rows/s
      fold    1,000
      other       5
    """
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        line = "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print(f"  {line}".rstrip(), flush=True)
