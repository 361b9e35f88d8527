"""`score`: transactions of a file scored by a bundle, with the same fold, preprocessing and scorers as in service."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.data.ingest import DEFAULT_MAX_REJECTED, check_writable
from fraudloop.decisions.policy import Policy
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError
from fraudloop.pipelines.data import column_map
from fraudloop.pipelines.features import fold_file
from fraudloop.pipelines.store import bundle_of
from fraudloop.scoring.model import Model
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.splits import Period, day_of_us
from fraudloop.training.table import inputs_of, times_us

#: The key in a Parquet score file's metadata that says where the scores come from.
METADATA_KEY: Final = "fraudloop"

#: Rows scored at once, so that memory follows the batch and not the file.
_BATCH_ROWS = 65_536

_SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True, slots=True)
class ScoreRun:
    """scores: transaction_id, fraud_score, decision. outcomes: how many of each. policy: the tiers used."""

    scores: pl.DataFrame
    outcomes: dict[str, int]
    policy: Policy
    bundle: str


def score_file(
    path: Path,
    out: Path,
    *,
    model: str | Path,
    columns: str | Path = "native",
    period: str | None = None,
    policy: Policy | None = None,
    labels: Path | None = None,
    profiles: Path | None = None,
    max_rejected: float = DEFAULT_MAX_REJECTED,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> ScoreRun:
    """Fold the whole file, score the days of `period` (`A..B`; None: all) and write `out` (.parquet or .csv).

    model: the folder of a bundle, or a reference to the store (`payments@champion`).
    policy: tiers in force; None takes those the bundle suggests. labels, profiles: files apart. InputError or BundleError says what cannot be used.
    """
    out = Path(out)
    if out.suffix not in _SUFFIXES:
        raise InputError(f"--out {out}: the name must end in .parquet or .csv")
    days = None if period is None else Period.parse(period, "--period")
    settings = settings or Settings()
    bundle = bundle_of(model, settings)
    scorer = bundle.model()
    tiers = policy or Policy.from_dict(bundle.thresholds)
    zone = column_map(columns, settings).shape.zone
    check_writable(out)
    table = fold_file(
        path, columns, bundle.features, settings=settings, labels=labels, profiles=profiles, max_rejected=max_rejected, progress=progress
    ).table
    if days is not None:
        table = in_period(table, days, zone)
    score = scores_of(table, scorer, progress)
    names = np.array([outcome.text for outcome in Outcome])
    decisions = names[tiers.tiers(score)]
    scores = pl.DataFrame(
        {"transaction_id": table["transaction_id"], "fraud_score": score, "decision": pl.Series(decisions.tolist(), dtype=pl.String)}
    )
    about = {
        "data": str(Path(path).absolute()), "labels": None if labels is None else str(Path(labels).absolute()), "columns": str(columns), "bundle": bundle.hash, "policy": tiers.to_dict(),
        "period": period, "train": bundle.metrics.get("training", {}).get("period"), "label_delay_days": bundle.metrics.get("training", {}).get("label_delay_days"),
    }  # fmt: skip
    write_scores(scores, out, about)
    return ScoreRun(scores, dict(Counter(decisions.tolist())), tiers, bundle.hash)


def in_period(table: pl.DataFrame, days: Period, zone: str) -> pl.DataFrame:
    """The transactions of whole days; InputError if there is none."""
    begin, end = days.bounds_us(zone)
    times = times_us(table)
    rows = np.flatnonzero((times >= begin) & (times < end))
    if not len(rows):
        known = (day_of_us(int(times.min()), zone), day_of_us(int(times.max()), zone)) if len(times) else ("nothing", "nothing")
        raise InputError(f"--period {days}: no transactions on these days; the file goes from {known[0]} to {known[1]}")
    return table[rows]


def scores_of(table: pl.DataFrame, model: Model, progress: Progress = silent) -> NDArray[np.float64]:
    """fraud_score of every row of a feature table, float64 [n]. InputError names the columns that the model lacks."""
    lacking = [name for name in (*model.numbers, *model.words) if name not in table.columns]
    if lacking:
        raise InputError(
            f"the table lacks {len(lacking)} columns that the model reads: {', '.join(lacking[:8])}; map them, or train without them"
        )
    out = np.empty(table.height)
    for start in range(0, table.height, _BATCH_ROWS):
        progress("scoring", start, table.height)
        part = table[start : start + _BATCH_ROWS]
        out[start : start + part.height] = model.score(inputs_of(part, model.numbers, model.words))
    progress("scoring", table.height, table.height)
    return out


def write_scores(scores: pl.DataFrame, out: Path, about: Mapping[str, Any]) -> None:
    """Write beside `out` and rename, so that no reader sees half a file."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
        os.close(handle)
        fresh = Path(name)
        try:
            if out.suffix == ".csv":
                scores.write_csv(fresh)
            else:
                scores.write_parquet(fresh, metadata={METADATA_KEY: json.dumps(about)})
            fresh.chmod(0o644)
            fresh.replace(out)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
