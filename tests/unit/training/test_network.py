"""The training loop of the network: its gradient against finite differences, what it learns, and that a seed is a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fraudloop.errors import InputError
from fraudloop.scoring.network import NetworkScorer
from fraudloop.training.metrics import auc_roc
from fraudloop.training.network import DEFAULTS, Network, Weights, _gradient, continue_network, fit_network

SMALL: dict[str, Any] = {**DEFAULTS, "hidden": [32, 16], "rounds": 6, "batch": 64}


def table(rows: int = 3_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Fraud where two columns agree in sign and are large: nothing a linear model can see."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((rows, 4))
    return x, x[:, 0] * x[:, 1] + 0.2 * random.standard_normal(rows) > 0.8


def fitted(**changed: Any) -> Network:
    x, y = table()
    return fit_network(x, y, np.ones(len(y)), {**SMALL, **changed}, 1, 1)


def test_the_gradient_is_that_of_the_weighted_loss() -> None:
    random = np.random.default_rng(0)
    weights = Weights.first((4, 6, 5, 1), -1.0, random)
    x, y = (part[:32] for part in table())
    mass = random.uniform(0.5, 2.0, 32)

    def loss() -> float:
        margins = weights.margins(x)
        return float(np.mean(mass * (np.logaddexp(0.0, margins) - y * margins)))

    found = _gradient(weights, x.astype(np.float32), y.astype(np.float32), mass.astype(np.float32), 0.0, random)
    step, off = 1e-3, []
    for at in range(len(weights.flat)):
        kept = weights.flat[at]
        weights.flat[at] = kept + step
        above = loss()
        weights.flat[at] = kept - step
        below = loss()
        weights.flat[at] = kept
        off.append(abs(found[at] - (above - below) / (2 * step)))
    assert np.median(off) < 2e-5
    assert max(off) < 5e-3  # steps that cross a bend of the loss


def test_it_learns_an_interaction() -> None:
    x, y = table(seed=9)
    assert auc_roc(y, fitted(rounds=20).weights.margins(x)) > 0.95


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_seed_gives_the_same_bits_and_another_one_others(dropout: float) -> None:
    x, y = table()
    params = {**SMALL, "rounds": 2, "dropout": dropout}
    one, two, other = (fit_network(x, y, np.ones(len(y)), params, seed, 1).weights.flat for seed in (1, 1, 2))
    assert one.tobytes() == two.tobytes() != other.tobytes()


def test_fewer_epochs_are_a_prefix_of_more() -> None:
    assert fitted(rounds=2).weights.flat.tobytes() == fitted(rounds=6).epochs[1].flat.tobytes()


def test_stages_are_the_margins_after_so_many_epochs() -> None:
    model, (x, _) = fitted(), table(50)
    for rounds, margins in zip((1, 3), model.staged(x, (1, 3)), strict=True):
        assert margins.tobytes() == fitted(rounds=rounds).weights.margins(x).tobytes()


def test_a_weight_of_two_is_the_row_twice_on_the_whole() -> None:
    x, y = table()
    heavy = fit_network(x, y, np.where(y, 8.0, 1.0), SMALL, 1, 1).weights.margins(x).mean()
    assert heavy > fitted().weights.margins(x).mean() + 0.5


def test_the_stored_network_gives_the_margins_of_the_trained_one() -> None:
    model, (x, _) = fitted(), table(500, seed=3)
    np.testing.assert_allclose(NetworkScorer(model.encode(), 4).margins(x), model.weights.margins(x), atol=1e-5, rtol=0)


def test_training_goes_on_from_given_weights() -> None:
    x, y = table()
    first = fitted(rounds=2)
    more = continue_network(first.weights, first.baseline, x, y, np.ones(len(y)), {**SMALL, "rounds": 4, "average": 0.9}, 2, 1)
    assert auc_roc(y, more.weights.margins(x)) > auc_roc(y, first.weights.margins(x))
    assert more.baseline.tobytes() == first.baseline.tobytes()


def test_before_any_step_a_row_has_about_the_margin_of_the_fraud_share() -> None:
    weights = Weights.first((4, 32, 1), -3.0, np.random.default_rng(0))
    assert weights.margins(np.zeros((1, 4)))[0] == pytest.approx(-3.0, abs=1e-6)


@pytest.mark.parametrize(
    "changed", [{"hidden": []}, {"hidden": [0]}, {"hidden": ["a"]}, {"dropout": 1.0}, {"average": -0.1}, {"batch": 0}, {"rate": 0.0}]
)
def test_a_parameter_that_cannot_be_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="network: "):
        fitted(**changed)
