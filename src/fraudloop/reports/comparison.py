"""A comparison of algorithms and strategies for people: rows of a table and a plot. It takes plain data and knows no model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from fraudloop.reports.plots import BLUE, GREEN, GREY, INK, ORANGE, PALE, VERMILION, Page, styled

#: How metrics are headed.
METRIC_NAMES: Final[Mapping[str, str]] = {
    "average_precision": "average precision",
    "auc_roc": "AUC-ROC",
    "card_precision_100": "Card Precision@100",
    "recall_at_90_precision": "recall at 90 % precision",
}

_ABSENT = "–"
_PURPLE = "#CC79A7"
_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, _PURPLE, INK, GREY)
_MARKS = ("o", "s", "^", "D", "v", "P", "X")


def comparison_columns(metric: str) -> tuple[str, ...]:
    """The heads of :func:`comparison_rows`."""
    other = "average_precision" if metric == "auc_roc" else "auc_roc"
    return "algorithm", "imbalance", METRIC_NAMES[metric], "less than the best", "AP" if other == "average_precision" else "AUC", "fit s"


def comparison_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a contender, the best first; intervals in brackets. No wider than 100 characters with the heads."""
    metric = report["metric"]
    other = "average_precision" if metric == "auc_roc" else "auc_roc"
    rows: list[tuple[str, ...]] = []
    for c in report["contenders"]:
        gap = c["difference_to_best"]
        rows.append(
            (
                c["algorithm"],
                c["strategy"],
                f"{_three(c[metric])} {_ends(c['intervals_95'][metric])}",
                "best" if gap is None else f"{_signed(gap['value'])} {_ends((gap['low'], gap['high']), signed=True)}",
                _three(c[other]),
                f"{c['fit_s']:.1f}",
            )
        )
    return rows


def _three(value: float | None) -> str:
    return _ABSENT if value is None or math.isnan(value) else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return _ABSENT if value is None or math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def _ends(ends: tuple[float, float], *, signed: bool = False) -> str:
    show = _signed if signed else _three
    return f"[{show(ends[0])}, {show(ends[1])}]"


@styled
def comparison_plot(report: Mapping[str, Any]) -> bytes:
    """A PNG: every contender's metric with its interval, the best at the top; hollow where the paired difference to the
    best may be nothing (its interval holds 0)."""
    metric, contenders = report["metric"], report["contenders"]
    n = len(contenders)
    name = METRIC_NAMES[metric]
    page = Page(
        f"Algorithms and strategies by {name}",
        f"mean of {len(report['folds'])} validation folds before the test days, with 95 % interval (days drawn anew)\n"
        "grey band: the best one's interval; hollow: no clear difference to the best on the same days",
        width=9.0,
        height=2.05 + 0.29 * n,
    )
    axes = page.axes
    strategies = sorted({c["strategy"] for c in contenders})
    height = 2.05 + 0.29 * n
    axes.set_position((0.29, 0.62 / height, 0.62, (0.29 * n) / height))  # room at the right for the figures
    low, high = contenders[0]["intervals_95"][metric]
    axes.axvspan(low, high, color=PALE, alpha=0.6, linewidth=0)
    for at, c in enumerate(contenders):
        which = strategies.index(c["strategy"])
        colour, mark = _COLOURS[which % len(_COLOURS)], _MARKS[which % len(_MARKS)]
        gap = c["difference_to_best"]
        unclear = gap is not None and gap["low"] <= 0 <= gap["high"]
        axes.hlines(at, *c["intervals_95"][metric], color=colour, linewidth=2, alpha=0.7)
        axes.plot(c[metric], at, mark, color=colour, markersize=8, markerfacecolor="white" if unclear else colour, markeredgewidth=1.8)
        axes.text(1.01, at, _three(c[metric]), transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=GREY)
    labels = [f"{c['algorithm']}  ·  {c['strategy'].replace('_', ' ')}" for c in contenders]
    axes.set_yticks(range(n), labels=labels, color=INK)
    for which, strategy in enumerate(strategies):
        axes.plot([], [], _MARKS[which % len(_MARKS)], color=_COLOURS[which % len(_COLOURS)], label=strategy.replace("_", " "))
    axes.set(ylim=(n - 0.4, -0.6), xlabel=f"{name}, right-hand figures the mean")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0.02, (0.66 + 0.29 * n) / height), bbox_transform=page.figure.transFigure, ncols=5, borderaxespad=0.0,
        columnspacing=1.6, handletextpad=0.4,
    )  # fmt: skip
    return page.png()
