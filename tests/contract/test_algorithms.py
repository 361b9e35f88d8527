"""What every algorithm promises, crossed with every algorithm of the registry: data in, data out, and the same bits."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudloop.errors import BundleError, InputError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.scorers import SUFFIXES, load_scorer
from fraudloop.training.algorithms import ALGORITHMS, Algorithm, Fitted, class_weights, thin
from fraudloop.training.config import TrainConfig
from fraudloop.training.metrics import average_precision
from fraudloop.training.preprocessing import fit_preprocessing
from fraudloop.training.table import inputs_of
from fraudloop.training.train import train
from tests.worlds import DAY_US, FEATURES, feature_table

NUMBERS, WORDS = FEATURES.names, ("country",)
SMALL: dict[str, dict[str, Any]] = {
    "logistic": {},
    "forest": {"trees": 25},
    "xgboost": {"rounds": 40},
    "lightgbm": {"rounds": 40},
    "network": {"rounds": 8, "batch": 128, "hidden": [64, 32]},
    "isolation": {"trees": 50},
}

learners = [algorithm for algorithm in ALGORITHMS.values() if algorithm.supervised]
every_learner = pytest.mark.parametrize("algorithm", learners, ids=[algorithm.name for algorithm in learners])
every_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)


def fitted(algorithm: Algorithm, seed: int = 1, fraud_weight: float | str = 1.0) -> tuple[Fitted, Any]:
    """The algorithm on the first 4,000 rows, and the preprocessing it reads."""
    table = feature_table()[:4_000]
    inputs = inputs_of(table, NUMBERS, WORDS)
    params = algorithm.params(SMALL[algorithm.name])
    preprocessing = fit_preprocessing(inputs, algorithm.preprocessing(params)[1])
    y = table["is_fraud"].to_numpy()
    rows, weight = thin(y, class_weights(y, fraud_weight), params["rows_max"], seed)
    return algorithm.fit(preprocessing.apply(inputs)[rows], y[rows], weight, params, seed, 1), preprocessing


def test_no_algorithm_is_left_out_here() -> None:
    assert set(SMALL) == set(ALGORITHMS)


@every_learner
def test_it_learns_what_can_be_learned_and_later_rows_profit(algorithm: Algorithm) -> None:
    model, preprocessing = fitted(algorithm)
    later = feature_table()[4_000:]
    scorer = load_scorer(model.model_format, model.encode(), len(preprocessing.outputs))
    value = average_precision(later["is_fraud"].to_numpy(), scorer.margins(preprocessing.apply(inputs_of(later, NUMBERS, WORDS))))
    assert value > 0.6


@every_algorithm
def test_a_row_has_the_same_bits_in_a_batch_of_any_size(algorithm: Algorithm) -> None:
    model, preprocessing = fitted(algorithm)
    scorer = load_scorer(model.model_format, model.encode(), len(preprocessing.outputs))
    inputs = inputs_of(feature_table(), NUMBERS, WORDS)
    whole = scorer.margins(preprocessing.apply(inputs))
    for size in (1, 7, 32, 1_000):
        rows = 400 if size == 1 else len(inputs)
        parts = [scorer.margins(preprocessing.apply(inputs[at : min(at + size, rows)])) for at in range(0, rows, size)]
        assert np.concatenate(parts).tobytes() == whole[:rows].tobytes(), f"batches of {size}"


@every_algorithm
def test_the_same_seed_gives_the_same_bytes(algorithm: Algorithm) -> None:
    assert fitted(algorithm)[0].encode() == fitted(algorithm)[0].encode()


@pytest.mark.parametrize("name", ["forest", "xgboost", "lightgbm", "network", "isolation"])
def test_another_seed_gives_another_model(name: str) -> None:
    assert fitted(ALGORITHMS[name], seed=1)[0].encode() != fitted(ALGORITHMS[name], seed=2)[0].encode()


@every_algorithm
def test_training_and_serving_give_the_same_margins(algorithm: Algorithm) -> None:
    model, preprocessing = fitted(algorithm)
    x = preprocessing.apply(inputs_of(feature_table(), NUMBERS, WORDS))
    rounds = [SMALL[algorithm.name].get("rounds", 0)]
    served = load_scorer(model.model_format, model.encode(), x.shape[1]).margins(x)
    np.testing.assert_allclose(served, model.staged(x, rounds)[0], atol=1e-5, rtol=0)


@every_algorithm
def test_missing_new_and_extreme_values_get_a_finite_margin(algorithm: Algorithm) -> None:
    model, preprocessing = fitted(algorithm)
    odd = feature_table()[:4].with_columns(country=np.array(["ZZ", "", "DE", "\u2603"]))
    inputs = inputs_of(odd, NUMBERS, WORDS)
    inputs.values[0], inputs.values[1], inputs.values[2], inputs.values[3] = np.nan, np.inf, 1e308, -1e308
    words = {"country": [None, *inputs.categories["country"][1:]]}
    scorer = load_scorer(model.model_format, model.encode(), len(preprocessing.outputs))
    with np.errstate(over="ignore"):  # beyond float32 is infinite for a forest, and so on one side of every threshold
        assert np.isfinite(scorer.margins(preprocessing.apply(type(inputs)(inputs.names, inputs.values, words)))).all()


@every_algorithm
def test_no_rows_give_no_margins(algorithm: Algorithm) -> None:
    model, preprocessing = fitted(algorithm)
    assert load_scorer(model.model_format, model.encode(), len(preprocessing.outputs)).margins(
        np.empty((0, len(preprocessing.outputs)))
    ).shape == (0,)


@every_learner
def test_a_heavier_fraud_class_raises_the_margins(algorithm: Algorithm) -> None:
    inputs = inputs_of(feature_table(), NUMBERS, WORDS)
    means = []
    for weight in (1.0, "balanced"):
        model, preprocessing = fitted(algorithm, fraud_weight=weight)
        means.append(
            float(load_scorer(model.model_format, model.encode(), len(preprocessing.outputs)).margins(preprocessing.apply(inputs)).mean())
        )
    assert means[1] > means[0] + 0.3


@every_algorithm
def test_importance_has_a_share_for_every_column(algorithm: Algorithm) -> None:
    model, preprocessing = fitted(algorithm)
    shares = model.importance()
    assert shares.shape == (len(preprocessing.outputs),)
    assert (shares >= 0).all()
    assert shares.sum() > 0


@every_algorithm
def test_damaged_model_files_are_refused_with_their_name(algorithm: Algorithm) -> None:
    model, preprocessing = fitted(algorithm)
    data, columns = model.encode(), len(preprocessing.outputs)
    for bad in (b"", data[: len(data) // 2], b"\x80\x04\x95" + data):
        with pytest.raises(BundleError, match="models/x"):
            load_scorer(model.model_format, bad, columns, "models/x")
    with pytest.raises(BundleError, match="models/x"):
        load_scorer(model.model_format, data, columns + 1, "models/x")


@every_algorithm
def test_an_unknown_parameter_is_named_with_the_nearest(algorithm: Algorithm) -> None:
    with pytest.raises(InputError, match=f"{algorithm.name} has no parameter 'rows_maxx'; did you mean 'rows_max'"):
        algorithm.params({"rows_maxx": 1})


def test_every_format_has_a_suffix_and_none_is_pickle() -> None:
    assert set(SUFFIXES.values()) == {".json", ".txt", ".onnx"}
    assert {fitted(a)[0].model_format for a in ALGORITHMS.values()} == set(SUFFIXES)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a member of every algorithm."""
    members: list[Mapping[str, Any]] = []
    files: dict[str, bytes] = {}
    steps: dict[str, Any] = {}
    for name in ALGORITHMS:
        config = TrainConfig(algorithms=(name,), members=1, folds=1, threads=1, params=SMALL)
        one = train(feature_table(), FEATURES, config, delay_us=7 * DAY_US).bundle
        files |= one.files
        (steps[name],) = json.loads(one.files["preprocessing.json"])["preprocessings"].values()
        members += [{**row, "preprocessing": name} for row in one.members]
    path = tmp_path_factory.mktemp("bundle") / "model"
    Bundle({**files, "preprocessing.json": json.dumps({"preprocessings": steps}).encode()}, tuple(members)).save(path)
    return path


#: Refuses every package but those of the core and of the extra `score`, with what they need themselves.
ONLY_THE_SERVING_INSTALL = r"""
import importlib.abc, re, sys
from importlib import metadata

def closure(todo):
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for text in metadata.requires(name) or ():
            wanted = re.match(r"([A-Za-z0-9._-]+)(?:\[([^]]*)\])?", text)
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", text)
            if extra is None or extra[1] in extras:
                try:
                    metadata.version(wanted[1])
                except metadata.PackageNotFoundError:
                    continue  # for another platform
                todo.append((wanted[1], tuple((wanted[2] or "").split(","))))
    return {re.sub(r"[-_.]+", "-", name).lower() for name, _ in seen}

def refused():
    allowed = closure([(name, ()) for name in CORE])
    packages = metadata.packages_distributions().items()
    return {top for top, owners in packages if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & allowed}

class Refuse(importlib.abc.MetaPathFinder):
    names = refused() - {"fraudloop"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"not part of the serving install: {name}")

sys.meta_path.insert(0, Refuse())
"""


def serving_requirements() -> list[str]:
    """The packages that pyproject.toml names for the core and the extra `score`."""
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    return [re.split(r"[<>=\[]", line, maxsplit=1)[0] for line in (*project["dependencies"], *project["optional-dependencies"]["score"])]


def test_a_bundle_of_all_is_loaded_and_scored_with_the_packages_of_the_serving_install_alone(bundle: Path) -> None:
    code = f"""
CORE = {serving_requirements()!r}
{ONLY_THE_SERVING_INSTALL}
import numpy as np
from pathlib import Path
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
import fraudloop.decisions.policy, fraudloop.features.fold, fraudloop.door.assemble, fraudloop.scoring.store
model = Bundle.load(Path({str(bundle)!r})).model()
scores = model.score(Inputs(model.numbers, np.ones((5, len(model.numbers))), {{name: ["DE"] * 5 for name in model.words}}))
assert len(model.members) == {len(ALGORITHMS)} and ((scores > 0) & (scores < 1)).all()
assert {{"xgboost", "lightgbm", "sklearn", "mlflow", "pandas", "onnx", "scipy"}} <= Refuse.names
assert "fraudloop.training" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_loading_and_scoring_a_bundle_of_all_loads_no_training_library(bundle: Path) -> None:
    code = f"""
import sys, numpy as np
from pathlib import Path
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
model = Bundle.load(Path({str(bundle)!r})).model()
scores = model.score(Inputs(model.numbers, np.ones((5, len(model.numbers))), {{name: ["DE"] * 5 for name in model.words}}))
assert len(model.members) == {len(ALGORITHMS)} and ((scores > 0) & (scores < 1)).all()
loaded = {{name.partition(".")[0] for name in sys.modules}}
bad = loaded & {{"sklearn", "pandas", "xgboost", "lightgbm", "onnx", "onnxruntime", "joblib", "matplotlib", "polars"}}
assert not bad, bad
assert not any(name.startswith(("fraudloop.training", "fraudloop.reports", "fraudloop.data")) for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
