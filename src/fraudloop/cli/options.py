"""Options that several commands share, so that one word means one thing everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def names_of(text: str) -> tuple[str, ...]:
    """The names of a list like `a, b`."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def keep_to_ourselves() -> int:
    """Of what is written from here on nobody outside the account's group can read anything: logs, indexes and exports name customers and
    amounts. Returns the mask of before."""
    before = os.umask(0o027)
    os.umask(before | 0o027)
    return before


JsonOutput = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Columns = Annotated[str, typer.Option("--columns", metavar="MAP", help="Column map: native, handbook or a TOML file.")]
Features = Annotated[
    str | None,
    typer.Option(
        "--features", metavar="SPEC", help="Feature set: default, compact, handbook or a TOML file. Default: the one the column map names."
    ),
]
InputFile = Annotated[Path, typer.Argument(metavar="FILE", help="A CSV (gz too) or Parquet file.")]
OutputFile = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write.")]
OutputFolder = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write; made if it is not there.")]
Segments = Annotated[
    str | None,
    typer.Option(
        "--segments", metavar="NAMES",
        help="Columns to report error rates by, instead of country, merchant_category and channel; one that the map does not name is read for this alone.",
    ),
]  # fmt: skip
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]
Track = Annotated[
    str | None,
    typer.Option(
        "--track",
        metavar="URI",
        help="Where runs are tracked: default (a SQLite file under the working folder), off, sqlite:///FILE, postgresql+psycopg://… or http://…",
    ),
]
Artifacts = Annotated[
    str | None, typer.Option("--artifacts", metavar="DIR|URL", help="Where tracked bundles and rows go: a folder or s3://bucket/prefix.")
]
