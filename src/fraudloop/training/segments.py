"""Error rates, calibration and outcomes by segment, the gaps between segments, and what chance alone would make of them.

A segment is all rows with one value of a column (a country, a channel, an age group). Arrays in, plain data out. What
each measure means, and how far it carries, is in docs/reference/segments.md. It knows no file, no model and no plot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraudloop.decisions.policy import Policy
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import InputError
from fraudloop.training.metrics import Bools, Floats, Ints, Scored, auc_roc, average_precision

#: The columns reported where a run names none: those a payment table has. `channel` is made of `is_online`.
CHANNEL: Final = "channel"
DEFAULT_SEGMENTS: Final = ("country", "merchant_category", CHANNEL)

#: Below these a value is shown, not judged. 30 is where the interval of a share is about +-18 points at worst; 500
#: genuine payments see one false alarm at the rates in use. Smaller ones judge accidents, larger ones overlook small groups.
FRAUDS_MIN: Final = 30
ALERTS_MIN: Final = 30
GENUINE_MIN: Final = 500
#: Expected frauds (sum of scores) below which mean score and fraud share say nothing of each other.
EXPECTED_MIN: Final = 5.0

#: Values of a column shown one by one, the largest; the rest is one row, "others". A page holds no more.
VALUES_MAX: Final = 25

#: Different numbers up to which a number column is taken value by value; above, four groups of equal size.
NUMBERS_MAX: Final = 12

#: Rounds of the bootstrap and of the simulation of chance.
ROUNDS: Final = 1_000
CHANCE_ROUNDS: Final = 10_000

#: Groups of cards that the bootstrap draws: more make it slower and no finer.
BLOCKS_MAX: Final = 1_000

LEVEL: Final = 0.95
_Z: Final = 1.959963984540054

#: The value of a segment that gathers what is too small to be shown, and how a missing value is told apart from it.
OTHERS: Final = "others"

#: Measures with a gap, in the order of reports: of which rows it is a share, and how many of these it takes.
MEASURES: Final[Mapping[str, tuple[str, int]]] = {
    "false_positive_rate": ("genuine", GENUINE_MIN),
    "false_decline_rate": ("genuine", GENUINE_MIN),
    "recall": ("frauds", FRAUDS_MIN),
    "precision": ("alerts", ALERTS_MIN),
    "calibration": ("transactions", GENUINE_MIN),
}


@dataclass(frozen=True, slots=True)
class _Share:
    """A measure row by row: `hit` summed over `base` summed; `signed` for calibration, whose hits are score - truth."""

    hit: Floats
    base: Floats
    minimum: int
    signed: bool


def segment_columns(table: pl.DataFrame, wanted: Sequence[str] | None = None) -> dict[str, list[str | None]]:
    """The value of each row in each segment column. None takes those of DEFAULT_SEGMENTS that the table has.

    Text stays; truth values are `yes` and `no`; whole numbers with few values stay; other numbers fall into four groups
    of equal size. `channel`, where there is no such column, is `online` or `in person` by `is_online`. InputError names
    a column that is not there.

    >>> segment_columns(pl.DataFrame({"is_online": [True, None, False]}))
    {'channel': ['online', None, 'in person']}
    """
    out: dict[str, list[str | None]] = {}
    for name in DEFAULT_SEGMENTS if wanted is None else dict.fromkeys(wanted):
        if name in table.columns:
            if wanted is not None or table[name].null_count() < table.height:
                out[name] = _words(table[name])
        elif name == CHANNEL and "is_online" in table.columns:
            online = table["is_online"].cast(pl.Boolean).to_list()
            if wanted is not None or any(value is not None for value in online):
                out[name] = [None if value is None else ("online" if value else "in person") for value in online]
        elif wanted is not None:
            close = get_close_matches(name, table.columns, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"no column {name!r} to make segments of{hint}", column=name)
    return out


def _words(column: pl.Series) -> list[str | None]:
    if column.dtype == pl.Boolean:
        return [None if value is None else ("yes" if value else "no") for value in column.to_list()]
    if column.dtype.is_numeric():
        numbers = column.cast(pl.Float64).fill_nan(None)
        known = numbers.drop_nulls()
        if known.n_unique() <= NUMBERS_MAX:
            return [None if value is None else f"{value:g}" for value in numbers.to_list()]
        edges = np.unique(np.quantile(known.to_numpy(), (0.0, 0.25, 0.5, 0.75, 1.0)))
        # Equal numbers stay together; the last group has its upper end.
        names = [f"{low:g} to {'below ' if at < len(edges) - 2 else ''}{high:g}" for at, (low, high) in enumerate(pairwise(edges))]
        group = np.minimum(np.searchsorted(edges, numbers.fill_null(0.0).to_numpy(), side="right") - 1, len(names) - 1)
        return [names[int(at)] if there else None for at, there in zip(group, numbers.is_not_null(), strict=True)]
    return column.cast(pl.String).to_list()


def segment_report(
    scored: Scored,
    segments: Mapping[str, Sequence[str | None]],
    policy: Policy,
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> dict[str, Any]:
    """Every measure by value of every column, with intervals, and the largest gap by measure and column.

    scored: n rows. segments: by column one value a row, None where it is missing. policy: the tiers in force; an alert is
    a review or a decline. The result is plain data (docs/reference/segments.md explains every key): `overall`, `columns`,
    each with `values` and `gaps`, and `method`. InputError if a column has not one value a row.
    """
    for name, words in segments.items():
        if len(words) != len(scored):
            raise InputError(f"segment column {name!r} has {len(words):,} values for {len(scored):,} rows", column=name)
    tier = policy.tiers(scored.score)
    shares = _shares(scored, tier)
    blocks = _blocks(scored.card, np.random.default_rng(seed))
    columns: dict[str, dict[str, Any]] = {}
    for number, (name, words) in enumerate(segments.items()):
        codes, values = _codes(words)
        columns[name] = {
            "values": [
                {"value": value, "merged": merged, **_measured(scored, tier, shares, codes == at, merged)}
                for at, (value, merged) in enumerate(values)
            ],
            "gaps": _gaps(shares, codes, values, scored, blocks, rounds, (seed, number)),
        }
    gaps = [gap for column in columns.values() for gap in column["gaps"].values() if gap["gap"] is not None]
    for gap, adjusted in zip(gaps, _holm([gap["p"] for gap in gaps]), strict=True):
        gap["p_adjusted"] = adjusted
        gap["beyond_chance"] = adjusted < 1 - LEVEL
    everything = np.ones(len(scored), bool)
    return {
        "policy": policy.to_dict(),
        "overall": _measured(scored, tier, shares, everything),
        "columns": columns,
        "method": {
            "level": LEVEL, "rounds": rounds, "resampled": "cards", "blocks": int(blocks.max()) + 1 if len(blocks) else 0, "chance_rounds": CHANCE_ROUNDS,
            "comparisons": len(gaps), "adjustment": "Holm", "minimum": {"genuine": GENUINE_MIN, "frauds": FRAUDS_MIN, "alerts": ALERTS_MIN, "expected_frauds": EXPECTED_MIN}, "values_max": VALUES_MAX, "seed": seed,
        },
    }  # fmt: skip


def _shares(scored: Scored, tier: Any) -> dict[str, _Share]:
    y = scored.y
    alert, declined = tier >= Outcome.REVIEW, tier == Outcome.DECLINE
    parts = {
        "false_positive_rate": (~y & alert, ~y),
        "false_decline_rate": (~y & declined, ~y),
        "recall": (y & alert, y),
        "precision": (y & alert, alert),
        "calibration": (scored.score - y, np.ones(len(y))),
    }
    return {
        name: _Share(hit.astype(np.float64), base.astype(np.float64), MEASURES[name][1], name == "calibration")
        for name, (hit, base) in parts.items()
    }


def _codes(words: Sequence[str | None]) -> tuple[Ints, list[tuple[str | None, int]]]:
    """A code for each row and, by code, the value and how many values it stands for; the largest first, the missing one
    among them, what is beyond VALUES_MAX together at the end."""
    series = pl.Series("value", words, dtype=pl.String)
    counts = series.to_frame().group_by("value").len().sort(["len", "value"], descending=[True, False], nulls_last=True)
    names = counts["value"].to_list()
    shown = names if len(names) <= VALUES_MAX else names[: VALUES_MAX - 1]
    at = {name: code for code, name in enumerate(shown)}
    codes = np.fromiter((at.get(word, len(shown)) for word in words), np.int64, len(words))
    values: list[tuple[str | None, int]] = [(name, 1) for name in shown]
    if len(shown) < len(names):
        values.append((OTHERS, len(names) - len(shown)))
    return codes, values


def _measured(scored: Scored, tier: Any, shares: Mapping[str, _Share], rows: Bools, merged: int = 1) -> dict[str, Any]:
    """Counts, ranking, rates with intervals and outcome shares of some rows; several values merged are never judged."""
    y, score, outcome = scored.y[rows], scored.score[rows], tier[rows]
    n, frauds = len(y), int(y.sum())
    out: dict[str, Any] = {
        "transactions": n,
        "frauds": frauds,
        "alerts": int((outcome >= Outcome.REVIEW).sum()),
        "label_maturity": float(scored.mature[rows].mean()) if n else None,
        "average_precision": _number(average_precision(y, score)),
        "auc_roc": _number(auc_roc(y, score)),
        "mean_score": float(score.mean()) if n else None,
        "fraud_share": frauds / n if n else None,
    }
    for name, share in shares.items():
        out[name] = _interval(share, rows, scored)
        out[name]["judged"] &= merged == 1
    for name, part in (("outcomes", np.ones(n, bool)), ("outcomes_genuine", ~y), ("outcomes_fraud", y)):
        whole = int(part.sum())
        out[name] = {o.text: float((outcome[part] == o).mean()) if whole else None for o in Outcome}
    return out


def _interval(share: _Share, rows: Bools, scored: Scored) -> dict[str, Any]:
    """`{value, low, high, of, judged}`: a share with Wilson's interval (1927), its count divided by the design effect of
    cards (Kish, 1965); calibration with a normal one."""
    base, hit = float(share.base[rows].sum()), float(share.hit[rows].sum())
    if base == 0:
        return {"value": None, "low": None, "high": None, "of": 0, "judged": False}
    value = hit / base
    card, weight = scored.card[rows], share.base[rows]
    effect = _design_effect(share, rows, card, value, scored)
    if share.signed:
        score = scored.score[rows]
        half = _Z * math.sqrt(float(np.sum(score * (1 - score))) * effect) / base
        judged = base >= share.minimum and float(score.sum()) >= EXPECTED_MIN
        return {"value": value, "low": value - half, "high": value + half, "of": int(base), "judged": judged}
    low, high = wilson(value, float(weight.sum()) / effect)
    return {"value": value, "low": low, "high": high, "of": int(base), "judged": base >= share.minimum}


def wilson(share: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share seen in n trials (Wilson, 1927); never below 0 or above 1.

    >>> [round(end, 4) for end in wilson(0.0, 100)]
    [0.0, 0.037]
    """
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n)) / (1 + _Z**2 / n)
    return 0.0 if share == 0 else max(0.0, centre - half), 1.0 if share == 1 else min(1.0, centre + half)


def _design_effect(share: _Share, rows: Bools, card: Ints, value: float, scored: Scored) -> float:
    """How much more a share varies than if rows were independent, because a card's rows go together; at least 1:
    the sum of squares of the cards' deviations over what independent rows would give."""
    if share.signed:
        score = scored.score[rows]
        alone = float(np.sum(score * (1 - score)))
        deviation = share.hit[rows]
    else:
        alone = value * (1 - value) * float(share.base[rows].sum())
        deviation = share.hit[rows] - value * share.base[rows]
    if alone <= 0:
        return 1.0
    _, index = np.unique(card, return_inverse=True)
    together = float(np.sum(np.bincount(index, deviation) ** 2))
    return max(1.0, together / alone)


def _blocks(card: Ints, random: np.random.Generator) -> Ints:
    """Cards in at most BLOCKS_MAX groups, by chance; the number of each row's group."""
    cards, index = np.unique(card, return_inverse=True)
    block = random.permutation(len(cards)) % min(BLOCKS_MAX, max(1, len(cards)))
    out: Ints = block[index]
    return out


def _gaps(
    shares: Mapping[str, _Share],
    codes: Ints,
    values: Sequence[tuple[str | None, int]],
    scored: Scored,
    blocks: Ints,
    rounds: int,
    seed: tuple[int, int],
) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    groups = int(blocks.max()) + 1 if len(blocks) else 1
    drawn = random.multinomial(groups, np.full(groups, 1.0 / groups), size=rounds).astype(np.float64)
    return {name: _gap(share, codes, values, scored, blocks, drawn, random) for name, share in shares.items()}


def _gap(
    share: _Share,
    codes: Ints,
    values: Sequence[tuple[str | None, int]],
    scored: Scored,
    blocks: Ints,
    drawn: Floats,
    random: np.random.Generator,
) -> dict[str, Any]:
    """The judged values that lie farthest apart, the interval of their difference, and how often chance alone would put
    the outermost of so many values as far apart if all were the same in truth."""
    size = len(values)
    base, hit = np.bincount(codes, share.base, size), np.bincount(codes, share.hit, size)
    own = np.array([merged == 1 for _, merged in values], bool)
    judged = own & (base >= share.minimum)
    if share.signed:
        judged &= np.bincount(codes, scored.score, size) >= EXPECTED_MIN
    at = np.flatnonzero(judged)
    nothing = {"judged": len(at), "not_judged": size - len(at), "gap": None}
    if len(at) < 2:
        return nothing
    rate = hit[at] / base[at]
    high, low = at[int(np.argmax(rate))], at[int(np.argmin(rate))]
    gap = float(rate.max() - rate.min())

    # The pair is kept while cards are drawn: the interval is that of a difference, not of a largest one.
    groups = drawn.shape[1]
    sums = np.stack([np.bincount(blocks, v * (codes == code), groups) for code in (high, low) for v in (share.hit, share.base)], axis=1)
    above, above_base, below, below_base = np.einsum("rg,gk->kr", drawn, sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = above / above_base, below / below_base
    ends = _ends(first - second)

    simulated = _chance(share, at, codes, base, hit, scored, random)
    p = float((1 + np.sum(simulated >= gap - 1e-12)) / (1 + len(simulated)))
    out: dict[str, Any] = {
        **nothing,
        "highest": {"value": values[high][0], "rate": float(rate.max())},
        "lowest": {"value": values[low][0], "rate": float(rate.min())},
        "gap": gap,
        "low": ends[0],
        "high": ends[1],
        "chance": float(np.quantile(simulated, LEVEL)),
        "p": p,
    }
    if not share.signed and share.minimum == GENUINE_MIN:
        # The four-fifths rule is about the good outcome: genuine payments let through.
        with np.errstate(divide="ignore", invalid="ignore"):
            out["passing_ratio"] = (1 - rate.max()) / (1 - rate.min()) if rate.min() < 1 else None
            out["passing_ratio_low"], out["passing_ratio_high"] = _ends((1 - first) / (1 - second))
        out["times"] = float(rate.max() / rate.min()) if rate.min() > 0 else None
    return out


def _chance(
    share: _Share, at: Ints, codes: Ints, base: NDArray[Any], hit: NDArray[Any], scored: Scored, random: np.random.Generator
) -> Floats:
    """Simulated gaps where all judged values have the same true rate (calibration: where every score means what it says).

    Counts are binomial with the base divided by the design effect of cards over all judged rows: as the studentised
    range of Tukey and Kramer, but right for rare events too.
    """
    rows = np.isin(codes, at)
    pooled = float(hit[at].sum() / base[at].sum())
    effect = _design_effect(share, rows, scored.card[rows], pooled, scored)
    if share.signed:
        variance = np.bincount(codes, scored.score * (1 - scored.score), len(base))[at]
        values = random.standard_normal((CHANCE_ROUNDS, len(at))) * np.sqrt(variance * effect) / base[at]
    else:
        trials = np.maximum(1, np.round(base[at] / effect)).astype(np.int64)
        values = random.binomial(trials, pooled, (CHANCE_ROUNDS, len(at))) / trials
    out: Floats = values.max(axis=1) - values.min(axis=1)
    return out


def _ends(values: Floats) -> tuple[float | None, float | None]:
    known = values[np.isfinite(values)]
    if not len(known):
        return None, None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _holm(p: Sequence[float]) -> list[float]:
    """Holm's adjustment (1979): with it, no gap is called real by chance in 95 % of reports, however many are looked at.

    >>> _holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    out, last = [0.0] * len(p), 0.0
    for rank, at in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        last = max(last, min(1.0, (len(p) - rank) * p[at]))
        out[at] = last
    return out


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
