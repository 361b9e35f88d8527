"""`fraudloop serve`: decides payments over HTTP until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from fraudloop.api.keys import Keys, is_local, require_keys
from fraudloop.api.supervisor import Supervisor
from fraudloop.cli.options import Columns, keep_to_ourselves
from fraudloop.cli.output import note
from fraudloop.door.shape import Shape
from fraudloop.engine.config import ServeConfig
from fraudloop.errors import InputError
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
    standby: Annotated[bool, typer.Option("--standby/--no-standby", help="A second process that follows the log and takes over.")] = True,
    lines: Annotated[
        Path | None,
        typer.Option("--lines", metavar="FILE", help="One line of JSON for each decision, without personal data; - for stdout."),
    ] = None,
    role: Annotated[str | None, typer.Option("--role", hidden=True)] = None,
    listen_fd: Annotated[int, typer.Option("--listen-fd", hidden=True)] = -1,
    ready_fd: Annotated[int, typer.Option("--ready-fd", hidden=True)] = -1,
) -> None:
    """Decide payments over HTTP: POST /score_transaction."""
    settings: Settings = context.obj
    serve = ServeConfig.load(
        config, {"data": str(data), "name": name, "rules": rules, "policy": policy, "features": features, "observe": observe or None}
    )
    if role is not None:
        raise typer.Exit(_child(role, serve, columns, settings, listen_fd, ready_fd, alone=not standby, host=host, lines=lines))
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024)
    except OSError as error:
        raise InputError(f"--host {host} --port {port}: cannot be listened on ({error.strerror}); is another service there?") from error
    keep_to_ourselves()
    serve.folder.mkdir(parents=True, exist_ok=True)
    require_keys(host, Keys(serve.folder).all())
    again = [word for word in sys.argv[1:] if word]

    def child(which: str, listen: int, ready: int) -> list[str]:
        return [sys.executable, "-m", "fraudloop", *again, "--role", which, "--listen-fd", str(listen), "--ready-fd", str(ready)]

    note(f"http://{host}:{port}: log in {serve.log}, models from {settings.store}")
    raise typer.Exit(asyncio.run(Supervisor(listener, child, ("desk", "worker"), note, standby=standby).run()))


def _child(
    role: str,
    config: ServeConfig,
    columns: str,
    settings: Settings,
    listen_fd: int,
    ready_fd: int,
    *,
    alone: bool,
    host: str,
    lines: Path | None,
) -> int:
    """One process of the family."""

    def ready(word: str) -> None:
        if ready_fd >= 0:
            os.write(ready_fd, word.encode() + b"\n")

    if role == "worker":
        from fraudloop.api.worker import run_worker

        return run_worker(config, settings.hash_key, ready)
    from fraudloop.api.serve import Process, refold, run, run_desk
    from fraudloop.domain.transaction import TRANSACTION_SCHEMA
    from fraudloop.door.row import RowDoor
    from fraudloop.pipelines.data import column_map, resources
    from fraudloop.scoring.store import BundleStore

    if role == "refold":
        refold(config, config.run / "refold", settings.hash_key)
        return 0
    mapped = column_map(columns, settings)
    found = resources(mapped, settings)
    shape = mapped.shape
    if role == "desk":
        return run_desk(config, metadata.version("fraudloop"), ready, settings.hash_key, found.tokens)
    if config.observe and config.observed_field not in shape.extra:
        # The last of its columns: records from before observing and after it stay readable.
        shape = replace(shape, segments={**shape.segments, config.observed_field: config.observed_field})
    again = [word for word in sys.argv[1:] if word]
    again = again[: again.index("--role")]
    process = Process(
        config, BundleStore(settings.store), RowDoor(shape, found.rates, found.tokens), found.tokens, {**TRANSACTION_SCHEMA, **shape.types}, settings.hash_key,
        socket.socket(fileno=listen_fd), ready, {"amount": settings.base_currency}, tuple(shape.numbers), tuple(shape.categories), alone,
        open_to_all=is_local(host) and not Keys(config.folder).all(), lines=None if lines is None else _lines(lines),
        types=types_of(shape), refold=lambda folder: [sys.executable, "-m", "fraudloop", *again, "--role", "refold"],
    )  # fmt: skip
    return run(process, standby=role == "standby")


def types_of(shape: Shape) -> dict[str, str]:
    """The types of a shape's own columns."""
    numbers = {name: "Float64" if number.scale is None else "Int64" for name, number in shape.numbers.items()}
    return {**dict.fromkeys((*shape.categories, *shape.segments), "String"), **numbers}


def _lines(path: Path) -> int:
    if str(path) == "-":
        return sys.stdout.fileno()
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
