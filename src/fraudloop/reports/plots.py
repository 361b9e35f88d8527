"""Plots of a model's test: precision and recall, calibration, cost by threshold, outcomes, importance, scores by class.

Each function takes plain arrays and gives the bytes of a PNG. Colours are those of Okabe and Ito (2008), told apart
with any colour vision; every axis names its unit and every title says what is shown. It knows no model and no file.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
D = TypeVar("D")

BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
VERMILION: Final = "#D55E00"
GREEN: Final = "#009E73"
GREY: Final = "#6B7280"
PALE: Final = "#E5E7EB"
INK: Final = "#1F2937"

#: Bars of the importance plot: what fits a page and a reader.
IMPORTANCE_TOP: Final = 20

_STYLE: Final[Any] = {
    "font.family": "DejaVu Sans", "font.size": 10.5, "axes.edgecolor": GREY, "axes.labelcolor": INK, "text.color": INK, "xtick.color": GREY,
    "ytick.color": GREY, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": PALE, "grid.linewidth": 0.8,
    "axes.axisbelow": True, "legend.frameon": False, "svg.hashsalt": "fraudloop", "axes.linewidth": 0.8,
}  # fmt: skip


#: A pale ground, so that a label stays readable where a line passes behind it.
_BEHIND: Final[Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}


@dataclass(frozen=True, slots=True)
class PlotData:
    """Scored test transactions. y: bool [n]. score: float64 [n], calibrated. amount: float64 [n], base currency.
    precision, recall: of every threshold, from the highest. reliability: rows, score, fraud by group. cost_curve:
    threshold, missed, review, total. importance: (column, share), the largest first. costs: the cost matrix in words.
    subtitle: what was tested."""

    y: Bools
    score: Floats
    amount: Floats
    precision: Floats
    recall: Floats
    average_precision: float
    reliability: Mapping[str, Sequence[float]]
    calibration_error: float
    cost_curve: Mapping[str, Sequence[float]]
    importance: Sequence[tuple[str, float]]
    review: float
    decline: float
    currency: str
    costs: str
    subtitle: str


def draw_all(data: PlotData) -> dict[str, bytes]:
    """Every plot, by file name; without importance where there is none."""
    out = {
        "precision-recall.png": precision_recall(data),
        "calibration.png": calibration(data),
        "cost-by-threshold.png": cost_by_threshold(data),
        "outcomes.png": outcomes(data),
        "scores-by-class.png": scores_by_class(data),
    }
    if data.importance:
        out["importance.png"] = importance(data)
    return out


def styled(draw: Callable[[D], bytes]) -> Callable[[D], bytes]:
    """Draw with this module's style, and leave the style of the process as it was."""

    @wraps(draw)
    def with_style(data: D) -> bytes:
        import matplotlib as mpl

        with mpl.rc_context(_STYLE):
            return draw(data)

    return with_style


class Page:
    """One figure with a title, a line below it and one pair of axes; `png()` ends it."""

    def __init__(self, title: str, subtitle: str, width: float = 8.0, height: float = 5.2) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(width, height), dpi=140, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_subplot()
        self.place(left=0.95 / width)
        self.figure.text(0.25 / width, 1 - 0.28 / height, title, fontsize=14, fontweight="bold", va="center")
        for line, text in enumerate(subtitle.split("\n")):
            self.figure.text(0.25 / width, 1 - (0.56 + 0.2 * line) / height, text, fontsize=9.5, color=GREY, va="center")

    def place(self, *, left: float, bottom: float = 0.62, top: float = 1.2) -> None:
        """Put the axes: `left` as a share of the width, `bottom` and `top` in inches from the edges."""
        width, height = self.figure.get_size_inches()
        self.axes.set_position((left, bottom / height, 1 - 0.3 / width - left, 1 - (bottom + top) / height))

    def legend_above(self, columns: int) -> None:
        """The legend in one row between the subtitle and the axes, where it hides nothing."""
        if self.axes.get_legend_handles_labels()[0]:
            self.axes.legend(
                loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=columns, borderaxespad=0.2, columnspacing=1.6, handletextpad=0.6
            )

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def _percent(axis: Any, decimals: int = 0) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))


def _thousands(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


@styled
def precision_recall(data: PlotData) -> bytes:
    """How much of the fraud is found, and how many alerts are right, at every threshold; the tiers in force marked."""
    page = Page(f"Precision and recall  ·  average precision {data.average_precision:.3f}", data.subtitle)
    axes = page.axes
    base = float(data.y.mean()) if len(data.y) else 0.0
    axes.plot(data.recall, data.precision, color=BLUE, linewidth=2, drawstyle="steps-pre")
    axes.fill_between(data.recall, data.precision, step="pre", color=BLUE, alpha=0.08, linewidth=0)
    axes.axhline(base, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(f"alerting at random: {100 * base:.2f} %", (0.0, base), (6, 5), textcoords="offset points", fontsize=9, color=GREY)
    frauds = max(1, int(data.y.sum()))
    for name, threshold, colour, marker in (("review", data.review, ORANGE, "o"), ("decline", data.decline, VERMILION, "s")):
        alert = data.score > threshold
        if alert.any():
            recall, precision = float((data.y & alert).sum()) / frauds, float(data.y[alert].mean())
            label = f"{name} > {threshold:.3g}: {100 * precision:.0f} % right, {100 * recall:.0f} % found"
            axes.plot(
                recall,
                precision,
                marker=marker,
                markersize=10,
                color=colour,
                markeredgecolor="white",
                markeredgewidth=1.5,
                linestyle="",
                label=label,
            )
    axes.set(xlim=(0, 1.01), ylim=(0, 1.03), xlabel="recall: share of frauds found", ylabel="precision: share of alerts that are fraud")
    _percent(axes.xaxis)
    _percent(axes.yaxis)
    page.legend_above(2)
    return page.png()


@styled
def calibration(data: PlotData) -> bytes:
    """Whether a score of 0.9 means 90 %: mean score against the share of fraud, by group of like scores."""
    page = Page(
        "Calibration: does a score mean what it says?",
        f"{data.subtitle}\nexpected calibration error {100 * data.calibration_error:.2f} %, log-odds scales",
    )
    axes = page.axes
    rows, score, fraud = (np.asarray(data.reliability[key], np.float64) for key in ("rows", "score", "fraud"))
    floor = 10.0 ** np.floor(np.log10(np.clip(score.min() if len(rows) else 0.01, 1e-6, 0.05)))
    ends = _odds(np.array([floor, 1 - 1e-3]))
    axes.plot(ends, ends, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="perfect calibration")
    # 95 % interval of each group's share (Wilson, 1927).
    z, n = 1.96, np.maximum(rows, 1)
    centre = (fraud + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(fraud * (1 - fraud) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    x, y = (np.clip(_odds(values), *ends) for values in (score, fraud))
    low, high = (np.clip(_odds(values), *ends) for values in (centre - half, centre + half))
    axes.vlines(x, low, high, color=BLUE, alpha=0.45, linewidth=1.6)
    axes.plot(
        x,
        y,
        "o",
        color=BLUE,
        markersize=7.5,
        markeredgecolor="white",
        label="groups of like scores, with 95 % interval",
        clip_on=False,
        zorder=3,
    )
    ticks = [tick for tick in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99, 0.999) if tick >= floor]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(_odds(np.array(ticks)).tolist(), labels=[f"{100 * tick:g} %" for tick in ticks])
    axes.set(xlim=ends, ylim=ends, xlabel="mean score of the group", ylabel="share that was fraud")
    page.legend_above(2)
    return page.png()


def _odds(chance: Floats) -> Floats:
    """Decimal log-odds, kept finite."""
    safe = np.clip(chance, 1e-9, 1 - 1e-9)
    out: Floats = np.log10(safe / (1 - safe))
    return out


@styled
def cost_by_threshold(data: PlotData) -> bytes:
    """What fraud let through and alerts cost together, by review threshold; the least and the one in force marked."""
    page = Page("Cost by review threshold", f"{data.subtitle}\n{data.costs}")
    axes = page.axes
    threshold, missed, review, total = (np.asarray(data.cost_curve[key], np.float64) for key in ("threshold", "missed", "review", "total"))
    x = _odds(threshold)
    axes.stackplot(
        x, missed, review, colors=[VERMILION, ORANGE], alpha=0.28, linewidth=0, labels=["fraud let through", "reviewing the alerts"]
    )
    axes.plot(x, total, color=INK, linewidth=2, label="total")
    least = int(np.argmin(total))
    everything = float(data.amount[data.y].sum())
    axes.axhline(everything, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    # Between the tiers, where the total is seldom as high as without a model.
    middle = float(np.clip(np.mean(_odds(np.array([data.review, data.decline]))), x[0] + 1.5, x[-1] - 1.5))
    axes.annotate(
        f"without a model: {everything:,.0f}", (middle, everything), (0, 5), textcoords="offset points", ha="center", fontsize=9, color=GREY
    )
    axes.plot(x[least], total[least], "o", color=GREEN, markersize=10, markeredgecolor="white", markeredgewidth=1.5)
    axes.annotate(
        f"least: {total[least]:,.0f} at {threshold[least]:.3g}", (x[least], total[least]), (0, 48), textcoords="offset points", ha="center",
        fontsize=9.5, color=GREEN, fontweight="bold", bbox=_BEHIND, zorder=4, arrowprops={"arrowstyle": "-", "color": GREEN},
    )  # fmt: skip
    for name, value, colour in (("review", data.review, ORANGE), ("decline", data.decline, VERMILION)):
        if 0 < value < 1:
            at = float(np.log10(value / (1 - value)))
            axes.axvline(at, color=colour, linewidth=1.5)
            axes.annotate(f"{name} {value:.3g}", (at, 1.0), (3, -2), xycoords=("data", "axes fraction"), textcoords="offset points", rotation=90, va="top",
                          fontsize=9, color=colour)  # fmt: skip
    top = 1.35 * max(everything, float(total[least]), 1.0)
    ticks = [1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99]
    axes.set_xticks([float(np.log10(tick / (1 - tick))) for tick in ticks], labels=[f"{tick:g}" for tick in ticks])
    axes.set(
        xlim=(x[0], x[-1]), ylim=(0, top), xlabel="review everything that scores above", ylabel=f"cost on the test days, {data.currency}"
    )
    _thousands(axes.yaxis)
    page.legend_above(3)
    return page.png()


@styled
def outcomes(data: PlotData) -> bytes:
    """The confusion matrix at the thresholds in force: what became of genuine and of fraudulent transactions."""
    page = Page(
        "Outcomes at the thresholds in force",
        f"{data.subtitle}\nreview above {data.review:.3g}, decline above {data.decline:.3g}",
        height=4.4,
    )
    axes = page.axes
    page.place(left=0.12, bottom=0.75, top=1.0)
    declined = data.score > data.decline
    reviewed = (data.score > data.review) & ~declined
    columns = (("approved", ~reviewed & ~declined), ("reviewed", reviewed), ("declined", declined))
    good = {("genuine", "approved"), ("fraud", "reviewed"), ("fraud", "declined")}
    for row, (truth, of) in enumerate((("fraud", data.y), ("genuine", ~data.y))):
        whole = max(1, int(of.sum()))
        for column, (outcome, rows) in enumerate(columns):
            cell = of & rows
            share = int(cell.sum()) / whole
            colour = BLUE if (truth, outcome) in good else VERMILION
            axes.add_patch(_rectangle(column, row, colour, 0.10 + 0.75 * share))
            ink = "white" if share > 0.55 else INK
            axes.text(column + 0.5, row + 0.40, f"{int(cell.sum()):,}", ha="center", va="center", fontsize=17, fontweight="bold", color=ink)
            money = f"  ·  {data.amount[cell].sum():,.0f} {data.currency}" if truth == "fraud" else ""
            axes.text(column + 0.5, row + 0.67, f"{100 * share:.2f} % of {truth}{money}", ha="center", va="center", fontsize=9.5, color=ink)
    axes.set(xlim=(0, 3), ylim=(2, 0))
    axes.set_xticks([0.5, 1.5, 2.5], labels=[name for name, _ in columns], fontsize=11, color=INK)
    axes.set_yticks([0.5, 1.5], labels=["fraud", "genuine"], fontsize=11, color=INK)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(
        0, 2.33, "blue: as it should be  ·  orange: a mistake  ·  darker where it is a larger share of its row", fontsize=9, color=GREY
    )
    return page.png()


def _rectangle(column: int, row: int, colour: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column + 0.02, row + 0.03), 0.96, 0.94, facecolor=colour, alpha=alpha, linewidth=0)


@styled
def importance(data: PlotData) -> bytes:
    """Which inputs the members were built on: share of the loss reduced (trees) or of absolute weights (linear)."""
    rows = list(data.importance[:IMPORTANCE_TOP])
    page = Page(
        "What the model is built on",
        f"how far the score (log-odds) moves when an input's values are shuffled, as a share; the {len(rows)} largest of {len(data.importance)}",
        height=1.7 + 0.27 * len(rows),
    )
    axes = page.axes
    longest = max(len(name) for name, _ in rows)
    page.place(left=min(0.5, 0.05 + 0.0105 * longest), bottom=0.6, top=0.8)
    at = np.arange(len(rows))
    shares = np.array([share for _, share in rows])
    axes.barh(at, shares, color=BLUE, height=0.68)
    for index, share in enumerate(shares):
        axes.text(share, index, f" {100 * share:.1f} %", va="center", fontsize=9, color=GREY)
    axes.set_yticks(at, labels=[name for name, _ in rows], color=INK)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, float(shares.max()) * 1.14 or 1.0), xlabel="share")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    _percent(axes.xaxis)
    return page.png()


@styled
def scores_by_class(data: PlotData) -> bytes:
    """How the scores of frauds and of genuine transactions are spread, each as a share of its class."""
    page = Page("Scores of frauds and of genuine transactions", f"{data.subtitle}\neach class adds up to 100 %")
    axes = page.axes
    odds = _odds(data.score)
    lowest = float(np.clip(np.floor(2 * odds.min()) / 2, -6.0, -1.0)) if len(odds) else -4.0
    edges = np.linspace(lowest, 3.0, 61)
    x = np.clip(odds, edges[0], edges[-1])
    for name, of, colour in (("genuine", ~data.y, BLUE), ("fraud", data.y, VERMILION)):
        count = int(of.sum())
        if count:
            share = np.histogram(x[of], edges)[0] / count
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.35, label=f"{name} ({count:,})")
            axes.stairs(share, edges, color=colour, linewidth=1.6)
    for name, value, colour in (("review", data.review, ORANGE), ("decline", data.decline, INK)):
        if 0 < value < 1:
            at = float(np.log10(value / (1 - value)))
            axes.axvline(at, color=colour, linewidth=1.5, linestyle=(0, (5, 3)))
            axes.annotate(f"{name} {value:.3g}", (at, 1.0), (3, -2), xycoords=("data", "axes fraction"), textcoords="offset points", rotation=90, va="top",
                          fontsize=9, color=colour)  # fmt: skip
    ticks = [tick for tick in (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 0.9, 0.99) if _odds(np.array([tick]))[0] >= lowest]
    axes.set_xticks(_odds(np.array(ticks)).tolist(), labels=[f"{tick:g}" for tick in ticks])
    axes.set(xlim=(edges[0], edges[-1]), xlabel="calibrated score (log-odds scale)", ylabel="share of the class")
    axes.set_ylim(bottom=0)
    _percent(axes.yaxis)
    page.legend_above(2)
    return page.png()
