"""`fraudloop features`: prints what `fraudloop.pipelines.features` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import Columns, Features, InputFile, JsonOutput, OutputFile
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.pipelines.features import features_file
from fraudloop.settings import Settings


def command(
    context: typer.Context,
    file: InputFile,
    out: OutputFile,
    columns: Columns = "native",
    features: Features = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    profiles: Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers in a file apart.")] = None,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", metavar="SHARE", help="Stop if more rows are bad than this share.")
    ] = DEFAULT_MAX_REJECTED,
    json: JsonOutput = False,
) -> None:
    """Exact point-in-time features of every transaction of a file, as the service would have seen them (.parquet or .csv)."""
    settings: Settings = context.obj
    with progress(quiet=json) as show:
        done = features_file(
            file, out, columns, features, settings=settings, labels=labels, profiles=profiles, max_rejected=max_rejected, progress=show
        )
    if json:
        print_json({"out": str(out), "rows": done.rows, "features": done.features, "counts": done.counts, "digest": done.digest})
        return
    counts = done.counts
    rows = [
        ("transactions", counts["transactions"]),
        ("too late for their windows", counts["too_late"]),
        ("too early for their windows", counts["too_early"]),
        ("labels", counts["labels"]),
        ("profiles", counts["profiles"]),
        ("features", len(done.features)),
    ]
    print_table(f"features of {file}", ("what", "how many"), rows, right=("how many",))
    note(f"written to {out}; digest of the state after the last row: {done.digest}")
