"""The gate's report as one HTML page: the verdict first, then what was measured against which bound, then the evidence.

It reads only the plain data of `training.gate.GateReport.to_dict`; parts that are not there are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fraudloop.errors import InputError
from fraudloop.reports.page import ABSENT, count, figure, money, percent, points, render, words
from fraudloop.reports.segment_view import segment_view

#: Metrics put side by side: words, key, how written, whether more is better.
_METRICS: Final = (
    ("Average precision", "average_precision", lambda v: figure(v), True),
    ("AUC-ROC", "auc_roc", lambda v: figure(v), True),
    ("Recall at 90 % precision", "recall_at_90_precision", percent, True),
    ("Recall at review budget", "recall_at_budget", percent, True),
    ("Precision at review budget", "precision_at_budget", percent, True),
    ("Cost with the model", "cost", money, False),
    ("Cost saved, against no model", "saved_share", percent, True),
    ("Calibration error", "calibration_error", lambda v: figure(v), False),
    ("Brier score", "brier", lambda v: figure(v), False),
    ("Alerts a day", "alerts_per_day", lambda v: figure(v, 1), None),
)

_OUTCOMES: Final = ("approve", "challenge", "review", "decline")


def gate_report_html(report: Mapping[str, Any], title: str = "Gate report") -> str:
    """The page of a report's dictionary. InputError if it has no verdict or no list of checks."""
    return render("gate_report.html", {"title": title, **gate_facts(report)})


def gate_facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the page shows, as plain data."""
    data = report.get("data") or {}
    return {
        "gate": gate_view(report),
        "data": _data(data),
        "metrics": _metrics(report.get("metrics") or {}),
        "comparison": _comparison(report.get("comparison")),
        "segments": segment_view(report.get("segments")),
        "outcomes": _outcomes(report.get("outcomes") or {}),
        "latency": _latency(report.get("latency") or {}),
        "config": [(words(key), _plain(value)) for key, value in sorted((report.get("config") or {}).items())],
    }


def gate_view(report: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict and the checks: also what a model card shows of a gate."""
    checks = report.get("checks")
    if report.get("verdict") not in ("pass", "refuse") or not isinstance(checks, list | tuple):
        raise InputError("this is no gate report: it needs a verdict (pass or refuse) and its checks")
    rows = [
        {
            "title": _sentence(check.get("title") or words(str(check["name"]))), "passed": bool(check["passed"]), "why": _sentence(check.get("why") or ""),
            "measured": _amount(check.get("measured"), check.get("unit")), "bound": _bound(check), "bar": _bar(check),
        }
        for check in checks
    ]  # fmt: skip
    failed = [row for row in rows if not row["passed"]]
    passed = report["verdict"] == "pass"
    if passed:
        sentence = (
            f"The candidate may be promoted: all {len(rows)} checks passed."
            if not failed
            else f"The candidate may be promoted, although {len(failed)} of {len(rows)} checks did not pass."
        )
    else:
        sentence = f"The candidate is refused: {len(failed)} of {len(rows)} checks did not pass."
    return {
        "passed": passed, "sentence": sentence, "checks": rows, "failed": failed, "candidate": str(report.get("candidate") or ""), "champion": report.get("champion"),
        "created": report.get("created"), "policy": {key: value for key, value in (report.get("policy") or {}).items() if value is not None},
    }  # fmt: skip


def _sentence(text: str) -> str:
    """With a capital at its beginning."""
    return text[:1].upper() + text[1:]


def _amount(value: Any, unit: Any) -> str:
    """A measured value or bound, by its unit.

    >>> _amount(0.123, "share"), _amount(4.56789, "ms"), _amount(12, "count"), _amount(None, "ms")
    ('12.3 %', '4.568 ms', '12', '–')
    """
    if value is None or isinstance(value, bool):
        return ABSENT if value is None else "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if unit == "share":
        return percent(float(value))
    whole = float(value).is_integer()
    text = f"{value:,.0f}" if whole else f"{value:,.4f}" if abs(value) < 1 else f"{value:,.3f}"
    return f"{text} {unit}" if unit and unit not in ("count", "none", "1") else text


def _bound(check: Mapping[str, Any]) -> str:
    if check.get("bound") is None:
        return ABSENT
    relation = {"<=": "at most ", ">=": "at least "}.get(str(check.get("relation") or ""), "")
    return relation + _amount(check["bound"], check.get("unit"))


def _bar(check: Mapping[str, Any]) -> dict[str, float] | None:
    """Where measured value and bound lie on a common axis from 0; None if they cannot be drawn."""
    measured, bound = check.get("measured"), check.get("bound")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in (measured, bound)):
        return None
    assert measured is not None and bound is not None
    if measured < 0 or bound <= 0:
        return None
    end = 1.25 * max(measured, bound)
    return {"measured": round(100 * measured / end, 2), "bound": round(100 * bound / end, 2)}


def _data(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    out = []
    if data.get("transactions") is not None:
        text = f"{count(data['transactions'])} payments, {count(data.get('frauds'))} of them fraud"
        if data.get("frauds") is not None and data["transactions"]:
            text += f" ({percent(data['frauds'] / data['transactions'])})"
        out.append(("Judged on", text + (f", {data['days']} days" if data.get("days") else "")))
    if data.get("first"):
        out.append(("From, to", f"{data['first']} to {data.get('last') or ABSENT}"))
    if data.get("label_maturity") is not None:
        out.append(("Label maturity", f"{percent(data['label_maturity'])} of them had the label delay's time for their label to arrive"))
    reachable = data.get("reachable") or {}
    if reachable:
        out.append(("Best reachable here", ", ".join(f"{words(name)} {_plain(value)}" for name, value in reachable.items())))
    known = {"transactions", "frauds", "days", "first", "last", "label_maturity", "reachable"}
    out += [(words(key).capitalize(), _plain(value)) for key, value in data.items() if key not in known and value not in (None, {}, [], "")]
    return out


def _metrics(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    mine, theirs = metrics.get("candidate"), metrics.get("champion")
    if not mine:
        return None
    rows = []
    for label, key, write, more in _METRICS:
        if mine.get(key) is None and (theirs or {}).get(key) is None:
            continue
        a, b = mine.get(key), (theirs or {}).get(key)
        change, better = ABSENT, None
        if a is not None and b is not None:
            change = points(a - b) + " points" if write is percent else f"{a - b:+,.{0 if write is money else 4}f}".replace("-", "−")
            better = None if more is None or abs(a - b) < 1e-12 else (a > b) == more
        rows.append({"name": label, "candidate": write(a), "champion": write(b) if theirs else None, "change": change, "better": better})
    return {"rows": rows, "champion": bool(theirs)}


def _comparison(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The paired difference of average precision with its interval, and where to draw it."""
    if not found or found.get("difference") is None:
        return None
    difference, low, high = found["difference"], found.get("low"), found.get("high")
    ends = None if low is None or high is None else (float(low), float(high))
    reach = 1.2 * max(abs(v) for v in (difference, low, high) if v is not None) or 1.0

    def place(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    if ends is None:
        verdict = "There is no interval: too few independent groups to draw from."
    elif ends[0] > 0:
        verdict = "The candidate ranks better; the whole interval is above 0."
    elif ends[1] < 0:
        verdict = "The candidate ranks worse; the whole interval is below 0."
    else:
        verdict = "The interval holds 0: on these payments the two cannot be told apart."
    return {
        "difference": f"{difference:+.4f}".replace("-", "−"), "range": ABSENT if ends is None else f"{ends[0]:+.4f} to {ends[1]:+.4f}".replace("-", "−"), "verdict": verdict,
        "at": place(difference), "low": None if ends is None else place(ends[0]), "width": None if ends is None else round(place(ends[1]) - place(ends[0]), 2), "reach": f"{reach:.3g}",
        "by": found.get("by"), "rounds": found.get("rounds"), "blocks": found.get("blocks"), "level": percent(found.get("level", 0.95)),
        "worse": None if found.get("worse") is None else percent(found["worse"]),
    }  # fmt: skip


def _outcomes(outcomes: Mapping[str, Any]) -> dict[str, Any] | None:
    rows = []
    for name, label in (("candidate", "candidate"), ("champion", "champion")):
        if outcomes.get(name):
            rows.append({"name": label, "number": None, "shares": outcomes[name]})
    suggested = outcomes.get("suggested") or {}
    if suggested.get("candidate"):
        rows.append({"name": "candidate, under the thresholds its bundle suggests", "number": None, "shares": suggested["candidate"]})
    if not rows:
        return None
    tiers = [tier for tier in _OUTCOMES if any(row["shares"].get(tier) for row in rows) or tier != "challenge"]
    for row in rows:
        row["shares"] = {tier: row["shares"].get(tier) for tier in tiers}
    return {"rows": rows, "tiers": tiers}


def _latency(latency: Mapping[str, Any]) -> list[dict[str, str]]:
    labels = {"single": "one payment", "batch": "a batch", "load": "steady load"}
    out = []
    for kind, found in latency.items():
        if not isinstance(found, Mapping):
            continue
        label = labels.get(kind, words(kind))
        if found.get("rows"):
            label += f" of {count(found['rows'])}"
        if found.get("rate"):
            label += f", {found['rate']:g} requests a second for {found.get('seconds', 0):g} s"
        out.append(
            {
                "name": label,
                "calls": count(found.get("calls")),
                **{key: figure(found.get(key), 3) for key in ("median_ms", "p99_ms", "max_ms")},
            }
        )
    return out


def _plain(value: Any) -> str:
    """Plain data in words.

    >>> _plain({"a": 0.5, "b": [1, 2]})
    'a 0.5, b 1, 2'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{words(str(key))} {_plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value) or "none"
    if value is None:
        return "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
