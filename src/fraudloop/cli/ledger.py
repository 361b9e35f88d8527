"""`fraudloop ledger`: prints what `fraudloop.pipelines.ledger` found."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import Columns, InputFile, JsonOutput, keep_to_ourselves
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.cli.remote import Remote
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.engine.config import ServeConfig
from fraudloop.errors import InputError
from fraudloop.limits import RETENTION_DAYS
from fraudloop.pipelines import ledger
from fraudloop.settings import Settings

app = typer.Typer(help="The log of everything decided: import, verify, show, audit, index, export, let go, erase.", no_args_is_help=True)

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="The data folder of a service; the log is in DIR/log.")]
IndexUrl = Annotated[str | None, typer.Option("--index", metavar="URL", help="The index in PostgreSQL instead of DIR/index.sqlite.")]
Who = Annotated[str, typer.Option("--who", metavar="NAME", help="Who answers for it.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For the auditor.")]


@app.callback()
def _begin(context: typer.Context) -> None:
    before = keep_to_ourselves()
    context.call_on_close(lambda: os.umask(before))


@app.command("import")
def import_(
    context: typer.Context,
    file: InputFile,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The data folder of the service to be; made if it is not there.")],
    columns: Columns = "native",
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    profiles: Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers and other entities.")] = None,
    features: Annotated[
        str | None, typer.Option("--features", metavar="SPEC", help="Features that are always there, as for serve.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The settings of serve, in TOML.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The model in the store whose champion will decide.")] = None,
    rules: Annotated[str | None, typer.Option("--rules", metavar="RULES", help="What a new log begins with, as for serve.")] = None,
    policy: Annotated[str | None, typer.Option("--policy", metavar="POLICY", help="What a new log begins with, as for serve.")] = None,
    shift: Annotated[
        str | None,
        typer.Option("--shift", metavar="now|TIME", help="Added to every time: now moves the file's end to the present, by whole weeks."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Only what was known by then, in times after the shift.")
    ] = None,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", help="The largest share of rows that may be unfit.")
    ] = DEFAULT_MAX_REJECTED,
    json: JsonOutput = False,
) -> None:
    """A company's history into a log that begins with it, before the service does. Stopped on its way, the same command goes on."""
    from fraudloop.pipelines.importing import import_file
    from fraudloop.pipelines.sealers import spare_processes
    from fraudloop.pipelines.shift import time_us

    settings: Settings = context.obj
    serve = ServeConfig.load(config, {"data": str(data), "features": features, "name": name, "rules": rules, "policy": policy})
    with progress(quiet=json) as show_progress:
        found = import_file(
            file,
            serve,
            shift=shift,
            until_us=None if until is None else time_us(until, "--until"),
            columns=columns,
            labels=labels,
            profiles=profiles,
            max_rejected=max_rejected,
            settings=settings,
            processes=spare_processes(),
            progress=show_progress,
        )
    if json:
        print_json(asdict(found))
        return
    events = found.transactions + found.labels + found.profiles
    rows = [
        ("payments", f"{found.transactions:,}"), ("labels", f"{found.labels:,}"), ("profiles", f"{found.profiles:,}"),
        ("events that an earlier run had appended", f"{found.already:,}"), ("rows that could not be used", f"{found.rejected:,}"),
        ("events a second", f"{events / max(found.seconds, 1e-9):,.0f}"), ("the log goes on at LSN", f"{found.next_lsn:,}"), ("digest of the state", found.digest),
    ]  # fmt: skip
    print_table(f"{file} is in the log of {data}", ("", "imported"), rows, right=("imported",))
    note(f"start it: fraudloop serve --data {data}")


@app.command()
def verify(data: Data, json: JsonOutput = False) -> None:
    """Is every record as it was written, and none left out? Damage is said with file and byte."""
    with progress(quiet=json) as show_progress:
        found = ledger.verify_ledger(data, show_progress)
    if json:
        print_json(asdict(found))
        return
    rows = [
        ("segments", f"{found.segments:,}"), ("groups", f"{found.groups:,}"), ("records", f"{found.records:,}"),
        ("LSNs", f"{found.first_lsn:,} to {found.next_lsn - 1:,}" if found.records else "none"), ("id of the log", found.log_id), ("digest", found.digest),
        ("bytes of an unfinished group at the end", f"{found.torn_bytes:,}"),
    ]  # fmt: skip
    print_table(f"{data}: every digest and link is as it was written", ("", "found"), rows)


@app.command()
def show(
    context: typer.Context,
    data: Data,
    lsn: Annotated[int | None, typer.Argument(metavar="LSN", help="The record's position in the log.")] = None,
    transaction_id: Annotated[str | None, typer.Option("--id", metavar="TRANSACTION_ID", help="A payment by its id.")] = None,
    json: JsonOutput = False,
) -> None:
    """One record: a payment with its decision, features, reasons and labels, or what a control record says."""
    if (lsn is None) == (transaction_id is None):
        raise InputError("name an LSN or --id TRANSACTION_ID")
    settings: Settings = context.obj
    with progress(quiet=json) as show_progress:
        found = ledger.show_record(data, lsn=lsn, transaction_id=transaction_id, settings=settings, progress=show_progress)
    if json:
        print_json(asdict(found))
        return
    rows: list[tuple[str, object]] = []
    decision = found.record.get("decision")
    for name, value in found.record.items():
        if name not in ("decision", "personal", "hashes"):
            rows.append((name, _said(name, value)))
    if isinstance(decision, dict):
        rows += [(name, _said(name, value)) for name, value in decision.items() if name != "reasons" and value not in (None, (), "")]
        rows += [("reason", f"{reason['code']}: {reason['text']}") for reason in decision["reasons"]]
    print_table(f"LSN {found.lsn}: {found.kind}{', personal fields erased' if found.erased else ''}", ("field", "value"), rows)
    if found.row is not None:
        print_table("payment", ("column", "value"), [(name, _said(name, value)) for name, value in found.row.items() if value is not None])
    if found.features:
        print_table("features at that moment", ("feature", "value"), list(found.features.items()), right=("value",))
    if found.labels:
        heads = ("lsn", "is_fraud", "source", "known_us", "before", "after")
        print_table("labels", heads, [[_said(head, label[head]) for head in heads] for label in found.labels])


def _said(name: str, value: object) -> object:
    """Times as people write them, numbers without thousands marks, as they stand in the record."""
    if isinstance(value, int) and not isinstance(value, bool):
        return ledger.time_of(value) if name in ("timestamp", "received_at", "received_us", "known_us") else str(value)
    return value


@app.command()
def audit(
    data: Data,
    after: Annotated[int, typer.Option("--after", metavar="LSN", help="Only what came after this LSN.")] = -1,
    json: JsonOutput = False,
) -> None:
    """What was put in force, listed, changed or erased: when, who, why, and the digest by which nothing can have been left out."""
    with progress(quiet=json) as show_progress:
        found = list(ledger.audit(data, after_lsn=after, progress=show_progress))
    if json:
        print_json([asdict(row) for row in found])
        return
    rows = [(f"{r.lsn:,}", r.at, f"{r.kind} {r.what}", r.name, r.state and r.state[:16], r.who, r.why, r.digest[:16]) for r in found]
    heads = ("LSN", "when", "what", "name", "state", "who", "why", "digest")
    print_table(f"{len(found):,} control records", heads, rows, right=("LSN",))
    note("digests in full: --json; each stands for the record and every one before it, and `ledger verify` gives the last")


@app.command()
def index(context: typer.Context, data: Data, url: IndexUrl = None, json: JsonOutput = False) -> None:
    """Fill the index up to the end of the log, from where it is."""
    _index(context, data, url, json, anew=False)


@app.command()
def reindex(context: typer.Context, data: Data, url: IndexUrl = None, json: JsonOutput = False) -> None:
    """Make the index anew from the log."""
    _index(context, data, url, json, anew=True)


def _index(context: typer.Context, data: Path, url: str | None, json: bool, *, anew: bool) -> None:
    settings: Settings = context.obj
    with progress(quiet=json) as show_progress:
        found = ledger.index_ledger(data, url=url, anew=anew, settings=settings, progress=show_progress)
    if json:
        print_json(asdict(found))
        return
    behind = f"; {found.lag.bytes:,} bytes came meanwhile" if found.lag.bytes else ""
    note(f"{found.records:,} records indexed, up to LSN {found.next_lsn - 1:,}{behind}")


@app.command()
def export(
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to write, instead of DIR/export.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Also the day that is not over, as DAY.partial.")] = False,
    json: JsonOutput = False,
) -> None:
    """Every day that is over as Parquet: payments with decisions and features, labels, control records, profiles."""
    with progress(quiet=json) as show_progress:
        found = ledger.export_ledger(data, out=out, partial=partial, progress=show_progress)
    if json:
        print_json([ledger.facts(day) for day in found])
        return
    rows = [
        (f"{day.day}{' (not over)' if day.partial else ''}", f"{day.first_lsn:,}", f"{day.next_lsn - 1:,}", f"{day.payments:,}", f"{day.labels:,}", f"{day.controls:,}", day.digest[:16])
        for day in found
    ]  # fmt: skip
    heads = ("day", "first LSN", "last LSN", "payments", "labels", "control", "digest")
    print_table(f"{len(found)} days written to {out or data / ledger.EXPORT}", heads, rows, right=heads[1:-1])


@app.command()
def retain(
    data: Data,
    snapshot_lsn: Annotated[
        int, typer.Option("--snapshot-lsn", metavar="LSN", help="Up to which the oldest snapshot to be kept holds everything; 0 keeps all.")
    ],
    days: Annotated[int, typer.Option("--days", metavar="N", help="Keep records of so many days.", min=1)] = RETENTION_DAYS,
    url: IndexUrl = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: JsonOutput = False,
) -> None:
    """Let go of segments that are old, exported, indexed and below the oldest snapshot; and say how much room the disk has."""
    with progress(quiet=json) as show_progress:
        found, room = ledger.retain_ledger(data, snapshot_lsn=snapshot_lsn, days=days, url=url, dry=dry, progress=show_progress)
    if json:
        print_json({**asdict(found), "room": {**asdict(room), "state": room.state.value}})
        return
    why = {
        "age": "is younger", "export": "is not exported yet", "index": "is not indexed yet", "snapshot": "is not below the oldest snapshot", "last": "is the one being written",
    }[found.kept_for]  # fmt: skip
    note(
        f"{len(found.segments):,} segments ({found.bytes:,} bytes) {'would go' if dry else 'went'}; the log begins at LSN {found.first_lsn:,}; the next {why}"
    )
    note(f"disk: {room.state.value}, {room.free_bytes / 1e9:.1f} of {room.total_bytes / 1e9:.1f} GB free")


@app.command()
def erase(
    context: typer.Context,
    who: Who,
    why: Why,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="The data folder of a service that does not run.")] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="A running service instead; its key is FRAUDLOOP_API_KEY.")
    ] = None,
    customer: Annotated[str | None, typer.Option("--customer", metavar="ID", help="The customer whose personal fields go.")] = None,
    card: Annotated[str | None, typer.Option("--card", metavar="ID", help="Of payments that name no customer: their card.")] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="ID", help="Of payments that name neither: their device.")] = None,
    ip: Annotated[str | None, typer.Option("--ip", metavar="IP", help="Of payments that name none of these: their address.")] = None,
    json: JsonOutput = False,
) -> None:
    """Make the personal fields of one customer unreadable for good, in log, index and export; decisions and features stay."""
    given = {"customer_id": customer, "card_id": card, "device_id": device, "ip": ip}
    named = [(name, value) for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise InputError("name one of --customer, --card, --device, --ip")
    settings: Settings = context.obj
    if (data is None) == (url is None):
        raise InputError("name --data DIR, or --url URL of the service that runs on it")
    if url is not None:
        if customer is None:
            raise InputError("a running service erases a --customer; for the others stop it and name --data")
        with Remote(url, settings.api_key) as service:
            answer = service.call("POST", "/customers/erase", {"customer_id": customer, "who": who, "why": why})
        if json:
            print_json(answer)
        else:
            note(f"LSN {answer['lsn']:,}: {'; '.join(answer['diff'])}")
        return
    assert data is not None, "one of the two"
    found = ledger.erase(data, *named[0], who=who, why=why, settings=settings)
    if json:
        print_json(asdict(found))
        return
    note(f"the key is destroyed; LSN {found.lsn:,} says so. Copies of the folder vault made before this must be destroyed too")
