"""`update`: a bundle that learned from newly matured days, and names the one it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from fraudloop.clock import Clock, SystemClock
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.domain.definitions import parse_duration_us
from fraudloop.errors import InputError
from fraudloop.limits import DAY_US
from fraudloop.pipelines.data import column_map
from fraudloop.pipelines.features import fold_file
from fraudloop.pipelines.train import extent, origin
from fraudloop.scoring.bundle import Bundle
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.config import TrainConfig
from fraudloop.training.datasets import file_hash
from fraudloop.training.folds import Dataset
from fraudloop.training.incremental import UpdateConfig, update


@dataclass(frozen=True, slots=True)
class UpdateRun:
    """The stored bundle, and what it learned from."""

    bundle: Bundle
    report: dict[str, Any]


def update_file(
    model: Path,
    path: Path,
    out: Path,
    *,
    columns: str | Path = "native",
    until: str | None = None,
    label_delay: str | None = None,
    config: UpdateConfig | None = None,
    labels: Path | None = None,
    profiles: Path | None = None,
    max_rejected: float = DEFAULT_MAX_REJECTED,
    settings: Settings | None = None,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> UpdateRun:
    """Fold the whole file with the bundle's features, learn from the days since the bundle last learned, and store it.

    until: the last day to learn from, `YYYY-MM-DD` in the map's zone; by default the last whose labels are in.
    label_delay: by default that of the bundle's training. InputError or BundleError says what cannot be used.
    """
    settings, config = settings or Settings(), config or UpdateConfig()
    parent = Bundle.load(model)
    zone = column_map(columns, settings).shape.zone
    days = parent.metrics.get("training", {}).get("label_delay_days")
    if label_delay is None and not isinstance(days, int | float):
        raise InputError("the bundle does not say its label delay; give --label-delay")
    delay_us = round(days * DAY_US) if label_delay is None else parse_duration_us(label_delay, "--label-delay")
    try:
        last = None if until is None else date.fromisoformat(until)
    except ValueError as error:
        raise InputError(f"--until: {until!r} is not a day; write it like 2018-08-07") from error
    folded = fold_file(
        path, columns, parent.features, settings=settings, labels=labels, profiles=profiles, max_rejected=max_rejected, progress=progress
    )  # fmt: skip
    data = Dataset.of(folded.table, parent.features.names, delay_us, zone, parent.model().words, folded.labels)
    files = {"transactions": path, "labels": labels, "profiles": profiles}
    about = origin(
        {
            "files": {kind: {"name": Path(file).name, "sha256": file_hash(file)} for kind, file in files.items() if file is not None},
            "columns": str(columns), "zone": zone, "currency": folded.report["base_currency"], **extent(folded.table),
        },
        replace(TrainConfig(), seed=config.seed),
        clock or SystemClock(),
    )  # fmt: skip
    done = update(parent, data, config, until=last, origin=about, progress=progress)
    return UpdateRun(done.bundle.save(out), done.report)
