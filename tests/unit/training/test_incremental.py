"""Updates between trainings: what changes, what stays, where a bundle came from, and what is refused."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudloop.errors import InputError
from fraudloop.scoring.bundle import Bundle
from fraudloop.training.config import TrainConfig
from fraudloop.training.folds import Dataset
from fraudloop.training.incremental import UpdateConfig, Updated, learned_until, update, update_linear
from fraudloop.training.splits import Period
from fraudloop.training.table import inputs_of
from fraudloop.training.train import train
from tests.worlds import DAY_US, FEATURES, FIRST, feature_table

TABLE = feature_table(5_000)
DELAY_US = 7 * DAY_US
TRAINED = Period(FIRST.date(), date(2024, 2, 4))
SMALL: dict[str, dict[str, Any]] = {
    "logistic": {"C": 0.1}, "forest": {"trees": 10}, "xgboost": {"rounds": 30}, "lightgbm": {"rounds": 30},
    "network": {"rounds": 5, "batch": 128, "hidden": [32, 16]},
}  # fmt: skip
CONFIG = UpdateConfig(threads=1)


def trained(algorithm: str, folder: Path) -> Bundle:
    config = TrainConfig(algorithms=(algorithm,), members=1, folds=1, threads=1, candidates={algorithm: (SMALL[algorithm],)})
    result = train(
        TABLE, FEATURES, config, delay_us=DELAY_US, train_period=TRAINED, test_period=Period(date(2024, 2, 12), date(2024, 2, 14))
    )
    return result.bundle.save(folder / algorithm)


def data(days: int = 60) -> Dataset:
    table = TABLE.filter(TABLE["timestamp"] < FIRST + timedelta(days=days))
    return Dataset.of(table, FEATURES.names, DELAY_US, words=("country",))


@pytest.fixture(scope="module", params=["logistic", "xgboost", "lightgbm", "network"])
def parent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return trained(request.param, tmp_path_factory.mktemp("parent"))


@pytest.fixture(scope="module")
def done(parent: Bundle) -> Updated:
    return update(parent, data(), CONFIG)


def test_only_models_and_metrics_change_and_the_manifest_names_the_parent(parent: Bundle, done: Updated, tmp_path: Path) -> None:
    changed = {name for name in parent.files if parent.files[name] != done.bundle.files[name]}
    assert changed == {"metrics.json", "smoke.json", *(row["file"] for row in parent.members)}
    assert set(done.bundle.files) == set(parent.files)
    saved = Bundle.load(done.bundle.save(tmp_path / "new").path or tmp_path)
    assert saved.origin["parent"] == parent.hash != saved.hash


def test_it_learns_the_days_that_have_become_known_and_no_others(done: Updated) -> None:
    assert (done.report["since"], done.report["until"]) == ("2024-02-05", "2024-02-21")
    y = data().truth.by(np.iinfo(np.int64).max)
    rows = data().rows(Period(date(2024, 2, 5), date(2024, 2, 21)))
    assert (done.report["transactions"], done.report["frauds"]) == (len(rows), int(y[rows].sum()))
    assert learned_until(done.bundle) == date(2024, 2, 21)


def test_scores_move_a_little_and_keep_their_merit(parent: Bundle, done: Updated) -> None:
    later = inputs_of(TABLE[4_000:], done.bundle.model().numbers, done.bundle.model().words)
    before, after = parent.model().margins(later), done.bundle.model().margins(later)
    assert 0 < np.abs(after - before).mean() < 1.5
    assert np.corrcoef(before, after)[0, 1] > 0.8


def test_the_same_update_gives_the_same_bytes(parent: Bundle, done: Updated) -> None:
    assert update(parent, data(), CONFIG).bundle.content == done.bundle.content


def test_nothing_after_the_cut_reaches_it(parent: Bundle) -> None:
    """Rows of later days, and labels known after the last learned day has matured, change no byte."""
    until = date(2024, 2, 10)
    assert update(parent, data(52), CONFIG, until=until).bundle.files == update(parent, data(60), CONFIG, until=until).bundle.files


def test_an_update_of_an_update_goes_on_where_it_ended(parent: Bundle, tmp_path: Path) -> None:
    first = update(parent, data(), CONFIG, until=date(2024, 2, 8)).bundle.save(tmp_path / "first")
    second = update(first, data(), CONFIG, until=date(2024, 2, 11))
    assert (second.report["since"], second.report["parent"], second.report["updates"]) == ("2024-02-09", first.hash, 2)


def test_without_new_matured_days_there_is_nothing_to_do(parent: Bundle) -> None:
    with pytest.raises(InputError, match="knows the days until 2024-02-04, and labels are in until 2024-02-01"):
        update(parent, data(40), CONFIG)


def test_a_booster_that_has_grown_too_large_asks_for_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="train it again"):
        update(trained("xgboost", tmp_path), data(), UpdateConfig(rounds=5, trees_max=8, threads=1))


def test_a_forest_cannot_learn_a_little(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no member can be updated"):
        update(trained("forest", tmp_path), data(), CONFIG)


def test_held_weights_of_a_logistic_regression_stay_and_free_ones_fit_the_new_rows() -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((4_000, 2))
    y = random.random(4_000) < 1.0 / (1.0 + np.exp(-(x @ [2.0, -1.0] - 1.0)))
    old = json.dumps({"intercept": 0.0, "weights": [0.0, 0.0]}).encode()

    def weights(hold: float) -> list[float]:
        return json.loads(update_linear(old, x, y, np.ones(4_000), {"C": 1.0}, UpdateConfig(hold=hold, threads=1)))["weights"]  # type: ignore[no-any-return]

    assert weights(1e9) == pytest.approx([0.0, 0.0], abs=1e-3)
    assert weights(1e-3) == pytest.approx([2.0, -1.0], abs=0.2)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"epochs": 0}, {"replay_days": -1}, {"rate": 0.0}, {"hold": -1.0}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        UpdateConfig(**wrong)
