"""`fraudloop doctor`: prints what `fraudloop.pipelines.doctor` found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import JsonOutput
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.errors import CheckFailed
from fraudloop.pipelines.doctor import examine
from fraudloop.settings import Settings


def command(
    context: typer.Context,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="The data folder of a service: flushes are timed on its disk.")
    ] = None,
    json: JsonOutput = False,
) -> None:
    """What this machine has and lacks for each command.

    Loads the compiled kernels, and compiles them if they are not ready. Exits with 1 if a needed part is missing.
    """
    settings = context.obj if isinstance(context.obj, Settings) else Settings()
    with progress(quiet=json) as show:
        findings = examine(settings, progress=show, data=data)
    lacking = [f for f in findings if f.needed and not f.ok]
    if json:
        print_json({"ok": not lacking, "findings": findings})
    else:
        rows = [(f.group, f.name, f.value, "ok" if f.ok else "MISSING" if f.needed else "absent", f.advice) for f in findings]
        print_table("fraudloop doctor", ("part", "what", "found", "", "what to do"), rows)
    if lacking:
        raise CheckFailed(f"{len(lacking)} needed part(s) missing: {', '.join(f.name for f in lacking)}", missing=[f.name for f in lacking])
    if not json:
        note("everything that is needed is there")
