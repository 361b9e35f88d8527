"""Choices among algorithms, measured: scaling, dropout, ensembles, an isolation forest, updates between trainings.

    FRAUDLOOP_HANDBOOK=transactions.parquet python -m benchmarks.bench_algorithms [--quick] [--part NAME]

Parts: `network` (scaling and dropout, on validation folds of the synthetic world and of the Handbook), `isolation` (what
it adds for customers with little history and for a fraud scheme that training never saw, on the synthetic world), `updates`
(four test weeks of the Handbook: never trained again, weekly, daily, and updated daily). Parts that need the Handbook's
table, which is not part of this project, are left out where the variable does not say where it lies.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.handbook_own import XGBOOST as OWN
from benchmarks.handbook_protocol import DELAY_DAYS, FILE, TEST_FOLDS, VALIDATION_FOLDS, ZONE, Fold
from benchmarks.tables import show
from fraudloop.domain.definitions import FeatureSet
from fraudloop.limits import DAY_US
from fraudloop.pipelines.features import fold_file
from fraudloop.pipelines.generate import generate
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.scorers import load_scorer
from fraudloop.simulation.pattern import DEFAULT_MIX
from fraudloop.training.algorithms import find_algorithm
from fraudloop.training.config import TrainConfig
from fraudloop.training.ensembles import DEFAULT_WEIGHTS, measured, search
from fraudloop.training.folds import Dataset, FoldTables, past_of
from fraudloop.training.incremental import UPDATES, UpdateConfig
from fraudloop.training.metrics import average_precision
from fraudloop.training.preprocessing import fit_preprocessing
from fraudloop.training.splits import Period, midnight_us

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DAYS: Final = 120
TRANSACTIONS: Final = 150_000
SEED: Final = 7


@dataclass(frozen=True, slots=True)
class World:
    """A synthetic world as a feature table, with the true scheme of each transaction beside it."""

    data: Dataset
    scheme: NDArray[np.str_]

    @staticmethod
    def make(transactions: int, folder: Path, mix: Mapping[str, float] | None = None, seed: int = SEED) -> World:
        files = {name: folder / f"{name}-{seed}.parquet" for name in ("transactions", "labels", "profiles", "truth")}
        generate(
            files["transactions"], seed=seed, transactions=transactions, days=DAYS, mix=mix, labels=files["labels"],
            profiles=files["profiles"], truth=files["truth"],
        )  # fmt: skip
        features = FeatureSet.load("default")
        folded = fold_file(files["transactions"], "native", features, labels=files["labels"], profiles=files["profiles"])
        truth = pl.read_parquet(files["truth"]).select("transaction_id", "scheme")
        scheme = folded.table.select("transaction_id").join(truth, on="transaction_id", how="left", maintain_order="left")["scheme"]
        data = Dataset.of(folded.table, features.names, DELAY_DAYS * DAY_US, ZONE, labels=folded.labels)
        return World(data, scheme.to_numpy().astype(np.str_))


def fit(name: str, params: Mapping[str, Any], x: Inputs, y: Bools, tests: Sequence[Inputs], seed: int = 0) -> list[Floats]:
    """Margins of some tables by an algorithm with its own preprocessing."""
    kind = find_algorithm(name)
    settings = kind.params(params)
    steps = fit_preprocessing(x, kind.preprocessing(settings)[1])
    model = kind.fit(steps.apply(x), y, np.ones(len(y)), settings, seed, 1)
    scorer = load_scorer(model.model_format, model.encode(), len(steps.outputs))
    return [scorer.margins(steps.apply(test)) for test in tests]


# --- the network: scaling, dropout, ensembles ---------------------------------------------------------------------

VARIANTS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "logistic, standard": ("logistic", {"scaling": "standard"}),
    "logistic, robust": ("logistic", {"scaling": "robust"}),
    "logistic, log_standard": ("logistic", {"scaling": "log_standard"}),
    "logistic, log_robust": ("logistic", {"scaling": "log_robust"}),
    "network, standard": ("network", {"scaling": "standard"}),
    "network, log_standard": ("network", {"scaling": "log_standard"}),
    "network, standard, dropout 0.3": ("network", {"scaling": "standard", "dropout": 0.3}),
    "network, log_standard, dropout 0.3": ("network", {"scaling": "log_standard", "dropout": 0.3}),
    "xgboost": ("xgboost", {"rounds": 200}),
}

#: Epochs (or rounds) at which a variant is looked at; the best mean over the folds counts, as training chooses.
EPOCHS: Final = (2, 4, 6, 8, 12, 16)


def network_part(folds: Sequence[FoldTables], labels: Sequence[Bools], config: TrainConfig, name: str) -> dict[str, object]:
    """Average precision of each variant, and of the ensembles of the best network with XGBoost."""
    best: dict[str, tuple[float, int, list[Floats]]] = {}
    rows = []
    for variant, (algorithm, changed) in VARIANTS.items():
        params = find_algorithm(algorithm).params(changed)
        rounds = EPOCHS if algorithm == "network" else (params.get("rounds", 0),)
        start = time.process_time()
        margins = [fold.margins(algorithm, params, config, rounds) for fold in folds]
        spent = time.process_time() - start
        means = [
            float(np.mean([average_precision(y, fold[at]) for y, fold in zip(labels, margins, strict=True)])) for at in range(len(rounds))
        ]
        at = int(np.argmax(means))
        best[variant] = (means[at], rounds[at], [fold[at] for fold in margins])
        rows.append([variant, f"{means[at]:.4f}", str(rounds[at] or ""), f"{spent:.0f}"])
    network = max((variant for variant in best if variant.startswith("network")), key=lambda variant: best[variant][0])
    by_fold = [{"xgboost": x, "network": n} for x, n in zip(best["xgboost"][2], best[network][2], strict=True)]
    given = measured(DEFAULT_WEIGHTS, by_fold, labels).mean
    found = search(("xgboost", "network"), by_fold, labels)
    rows += [["0.6 xgboost + 0.4 network", f"{given:.4f}", "", ""], [f"found: {found.name}", f"{found.mean:.4f}", "", ""]]
    show(f"{name}: mean average precision on the validation folds", ["", "average precision", "epochs", "CPU s"], rows)
    return {
        **{variant: round(value[0], 4) for variant, value in best.items()},
        "0.6/0.4": round(given, 4),
        "found": {found.name: round(found.mean, 4)},
    }


def world_folds(world: World, config: TrainConfig) -> tuple[list[FoldTables], list[Bools]]:
    past = past_of(world.data, config)
    return [FoldTables.of(world.data, fold, config) for fold in past.folds], [fold.y_validate for fold in past.folds]


def handbook_folds(data: Dataset, config: TrainConfig, begins: Sequence[date]) -> tuple[list[FoldTables], list[Bools]]:
    folds = [Fold.of(data, begin) for begin in begins]
    return [FoldTables(one.y, np.ones(len(one.y)), data.inputs(one.train), data.inputs(one.test)) for one in folds], [
        one.y_test for one in folds
    ]


# --- the isolation forest: cold start, unseen schemes -------------------------------------------------------------

#: A customer with at most so many payments in 30 days, this one included, has little history (half have 21 and more).
COLD_COUNT: Final = 10.0
ISOLATION: Final[Mapping[str, Mapping[str, Any]]] = {"isolation, as they are": {"scaling": None}, "isolation, logarithms": {}}
ISOLATION_SHARE: Final = (0.1, 0.3)


def _standing(train: Floats, test: Floats) -> Floats:
    """Each test margin as log-odds of its rank among the training margins: two scales become comparable."""
    rank = (np.searchsorted(np.sort(train), test) + 0.5) / (len(train) + 1.0)
    return np.log(rank / (1.0 - rank))


def isolation_part(transactions: int, folder: Path, schemes: Sequence[str]) -> dict[str, object]:
    """By scheme left out of training: how its frauds rank among genuine payments in the test, by XGBoost trained with and
    without it, by the isolation forest, and by both; then the same for customers with little history."""
    world = World.make(transactions, folder)
    data = world.data
    past = past_of(data, TrainConfig())
    train, test = data.rows(past.train), data.rows(past.test)
    y, truth = data.truth.by(past.split.cut_us)[train], data.truth.fraud[test]
    x, x_test = data.inputs(train), data.inputs(test)
    fitted: dict[str, tuple[Floats, Floats]] = {}
    for name, params in ISOLATION.items():
        start = time.process_time()
        own, margins = fit("isolation", params, x, y, (x, x_test))
        fitted[name] = own, margins
        print(f"  {name}: average precision {average_precision(truth, margins):.3f} alone, {time.process_time() - start:.0f} s CPU")
    strange = max(fitted.values(), key=lambda pair: average_precision(truth, pair[1]))
    full_train, full = fit("xgboost", {"rounds": 200}, x, y, (x, x_test))
    figures: dict[str, object] = {name: round(average_precision(truth, margins), 4) for name, (_, margins) in fitted.items()}

    def ranked(rows: Bools, margins: Sequence[Floats]) -> list[str]:
        return [f"{average_precision(truth[rows], one[rows]):.3f}" for one in margins]

    def mixes(learned: tuple[Floats, Floats]) -> list[Floats]:
        base, other = _standing(*learned), _standing(*strange)
        return [base, *((1.0 - share) * base + share * other for share in ISOLATION_SHARE), other]

    heads = ["XGBoost", *(f"{1 - share:g} + {share:g} isolation" for share in ISOLATION_SHARE), "isolation"]
    rows = []
    at = x_test.names.index("customer_count_30d")
    cold = x_test.values[:, at] <= COLD_COUNT
    for name, group in (
        ("all payments", np.ones(len(truth), bool)),
        (f"at most {COLD_COUNT:g} payments in 30 days", cold),
        ("more payments", ~cold),
    ):
        found = ranked(group, mixes((full_train, full)))
        rows.append([name, f"{int(truth[group].sum())} of {int(group.sum()):,}", *found])
        figures[name] = dict(zip(heads, found, strict=True))
    show("Cold start: average precision on the test days", ["", "frauds", *heads], rows)

    rows = []
    for scheme in schemes:
        kept = world.scheme[train] != scheme
        learned = fit("xgboost", {"rounds": 200}, data.inputs(train[kept]), y[kept], (data.inputs(train[kept]), x_test))
        group = ~truth | (world.scheme[test] == scheme)
        found = ranked(group, [_standing(full_train, full), *mixes((learned[0], learned[1]))])
        rows.append([scheme, str(int(truth[group].sum())), *found])
        figures[f"unseen: {scheme}"] = dict(zip(["seen", *heads], found, strict=True))
    show(
        "A scheme that training never saw: its frauds against all genuine payments, average precision",
        ["", "frauds", "seen in training", *heads],
        rows,
    )
    return figures


# --- updates between trainings ------------------------------------------------------------------------------------

Scores = Callable[[Floats], Floats]
FORMATS: Final[Mapping[str, Mapping[str, Any]]] = {
    "xgboost": {**OWN, "rounds": 200},
    "network": {"scaling": "standard", "rounds": 12},
    "logistic": {"scaling": "standard"},
}


@dataclass(slots=True)
class Regime:
    """One way to keep a model: `retrain_days` between trainings (0: never again), whether it is updated in between."""

    retrain_days: int
    updated: bool


REGIMES: Final[Mapping[str, Regime]] = {
    "never trained again": Regime(0, updated=False),
    "weekly": Regime(7, updated=False),
    "daily": Regime(1, updated=False),
    "updated daily, never trained again": Regime(0, updated=True),
    "updated daily, trained weekly": Regime(7, updated=True),
}


def updates_part(data: Dataset, algorithms: Sequence[str], weeks: int) -> dict[str, object]:
    """Mean average precision over the test weeks, and processor seconds of learning."""
    figures: dict[str, object] = {}
    for algorithm in algorithms:
        rows = []
        for name, regime in REGIMES.items():
            start = time.process_time()
            values = keep_up(data, algorithm, regime, weeks)
            spent = time.process_time() - start
            rows.append([name, f"{np.mean(values):.4f}", ", ".join(f"{value:.3f}" for value in values), f"{spent:.0f}"])
            figures[f"{algorithm}, {name}"] = {"average_precision": round(float(np.mean(values)), 4), "cpu_s": round(spent, 1)}
        show(f"{algorithm} on {weeks} test weeks of the Handbook", ["", "average precision", "by week", "CPU s"], rows)
    return figures


def keep_up(data: Dataset, algorithm: str, regime: Regime, weeks: int) -> list[float]:
    """Score each test day by the model as it is that morning: trained on the seven days until eight days before, at the
    latest moment that the regime allows, and updated with each day that has matured since."""
    kind = find_algorithm(algorithm)
    params = kind.params(FORMATS[algorithm])
    config = UpdateConfig(threads=1, rounds=8)
    out = []
    model: tuple[Any, str, bytes] | None = None
    for week in TEST_FOLDS[:weeks]:
        fold = Fold.of(data, week)
        score = np.zeros(len(fold.test))
        for day in range(7):
            trains_until = week + timedelta(days=6 + day)
            passed = (trains_until - TEST_FOLDS[0]).days - 6
            begin = trains_until - timedelta(days=6)
            if model is None or (regime.retrain_days and passed % regime.retrain_days == 0):
                x, y = _rows(data, Period(begin, trains_until))
                steps = fit_preprocessing(x, kind.preprocessing(params)[1])
                fitted = kind.fit(steps.apply(x), y, np.ones(len(y)), params, 0, 1)
                model = steps, fitted.model_format, fitted.encode()
            elif regime.updated:
                steps, model_format, held = model
                x, y = _rows(data, Period(begin, trains_until))
                model = steps, model_format, UPDATES[model_format](held, steps.apply(x), y, np.ones(len(y)), params, config)
            steps, model_format, held = model
            today = fold.day == fold.day.min() + day
            scorer = load_scorer(model_format, held, len(steps.outputs))
            score[today] = scorer.margins(steps.apply(data.inputs(fold.test[today])))
        out.append(average_precision(fold.y_test, score))
    return out


def _rows(data: Dataset, days: Period) -> tuple[Inputs, Bools]:
    """The rows of whole days with the labels known when the label delay after the last has passed."""
    rows = data.rows(days)
    cut = midnight_us(days.last + timedelta(days=1), ZONE) + data.delay_us
    return data.inputs(rows), data.truth.by(cut)[rows]


def handbook(path: str, preset: str) -> Dataset:
    features = FeatureSet.load(preset)
    return Dataset.of(fold_file(path, "handbook", features).table, features.names, DELAY_DAYS * DAY_US, ZONE)


PARTS: Final = ("network", "isolation", "updates")


def main(quick: bool = False, parts: Sequence[str] = PARTS) -> dict[str, object]:
    """Print the tables and return the figures."""
    path = os.environ.get(FILE)
    figures: dict[str, object] = {}
    transactions = 40_000 if quick else TRANSACTIONS
    config = TrainConfig(threads=1, folds=2 if quick else 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "network" in parts:
            figures["network: synthetic"] = network_part(*world_folds(World.make(transactions, folder), config), config, "Synthetic world")
            if path:
                folds = handbook_folds(handbook(path, "handbook"), config, VALIDATION_FOLDS[: config.folds])
                figures["network: handbook"] = network_part(*folds, config, "Handbook, 15 inputs")
        if "isolation" in parts:
            schemes = list(DEFAULT_MIX)[: 2 if quick else None]
            figures["isolation"] = isolation_part(transactions, folder, schemes)
    if "updates" in parts and path:
        figures["updates"] = updates_part(handbook(path, "compact"), ("logistic", "xgboost", "network"), 1 if quick else len(TEST_FOLDS))
    if not path:
        print(f"  parts of the Handbook are skipped: {FILE} does not say where its table lies (docs/benchmarks.md)")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_algorithms", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller world, fewer folds, one week")
    parser.add_argument("--part", action="append", choices=PARTS, help="one part alone; may be given again")
    given = parser.parse_args()
    main(given.quick, given.part or PARTS)
