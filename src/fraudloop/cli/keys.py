"""`fraudloop keys`: API keys of a service, in the file of its folder. A running service notices within a second."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloop.api.keys import Key, Keys
from fraudloop.api.rates import Rate
from fraudloop.cli.options import JsonOutput, names_of
from fraudloop.cli.output import note, print_json, print_table

app = typer.Typer(help="API keys: who may call the service, and what for.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder of the service; keys.json lies in it.")]


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Whose key it is, or what calls with it.")],
    scopes: Annotated[
        str, typer.Option("--scopes", metavar="NAMES", help="What it opens: score, events, feedback, read, control, admin.")
    ] = "score",
    folder: Folder = Path("fraudloop-data"),
    rate: Annotated[
        float | None, typer.Option("--rate", metavar="N", help="Requests a second in the long run; without it no bound.")
    ] = None,
    burst: Annotated[
        float | None, typer.Option("--burst", metavar="N", help="Requests at once after a silence; a second's worth without it.")
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Make a key. It is shown once, here; what is kept is a salted hash."""
    told, key = Keys(folder).create(name, names_of(scopes), None if rate is None else Rate(rate, burst or 0.0))
    if json:
        print_json({"key": told, **_shown(key)})
        return
    typer.echo(told)
    note(f"key {key.id} of {key.name!r} opens {', '.join(key.scopes)}; keep it now, it is not shown again")


@app.command("list")
def list_(folder: Folder = Path("fraudloop-data"), json: JsonOutput = False) -> None:
    """Every key with its scopes, and which are revoked; never the keys themselves."""
    keys = Keys(folder).all()
    if json:
        print_json([_shown(key) for key in keys])
        return
    rows = [
        (
            key.id,
            key.name,
            ", ".join(key.scopes),
            key.per_s,
            f"{key.created:%Y-%m-%d %H:%M}",
            key.revoked and f"{key.revoked:%Y-%m-%d %H:%M}",
        )
        for key in keys
    ]
    print_table(f"keys of {folder}", ("id", "name", "scopes", "requests/s", "created", "revoked"), rows, right=("requests/s",))


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id that `keys list` shows; it stands in the key, too.")],
    folder: Folder = Path("fraudloop-data"),
    json: JsonOutput = False,
) -> None:
    """Take a key away for good; a running service refuses it within a second."""
    key = Keys(folder).revoke(key_id)
    if json:
        print_json(_shown(key))
        return
    note(f"key {key.id} of {key.name!r} is revoked")


def _shown(key: Key) -> dict[str, object]:
    return {
        "id": key.id, "name": key.name, "scopes": list(key.scopes), "rate_per_s": key.per_s, "burst": key.burst, "created": key.created,
        "revoked": key.revoked,
    }  # fmt: skip
