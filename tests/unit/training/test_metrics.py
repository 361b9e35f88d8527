"""Every metric against scikit-learn or a definition written out so plainly that it is evidently right."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from fraudloop.training import metrics as m
from fraudloop.training.splits import midnight_us

DAY_US = 86_400_000_000


@st.composite
def scored(draw: st.DrawFn, min_size: int = 2, max_size: int = 60) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Truth and scores with many ties."""
    n = draw(st.integers(min_size, max_size))
    y = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    score = np.array(draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))) / 12.0
    return y, score


@given(scored())
def test_average_precision_is_scikit_learns(data: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    y, score = data
    if y.any():
        assert m.average_precision(y, score) == pytest.approx(sk.average_precision_score(y, score), abs=1e-12)
    else:
        assert math.isnan(m.average_precision(y, score))


@given(scored())
def test_auc_is_scikit_learns(data: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    y, score = data
    if y.any() and not y.all():
        assert m.auc_roc(y, score) == pytest.approx(sk.roc_auc_score(y, score), abs=1e-12)
    else:
        assert math.isnan(m.auc_roc(y, score))


@given(scored(), st.integers(0, 2**32 - 1))
def test_weights_count_like_repeated_rows(data: tuple[NDArray[np.bool_], NDArray[np.float64]], seed: int) -> None:
    y, score = data
    times = np.random.default_rng(seed).integers(0, 4, len(y))
    for metric in (m.average_precision, m.auc_roc):
        repeated = metric(np.repeat(y, times), np.repeat(score, times))
        weighted = metric(y, score, times.astype(np.float64))
        assert weighted == pytest.approx(repeated, abs=1e-12, nan_ok=True)


@given(scored(), st.sampled_from([0.25, 0.5, 0.9, 1.0]))
def test_recall_at_a_precision_is_the_best_of_all_thresholds(data: tuple[NDArray[np.bool_], NDArray[np.float64]], precision: float) -> None:
    y, score = data
    if not y.any():
        return
    reached = [0.0]
    for threshold in set(score.tolist()):
        alert = score >= threshold
        if y[alert].mean() >= precision:
            reached.append(float(y[alert].sum() / y.sum()))
    assert m.recall_at_precision(y, score, precision) == pytest.approx(max(reached))


@given(scored(min_size=1))
def test_brier_score_and_confusion_are_scikit_learns(data: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    y, score = data
    assert m.brier(y, score) == pytest.approx(float(np.mean((score - y) ** 2)))
    counts = m.confusion(y, score > 0.5)
    (tn, fp), (fn, tp) = sk.confusion_matrix(y, score > 0.5, labels=[False, True])
    assert counts == {"true_positive": tp, "false_positive": fp, "false_negative": fn, "true_negative": tn}
    assert m.f1(counts) == pytest.approx(sk.f1_score(y, score > 0.5, zero_division=0))


def naive_card_precision(y: list[bool], score: list[float], day: list[int], card: list[int], k: int) -> float:
    """The book's procedure, a loop of dictionaries."""
    known: set[int] = set()
    values = []
    for today in sorted(set(day)):
        best: dict[int, float] = {}
        bad: dict[int, bool] = {}
        for i in range(len(y)):
            if day[i] == today and card[i] not in known:
                best[card[i]] = max(best.get(card[i], -1.0), score[i])
                bad[card[i]] = bad.get(card[i], False) or y[i]
        top = sorted(best, key=lambda c: -best[c])[:k]
        hits = [c for c in top if bad[c]]
        known.update(hits)
        values.append(len(hits) / k)
    return sum(values) / len(values)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_card_precision_is_the_books(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    n = 120
    y, day, card = random.random(n) < 0.2, np.sort(random.integers(0, 5, n)), random.integers(0, 15, n)
    score = random.permutation(n) / n  # no ties: the book leaves their order open
    expected = naive_card_precision(y.tolist(), score.tolist(), day.tolist(), card.tolist(), k)
    assert m.card_precision(y, score, day, card, k) == pytest.approx(expected)


@given(st.integers(0, 2**32 - 1))
def test_known_compromised_cards_leave_by_the_handbooks_rule(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, delay, zone = 300, 7, "UTC"
    first = (date(2018, 7, 25) - date(1970, 1, 1)).days
    day = np.sort(random.integers(-14, 28, n))  # 0 is the first training day; 0..6 train, 14..20 test
    day[:3], day[3:6] = 6, 14
    day = np.sort(day)
    time_us = (first + day) * DAY_US + random.integers(0, DAY_US, n)
    card, fraud = random.integers(0, 60, n), random.random(n) < 0.15
    test = np.flatnonzero((day >= 14) & (day <= 20))

    expected = []
    for row in test:
        # The README of the data: a fraud in the training days, or on any day from the last training day to (test day - 8).
        known = {int(card[i]) for i in range(n) if fraud[i] and (0 <= day[i] <= 6 or 6 <= day[i] <= day[row] - 8)}
        expected.append(int(card[row]) not in known)

    counted = np.flatnonzero(fraud & (day >= 0))
    starts = np.array([midnight_us(date.fromordinal(date(1970, 1, 1).toordinal() + first + int(day[row])), zone) for row in test], np.int64)
    kept = m.exclude_known_compromised(card, test, starts, counted, time_us[counted] + delay * DAY_US)
    assert kept.tolist() == expected


def test_a_fraud_at_midnight_is_not_known_before_the_next_day() -> None:
    starts = np.array([8 * DAY_US, 9 * DAY_US])
    kept = m.exclude_known_compromised(np.array([1, 1, 1]), np.array([1, 2]), starts, np.array([0]), np.array([8 * DAY_US]))
    assert kept.tolist() == [True, False]


def test_the_budget_takes_the_highest_of_each_day() -> None:
    y = np.array([True, False, False, True, True, False])
    score = np.array([0.9, 0.8, 0.1, 0.2, 0.7, 0.6])
    day = np.array([0, 0, 0, 1, 1, 1])
    assert m.at_budget(y, score, day, m.ReviewBudget(per_day=1, share=None)) == (1.0, 2 / 3, 2)
    assert m.at_budget(y, score, day, m.ReviewBudget(per_day=2, share=None)) == (0.5, 2 / 3, 4)
    assert m.at_budget(y, score, day, m.ReviewBudget(share=0.01)) == (1.0, 2 / 3, 2)
    assert m.at_budget(y, score, day, m.ReviewBudget(per_day=99, share=None))[2] == 6


def test_costs_by_hand() -> None:
    y = np.array([True, True, True, False, False, False])
    amount = np.array([100.0, 40.0, 7.0, 1.0, 1.0, 1.0])
    reviewed = np.array([True, False, False, True, False, False])
    declined = np.array([False, True, False, False, True, False])
    costs = m.CostMatrix(missed=1.0, review=5.0, false_decline=50.0)
    assert costs.cost(y, amount, reviewed, declined) == 7.0 + 2 * 5.0 + 50.0


def test_calibration_error_of_scores_that_are_true_is_near_0_and_of_doubled_ones_is_not() -> None:
    random = np.random.default_rng(0)
    chance = random.beta(0.1, 5, 200_000)
    y = random.random(len(chance)) < chance
    assert m.reliability(y, chance).error < 0.002
    assert m.reliability(y, np.minimum(2 * chance, 1.0)).error == pytest.approx(float(chance.mean()), rel=0.1)


def test_reliability_groups_hold_every_row_once() -> None:
    random = np.random.default_rng(0)
    score = random.random(1_000)
    groups = m.reliability(random.random(1_000) < score, score)
    assert groups.rows.sum() == 1_000
    assert (groups.rows * groups.score).sum() == pytest.approx(score.sum())
    assert (np.diff(groups.score) > 0).all()


def some(n: int = 2_000, seed: int = 0) -> m.Scored:
    random = np.random.default_rng(seed)
    score = random.beta(0.2, 4, n)
    day = np.sort(random.integers(0, 10, n))
    return m.Scored(random.random(n) < score, score, day, random.integers(0, 200, n), random.exponential(50, n), day < 8)


def test_every_metric_stands_beside_its_label_maturity() -> None:
    out = m.evaluate(some(), 0.5, 0.9, m.CostMatrix(), m.ReviewBudget())
    assert out["label_maturity"] == pytest.approx(0.8, abs=0.05)
    assert {
        "average_precision",
        "auc_roc",
        "card_precision_100",
        "precision_at_budget",
        "recall_at_90_precision",
        "f1_review",
        "cost",
        "calibration_error",
    } <= set(out)


def test_without_transactions_or_fraud_there_is_no_figure_and_no_failure() -> None:
    data = some()
    empty = m.evaluate(data[np.zeros(len(data), bool)], 0.5, 0.9, m.CostMatrix(), m.ReviewBudget())
    assert empty["transactions"] == 0
    assert math.isnan(empty["average_precision"])
    genuine = m.evaluate(data[~data.y], 0.5, 0.9, m.CostMatrix(), m.ReviewBudget())
    assert math.isnan(genuine["average_precision"])
    assert math.isnan(genuine["saved_share"])


def test_an_interval_covers_the_metric_and_is_the_same_for_the_same_seed() -> None:
    data = some(20_000)
    low, high = m.bootstrap(data, m.average_precision, rounds=100, seed=3)
    assert low < m.average_precision(data.y, data.score) < high
    assert high - low < 0.15
    assert (low, high) == m.bootstrap(data, m.average_precision, rounds=100, seed=3)
    assert (low, high) != m.bootstrap(data, m.average_precision, by="day", rounds=100, seed=3)


def test_an_interval_round_is_the_metric_of_the_table_with_each_card_as_often_as_drawn() -> None:
    random = np.random.default_rng(8)
    n, cards = 400, 40
    card = random.integers(0, cards, n)
    score = random.random(n)
    y = random.random(n) < score**3
    day = np.sort(random.integers(0, 5, n))
    amount = np.round(random.random(n) * 100, 2)
    data = m.Scored(y, score, day, card, amount, np.ones(n, bool))
    costs, budget = m.CostMatrix(), m.ReviewBudget(share=0.1)
    found = m.intervals(data, 0.6, 0.9, costs, budget, rounds=1, seed=11)
    drawn = np.bincount(np.random.default_rng(11).integers(0, cards, cards), minlength=cards)
    assert len(np.unique(card)) == cards
    rows = np.repeat(np.arange(n), drawn[card])
    plain = m.evaluate(data[rows], 0.6, 0.9, costs, budget)
    assert found.keys() == {
        "average_precision", "auc_roc", "recall_at_90_precision", "precision_at_budget", "recall_at_budget", "cost", "cost_without_model", "saved_share",
    }  # fmt: skip
    for name, (low, high) in found.items():
        assert low == high == pytest.approx(plain[name]), name


def test_intervals_hold_their_metric_and_are_empty_without_rows() -> None:
    random = np.random.default_rng(9)
    score = random.random(2_000)
    y = random.random(2_000) < score**4
    data = m.Scored(y, score, np.arange(2_000) // 200, random.integers(0, 300, 2_000), np.full(2_000, 20.0), np.ones(2_000, bool))
    args = (0.6, 0.9, m.CostMatrix(), m.ReviewBudget())
    plain, found = m.evaluate(data, *args), m.intervals(data, *args, seed=2)
    for name in ("average_precision", "auc_roc", "recall_at_budget", "saved_share"):
        assert found[name][0] <= plain[name] <= found[name][1]
    assert found["average_precision"] == pytest.approx(m.bootstrap(data, m.average_precision, rounds=200, seed=2))
    assert m.intervals(data[np.zeros(0, np.int64)], *args) == {}


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.5, 0.9])), max_size=30))
def test_a_thinned_curve_lies_on_the_curve_and_keeps_its_ends(rows: list[tuple[bool, float]]) -> None:
    y, score = np.array([r[0] for r in rows], bool), np.array([r[1] for r in rows], np.float64)
    points = m.curve(y, score)
    thin = m.thin_curve(points, 5)
    if not y.any():
        assert thin == {"threshold": [], "precision": [], "recall": []}
        return
    everything = set(zip(points.threshold, points.precision, points.recall, strict=True))
    assert set(zip(thin["threshold"], thin["precision"], thin["recall"], strict=True)) <= everything
    assert thin["recall"][-1] == 1.0
