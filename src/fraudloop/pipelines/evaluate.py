"""`evaluate`: scores joined with what became known about the transactions, as metrics and plots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from fraudloop.data.ingest import read
from fraudloop.decisions.policy import Policy
from fraudloop.domain.definitions import parse_duration_us
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError
from fraudloop.limits import DAY_US
from fraudloop.pipelines.data import column_map, resources
from fraudloop.pipelines.features import labels_in_force
from fraudloop.pipelines.score import METADATA_KEY
from fraudloop.pipelines.train import plot_data
from fraudloop.reports.plots import draw_all
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.config import TrainConfig
from fraudloop.training.folds import Dataset
from fraudloop.training.metrics import Scored, evaluate, intervals
from fraudloop.training.segments import segment_columns, segment_report
from fraudloop.training.splits import Period
from fraudloop.training.thresholds import cost_curve


@dataclass(frozen=True, slots=True)
class Evaluation:
    """metrics: by set of transactions (`all`, `without_known_compromised`). thresholds: the tiers evaluated. period: days scored.
    segments: as `training.segments.segment_report` gives them, of the set that models are judged on."""

    metrics: dict[str, Any]
    thresholds: dict[str, float | None]
    period: str
    plots: list[str]
    segments: dict[str, Any]


def evaluate_file(
    scores: Path,
    *,
    columns: str | Path | None = None,
    data: Path | None = None,
    train_days: str | None = None,
    label_delay: str | None = None,
    policy: Policy | None = None,
    config: TrainConfig | None = None,
    plots: Path | None = None,
    labels: Path | None = None,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Metrics of a score file (`transaction_id`, `fraud_score`, and `decision` where there is one).

    data: the transactions with their labels, read by the column map. Without it, the file that a Parquet score file
    says it was made from; or the score file itself where it holds the transactions too. train_days: frauds before
    the first of them do not make a card known as compromised. labels: a file apart. policy: tiers; None takes those of the score file.
    InputError: scores without their transactions, twice, or out of [0, 1].
    """
    config = config or TrainConfig()
    table, about = _read_scores(Path(scores))
    source = data or (Path(about["data"]) if about.get("data") else Path(scores))
    if not source.exists():
        raise InputError(f"{source}: the data these scores were made from is not there; give it with --data")
    columns = columns or about.get("columns") or "native"
    settings = settings or Settings()
    if labels is None and data is None and about.get("labels"):
        labels = Path(about["labels"])
    mapped = column_map(columns, settings, config.segments or ())
    found = read(source, mapped, labels=labels, resources=resources(mapped, settings), progress=progress)
    if not found.labels.height:
        raise InputError(f"{source}: no labels, so there is nothing to evaluate by; map a label column, or give a label file with --labels")
    truth = found.transactions.join(labels_in_force(found.labels), on="transaction_id", how="left", maintain_order="left")
    delay_us = parse_duration_us(label_delay, "--label-delay") if label_delay else int(float(about.get("label_delay_days") or 7.0) * DAY_US)
    everything = Dataset.of(truth, (), delay_us, mapped.shape.zone, (), found.labels)
    rows, score = _join(table, truth, str(source))
    tiers = policy or _policy(about, table)
    test = everything.scored(rows, score, everything.truth.fraud[rows])
    days = truth["timestamp"][rows]
    train_text = train_days or about.get("train")
    begin = Period.parse(train_text, "--train") if train_text else _from_start(everything)
    kept = np.isin(rows, everything.without_known_compromised(rows, begin))
    metrics = {}
    for name, part in (("all", test), ("without_known_compromised", test[kept])):
        metrics[name] = evaluate(part, tiers.review, tiers.decline, config.costs, config.budget)
        if config.bootstrap:
            metrics[name]["intervals_95"] = intervals(
                part, tiers.review, tiers.decline, config.costs, config.budget, rounds=config.bootstrap, seed=config.seed
            )
    judged = np.flatnonzero(kept) if config.exclude_known_compromised else np.arange(len(rows))
    groups = segment_columns(truth[rows[judged]], config.segments)
    segments = segment_report(test[judged], groups, tiers, seed=config.seed)
    period = f"{_day(days.min())}..{_day(days.max())}"
    drawn = _draw(test, metrics["all"], config, settings.base_currency, period, plots) if plots else []
    return Evaluation(metrics, tiers.to_dict(), period, drawn, segments)


def _draw(test: Scored, measured: Mapping[str, Any], config: TrainConfig, currency: str, period: str, folder: Path) -> list[str]:
    costs = cost_curve(test.y, test.score, test.amount, config.costs)
    pictures = draw_all(plot_data(test, measured, costs, [], config.costs, currency, period))
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            (Path(folder) / name).write_bytes(picture)
    except OSError as error:
        raise InputError(f"--plots {folder}: cannot be written ({error.strerror})") from error
    return [str(Path(folder) / name) for name in pictures]


def _read_scores(path: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    about: dict[str, Any] = {}
    try:
        if path.suffix == ".csv":
            table = pl.read_csv(path, schema_overrides={"transaction_id": pl.String})
        else:
            table = pl.read_parquet(path)
            about = json.loads(pl.read_parquet_metadata(path).get(METADATA_KEY, "{}"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(f"{path}: not a table of scores in Parquet or CSV ({error})") from error
    for name in ("transaction_id", "fraud_score"):
        if name not in table.columns:
            raise InputError(f"{path}: has no column {name!r}; a score file holds transaction_id and fraud_score")
    table = table.with_columns(pl.col("transaction_id").cast(pl.String), pl.col("fraud_score").cast(pl.Float64, strict=False))
    score = table["fraud_score"]
    if table.height == 0:
        raise InputError(f"{path}: holds no scores")
    if score.null_count() or score.is_nan().any() or float(score.min() or 0) < 0 or float(score.max() or 0) > 1:  # type: ignore[arg-type]
        raise InputError(f"{path}: fraud_score must be a number from 0 to 1 in every row")
    if table["transaction_id"].n_unique() != table.height:
        raise InputError(f"{path}: {table.height - table['transaction_id'].n_unique():,} transactions are scored twice")
    return table, about


def _join(
    scores: pl.DataFrame, truth: pl.DataFrame, source: str
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Row numbers in the transactions, rising, and the scores in that order."""
    numbered = truth.select("transaction_id").with_row_index("row")
    joined = scores.select("transaction_id", "fraud_score").join(numbered, on="transaction_id", how="left")
    lost = int(joined["row"].null_count())
    if lost:
        raise InputError(f"{lost:,} of {scores.height:,} scored transactions are not in {source}; give the file they come from with --data")
    joined = joined.sort("row")
    return joined["row"].cast(pl.Int64).to_numpy(), joined["fraud_score"].to_numpy()


def _policy(about: Mapping[str, Any], scores: pl.DataFrame) -> Policy:
    """The tiers that the score file says, else those its decisions show, else the default ones."""
    if about.get("policy"):
        return Policy.from_dict(about["policy"])
    if "decision" not in scores.columns:
        return Policy()
    levels = [Outcome.from_text(str(word)) for word in scores["decision"].to_list()]
    table = scores.with_columns(pl.Series("level", [int(level) for level in levels]))

    def above(outcome: Outcome, otherwise: float) -> float:
        below = table.filter(pl.col("level") < int(outcome))["fraud_score"].max()
        return float(below) if isinstance(below, float) and below < otherwise else otherwise

    decline = above(Outcome.DECLINE, 1.0)
    return Policy(decline, min(decline, above(Outcome.REVIEW, decline)))


def _from_start(data: Dataset) -> Period:
    first, last = (np.datetime64("1970-01-01") + int(day) for day in (data.day.min(), data.day.max()))
    return Period(first.astype(object), last.astype(object))


def _day(moment: object) -> str:
    return str(moment)[:10]
