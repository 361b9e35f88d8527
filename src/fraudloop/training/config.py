"""What a training run is told, as one frozen value; a TOML file gives any part of it. It reads no table.

seed = 7
algorithms = ["xgboost", "lightgbm"]
weights = { xgboost = 0.6, network = 0.4 }   # of the ensemble that competes; or "found" on the validation folds
members = 3                      # seeds averaged in each model
fraud_weight = 1                 # or a number, or "balanced"
imbalance = "undersample"        # or none, class_weights, smote, smote_undersample
[costs]
review = 5
[budget]
per_day = 100                    # or share = 0.01
[xgboost]                        # parameters, see `fraudloop.training.algorithms`
depth = 3
[[candidates.xgboost]]           # sets of parameters that validation chooses from
rate = 0.1
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fraudloop.errors import InputError
from fraudloop.training.algorithms import ALGORITHMS, find_algorithm
from fraudloop.training.ensembles import DEFAULT_WEIGHTS, check_weights
from fraudloop.training.imbalance import check_strategy
from fraudloop.training.metrics import CostMatrix, ReviewBudget


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """seed: of every random draw. algorithms: trained side by side. members: seeds averaged in each boosted model. blend: whether ensembles compete too: equal means of the best, and `weights`
    (`training.ensembles`): a table by algorithm, or "found" on the validation folds. fraud_weight: of a fraud
    in the loss. imbalance: strategy for training rows (`training.imbalance`). imbalance_ratio: frauds over genuine rows that it
    aims at (None: its own). folds, fold_days: validation folds before the test (fold_days None: as the test, at most 7).
    exclude_known_compromised: whether cards known as compromised are left out where models are judged. calibration:
    isotonic or platt. categories: text columns to read (None: all suitable). segments: columns to report by (None: country,
    merchant_category and channel, where they are). withheld: columns of the table that no model may read. fold_rows_max: training rows of a validation
    fold. bootstrap: rounds for 95 % intervals, drawing cards (0: none). threads: of the libraries in training.
    params: by algorithm. candidates: by algorithm, instead of its own.
    """

    seed: int = 0
    algorithms: tuple[str, ...] = tuple(name for name, algorithm in ALGORITHMS.items() if algorithm.supervised)
    members: int = 3
    blend: bool = True
    weights: Mapping[str, float] | str = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    fraud_weight: float | str = 1.0
    imbalance: str = "none"
    imbalance_ratio: float | None = None
    folds: int = 4
    fold_days: int | None = None
    fold_rows_max: int = 300_000
    exclude_known_compromised: bool = True
    calibration: str = "isotonic"
    categories: tuple[str, ...] | None = None
    segments: tuple[str, ...] | None = None
    withheld: tuple[str, ...] = ()
    bootstrap: int = 200
    threads: int = 2
    costs: CostMatrix = field(default_factory=CostMatrix)
    budget: ReviewBudget = field(default_factory=ReviewBudget)
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    candidates: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.algorithms:
            raise InputError(f"no algorithm to train; algorithms: {', '.join(ALGORITHMS)}")
        for name in (*self.algorithms, *self.params, *self.candidates):
            find_algorithm(name)
        if len(set(self.algorithms)) != len(self.algorithms):
            raise InputError(f"an algorithm stands twice: {', '.join(self.algorithms)}")
        for name in ("members", "folds", "fold_rows_max", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)} must be at least 1")
        check_weights(self.weights)
        for name in () if isinstance(self.weights, str) else self.weights:
            find_algorithm(name)
        check_strategy(self.imbalance)
        if self.imbalance_ratio is not None and not 0 < self.imbalance_ratio <= 1:
            raise InputError(f"imbalance_ratio = {self.imbalance_ratio!r} must be above 0 and at most 1")
        if self.calibration not in ("isotonic", "platt"):
            raise InputError(f"calibration = {self.calibration!r} must be isotonic or platt")

    def settings_of(self, algorithm: str) -> list[dict[str, Any]]:
        """The parameter sets of an algorithm that validation chooses from, the first the default."""
        own = find_algorithm(algorithm)
        return [own.params({**self.params.get(algorithm, {}), **c}) for c in self.candidates.get(algorithm, own.candidates)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the bundle."""
        return asdict(self)

    def to_toml(self) -> str:
        """What differs from the defaults, in the form that :meth:`load` reads."""
        usual = TrainConfig()
        lines: list[str] = []
        tables: list[tuple[str, Mapping[str, Any]]] = []
        for f in fields(TrainConfig):
            value = getattr(self, f.name)
            if f.name in ("params", "candidates") or value == getattr(usual, f.name):
                continue
            if f.name in ("costs", "budget"):
                tables.append((f"[{f.name}]", asdict(value)))
            else:
                lines.append(f"{f.name} = {_toml(value)}")
        tables += [(f"[{name}]", params) for name, params in self.params.items() if params]
        tables += [(f"[[candidates.{name}]]", row) for name, rows in self.candidates.items() for row in rows]
        for head, row in tables:
            lines += [f"\n{head}", *(f"{key} = {_toml(value)}" for key, value in row.items() if value is not None)]
        return "\n".join(lines).strip() + "\n"

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "config") -> TrainConfig:
        """Build and check; InputError names the key and the nearest known one."""
        plain = {f.name for f in fields(TrainConfig)} - {"params"}
        out: dict[str, Any] = {"params": {}}
        for key, value in data.items():
            if key in ALGORITHMS:
                out["params"][key] = dict(_table(value, f"{where}: {key}"))
            elif key == "costs":
                out[key] = _build(CostMatrix, value, f"{where}: costs")
            elif key == "budget":
                budget = dict(_table(value, f"{where}: budget"))
                out[key] = _build(ReviewBudget, {"share": None, **budget}, f"{where}: budget")
                if (out[key].per_day is None) == (out[key].share is None):
                    raise InputError(f"{where}: budget needs either per_day or share")
            elif key == "candidates":
                out[key] = {name: tuple(dict(row) for row in rows) for name, rows in _table(value, f"{where}: candidates").items()}
            elif key in plain:
                out[key] = tuple(value) if isinstance(value, list) else value
            else:
                close = get_close_matches(key, [*plain, *ALGORITHMS], n=1, cutoff=0.5)
                raise InputError(f"{where}: unknown key {key!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        try:
            config = TrainConfig(**out)
        except TypeError as error:
            raise InputError(f"{where}: a value has the wrong type ({error})") from error
        for name in ALGORITHMS:
            config.settings_of(name)
        return config

    @staticmethod
    def load(path: Path) -> TrainConfig:
        """Read a TOML file."""
        try:
            return TrainConfig.from_dict(tomllib.loads(Path(path).read_text("utf-8")), str(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not valid TOML: {error}") from error


def _toml(value: object) -> str:
    """A value as TOML; JSON's words and numbers are TOML's, but for what JSON has not."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: must be a table, like [{where.split(': ')[-1]}]")
    return value


def _build(kind: type[Any], value: object, where: str) -> Any:
    known = [f.name for f in fields(kind)]
    for key in _table(value, where):
        if key not in known:
            close = get_close_matches(key, known, n=1, cutoff=0.5)
            raise InputError(
                f"{where}: unknown key {key!r}" + (f"; did you mean {close[0]!r}?" if close else f"; it takes {', '.join(known)}")
            )
    return kind(**_table(value, where))
