"""Segments as a page shows them: rows with figures and where to draw them, gaps in words. Plain data in, plain data out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fraudloop.reports.page import ABSENT, percent, points, words

#: Measures with a gap: heading, and what it says in a sentence, by the name in `training.segments.MEASURES`.
MEASURES: Final[Mapping[str, tuple[str, str]]] = {
    "false_positive_rate": ("False alarms", "genuine payments sent to review or declined"),
    "false_decline_rate": ("False declines", "genuine payments that were declined"),
    "recall": ("Recall", "frauds sent to review or declined"),
    "precision": ("Precision", "alerts that were fraud"),
    "calibration": ("Calibration", "mean score minus share of fraud"),
}

#: Measures drawn with their interval beside each value; the others stand as figures.
_DRAWN: Final = ("false_positive_rate", "recall")


def value_name(value: str | None, merged: int = 1) -> str:
    """What a segment is called.

    >>> value_name("DE"), value_name(None), value_name("others", 3)
    ('DE', 'no value', '3 others')
    """
    if merged > 1:
        return f"{merged} others"
    return "no value" if value is None else value


def segment_view(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the segments template needs of `training.segments.segment_report`; None where there is nothing to show."""
    if not report or not report.get("columns"):
        return None
    overall = report["overall"]
    columns: list[dict[str, Any]] = []
    for name, found in report["columns"].items():
        scale = {measure: _scale([row[measure] for row in found["values"]], overall[measure]) for measure in _DRAWN}
        columns.append({
            "name": words(name), "rows": [_row(row, scale) for row in found["values"]],
            "overall": {measure: _place(overall[measure]["value"], scale[measure]) for measure in _DRAWN},
            "gaps": [_gap(measure, found["gaps"][measure]) for measure in MEASURES if measure in found["gaps"]],
        })  # fmt: skip
    beyond = [(c["name"], g) for c in columns for g in c["gaps"] if g["beyond"]]
    return {"columns": columns, "overall": overall, "method": report["method"], "beyond": beyond, "summary": _summary(report, beyond)}


def _scale(rates: Sequence[Mapping[str, Any]], overall: Mapping[str, Any]) -> float:
    """The end of the axis: what judged values need, so that one tiny value does not press all others together."""
    judged = [rate["high"] for rate in rates if rate["judged"] and rate["high"] is not None]
    some = judged or [rate["high"] for rate in rates if rate["high"] is not None]
    return min(1.0, 1.05 * max(float(end) for end in (*some, overall["high"] or 0.0, 1e-9)))


def _place(value: float | None, scale: float) -> float | None:
    return None if value is None else round(100 * min(1.0, max(0.0, value / scale)), 2)


def _row(row: Mapping[str, Any], scale: Mapping[str, float]) -> dict[str, Any]:
    drawn = {}
    for measure in _DRAWN:
        rate = row[measure]
        low, high, at = (_place(rate[end], scale[measure]) for end in ("low", "high", "value"))
        drawn[measure] = {
            "text": percent(rate["value"]), "of": rate["of"], "judged": rate["judged"], "at": at, "low": low, "width": None if low is None or high is None else round(high - low, 2),
            "range": f"{percent(rate['low'])} to {percent(rate['high'])}" if rate["value"] is not None else ABSENT,
        }  # fmt: skip
    return {
        "name": value_name(row["value"], row["merged"]), "transactions": row["transactions"], "frauds": row["frauds"], "drawn": drawn,
        "declined": percent(row["false_decline_rate"]["value"]), "precision": percent(row["precision"]["value"]),
        "calibration": points(row["calibration"]["value"]), "auc": row["auc_roc"],
    }  # fmt: skip


def _gap(measure: str, gap: Mapping[str, Any]) -> dict[str, Any]:
    head, meaning = MEASURES[measure]
    out = {
        "measure": measure,
        "head": head,
        "meaning": meaning,
        "judged": gap["judged"],
        "not_judged": gap["not_judged"],
        "beyond": False,
        "known": gap["gap"] is not None,
        "same": "",
    }
    if gap["gap"] is None:
        return out
    write = points if measure == "calibration" else percent
    if gap["gap"] == 0:
        out["same"] = f"{write(gap['highest']['rate'])} in each of the {gap['judged']} judged values"
    ratio = gap.get("passing_ratio")
    return {
        **out, "beyond": gap["beyond_chance"], "p": "below 0.001" if gap["p_adjusted"] < 0.001 else f"{gap['p_adjusted']:.2g}",
        "highest": f"{value_name(gap['highest']['value'])} {write(gap['highest']['rate'])}", "lowest": f"{value_name(gap['lowest']['value'])} {write(gap['lowest']['rate'])}",
        "gap": points(gap["gap"]).lstrip("+"), "range": f"{points(gap['low'])} to {points(gap['high'])}", "chance": points(gap["chance"]).lstrip("+"),
        "ratio": ABSENT if ratio is None else f"{ratio:.3f}", "adverse": ratio is not None and ratio < 0.8, "times": ABSENT if gap.get("times") is None else f"{gap['times']:.1f} ×",
    }  # fmt: skip


def _summary(report: Mapping[str, Any], beyond: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    number = report["method"]["comparisons"]
    if not number:
        return "No column has two values large enough to be compared."
    if not beyond:
        return f"{number} gaps between segments were looked at. None is wider than chance alone would explain; a gap smaller than the column “by chance” could not have been seen."
    found = "; ".join(f"{gap['head'].lower()} by {name}: {gap['highest']} against {gap['lowest']}" for name, gap in beyond)
    return f"{number} gaps between segments were looked at. {len(beyond)} {'is' if len(beyond) == 1 else 'are'} wider than chance alone explains: {found}."
