"""`fraudloop profiles`: profiles of a file told to a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import JsonOutput
from fraudloop.cli.publishing import DEFAULT_URL, Url
from fraudloop.cli.telling import send

app = typer.Typer(help="What is known of customers and merchants: a file of profiles told to a running service.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or Parquet: id, time, home_country, home_latitude, home_longitude, …")],
    entity: Annotated[
        str, typer.Option("--entity", metavar="NAME", help="Whose they are, where the file has no such column.")
    ] = "customer",
    url: Url = DEFAULT_URL,
    json: JsonOutput = False,
) -> None:
    """Tell every profile of a file. Exits with 1 if some were refused; the others are in force."""
    send(context, file, "profile", url, entity=entity, json=json)
