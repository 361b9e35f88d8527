"""Fitting of preprocessing, and the notebook's FraudPreprocessor."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from fraudloop.errors import InputError
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.preprocessing import NumberStep, OneHotStep
from fraudloop.training.preprocessing import BOOSTED, LEVEL_ROWS_MIN, LEVELS_MAX, LINEAR, fit_preprocessing
from fraudloop.training.trainer import FraudPreprocessor
from tests.worlds import feature_table

NUMBERS, WORDS = ("amount", "customer_count_24h", "customer_amount_mean_7d"), ("country",)


def test_scaled_columns_have_mean_0_and_deviation_1_on_the_rows_they_were_fitted_on() -> None:
    preprocessor = FraudPreprocessor("linear").fit(feature_table(), NUMBERS, WORDS)
    out = preprocessor.transform(feature_table())
    for index, name in enumerate(preprocessor.columns):
        if name in NUMBERS:
            assert out[:, index].mean() == pytest.approx(0, abs=1e-9)
            assert out[:, index].std() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("family", ["boosted", "forest", "linear"])
def test_new_words_missing_and_infinite_numbers_are_survived(family: str) -> None:
    preprocessor = FraudPreprocessor(family).fit(feature_table(), NUMBERS, WORDS)
    odd = pl.DataFrame({"amount": [None, float("inf"), 1e300], "customer_count_24h": [0.0, -5.0, None], "customer_amount_mean_7d": [1.0] * 3,
                        "country": ["ZZ", None, "DE"]})  # fmt: skip
    out = preprocessor.transform(odd)
    assert out.shape == (3, len(preprocessor.columns))
    if family != "boosted":
        assert np.isfinite(out).all()


def test_it_survives_the_way_through_json() -> None:
    preprocessor = FraudPreprocessor("forest").fit(feature_table(), NUMBERS, WORDS)
    again = FraudPreprocessor.from_dict(json.loads(json.dumps(preprocessor.to_dict())))
    assert again.transform(feature_table()).tobytes() == preprocessor.transform(feature_table()).tobytes()


def test_rare_words_share_one_place_and_the_number_of_levels_is_bounded() -> None:
    words = [*(f"w{i}" for i in range(LEVELS_MAX + 30) for _ in range(LEVEL_ROWS_MIN)), *["rare"] * (LEVEL_ROWS_MIN - 1)]
    (step,) = fit_preprocessing(Inputs((), np.empty((len(words), 0)), {"w": words}), LINEAR).steps
    assert isinstance(step, OneHotStep)
    assert len(step.levels) == LEVELS_MAX
    assert "rare" not in step.levels


def test_a_column_without_two_values_is_dropped_but_one_that_is_sometimes_missing_is_kept() -> None:
    values = np.array([[1.0, 1.0, np.nan], [1.0, np.nan, np.nan], [1.0, 1.0, np.inf]])
    (step,) = fit_preprocessing(Inputs(("same", "sometimes", "never"), values), BOOSTED).steps
    assert isinstance(step, NumberStep)
    assert step.column == "sometimes"


def test_an_outlier_does_not_tilt_a_scaled_column() -> None:
    values = np.append(np.random.default_rng(0).normal(size=9_999), 1e12)[:, None]
    (step,) = fit_preprocessing(Inputs(("a",), values), LINEAR).steps
    assert isinstance(step, NumberStep)
    assert step.scale == pytest.approx(1.0, abs=0.05)


def test_the_order_of_equally_frequent_words_is_that_of_the_alphabet() -> None:
    words: list[str | None] = ["b", "a", "c"] * LEVEL_ROWS_MIN
    (step,) = fit_preprocessing(Inputs((), np.empty((len(words), 0)), {"w": words}), BOOSTED).steps
    assert getattr(step, "levels", None) == ("a", "b", "c")


def test_what_is_not_fitted_or_not_there_says_so() -> None:
    with pytest.raises(InputError, match="call fit first"):
        FraudPreprocessor().transform(feature_table())
    with pytest.raises(InputError, match="there are boosted, forest, linear"):
        FraudPreprocessor("magic")
    with pytest.raises(InputError, match="lacks country"):
        FraudPreprocessor().fit(feature_table(), NUMBERS, WORDS).transform(feature_table().drop("country"))
