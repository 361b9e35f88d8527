"""What a model is worth, as numbers: ranking, review budget, thresholds, money, calibration. Arrays in, numbers out.

`y` is bool [n] (True = fraud), `score` float64 [n] (higher = more suspicious), `day` any int [n] that is equal within
a day and grows with time, `card` int64 [n]. Ties in the score are handled as one threshold wherever that is the
definition (average precision, AUC, recall at a precision) and by the order of the rows wherever a list is cut at k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Cards that a day's list of the Handbook's Card Precision holds.
CARD_PRECISION_K: Final = 100

#: Groups of equal size for the calibration error.
CALIBRATION_BINS: Final = 15


@dataclass(frozen=True, slots=True)
class Curve:
    """Every different score as a threshold, from the highest: with `score >= threshold` so many alerts and hits."""

    threshold: Floats
    alerts: Floats
    hits: Floats

    @property
    def precision(self) -> Floats:
        return self.hits / self.alerts

    @property
    def recall(self) -> Floats:
        return self.hits / self.hits[-1] if len(self.hits) and self.hits[-1] > 0 else np.full(len(self.hits), np.nan)


def curve(y: Bools, score: Floats, weight: Floats | None = None) -> Curve:
    """The precision-recall curve's points; rows of weight 0 count for nothing."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    w = np.ones(len(y)) if weight is None else weight[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, np.int64)
    alerts, hits = np.cumsum(w)[last], np.cumsum(w * y[order])[last]
    seen = alerts > 0
    return Curve(ranked[last][seen], alerts[seen], hits[seen])


def thin_curve(points: Curve, most: int = 200) -> dict[str, list[float]]:
    """`threshold`, `precision` and `recall` of at most `most` points of a curve, for a plot: evenly by recall, with both ends."""
    recall = points.recall
    if not len(recall) or np.isnan(recall[0]):
        return {"threshold": [], "precision": [], "recall": []}
    wanted = np.linspace(recall[0], 1.0, most)
    at = np.unique(np.minimum(np.searchsorted(recall, wanted), len(recall) - 1))
    return {"threshold": points.threshold[at].tolist(), "precision": points.precision[at].tolist(), "recall": recall[at].tolist()}


def average_precision(y: Bools, score: Floats, weight: Floats | None = None) -> float:
    """Sum over thresholds of (recall gained) x precision, as scikit-learn's `average_precision_score`; NaN without fraud.

    >>> average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
    0.8333333333333333
    """
    points = curve(y, score, weight)
    if not len(points.hits) or points.hits[-1] == 0:
        return float("nan")
    return float(np.sum(np.diff(points.recall, prepend=0.0) * points.precision))


def auc_roc(y: Bools, score: Floats, weight: Floats | None = None) -> float:
    """The chance that a fraud scores above a genuine one, ties half (Mann-Whitney); NaN if one class is absent.

    >>> auc_roc(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]))
    0.5
    """
    points = curve(y, score, weight)
    if not len(points.hits):
        return float("nan")
    false = points.alerts - points.hits
    if points.hits[-1] == 0 or false[-1] == 0:
        return float("nan")
    tpr, fpr = points.hits / points.hits[-1], false / false[-1]
    return float(np.sum(np.diff(fpr, prepend=0.0) * (tpr + np.concatenate([[0.0], tpr[:-1]])) / 2.0))


def recall_at_precision(y: Bools, score: Floats, precision: float = 0.9) -> float:
    """The largest share of fraud found by any threshold with at least this precision; 0 if none reaches it."""
    points = curve(y, score)
    if not len(points.hits) or points.hits[-1] == 0:
        return float("nan")
    reached = points.recall[points.precision >= precision]
    return float(reached.max()) if len(reached) else 0.0


@dataclass(frozen=True, slots=True)
class ReviewBudget:
    """How many alerts the analysts can look at: `per_day` of them, or `share` of the day's transactions."""

    per_day: int | None = None
    share: float | None = 0.01

    def of(self, transactions: int) -> int:
        """Alerts on a day with so many transactions, at least one."""
        if self.per_day is not None:
            return min(self.per_day, transactions)
        return min(transactions, max(1, round((self.share or 0.0) * transactions)))

    def __str__(self) -> str:
        return f"{self.per_day} a day" if self.per_day is not None else f"{100 * (self.share or 0.0):g} % of a day's transactions"


def at_budget(y: Bools, score: Floats, day: Ints, budget: ReviewBudget) -> tuple[float, float, int]:
    """(precision, recall, alerts) when each day its highest scores are reviewed, as many as the budget allows."""
    hits = alerts = 0
    for rows in _by_day(day):
        k = budget.of(len(rows))
        top = rows[np.argsort(-score[rows], kind="stable")[:k]]
        hits += int(y[top].sum())
        alerts += k
    frauds = int(y.sum())
    return hits / alerts if alerts else float("nan"), hits / frauds if frauds else float("nan"), alerts


def card_precision(y: Bools, score: Floats, day: Ints, card: Ints, k: int = CARD_PRECISION_K) -> float:
    """Card Precision@k of the Fraud Detection Handbook (Le Borgne et al., 2022, chapter 4).

    Each day a card's score is the highest of its transactions of that day, and it is compromised if any of them is
    fraud. The k highest cards are listed; hits / k is the day's precision. A compromised card that was listed is
    known from then on and left out of the following days. The mean over the days. Days with fewer than k cards still
    divide by k, as the book does.
    """
    values = card_precision_by_day(y, score, day, card, k)
    return float(np.mean(values)) if len(values) else float("nan")


def card_precision_by_day(y: Bools, score: Floats, day: Ints, card: Ints, k: int = CARD_PRECISION_K) -> Floats:
    """Card Precision@k of each day, days in order, float64 [days]."""
    found: set[int] = set()
    values = []
    for rows in _by_day(day):
        if found:
            rows = rows[~np.isin(card[rows], np.fromiter(found, np.int64, len(found)))]
        cards, index = np.unique(card[rows], return_inverse=True)
        highest = np.full(len(cards), -np.inf)
        np.maximum.at(highest, index, score[rows])
        compromised = np.zeros(len(cards), bool)
        np.logical_or.at(compromised, index, y[rows])
        top = np.argsort(-highest, kind="stable")[:k]
        hits = cards[top][compromised[top]]
        found.update(hits.tolist())
        values.append(len(hits) / k)
    return np.array(values)


def exclude_known_compromised(card: Ints, test: Ints, test_day_start_us: Ints, fraud: Ints, fraud_known_us: Ints) -> Bools:
    """Which test rows stay when cards already known as compromised are taken out, bool [len(test)].

    card: of all rows. test: row numbers of the test. test_day_start_us: for each of them when its day began. fraud: row
    numbers of the frauds that count, those from the first training day on. fraud_known_us: when each became known.
    A card is known on a day if one of its frauds was known before the day began. With a label delay of 7 days this is
    the Handbook's protocol: a fraud of day d takes its card out from day d + 8 on.
    """
    if not len(fraud):
        return np.ones(len(test), bool)
    cards, index = np.unique(card[fraud], return_inverse=True)
    known = np.full(len(cards), np.iinfo(np.int64).max)
    np.minimum.at(known, index, fraud_known_us)
    at = np.minimum(np.searchsorted(cards, card[test]), len(cards) - 1)
    out: Bools = ~((cards[at] == card[test]) & (known[at] < test_day_start_us))
    return out


@dataclass(frozen=True, slots=True)
class CostMatrix:
    """What mistakes cost, in units of the base currency.

    A missed fraud costs its amount times `missed`. An alert for review costs `review` whether or not it is fraud.
    Declining a genuine payment costs `false_decline` (lost margin, an angry customer). Fraud that is reviewed or
    declined costs no more than that.
    """

    missed: float = 1.0
    review: float = 5.0
    false_decline: float = 50.0

    def cost(self, y: Bools, amount: Floats, reviewed: Bools, declined: Bools) -> float:
        """Total cost of outcomes; a declined payment is not reviewed."""
        reviewed = reviewed & ~declined
        missed = float(np.sum(amount[y & ~reviewed & ~declined])) * self.missed
        return missed + self.review * int(reviewed.sum()) + self.false_decline * int((declined & ~y).sum())


@dataclass(frozen=True, slots=True)
class Reliability:
    """Groups of rows with like scores: how high they scored on average, and which share was fraud."""

    rows: Ints
    score: Floats
    fraud: Floats

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of score and share, weighted by rows (Naeini et al., 2015)."""
        return float(np.sum(self.rows * np.abs(self.score - self.fraud)) / self.rows.sum()) if len(self.rows) else float("nan")


def reliability(y: Bools, score: Floats, bins: int = CALIBRATION_BINS) -> Reliability:
    """Groups with equal expected fraud, not equal rows: with 1 % fraud, groups of equal rows would all lie near 0.

    Rows are ordered by score and cut where the sum of scores passes each k / bins of its total.
    """
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    total = np.cumsum(ranked)
    if not len(ranked) or total[-1] <= 0:
        return Reliability(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))
    group = np.minimum((bins * (total - ranked / 2) / total[-1]).astype(np.int64), bins - 1)
    rows = np.bincount(group, minlength=bins)
    some = rows > 0
    mean = np.bincount(group, ranked, bins)[some] / rows[some]
    fraud = np.bincount(group, y[order].astype(np.float64), bins)[some] / rows[some]
    return Reliability(rows[some].astype(np.int64), mean, fraud)


def brier(y: Bools, score: Floats) -> float:
    """Mean squared distance of score and truth (Brier, 1950)."""
    return float(np.mean((score - y) ** 2)) if len(y) else float("nan")


def confusion(y: Bools, alert: Bools) -> dict[str, int]:
    """Counts of alerts and of what was let pass."""
    return {
        "true_positive": int((y & alert).sum()),
        "false_positive": int((~y & alert).sum()),
        "false_negative": int((y & ~alert).sum()),
        "true_negative": int((~y & ~alert).sum()),
    }


def f1(counts: dict[str, int]) -> float:
    """Harmonic mean of precision and recall; 0 where nothing was found."""
    found = 2 * counts["true_positive"]
    return found / (found + counts["false_positive"] + counts["false_negative"]) if found else 0.0


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored transactions with their truth, rows in time order.

    day: int64 days since 1970 in the zone. card, customer: int64 codes. amount: units of the base currency.
    mature: bool, older than the label delay when the labels were last looked at.
    """

    y: Bools
    score: Floats
    day: Ints
    card: Ints
    amount: Floats
    mature: Bools

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Bools | Ints) -> Scored:
        return Scored(self.y[rows], self.score[rows], self.day[rows], self.card[rows], self.amount[rows], self.mature[rows])


def evaluate(
    data: Scored,
    review_above: float,
    decline_above: float,
    costs: CostMatrix,
    budget: ReviewBudget,
    k: int = CARD_PRECISION_K,
) -> dict[str, Any]:
    """Every metric of one set of scored rows, as plain data. Money is in units of the base currency.

    `label_maturity` is the share of rows whose labels had the label delay's time to arrive: it stands beside every
    metric of this table, because fraud that nobody has reported yet counts as genuine.
    """
    y, score = data.y, data.score
    declined, alert = score > decline_above, score > review_above
    precision, recall, alerts = at_budget(y, score, data.day, budget)
    at_review, at_decline = confusion(y, alert), confusion(y, declined)
    groups = reliability(y, score)
    nothing = np.zeros(len(y), bool)
    without = costs.cost(y, data.amount, nothing, nothing)
    with_model = costs.cost(y, data.amount, alert, declined)
    days = len(np.unique(data.day))
    return {
        "transactions": len(data),
        "frauds": int(y.sum()),
        "days": days,
        "label_maturity": float(data.mature.mean()) if len(data) else float("nan"),
        "average_precision": average_precision(y, score),
        "auc_roc": auc_roc(y, score),
        f"card_precision_{k}": card_precision(y, score, data.day, data.card, k),
        "budget": str(budget),
        "budget_alerts": alerts,
        "precision_at_budget": precision,
        "recall_at_budget": recall,
        "recall_at_90_precision": recall_at_precision(y, score, 0.9),
        "thresholds": {"review": review_above, "decline": decline_above},
        "confusion_review": at_review,
        "confusion_decline": at_decline,
        "f1_review": f1(at_review),
        "f1_decline": f1(at_decline),
        "alerts_per_day": float(alert.sum() / days) if days else float("nan"),
        "cost": with_model,
        "cost_without_model": without,
        "saved_share": (without - with_model) / without if without > 0 else float("nan"),
        "calibration_error": groups.error,
        "brier": brier(y, score),
        "reliability": {"rows": groups.rows.tolist(), "score": groups.score.tolist(), "fraud": groups.fraud.tolist()},
    }


def bootstrap(
    data: Scored,
    metric: Callable[[Bools, Floats, Floats], float],
    *,
    by: str = "card",
    rounds: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """A percentile interval of `metric(y, score, weight)`, drawing whole cards (or days) with replacement, because the
    transactions of one card are not independent (Efron & Tibshirani, 1993, chapter 8)."""
    key = data.card if by == "card" else data.day
    groups, index = np.unique(key, return_inverse=True)
    random = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = np.bincount(random.integers(0, len(groups), len(groups)), minlength=len(groups)).astype(np.float64)
        values.append(metric(data.y, data.score, drawn[index]))
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(
    data: Scored,
    review_above: float,
    decline_above: float,
    costs: CostMatrix,
    budget: ReviewBudget,
    *,
    rounds: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of the metrics of `evaluate` that a model is judged by, drawing whole cards with replacement.

    A round is the metric of the table in which every card stands as often as it was drawn: rows are sorted once, and a
    round is a few running sums. Empty without rows.
    """
    n = len(data)
    if not n or not rounds:
        return {}
    y, score = data.y, data.score
    order = np.argsort(-score, kind="stable")
    ranked, fraud = score[order], y[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    by_day = np.lexsort((-score, data.day))
    begins = np.flatnonzero(np.append(True, np.diff(data.day[by_day]) != 0))
    day_of = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, n)))
    alert, declined = score > review_above, score > decline_above
    missed = np.where(y, data.amount * costs.missed, 0.0)
    paid = np.where(alert, 0.0, missed) + costs.review * (alert & ~declined) + costs.false_decline * (declined & ~y)
    cards, index = np.unique(data.card, return_inverse=True)
    random = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        weight = np.bincount(random.integers(0, len(cards), len(cards)), minlength=len(cards)).astype(np.float64)[index]
        w = weight[order]
        alerts, hits = np.cumsum(w)[last], np.cumsum(w * fraud)[last]
        values = _ranking(alerts, hits)
        w = weight[by_day]
        size = np.add.reduceat(w, begins)
        allowed = np.array([budget.of(round(total)) for total in size], np.float64)
        before = np.cumsum(w) - w
        taken = np.clip((allowed + before[begins])[day_of] - before, 0.0, w)
        caught, frauds = float(np.sum(taken[y[by_day]])), float(hits[-1])
        values["precision_at_budget"] = caught / float(taken.sum()) if taken.sum() else float("nan")
        values["recall_at_budget"] = caught / frauds if frauds else float("nan")
        values["cost"] = float(np.sum(weight * paid))
        values["cost_without_model"] = float(np.sum(weight * missed))
        without = values["cost_without_model"]
        values["saved_share"] = (without - values["cost"]) / without if without > 0 else float("nan")
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    ends = {}
    for name, drawn in found.items():
        known = np.array(drawn)[np.isfinite(drawn)]
        if len(known):
            low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
            ends[name] = (float(low), float(high))
    return ends


def _ranking(alerts: Floats, hits: Floats) -> dict[str, float]:
    """Average precision, AUC and recall at 90 % precision of weighted running counts."""
    frauds, false = float(hits[-1]), alerts - hits
    if frauds == 0:
        return dict.fromkeys(("average_precision", "auc_roc", "recall_at_90_precision"), float("nan"))
    recall, precision = hits / frauds, np.divide(hits, alerts, out=np.zeros(len(hits)), where=alerts > 0)
    good = recall[(precision >= 0.9) & (alerts > 0)]
    fpr = false / false[-1] if false[-1] > 0 else np.full(len(false), np.nan)
    return {
        "average_precision": float(np.sum(np.diff(recall, prepend=0.0) * precision)),
        "auc_roc": float(np.sum(np.diff(fpr, prepend=0.0) * (recall + np.concatenate([[0.0], recall[:-1]])) / 2.0)),
        "recall_at_90_precision": float(good.max()) if len(good) else 0.0,
    }


def _by_day(day: Ints) -> list[Ints]:
    """Row numbers of each day, days in order."""
    order = np.argsort(day, kind="stable")
    return [rows for rows in np.split(order, np.flatnonzero(np.diff(day[order])) + 1) if len(rows)]
