"""A canary's verdict: rates as plain counts have them, intervals that hold however often one looks, customers that pay many times."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError
from fraudloop.monitoring.canary import Bounds, Canary

PAYMENTS = st.lists(
    st.tuples(st.one_of(st.floats(0, 1, exclude_max=True), st.just(math.nan)), st.integers(0, 3), st.one_of(st.floats(0, 1), st.just(math.nan))), max_size=40
)  # fmt: skip


def noted(payments: list[tuple[float, int, float]], share: float = 0.3, sizes: tuple[int, ...] = (7,)) -> Canary:
    out = Canary(share)
    for at in range(0, len(payments), sizes[0]):
        draws, outcomes, scores = (np.array(column) for column in zip(*payments[at : at + sizes[0]], strict=True))
        out.note(draws.astype(float), outcomes.astype(np.int8), scores.astype(float))
    return out


@given(PAYMENTS, st.integers(1, 9))
@settings(deadline=None)
def test_rates_are_plain_counts_whatever_the_batches(payments: list[tuple[float, int, float]], size: int) -> None:
    found = noted(payments, sizes=(size,)).compare(Bounds())
    for name, mine in (("canary", [p for p in payments if p[0] < 0.3]), ("champion", [p for p in payments if p[0] >= 0.3])):
        for outcome in Outcome:
            expected = sum(p[1] == outcome for p in mine) / len(mine) if mine else None
            assert found.outcomes[name][outcome.text] == expected
        scores = [p[2] for p in mine if not math.isnan(p[2])]
        mean = found.score_mean[name]
        assert (mean is None) == (not scores)
        assert mean is None or mean == pytest.approx(sum(scores) / len(scores))
    assert found.verdict == "waiting"


@given(PAYMENTS, PAYMENTS)
@settings(deadline=None)
def test_sums_are_merged_and_go_round_as_data(first: list[tuple[float, int, float]], second: list[tuple[float, int, float]]) -> None:
    whole = noted(first + second, sizes=(100,))
    both = Canary.from_dict(noted(first).to_dict()).merge(noted(second))
    assert (both.counts == whole.counts).all()
    assert both.scores == pytest.approx(whole.scores)


def world(
    rng: np.random.Generator, customers: int, each: int, canary_stop: float, champion_stop: float, share: float, spread: float
) -> Canary:
    """Customers with a rate of their own (beta of this spread), each paying `each` times."""
    canary = Canary(share)
    draws = rng.random(customers)
    mean = np.where(draws < share, canary_stop, champion_stop)
    rate = rng.beta(mean * spread, (1 - mean) * spread)
    outcomes = np.where(rng.random((each, customers)) < rate, int(Outcome.REVIEW), int(Outcome.APPROVE)).astype(np.int8)
    for row in outcomes:
        canary.note(draws, row, np.full(customers, 0.1))
    return canary


def test_a_good_canary_is_called_ok_and_a_bad_one_worse() -> None:
    rng = np.random.default_rng(5)
    good = world(rng, 20_000, 5, 0.02, 0.02, 0.2, 10.0).compare(Bounds())
    assert good.verdict == "ok" and "too few labels" in good.why
    bad = world(rng, 20_000, 5, 0.06, 0.02, 0.2, 10.0).compare(Bounds())
    assert bad.verdict == "worse" and bad.why.startswith("stop: 6.")
    silent = world(rng, 20_000, 5, 0.0001, 0.03, 0.2, 10.0).compare(Bounds())
    assert silent.verdict == "worse", "a model that stops nothing is worse too"
    stop = bad.differences[0]
    assert stop.p is not None and stop.z_p is not None and stop.z_p < stop.p < 1e-6


def test_who_looks_after_every_batch_is_seldom_wrong_though_customers_pay_many_times() -> None:
    """Both sides are the same. Looked at 60 times, an ordinary 5 % interval of independent payments errs in most worlds; this one in
    fewer than one in twenty. The bounds are 0 but for a hair, so that every error shows."""
    errors = naive = 0
    worlds = 60
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        draws = rng.random(600)
        rate = rng.beta(0.5, 9.5, 600)
        canary = Canary(0.3)
        found = wrong = False
        for _ in range(60):
            outcomes = np.where(rng.random(600) < rate, 2, 0).astype(np.int8)
            canary.note(draws, outcomes, np.full(600, 0.1))
            stop = canary.compare(Bounds(stop_rise_max=0.02, stop_fall_max=0.02)).differences[0]
            assert stop.low is not None and stop.high is not None
            found |= stop.low > 0 or stop.high < 0
            n = canary.counts.sum(axis=(1, 2))
            p = canary.counts[:, :, 2].sum(axis=1) / n
            wrong |= bool(abs(p[0] - p[1]) > 1.96 * math.sqrt(sum(p * (1 - p) / n)))
        errors += found
        naive += wrong
    assert errors <= worlds // 20
    assert naive > worlds // 2


def test_precision_counts_as_labels_come_and_are_reversed() -> None:
    rng = np.random.default_rng(3)
    canary = world(rng, 20_000, 5, 0.02, 0.02, 0.2, 10.0)
    for at in range(4_000):
        side = at % 2
        canary.label(0.2 * rng.random() if side else 0.2 + 0.8 * rng.random(), Outcome.REVIEW, bool(rng.random() < (0.3 if side else 0.7)))
    found = canary.compare(Bounds())
    assert found.verdict == "worse" and found.why.startswith("precision: 29.85 % beside 69.40 %")
    before = canary.labelled.sum(axis=(0, 1)).tolist()
    canary.label(0.1, Outcome.DECLINE, True)
    canary.label(0.1, Outcome.DECLINE, False, was=True)
    canary.label(0.1, Outcome.APPROVE, True)
    canary.label(math.nan, Outcome.DECLINE, True)
    assert canary.labelled.sum(axis=(0, 1)).tolist() == [before[0] + 1, before[1]]


def test_shares_and_bounds_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(InputError, match="share"):
        Canary(0.0)
    with pytest.raises(InputError, match="stop_rise_max = 0 must be above 0"):
        Bounds(stop_rise_max=0)
    with pytest.raises(InputError, match="alpha"):
        Bounds(alpha=1.0)
