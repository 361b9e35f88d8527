"""The protocol of the Fraud Detection Handbook (Le Borgne et al., 2022, chapters 3 and 5): folds, metrics, choices.

Seven training days, seven days of label delay, seven test days; cards already known as compromised are left out of the
test. Four test folds, and four validation folds before them, on which each metric chooses its own settings. It knows no
model: whoever fits gives scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.domain.definitions import FeatureSet
from fraudloop.limits import DAY_US
from fraudloop.pipelines.features import fold_file
from fraudloop.training.folds import Dataset
from fraudloop.training.metrics import auc_roc, average_precision, card_precision
from fraudloop.training.splits import Period, final_split

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Three = tuple[float, float, float]

#: Training rows, their labels, test rows: scores of the test rows.
Fit = Callable[[Floats, Bools, Floats], Floats]
#: The same for several settings at once, which may share work.
FitMany = Callable[[Floats, Bools, Floats, Sequence[Hashable]], Mapping[Hashable, Floats]]

FILE: Final = "FRAUDLOOP_HANDBOOK"
DELAY_DAYS: Final = 7
WEEK: Final = 7
ZONE: Final = "UTC"

#: First training days of the folds (chapters 5 to 7); the first test fold is the single split of chapter 3.
TEST_FOLDS: Final = (date(2018, 7, 25), date(2018, 8, 1), date(2018, 8, 8), date(2018, 8, 15))
VALIDATION_FOLDS: Final = (date(2018, 7, 11), date(2018, 7, 4), date(2018, 6, 27), date(2018, 6, 20))

#: Training and test rows and frauds of the test folds, by which the protocol is checked before anything is fitted.
FOLD_ROWS: Final = ((67_240, 598, 58_264, 385), (66_975, 626, 57_937, 387), (67_080, 568, 58_337, 408), (67_049, 594, 57_604, 422))


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows of one fold, and the training labels as known when the test begins."""

    train: NDArray[np.int64]
    y: Bools
    test: NDArray[np.int64]
    card: NDArray[np.int64]
    day: NDArray[np.int64]
    y_test: Bools

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

    def measure(self, score: Floats) -> Three:
        """AUC ROC, average precision, Card Precision@100."""
        return auc_roc(self.y_test, score), average_precision(self.y_test, score), card_precision(self.y_test, score, self.day, self.card)


@dataclass(frozen=True, slots=True)
class Results:
    """By fold (AUC ROC, average precision, Card Precision@100), and the processor seconds of fitting and scoring."""

    by_fold: tuple[Three, ...]
    cpu_s: float
    settings: tuple[Hashable, ...] = ()

    @property
    def mean(self) -> Three:
        auc, ap, cp = (float(value) for value in np.mean(self.by_fold, axis=0))
        return auc, ap, cp

    @property
    def sd(self) -> Three:
        """Population standard deviation, as the book has it."""
        auc, ap, cp = (float(value) for value in np.std(self.by_fold, axis=0))
        return auc, ap, cp

    def figures(self) -> dict[str, object]:
        names = ("auc_roc", "average_precision", "card_precision_100")
        return {
            **{name: round(value, 4) for name, value in zip(names, self.mean, strict=True)},
            **{f"{name}_sd": round(value, 4) for name, value in zip(names, self.sd, strict=True)},
            "average_precision_by_fold": [round(row[1], 4) for row in self.by_fold],
            "cpu_s": round(self.cpu_s, 1),
            **({"settings": [str(setting) for setting in self.settings]} if self.settings else {}),
        }


def run(fit: Fit, values: Floats, folds: Sequence[Fold]) -> Results:
    """One fit on every fold."""
    start = time.process_time()
    rows = tuple(fold.measure(fit(values[fold.train], fold.y, values[fold.test])) for fold in folds)
    return Results(rows, time.process_time() - start)


def run_many(fit: FitMany, values: Floats, folds: Sequence[Fold], settings: Sequence[Hashable]) -> dict[Hashable, tuple[Three, ...]]:
    """Every setting on every fold."""
    found: dict[Hashable, list[Three]] = {setting: [] for setting in settings}
    for fold in folds:
        scores = fit(values[fold.train], fold.y, values[fold.test], settings)
        for setting in settings:
            found[setting].append(fold.measure(scores[setting]))
    return {setting: tuple(rows) for setting, rows in found.items()}


def choose(measured: Mapping[Hashable, Sequence[Three]]) -> tuple[Hashable, Hashable, Hashable]:
    """The best setting by each metric's mean, the first of equals: (by AUC ROC, by average precision, by Card Precision)."""
    settings = list(measured)
    auc, ap, cp = (max(settings, key=lambda s: float(np.mean([row[metric] for row in measured[s]]))) for metric in range(3))
    return auc, ap, cp


def run_chosen(fit: FitMany, values: Floats, folds: Sequence[Fold], chosen: tuple[Hashable, Hashable, Hashable]) -> Results:
    """The chosen settings on the test folds; each metric is that of its own setting."""
    start = time.process_time()
    measured = run_many(fit, values, folds, list(dict.fromkeys(chosen)))
    rows = tuple(
        (measured[chosen[0]][at][0], measured[chosen[1]][at][1], measured[chosen[2]][at][2]) for at in range(len(folds))
    )  # fmt: skip
    return Results(rows, time.process_time() - start, chosen)


def load(path: str, preset: str) -> tuple[Dataset, Floats]:
    """The Handbook's table with the features of a preset."""
    features = FeatureSet.load(preset)
    table = fold_file(path, "handbook", features).table
    data = Dataset.of(table, features.names, DELAY_DAYS * DAY_US, ZONE)
    return data, table.select(features.names).to_numpy()


def numbers(values: Sequence[float], sd: Sequence[float] | None = None) -> str:
    """AUC ROC / average precision / Card Precision@100 in a cell."""
    return " / ".join(f"{value:.3f}" + ("" if sd is None else f"±{sd[at]:.3f}") for at, value in enumerate(values))
