"""`fraudloop evaluate`: prints what `fraudloop.pipelines.evaluate` measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import JsonOutput, Segments, names_of
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.cli.score import Decline, Review, given_policy
from fraudloop.cli.train import SETS, show_segments
from fraudloop.pipelines.evaluate import evaluate_file
from fraudloop.reports.tables import metric_rows
from fraudloop.settings import Settings
from fraudloop.training.config import TrainConfig


def command(
    context: typer.Context,
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="A score file: transaction_id and fraud_score, CSV or Parquet.")],
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="MAP", help="Column map of the data; by default the one it was scored with.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FILE", help="Transactions and labels; by default the file that was scored.")
    ] = None,
    train: Annotated[
        str | None, typer.Option("--train", metavar="A..B", help="Training days: cards compromised since then count as known.")
    ] = None,
    label_delay: Annotated[str | None, typer.Option("--label-delay", metavar="DURATION", help="How long labels take to arrive.")] = None,
    review: Review = None,
    decline: Decline = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="TOML", help="Costs, review budget.")] = None,
    intervals: Annotated[
        int | None, typer.Option("--intervals", metavar="N", help="Bootstrap rounds for 95 % intervals of the metrics; 0 for none.")
    ] = None,
    segments: Segments = None,
    plots: Annotated[Path | None, typer.Option("--plots", metavar="DIR", help="Draw the plots into this folder.")] = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    json: JsonOutput = False,
) -> None:
    """Hold scores against what became known: ranking, review budget, thresholds, money, calibration."""
    settings: Settings = context.obj
    chosen = TrainConfig() if config is None else TrainConfig.load(config)
    if intervals is not None:
        chosen = replace(chosen, bootstrap=intervals)
    if segments is not None:
        chosen = replace(chosen, segments=names_of(segments))
    with progress(quiet=json) as show:
        done = evaluate_file(
            scores, columns=columns, data=data, train_days=train, label_delay=label_delay, policy=given_policy(review, decline), config=chosen,
            plots=plots, labels=labels, settings=settings, progress=show,
        )  # fmt: skip
    if json:
        print_json(
            {"period": done.period, "thresholds": done.thresholds, "metrics": done.metrics, "segments": done.segments, "plots": done.plots}
        )
        return
    rows = metric_rows([done.metrics[name] for name in SETS], settings.base_currency)
    print_table(f"{scores.name}: {done.period}", ("metric", *SETS.values()), rows, right=tuple(SETS.values()))
    show_segments(done.segments)
    if done.plots and plots is not None:
        note(f"plots in {plots}")
