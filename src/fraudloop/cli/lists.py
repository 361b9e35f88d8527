"""`fraudloop lists`: entries of the block, allow and watch lists and lists of words, in a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from fraudloop.cli.options import JsonOutput
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.cli.publishing import DEFAULT_URL, DataFolder, Expected, Url, Who, Why, remote, show_change, show_history, told
from fraudloop.control.change import format_time
from fraudloop.control.lists import parse_time, read_csv
from fraudloop.decisions.lists import NamedList
from fraudloop.errors import InputError
from fraudloop.pipelines.history import history as history_of

app = typer.Typer(help="Who is blocked, allowed or watched, and the lists of words that rules look up.", no_args_is_help=True)

Kind = Annotated[str, typer.Argument(metavar="LIST", help="block, allow or watch.")]
Entity = Annotated[str, typer.Argument(metavar="ENTITY", help="customer, merchant, device, card, ip, country, … : what the id is of.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The id, as payments bring it; a card number becomes its token.")]
Expires = Annotated[str | None, typer.Option("--expires", metavar="TIME", help="When it ends, like 2027-01-31T12:00:00Z. Default: never.")]


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="LIST", help="One list: block, allow, watch or a list of words.")] = None,
    url: Url = DEFAULT_URL,
    json: JsonOutput = False,
) -> None:
    """Every list, or what stands on one."""
    with remote(context, url) as service:
        answer = service.call("GET", "/lists" if name is None else f"/lists/{quote(name, safe='')}")
    if json:
        print_json(answer)
        return
    if name is None:
        rows = [(key, one["version"], one["entries"]) for key, one in answer["named"].items()]
        print_table("lists of words", ("list", "version", "words"), rows, right=("words",))
    entries = answer["entries"]
    if name is not None and "version" in answer:
        typer.echo("\n".join(entries))
        note(f"{len(entries):,} words, version {answer['version']}; {answer.get('source') or 'no source told'}")
        return
    found = [
        (e["list"], e["entity"], e["id"], "never" if e["expires_us"] is None else format_time(e["expires_us"]), e["who"], e["why"])
        for e in entries
    ]
    print_table(f"{len(entries):,} entries", ("list", "entity", "id", "ends", "who", "why"), found)


@app.command()
def add(
    context: typer.Context, kind: Kind, entity: Entity, key: Id, why: Why, expires: Expires = None, who: Who = None, url: Url = DEFAULT_URL,
    json: JsonOutput = False,
) -> None:  # fmt: skip
    """Block, allow or watch somebody, until the entry ends."""
    parse_time(expires)
    body = {"entity": entity, "id": key, "expires_at": expires}
    with remote(context, url) as service:
        show_change(service.call("POST", _entries(kind), told(body, who, why, None)), as_json=json)


@app.command()
def remove(
    context: typer.Context, kind: Kind, entity: Entity, key: Id, why: Why, who: Who = None, url: Url = DEFAULT_URL, json: JsonOutput = False
) -> None:  # fmt: skip
    """Take an entry away."""
    with remote(context, url) as service:
        show_change(service.call("DELETE", _entries(kind), told({"entity": entity, "id": key}, who, why, None)), as_json=json)


@app.command("import")
def import_(
    context: typer.Context,
    kind: Kind,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV with a head: entity, id and, if entries end, expires.")],
    why: Why,
    who: Who = None,
    url: Url = DEFAULT_URL,
    json: JsonOutput = False,
) -> None:
    """Set every entry of a file, one after another; an entry that is there already is set again, so that a broken import is repeated."""
    try:
        entries = read_csv(file.read_text("utf-8-sig"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); give a CSV in UTF-8") from error
    done = 0
    with progress(quiet=json) as tell, remote(context, url) as service:
        for entry in entries:
            expires = None if entry.expires_us is None else format_time(entry.expires_us)
            body = {"entity": entry.entity, "id": entry.id, "expires_at": expires}
            service.call("POST", _entries(kind), told(body, who, why, None))
            done += 1
            tell("entries", done, len(entries))
    if json:
        print_json({"list": kind, "entries": done})
        return
    note(f"{done:,} entries set on the {kind} list")


@app.command()
def publish(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A list of words in TOML: name, version, source, entries.")],
    why: Why,
    who: Who = None,
    url: Url = DEFAULT_URL,
    expected: Expected = None,
    json: JsonOutput = False,
) -> None:
    """Put a list of words in force in place of the one of its name."""
    new = NamedList.load(file)
    with remote(context, url) as service:
        named = service.call("GET", "/lists")["named"]
        in_force = expected or named.get(new.name, {}).get("hash")
        body = told({"entries": sorted(new.entries)}, who, why, in_force)
        show_change(service.call("PUT", f"/lists/{quote(new.name, safe='')}", body), as_json=json)


@app.command()
def history(data: DataFolder = Path("fraudloop-data"), json: JsonOutput = False) -> None:
    """Every version of the lists of words that was in force; from the log."""
    show_history(history_of(data, "lists"), as_json=json)


def _entries(kind: str) -> str:
    return f"/lists/{quote(kind, safe='')}/entries"
