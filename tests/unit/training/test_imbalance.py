"""Strategies against imbalance: made rows are ones that could be, only training rows change, scores stay calibrated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.errors import InputError
from fraudloop.scoring.inputs import Inputs
from fraudloop.training.config import TrainConfig
from fraudloop.training.folds import Dataset, FoldTables, past_of
from fraudloop.training.imbalance import STRATEGIES, ColumnKinds, prior_shift, resample
from fraudloop.training.metrics import Bools, Floats
from fraudloop.training.preprocessing import PLANS, fit_preprocessing
from fraudloop.training.train import train
from tests.worlds import DAY_US, FEATURES, feature_table

RESAMPLING = ("smote", "undersample", "smote_undersample")
CONFIG: dict[str, Any] = {"algorithms": ["xgboost"], "threads": 1, "seed": 3, "members": 1, "xgboost": {"rounds": 40}}


def rows(family: str, n: int = 600, frauds: int = 20, seed: int = 1) -> tuple[Floats, Bools, ColumnKinds]:
    """Preprocessed rows with everything in them: amounts, counts, flags, a partly missing number, a category."""
    random = np.random.default_rng(seed)
    y = np.zeros(n, bool)
    y[random.choice(n, frauds, replace=False)] = True
    amount = np.exp(random.normal(3, 1, n) + y)
    count = random.poisson(3 + 4 * y).astype(float)
    flag = (random.random(n) < 0.3 + 0.4 * y).astype(float)
    mean = np.where(random.random(n) < 0.3, np.nan, random.normal(0, 1, n))
    land = [None if r < 0.1 else "DE" if r < 0.5 else "FR" if r < 0.8 else "US" for r in random.random(n)]
    inputs = Inputs(("amount", "count", "flag", "mean"), np.column_stack([amount, count, flag, mean]), {"country": land})
    fitted = fit_preprocessing(inputs, PLANS[family])
    return fitted.apply(inputs), y, ColumnKinds.of(fitted)


def share(y: Bools, weight: Floats) -> float:
    return float(weight[y].sum() / weight[~y].sum())


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s != "none"])
@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("thinned", [1.0, 7.5])
def test_frauds_weigh_the_ratio_of_genuine_rows_afterwards(strategy: str, ratio: float, thinned: float) -> None:
    x, y, kinds = rows("boosted")
    weight = np.where(y, 1.0, thinned)
    x2, y2, weight2 = resample(x, y, weight, strategy, 0, ratio, kinds)
    assert len(x2) == len(y2) == len(weight2)
    assert share(y2, weight2) == pytest.approx(ratio)
    assert prior_shift(20, round(580 * thinned), strategy, ratio) == pytest.approx(math.log(share(y2, weight2) / share(y, weight)))


def test_none_and_rows_that_reach_the_ratio_are_left_as_they_are() -> None:
    x, y, kinds = rows("boosted", frauds=100)
    for strategy, ratio in (("none", None), ("smote", 0.1), ("undersample", 0.05), ("class_weights", 0.2), ("smote_undersample", 0.15)):
        same = resample(x, y, np.ones(len(y)), strategy, 0, ratio, kinds)
        assert same[0] is x and same[1] is y
        assert prior_shift(100, 500, strategy, ratio) == 0.0


@pytest.mark.parametrize("family", list(PLANS))
@pytest.mark.parametrize("strategy", ["smote", "smote_undersample"])
def test_made_frauds_are_rows_that_could_be(family: str, strategy: str) -> None:
    x, y, kinds = rows(family)
    x2, y2, _ = resample(x, y, np.ones(len(y)), strategy, 0, 0.5, kinds)
    made = x2[y2][int(y.sum()) :]
    assert len(made) > 20
    for column in kinds.codes:
        assert np.isin(made[:, column], x[:, column]).all() or np.isnan(x[:, column]).any()
    for first, end in kinds.one_hot:
        assert (made[:, first:end].sum(axis=1) == 1.0).all()
    for column, mark in kinds.indicators:
        filling = x[x[:, mark] == 1.0, column][0]
        assert (made[made[:, mark] == 1.0, column] == filling).all()
    if family == "boosted":
        amount, count, flag, mean = made[:, :4].T
        assert (np.rint(count) == count).all() and set(np.unique(flag)) <= {0.0, 1.0}
        assert 0 < np.isnan(mean).mean() < 1  # missing stays missing, and is not everywhere
        assert set(np.unique(made[:, 4][~np.isnan(made[:, 4])])) <= {0.0, 1.0, 2.0}
    else:
        amount = made[:, 0]
        assert np.isfinite(made).all()
    fraud = x[y, 0]
    assert fraud.min() <= amount.min() and amount.max() <= fraud.max()
    assert len(np.unique(amount)) > 20  # between the frauds, not copies of them


def test_smote_changes_no_given_row_and_undersampling_drops_genuine_rows_only() -> None:
    x, y, kinds = rows("boosted")
    x2, y2, _ = resample(x, y, np.ones(len(y)), "smote", 0, 0.3, kinds)
    assert np.array_equal(x2[: len(x)], x, equal_nan=True) and np.array_equal(y2[: len(y)], y) and y2[len(y) :].all()
    x3, y3, _ = resample(x, y, np.ones(len(y)), "undersample", 0, 0.3, kinds)
    assert int(y3.sum()) == 20 and int((~y3).sum()) == round(20 / 0.3)
    known = {row.tobytes() for row in x}
    assert all(row.tobytes() in known for row in x3)


@pytest.mark.parametrize("strategy", RESAMPLING)
def test_the_seed_decides_the_draw(strategy: str) -> None:
    x, y, kinds = rows("boosted")
    first, again, other = (resample(x, y, np.ones(len(y)), strategy, seed, 0.3, kinds)[0] for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()


@given(
    frauds=st.integers(0, 7), strategy=st.sampled_from(STRATEGIES), flags=st.booleans(), missing=st.floats(0, 1), seed=st.integers(0, 99)
)
def test_few_frauds_and_odd_columns_never_stop_it(frauds: int, strategy: str, flags: bool, missing: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    y = np.arange(60) < frauds
    x = (random.random((60, 3)) < 0.5).astype(float) if flags else random.normal(size=(60, 3))
    x[random.random(60) < missing, 1] = np.nan
    x[:, 2] = 4.0
    x2, y2, weight2 = resample(x, y, np.ones(60), strategy, seed, 0.5)
    assert int(y2.sum()) >= frauds and (weight2 > 0).all() and x2.shape[1] == 3
    if frauds and strategy != "none":
        assert share(y2, weight2) == pytest.approx(0.5)


def test_a_strategy_there_is_not_is_named() -> None:
    with pytest.raises(InputError, match="did you mean 'smote'"):
        TrainConfig(imbalance="smot")
    with pytest.raises(InputError, match="imbalance_ratio"):
        TrainConfig(imbalance="smote", imbalance_ratio=2.0)


def test_validation_rows_are_never_resampled(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset.of(feature_table(), FEATURES.names, 7 * DAY_US)
    config = TrainConfig.from_dict({**CONFIG, "imbalance": "smote_undersample"})
    seen: list[int] = []

    def watch(x: Floats, *rest: Any) -> Any:
        seen.append(len(x))
        return resample(x, *rest)

    monkeypatch.setattr("fraudloop.training.folds.resample", watch)
    past = past_of(data, config)
    for fold in past.folds:
        tables = FoldTables.of(data, fold, config)
        (margins,) = tables.margins("xgboost", config.settings_of("xgboost")[0], config, [40])
        assert len(margins) == len(fold.validate)
    assert seen == [len(fold.train) for fold in past.folds]


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s != "none"])
def test_scores_stay_calibrated_whatever_the_strategy(strategy: str) -> None:
    """The shifted prior: a model of resampled rows says too much, calibration on untouched rows puts it right."""
    result = train(feature_table(), FEATURES, TrainConfig.from_dict({**CONFIG, "imbalance": strategy}), delay_us=7 * DAY_US)
    (bundle,) = (result.bundle.model(),)
    data = Dataset.of(feature_table(), FEATURES.names, 7 * DAY_US)
    assert result.report["config"]["imbalance"] == strategy
    assert result.report["test"]["all"]["calibration_error"] < 0.03
    fraud = float(result.test.y.mean())
    assert float(result.test.score.mean()) == pytest.approx(fraud, rel=0.25)
    raw = 1 / (1 + np.exp(-bundle.margins(data.inputs(result.test_rows))))
    assert float(raw.mean()) > 1.5 * fraud


def test_on_validation_the_calibrated_mean_is_the_fraud_share_under_undersampling() -> None:
    from fraudloop.training.calibration import fit_calibration

    config = TrainConfig.from_dict({**CONFIG, "imbalance": "undersample", "imbalance_ratio": 1.0})
    data = Dataset.of(feature_table(), FEATURES.names, 7 * DAY_US)
    margins, truth = [], []
    for fold in past_of(data, config).folds:
        tables = FoldTables.of(data, fold, config)
        margins.append(tables.margins("xgboost", config.settings_of("xgboost")[0], config, [40])[0])
        truth.append(fold.y_validate)
    m, y = np.concatenate(margins), np.concatenate(truth)
    raw = float((1 / (1 + np.exp(-m))).mean())
    assert raw > 2 * float(y.mean())
    for method in ("isotonic", "platt"):
        assert float(fit_calibration(m, y, method).apply(m).mean()) == pytest.approx(float(y.mean()), rel=0.05)


def test_without_validation_days_the_prior_is_put_right_by_its_formula() -> None:
    table = feature_table(rows=1_500, days=3)
    result = train(
        table.with_columns(label_known_at=table["timestamp"]), FEATURES,
        TrainConfig.from_dict({**CONFIG, "imbalance": "undersample", "imbalance_ratio": 1.0}), delay_us=0,
        train_period=_period("2024-01-01..2024-01-01"), test_period=_period("2024-01-02..2024-01-03"),
    )  # fmt: skip
    assert not result.report["validation"]["folds"]
    assert float(result.test.score.mean()) == pytest.approx(float(result.test.y.mean()), rel=0.6)
    assert float(result.test.score.mean()) < 0.12


def _period(text: str) -> Any:
    from fraudloop.training.splits import Period

    return Period.parse(text)
