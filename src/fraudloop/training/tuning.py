"""Search of hyperparameters on folds of past days: Optuna's TPE, pruned by fold, seeded so that a resumed search goes on
as if it had never stopped.

The first trial is always what the configuration gives, so the best is never worse than that on the folds. The test days
are never looked at. The study is handed in: whoever calls decides whether it lives in memory or in a file.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fraudloop.clock import Clock, SystemClock
from fraudloop.errors import InputError
from fraudloop.telemetry import Progress, silent
from fraudloop.training.algorithms import checkpoints
from fraudloop.training.config import TrainConfig
from fraudloop.training.day_bootstrap import METRICS, DayCounts, mean_of_known
from fraudloop.training.folds import Dataset, FoldTables, Past
from fraudloop.training.spaces import Choices, Space

#: Trials drawn at random before the search learns from what it saw, and before any is pruned: the median of fewer says little.
STARTUP_TRIALS: Final = 8

#: Trials to do if nobody says how many.
TRIALS: Final = 50

#: How an Optuna trial ends, in our words.
COMPLETE, PRUNED = "complete", "pruned"

_DEFAULT, _ROUNDS, _SECONDS, _FOLDS = "default", "rounds", "seconds", "folds"


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of parameters that was finished. number: from 0, in order. state: `complete`, or `pruned` after the folds
    it has values of. value: mean of the folds at the best number of rounds (pruned: of those it saw). params: what was
    searched. default: whether it is the configuration's own."""

    number: int
    state: str
    value: float
    params: Mapping[str, Any]
    rounds: int | None
    by_fold: tuple[float, ...]
    seconds: float
    default: bool


@dataclass(frozen=True, slots=True)
class Tuned:
    """trials: all finished ones of the study. best: the best complete one. params: all parameters of the best, as `train`
    takes them. importance: share of the variance of values that each searched parameter explains (fANOVA), the largest
    first; empty with too few trials. stopped: `trials` or `budget`. before: finished trials that the study held already."""

    algorithm: str
    metric: str
    trials: tuple[Trial, ...]
    best: Trial
    params: Mapping[str, Any]
    importance: Mapping[str, float]
    stopped: str
    before: int

    @property
    def default(self) -> Trial:
        """The trial of the configuration's own parameters."""
        return next(trial for trial in self.trials if trial.default)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "algorithm": self.algorithm, "metric": self.metric, "stopped": self.stopped, "trials_before": self.before,
            "best": _plain(self.best), "default": _plain(self.default), "gain": self.best.value - self.default.value,
            "params": dict(self.params), "importance": dict(self.importance), "trials": [_plain(trial) for trial in self.trials],
        }  # fmt: skip


def _plain(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number, "state": trial.state, "value": trial.value, "default": trial.default, "params": dict(trial.params),
        "rounds": trial.rounds, "by_fold": list(trial.by_fold), "seconds": trial.seconds,
    }  # fmt: skip


def new_study(storage: Any = None, *, load: bool = False) -> Any:
    """An Optuna study for :func:`tune`, in memory or in an Optuna storage; `load`: the one that is there."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    if load:
        return optuna.load_study(study_name=STUDY, storage=storage, pruner=pruner)
    return optuna.create_study(study_name=STUDY, storage=storage, pruner=pruner, direction="maximize")


STUDY: Final = "fraudloop"


def tune(
    data: Dataset,
    past: Past,
    config: TrainConfig,
    algorithm: str,
    space: Space,
    study: Any = None,
    *,
    trials: int = TRIALS,
    budget_us: int | None = None,
    metric: str = METRICS[0],
    clock: Clock | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Search until the study holds `trials` finished trials or the time is over, whichever comes first.

    The time is looked at after every fold: a trial it ends is dropped and drawn again when the study goes on. The
    configuration's own parameters are tried whatever the time. A study that was interrupted goes on as it would have.
    InputError: no folds, an unknown metric, a study of other data, days, settings or space.
    """
    import optuna

    if metric not in METRICS:
        raise InputError(f"no metric {metric!r}; metrics: {', '.join(METRICS)}")
    if trials < 1:
        raise InputError(f"{trials} trials: there must be at least 1")
    if not past.folds:
        raise InputError(f"{past.train}: too few training days, or too little fraud on them, to hold any back for tuning")
    clock, study = clock or SystemClock(), study if study is not None else new_study()
    own = config.settings_of(algorithm)[0]
    space = {name: dimension.holding(own[name]) for name, dimension in space.items()}
    _agree(study, {**_terms(config, algorithm, metric, space), "data": _digest(data, past)})
    _drop_unfinished(study)

    before = len(_finished(study))
    start = clock.elapsed_ns()
    tables: dict[int, FoldTables] = {}
    distributions = {name: _distribution(dimension) for name, dimension in space.items()}
    stopped = "trials"
    while (done := len(_finished(study))) < trials:
        progress("trials", done, trials)
        default = not any(trial.user_attrs.get(_DEFAULT) for trial in _finished(study))
        if not default and _over(clock, start, budget_us):
            stopped = "budget"
            break
        study.sampler = optuna.samplers.TPESampler(seed=config.seed * 100_003 + done, n_startup_trials=STARTUP_TRIALS)
        if default and not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
            study.enqueue_trial({name: own[name] for name in space}, user_attrs={_DEFAULT: True})
        trial = study.ask(distributions)
        began = clock.elapsed_ns()
        params = {**own, **trial.params}
        found = _run(trial, data, past, config, algorithm, params, metric, tables, None if default else (clock, start, budget_us))
        if found is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            stopped = "budget"
            break
        state, values, rounds = found
        trial.set_user_attr(_SECONDS, (clock.elapsed_ns() - began) / 1e9)
        trial.set_user_attr(_FOLDS, list(values))
        trial.set_user_attr(_ROUNDS, rounds)
        if state == PRUNED:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, _known(mean_of_known(values)))
    progress("trials", len(_finished(study)), trials)
    return _tuned(study, algorithm, metric, own, stopped, before)


def _run(
    trial: Any,
    data: Dataset,
    past: Past,
    config: TrainConfig,
    algorithm: str,
    params: Mapping[str, Any],
    metric: str,
    tables: dict[int, FoldTables],
    until: tuple[Clock, int, int | None] | None,
) -> tuple[str, tuple[float, ...], int | None] | None:
    """Fit on one fold after another: (state, values by fold at the best number of rounds, that number), None if time is over.
    After each fold the pruner sees the mean so far. Without `until` neither time nor pruner ends it."""
    rounds = checkpoints(params)
    by_round: list[list[float]] = [[] for _ in rounds]
    best = 0
    for number, fold in enumerate(past.folds):
        if number not in tables:
            tables[number] = FoldTables.of(data, fold, config)
        margins = tables[number].margins(algorithm, params, config, rounds)
        for row, scores in zip(by_round, margins, strict=True):
            counts = DayCounts.of(fold.y_validate, scores, data.day[fold.validate], data.card[fold.validate])
            row.append(float(counts.metric(metric, np.ones((1, len(counts.frauds))))[0]))
        means = [_known(mean_of_known(row)) for row in by_round]
        best = int(np.argmax(means))
        trial.report(means[best], number)
        if until is None or number == len(past.folds) - 1:
            continue
        if trial.should_prune():
            return PRUNED, tuple(by_round[best]), rounds[best] or None
        if _over(*until):
            return None
    return COMPLETE, tuple(by_round[best]), rounds[best] or None


def _known(value: float) -> float:
    """0 where no fold says anything: it is so for all trials alike."""
    return 0.0 if math.isnan(value) else value


def _over(clock: Clock, start_ns: int, budget_us: int | None) -> bool:
    return budget_us is not None and (clock.elapsed_ns() - start_ns) // 1_000 >= budget_us


def _distribution(dimension: Any) -> Any:
    import optuna

    if isinstance(dimension, Choices):
        return optuna.distributions.CategoricalDistribution(list(dimension.values))
    if dimension.whole:
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return optuna.distributions.FloatDistribution(float(dimension.low), float(dimension.high), log=dimension.log)


def _finished(study: Any) -> list[Any]:
    """Complete and pruned trials, in order."""
    from optuna.trial import TrialState

    return list(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def _drop_unfinished(study: Any) -> None:
    """Trials that a killed process left running count as failed; their parameters are drawn again, because the draw
    depends only on the seed and on what is finished."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def _terms(config: TrainConfig, algorithm: str, metric: str, space: Space) -> dict[str, Any]:
    """What two runs of one study must have in common, beside the data."""
    plain = {key: value for key, value in config.to_dict().items() if key not in _NO_TERM}
    return {
        "algorithm": algorithm,
        "metric": metric,
        "configuration": repr(sorted({**plain, "own": config.settings_of(algorithm)[0]}.items())),
        "search space": repr(sorted(space.items())),
    }


#: Parts of a configuration that change no trial of one algorithm.
_NO_TERM: Final = frozenset(
    {"algorithms", "members", "blend", "bootstrap", "costs", "budget", "calibration", "params", "candidates", "threads"}
)


def _agree(study: Any, terms: Mapping[str, Any]) -> None:
    known = study.user_attrs.get("fraudloop")
    if known is None:
        study.set_user_attr("fraudloop", dict(terms))
        return
    other = [name for name, value in terms.items() if known.get(name) != value]
    if other:
        raise InputError(
            f"the study was begun with another {' and another '.join(other)}; resume it with the same input, or begin a new study file"
        )


def _digest(data: Dataset, past: Past) -> str:
    """A fingerprint of the folds: rows, labels, values."""
    digest = hashlib.sha256()
    for fold in past.folds:
        for part in (fold.train, fold.y_train, fold.validate, fold.y_validate):
            digest.update(part.tobytes())
        for rows in (fold.train, fold.validate):
            inputs = data.inputs(rows)
            digest.update(repr(inputs.names).encode())
            digest.update(inputs.values.tobytes())
            digest.update(repr(sorted(inputs.categories.items())).encode())
    return digest.hexdigest()


def _tuned(study: Any, algorithm: str, metric: str, own: Mapping[str, Any], stopped: str, before: int) -> Tuned:
    from optuna.trial import TrialState

    trials = []
    for number, row in enumerate(_finished(study)):
        values = tuple(row.user_attrs[_FOLDS])
        state = COMPLETE if row.state == TrialState.COMPLETE else PRUNED
        trials.append(
            Trial(
                number, state, _known(mean_of_known(values)), dict(row.params), row.user_attrs[_ROUNDS], values, row.user_attrs[_SECONDS],
                bool(row.user_attrs.get(_DEFAULT)),
            )
        )  # fmt: skip
    complete = [trial for trial in trials if trial.state == COMPLETE]
    best = max(complete, key=lambda trial: trial.value)  # of equals the earliest
    params = {**own, **best.params}  # with all rounds: training tries the same parts of them
    return Tuned(algorithm, metric, tuple(trials), best, params, _importance(study, complete), stopped, before)


def _importance(study: Any, complete: Sequence[Trial]) -> dict[str, float]:
    """Hutter, Hoos & Leyton-Brown (2014)."""
    import optuna

    if len(complete) < STARTUP_TRIALS or len({trial.value for trial in complete}) < 2:
        return {}
    found = optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))
    return {name: float(value) for name, value in found.items()}


def tuned_config(config: TrainConfig, tuned: Tuned) -> TrainConfig:
    """The configuration with the best parameters in place, training this algorithm alone."""
    return replace(
        config, algorithms=(tuned.algorithm,), params={**config.params, tuned.algorithm: dict(tuned.params)},
        candidates={name: rows for name, rows in config.candidates.items() if name != tuned.algorithm},
    )  # fmt: skip
