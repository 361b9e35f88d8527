"""Scoring by batch size: each model format alone and as a bundle (preprocessing, model, calibration), and the libraries.

    python -m benchmarks.bench_scoring [--quick] [--trees 300] [--depth 6]

The models are fitted on the default features of made payments: 61 columns, a fraud that depends on some of them. Before
anything is timed: a row's score has the same bits in a batch of any size, and margins equal the library's to 1e-5.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import show
from benchmarks.timing import compare
from benchmarks.worlds import Payments
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.events import TRANSACTION
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Model
from fraudloop.scoring.preprocessing import Preprocessing
from fraudloop.scoring.scorers import SUFFIXES, Scorer, load_scorer
from fraudloop.scoring.trees import TreeTable
from fraudloop.training.algorithms import ALGORITHMS, find_algorithm
from fraudloop.training.calibration import fit_calibration
from fraudloop.training.preprocessing import fit_preprocessing
from fraudloop.training.train import to_json

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BATCHES: Final = (1, 7, 32, 1_000)
MARGIN_TOLERANCE: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Sizes:
    """rows: payments that train. trees, depth: of the boosters; the forest has a third as many trees. call_rows: rows scored in a
    round, in calls of each batch size."""

    customers: int
    rows: int
    trees: int
    depth: int
    rounds: int
    call_rows: int


NORMAL: Final = Sizes(1_000, 60_000, 300, 6, 5, 20_000)
QUICK: Final = Sizes(500, 15_000, 300, 6, 3, 5_000)


def rows_of(sizes: Sizes) -> tuple[Inputs, Bools]:
    """The default features of made payments, and a fraud that rises with amount, deviation and pace."""
    features = FeatureSet.load("default")
    payments = Payments.make(sizes.customers, sizes.rows)
    events = payments.events(features, 0, sizes.rows)
    values = Fold(compile_plan(features)).step(events).values
    assert len(values) == int((events.kind == TRANSACTION).sum())
    at = {name: index for index, name in enumerate(features.names)}
    odds = -6.0 + 1.2 * np.log1p(values[:, at["amount"]] / 50.0)
    odds += 0.6 * np.clip(np.nan_to_num(values[:, at["customer_amount_deviation"]]), -2, 4) + 0.3 * values[:, at["customer_count_24h"]]
    return Inputs(features.names, values), np.random.default_rng(1).random(len(values)) < 1.0 / (1.0 + np.exp(-odds))


def fitted_preprocessing(inputs: Inputs, algorithm: str) -> tuple[str, Preprocessing]:
    """The preprocessing that an algorithm reads by default, and its name."""
    name, plan = find_algorithm(algorithm).preprocessing({})
    return name, fit_preprocessing(inputs, plan)


def bundle_of(inputs: Inputs, y: Bools, names: tuple[str, ...], fitted: Mapping[str, tuple[str, bytes]]) -> Bundle:
    """A bundle of these algorithms, each a member of the same weight, calibrated on its own rows (speed is asked, not merit)."""
    preprocessings = dict(fitted_preprocessing(inputs, name) for name in names)
    members = [
        {"name": name, "file": f"models/{name}{SUFFIXES[fitted[name][0]]}", "format": fitted[name][0], "preprocessing": find_algorithm(name).preprocessing({})[0], "weight": 1.0}
        for name in names
    ]  # fmt: skip
    files = {f"models/{name}{SUFFIXES[fitted[name][0]]}": fitted[name][1] for name in names}
    files["preprocessing.json"] = to_json({"preprocessings": {name: p.to_dict() for name, p in preprocessings.items()}})
    files["calibration.json"] = to_json(fit_calibration(np.linspace(-8.0, 4.0, 1_000), np.arange(1_000) % 3 == 0, "platt").to_dict())
    raw = Bundle(files, tuple(members)).model().margins(inputs)
    files["calibration.json"] = to_json(fit_calibration(raw, y).to_dict())
    return Bundle(files, tuple(members))


def fit(inputs: Inputs, y: Bools, sizes: Sizes) -> dict[str, tuple[str, bytes]]:
    """By algorithm: the format and the bytes of the fitted model."""
    changed: dict[str, dict[str, Any]] = {
        "xgboost": {"rounds": sizes.trees, "depth": sizes.depth, "bins": 256},
        "lightgbm": {"rounds": sizes.trees, "depth": sizes.depth, "leaves": 2**sizes.depth, "bins": 255},
        "forest": {"trees": max(1, sizes.trees // 3)},
    }
    out = {}
    for name, algorithm in ALGORITHMS.items():
        x = fitted_preprocessing(inputs, name)[1].apply(inputs)
        model = algorithm.fit(x, y, np.ones(len(y)), algorithm.params(changed.get(name, {})), 0, 1)
        out[name] = (model.model_format, model.encode())
    return out


def library(model_format: str, data: bytes) -> Callable[[Floats], Floats] | None:
    """The library's own prediction of margins on one thread, where the project has a scorer of its own for its format."""
    if model_format == "xgboost-json":
        import xgboost

        booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(data))
        return lambda x: np.asarray(booster.inplace_predict(x.astype(np.float32), predict_type="margin"), np.float64)
    if model_format == "lightgbm-text":
        import lightgbm

        light = lightgbm.Booster(model_str=data.decode())
        return lambda x: np.asarray(light.predict(x, raw_score=True, num_threads=1), np.float64)
    return None


def same_bits(model: Model, inputs: Inputs) -> None:
    """AssertionError if a row's score depends on its batch."""
    whole = model.score(inputs)
    for size in BATCHES:
        rows = min(len(inputs), 40 * size)
        parts = np.concatenate([model.score(inputs[at : min(at + size, rows)]) for at in range(0, rows, size)])
        assert np.array_equal(parts, whole[:rows]), f"scores in batches of {size} have other bits"


def timed(work: Mapping[str, Callable[[int], object]], batch: int, sizes: Sizes) -> dict[str, dict[str, float]]:
    """Microseconds a call and a row of each candidate; it is called with the number of the batch."""
    calls = max(3, math.ceil(sizes.call_rows / batch / 4 if batch > 1 else sizes.call_rows / 20))

    def repeat(function: Callable[[int], object]) -> Callable[[], None]:
        def turns() -> None:
            for number in range(calls):
                function(number)

        return turns

    timings = compare({name: repeat(function) for name, function in work.items()}, sizes.rounds)
    return {
        name: {
            "call_us": round(t.median_s / calls * 1e6, 2), "call_cpu_us": round(t.median_cpu_s / calls * 1e6, 2),
            "row_cpu_us": round(t.median_cpu_s / calls / batch * 1e6, 3),
        }
        for name, t in timings.items()
    }  # fmt: skip


def sized(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """What was given, with the size of the boosters."""
    parser.add_argument("--trees", type=int, default=NORMAL.trees)
    parser.add_argument("--depth", type=int, default=NORMAL.depth)
    return parser.parse_args()


def main(quick: bool = False, sizes: Sizes | None = None) -> dict[str, object]:
    """Print the tables and return the figures."""
    sizes = sizes or (QUICK if quick else NORMAL)
    inputs, y = rows_of(sizes)
    fitted = fit(inputs, y, sizes)
    some = inputs[: min(len(inputs), 4_000)]
    figures: dict[str, object] = {"columns": len(inputs.names), "trees": sizes.trees, "depth": sizes.depth}
    rows = []
    for names in (*((name,) for name in ALGORITHMS), tuple(ALGORITHMS)):
        title = names[0] if len(names) == 1 else "all four"
        bundle = bundle_of(inputs, y, names, fitted)
        model = bundle.model()
        same_bits(model, some[:2_001])
        candidates: dict[str, Callable[[Inputs, Floats], object]] = {"bundle": lambda given, _, model=model: model.score(given)}  # type: ignore[misc]
        x = some.values
        if len(names) == 1:
            model_format, data = fitted[title]
            x = model.preprocessings[model.members[0].preprocessing].apply(some)
            scorer: Scorer = load_scorer(model_format, data, x.shape[1])
            candidates["model alone"] = lambda _, table, scorer=scorer: scorer.margins(table)  # type: ignore[misc]
            if isinstance(scorer, TreeTable):
                assert scorer.sums(x).tobytes() == scorer.walked(x).tobytes(), f"{title}: striking leaves gives other bits than the walk"
                candidates["walked"] = lambda _, table, scorer=scorer: scorer.walked(table)  # type: ignore[misc]
            own = library(model_format, data)
            if own is not None:
                off = float(np.abs(own(x) - scorer.margins(x)).max())
                assert off <= MARGIN_TOLERANCE, f"{title}: margins differ from the library's by {off}"
                candidates["library"] = lambda _, table, own=own: own(table)  # type: ignore[misc]
        by_batch: dict[str, dict[str, dict[str, float]]] = {}
        for batch in BATCHES:
            places = list(range(0, max(1, len(some) - batch + 1), batch))
            cut = [(some[at : at + batch], np.ascontiguousarray(x[at : at + batch])) for at in places]
            work = {name: (lambda number, f=f, cut=cut: f(*cut[number % len(cut)])) for name, f in candidates.items()}
            by_batch[str(batch)] = timed(work, batch, sizes)
        figures[title] = by_batch
        for name in candidates:
            cells = [f"{by_batch[str(batch)][name]['call_cpu_us']:,.1f}" for batch in BATCHES]
            rows.append([f"{title}, {name}", *cells, by_batch[str(BATCHES[-1])][name]["row_cpu_us"]])
    show(
        f"Microseconds of processor time a call by rows in the batch; {len(inputs.names)} columns, boosters of {sizes.trees} trees of depth {sizes.depth}",
        ["", *(f"{batch:,} rows" if batch > 1 else "1 row" for batch in BATCHES), f"a row of {BATCHES[-1]:,}"],
        rows,
    )
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_scoring", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds")
    given = sized(parser)
    main(sizes=replace(QUICK if given.quick else NORMAL, trees=given.trees, depth=given.depth))
