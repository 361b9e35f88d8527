"""Reasons by batch size: the own TreeSHAP beside XGBoost's, LightGBM's and the shap library's, and a whole explainer.

    python -m benchmarks.bench_reasons [--quick] [--trees 300] [--depth 6]

Before anything is timed: contributions equal the library's (XGBoost's to 1e-5, which adds up in float32; the others' to
1e-6), and a row's have the same bits in a batch of any size.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench_scoring import Sizes, bundle_of, rows_of, sized
from benchmarks.tables import show
from benchmarks.timing import compare
from fraudloop.decisions.reasons import Reason, ReasonWriter, reasons
from fraudloop.domain.definitions import FeatureSet
from fraudloop.scoring.attribution import Attribution, Explainer
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.scorers import load_scorer
from fraudloop.scoring.tree_shap import TreeShap, tree_shap
from fraudloop.scoring.trees import TreeTable
from fraudloop.training.algorithms import find_algorithm
from fraudloop.training.preprocessing import fit_preprocessing

Floats = NDArray[np.float64]
Shap = Callable[[Floats], Floats]

BATCHES: Final = (1, 32, 1_000)


@dataclass(frozen=True, slots=True)
class Work:
    """sizes: of table and boosters. slow_s: about how long one candidate may take a round. forest_trees: of a forest of depth 20."""

    sizes: Sizes
    slow_s: float
    forest_trees: int


NORMAL: Final = Work(Sizes(1_000, 60_000, 300, 6, 3, 0), 2.0, 100)
QUICK: Final = Work(Sizes(500, 15_000, 300, 6, 2, 0), 0.7, 30)


def fitted(work: Work) -> tuple[Any, dict[str, tuple[Floats, TreeTable, dict[str, Shap], Any]]]:
    """By model: preprocessed rows, the own table, the libraries' contributions of preprocessed rows, (format, bytes)."""
    inputs, y = rows_of(work.sizes)
    boosted = {"rounds": work.sizes.trees, "depth": work.sizes.depth}
    params: Mapping[str, dict[str, Any]] = {
        "xgboost": {**boosted, "bins": 256}, "lightgbm": {**boosted, "leaves": 2**work.sizes.depth, "bins": 255}, "forest": {"trees": work.forest_trees},
    }  # fmt: skip
    out = {}
    for name, changed in params.items():
        algorithm = find_algorithm(name)
        own = algorithm.params(changed)
        x = fit_preprocessing(inputs, algorithm.preprocessing(own)[1]).apply(inputs)
        rows = slice(0, own["rows_max"] or None)
        model = algorithm.fit(x[rows], y[rows], np.ones(len(y[rows])), own, 0, 1)
        table = load_scorer(model.model_format, model.encode(), x.shape[1])
        assert isinstance(table, TreeTable)
        out[name] = (x[:2_000], table, libraries(name, model), (model.model_format, model.encode()))
    return (inputs, y), out


def libraries(name: str, model: Any) -> dict[str, Shap]:
    """The library that made the trees, and shap's own walk of them, on one thread."""
    with warnings.catch_warnings(action="ignore"):
        import shap
    fit = model._model if name == "forest" else model._booster
    explainer = shap.TreeExplainer(fit, feature_perturbation="tree_path_dependent")
    explainer.model.model_type = "internal"  # else it asks a booster for its own

    def of_shap(x: Floats) -> Floats:
        values = np.asarray(explainer.shap_values(x.astype(np.float32) if name != "lightgbm" else x, check_additivity=False), np.float64)
        return values[:, :, 1] if values.ndim == 3 else values

    out: dict[str, Shap] = {"shap": of_shap}
    if name == "xgboost":
        import xgboost

        fit.set_param({"nthread": 1})
        out["library"] = lambda x: np.asarray(
            fit.predict(xgboost.DMatrix(x.astype(np.float32), nthread=1), pred_contribs=True)[:, :-1], np.float64
        )
    elif name == "lightgbm":
        out["library"] = lambda x: np.asarray(fit.predict(x, pred_contrib=True, num_threads=1), np.float64)[:, :-1]
    return out


def check(name: str, own: Shap, others: Mapping[str, Shap], x: Floats) -> float:
    """The largest difference from a library; AssertionError if it is more than rounding, or if a batch changes bits."""
    whole = own(x[:64])
    for size in (1, 7, 32):
        parts = np.concatenate([own(x[at : min(at + size, 64)]) for at in range(0, 64, size)])
        assert np.array_equal(parts, whole), f"{name}: contributions in batches of {size} have other bits"
    worst = 0.0
    for title, other in others.items():
        off = float(np.abs(other(x[:64]) - whole).max())
        assert off <= (1e-5 if (name, title) == ("xgboost", "library") else 1e-6), f"{name}: {title} differs by {off}"
        worst = max(worst, off)
    return worst


def timed(candidates: Mapping[str, Callable[[Any], object]], cuts: list[Any], batch: int, work: Work) -> dict[str, dict[str, float]]:
    """Microseconds a row of each candidate; a slow one is called less often."""
    import time

    jobs, calls = {}, {}
    for name, function in candidates.items():
        start = time.perf_counter()
        function(cuts[0])
        once = time.perf_counter() - start
        calls[name] = max(1, min(math.ceil(2_000 / batch), int(work.slow_s / max(once, 1e-6))))

        def turns(function: Callable[[Any], object] = function, count: int = calls[name]) -> None:
            for number in range(count):
                function(cuts[number % len(cuts)])

        jobs[name] = turns
    timings = compare(jobs, work.sizes.rounds)
    return {
        name: {
            "row_cpu_us": round(t.median_cpu_s / calls[name] / batch * 1e6, 1),
            "row_us": round(t.median_s / calls[name] / batch * 1e6, 1),
        }
        for name, t in timings.items()
    }


def row_by_row(shap: TreeShap) -> Shap:
    """The same kernel without rows beside each other."""
    return lambda x: np.concatenate([shap.contributions(x[at : at + 1]) for at in range(len(x))])


def words(explainer: Explainer, inputs: Inputs) -> dict[str, Callable[[Any], object]]:
    """Four reasons of each row in words: by one writer, and made anew for every row. Both read (inputs, attribution)."""
    features = FeatureSet.load("default")
    units, ordinary = {"amount": "EUR"}, dict.fromkeys(features.names, 1.0)
    writer = ReasonWriter(features, units, ordinary)

    def anew(given: tuple[Inputs, Attribution]) -> list[list[Reason]]:
        rows, found = given
        return [
            reasons(
                features, dict(zip(rows.names, rows.values[at].tolist(), strict=True)),
                dict(zip(found.columns, found.contributions[at].tolist(), strict=True)), units=units, typical=ordinary,
            )
            for at in range(len(rows))
        ]  # fmt: skip

    def written(given: tuple[Inputs, Attribution]) -> list[list[Reason]]:
        return writer.of_batch(given[0], given[1].columns, given[1].contributions)

    some = inputs[:50]
    both = some, explainer.explain(some)
    assert written(both) == anew(both), "the writer tells other reasons than the single call"
    return {"words by a writer": written, "words of single calls": anew}


def main(quick: bool = False, work: Work | None = None) -> dict[str, object]:
    """Print the tables and return the figures."""
    work = work or (QUICK if quick else NORMAL)
    (inputs, y), models = fitted(work)
    figures: dict[str, object] = {"columns": len(inputs.names), "trees": work.sizes.trees, "depth": work.sizes.depth}
    rows = []
    for name, (x, table, others, _) in models.items():
        shap = tree_shap(table)
        off = check(name, shap.contributions, others, x)
        by_batch = {}
        for batch in BATCHES:
            cuts = [np.ascontiguousarray(x[at : at + batch]) for at in range(0, max(1, len(x) - batch + 1), batch)]
            by_batch[str(batch)] = timed({"own": shap.contributions, "own, row by row": row_by_row(shap), **others}, cuts, batch, work)
        figures[name] = {"points": shap.points, "nodes": len(table.feature), "largest_difference": off, "by_batch": by_batch}
        for title in ("own", "own, row by row", *others):
            cells = [by_batch[str(batch)][title]["row_cpu_us"] for batch in BATCHES]
            ratio = cells[1] / by_batch[str(BATCHES[1])]["own"]["row_cpu_us"]
            rows.append([f"{name}, {title}", *(f"{cell:,.0f}" for cell in cells), f"{ratio:,.0f} ×"])
    explainer = Explainer(bundle_of(inputs, y, ("xgboost",), {"xgboost": models["xgboost"][3]}))
    whole = {"inputs to contributions": explainer.explain, **words(explainer, inputs)}
    by_batch = {}
    for batch in BATCHES:
        found = [(inputs[at : at + batch], explainer.explain(inputs[at : at + batch])) for at in range(0, 2_000, batch)]
        by_batch[str(batch)] = {
            title: timed({title: function}, found if title.startswith("words") else [cut for cut, _ in found], batch, work)[title]
            for title, function in whole.items()
        }
    figures["explainer"] = by_batch
    rows += [[f"xgboost, {title}", *(f"{by_batch[str(batch)][title]['row_cpu_us']:,.1f}" for batch in BATCHES), ""] for title in whole]
    show(
        f"Microseconds of processor time a row by rows in the batch; {len(inputs.names)} columns, boosters of {work.sizes.trees} trees of depth {work.sizes.depth}, "
        f"a forest of {work.forest_trees} of depth 20",
        ["", *(f"{batch:,} rows" if batch > 1 else "1 row" for batch in BATCHES), "32 rows, to own"],
        rows,
    )  # fmt: skip
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_reasons", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds")
    given = sized(parser)
    chosen = QUICK if given.quick else NORMAL
    main(work=replace(chosen, sizes=replace(chosen.sizes, trees=given.trees, depth=given.depth)))
