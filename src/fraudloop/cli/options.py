"""Options that several commands share, so that one word means one thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same result.")]
