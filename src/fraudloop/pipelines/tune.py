"""`tune`: a search of hyperparameters on past days, kept in a study file that a killed search goes on from.

The study is an SQLite file, written by Optuna after every fold. Beside it lies a lock, so that two searches never share
one study. The result is a configuration that `train --config` reads.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fraudloop.clock import Clock
from fraudloop.domain.definitions import parse_duration_us
from fraudloop.errors import InputError
from fraudloop.pipelines.past import Source, make_folder, read_past
from fraudloop.reports.tuning import draw_study
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.config import TrainConfig
from fraudloop.training.day_bootstrap import METRICS
from fraudloop.training.spaces import load_space, shipped_space
from fraudloop.training.train import to_json
from fraudloop.training.tuning import TRIALS, Tuned, new_study, tune, tuned_config

#: The study file in the folder of results, if no other is named.
STUDY_FILE = "study.db"


def tune_file(
    source: Source,
    out: Path,
    algorithm: str,
    *,
    trials: int = TRIALS,
    budget: str | None = None,
    study: Path | None = None,
    resume: bool = False,
    space: Path | None = None,
    metric: str = METRICS[0],
    config: TrainConfig | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> Tuned:
    """Read, fold, search; `tuned.toml`, `tuning.json` and plots in the folder `out`, the study in `study` (else in `out`).

    budget: a duration like `10m`. resume: go on with the study that is there; without it there must be none.
    InputError says what in the file, the map, the periods, the configuration, the space or the study cannot be used.
    """
    settings, config = settings or Settings(), config or TrainConfig()
    chosen = shipped_space(algorithm) if space is None else load_space(space, algorithm)
    budget_us = None if budget is None else parse_duration_us(budget, "--budget")
    make_folder(out)
    with open_study(study or out / STUDY_FILE, resume=resume) as opened:
        data, past = read_past(source, config, settings, progress)
        tuned = tune(
            data, past, config, algorithm, chosen, opened, trials=trials, budget_us=budget_us, metric=metric, clock=clock, progress=progress
        )
    report = tuned.to_dict()
    (out / "tuned.toml").write_text(_head(tuned, len(past.folds)) + tuned_config(config, tuned).to_toml(), "utf-8")
    (out / "tuning.json").write_bytes(to_json(report))
    for name, picture in draw_study(report).items():
        (out / name).write_bytes(picture)
    return tuned


@contextmanager
def open_study(path: Path, *, resume: bool) -> Iterator[Any]:
    """A new study in an SQLite file, or with `resume` the one in it; nobody else may use it meanwhile."""
    if path.exists() and not resume:
        raise InputError(f"{path}: there is a study already; go on with it by --resume, or name another file by --study")
    if resume and not path.is_file():
        raise InputError(f"{path}: there is no study to resume; leave --resume out to begin one")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}")
    lock = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{path}: another search is using this study; wait for it or stop it") from error
        with _storage(path) as storage:
            yield _study(storage, path, resume)
    finally:
        os.close(lock)


@contextmanager
def _storage(path: Path) -> Iterator[Any]:
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import DatabaseError
    from sqlalchemy.pool import NullPool

    try:
        storage = RDBStorage(f"sqlite:///{path.absolute()}", engine_kwargs={"poolclass": NullPool})
    except (DatabaseError, RuntimeError) as error:
        raise InputError(f"{path}: not a study file of this version; name another by --study") from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _study(storage: Any, path: Path, resume: bool) -> Any:
    from optuna.exceptions import DuplicatedStudyError

    try:
        return new_study(storage, load=resume)
    except (KeyError, DuplicatedStudyError) as error:
        raise InputError(f"{path}: holds another kind of study; name another file by --study") from error


def _head(tuned: Tuned, folds: int) -> str:
    """What the file says of itself."""
    gain = tuned.best.value - tuned.default.value
    return (
        f"# Found by fraudloop tune: {len(tuned.trials)} trials, {tuned.metric} {tuned.best.value:.4f} on {folds} validation folds,\n"
        f"# {gain:+.4f} against the parameters it began with. Use it: fraudloop train FILE --config tuned.toml\n"
    )
