"""The rows that choices are made on: folds of past days, their labels as known then, their tables as models read them.

`training.train`, `training.compare` and `training.tuning` share it, so that all three mean the same by a validation
fold. Nothing here looks at the test days.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import polars as pl

from fraudloop.errors import InputError
from fraudloop.scoring.inputs import Inputs
from fraudloop.training.algorithms import Fitted, class_weights, find_algorithm, thin
from fraudloop.training.config import TrainConfig
from fraudloop.training.imbalance import ColumnKinds, resample
from fraudloop.training.metrics import Bools, Floats, Ints, Scored, exclude_known_compromised
from fraudloop.training.preprocessing import PreprocessingPlan, fit_preprocessing
from fraudloop.training.splits import Period, Split, choose_periods, day_of_us, final_split, midnight_us, validation_folds
from fraudloop.training.table import Truth, amounts, cards, inputs_of, local_days, number_columns, times_us, truth_of, word_columns

_DAYS_FROM_1970 = np.datetime64("1970-01-01")

#: The longest validation period of a fold when no other is set, in days.
FOLD_DAYS_MAX: Final = 7


@dataclass(frozen=True, slots=True)
class Dataset:
    """A feature table and, for all of its rows: event time, local day, card code, amount, labels."""

    table: pl.DataFrame
    numbers: tuple[str, ...]
    words: tuple[str, ...]
    zone: str
    delay_us: int
    time_us: Ints
    day: Ints
    card: Ints
    amount: Floats
    truth: Truth

    @staticmethod
    def of(
        table: pl.DataFrame,
        features: Sequence[str],
        delay_us: int,
        zone: str = "UTC",
        words: Sequence[str] | None = None,
        labels: pl.DataFrame | None = None,
        withheld: Sequence[str] = (),
    ) -> Dataset:
        """InputError names what the table lacks. withheld: columns that are no inputs (TrainConfig.withheld)."""
        for name in ("transaction_id", "timestamp"):
            if name not in table.columns:
                raise InputError(f"the feature table has no column {name!r}")
        if table.height == 0:
            raise InputError("the table has no transactions")
        return Dataset(
            table, *_inputs(table, features, words, withheld), zone, delay_us, times_us(table), local_days(table, zone),
            cards(table), amounts(table), truth_of(table, delay_us, labels),
        )  # fmt: skip

    def rows(self, period: Period) -> Ints:
        """Row numbers of whole days."""
        first, last = (int((np.datetime64(day) - _DAYS_FROM_1970).astype(np.int64)) for day in (period.first, period.last))
        return np.flatnonzero((self.day >= first) & (self.day <= last))

    def inputs(self, rows: Ints) -> Inputs:
        """The raw inputs of some rows."""
        return inputs_of(self.table[rows], self.numbers, self.words)

    def without_known_compromised(self, rows: Ints, train: Period) -> Ints:
        """Those of the rows whose card was not yet known as compromised, counting frauds from the first training day on."""
        begin, _ = train.bounds_us(self.zone)
        fraud = np.flatnonzero(self.truth.fraud & (self.time_us >= begin))
        days, index = np.unique(self.day[rows], return_inverse=True)
        starts = np.array([midnight_us((_DAYS_FROM_1970 + int(day)).astype(object), self.zone) for day in days], np.int64)
        keep = exclude_known_compromised(self.card, rows, starts[index] if len(rows) else starts, fraud, self.truth.known_us[fraud])
        return rows[keep]

    def scored(self, rows: Ints, score: Floats, y: Bools) -> Scored:
        """Scores of some rows with all that metrics ask for. A label is mature once the label delay has passed when the
        file ends (the last transaction or label known)."""
        known = self.truth.known_us[self.truth.fraud]
        end = max(int(self.time_us.max()), int(known.max()) if len(known) else 0)
        mature = self.time_us[rows] + self.delay_us <= end
        return Scored(y, score, self.day[rows], self.card[rows], self.amount[rows], mature)


def _inputs(
    table: pl.DataFrame, features: Sequence[str], words: Sequence[str] | None, withheld: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The number and word columns that models read: those of the table without the withheld ones."""
    both = sorted({*withheld} & {*features, *(words or ())})
    if both:
        raise InputError(f"withheld columns cannot be features or categories too: {', '.join(both)}", columns=both)
    seen = table.drop([name for name in withheld if name in table.columns])
    return number_columns(seen, features), word_columns(seen, words)


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers of one fold, the training labels as known when its validation begins, the validation labels."""

    split: Split
    train: Ints
    y_train: Bools
    validate: Ints
    y_validate: Bools


@dataclass(frozen=True, slots=True)
class Past:
    """The days that a model is made from: training and test days, the split of the final fit, the folds before the test."""

    train: Period
    test: Period
    split: Split
    folds: tuple[Fold, ...]


def past_of(data: Dataset, config: TrainConfig, train: Period | None = None, test: Period | None = None) -> Past:
    """Complete the periods and make the folds; InputError where a period is empty, outside the data or too early."""
    first, last = day_of_us(int(data.time_us.min()), data.zone), day_of_us(int(data.time_us.max()), data.zone)
    train, test = choose_periods(train, test, first, last, data.delay_us)
    split = final_split(train, test, data.delay_us, data.zone)
    days = config.fold_days or min(test.days, FOLD_DAYS_MAX)
    folds = make_folds(data, split, validation_folds(train, first, data.delay_us, data.zone, config.folds, days), config)
    return Past(train, test, split, tuple(folds))


def make_folds(data: Dataset, split: Split, folds: Iterable[Split], config: TrainConfig) -> list[Fold]:
    """The rows and labels of the folds; a fold without both classes in training, or without transactions, is left out.
    Validation labels are those known by the cut of the real training: later ones are not there yet."""
    final = data.truth.by(split.cut_us)
    out = []
    for fold in folds:
        train, validate = data.rows(fold.train), data.rows(fold.test)
        y = data.truth.by(fold.cut_us)[train]
        if config.exclude_known_compromised and len(validate):
            validate = data.without_known_compromised(validate, fold.train)
        if len(validate) and y.any() and not y.all():
            out.append(Fold(fold, train, y, validate, final[validate]))
    return out


@dataclass(slots=True)
class FoldTables:
    """A fold's rows as models read them: at most `fold_rows_max` training rows, preprocessed once in each way.

    y: bool [rows]. weight: float64 [rows], how many rows each stands for."""

    y: Bools
    weight: Floats
    _train: Inputs
    _validate: Inputs
    _tables: dict[str, tuple[Floats, Floats, ColumnKinds]] = field(default_factory=dict)

    @staticmethod
    def of(data: Dataset, fold: Fold, config: TrainConfig) -> FoldTables:
        rows, _ = thin(fold.y_train, np.ones(len(fold.train)), config.fold_rows_max, config.seed)
        y = fold.y_train[rows]
        weight = np.where(y, 1.0, (~fold.y_train).sum() / max(1, (~y).sum()))
        return FoldTables(y, weight, data.inputs(fold.train[rows]), data.inputs(fold.validate))

    def table(self, name: str, plan: PreprocessingPlan) -> tuple[Floats, Floats, ColumnKinds]:
        """(training rows, validation rows, kinds of the columns), the preprocessing fitted on the training rows and kept
        by its name."""
        if name not in self._tables:
            fitted = fit_preprocessing(self._train, plan)
            self._tables[name] = fitted.apply(self._train), fitted.apply(self._validate), ColumnKinds.of(fitted)
        return self._tables[name]

    def margins(self, name: str, params: Mapping[str, Any], config: TrainConfig, rounds: Sequence[int]) -> list[Floats]:
        """Fit an algorithm on the training rows; margins of the validation rows after each number of rounds."""
        x_train, x_validate, kinds = self.table(*find_algorithm(name).preprocessing(params))
        return fit_rows(name, x_train, self.y, self.weight, params, config, config.seed, kinds).staged(x_validate, rounds)


def fit_rows(
    name: str, x: Floats, y: Bools, weight: Floats, params: Mapping[str, Any], config: TrainConfig, seed: int, kinds: ColumnKinds
) -> Fitted:
    """Fit an algorithm to preprocessed rows: thinned out to what it takes, resampled as `config.imbalance` says, frauds
    weighted by `config.fraud_weight`. weight: how many rows each stands for."""
    algorithm = find_algorithm(name)
    rows, weight = thin(y, weight, int(params["rows_max"]), seed)
    strategy = config.imbalance if algorithm.supervised else "none"
    x, y, weight = resample(x[rows], y[rows], weight, strategy, seed, config.imbalance_ratio, kinds)
    return algorithm.fit(x, y, weight * class_weights(y, config.fraud_weight), params, seed, config.threads)
