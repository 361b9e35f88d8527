"""What `labels import` and `profiles import` share: a file sent, and what became of its rows."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.client import Client
from fraudloop.errors import CheckFailed
from fraudloop.pipelines.telling import tell
from fraudloop.settings import Settings

#: For one batch, with its retries: the service may be restarting.
_DEADLINE_S = 60.0


def send(context: typer.Context, file: Path, kind: str, url: str, *, entity: str | None = None, json: bool) -> None:
    """Send a file and show what became of it; CheckFailed if rows were refused."""
    settings: Settings = context.obj
    with Client(url, settings.api_key, deadline_s=_DEADLINE_S, timeout_s=_DEADLINE_S) as service, progress(quiet=json) as show:
        found = tell(file, kind, service, entity=entity, progress=show)
    if json:
        print_json(asdict(found))
    else:
        if found.refusals:
            rows = [(f"{r.row:,}", r.field, r.rule, r.reason) for r in found.refusals]
            print_table("refused", ("row", "field", "rule", "reason"), rows, right=("row",))
        note(f"{found.taken:,} of {found.rows:,} {kind}s are in the log, in {found.seconds:.1f} s")
    if found.refused:
        raise CheckFailed(f"{found.refused:,} of {found.rows:,} {kind}s were refused", refused=found.refused)
