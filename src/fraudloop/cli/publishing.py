"""What commands that change a running service share: its address, who changes it and why, and how the change is shown."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloop.cli.output import note, print_json, print_table
from fraudloop.cli.remote import URL, Remote
from fraudloop.control.change import Version, format_time
from fraudloop.settings import Settings

Url = Annotated[str, typer.Option("--url", metavar="URL", help="The running service; its key is FRAUDLOOP_API_KEY.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why; it stands in the log.")]
Who = Annotated[str | None, typer.Option("--who", metavar="NAME", help="Who answers for it. Default: the account of this machine.")]
Expected = Annotated[
    str | None, typer.Option("--expected", metavar="HASH", help="What must be in force until now. Default: what the service says it is.")
]
DataFolder = Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder of the service, whose log is read.")]
DEFAULT_URL = URL


def remote(context: typer.Context, url: str) -> Remote:
    """The service, with the key of the settings."""
    settings: Settings = context.obj
    return Remote(url, settings.api_key)


def person(who: str | None) -> str:
    """Who changes something: as told, else the account's name."""
    return who if who is not None else getpass.getuser()


def told(body: Mapping[str, Any], who: str | None, why: str, expected: str | None) -> dict[str, Any]:
    """The body of a command."""
    return {**body, "who": person(who), "why": why, "expected": expected}


def show_change(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """What a command became."""
    if as_json:
        print_json(answer)
        return
    for line in answer["diff"]:
        typer.echo(line)
    content = f", version {answer['hash'][:12]}" if answer.get("hash") else ""
    note("not in force yet: it is warming" if answer["lsn"] < 0 else f"in force from position {answer['lsn']:,} on{content}")


def show_history(versions: Iterable[Version], *, as_json: bool) -> None:
    """Versions, oldest first."""
    if as_json:
        print_json([version.to_dict() for version in versions])
        return
    rows = [(v.lsn, format_time(v.received_us), (v.hash or "")[:12], v.who, v.why, "\n".join(v.diff)) for v in versions]
    print_table("what was in force, oldest first", ("position", "at", "version", "who", "why", "what changed"), rows, right=("position",))
