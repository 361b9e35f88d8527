"""The search: never worse than where it began, pruned, within its time, and the same when it is interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest

from fraudloop.clock import ManualClock
from fraudloop.errors import InputError
from fraudloop.training.config import TrainConfig
from fraudloop.training.folds import Dataset, past_of
from fraudloop.training.spaces import Choices, Range, Space
from fraudloop.training.train import train
from fraudloop.training.tuning import Tuned, new_study, tune, tuned_config
from tests.worlds import DAY_US, FEATURES, feature_table

CONFIG = TrainConfig.from_dict(
    {"algorithms": ["xgboost"], "threads": 1, "seed": 3, "members": 1, "folds": 3, "fold_days": 5, "xgboost": {"rounds": 24}}
)
#: The start is near the best; small rates and depths do much worse, so that pruning has something to do.
SPACE: Space = {
    "rate": Range(0.001, 0.3, log=True), "depth": Range(1, 6), "rows_share": Range(0.2, 1.0), "base_score": Choices((0.5, 0.1)),
}  # fmt: skip
SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class TickingClock:
    """A clock that goes on by a second whenever it is read."""

    ns: int = 0
    reads: list[int] = field(default_factory=list)

    def now_us(self) -> int:
        return self.ns // 1_000

    def elapsed_ns(self) -> int:
        self.ns += SECOND_NS
        return self.ns


def table(**more: Any) -> pl.DataFrame:
    return feature_table(rows=3_000, **more)


def run(study: Any = None, trials: int = 14, *, rows: pl.DataFrame | None = None, config: TrainConfig = CONFIG, **more: Any) -> Tuned:
    data = Dataset.of(table() if rows is None else rows, FEATURES.names, 7 * DAY_US)
    return tune(
        data, past_of(data, config), config, "xgboost", more.pop("space", SPACE), study, trials=trials, **{"clock": ManualClock(), **more}
    )


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    return run()


def seen(result: Tuned) -> list[tuple[Mapping[str, Any], str, float]]:
    return [(dict(trial.params), trial.state, trial.value) for trial in result.trials]


def test_the_first_trial_is_the_configuration_and_the_best_is_no_worse(tuned: Tuned) -> None:
    first = tuned.trials[0]
    own = CONFIG.settings_of("xgboost")[0]
    assert first.default and first.params == {name: own[name] for name in SPACE} and first.state == "complete"
    assert tuned.best.value >= first.value
    assert sum(trial.default for trial in tuned.trials) == 1
    assert (tuned.stopped, tuned.before, len(tuned.trials)) == ("trials", 0, 14)


def test_the_start_stays_the_best_where_nothing_better_is_found() -> None:
    result = run(trials=3, space={"rate": Range(0.001, 0.0011)}, config=CONFIG)
    assert result.best.default and result.params["rate"] == CONFIG.settings_of("xgboost")[0]["rate"]


def test_bad_trials_are_stopped_after_a_fold_and_never_recommended(tuned: Tuned) -> None:
    pruned = [trial for trial in tuned.trials if trial.state == "pruned"]
    assert pruned and all(len(trial.by_fold) < 3 for trial in pruned)
    assert all(len(trial.by_fold) == 3 for trial in tuned.trials if trial.state == "complete")
    assert tuned.best.state == "complete"


def test_importance_adds_up_and_is_of_the_searched_parameters(tuned: Tuned) -> None:
    assert set(tuned.importance) == set(SPACE)
    assert sum(tuned.importance.values()) == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_search_and_another_another(tuned: Tuned) -> None:
    assert seen(run(trials=5)) == seen(tuned)[:5]
    assert seen(run(trials=5, config=TrainConfig(**{**_fields(CONFIG), "seed": 4}))) != seen(tuned)[:5]


def test_a_search_interrupted_between_trials_goes_on_as_if_it_had_not_been(tuned: Tuned) -> None:
    study = new_study()
    run(study, 6)
    rest = run(study, 14)
    assert seen(rest) == seen(tuned) and rest.before == 6


def test_a_search_killed_in_the_middle_of_a_trial_draws_it_again(tuned: Tuned) -> None:
    study = new_study()
    run(study, 3)

    class KilledError(BaseException):
        """Stands for the end of the process: nothing after it is run."""

    def kill_at(stage: str, done: int, total: int) -> None:
        if done == 5:
            raise KilledError

    with pytest.raises(KilledError):
        run(study, 14, progress=kill_at)
    study.ask()  # a trial that was begun and never told
    assert seen(run(study, 14)) == seen(tuned)


def test_the_time_ends_the_search_but_not_the_first_trial() -> None:
    result = run(trials=100, clock=TickingClock(), budget_us=1)
    assert (result.stopped, len(result.trials)) == ("budget", 1)
    assert result.trials[0].default and len(result.trials[0].by_fold) == 3


def test_a_trial_that_the_time_cuts_off_is_not_lost_to_the_next_run(tuned: Tuned) -> None:
    study = new_study()
    result = run(study, 14, clock=TickingClock(), budget_us=12_000_000)
    assert result.stopped == "budget" and 1 < len(result.trials) < 14
    assert seen(run(study, 14)) == seen(tuned)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"rows": feature_table(rows=3_000, seed=6)}, "another data"),
        ({"space": {"depth": Range(1, 3)}}, "another search space"),
        ({"metric": "auc_roc"}, "another metric"),
        ({"config": TrainConfig(**{**{f: getattr(CONFIG, f) for f in CONFIG.__slots__}, "seed": 9})}, "another configuration"),
    ],
)
def test_a_study_of_something_else_is_refused(more: dict[str, Any], message: str) -> None:
    study = new_study()
    run(study, 1)
    with pytest.raises(InputError, match=message):
        run(study, 2, **more)


@pytest.mark.parametrize(("more", "message"), [({"metric": "f1"}, "no metric 'f1'"), ({"trials": 0}, "at least 1")])
def test_what_cannot_be_searched_is_named(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(**more)


def test_training_with_what_was_found_gives_the_value_that_was_found(tuned: Tuned) -> None:
    found = tuned_config(CONFIG, tuned)
    assert TrainConfig.from_dict(_toml(found.to_toml())) == found
    data = Dataset.of(table(), FEATURES.names, 7 * DAY_US)
    past = past_of(data, CONFIG)
    report = train(table(), FEATURES, found, delay_us=7 * DAY_US, train_period=past.train, test_period=past.test).report
    value = report["validation"]["algorithms"]["xgboost"]["average_precision"]
    assert value == pytest.approx(tuned.best.value, abs=1e-12)


def test_the_test_days_change_nothing(tuned: Tuned) -> None:
    data = Dataset.of(table(), FEATURES.names, 7 * DAY_US)
    late = pl.col("timestamp").dt.date() >= past_of(data, CONFIG).test.first
    turned = table().with_columns(amount=pl.when(late).then(-pl.col("amount")).otherwise("amount"))
    assert seen(run(rows=turned, trials=3)) == seen(tuned)[:3]


def _fields(config: TrainConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__slots__}


def _toml(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)
