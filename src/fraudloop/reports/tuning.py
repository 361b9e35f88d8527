"""The plots of a search of hyperparameters: history, importance, slices, parallel coordinates. Plain data in, PNG out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fraudloop.reports.comparison import METRIC_NAMES
from fraudloop.reports.plots import BLUE, GREEN, GREY, INK, ORANGE, PALE, VERMILION, Page, styled

#: Slices in a row.
_ACROSS: Final = 3

#: Parameters in the plots of single parameters: the most important ones.
PARAMETERS_MAX: Final = 9


def draw_study(report: Mapping[str, Any]) -> dict[str, bytes]:
    """Every plot, by file name; without importance where too few trials can tell."""
    out = {"history.png": history(report), "slices.png": slices(report), "parallel.png": parallel(report)}
    if report["importance"]:
        out["importance.png"] = importance(report)
    return out


def study_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row a parameter: what it was, what the best trial has, how much of the variance it explains."""
    before, best = report["default"]["params"], report["best"]["params"]
    return [
        (
            name,
            _value(before[name]),
            _value(best[name]),
            f"{100 * report['importance'][name]:.0f} %" if name in report["importance"] else "–",
        )
        for name in _ordered(report)
    ]


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _ordered(report: Mapping[str, Any]) -> list[str]:
    """The searched parameters, the most important first."""
    found = report["importance"]
    return sorted(report["default"]["params"], key=lambda name: -found.get(name, 0.0))


def _complete(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [trial for trial in report["trials"] if trial["state"] == "complete"]


def _subtitle(report: Mapping[str, Any]) -> str:
    pruned = len(report["trials"]) - len(_complete(report))
    return f"{report['algorithm']}, mean {METRIC_NAMES[report['metric']]} of the validation folds; {len(report['trials'])} trials, {pruned} of them pruned"


@styled
def history(report: Mapping[str, Any]) -> bytes:
    """Every trial's value in order, and the best so far."""
    from matplotlib.ticker import MaxNLocator

    page = Page(f"The search  ·  best {report['best']['value']:.4f}, {report['gain']:+.4f} against the start", _subtitle(report))
    axes = page.axes
    complete, trials = _complete(report), report["trials"]
    pruned = [trial for trial in trials if trial["state"] != "complete"]
    axes.plot(
        [t["number"] for t in complete],
        [t["value"] for t in complete],
        "o",
        color=BLUE,
        markersize=7,
        alpha=0.75,
        label="trial",
        clip_on=False,
    )
    # A pruned trial's value is that of its first folds only: it stands at the foot, not among the others.
    values = [t["value"] for t in complete]
    low, high = min(values), max(values)
    foot = low - 0.08 * (high - low or abs(high) or 1.0)
    axes.plot(
        [t["number"] for t in pruned], [foot] * len(pruned), "x", color=GREY, markersize=7, label="pruned after some folds", clip_on=False
    )
    axes.step(
        [t["number"] for t in complete], np.maximum.accumulate(values), where="post", color=VERMILION, linewidth=2, label="best so far"
    )
    axes.axhline(report["default"]["value"], color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="where it began")
    axes.set(xlabel="trial", ylabel=METRIC_NAMES[report["metric"]], xlim=(-0.5, max(1, len(trials) - 0.5)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    page.legend_above(4)
    return page.png()


@styled
def importance(report: Mapping[str, Any]) -> bytes:
    """The share of the variance that each parameter explains (fANOVA)."""
    from matplotlib.ticker import PercentFormatter

    rows = list(report["importance"].items())
    page = Page(
        "Which hyperparameters matter",
        f"{_subtitle(report)}\nshare of the variance of complete trials that each explains (fANOVA)", height=1.9 + 0.3 * len(rows),
    )  # fmt: skip
    axes = page.axes
    page.place(left=0.24, bottom=0.6, top=1.0)
    axes.barh(range(len(rows)), [share for _, share in rows], color=BLUE, height=0.66)
    for at, (_, share) in enumerate(rows):
        axes.text(share, at, f" {100 * share:.0f} %", va="center", fontsize=9, color=GREY)
    axes.set_yticks(range(len(rows)), labels=[name for name, _ in rows], color=INK)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, 1.14 * max(share for _, share in rows)), xlabel="share of the variance")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    return page.png()


@styled
def slices(report: Mapping[str, Any]) -> bytes:
    """The value against each parameter, the most important first."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    names = _ordered(report)[:PARAMETERS_MAX]
    down = math.ceil(len(names) / _ACROSS)
    width, height = 10.5, 1.25 + 2.35 * down
    page = Page(
        "Value by hyperparameter",
        f"{_subtitle(report)}; later trials darker, the best in orange, the start in green",
        width=width,
        height=height,
    )
    page.figure.delaxes(page.axes)
    complete = _complete(report)
    values = np.array([t["value"] for t in complete])
    order = np.array([t["number"] for t in complete], float) / max(1, report["trials"][-1]["number"])
    for at, name in enumerate(names):
        row, column = divmod(at, _ACROSS)
        axes = page.figure.add_axes(
            (0.075 + column * 0.312, (height - 1.0 - 2.35 * row - 1.6) / height, 0.27, 1.55 / height),
        )
        x, ticks = _places([t["params"][name] for t in report["trials"]])
        at_trial = {t["number"]: x[number] for number, t in enumerate(report["trials"])}
        own = np.array([at_trial[t["number"]] for t in complete])
        axes.scatter(own, values, c=BLUE, s=22, alpha=np.clip(0.25 + 0.7 * order, 0, 1), linewidths=0)
        for trial, colour in ((report["default"], GREEN), (report["best"], ORANGE)):
            axes.plot(at_trial[trial["number"]], trial["value"], "o", color=colour, markersize=8, markeredgecolor="white")
        if ticks:
            axes.set_xticks(range(len(ticks)), labels=ticks)
            axes.set_xlim(-0.5, len(ticks) - 0.5)
        elif _by_ratio([t["params"][name] for t in report["trials"]]):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(name, color=INK)
        if column:
            axes.tick_params(labelleft=False)
    return page.png()


@styled
def parallel(report: Mapping[str, Any]) -> bytes:
    """Each complete trial as a line over its parameters; the best tenth, at least three, in colour."""
    names = _ordered(report)[:PARAMETERS_MAX]
    complete = sorted(_complete(report), key=lambda t: t["value"])
    top = max(3, round(len(complete) / 10))
    page = Page("Trials side by side", f"{_subtitle(report)}; the best {min(top, len(complete))} in colour", width=10.5, height=5.4)
    axes = page.axes
    page.place(left=0.05, bottom=1.0, top=1.0)
    heads = [*names, "value"]
    columns = []
    for at, name in enumerate(heads):
        raw = [t["value"] if name == "value" else t["params"][name] for t in complete]
        x, ticks = _places(raw)
        scaled = np.log(np.maximum(x, 1e-12)) if not ticks and name != "value" and _by_ratio(raw) else x
        low, high = float(scaled.min()), float(scaled.max())
        columns.append((scaled - low) / (high - low) if high > low else np.full(len(scaled), 0.5))
        axes.axvline(at, color=GREY, linewidth=1)
        ends = (ticks[0], ticks[-1]) if ticks else (_value(raw[int(np.argmin(x))]), _value(raw[int(np.argmax(x))]))
        axes.text(at, -0.04, ends[0], ha="center", va="top", fontsize=8.5, color=GREY)
        axes.text(at, 1.03, ends[1], ha="center", va="bottom", fontsize=8.5, color=GREY)
    lines = np.array(columns)
    for number in range(len(complete)):
        rank = len(complete) - 1 - number
        colour = ORANGE if rank == 0 else BLUE if rank < top else PALE
        axes.plot(
            range(len(heads)),
            lines[:, number],
            color=colour,
            linewidth=2.2 if rank < top else 1,
            alpha=1.0 if rank < top else 0.9,
            zorder=3 if rank < top else 1,
        )
    axes.set_xticks(range(len(heads)), labels=heads, color=INK, rotation=18, ha="right")
    axes.tick_params(axis="x", pad=16, length=0)
    axes.set(xlim=(-0.2, len(heads) - 0.8), ylim=(-0.02, 1.02))
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return page.png()


def _places(values: Sequence[Any]) -> tuple[np.ndarray[Any, np.dtype[np.float64]], list[str]]:
    """Where values stand on an axis; for words, or words and numbers mixed, the names of their places."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.array(values, np.float64), []
    names = sorted({_value(value) for value in values})
    return np.array([names.index(_value(value)) for value in values], np.float64), names


def _by_ratio(values: Sequence[Any]) -> bool:
    """Whether numbers are better told apart by ratio."""
    low, high = float(min(values)), float(max(values))
    return low > 0 and high / low > 10
