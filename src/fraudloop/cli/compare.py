"""`fraudloop compare`: prints what `fraudloop.pipelines.compare` measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloop.cli.options import Columns, Features, InputFile, JsonOutput, Seed
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.pipelines.compare import compare_file
from fraudloop.pipelines.past import DEFAULT_LABEL_DELAY, Source
from fraudloop.reports.comparison import comparison_columns, comparison_rows
from fraudloop.settings import Settings
from fraudloop.training.config import TrainConfig
from fraudloop.training.day_bootstrap import METRICS
from fraudloop.training.imbalance import STRATEGIES


def command(
    context: typer.Context,
    file: InputFile,
    columns: Columns = "native",
    features: Features = None,
    train: Annotated[str | None, typer.Option("--train", metavar="A..B", help="Training days, both included, in the map's zone.")] = None,
    test: Annotated[str | None, typer.Option("--test", metavar="A..B", help="Test days, which nothing here looks at.")] = None,
    label_delay: Annotated[
        str, typer.Option("--label-delay", metavar="DURATION", help="How long labels take to arrive.")
    ] = DEFAULT_LABEL_DELAY,
    algorithms: Annotated[str | None, typer.Option("--algorithms", metavar="NAMES", help="Which, with commas; all by default.")] = None,
    strategies: Annotated[
        str | None,
        typer.Option("--strategies", metavar="NAMES", help="none, class_weights, smote, undersample, smote_undersample; all by default."),
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", help="average_precision, auc_roc, card_precision_100 or recall_at_90_precision.")
    ] = METRICS[0],
    config: Annotated[Path | None, typer.Option("--config", metavar="TOML", help="As for train: hyperparameters, folds and more.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="A folder for the table as JSON and CSV, and a plot.")] = None,
    seed: Seed | None = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    profiles: Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers in a file apart.")] = None,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", metavar="SHARE", help="Stop if more rows are bad than this share.")
    ] = DEFAULT_MAX_REJECTED,
    json: JsonOutput = False,
) -> None:
    """Compare algorithms and strategies against imbalance on folds of past days, with intervals and paired differences.

    The folds are those that train would choose on; training rows alone are resampled. Intervals draw the validation days
    anew, so they say what other days would have changed, not what another training would.
    """
    settings: Settings = context.obj
    chosen = TrainConfig() if config is None else TrainConfig.load(config)
    given: dict[str, Any] = {}
    if algorithms is not None:
        given["algorithms"] = _names(algorithms)
    if seed is not None:
        given["seed"] = seed
    source = Source(file, columns, features, train, test, label_delay, labels, profiles, max_rejected)
    with progress(quiet=json) as show:
        result = compare_file(
            source, out, config=replace(chosen, **given), strategies=STRATEGIES if strategies is None else _names(strategies), metric=metric,
            settings=settings, progress=show,
        )  # fmt: skip
    report = result.to_dict()
    if json:
        print_json(report)
        return
    heads = comparison_columns(metric)
    print_table(f"{len(result.folds)} validation folds, {report['intervals']}", heads, comparison_rows(report), right=heads[2:])
    if out is not None:
        note(f"compare.json, compare.csv and compare.png in {out}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
