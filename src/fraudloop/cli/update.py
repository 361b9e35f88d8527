"""`fraudloop update`: prints what `fraudloop.pipelines.update` made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import Columns, InputFile, JsonOutput, OutputFolder
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.pipelines.update import update_file
from fraudloop.settings import Settings
from fraudloop.training.incremental import UpdateConfig

_DEFAULT = UpdateConfig()


def command(
    context: typer.Context,
    file: InputFile,
    model: Annotated[Path, typer.Option("--model", metavar="DIR", help="The bundle to bring up to date; it stays as it is.")] = Path(
        "model"
    ),
    out: OutputFolder = Path("model-updated"),
    columns: Columns = "native",
    until: Annotated[
        str | None, typer.Option("--until", metavar="DAY", help="Last day to learn from; by default the last whose labels are in.")
    ] = None,
    label_delay: Annotated[
        str | None, typer.Option("--label-delay", metavar="DURATION", help="How long labels take; by default as in training.")
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", help="Trees that each booster gains.")] = _DEFAULT.rounds,
    epochs: Annotated[int, typer.Option("--epochs", help="Epochs that each network trains on.")] = _DEFAULT.epochs,
    replay_days: Annotated[
        int, typer.Option("--replay-days", help="Days before the new ones, learned again beside them.")
    ] = _DEFAULT.replay_days,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    profiles: Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers in a file apart.")] = None,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", metavar="SHARE", help="Stop if more rows are bad than this share.")
    ] = DEFAULT_MAX_REJECTED,
    json: JsonOutput = False,
) -> None:
    """Let a model learn a little from the days whose labels have come in since it was trained, and store it as a new bundle.

    Boosted trees gain a few trees, a network trains on, a logistic regression moves its weights. Columns, calibration and
    thresholds stay; train anew now and then.
    """
    settings: Settings = context.obj
    config = UpdateConfig(rounds=rounds, epochs=epochs, replay_days=replay_days)
    with progress(quiet=json) as show:
        done = update_file(
            model, file, out, columns=columns, until=until, label_delay=label_delay, config=config, labels=labels, profiles=profiles,
            max_rejected=max_rejected, settings=settings, progress=show,
        )  # fmt: skip
    report = done.report
    if json:
        print_json({"bundle": done.bundle.hash, "content": done.bundle.content, "path": str(out), **report})
        return
    before = report["average_precision_before"]
    print_table(
        f"Learned {report['since']}..{report['until']}",
        ("what", "figure"),
        [
            ("transactions", f"{report['transactions']:,}"),
            ("known frauds", f"{report['frauds']:,}"),
            ("replayed transactions", f"{report['replayed']:,}"),
            ("average precision on these days before learning them", f"{before:.4f}" if before == before else "–"),
            ("updates since training", report["updates"]),
        ],
        right=("figure",),
    )
    if report["kept_as_they_were"]:
        note(f"not updated (train again for these): {', '.join(report['kept_as_they_were'])}")
    note(f"bundle {done.bundle.hash[:12]} in {out}, made from {report['parent'][:12]}")
