"""`fraudloop labels`: labels of a file told to a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import JsonOutput
from fraudloop.cli.publishing import DEFAULT_URL, Url
from fraudloop.cli.telling import send

app = typer.Typer(help="What turned out to be fraud: a file of labels told to a running service.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet: transaction_id, is_fraud, source, known_at, reason.")],
    url: Url = DEFAULT_URL,
    json: JsonOutput = False,
) -> None:
    """Tell every label of a file. Exits with 1 if some were refused; the others are in force."""
    send(context, file, "label", url, json=json)
