"""What drove a score: contributions add up to the margin for every kind of member, and are what theory says they are."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fraudloop.errors import BundleError
from fraudloop.scoring.attribution import LINEAR, NETWORK, TREE_SHAP, VOTE_SHAP, Explainer
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.model import Member, Model
from fraudloop.scoring.preprocessing import NumberStep, Preprocessing
from fraudloop.scoring.scorers import LinearScorer
from fraudloop.scoring.tree_shap import tree_shap
from fraudloop.scoring.trees import TreeTable, forest_margins
from fraudloop.training.config import TrainConfig
from fraudloop.training.table import inputs_of
from fraudloop.training.train import train
from tests.worlds import DAY_US, FEATURES, feature_table

TABLE = feature_table(3_000)


def trained(algorithm: str) -> Bundle:
    # Candidates are cut to one: choosing is tested elsewhere.
    small: dict[str, dict[str, Any]] = {
        "isolation": {"trees": 20}, "xgboost": {"rounds": 40}, "lightgbm": {"rounds": 40}, "forest": {"trees": 20}, "network": {"rounds": 8, "batch": 128, "hidden": [64, 32]},
    }  # fmt: skip
    config = TrainConfig(algorithms=(algorithm,), folds=1, candidates={algorithm: (small.get(algorithm, {}),)}, threads=1)
    return train(TABLE, FEATURES, config, delay_us=5 * DAY_US).bundle


@cache
def trained_once(algorithm: str) -> Bundle:
    return trained(algorithm)


def rows_of(model: Model, begin: int, end: int) -> Inputs:
    return inputs_of(TABLE[begin:end], model.numbers, model.words)


@pytest.fixture(scope="module", params=["logistic", "forest", "xgboost", "lightgbm", "network"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return trained_once(request.param)


def test_base_and_contributions_add_up_to_the_margin_that_is_scored(bundle: Bundle) -> None:
    model = bundle.model()
    rows = rows_of(model, 2_900, 2_908)
    found = Explainer(bundle).explain(rows)
    assert found.columns == (*model.numbers, *model.words)
    assert found.contributions.shape == (8, len(found.columns))
    assert found.margin.tobytes() == model.margins(rows).tobytes()
    assert found.base + found.contributions.sum(axis=1) == pytest.approx(found.margin, abs=1e-12)
    assert np.any(np.abs(found.contributions) > 0.05)


def test_the_base_is_the_same_for_every_row(bundle: Bundle) -> None:
    found = Explainer(bundle).explain(rows_of(bundle.model(), 0, 200))
    assert found.base == pytest.approx(found.base[0], abs=1e-4)  # a network adds up in float32


def test_a_row_has_the_same_reasons_in_a_batch_of_any_size(bundle: Bundle) -> None:
    explainer = Explainer(bundle)
    rows = rows_of(explainer.model, 0, 1_000)
    whole = explainer.explain(rows)
    for size in (1, 7, 32):
        parts = [explainer.explain(rows[at : at + size]) for at in range(0, 96, size)]
        for kept in ("contributions", "base", "margin"):
            found = np.concatenate([getattr(part, kept) for part in parts])
            assert found.tobytes() == getattr(whole, kept)[: len(found)].tobytes(), (kept, size)


def test_no_rows_have_no_reasons(bundle: Bundle) -> None:
    found = Explainer(bundle).explain(rows_of(bundle.model(), 0, 0))
    assert found.contributions.shape == (0, len(found.columns))


def test_a_higher_amount_never_pushes_less_than_a_far_lower_one(bundle: Bundle) -> None:
    """Fraud has higher amounts in this world, so at the ends the sign is known."""
    rows = rows_of(bundle.model(), 2_900, 2_902)
    values = rows.values.copy()
    at = rows.names.index("amount")
    values[:, at] = [400.0, 5.0]
    found = Explainer(bundle).explain(Inputs(rows.names, values, rows.categories))
    high, low = found.contributions[:, found.columns.index("amount")]
    assert high > 0 > low


def test_missing_and_unseen_values_have_contributions_too(bundle: Bundle) -> None:
    rows = rows_of(bundle.model(), 0, 4)
    values = np.full(rows.values.shape, np.nan)
    found = Explainer(bundle).explain(Inputs(rows.names, values, {name: [None, "ZZ", "DE", "US"] for name in rows.categories}))
    assert np.isfinite(found.contributions).all()


def test_the_method_is_named_by_member(bundle: Bundle) -> None:
    expected = {
        "linear-json": LINEAR,
        "trees-json": VOTE_SHAP,
        "xgboost-json": TREE_SHAP,
        "lightgbm-text": TREE_SHAP,
        "onnx-network": NETWORK,
    }
    assert Explainer(bundle).method == {row["name"]: expected[row["format"]] for row in bundle.members}


def test_contributions_of_a_linear_member_cancel_out_over_the_rows_it_was_fitted_on() -> None:
    model = trained_once("logistic").model()
    scorer = model.members[0].scorer
    assert isinstance(scorer, LinearScorer)
    x = model.preprocessings[model.members[0].preprocessing].apply(rows_of(model, 0, 2_500))
    assert np.array(scorer.means) == pytest.approx(x.mean(axis=0), abs=0.15)
    assert scorer.contributions(np.array([scorer.means])) == pytest.approx(0.0)


def test_a_vote_is_scaled_by_one_factor_so_that_its_margin_is_reached() -> None:
    model = trained_once("forest").model()
    [member] = model.members
    assert isinstance(member.scorer, TreeTable)
    rows = rows_of(model, 2_000, 2_050)
    found = Explainer(model).explain(rows)
    shap = tree_shap(member.scorer)
    x = model.preprocessings[member.preprocessing].apply(rows)
    of_vote = shap.contributions(x)
    assert of_vote.sum(axis=1) + shap.base == pytest.approx(member.scorer.sums(x), abs=1e-12)
    assert found.base == pytest.approx(forest_margins(np.array([shap.base]))[0], abs=1e-12)
    steps = model.preprocessings[member.preprocessing].steps
    amount = [step.column for step in steps for _ in step.outputs].index("amount")
    factor = found.contributions[:, found.columns.index("amount")] / of_vote[:, amount]
    assert factor == pytest.approx((found.margin - found.base) / of_vote.sum(axis=1))
    assert (factor > 0).all()


def test_a_vote_that_is_the_base_has_finite_contributions() -> None:
    """One tree whose two columns cancel out exactly: vote and base are both a half."""
    whole = np.array([0], np.int32)
    table = TreeTable(
        0.0, whole, np.array([2], np.int32), np.array([0, 1, 1, 0, 0, 0, 0], np.int32), np.zeros(7), np.array([1, 2, 3, 4, 5, 6, 3, 3, 4, 4, 5, 5, 6, 6], np.int32),
        np.zeros(7, np.uint8), np.array([0, 0, 0, 0.5, 0.3, 0.7, 0.5]), np.array([4.0, 2, 2, 1, 1, 1, 1]), 2, False, True, "vote",
    )  # fmt: skip
    found = explained(table, np.array([[-1.0, -1.0], [1.0, 1.0]]))
    assert found[0] == pytest.approx([-0.4, 0.4], abs=1e-3)
    assert np.isfinite(found).all()


def explained(table: TreeTable, x: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = Preprocessing((NumberStep("a"), NumberStep("b")))
    model = Model((Member("one", table, "p"),), {"p": steps}, trained_once("logistic").model().calibration)
    return Explainer(model).explain(Inputs(("a", "b"), x)).contributions


def test_members_are_weighed_as_in_the_score() -> None:
    one, two = (trained_once(name).model() for name in ("xgboost", "logistic"))
    both = Model(
        (dataclasses.replace(one.members[0], preprocessing="p", weight=0.6), dataclasses.replace(two.members[0], preprocessing="q", weight=0.2)),
        {"p": one.preprocessings[one.members[0].preprocessing], "q": two.preprocessings[two.members[0].preprocessing]},
        one.calibration,
    )  # fmt: skip
    rows = rows_of(both, 2_900, 2_920)
    found = Explainer(both).explain(rows)
    parts = [Explainer(dataclasses.replace(m, members=(m.members[0],))).explain(rows) for m in (one, two)]
    for name in found.columns:
        expected = (
            0.75 * parts[0].contributions[:, parts[0].columns.index(name)] + 0.25 * parts[1].contributions[:, parts[1].columns.index(name)]
        )
        assert found.contributions[:, found.columns.index(name)] == pytest.approx(expected, abs=1e-12), name
    assert found.margin.tobytes() == both.margins(rows).tobytes()


def test_a_member_whose_contributions_do_not_add_up_is_refused() -> None:
    model = trained_once("xgboost").model()
    table = model.members[0].scorer
    assert isinstance(table, TreeTable)
    wrong = Member("one", _Other(table), model.members[0].preprocessing)
    with pytest.raises(BundleError, match="no way to explain a _Other"):
        Explainer(dataclasses.replace(model, members=(wrong,)))
    explainer = Explainer(model)
    explainer._parts[0] = dataclasses.replace(explainer._parts[0], explain=lambda x: (np.ones(x.shape), 0.0))
    with pytest.raises(BundleError, match="do not add up"):
        explainer.explain(rows_of(model, 0, 1))


class _Other:
    def __init__(self, table: TreeTable) -> None:
        self.margins = table.margins


@pytest.mark.parametrize("algorithm", ["xgboost", "network"])
def test_tables_are_made_once_for_scores_and_for_the_reasons_of_some_rows(algorithm: str) -> None:
    explainer = Explainer(trained_once(algorithm))
    model, rows = explainer.model, rows_of(explainer.model, 2_900, 2_932)
    whole, tables = explainer.explain(rows), model.tables(rows)
    scored, explained = model.score_tables(tables), model.score_tables(tables, explained=True)
    assert explained.margins.tobytes() == scored.margins.tobytes() and set(explained.contributions) == (
        {m.name for m in model.members} if algorithm == "network" else set()
    )
    assert scored.scores.tobytes() == model.score(rows).tobytes()
    assert scored.margins.tobytes() == model.margins(rows).tobytes() == whole.margin.tobytes()
    asked = np.array([30, 3, 4])
    for known in (None, scored, explained):
        some = explainer.explain_tables(tables, known, asked)
        assert some.contributions.tobytes() == whole.contributions[asked].tobytes()
        assert some.margin.tobytes() == whole.margin[asked].tobytes()
        assert explainer.explain_tables(tables, known).contributions.tobytes() == whole.contributions.tobytes()
