"""Where the limit lies on the Handbook's table: which frauds nobody could know of when they happened, and what a model
that ranked all others perfectly would reach. The scenario column is read for this analysis alone; no model sees it.

Scenario 1: amounts above 220. Scenario 2: all payments at a compromised terminal, for 28 days. Scenario 3: payments of a
compromised customer with five times the amount. A fraud of scenario 2 can be known by its terminal once a fraud there
has been labelled, seven days after it; until then it looks like any other payment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.handbook_protocol import Bools, Floats, Fold
from fraudloop.limits import DAY_US
from fraudloop.training.folds import Dataset

#: How long a terminal stays compromised.
COMPROMISED_DAYS: Final = 28
#: Amounts above this are frauds by definition.
SCENARIO_1_ABOVE: Final = 220.0
#: History of a customer against which an amount is unusual.
USUAL_DAYS: Final = 30
DRAWS: Final = 20

GROUPS: Final = (
    "1: amount above 220",
    "2: a fraud at the terminal is already labelled",
    "2: none is labelled yet",
    "3: amount above every genuine one of the customer's last 30 days",
    "3: amount like the customer's genuine ones",
)


@dataclass(frozen=True, slots=True)
class Limit:
    """group: of each test row of the fold, an index into GROUPS, -1 for genuine rows."""

    fold: Fold
    group: NDArray[np.int64]

    def share(self, group: int) -> float:
        return float((self.group == group).sum() / self.fold.y_test.sum())

    def reach(self, hidden: Sequence[int], seed: int = 0) -> tuple[float, float, float]:
        """AUC ROC, average precision, Card Precision@100 with all frauds first but those of the hidden groups, which stand
        at random among the genuine rows; the mean of some draws."""
        random = np.random.default_rng(seed)
        seen = self.fold.y_test & ~np.isin(self.group, hidden)
        return tuple(np.mean([self.fold.measure(seen + 0.5 * random.random(len(seen))) for _ in range(DRAWS)], axis=0).tolist())

    def found(self, score: Floats) -> list[float]:
        """Of each group the share among the highest scores, as many as there are frauds."""
        top = np.zeros(len(score), bool)
        top[np.argsort(-score, kind="stable")[: int(self.fold.y_test.sum())]] = True
        return [float(top[self.group == g].mean()) if (self.group == g).any() else float("nan") for g in range(len(GROUPS))]


def scenarios(path: str, data: Dataset) -> NDArray[np.int64]:
    """The scenario of every row of the table, in its order. AssertionError where it does not fit the labels."""
    rows = pl.read_parquet(path, columns=["TRANSACTION_ID", "TX_FRAUD_SCENARIO"]).with_columns(pl.col("TRANSACTION_ID").cast(pl.String))
    out = data.table.select("transaction_id").join(
        rows, left_on="transaction_id", right_on="TRANSACTION_ID", how="left", maintain_order="left"
    )
    scenario = out["TX_FRAUD_SCENARIO"].cast(pl.Int64).to_numpy()
    assert ((scenario > 0) == data.truth.fraud).all(), "the scenarios belong to other rows"
    return scenario


def limit(data: Dataset, scenario: NDArray[np.int64], fold: Fold) -> Limit:
    """Sort the test frauds of a fold into groups."""
    terminal = data.table["merchant_id"].rank("dense").cast(pl.Int64).to_numpy()
    amount = data.amount
    group = np.full(len(fold.test), -1, np.int64)
    known = _labelled_before(data, terminal)
    usual = _most_paid(data, amount)
    for at, row in enumerate(fold.test):
        if scenario[row] == 1:
            group[at] = 0
        elif scenario[row] == 2:
            group[at] = 1 if known[row] else 2
        elif scenario[row] == 3:
            group[at] = 3 if amount[row] > usual[row] else 4
    return Limit(fold, group)


def _labelled_before(data: Dataset, key: NDArray[np.int64]) -> Bools:
    """Whether a fraud of the same key, of the days a compromise lasts, was labelled when the row happened."""
    order = np.lexsort((data.time_us, key))
    out = np.zeros(len(key), bool)
    span = COMPROMISED_DAYS * DAY_US
    for rows in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        fraud = rows[data.truth.fraud[rows]]
        if len(fraud):
            happened = data.time_us[fraud]  # in order; labels come in the same order, one delay later
            last = np.searchsorted(data.truth.known_us[fraud], data.time_us[rows], side="right") - 1
            out[rows] = (last >= 0) & (happened[np.maximum(last, 0)] > data.time_us[rows] - span)
    return out


def _most_paid(data: Dataset, amount: Floats) -> Floats:
    """The largest genuine amount of the customer in the days before each row, 0 if none."""
    genuine = np.where(data.truth.fraud, 0.0, amount)
    frame = pl.DataFrame({"row": np.arange(len(amount)), "card": data.card, "time": data.time_us, "amount": genuine}).sort("card", "time")
    frame = frame.with_columns(pl.col("time").cast(pl.Datetime("us")))
    most = frame.rolling(index_column="time", period=f"{USUAL_DAYS}d", closed="left", group_by="card").agg(pl.col("amount").max())
    return frame.with_columns(most=most["amount"].fill_null(0.0)).sort("row")["most"].to_numpy()


def figures(limits: Sequence[Limit], scores: Sequence[Floats]) -> Mapping[str, object]:
    """Shares, reach and what a model found, means of the folds."""
    found = np.nanmean([one.found(score) for one, score in zip(limits, scores, strict=True)], axis=0)
    return {
        "share_of_frauds": {name: round(float(np.mean([one.share(g) for one in limits])), 4) for g, name in enumerate(GROUPS)},
        "found_by_the_model": {name: round(float(value), 4) for name, value in zip(GROUPS, found, strict=True)},
        "reach_without_unlabelled_terminals": [round(float(v), 4) for v in np.mean([one.reach([2]) for one in limits], axis=0)],
        "reach_without_usual_amounts_too": [round(float(v), 4) for v in np.mean([one.reach([2, 4]) for one in limits], axis=0)],
    }
