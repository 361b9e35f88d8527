"""What is typical is read from the profile of a bundle: medians as near as tenths tell them."""

from __future__ import annotations

import numpy as np
import pytest

from fraudloop.errors import BundleError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.typical import typical
from fraudloop.training.reference import reference_bytes, reference_profile


def bundle(values: np.ndarray[tuple[int, int], np.dtype[np.float64]], names: tuple[str, ...]) -> Bundle:
    profile = reference_profile(Inputs(names, values, {"country": ["DE"] * len(values)}), np.zeros(len(values)))
    return Bundle({"reference.parquet": reference_bytes(profile, {})}, ())


def test_a_median_is_told_to_a_tenth_of_the_rows() -> None:
    random = np.random.default_rng(0)
    values = np.column_stack([random.lognormal(3, 1, 5_000), random.poisson(2.0, 5_000), np.full(5_000, 7.0), np.full(5_000, np.nan)])
    values[::3, 0] = np.nan
    found = typical(bundle(values, ("amount", "count", "same", "never")))
    low, high = np.nanquantile(values[:, 0], [0.39, 0.61])
    assert low <= found["amount"] <= high
    assert found["count"] == 2.0
    assert found["same"] == 7.0
    assert set(found) == {"amount", "count", "same"}


def test_a_profile_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(BundleError, match=r"reference\.parquet"):
        typical(Bundle({"reference.parquet": b"no parquet"}, ()))
