"""`train`: from a table of past transactions to a bundle with its report and plots."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

import fraudloop
from fraudloop.clock import Clock, SystemClock
from fraudloop.data.columns import ColumnMap
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.domain.definitions import FeatureSet, parse_duration_us
from fraudloop.errors import InputError
from fraudloop.pipelines.data import column_map
from fraudloop.pipelines.features import features_of, fold_file
from fraudloop.pipelines.tracking import Inputs, keep_inputs, write_run
from fraudloop.reports.plots import PlotData, draw_all
from fraudloop.scoring.bundle import Bundle
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.config import TrainConfig
from fraudloop.training.datasets import Manifest, file_hash
from fraudloop.training.metrics import CostMatrix, Scored, curve
from fraudloop.training.splits import Period
from fraudloop.training.tracking import Tracker, Tracking
from fraudloop.training.train import TrainResult, train

DEFAULT_LABEL_DELAY: Final = "7d"

_PACKAGES = ("fraudloop", "numpy", "scipy", "polars", "scikit-learn", "xgboost-cpu", "lightgbm", "onnxruntime", "imbalanced-learn")


@dataclass(frozen=True, slots=True)
class Trained:
    """The stored bundle, the report of its metrics.json, and the id of its run where it was tracked."""

    bundle: Bundle
    report: dict[str, Any]
    run: str | None = None


def train_file(
    path: Path,
    out: Path,
    *,
    columns: str | Path | ColumnMap = "native",
    features: str | Path | FeatureSet | None = None,
    train_days: str | None = None,
    test_days: str | None = None,
    label_delay: str = DEFAULT_LABEL_DELAY,
    config: TrainConfig | None = None,
    labels: Path | None = None,
    profiles: Path | None = None,
    max_rejected: float = DEFAULT_MAX_REJECTED,
    settings: Settings | None = None,
    tracking: Tracking | None = None,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> Trained:
    """Read, fold, train, evaluate, plot and store. `train_days`, `test_days`: `A..B`, whole days in the map's zone.
    labels, profiles: files apart, instead of those the map names. The bundle keeps only the features its model reads.
    tracking: where the rows are kept before the work and the run is written after the bundle is stored; None: nowhere.

    InputError (and its kinds) says what in the file, the map, the periods or the configuration cannot be used;
    TrackingError whether anything was trained, and that its bundle is saved.
    """
    settings, config = settings or Settings(), config or TrainConfig()
    zone = column_map(columns, settings).shape.zone
    feature_set = features_of(features, columns)
    delay_us = parse_duration_us(label_delay, "--label-delay")
    train_period = None if train_days is None else Period.parse(train_days, "--train")
    test_period = None if test_days is None else Period.parse(test_days, "--test")
    tracker = None if tracking is None else Tracker(tracking)
    kept: Manifest | None = None
    if tracker is not None:
        inputs = Inputs(Path(path), columns, feature_set, label_delay, train_days, test_days, config, labels, profiles, max_rejected)
        kept = keep_inputs(tracker, inputs, settings, progress)
    folded = fold_file(
        path, columns, feature_set, settings=settings, labels=labels, profiles=profiles, max_rejected=max_rejected, segments=config.segments or (),
        progress=progress,
    )  # fmt: skip
    config = replace(config, withheld=tuple(dict.fromkeys((*config.withheld, *folded.withheld))))
    files = {"transactions": path, "labels": labels, "profiles": profiles}
    data = {
        "files": {kind: {"name": Path(file).name, "sha256": file_hash(file)} for kind, file in files.items() if file is not None},
        "columns": columns.name if isinstance(columns, ColumnMap) else str(columns), "zone": zone, "currency": folded.report["base_currency"], **extent(folded.table),
    }  # fmt: skip
    about = origin(data, config, clock or SystemClock())
    if kept is not None:
        _check_kept(kept, data["files"])
        about["dataset"] = {"hash": kept.hash}
    result = train(
        folded.table, feature_set, config, delay_us=delay_us, zone=zone, train_period=train_period, test_period=test_period, labels=folded.labels,
        origin=about, progress=progress,
    )  # fmt: skip
    trained = store(result, out, config, settings.base_currency)
    return trained if tracker is None else replace(trained, run=write_run(tracker, trained.bundle, progress))


def _check_kept(kept: Manifest, read: Mapping[str, Mapping[str, str]]) -> None:
    """What was kept must be what was read."""
    for role, file in read.items():
        if kept.files[role].sha256 != file["sha256"]:
            raise InputError(f"{file['name']}: it changed while it was being read; train again when nobody writes to it")


def store(result: TrainResult, out: Path, config: TrainConfig, currency: str) -> Trained:
    """Draw the plots and save the bundle with them."""
    report = result.report
    test = report["test"]
    name = "known compromised cards left out" if test["headline"] == "without_known_compromised" else "all transactions"
    importance = [(row["column"], row["share"]) for row in report["importance"]]
    plots = draw_all(
        plot_data(
            result.headline,
            test[test["headline"]],
            report["cost_curve"],
            importance,
            config.costs,
            currency,
            f"test {test['period']}, {name}",
        )
    )
    files = {**result.bundle.files, **{f"report/{file}": data for file, data in plots.items()}}
    bundle = Bundle(files, result.bundle.members, result.bundle.origin).save(out)
    return Trained(bundle, report)


def plot_data(
    scored: Scored,
    measured: Mapping[str, Any],
    cost_curve: Mapping[str, Any],
    importance: list[tuple[str, float]],
    costs: CostMatrix,
    currency: str,
    subtitle: str,
) -> PlotData:
    """What the plots need of one evaluated set of transactions."""
    points = curve(scored.y, scored.score)
    return PlotData(
        y=scored.y, score=scored.score, amount=scored.amount, precision=points.precision, recall=points.recall,
        average_precision=measured["average_precision"], reliability=measured["reliability"], calibration_error=measured["calibration_error"],
        cost_curve=cost_curve, importance=importance, review=measured["thresholds"]["review"], decline=measured["thresholds"]["decline"],
        currency=currency, costs=f"missed fraud costs {costs.missed:g} × its amount, a review {costs.review:g} {currency}", subtitle=f"{subtitle}: {len(scored):,} transactions, {int(scored.y.sum()):,} frauds",
    )  # fmt: skip


def origin(data: Mapping[str, Any], config: TrainConfig, clock: Clock) -> dict[str, Any]:
    """Where a bundle comes from, for its manifest."""
    created = datetime.fromtimestamp(clock.now_us() // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
    return {"created": created, "git_commit": git_commit(), "versions": versions(), "data": dict(data), "seed": config.seed}


def versions() -> dict[str, str]:
    """The build: Python, the machine's architecture, instruction set and C library, and the packages that shape a model."""
    found: Any = np.show_config(mode="dicts")
    instructions = found.get("SIMD Extensions", {})
    out = {
        "python": platform.python_version(), "machine": platform.machine(), "libc": " ".join(platform.libc_ver()),
        "instructions": " ".join((*instructions.get("baseline", ()), *instructions.get("found", ()))),
    }  # fmt: skip
    for name in _PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out


def git_commit() -> str | None:
    """The commit of the source tree this package runs from, with `+` after it if the tree was changed; None if it
    does not run from one."""
    here = Path(fraudloop.__file__).resolve().parent
    if _git(here, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit, changed = _git(here, "rev-parse", "HEAD"), _git(here, "status", "--porcelain", "--untracked-files=no", ".")
    return None if commit is None else commit + ("+" if changed else "")


def _git(folder: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603, S607
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def extent(table: pl.DataFrame) -> dict[str, Any]:
    """Rows and times of a feature table."""
    first, last = table["timestamp"].min(), table["timestamp"].max()
    return {"transactions": table.height, "first": str(first), "last": str(last)}
