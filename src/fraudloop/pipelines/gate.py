"""`models gate` and `models compare`: a table of payments folded once, two models on it, the verdict or the figures."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from fraudloop.clock import Clock, SystemClock
from fraudloop.data.ingest import DEFAULT_MAX_REJECTED
from fraudloop.decisions.policy import Policy
from fraudloop.domain.definitions import parse_duration_us
from fraudloop.errors import DefinitionError, InputError
from fraudloop.limits import DAY_US
from fraudloop.pipelines.data import column_map
from fraudloop.pipelines.features import fold_file, read_features
from fraudloop.pipelines.generate import reachable
from fraudloop.pipelines.score import scores_of
from fraudloop.pipelines.store import bundle_of, open_store
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import CANDIDATE, CHAMPION, DEFAULT_NAME
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.config import TrainConfig
from fraudloop.training.datasets import file_hash
from fraudloop.training.folds import Dataset
from fraudloop.training.gate import FreshLoad, GateData, GateReport, learned_until_us, outcome_shares, run_gate
from fraudloop.training.gate_config import GateConfig
from fraudloop.training.metrics import CostMatrix, ReviewBudget, evaluate
from fraudloop.training.paired import Difference, paired_difference
from fraudloop.training.splits import Period, day_of_us, midnight_us

DEFAULT_DELAY_DAYS: Final = 7.0

#: What a service does not install; a bundle must run without any of it.
TRAINING_LIBRARIES: Final = frozenset(
    {
        "sklearn",
        "xgboost",
        "lightgbm",
        "mlflow",
        "pandas",
        "optuna",
        "shap",
        "imblearn",
        "skl2onnx",
        "matplotlib",
        "torch",
        "fraudloop.training",
    }
)

_PROBE: Final = """
import json, sys
from pathlib import Path
from fraudloop.errors import FraudloopError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.smoke import changed_cases
error = ""
try:
    bundle = Bundle.load(Path(sys.argv[1]))
    bundle.model()
    changed = changed_cases(bundle)
    if changed:
        error = f"{changed[0]['name']} scores {changed[0]['found']!r} there, and scored {changed[0]['expected']!r} in training"
except FraudloopError as failed:
    error = str(failed)
print(json.dumps({"error": error, "modules": [name for name in sys.modules if name.count(".") < 2]}))
"""

_PROBE_TIMEOUT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Gated:
    """report: the verdict. document: its hash in the store; None where the candidate was not from the store."""

    report: GateReport
    document: str | None


@dataclass(frozen=True, slots=True)
class Compared:
    """Two models on the same rows: metrics by model, outcome shares by model, and the difference first - second."""

    hashes: tuple[str, str]
    metrics: tuple[dict[str, Any], dict[str, Any]]
    outcomes: tuple[dict[str, float], dict[str, float]]
    difference: Difference
    period: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Source:
    """A table of payments as commands are given it (see `pipelines.features.fold_file`), or a Parquet file of `features`,
    which is not folded again. columns None: the map that the
    candidate was trained with. period: `A..B`; None: all days after what the candidate learned from. label_delay None:
    that of its training."""

    path: Path
    columns: str | None = None
    period: str | None = None
    labels: Path | None = None
    profiles: Path | None = None
    label_delay: str | None = None
    max_rejected: float = DEFAULT_MAX_REJECTED


def gate_file(
    source: Source,
    *,
    name: str = DEFAULT_NAME,
    candidate: str | None = None,
    champion: str | None = None,
    policy: Policy | None = None,
    config: GateConfig | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> Gated:
    """Judge a candidate on a file and keep the report in the store.

    candidate, champion: references; None takes `name@candidate`, and `name@champion` if there is one. policy: the tiers in
    force; None takes those that the champion suggests, or the candidate where there is no champion.
    """
    settings, clock, config = settings or Settings(), clock or SystemClock(), config or GateConfig()
    store = open_store(settings)
    first = bundle_of(candidate or f"{name}@{CANDIDATE}", settings)
    now = champion or store.alias(f"{name}@{CHAMPION}")
    second = None if now is None else bundle_of(now, settings)
    tiers = policy or Policy.from_dict((second or first).thresholds)
    data = judged(source, first, second, settings=settings, segments=config.segments or (), progress=progress)
    progress("gate: fresh process", 0, 1)
    fresh = fresh_load(first)
    progress("gate: fresh process", 1, 1)
    report = run_gate(first, second, data, tiers, config, fresh=fresh, clock=clock, progress=progress)
    return Gated(report, store.put_document(report.to_dict()) if first.hash in store else None)


def compare_files(
    source: Source, first: str, second: str, *, policy: Policy | None = None, rounds: int = 400, settings: Settings | None = None,
    progress: Progress = silent,
) -> Compared:  # fmt: skip
    """Metrics of two models side by side on the same rows, and their difference with its interval; no verdict."""
    settings = settings or Settings()
    a, b = bundle_of(first, settings), bundle_of(second, settings)
    tiers = policy or Policy.from_dict(b.thresholds)
    data = judged(source, a, b, settings=settings, progress=progress)
    y = data.dataset.truth.fraud[data.rows]
    tables = (data.dataset.table, data.dataset.table if data.champion_table is None else data.champion_table)
    scored = [
        data.dataset.scored(data.rows, scores_of(table[data.rows], bundle.model()), y) for bundle, table in zip((a, b), tables, strict=True)
    ]
    metrics = [evaluate(part, tiers.review, tiers.decline, data.costs, data.budget) for part in scored]
    shares = [outcome_shares(part.score, tiers) for part in scored]
    return Compared(
        (a.hash, b.hash), (metrics[0], metrics[1]), (shares[0], shares[1]), paired_difference(scored[0], scored[1], rounds=rounds),
        str(data.about["period"]), tiers,
    )  # fmt: skip


def judged(
    source: Source, candidate: Bundle, champion: Bundle | None, *, settings: Settings, segments: tuple[str, ...] = (), progress: Progress = silent
) -> GateData:  # fmt: skip
    """Fold the file with what both models read, and take the days to judge by. InputError for days without payments, or
    without any label in the whole file."""
    trained = candidate.metrics.get("training") or {}
    mapped = source.columns or str((candidate.origin.get("data") or {}).get("columns", "native"))
    zone = column_map(mapped, settings).shape.zone
    delay_us = (
        round(float(trained.get("label_delay_days") or DEFAULT_DELAY_DAYS) * DAY_US)
        if source.label_delay is None
        else parse_duration_us(source.label_delay, "--label-delay")
    )
    wanted, apart = candidate.features, None
    if champion is not None:
        try:
            wanted = wanted.merge(champion.features)
        except DefinitionError:
            apart = champion.features
    options: dict[str, Any] = {
        "settings": settings, "labels": source.labels, "profiles": source.profiles, "max_rejected": source.max_rejected, "progress": progress,
    }  # fmt: skip
    theirs: pl.DataFrame | None = None
    if (ready := read_features(source.path, wanted)) is not None:
        table, made_of = ready
        labels: pl.DataFrame | None = None
        if apart is not None:
            raise InputError(
                f"{source.path}: the two models define a feature otherwise under one name; give the table of transactions instead"
            )
    else:
        folded = fold_file(source.path, mapped, wanted, segments=segments, **options)
        table, made_of, labels = folded.table, source.path.name, folded.labels
        theirs = None if apart is None else fold_file(source.path, mapped, apart, **options).table
    dataset = Dataset.of(table, (), delay_us, zone, (), labels)
    first, last = (day_of_us(int(moment), zone) for moment in (dataset.time_us.min(), dataset.time_us.max()))
    period = _after(learned_until_us(candidate), zone, first, last) if source.period is None else Period.parse(source.period, "--period")
    rows = dataset.rows(period)
    if not len(rows):
        raise InputError(f"--period {period}: no payments on these days; the file goes from {first} to {last}")
    config = TrainConfig()
    given = trained_with(candidate)
    return GateData(
        dataset, rows,
        {"file": source.path.name, "sha256": file_hash(source.path), "columns": mapped, "zone": zone, "period": str(period), "label_delay_days": delay_us / DAY_US},
        reachable(source.path.with_name(made_of or source.path.name)), theirs, given.get("costs", config.costs), given.get("budget", config.budget),
    )  # fmt: skip


def trained_with(bundle: Bundle) -> dict[str, Any]:
    """The costs and the review budget that a bundle was trained with, for its metrics; {} where it does not say."""
    told = bundle.metrics.get("config") or {}
    try:
        return {"costs": CostMatrix(**told["costs"]), "budget": ReviewBudget(**told["budget"])}
    except (KeyError, TypeError):
        return {}


def _after(moment: int | None, zone: str, first: Any, last: Any) -> Period:
    """The days from the first that begins at or after the cut; the whole file where the bundle does not say."""
    if moment is None:
        return Period(first, last)
    day = day_of_us(moment, zone)
    if midnight_us(day, zone) < moment:
        day = day_of_us(moment + DAY_US, zone)
    if day > last:
        raise InputError(f"the candidate learned from labels until {day}, and the file ends on {last}: there is nothing to judge it by")
    return Period(max(day, first), last)


def fresh_load(bundle: Bundle) -> FreshLoad:
    """Load and score a bundle's smoke cases in a new Python, as a service would, and see what it had to import."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-gate-") as folder:
        path = bundle.path or bundle.save(Path(folder) / "bundle").path
        begin = time.monotonic()
        try:
            done = subprocess.run(  # noqa: S603 - this Python, on a file of the project's own
                [sys.executable, "-c", _PROBE, str(path)], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return FreshLoad(f"it did not load within {_PROBE_TIMEOUT_S:g} s")
        seconds = time.monotonic() - begin
    try:
        told: Mapping[str, Any] = json.loads(done.stdout)
    except ValueError:
        return FreshLoad(f"a fresh process ended with code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}", (), seconds)
    found = sorted(TRAINING_LIBRARIES & set(told["modules"]))
    return FreshLoad(str(told["error"]), tuple(found), seconds)
