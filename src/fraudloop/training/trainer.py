"""The notebook's way in: `FraudPreprocessor` and `ModelTrainer`, thin classes over the functions of this room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from fraudloop.domain.definitions import FeatureSet, parse_duration_us
from fraudloop.errors import InputError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.preprocessing import Preprocessing
from fraudloop.telemetry import Progress, silent
from fraudloop.training.config import TrainConfig
from fraudloop.training.metrics import Floats
from fraudloop.training.preprocessing import PLANS, fit_preprocessing
from fraudloop.training.splits import Period
from fraudloop.training.table import inputs_of
from fraudloop.training.train import TrainResult, train


class FraudPreprocessor:
    """Numbers and words of a table as the columns of a model; survives missing, new and infinite values.

    family: `boosted` (missing stays NaN, categories by frequency), `forest` (missing filled and marked) or `linear`
    (also scaled, categories as 0/1 columns).

    >>> table = pl.DataFrame({"amount": [1.0, 2.0, None], "country": ["DE", "DE", "FR"]})
    >>> FraudPreprocessor("forest").fit(table, ["amount"]).transform(table).tolist()
    [[1.0, 0.0], [2.0, 0.0], [1.5, 1.0]]
    """

    def __init__(self, family: str = "boosted") -> None:
        if family not in PLANS:
            raise InputError(f"no preprocessing {family!r}; there are {', '.join(PLANS)}")
        self.family = family
        self.steps: Preprocessing | None = None

    def fit(self, table: pl.DataFrame, numbers: Sequence[str], words: Sequence[str] = ()) -> FraudPreprocessor:
        """Learn fillings, scales and levels of these columns from a table; labels are never looked at."""
        self.steps = fit_preprocessing(inputs_of(table, numbers, words), PLANS[self.family])
        return self

    def transform(self, table: pl.DataFrame) -> Floats:
        """float64 [rows, columns]; InputError if it was not fitted, or names a column that is not there."""
        steps = self._fitted()
        lacking = [name for name in (*steps.numbers, *steps.words) if name not in table.columns]
        if lacking:
            raise InputError(f"the table lacks {', '.join(lacking)}")
        return steps.apply(inputs_of(table, steps.numbers, steps.words))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that `transform` gives."""
        return self._fitted().outputs

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`."""
        return {"family": self.family, **self._fitted().to_dict()}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> FraudPreprocessor:
        out = FraudPreprocessor(str(data.get("family", "boosted")))
        out.steps = Preprocessing.from_dict(data)
        return out

    def _fitted(self) -> Preprocessing:
        if self.steps is None:
            raise InputError("the preprocessor is not fitted; call fit first")
        return self.steps


class ModelTrainer:
    """Train on a feature table, look at the report, save the bundle.

        trainer = ModelTrainer(FeatureSet.load("default"), label_delay="7d", algorithms=("xgboost",), seed=1)
        result = trainer.fit(table, train="2024-01-01..2024-03-31", test="2024-04-08..2024-04-30")
        result.report["test"]["all"]["average_precision"]
        trainer.save(Path("model"))

    Keywords beyond `features`, `label_delay` and `zone` are those of `TrainConfig`; InputError names one that is not.
    """

    def __init__(self, features: FeatureSet | str, *, label_delay: str = "7d", zone: str = "UTC", **config: Any) -> None:
        self.features = FeatureSet.load(features) if isinstance(features, str) else features
        self.delay_us = parse_duration_us(label_delay, "label_delay")
        self.zone = zone
        self.config = TrainConfig.from_dict({key: list(v) if isinstance(v, tuple) else v for key, v in config.items()})
        self.result: TrainResult | None = None

    def fit(self, table: pl.DataFrame, train: str | None = None, test: str | None = None, progress: Progress = silent) -> TrainResult:
        """Train on the days `train` and measure on the days `test` (`A..B`); without them the last fifth tests."""
        self.result = _train(self, table, train, test, progress)
        return self.result

    def save(self, path: Path) -> Bundle:
        """Store the bundle, without plots; InputError before `fit`."""
        if self.result is None:
            raise InputError("nothing is trained yet; call fit first")
        return self.result.bundle.save(path)


def _train(trainer: ModelTrainer, table: pl.DataFrame, train_days: str | None, test_days: str | None, progress: Progress) -> TrainResult:
    return train(
        table, trainer.features, trainer.config, delay_us=trainer.delay_us, zone=trainer.zone,
        train_period=None if train_days is None else Period.parse(train_days, "train"),
        test_period=None if test_days is None else Period.parse(test_days, "test"), progress=progress,
    )  # fmt: skip
