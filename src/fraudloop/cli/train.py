"""`fraudloop train`: prints what `fraudloop.pipelines.train` made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloop.cli.options import Artifacts, Columns, Features, InputFile, JsonOutput, OutputFolder, Seed, Segments, Track, names_of
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.pipelines.store import keep_candidate
from fraudloop.pipelines.tracking import tracking_of
from fraudloop.pipelines.train import DEFAULT_LABEL_DELAY, Trained, train_file
from fraudloop.reports.tables import SEGMENT_HEADS, algorithm_rows, metric_rows, segment_rows
from fraudloop.settings import Settings
from fraudloop.training.algorithms import ALGORITHMS
from fraudloop.training.config import TrainConfig

#: How the two evaluated sets are headed.
SETS = {"all": "all transactions", "without_known_compromised": "known compromised cards left out"}


def command(
    context: typer.Context,
    file: InputFile,
    out: OutputFolder = Path("model"),
    columns: Columns = "native",
    features: Features = None,
    train: Annotated[str | None, typer.Option("--train", metavar="A..B", help="Training days, both included, in the map's zone.")] = None,
    label_delay: Annotated[
        str, typer.Option("--label-delay", metavar="DURATION", help="How long labels take to arrive.")
    ] = DEFAULT_LABEL_DELAY,
    test: Annotated[str | None, typer.Option("--test", metavar="A..B", help="Test days, both included.")] = None,
    algorithms: Annotated[
        str | None,
        typer.Option("--algorithms", metavar="NAMES", help=f"{', '.join(ALGORITHMS)}; by default {', '.join(TrainConfig().algorithms)}."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="TOML", help="Hyperparameters, costs, review budget and more.")] = None,
    seed: Seed | None = None,
    intervals: Annotated[
        int | None, typer.Option("--intervals", metavar="N", help="Bootstrap rounds for 95 % intervals of the metrics; 0 for none.")
    ] = None,
    segments: Segments = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Put the bundle into the store too, as NAME@candidate; `payments` is usual."),
    ] = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    profiles: Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers in a file apart.")] = None,
    max_rejected: Annotated[
        float, typer.Option("--max-rejected", metavar="SHARE", help="Stop if more rows are bad than this share.")
    ] = DEFAULT_MAX_REJECTED,
    track: Track = None,
    artifacts: Artifacts = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", metavar="NAME", help="The experiment that the run is filed under.")
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Train a fraud model from a table of past transactions and store it as a bundle of data.

    Algorithms, rounds, calibration and thresholds are chosen on days before the test days. Without --train and --test
    the last fifth of the days tests, the label delay before it waits, the rest trains.
    """
    settings: Settings = context.obj
    chosen = TrainConfig() if config is None else TrainConfig.load(config)
    given: dict[str, Any] = {}
    if algorithms is not None:
        given["algorithms"] = names_of(algorithms)
    if seed is not None:
        given["seed"] = seed
    if intervals is not None:
        given["bootstrap"] = intervals
    if segments is not None:
        given["segments"] = names_of(segments)
    tracking = tracking_of(track, settings, artifacts=artifacts, experiment=experiment)
    with progress(quiet=json) as show:
        done = train_file(
            file, out, columns=columns, features=features, train_days=train, test_days=test, label_delay=label_delay,
            config=replace(chosen, **given), labels=labels, profiles=profiles, max_rejected=max_rejected, settings=settings, tracking=tracking, progress=show,
        )  # fmt: skip
    kept = None
    if name is not None:
        kept = keep_candidate(done.bundle, settings, name=name, who="train", why=f"trained on {done.report['training']['period']}")
    if json:
        candidate = {} if kept is None else {"candidate": kept}
        print_json(
            {"bundle": done.bundle.hash, **candidate, "content": done.bundle.content, "path": str(out), "run": done.run, **done.report}
        )
    else:
        _show(done, out, settings.base_currency)
        if kept is not None:
            note(f"{name}@candidate names {kept[:12]}; `fraudloop models gate FILE --name {name}` judges it")


def show_segments(report: Mapping[str, Any]) -> None:
    """The widest gaps by column; nothing where no column makes segments."""
    rows = segment_rows(report)
    if rows:
        print_table(
            f"Segments: the widest gap between values, against what chance alone makes; {report['method']['comparisons']} gaps looked at (Holm)",
            SEGMENT_HEADS, rows, right=("gap", "95 %", "chance"),
        )  # fmt: skip


def _show(done: Trained, out: Path, currency: str) -> None:
    report = done.report
    training, test = report["training"], report["test"]
    for warning in report["warnings"]:
        note(f"warning: {warning}")
    print_table(
        f"Algorithms: chosen by average precision on {len(report['validation']['folds'])} validation fold(s) before the test days",
        ("algorithm", "chosen", "AP validation", "rounds", "AP test", "AUC-ROC test", "Card Precision@100 test"),
        algorithm_rows(report["validation"], report["algorithms"]),
        right=("AP validation", "rounds", "AP test", "AUC-ROC test", "Card Precision@100 test"),
    )
    print_table(
        f"Test {test['period']}, trained on {training['period']} ({training['transactions']:,} transactions, {training['frauds']:,} known frauds)",
        ("metric", *SETS.values()),
        metric_rows([test[name] for name in SETS], currency),
        right=tuple(SETS.values()),
    )
    show_segments(report["segments"])
    note(f"bundle {done.bundle.hash[:12]} in {out}; plots in {out / 'report'}")
    if done.run is not None:
        note(f"run {done.run}; `fraudloop models reproduce {done.run}` trains it again")
