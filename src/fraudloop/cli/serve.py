"""`fraudloop serve`: decides payments over HTTP until it is told to stop."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from fraudloop.api.serve import Process, run
from fraudloop.cli.options import Columns
from fraudloop.cli.output import note
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.row import RowDoor
from fraudloop.engine.config import ServeConfig
from fraudloop.pipelines.data import column_map, resources
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import Settings


def command(
    context: typer.Context,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Where the log, snapshots and the index lie.")] = Path(
        "fraudloop-data"
    ),
    host: Annotated[str, typer.Option("--host", help="The address to listen on; beyond this machine it needs API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="The port to listen on.")] = 8000,
    columns: Columns = "native",
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Further settings in TOML.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The model in the store whose champion decides.")] = None,
    rules: Annotated[
        str | None, typer.Option("--rules", metavar="RULES", help="What a new log begins with: default, or a TOML file.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option("--policy", metavar="POLICY", help="What a new log begins with: default, or a TOML file.")
    ] = None,
    features: Annotated[str | None, typer.Option("--features", metavar="SPEC", help="Features that are always there.")] = None,
    observe: Annotated[bool, typer.Option("--observe", help="Say what would be decided, and act on nothing.")] = False,
) -> None:
    """Decide payments over HTTP: POST /score_transaction."""
    settings: Settings = context.obj
    serve = ServeConfig.load(
        config, {"data": str(data), "name": name, "rules": rules, "policy": policy, "features": features, "observe": observe or None}
    )
    mapped = column_map(columns, settings)
    found = resources(mapped, settings)
    listener = socket.create_server((host, port), backlog=1024)
    process = Process(
        serve, BundleStore(settings.store), RowDoor(mapped.shape, found.rates, found.tokens), (*TRANSACTION_SCHEMA, *mapped.shape.extra), settings.hash_key, listener,
        lambda role: note(f"{role}: http://{host}:{port}"), {"amount": settings.base_currency},
    )  # fmt: skip
    raise typer.Exit(run(process, standby=False))
