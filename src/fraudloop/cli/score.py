"""`fraudloop score`: prints what `fraudloop.pipelines.score` did."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import Columns, InputFile, JsonOutput, OutputFile
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.decisions.policy import Policy
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError
from fraudloop.pipelines.score import score_file
from fraudloop.settings import Settings

Review = Annotated[float | None, typer.Option("--review", metavar="SCORE", help="Review above this score; with --decline.")]
Decline = Annotated[float | None, typer.Option("--decline", metavar="SCORE", help="Decline above this score; with --review.")]


def command(
    context: typer.Context,
    file: InputFile,
    out: OutputFile,
    columns: Columns = "native",
    model: Annotated[
        str, typer.Option("--model", metavar="DIR|NAME@ALIAS", help="The folder of a bundle, or one of the store, like payments@champion.")
    ] = "model",
    period: Annotated[
        str | None, typer.Option("--period", metavar="A..B", help="Score these days only; all earlier ones still count as history.")
    ] = None,
    review: Review = None,
    decline: Decline = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    profiles: Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers in a file apart.")] = None,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", metavar="SHARE", help="Stop if more rows are bad than this share.")
    ] = DEFAULT_MAX_REJECTED,
    json: JsonOutput = False,
) -> None:
    """Score the transactions of a file: writes transaction_id, fraud_score and decision (.parquet or .csv)."""
    settings: Settings = context.obj
    with progress(quiet=json) as show:
        done = score_file(
            file, out, model=model, columns=columns, period=period, policy=given_policy(review, decline), labels=labels, profiles=profiles,
            max_rejected=max_rejected, settings=settings, progress=show,
        )  # fmt: skip
    if json:
        print_json(
            {
                "out": str(out),
                "bundle": done.bundle,
                "transactions": done.scores.height,
                "decisions": done.outcomes,
                "policy": done.policy.to_dict(),
            }
        )
        return
    total = done.scores.height
    rows = [
        (o.text, done.outcomes.get(o.text, 0), f"{100 * done.outcomes.get(o.text, 0) / total:.2f} %")
        for o in Outcome
        if o.text in done.outcomes
    ]
    title = f"{total:,} transactions scored: review above {done.policy.review:.4f}, decline above {done.policy.decline:.4f}"
    print_table(title, ("decision", "transactions", "share"), rows, right=("transactions", "share"))
    note(f"scores in {out}")


def given_policy(review: float | None, decline: float | None) -> Policy | None:
    """The tiers of the command line, if given."""
    if review is None and decline is None:
        return None
    if review is None or decline is None:
        raise InputError("--review and --decline are given together")
    return Policy(decline, review)
