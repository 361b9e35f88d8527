"""The Handbook result table: published baselines re-made, and what own features and models reach by the same protocol.

    FRAUDLOOP_HANDBOOK=transactions.parquet python -m benchmarks.bench_handbook [--quick]

The table (Fraud Detection Handbook, Le Borgne et al., 2022; simulated-data-raw) is not part of this project: the
variable says where it lies, and without it the case is skipped. The protocol is the book's: 7 training days, 7 days of
label delay, 7 test days; cards already known as compromised are left out of the test; four test folds, and four
validation folds before them, on which features and parameters were chosen. `--quick` does the single split alone.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import show
from fraudloop.domain.definitions import FeatureSet
from fraudloop.limits import DAY_US
from fraudloop.pipelines.features import fold_file
from fraudloop.training.algorithms import find_algorithm
from fraudloop.training.folds import Dataset
from fraudloop.training.metrics import auc_roc, average_precision, card_precision
from fraudloop.training.splits import Period, final_split

Floats = NDArray[np.float64]
#: Training rows, their labels, test rows: scores of the test rows.
Fit = Callable[[Floats, NDArray[np.bool_], Floats], Floats]

FILE: Final = "FRAUDLOOP_HANDBOOK"
DELAY_DAYS: Final = 7
WEEK: Final = 7
ZONE: Final = "UTC"

#: First training days of the folds (chapters 5 to 7); the first test fold is the single split of chapter 3.
TEST_FOLDS: Final = (date(2018, 7, 25), date(2018, 8, 1), date(2018, 8, 8), date(2018, 8, 15))
VALIDATION_FOLDS: Final = (date(2018, 7, 11), date(2018, 7, 4), date(2018, 6, 27), date(2018, 6, 20))

#: Training and test rows and frauds of the test folds, by which the protocol is checked before anything is fitted.
FOLD_ROWS: Final = ((67_240, 598, 58_264, 385), (66_975, 626, 57_937, 387), (67_080, 568, 58_337, 408), (67_049, 594, 57_604, 422))

#: Published: AUC ROC, average precision, Card Precision@100. Single split (chapter 3).
PUBLISHED: Final[Mapping[str, tuple[float, float, float]]] = {
    "logistic regression": (0.871, 0.606, 0.291),
    "decision tree, depth 2": (0.763, 0.496, 0.241),
    "decision tree, unlimited": (0.788, 0.309, 0.243),
    "random forest": (0.867, 0.658, 0.287),
    "XGBoost as of 2021": (0.862, 0.639, 0.273),
}

#: Published means over the four test folds, for the settings fitted here (chapters 5 and 6).
PUBLISHED_FOUR: Final[Mapping[str, tuple[float, float, float]]] = {
    "logistic regression": (0.868, 0.623, 0.297),
    "random forest": (0.870, 0.672, 0.299),
    "XGBoost as of 2021": (0.859, 0.659, 0.285),
    "XGBoost 100/0.1/3": (0.871, 0.694, 0.304),
}

#: The best published by each metric over four folds, whatever the model.
BEST_PUBLISHED: Final = (0.879, 0.687, 0.305)
AIM_7_DAYS: Final = (0.875, 0.730, 0.305)
AIM_ALL_AP: Final = 0.75
TOLERANCE: Final = 0.005

#: Chosen on the validation folds. 7 days: the mean of three seeds; all history: one, on rows from 15 May, when the
#: longest window (90 days after 14 days, less the habit's start) has something to say.
OWN: Final = {
    "rounds": 200,
    "rate": 0.03,
    "depth": 4,
    "rows_share": 0.8,
    "columns_share": 0.8,
    "node_columns_share": 1.0,
    "bins": 1_024,
    "base_score": 0.5,
}
OWN_ALL: Final = {**OWN, "rounds": 300, "rate": 0.05, "bins": 4_096}
SEEDS: Final = 3
HISTORY_FROM: Final = date(2018, 5, 15)


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows of one fold, and the training labels as known when the test begins."""

    train: NDArray[np.int64]
    y: NDArray[np.bool_]
    test: NDArray[np.int64]
    card: NDArray[np.int64]
    day: NDArray[np.int64]
    y_test: NDArray[np.bool_]

    @staticmethod
    def of(data: Dataset, begin: date, train_from: date | None = None) -> Fold:
        """The fold whose seven training days begin on `begin`; with `train_from` it trains on all days from there on."""
        last = begin + timedelta(days=WEEK - 1)
        week = Period(begin, last)
        first_test = last + timedelta(days=DELAY_DAYS + 1)
        test_days = Period(first_test, first_test + timedelta(days=WEEK - 1))
        split = final_split(Period(train_from or begin, last), test_days, DELAY_DAYS * DAY_US, ZONE)
        train = data.rows(split.train)
        test = data.without_known_compromised(data.rows(test_days), week)
        return Fold(train, data.truth.by(split.cut_us)[train], test, data.card[test], data.day[test], data.truth.fraud[test])

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return len(self.train), int(self.y.sum()), len(self.test), int(self.y_test.sum())

    def measure(self, score: Floats) -> tuple[float, float, float]:
        """AUC ROC, average precision, Card Precision@100."""
        return auc_roc(self.y_test, score), average_precision(self.y_test, score), card_precision(self.y_test, score, self.day, self.card)


def baselines() -> dict[str, Fit]:
    """The book's models with the library defaults of 2021."""
    import xgboost
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    def classifier(make: Callable[[], Any], scaled: bool = True) -> Fit:
        def fit(x: Floats, y: NDArray[np.bool_], test: Floats) -> Floats:
            centre, scale = (x.mean(axis=0), x.std(axis=0)) if scaled else (0.0, 1.0)
            scores: Floats = make().fit((x - centre) / scale, y).predict_proba((test - centre) / scale)[:, 1]
            return scores.astype(np.float64)

        return fit

    def boosted(trees: int, rate: float, depth: int) -> Fit:
        # As of 2021: exact splits and a base score of 0.5. The present defaults lose 0.06 to 0.11 of average precision here.
        return classifier(lambda: xgboost.XGBClassifier(
            tree_method="exact", base_score=0.5, n_estimators=trees, learning_rate=rate, max_depth=depth, random_state=0, n_jobs=1))  # fmt: skip

    return {
        "logistic regression": classifier(lambda: LogisticRegression(random_state=0, max_iter=1_000)),
        "decision tree, depth 2": classifier(lambda: DecisionTreeClassifier(max_depth=2, random_state=0)),
        "decision tree, unlimited": classifier(lambda: DecisionTreeClassifier(random_state=0)),
        "random forest": classifier(lambda: RandomForestClassifier(random_state=0, n_jobs=1)),
        "XGBoost as of 2021": boosted(100, 0.3, 6),
        "XGBoost 100/0.1/3": boosted(100, 0.1, 3),
    }


def own(params: Mapping[str, Any], seeds: int) -> Fit:
    """The project's XGBoost: the mean margin of some seeds, through the project's own scorer."""
    from fraudloop.scoring.scorers import load_scorer

    algorithm = find_algorithm("xgboost")
    settings = algorithm.params(params)

    def fit(x: Floats, y: NDArray[np.bool_], test: Floats) -> Floats:
        out = np.zeros(len(test))
        for seed in range(seeds):
            model = algorithm.fit(x, y, np.ones(len(y)), settings, seed, 1)
            out += load_scorer(model.model_format, model.encode(), x.shape[1]).margins(test)
        return out / seeds

    return fit


@dataclass(frozen=True, slots=True)
class Results:
    """By fold (AUC ROC, average precision, Card Precision@100), and the processor seconds of fitting and scoring."""

    by_fold: tuple[tuple[float, float, float], ...]
    cpu_s: float

    @property
    def mean(self) -> tuple[float, ...]:
        return tuple(float(value) for value in np.mean(self.by_fold, axis=0))

    @property
    def sd(self) -> tuple[float, ...]:
        return tuple(float(value) for value in np.std(self.by_fold, axis=0))

    def figures(self) -> dict[str, object]:
        names = ("auc_roc", "average_precision", "card_precision_100")
        return {
            **{name: round(value, 4) for name, value in zip(names, self.mean, strict=True)},
            **{f"{name}_sd": round(value, 4) for name, value in zip(names, self.sd, strict=True)},
            "average_precision_by_fold": [round(row[1], 4) for row in self.by_fold],
            "cpu_s": round(self.cpu_s, 1),
        }


def run(fit: Fit, values: Floats, folds: Sequence[Fold]) -> Results:
    start = time.process_time()
    rows = tuple(fold.measure(fit(values[fold.train], fold.y, values[fold.test])) for fold in folds)
    return Results(rows, time.process_time() - start)


def _numbers(values: Sequence[float], sd: Sequence[float] | None = None) -> str:
    return " / ".join(f"{value:.3f}" + ("" if sd is None else f"±{sd[at]:.3f}") for at, value in enumerate(values))


def _load(path: str, preset: str) -> tuple[Dataset, Floats]:
    features = FeatureSet.load(preset)
    table = fold_file(path, "handbook", features).table
    data = Dataset.of(table, features.names, DELAY_DAYS * DAY_US, ZONE)
    return data, table.select(features.names).to_numpy()


def main(quick: bool = False) -> dict[str, object]:
    """Print the tables and return the figures. AssertionError if the rows of a fold are not the protocol's."""
    path = os.environ.get(FILE)
    if not path:
        why = f"{FILE} does not say where the Handbook's table lies (docs/benchmarks.md)"
        print(f"  skipped: {why}")
        return {"skipped": why}
    figures: dict[str, object] = {}
    data, values = _load(path, "handbook")
    folds = [Fold.of(data, begin) for begin in (TEST_FOLDS[:1] if quick else TEST_FOLDS)]
    assert [fold.sizes for fold in folds] == list(FOLD_ROWS[: len(folds)]), (
        f"the folds hold other rows than the protocol's: {[f.sizes for f in folds]}"
    )

    fits = baselines()
    rows = []
    single: dict[str, Results] = {}
    for name, published in PUBLISHED.items():
        single[name] = run(fits[name], values, folds[:1])
        off = max(abs(a - b) for a, b in zip(single[name].mean, published, strict=True))
        figures[f"single: {name}"] = {**single[name].figures(), "largest_distance_to_published": round(off, 4)}
        rows.append([name, _numbers(single[name].mean), _numbers(published), f"{off:.4f}" + ("" if off <= TOLERANCE else " !")])
    show(
        "Published baselines re-made, single split: AUC ROC / average precision / Card Precision@100",
        ["", "here", "published", "off by"],
        rows,
    )
    if not quick:
        rows = []
        for name, published in PUBLISHED_FOUR.items():
            four = run(fits[name], values, folds)
            figures[f"four folds: {name}"] = four.figures()
            off = max(abs(a - b) for a, b in zip(four.mean, published, strict=True))
            rows.append([name, _numbers(four.mean, four.sd), _numbers(published), f"{off:.4f}" + ("" if off <= TOLERANCE else " !")])
        show("Published baselines re-made, mean ± sd of four test folds", ["", "here", "published", "off by"], rows)

    data, values = _load(path, "compact")
    rows = []
    tasks: list[tuple[str, Fit, date | None, Sequence[date]]] = [("7 days", own(OWN, SEEDS), None, TEST_FOLDS[:1] if quick else TEST_FOLDS)]
    if not quick:
        tasks += [
            ("7 days, validation", own(OWN, SEEDS), None, VALIDATION_FOLDS),
            ("all history", own(OWN_ALL, 1), HISTORY_FROM, TEST_FOLDS),
            ("all history, validation", own(OWN_ALL, 1), HISTORY_FROM, VALIDATION_FOLDS),
        ]
    for name, fit, history, begins in tasks:
        results = run(fit, values, [Fold.of(data, begin, history) for begin in begins])
        figures[f"own: {name}"] = results.figures()
        for begin, row in zip(begins, results.by_fold, strict=True):
            rows.append([f"{name}, fold of {begin}", _numbers(row), ""])
        rows.append([f"{name}, mean", _numbers(results.mean, results.sd), f"{results.cpu_s:.0f}"])
        if len(begins) == len(TEST_FOLDS):
            # Above 0.79 on the single split something of the future leaks.
            assert results.by_fold[0][1] < 0.79 or "validation" in name, "too good: look for a leak"
    rows.append(["best published, each metric for itself", _numbers(BEST_PUBLISHED), ""])
    rows.append(["aim with 7 days", _numbers(AIM_7_DAYS), ""])
    show("Own features (preset compact) and own model: AUC ROC / average precision / Card Precision@100", ["", "", "CPU s"], rows)
    print(f"  aim with all history: average precision above {AIM_ALL_AP}")
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_handbook", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the single split alone")
    main(parser.parse_args().quick)
