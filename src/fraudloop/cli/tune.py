"""`fraudloop tune`: prints what `fraudloop.pipelines.tune` found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import Columns, Features, InputFile, JsonOutput, OutputFolder, Seed
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.pipelines.past import DEFAULT_LABEL_DELAY, Source
from fraudloop.pipelines.tune import tune_file
from fraudloop.reports.tuning import study_rows
from fraudloop.settings import Settings
from fraudloop.training.config import TrainConfig
from fraudloop.training.day_bootstrap import METRICS
from fraudloop.training.tuning import TRIALS


def command(
    context: typer.Context,
    file: InputFile,
    algorithm: Annotated[str, typer.Option("--algorithm", metavar="NAME", help="The algorithm whose parameters are searched.")],
    out: OutputFolder = Path("tuning"),
    columns: Columns = "native",
    features: Features = None,
    train: Annotated[str | None, typer.Option("--train", metavar="A..B", help="Training days, both included, in the map's zone.")] = None,
    test: Annotated[str | None, typer.Option("--test", metavar="A..B", help="Test days, which nothing here looks at.")] = None,
    label_delay: Annotated[
        str, typer.Option("--label-delay", metavar="DURATION", help="How long labels take to arrive.")
    ] = DEFAULT_LABEL_DELAY,
    trials: Annotated[int, typer.Option("--trials", metavar="N", help="Finished trials that the study shall hold.")] = TRIALS,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="DURATION", help="Time after which no further fold is begun, like 10m.")
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="FILE", help="The SQLite file that keeps every trial; study.db in the folder by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study that is there.")] = False,
    space: Annotated[Path | None, typer.Option("--space", metavar="TOML", help="Another search space than the shipped one.")] = None,
    metric: Annotated[
        str, typer.Option("--metric", help="average_precision, auc_roc, card_precision_100 or recall_at_90_precision.")
    ] = METRICS[0],
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="TOML", help="As for train; its parameters are the first trial, and stay where not searched."),
    ] = None,
    seed: Seed | None = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    profiles: Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers in a file apart.")] = None,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", metavar="SHARE", help="Stop if more rows are bad than this share.")
    ] = DEFAULT_MAX_REJECTED,
    json: JsonOutput = False,
) -> None:
    """Search an algorithm's hyperparameters on folds of past days; the test days are never looked at.

    Trials that do worse than the median are stopped after a fold. Every finished trial is kept in the study file at once:
    a search that was killed goes on with --resume as if it had not been. The folder gets tuned.toml, which train --config
    reads, tuning.json and plots.
    """
    settings: Settings = context.obj
    chosen = TrainConfig() if config is None else TrainConfig.load(config)
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    source = Source(file, columns, features, train, test, label_delay, labels, profiles, max_rejected)
    with progress(quiet=json) as show:
        tuned = tune_file(
            source, out, algorithm, trials=trials, budget=budget, study=study, resume=resume, space=space, metric=metric, config=chosen, settings=settings,
            progress=show,
        )  # fmt: skip
    report = tuned.to_dict()
    if json:
        print_json({**report, "path": str(out)})
        return
    print_table(
        f"{algorithm}: {metric} {tuned.default.value:.4f} → {tuned.best.value:.4f} on the validation folds",
        ("parameter", "before", "best", "matters"),
        study_rows(report),
        right=("before", "best", "matters"),
    )
    pruned = sum(trial.state != "complete" for trial in tuned.trials)
    note(f"{len(tuned.trials)} trials ({tuned.before} of them from before, {pruned} pruned), ended by {tuned.stopped}")
    note(f"next: fraudloop train {file} --config {out / 'tuned.toml'}; plots in {out}")
