"""Search spaces as data: the shipped ones fit the algorithms, every wrong entry is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraudloop.errors import InputError
from fraudloop.training.algorithms import ALGORITHMS
from fraudloop.training.spaces import Choices, Range, load_space, shipped_space


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_every_algorithm_has_a_space_around_its_defaults(name: str) -> None:
    own = ALGORITHMS[name]
    for parameter, dimension in shipped_space(name).items():
        value = own.defaults[parameter]
        if isinstance(dimension, Range):
            assert dimension.low <= value <= dimension.high, parameter
            assert not dimension.whole or type(value) is int, parameter
        else:
            assert value in dimension.values, parameter


def test_a_space_is_widened_to_hold_what_the_configuration_says() -> None:
    assert Range(2, 7).holding(5) == Range(2, 7)
    assert Range(0.1, 1.0, log=True).holding(0.01) == Range(0.01, 1.0, log=True)
    assert Choices((1, 2)).holding("sqrt") == Choices(("sqrt", 1, 2))
    assert not Range(2, 7).holding(2.5).whole


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[forest]\ndepht = { low = 1, high = 2 }", "did you mean 'depth'"),
        ("[forest]\ndepth = 3", r"forest\.depth: write"),
        ("[forest]\ndepth = { low = 3, high = 2 }", r"forest\.depth: write"),
        ("[forest]\ndepth = { low = 0, high = 2, log = true }", r"forest\.depth: write"),
        ("[forest]\ndepth = { low = 1 }", r"forest\.depth: write"),
        ("[forest]\ndepth = { choices = [] }", r"forest\.depth: write"),
        ("[forest]\ndepth = { choices = [[1]] }", "choices are numbers"),
        ("[xgboost]\ndepth = { low = 1, high = 2 }", r"no search space \[forest\]"),
        ("[forest", "not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_space_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_space(tmp_path / "space.toml", "forest")


def test_a_space_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml"):
        load_space(tmp_path / "none.toml", "forest")
