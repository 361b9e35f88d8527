"""The metric table: one row a metric, figures as people read them, a dash where there is none."""

from __future__ import annotations

import numpy as np

from fraudloop.reports.tables import algorithm_rows, metric_rows
from fraudloop.training.metrics import CostMatrix, ReviewBudget, Scored, evaluate
from fraudloop.training.train import to_json


def measured(fraud: bool) -> dict[str, object]:
    import json

    random = np.random.default_rng(0)
    score = random.random(500)
    y = random.random(500) < score * fraud
    rows = Scored(y, score, np.arange(500) // 100, np.arange(500) % 50, np.full(500, 1234.5), np.ones(500, bool))
    out: dict[str, object] = json.loads(to_json(evaluate(rows, 0.5, 0.9, CostMatrix(), ReviewBudget())))
    return out


def test_every_set_of_transactions_has_a_column() -> None:
    rows = metric_rows([measured(True), measured(False)], "EUR")
    assert all(len(row) == 3 for row in rows)
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["transactions"] == ("500", "500")
    assert by_name["label maturity"] == ("100.0 %", "100.0 %")
    assert by_name["average precision"][1] == "–"
    assert "cost without, EUR" in by_name


def test_intervals_stand_beside_their_figure() -> None:
    column = {**measured(True), "intervals_95": {"average_precision": [0.1, 0.2]}}
    assert {row[0]: row[1] for row in metric_rows([column], "EUR")}["average precision"].endswith("[0.1000, 0.2000]")


def test_algorithms_and_ensembles_stand_side_by_side() -> None:
    algorithms = {"a": {"average_precision": None, "params": {}}, "b": {"average_precision": 0.5, "params": {"rounds": 9}}}
    mixed = {"0.6 a + 0.4 b": {"average_precision": 0.6, "weights": {"a": 0.6, "b": 0.4}}}
    values = {"average_precision": 0.4, "auc_roc": 0.9, "card_precision_100": None}
    one = {"chosen": ["b"], "weights": {"b": 1.0}, "algorithms": algorithms, "ensembles": {}}
    assert algorithm_rows(one, {"a": values, "b": values}) == [
        ("a", "", "–", "–", "0.4000", "0.9000", "–"),
        ("b", "yes", "0.5000", "9", "0.4000", "0.9000", "–"),
    ]
    both = {**one, "weights": {"a": 0.6, "b": 0.4}, "ensembles": mixed}
    rows = algorithm_rows(both, {"a": values, "b": values, "0.6 a + 0.4 b": values})
    assert [row[:4] for row in rows] == [("a", "0.6", "–", "–"), ("b", "0.4", "0.5000", "9"), ("0.6 a + 0.4 b", "yes", "0.6000", "–")]
