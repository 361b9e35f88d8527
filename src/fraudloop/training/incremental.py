"""A model brought up to date between two trainings: each member learns a little from days whose labels have come in.

Preprocessing, calibration and thresholds stay those of the model it came from, so what its columns and its scores
mean does not move; a retraining makes them anew. It reads no file and writes none: `pipelines.update` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import Any, Final

import numpy as np

from fraudloop.errors import InputError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.smoke import SMOKE, cases_bytes, scored_anew
from fraudloop.telemetry import Progress, silent
from fraudloop.training.algorithms import class_weights
from fraudloop.training.folds import Dataset
from fraudloop.training.metrics import Bools, Floats, average_precision
from fraudloop.training.splits import Period, day_of_us, delay_days, midnight_us
from fraudloop.training.train import to_json


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    """rounds: trees that a booster gains. trees_max: of a booster, beyond which it must be retrained: each update leaves
    trees behind that time has passed by. epochs: of a network, at `rate` times the rate it was trained with. replay_days: days before the new ones that are
    learned beside them, so that what was known is not forgotten. hold: how strongly a logistic regression stays at its weights."""

    rounds: int = 5
    trees_max: int = 1_000
    epochs: int = 1
    rate: float = 0.5
    replay_days: int = 6
    hold: float = 1.0
    fraud_weight: float | str = 1.0
    seed: int = 0
    threads: int = 2

    def __post_init__(self) -> None:
        for name in ("rounds", "trees_max", "epochs", "threads"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)} must be at least 1")
        if self.replay_days < 0 or not self.rate > 0 or not self.hold > 0:
            raise InputError("replay_days must be at least 0, rate and hold above 0")


@dataclass(frozen=True, slots=True)
class Updated:
    """bundle: the new one, not saved yet; its manifest names its parent. report: what was learned from."""

    bundle: Bundle
    report: dict[str, Any]


Update = Callable[[bytes, Floats, Bools, Floats, Mapping[str, Any], UpdateConfig], bytes]


def update_xgboost(data: bytes, x: Floats, y: Bools, weight: Floats, params: Mapping[str, Any], config: UpdateConfig) -> bytes:
    """The booster with `config.rounds` trees more, fitted to these rows."""
    import xgboost

    from fraudloop.training.algorithms import xgboost_settings

    old = xgboost.Booster(model_file=bytearray(data))
    _check_trees(old.num_boosted_rounds(), config)
    rows = xgboost.DMatrix(x.astype(np.float32), y.astype(np.float32), weight=weight.astype(np.float32), nthread=config.threads)
    new = xgboost.train(xgboost_settings(params, config.seed, config.threads), rows, config.rounds, xgb_model=old)
    return bytes(new.save_raw("json"))


def update_lightgbm(data: bytes, x: Floats, y: Bools, weight: Floats, params: Mapping[str, Any], config: UpdateConfig) -> bytes:
    """The booster with `config.rounds` trees more, fitted to these rows."""
    import lightgbm

    from fraudloop.training.algorithms import lightgbm_settings

    old = lightgbm.Booster(model_str=data.decode())
    _check_trees(old.num_trees(), config)
    rows = lightgbm.Dataset(x, y.astype(np.float64), weight=weight, params={"verbosity": -1}, free_raw_data=False)
    new = lightgbm.train(lightgbm_settings(params, config.seed, config.threads), rows, config.rounds, init_model=old)
    return str(new.model_to_string()).encode()


def update_network(data: bytes, x: Floats, y: Bools, weight: Floats, params: Mapping[str, Any], config: UpdateConfig) -> bytes:
    """The network after `config.epochs` more on these rows."""
    from fraudloop.training.network import Weights, continue_network
    from fraudloop.training.network_onnx import decode_network

    weights, biases, baseline = decode_network(data)
    start = Weights([len(weights[0]), *(len(bias) for bias in biases)])
    for mine, theirs in zip([*start.weights, *start.biases], [*weights, *biases], strict=True):
        mine[:] = theirs
    changed = {**params, "rounds": config.epochs, "rate": params["rate"] * config.rate}
    return continue_network(start, baseline, x, y, weight, changed, config.seed, config.threads).encode()


def update_linear(data: bytes, x: Floats, y: Bools, weight: Floats, params: Mapping[str, Any], config: UpdateConfig) -> bytes:
    """The weights that fit these rows best while held at the old ones: Newton's steps from there on the weighted logistic
    loss plus `hold / (2 C)` times the squared distance."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    body = json.loads(data)
    old = np.array([body["intercept"], *body["weights"]])
    table = np.column_stack([np.ones(len(x)), x])
    hold = config.hold / params["C"]
    now = old.copy()
    with threadpool_limits(config.threads):
        for _ in range(_NEWTON_STEPS):
            chance = 1.0 / (1.0 + np.exp(-np.clip(table @ now, -30.0, 30.0)))
            slope = table.T @ (weight * (chance - y)) + hold * (now - old)
            bend = (table * (weight * chance * (1.0 - chance))[:, None]).T @ table
            bend[np.diag_indices_from(bend)] += hold
            step = np.linalg.solve(bend, slope)
            now = now - step
            if np.abs(step).max() < _NEWTON_TOLERANCE:
                break
    return json.dumps({**body, "intercept": float(now[0]), "weights": now[1:].tolist()}).encode() + b"\n"


_NEWTON_STEPS: Final = 25
_NEWTON_TOLERANCE: Final = 1e-8

#: By format; a forest or an isolation forest cannot learn a little, and stays as it is.
UPDATES: Final[Mapping[str, Update]] = {
    "linear-json": update_linear, "xgboost-json": update_xgboost, "lightgbm-text": update_lightgbm, "onnx-network": update_network,
}  # fmt: skip


def _check_trees(trees: int, config: UpdateConfig) -> None:
    if trees + config.rounds > config.trees_max:
        raise InputError(f"the booster has {trees} trees and may have {config.trees_max}; train it again (`fraudloop train`)")


def learned_until(bundle: Bundle) -> date:
    """The last day whose transactions a bundle has learned from; InputError if it does not say."""
    metrics = bundle.metrics
    try:
        text = metrics["update"]["until"] if "update" in metrics else metrics["training"]["period"].split("..")[1]
        return date.fromisoformat(text)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError("metrics.json does not say until which day the model has learned; train it again") from error


def update(
    bundle: Bundle,
    data: Dataset,
    config: UpdateConfig | None = None,
    *,
    until: date | None = None,
    origin: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Updated:
    """The bundle after learning from the days since it last learned, whose labels are in by now.

    data: a feature table with the new days and `replay_days` before them. until: the last day to learn from; by default
    the last whole day that is the label delay old. Labels count as known `delay` after that day. InputError: no such
    day, none that the bundle's columns can be read from, a booster that has grown too large.
    """
    config = config or UpdateConfig()
    begin = learned_until(bundle) + timedelta(days=1)
    config = replace(config, seed=config.seed + begin.toordinal())  # another day, other draws
    end = day_of_us(int(data.time_us.max()), data.zone)
    newest = end - timedelta(days=delay_days(data.delay_us) + 1)
    last = until or newest
    if last < begin:
        raise InputError(
            f"nothing new to learn: the model knows the days until {begin - timedelta(days=1)}, and labels are in until {newest}"
        )
    new, replay = Period(begin, last), Period(begin - timedelta(days=max(1, config.replay_days)), begin - timedelta(days=1))
    cut = midnight_us(last + timedelta(days=1), data.zone) + data.delay_us
    fresh = data.rows(new)
    rows = np.concatenate([data.rows(replay) if config.replay_days else fresh[:0], fresh])
    y = data.truth.by(cut)[rows]
    if not len(fresh) or not y.any():
        raise InputError(f"{new}: no transactions with known fraud on these days and those replayed; wait for more labels")
    inputs = data.inputs(rows)
    weight = class_weights(y, config.fraud_weight)
    model = bundle.model()
    before = average_precision(y[-len(fresh) :], model.margins(data.inputs(fresh)))

    files, kept = dict(bundle.files), []
    tables = {name: steps.apply(inputs) for name, steps in model.preprocessings.items()}
    for number, row in enumerate(bundle.members):
        progress("updating", number, len(bundle.members))
        change = UPDATES.get(row["format"])
        if change is None:
            kept.append(row["name"])
        else:
            files[row["file"]] = change(files[row["file"]], tables[row["preprocessing"]], y, weight, row.get("params", {}), config)
    progress("updating", len(bundle.members), len(bundle.members))
    if len(kept) == len(bundle.members):
        raise InputError(f"no member can be updated ({', '.join(kept)}); train the model again")
    report = {
        "parent": bundle.hash,
        "since": str(begin),
        "until": str(last),
        "cut": str(np.datetime64(cut, "us").astype("datetime64[s]")) + "Z",
        "transactions": len(fresh),
        "frauds": int(y[-len(fresh) :].sum()),
        "replayed": len(rows) - len(fresh),
        "average_precision_before": before,
        "kept_as_they_were": kept,
        "updates": int(bundle.metrics.get("update", {}).get("updates", 0)) + 1,
        "config": {one.name: getattr(config, one.name) for one in fields(config)},
    }
    files["metrics.json"] = to_json({**bundle.metrics, "update": report})
    made = Bundle(files, bundle.members, {**(origin or {}), "parent": bundle.hash})
    if SMOKE in files:
        files[SMOKE] = cases_bytes(scored_anew(made))
    return Updated(made, report)
