"""Training: from a feature table to a bundle and its report. Every choice is made on days before the test days.

    validation folds -> which algorithm, which parameters, how many rounds, calibration, thresholds
    training days    -> the model
    test days        -> its figures, through the scorers that will serve it; nothing is chosen by them

It reads no file and writes none: `pipelines.train` does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.decisions.policy import Policy
from fraudloop.domain.definitions import FeatureSet
from fraudloop.errors import InputError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.calibration import Calibration
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Member, Model
from fraudloop.scoring.preprocessing import Preprocessing
from fraudloop.scoring.scorers import SUFFIXES, load_scorer
from fraudloop.scoring.smoke import SMOKE, cases_bytes
from fraudloop.telemetry import Progress, silent
from fraudloop.training.algorithms import Fitted, checkpoints, find_algorithm
from fraudloop.training.calibration import fit_calibration
from fraudloop.training.config import TrainConfig
from fraudloop.training.ensembles import GAIN, Ensemble, competitors
from fraudloop.training.folds import Dataset as Dataset
from fraudloop.training.folds import Fold, FoldTables, fit_rows, past_of
from fraudloop.training.imbalance import ColumnKinds, prior_shift
from fraudloop.training.importance import importance
from fraudloop.training.metrics import (
    Bools,
    Floats,
    Ints,
    Scored,
    auc_roc,
    average_precision,
    card_precision,
    curve,
    evaluate,
    intervals,
    recall_at_precision,
    thin_curve,
)
from fraudloop.training.preprocessing import fit_preprocessing
from fraudloop.training.reference import reference_bytes, reference_profile
from fraudloop.training.segments import segment_columns, segment_report
from fraudloop.training.smoke import choose_cases
from fraudloop.training.splits import Period
from fraudloop.training.thresholds import cost_curve, suggest


@dataclass(frozen=True, slots=True)
class _Choice:
    """What validation chose of one algorithm: parameters (rounds included), margins by fold, average precision by fold."""

    algorithm: str
    params: dict[str, Any]
    margins: list[Floats]
    average_precision: list[float]

    @property
    def mean(self) -> float:
        known = [value for value in self.average_precision if not math.isnan(value)]
        return float(np.mean(known)) if known else float("nan")


@dataclass(frozen=True, slots=True)
class TrainResult:
    """bundle: not saved yet, without a report. report: what metrics.json holds. test, test_rows: the scored test
    transactions and their row numbers. headline: the test as judged (config `exclude_known_compromised`)."""

    bundle: Bundle
    report: dict[str, Any]
    test: Scored
    test_rows: Ints
    headline: Scored


def train(
    table: pl.DataFrame,
    features: FeatureSet,
    config: TrainConfig | None = None,
    *,
    delay_us: int,
    zone: str = "UTC",
    train_period: Period | None = None,
    test_period: Period | None = None,
    labels: pl.DataFrame | None = None,
    origin: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> TrainResult:
    """Train side by side, choose, calibrate, suggest thresholds, evaluate.

    table: a feature table (see `training.table`). features: whose values it holds. delay_us: label delay. labels: the
    history of labels, where labels were taken back. origin: goes into the bundle's manifest as it is.
    InputError: a period that is empty, outside the data or too early for its labels; no fraud to learn from.
    """
    config = config or TrainConfig()
    data = Dataset.of(table, features.names, delay_us, zone, config.categories, labels, config.withheld)
    past = past_of(data, config, train_period, test_period)
    train_days, test_days, split, folds = past.train, past.test, past.split, past.folds
    warnings: list[str] = []

    rows = data.rows(train_days)
    if not len(rows):
        raise InputError(f"--train {train_days}: no transactions on these days")
    y = data.truth.by(split.cut_us)[rows]
    if not y.any():
        raise InputError(
            f"--train {train_days}: none of {len(rows):,} transactions is known as fraud by {_moment(split.cut_us)}; give more days or labels"
        )
    if y.all():
        raise InputError(f"--train {train_days}: all of {len(rows):,} transactions are fraud; there is nothing to tell apart")
    test_rows = data.rows(test_days)
    if not len(test_rows):
        raise InputError(f"--test {test_days}: no transactions on these days")
    raw = data.inputs(rows)
    _drop_missing(raw, warnings)

    if not folds:
        warnings.append("too few training days to hold any back: the first algorithm with its default parameters, uncalibrated")
    elif not folds[0].split.gap:
        warnings.append(
            "too little history for a label delay between training and validation days: choices rest on the last quarter of the training days"
        )
    choices = _validate(data, folds, config, progress)
    contest = _contest(choices, folds, config)
    chosen = contest.chosen
    oof = np.concatenate([chosen.margins(margins) for margins in _by_fold(choices, len(folds))]) if folds else np.zeros(0)
    y_oof = np.concatenate([fold.y_validate for fold in folds]) if folds else np.zeros(0, bool)
    rows_oof = np.concatenate([fold.validate for fold in folds]) if folds else np.zeros(0, np.int64)
    shift = prior_shift(int(y.sum()), int((~y).sum()), config.imbalance, config.imbalance_ratio)
    calibration = fit_calibration(oof, y_oof, config.calibration, shift)
    score_oof = calibration.apply(oof)
    thresholds = suggest(y_oof, score_oof, data.amount[rows_oof], data.day[rows_oof], config.costs, config.budget)

    fitted = _fit_final(raw, y, choices, chosen, config, progress)
    bundle = _bundle(features, fitted, chosen, calibration, thresholds, origin)
    progress("scoring the test days", 0, 1)
    x_test = data.inputs(test_rows)
    score = bundle.model().score(x_test)
    test = data.scored(test_rows, score, data.truth.fraud[test_rows])
    kept = data.without_known_compromised(test_rows, train_days)
    at_kept = np.searchsorted(test_rows, kept)
    sides = _side_by_side(x_test, fitted, contest.shown, test, at_kept if config.exclude_known_compromised else np.arange(len(test_rows)))
    progress("scoring the test days", 1, 1)

    headline = test[at_kept] if config.exclude_known_compromised else test
    measured = {
        "all": evaluate(test, thresholds["review"], thresholds["decline"], config.costs, config.budget),
        "without_known_compromised": evaluate(test[at_kept], thresholds["review"], thresholds["decline"], config.costs, config.budget),
    }
    if config.bootstrap:
        for name, part in (("all", test), ("without_known_compromised", test[at_kept])):
            measured[name]["intervals_95"] = intervals(
                part, thresholds["review"], thresholds["decline"], config.costs, config.budget, rounds=config.bootstrap, seed=config.seed
            )
    groups = segment_columns(table[test_rows[at_kept] if config.exclude_known_compromised else test_rows], config.segments)
    report = {
        "training": {
            "period": str(train_days),
            "transactions": len(rows),
            "frauds": int(y.sum()),
            "frauds_not_known_by_the_cut": int((data.truth.fraud[rows] & ~y).sum()),
            "without_label": int((~data.truth.stated[rows]).sum()),
            "label_delay_days": delay_us / 86_400_000_000,
            "cut": _moment(split.cut_us),
        },
        "validation": _validation_report(folds, choices, contest, oof, y_oof, score_oof, data, rows_oof),
        "test": {
            "period": str(test_days),
            "headline": "without_known_compromised" if config.exclude_known_compromised else "all",
            **measured,
        },
        "segments": segment_report(headline, groups, Policy.from_dict(thresholds), seed=config.seed),
        "algorithms": sides,
        "thresholds": thresholds,
        "importance": importance(bundle.model(), raw, config.seed),
        "curve": thin_curve(curve(headline.y, headline.score)),
        "cost_curve": cost_curve(headline.y, headline.score, headline.amount, config.costs),
        "config": config.to_dict(),
        "warnings": warnings,
    }
    profile = reference_profile(raw, score_oof if len(score_oof) else bundle.model().score(raw))
    files = {
        **bundle.files,
        "metrics.json": to_json(report),
        SMOKE: cases_bytes(choose_cases(raw, y, bundle.model())),
        "reference.parquet": reference_bytes(
            profile, {"fraudloop": "reference profile", "rows": str(len(rows)), "period": str(train_days)}
        ),
    }
    return TrainResult(Bundle(files, bundle.members, bundle.origin), report, test, test_rows, headline)


def _drop_missing(raw: Inputs, warnings: list[str]) -> None:
    empty = [name for at, name in enumerate(raw.names) if not np.isfinite(raw.values[:, at]).any()]
    if len(empty) == len(raw.names):
        raise InputError(
            "no feature has a value on the training days; map the columns that features are made of (`fraudloop profile FILE` shows which)"
        )
    if empty:
        warnings.append(
            f"{len(empty)} features have no value on the training days and are not used: {', '.join(empty[:8])}{' …' if len(empty) > 8 else ''}"
        )


def _validate(data: Dataset, folds: Sequence[Fold], config: TrainConfig, progress: Progress) -> dict[str, _Choice]:
    """Fit every algorithm with every parameter set on every fold; the best set of each by mean average precision."""
    work = sum(len(config.settings_of(name)) for name in config.algorithms) * len(folds)
    tried: dict[tuple[str, int, int], tuple[list[Floats], list[float]]] = {}
    done = 0
    for fold in folds:
        tables = FoldTables.of(data, fold, config)
        for name in config.algorithms:
            for number, params in enumerate(config.settings_of(name)):
                progress("validating", done, work)
                rounds = checkpoints(params)
                for at, margins in zip(rounds, tables.margins(name, params, config, rounds), strict=True):
                    kept = tried.setdefault((name, number, at), ([], []))
                    kept[0].append(margins)
                    kept[1].append(average_precision(fold.y_validate, margins))
                done += 1
                progress("validating", done, work)
    choices = {}
    for name in config.algorithms:
        options = []
        for number, params in enumerate(config.settings_of(name)):
            for at in checkpoints(params):
                margins_by_fold, by_fold = tried.get((name, number, at), ([], []))
                final = {**params, "rounds": at} if find_algorithm(name).staged else dict(params)
                options.append(_Choice(name, final, margins_by_fold, by_fold))
        if folds:
            choices[name] = max(options, key=lambda c: -1.0 if math.isnan(c.mean) else c.mean)
        else:
            choices[name] = options[-1]
    return choices


@dataclass(frozen=True, slots=True)
class _Contest:
    """chosen: the ensemble of the model, of one algorithm or more. shown: the ensembles that are reported beside the
    algorithms: the chosen one, and the one of the given or found weights."""

    chosen: Ensemble
    shown: tuple[Ensemble, ...]


def _by_fold(choices: Mapping[str, _Choice], folds: int) -> list[dict[str, Floats]]:
    return [{name: choice.margins[k] for name, choice in choices.items()} for k in range(folds)]


def _contest(choices: Mapping[str, _Choice], folds: Sequence[Fold], config: TrainConfig) -> _Contest:
    """The best algorithm by mean validation average precision, or the ensemble that is better by more than GAIN."""
    names = list(choices)
    ranked = sorted(names, key=lambda name: (-(choices[name].mean if not math.isnan(choices[name].mean) else -1.0), names.index(name)))
    best = Ensemble({ranked[0]: 1.0}, tuple(choices[ranked[0]].average_precision))
    able = [name for name in ranked if find_algorithm(name).supervised]
    if not folds or math.isnan(best.mean) or not config.blend or not able:
        return _Contest(best, ())
    against = competitors(able, config.weights, _by_fold(choices, len(folds)), [fold.y_validate for fold in folds])
    for one in against:
        if one.mean > best.mean + GAIN:
            best = one
    weighted = [one for one in against[max(0, len(able) - 1) :] if one.name != best.name]
    return _Contest(best, (*([best] if len(best.weights) > 1 else []), *weighted))


@dataclass(frozen=True, slots=True)
class _Final:
    algorithm: str
    params: dict[str, Any]
    preprocessing: str
    fitted_preprocessing: Preprocessing
    models: list[Fitted]


def _fit_final(
    raw: Inputs, y: Bools, choices: Mapping[str, _Choice], chosen: Ensemble, config: TrainConfig, progress: Progress
) -> dict[str, _Final]:
    """Every algorithm on the training days; those chosen with all their seeds."""
    out: dict[str, _Final] = {}
    tables: dict[str, tuple[Preprocessing, Floats]] = {}
    weight = np.ones(len(y))
    members = {name: config.members if name in chosen.weights and find_algorithm(name).staged else 1 for name in choices}
    work = sum(members.values())
    done = 0
    for name, choice in choices.items():
        reads, plan = find_algorithm(name).preprocessing(choice.params)
        if reads not in tables:
            fitted = fit_preprocessing(raw, plan)
            tables[reads] = fitted, fitted.apply(raw)
        preprocessing, x = tables[reads]
        models = []
        for member in range(members[name]):
            progress("training", done, work)
            models.append(fit_rows(name, x, y, weight, choice.params, config, config.seed + member, ColumnKinds.of(preprocessing)))
            done += 1
            progress("training", done, work)
        out[name] = _Final(name, choice.params, reads, preprocessing, models)
    return out


def _bundle(
    features: FeatureSet,
    fitted: Mapping[str, _Final],
    chosen: Ensemble,
    calibration: Calibration,
    thresholds: Mapping[str, Any],
    origin: Mapping[str, Any] | None,
) -> Bundle:
    """The bundle of the chosen algorithms; metrics and the reference profile come later."""
    files: dict[str, bytes] = {}
    members = []
    for name, share in chosen.weights.items():
        final = fitted[name]
        for number, model in enumerate(final.models):
            file = f"models/{name}-{number + 1}{SUFFIXES[model.model_format]}"
            files[file] = model.encode()
            members.append(
                {
                    "name": f"{name}-{number + 1}", "algorithm": name, "file": file, "format": model.model_format, "preprocessing": final.preprocessing,
                    "weight": share / len(final.models), "params": final.params,
                }
            )  # fmt: skip
    used = {fitted[name].preprocessing: fitted[name].fitted_preprocessing for name in chosen.weights}
    read = {name for p in used.values() for name in p.numbers}
    files["features.json"] = to_json(features.select(name for name in features.names if name in read).to_dict())
    files["preprocessing.json"] = to_json({"preprocessings": {name: p.to_dict() for name, p in used.items()}})
    files["calibration.json"] = to_json(calibration.to_dict())
    files["thresholds.json"] = to_json(thresholds)
    return Bundle(files, tuple(members), dict(origin or {}))


def _side_by_side(
    x_test: Inputs, fitted: Mapping[str, _Final], ensembles: Sequence[Ensemble], test: Scored, at: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """Ranking metrics of each algorithm alone and of the ensembles on the test days, by margins; informs, chooses nothing."""
    flat = Calibration(np.array([-1.0, 1.0]), np.array([0.25, 0.75]))
    margins = {name: _single(final, flat).margins(x_test) for name, final in fitted.items()}
    rows = {**margins, **{one.name: one.margins(margins) for one in ensembles}}
    return {
        name: evaluate_ranking(Scored(test.y, values, test.day, test.card, test.amount, test.mature)[at]) for name, values in rows.items()
    }


def _single(final: _Final, calibration: Calibration) -> Model:
    columns = len(final.fitted_preprocessing.outputs)
    scorer = load_scorer(final.models[0].model_format, final.models[0].encode(), columns, final.algorithm)
    return Model((Member(final.algorithm, scorer, final.preprocessing),), {final.preprocessing: final.fitted_preprocessing}, calibration)


def evaluate_ranking(data: Scored) -> dict[str, float]:
    """The metrics that need an order only, no calibrated score."""
    return {
        "average_precision": average_precision(data.y, data.score),
        "auc_roc": auc_roc(data.y, data.score),
        "card_precision_100": card_precision(data.y, data.score, data.day, data.card),
        "recall_at_90_precision": recall_at_precision(data.y, data.score),
    }


def _validation_report(
    folds: Sequence[Fold],
    choices: Mapping[str, _Choice],
    contest: _Contest,
    margins: Floats,
    y: Bools,
    score: Floats,
    data: Dataset,
    rows: Ints,
) -> dict[str, Any]:
    by_fold = []
    start = 0
    for fold in folds:
        end = start + len(fold.validate)
        part = data.scored(rows[start:end], margins[start:end], y[start:end])
        by_fold.append(
            {
                "train": str(fold.split.train), "validate": str(fold.split.test), "train_transactions": len(fold.train), "train_frauds": int(fold.y_train.sum()),
                "transactions": len(fold.validate), "frauds": int(fold.y_validate.sum()), **evaluate_ranking(part),
            }
        )  # fmt: skip
        start = end
    return {
        "folds": by_fold,
        "algorithms": {
            name: {"average_precision": c.mean, "by_fold": c.average_precision, "params": c.params} for name, c in choices.items()
        },
        "ensembles": {
            one.name: {"average_precision": one.mean, "by_fold": list(one.average_precision), "weights": dict(one.weights)}
            for one in contest.shown
        },
        "chosen": list(contest.chosen.weights),
        "weights": dict(contest.chosen.weights),
    }


def to_json(value: object) -> bytes:
    """JSON with an end of line; NaN and infinities become null, tuples lists."""
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


def _moment(us: int) -> str:
    return str(np.datetime64(us, "us").astype("datetime64[s]")) + "Z"
