"""`fraudloop size`: prints what `fraudloop.pipelines.size` works out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from fraudloop.cli.options import JsonOutput, names_of
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.limits import RETENTION_DAYS
from fraudloop.pipelines.size import MEASURED, measure, size


def command(
    customers: Annotated[int, typer.Option("--customers", metavar="N", help="Customers that pay within the longest window.")],
    rate: Annotated[float, typer.Option("--rate", metavar="R", help="Payments a second, the mean over a day.")],
    merchants: Annotated[int | None, typer.Option("--merchants", metavar="N", help="Default: a hundredth of the customers.")] = None,
    devices: Annotated[int | None, typer.Option("--devices", metavar="N", help="Default: as many as customers.")] = None,
    windows: Annotated[str, typer.Option("--windows", metavar="W,…", help="Windows of the features; the longest counts.")] = "30d",
    retention: Annotated[int, typer.Option("--retention", metavar="DAYS", help="How long the log keeps payments.")] = RETENTION_DAYS,
    standby: Annotated[bool, typer.Option("--standby/--no-standby", help="A second process holds the state too.")] = True,
    again: Annotated[bool, typer.Option("--measure", help="Measure bytes of state and record on this machine first.")] = False,
    json: JsonOutput = False,
) -> None:
    """Memory and disk for so many customers and payments a second."""
    measured = MEASURED
    if again:
        with progress(quiet=json) as show:
            measured = measure(show)
    found = size(
        customers=customers, rate=rate, merchants=merchants, devices=devices, windows=names_of(windows), retention_days=retention, standby=standby, measured=measured,
    )  # fmt: skip
    if json:
        print_json(asdict(found))
        return
    rows = [(need.where, need.name, _bytes(need.bytes), need.why) for need in found.needs]
    rows += [
        ("memory", "together", _bytes(found.memory_bytes), "both processes" if standby else "one process"),
        ("disk", "together", _bytes(found.disk_bytes), ""),
    ]
    print_table(f"{customers:,} customers, {rate:g} payments a second", ("", "what", "bytes", "how it comes about"), rows, right=("bytes",))
    note(
        f"{measured.key:,.0f} bytes an entity, {measured.event:,.0f} an event, {measured.record:,.0f} a record; measured anew by: fraudloop size --measure"
    )


def _bytes(count: float) -> str:
    """Of bytes, as people read them.

    >>> _bytes(1_234_000_000)
    '1.23 GB'
    """
    for unit, size_of in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size_of:
            return f"{count / size_of:,.2f} {unit}"
    return f"{count / 1e3:,.0f} kB"
