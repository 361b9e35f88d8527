"""What a training run is told: TOML in, every wrong key named."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fraudloop.errors import InputError
from fraudloop.training import config as module
from fraudloop.training.config import TrainConfig


def test_the_example_of_the_module_is_a_config() -> None:
    text = "\n".join(line for line in (module.__doc__ or "").splitlines()[1:])
    config = TrainConfig.from_dict(tomllib.loads(text))
    assert (config.seed, config.algorithms, config.members) == (7, ("xgboost", "lightgbm"), 3)
    assert (config.costs.review, config.budget.per_day, config.budget.share) == (5, 100, None)
    assert config.settings_of("xgboost")[0]["depth"] == 3
    assert config.settings_of("xgboost")[0]["rate"] == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed = 1", "unknown key 'sed'; did you mean 'seed'"),
        ("algorithms = ['xgbost']", "no algorithm 'xgbost'; did you mean 'xgboost'"),
        ("algorithms = []", "no algorithm to train"),
        ("algorithms = ['forest', 'forest']", "stands twice"),
        ("[xgboost]\ndept = 3", "xgboost has no parameter 'dept'; did you mean 'depth'"),
        ("[[candidates.forest]]\nleafs = 3", "forest has no parameter 'leafs'"),
        ("[costs]\nreviews = 3", "unknown key 'reviews'; did you mean 'review'"),
        ("[budget]\nper_day = 3\nshare = 0.1", "either per_day or share"),
        ("members = 0", "members = 0 must be at least 1"),
        ("members = 'two'", "wrong type"),
        ("calibration = 'none'", "isotonic or platt"),
        ("costs = 3", "must be a table"),
        ("a = [", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        TrainConfig.load(tmp_path / "c.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml"):
        TrainConfig.load(tmp_path / "none.toml")
