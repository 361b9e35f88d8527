"""The model card of a bundle: one HTML file that says what the model is, what it was made of, what it reached and where it is weak.

After Mitchell et al. (2019), "Model Cards for Model Reporting". Every sentence is made of what the bundle holds; what it
does not hold is said to be missing, never assumed. It reads a bundle's data files and runs no model.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import polars as pl

from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind, format_duration
from fraudloop.errors import BundleError, InputError
from fraudloop.limits import NOVELTY_DAYS
from fraudloop.reports.charts import Chart, round_ticks, shares
from fraudloop.reports.gate_report import gate_view
from fraudloop.reports.page import ABSENT, count, figure, money, percent, render, words
from fraudloop.reports.plain_config import config_toml
from fraudloop.reports.segment_view import segment_view
from fraudloop.reports.tables import metric_rows
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.preprocessing import Preprocessing

#: Inputs in the list of those the model uses most.
_TOP: Final = 15

#: From this share of missing values on, an input is named among the limits.
_MOSTLY_MISSING: Final = 0.9

#: Fewer frauds than this in a test are named among the limits: half the width of a recall's interval is then above 7 points.
_FEW_FRAUDS: Final = 200

_KINDS: Final[Mapping[Kind, str]] = {
    Kind.COUNT: "number of payments",
    Kind.SUM: "sum of {field}",
    Kind.MEAN: "mean {field}",
    Kind.STD: "spread of {field} (standard deviation)",
    Kind.MIN: "smallest {field}",
    Kind.MAX: "largest {field}",
    Kind.DISTINCT: "number of different values of {field}",
    Kind.DEVIATION: "how unusual {field} is, in standard deviations from its mean before",
    Kind.FRAUD_COUNT: "number of frauds that had become known",
    Kind.FRAUD_RATE: "share of payments known to be fraud",
    Kind.FRAUD_STREAK: "number of frauds in a row, as known by then",
    Kind.SECONDS_SINCE_GENUINE: "time since the last payment known as genuine",
    Kind.SECONDS_SINCE_LAST: "time since the last payment",
    Kind.SECONDS_SINCE_LAST_FRAUD: "time since a fraud became known",
    Kind.KM_FROM_LAST: "distance from the place of the last payment",
    Kind.KM_FROM_HOME: "distance from home",
    Kind.SPEED_KMH: "speed needed from the place of the last payment",
    Kind.IMPOSSIBLE_TRAVEL: "whether that speed is impossible",
    Kind.IS_NEW: "whether {field} is new (not seen in {days} days)",
    Kind.AGE_DAYS: "days since first seen",
    Kind.IS_FOREIGN: "whether the payment is outside the home country",
    Kind.NUMBER: "{field} of this payment",
    Kind.HOUR_OF_DAY: "local hour",
    Kind.DAY_OF_WEEK: "day of the week",
    Kind.IS_WEEKEND: "whether it is a weekend",
    Kind.IS_NIGHT: "whether it is night",
    Kind.RATIO: "ratio of two of these",
    Kind.DIFFERENCE: "difference of two of these",
}
assert set(_KINDS) == set(Kind), "every kind of feature has words"


def model_card_html(bundle: Bundle, gate: Mapping[str, Any] | None = None) -> str:
    """The card of a bundle as one HTML page; `gate`: the dictionary of a gate report of the same bundle, if there is one.

    InputError if the gate report is of another bundle; BundleError if a file of the bundle cannot be read.
    """
    if gate is not None and bundle.hash and gate.get("candidate") not in (None, bundle.hash, bundle.content):
        raise InputError(
            f"the gate report is of bundle {str(gate.get('candidate'))[:12]}, not of {bundle.hash[:12]}; give the report of this bundle"
        )
    return render("model_card.html", card_facts(bundle, gate))


def card_facts(bundle: Bundle, gate: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything the card shows, as plain data."""
    report = bundle.metrics
    origin = bundle.origin
    test = report.get("test") or {}
    head = test.get(test.get("headline", ""), {})
    currency = str((origin.get("data") or {}).get("currency") or "")
    inputs = _inputs(bundle)
    profile = _profile(bundle)
    segments = segment_view(report.get("segments"))
    tiers = _tiers(bundle, head)
    return {
        "bundle": {"hash": bundle.hash, "content": bundle.content, "created": origin.get("created")},
        "algorithms": _algorithms(bundle),
        "summary": _summary(bundle, report, inputs),
        "tiles": _tiles(head, currency),
        "purpose": _purpose(bundle, report, inputs, profile, tiers),
        "data": _data(origin.get("data") or {}, report, head),
        "periods": _periods(report),
        "words": [row for row in profile if row["kind"] == "word" and row["top"]],
        "features": _features(bundle.features, inputs),
        "own_columns": inputs["own"],
        "importance": _importance(report.get("importance") or []),
        "sides": _sides(report),
        "metrics": _metrics(test, currency),
        "headline": test.get("headline"),
        "charts": _charts(report, head, currency),
        "calibration": _calibration(bundle, head),
        "tiers": tiers,
        "outcomes": _outcomes(report.get("segments")),
        "segments": segments,
        "limits": _limits(bundle, report, head, segments, inputs, profile),
        "gate": None if gate is None else gate_view(gate),
        "origin": _origin(bundle, report),
    }  # fmt: skip


# --- what it is ---------------------------------------------------------------------------------------------------


def _algorithms(bundle: Bundle) -> list[dict[str, Any]]:
    """One row an algorithm of the model: members, weight, parameters."""
    total = sum(float(row["weight"]) for row in bundle.members)
    out: dict[str, dict[str, Any]] = {}
    for row in bundle.members:
        name = str(row.get("algorithm") or row["name"])
        kept = out.setdefault(
            name,
            {
                "name": name,
                "members": 0,
                "weight": 0.0,
                "format": row["format"],
                "preprocessing": row["preprocessing"],
                "params": row.get("params") or {},
            },
        )
        kept["members"] += 1
        kept["weight"] += float(row["weight"]) / total
    for kept in out.values():
        kept["params"] = ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in kept["params"].items()
        )
    return list(out.values())


def _summary(bundle: Bundle, report: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    names = [f"{a['name']} ({a['members']} members)" if a["members"] > 1 else a["name"] for a in _algorithms(bundle)]
    kind = f"the weighted mean of {_listed(names)}" if len(names) > 1 else names[0]
    text = f"Gives a payment a chance of fraud from 0 to 1: {kind}, reading {len(inputs['all'])} inputs"
    training, test = report.get("training") or {}, report.get("test") or {}
    if training.get("period"):
        text += f"; trained on {_days(training['period'])}"
    if test.get("period"):
        text += f", tested on {_days(test['period'])}"
    return text + "."


def _tiles(head: Mapping[str, Any], currency: str) -> list[dict[str, str]]:
    ranges = head.get("intervals_95") or {}

    def tile(label: str, key: str, write: Any) -> dict[str, str]:
        ends = ranges.get(key)
        return {
            "label": label,
            "figure": write(head.get(key)),
            "range": f"95 %: {write(ends[0])} to {write(ends[1])}" if ends else "no interval",
        }

    out = [
        tile("Average precision", "average_precision", lambda v: figure(v, 3)), tile("AUC-ROC", "auc_roc", lambda v: figure(v, 3)),
        tile("Recall at 90 % precision", "recall_at_90_precision", percent), tile("Recall at review budget", "recall_at_budget", percent),
        tile("Precision at review budget", "precision_at_budget", percent), tile("Cost saved, against no model", "saved_share", percent),
    ]  # fmt: skip
    if head.get("cost") is not None:
        saved = (head.get("cost_without_model") or 0.0) - head["cost"]
        out[-1]["range"] = f"{money(saved, currency)}; {out[-1]['range']}"
    return out


def _purpose(
    bundle: Bundle, report: Mapping[str, Any], inputs: Mapping[str, Any], profile: Sequence[Mapping[str, Any]], tiers: Mapping[str, Any]
) -> dict[str, list[str]]:
    entities = sorted({f.entity for f in bundle.features.features if f.entity}, key=[e.name for e in bundle.features.entities].index)
    does = [
        "Scoring single payments: the score is the chance that the payment will become known as fraud."
        if tiers["calibrated"]
        else "Ranking single payments by suspicion. The score is not calibrated: it is no chance of fraud."
    ]
    if entities:
        does.append(
            f"It reads what the {_listed(entities)} of a payment did before it, and {len(inputs['payment'])} facts of the payment itself, as they were known at that moment."
        )
    does.append(
        f"With the suggested thresholds, payments scored above {figure(tiers['review'])} go to review and above {figure(tiers['decline'])} are declined; a policy in force may set others."
    )
    training = report.get("training") or {}
    does_not = []
    if training.get("period"):
        known = [
            f"{words(row['name'])}: {', '.join(f'{w} {percent(s)}' for w, s in row['top'][:3])}"
            for row in profile
            if row["kind"] == "word" and row["top"]
        ]
        text = f"Payments unlike those it learned from ({_days(training['period'])}{'; most frequent ' + '; '.join(known[:3]) if known else ''}): nothing here says how well it does on others."
        does_not.append(text)
    does_not.append(
        "Judging people: only payments were scored and measured. No figure here is about a customer, a merchant or a device as such."
    )
    test = report.get("test") or {}
    if test.get("period"):
        does_not.append(f"Any time after {_last(test['period'])} without watching it: no later payment was measured.")
    return {"for": does, "not_for": does_not}


# --- data and features --------------------------------------------------------------------------------------------


def _data(data: Mapping[str, Any], report: Mapping[str, Any], head: Mapping[str, Any]) -> dict[str, Any]:
    training, test = report.get("training") or {}, report.get("test") or {}
    everything = test.get("all") or head
    rows = []
    if data.get("transactions") is not None:
        rows.append(
            (
                "Table",
                f"{count(data['transactions'])} payments from {str(data.get('first'))[:10]} to {str(data.get('last'))[:10]}, zone {data.get('zone')}, amounts in {data.get('currency') or 'an unstated currency'}, column map {data.get('columns')}",
            )
        )
    if training:
        known, late = training["frauds"], training["frauds_not_known_by_the_cut"]
        rows += [
            (
                "Training days",
                f"{_days(training['period'])}: {count(training['transactions'])} payments, {count(known)} of them known as fraud ({percent(known / training['transactions'])})",
            ),
            (
                "Labels as of",
                f"{training['cut'].replace('T', ' ')}, when the test begins: {count(late)} more frauds of the training days became known later and were learned as genuine",
            ),
            ("No label", f"{count(training['without_label'])} training payments that nobody said anything about, learned as genuine"),
            ("Label delay", f"{training['label_delay_days']:g} days: the days between training and test that are used for neither"),
        ]
    if everything:
        rows.append(
            (
                "Test days",
                f"{_days(test['period'])}: {count(everything['transactions'])} payments, {count(everything['frauds'])} frauds ({percent(everything['frauds'] / max(1, everything['transactions']))})",
            )
        )
        if test.get("headline") == "without_known_compromised":
            rows.append(
                (
                    "Judged on",
                    f"{count(head['transactions'])} of these payments, {count(head['frauds'])} frauds: cards already known as compromised are left out, because they would be blocked",
                )
            )
        rows.append(
            (
                "Label maturity",
                f"{percent(head.get('label_maturity'))} of the judged payments had the label delay's time for their label to arrive",
            )
        )
    files = [{"kind": kind, "name": file.get("name"), "sha256": file.get("sha256")} for kind, file in (data.get("files") or {}).items()]
    return {"rows": rows, "files": files}


def _periods(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Training, waiting and judging days of the folds and of the model, as places on a line of time."""
    training, test = report.get("training") or {}, report.get("test") or {}
    if not training.get("period") or not test.get("period"):
        return None
    runs = [
        (f"fold {number}", row["train"], row["validate"])
        for number, row in enumerate(reversed((report.get("validation") or {}).get("folds") or []), 1)
    ]
    runs.append(("model", training["period"], test["period"]))
    spans = [(name, _period(learn), _period(judge)) for name, learn, judge in runs]
    first = min(learn[0] for _, learn, _ in spans)
    days = (max(judge[1] for _, _, judge in spans) - first).days + 1

    def part(begin: int, end: int, kind: str, text: str) -> dict[str, Any]:
        return {"kind": kind, "left": round(100 * begin / days, 3), "width": round(100 * (end - begin) / days, 3), "text": text}

    rows = []
    for name, learn, judge in spans:
        a, b, c, d = ((day - first).days + more for day, more in ((learn[0], 0), (learn[1], 1), (judge[0], 0), (judge[1], 1)))
        parts = [part(a, b, "learn", f"{learn[0]} to {learn[1]}"), part(c, d, "judge", f"{judge[0]} to {judge[1]}")]
        if c > b:
            parts.insert(1, part(b, c, "wait", f"{c - b} days"))
        rows.append(
            {"name": name, "parts": parts, "text": f"{name}: trained on {learn[0]} to {learn[1]}, judged on {judge[0]} to {judge[1]}"}
        )
    return {"rows": rows, "first": str(first), "last": str(max(judge[1] for _, _, judge in spans)), "folds": len(rows) - 1}


def _inputs(bundle: Bundle) -> dict[str, list[str]]:
    """What the members read: all, features about the payment alone, columns that are no features."""
    body = bundle.files.get("preprocessing.json", b"")
    from fraudloop.scoring.bundle import _parse

    tables = [Preprocessing.from_dict(p, name) for name, p in (_parse(body, "preprocessing.json").get("preprocessings") or {}).items()]
    if not tables:
        raise BundleError("preprocessing.json: no table `preprocessings`")
    numbers = list(dict.fromkeys(name for p in tables for name in p.numbers))
    texts = list(dict.fromkeys(name for p in tables for name in p.words))
    features = {f.name: f for f in bundle.features.features}
    own = [name for name in (*numbers, *texts) if name not in features]
    return {
        "all": [*numbers, *texts],
        "numbers": numbers,
        "texts": texts,
        "own": own,
        "payment": [n for n in (*numbers, *texts) if n in own or features[n].entity is None],
    }


def _features(features: FeatureSet, inputs: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Features by entity, those that differ only in their window in one row."""
    read = set(inputs["all"])
    groups: dict[str, dict[tuple[Any, ...], list[FeatureDefinition]]] = {}
    for f in features.features:
        if f.name in read:
            groups.setdefault(f.entity or "", {}).setdefault((f.kind, f.field, f.of), []).append(f)
    out = []
    for entity in sorted(groups, key=lambda e: (e == "", [x.name for x in features.entities].index(e) if e else 0)):
        rows = []
        for (kind, field, of), found in groups[entity].items():
            text = _KINDS[kind].format(field=words(str(field)), days=NOVELTY_DAYS)
            if of is not None:
                text = f"{words(of[0])} {'divided by' if kind is Kind.RATIO else 'minus'} {words(of[1])}"
            windows = [_window(f) for f in found if f.window_us]
            rows.append({"text": text, "windows": ", ".join(windows), "names": [f.name for f in found]})
        out.append(
            {
                "name": f"of this {entity}, before" if entity else "of the payment itself",
                "rows": rows,
                "number": sum(len(r["names"]) for r in rows),
            }
        )
    return out


def _window(f: FeatureDefinition) -> str:
    return format_duration(f.window_us) + (f" up to {format_duration(f.delay_us)} ago" if f.delay_us else "")


def _importance(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    top = [row for row in rows[:_TOP] if row["share"] > 0]
    largest = top[0]["share"] if top else 1.0
    return {
        "rows": [{"name": row["column"], "share": percent(row["share"]), "width": round(100 * row["share"] / largest, 2)} for row in top],
        "number": len(rows), "unused": sum(1 for row in rows if row["share"] == 0), "rest": percent(sum(row["share"] for row in rows[len(top):])),
    }  # fmt: skip


def _profile(bundle: Bundle) -> list[dict[str, Any]]:
    """Of every input its share of missing values in training, and of words the most frequent ones."""
    try:
        table = pl.read_parquet(io.BytesIO(bundle.files["reference.parquet"]))
    except (KeyError, pl.exceptions.PolarsError) as error:
        raise BundleError(f"reference.parquet: cannot be read ({error})") from error
    out: dict[str, dict[str, Any]] = {}
    for row in table.iter_rows(named=True):
        kept = out.setdefault(row["column"], {"name": row["column"], "kind": row["kind"], "missing": 0.0, "top": [], "different": 0})
        if row["bin"] == -1:
            kept["missing"] = row["share"]
        elif row["kind"] == "word" and row["word"] is not None and row["rows"]:
            kept["different"] += 1
            kept["top"].append((row["word"], row["share"]))
    for kept in out.values():
        kept["top"] = sorted(kept["top"], key=lambda item: (-item[1], item[0]))[:8]
        kept["text"] = ", ".join(f"{word} {percent(share)}" for word, share in kept["top"])
    return list(out.values())


# --- what it reached ----------------------------------------------------------------------------------------------


def _sides(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    validation = report.get("validation") or {}
    tried = validation.get("algorithms") or {}
    out = []
    for name, values in (report.get("algorithms") or {}).items():
        before = tried.get(name) or {}
        out.append({
            "name": name, "chosen": _chosen(name, validation, before), "validation": before.get("average_precision"),
            "folds": ", ".join(figure(value, 3) for value in before.get("by_fold") or ()), "test": values.get("average_precision"), "auc": values.get("auc_roc"),
            "recall": values.get("recall_at_90_precision"),
        })  # fmt: skip
    return out


def _chosen(name: str, validation: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Whether an algorithm is in the model; a name that was not validated by itself is the model's own mean."""
    chosen = validation.get("chosen") or ()
    if name in chosen:
        return "✓ yes"
    return "✓ as the model" if not before and all(part in name for part in chosen) else "no"


def _metrics(test: Mapping[str, Any], currency: str) -> dict[str, Any] | None:
    sets = {"without_known_compromised": "known compromised cards left out", "all": "all payments"}
    first = test.get("headline", "all")
    names = [name for name in (first, *sets) if name in test]
    names = list(dict.fromkeys(names))
    if not names:
        return None
    heads = [sets[name] + (" (judged)" if name == first and len(names) > 1 else "") for name in names]
    rows = [
        (row[0].strip(), row[0].startswith(" "), row[1:])
        for row in metric_rows([test[name] for name in names], currency or "base currency")
    ]
    return {"heads": heads, "rows": rows}


def _charts(report: Mapping[str, Any], head: Mapping[str, Any], currency: str) -> dict[str, str | None]:
    out: dict[str, str | None] = dict.fromkeys(("curve", "cost", "reliability"))
    curve = report.get("curve") or {}
    if curve.get("recall") and head.get("transactions"):
        title = f"Precision and recall at every threshold; average precision {figure(head.get('average_precision'), 3)}"
        chart = Chart(
            title, (0.0, 1.0), (0.0, 1.0), shares(), shares(), "recall: share of frauds found", "precision: share of alerts that are fraud"
        )
        recall, precision = curve["recall"], curve["precision"]
        steps = [(recall[0] if at == 0 else recall[at - 1], precision[at]) for at in range(len(recall))]
        path = [(0.0, precision[0])]
        for (x, y), end in zip(steps, recall, strict=True):
            path += [(x, y), (end, y)]
        chart.line(path, area=True)
        base = head["frauds"] / head["transactions"]
        chart.guide((0.0, base), (1.0, base), f"alerting at random: {percent(base)}")
        for tier, square in (("review", False), ("decline", True)):
            at = _tier(head, tier)
            if at is not None and at["precision"] is not None and at["recall"] is not None:
                chart.dot(
                    at["recall"],
                    at["precision"],
                    tier,
                    f"above the {tier} threshold: {percent(at['precision'])} right, {percent(at['recall'])} found",
                    square,
                )
        out["curve"] = chart.svg()
    costs = report.get("cost_curve") or {}
    if costs.get("threshold") and head:
        out["cost"] = _cost_chart(costs, head, currency)
    groups = head.get("reliability") or {}
    if groups.get("rows"):
        out["reliability"] = _reliability_chart(groups)
    return out


def _cost_chart(costs: Mapping[str, Sequence[float]], head: Mapping[str, Any], currency: str) -> str:
    highest = 1.05 * max(costs["missed"][-1], head.get("cost_without_model") or 0.0, 1.0)
    marks = [(value, label) for value, label in ((1e-3, "0.001"), (0.01, "0.01"), (0.1, "0.1"), (0.5, "0.5"), (0.9, "0.9"), (0.99, "0.99"))]
    chart = Chart(
        "Cost of reviewing everything above a threshold", (-3.3, 2.4), (0.0, highest), [(_odds(v), label) for v, label in marks],
        [(v, f"{v:,.0f}") for v in round_ticks(highest)], "review everything scored above", f"cost on the test days{', ' + currency if currency else ''}",
    )  # fmt: skip
    x = [_odds(value) for value in costs["threshold"]]
    inside = [at for at, value in enumerate(x) if -3.3 <= value <= 2.4]
    for key, kind in (("total", ""), ("missed", "second"), ("review", "third")):
        chart.line([(x[at], costs[key][at]) for at in inside if costs[key][at] <= highest], kind)
    threshold = (head.get("thresholds") or {}).get("review")
    if threshold:
        chart.upright(_odds(threshold), f"review > {figure(threshold, 3)}")
    return chart.svg()


def _reliability_chart(groups: Mapping[str, Sequence[float]]) -> str:
    low = max(1e-5, min(0.01, *(value for value in groups["score"] if value > 0)))
    ends = (_odds(10 ** math.floor(math.log10(low))), _odds(0.995))
    ticks = [(_odds(v), f"{100 * v:g} %") for v in (1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99) if ends[0] <= _odds(v) <= ends[1]]
    chart = Chart(
        "Mean score against share of fraud, by groups of like scores",
        ends,
        ends,
        ticks,
        ticks,
        "mean score of the group",
        "share that was fraud",
    )
    chart.guide((ends[0], ends[0]), (ends[1], ends[1]))
    for rows, score, fraud in zip(groups["rows"], groups["score"], groups["fraud"], strict=True):
        below, above = _wilson(fraud, rows)
        chart.interval(_odds(score), _odds(below), _odds(above))
        chart.dot(_odds(score), _odds(fraud), text=f"{rows:,} payments: mean score {percent(score)}, fraud {percent(fraud)}")
    return chart.svg()


def _calibration(bundle: Bundle, head: Mapping[str, Any]) -> dict[str, Any]:
    groups = head.get("reliability") or {}
    off = 0
    for rows, score, fraud in zip(groups.get("rows") or (), groups.get("score") or (), groups.get("fraud") or (), strict=True):
        low, high = _wilson(fraud, rows)
        off += not low <= score <= high
    return {
        "error": head.get("calibration_error"), "brier": head.get("brier"), "groups": len(groups.get("rows") or ()), "off": off,
        "method": (bundle.metrics.get("config") or {}).get("calibration"), "folds": len((bundle.metrics.get("validation") or {}).get("folds") or ()),
    }  # fmt: skip


def _tier(head: Mapping[str, Any], tier: str) -> dict[str, Any] | None:
    counts = head.get(f"confusion_{tier}")
    if not counts:
        return None
    alerts, frauds = counts["true_positive"] + counts["false_positive"], counts["true_positive"] + counts["false_negative"]
    genuine = counts["false_positive"] + counts["true_negative"]
    return {
        "tier": tier, "threshold": head["thresholds"][tier], **counts, "alerts": alerts, "precision": counts["true_positive"] / alerts if alerts else None,
        "recall": counts["true_positive"] / frauds if frauds else None, "false_rate": counts["false_positive"] / genuine if genuine else None, "f1": head.get(f"f1_{tier}"),
    }  # fmt: skip


def _tiers(bundle: Bundle, head: Mapping[str, Any]) -> dict[str, Any]:
    thresholds = bundle.thresholds
    return {
        "review": thresholds.get("review"), "decline": thresholds.get("decline"), "challenge": thresholds.get("challenge"), "basis": thresholds.get("basis"), "costs": thresholds.get("costs"),
        "rows": [row for row in (_tier(head, "review"), _tier(head, "decline")) if row], "calibrated": bool((bundle.metrics.get("validation") or {}).get("folds")),
        "alerts_per_day": head.get("alerts_per_day"), "budget": head.get("budget"),
    }  # fmt: skip


def _outcomes(segments: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not segments or not segments.get("overall", {}).get("outcomes"):
        return None
    overall = segments["overall"]
    n, frauds = overall["transactions"], overall["frauds"]
    rows = [
        {"name": name, "number": number, "shares": overall[key]}
        for name, key, number in (
            ("all judged payments", "outcomes", n),
            ("genuine", "outcomes_genuine", n - frauds),
            ("fraud", "outcomes_fraud", frauds),
        )
        if overall.get(key) and number
    ]
    tiers = [
        tier
        for tier in ("approve", "challenge", "review", "decline")
        if tier != "challenge" or segments["policy"].get("challenge") is not None
    ]
    return {"rows": rows, "tiers": tiers}


# --- limits -------------------------------------------------------------------------------------------------------


def _limits(
    bundle: Bundle, report: Mapping[str, Any], head: Mapping[str, Any], segments: Mapping[str, Any] | None, inputs: Mapping[str, Sequence[str]],
    profile: Sequence[Mapping[str, Any]],
) -> list[dict[str, str]]:  # fmt: skip
    """What the data says against trusting the figures, most general first. Nothing is said that the bundle does not show."""
    out: list[dict[str, str]] = []

    def say(head: str, text: str) -> None:
        out.append({"head": head, "text": text})

    training, test, validation = (report.get(key) or {} for key in ("training", "test", "validation"))
    frauds = head.get("frauds")
    ends = (head.get("intervals_95") or {}).get("average_precision")
    if frauds is not None and frauds < _FEW_FRAUDS:
        say(
            "Few frauds in the test",
            f"{count(frauds)} frauds on {head.get('days')} days"
            + (
                f": the average precision of {figure(head['average_precision'], 3)} may as well be {figure(ends[0], 3)} or {figure(ends[1], 3)}."
                if ends
                else "."
            ),
        )
    if not ends:
        say("No intervals", "The metrics were measured without intervals; train with --intervals 200 to see how far they may be off.")
    by_fold = [row["average_precision"] for row in validation.get("folds") or () if row.get("average_precision") is not None]
    if len(by_fold) > 1:
        say(
            "Varies over time",
            f"Average precision on the {len(by_fold)} validation periods before ran from {figure(min(by_fold), 3)} to {figure(max(by_fold), 3)}.",
        )
    elif not validation.get("folds"):
        say(
            "Nothing held back",
            "There were too few training days for validation: algorithm and thresholds are defaults, and the score is not calibrated.",
        )
    maturity = head.get("label_maturity")
    if maturity is not None and maturity < 1:
        say(
            "Immature labels",
            f"{percent(1 - maturity)} of the judged payments are younger than the label delay; fraud among them that nobody has reported yet counts as genuine here.",
        )
    if training:
        late, known = training["frauds_not_known_by_the_cut"], training["frauds"]
        if late:
            say(
                "Late labels in training",
                f"{count(late)} of {count(late + known)} frauds of the training days ({percent(late / (late + known))}) were not known when training began and were learned as genuine.",
            )
        if training["without_label"]:
            say(
                "Silence taken as genuine",
                f"{percent(training['without_label'] / training['transactions'])} of the training payments have no label at all; fraud that nobody ever reports is in no figure of this card.",
            )
    everything = test.get("all")
    if test.get("headline") == "without_known_compromised" and everything and everything["transactions"] > head["transactions"]:
        say(
            "Judged without known compromised cards",
            f"{count(everything['transactions'] - head['transactions'])} payments are left out; with them average precision is {figure(everything['average_precision'], 3)}.",
        )
    calibration = _calibration(bundle, head)
    if calibration["off"]:
        say(
            "Calibration",
            f"In {calibration['off']} of {calibration['groups']} groups of like scores the mean score lies outside the 95 % interval of their share of fraud.",
        )
    decline = _tier(head, "decline")
    if decline and decline["recall"] is not None and decline["recall"] < 0.05:
        say(
            "Declines little by itself",
            f"Above the decline threshold lie {count(decline['true_positive'])} of {count(frauds)} frauds ({percent(decline['recall'])}): almost all found fraud goes through review.",
        )
    recall = head.get("recall_at_90_precision")
    if recall is not None and recall < 0.2:
        say("Few sure hits", f"With at least 90 % of alerts right, {percent(recall)} of the frauds are found.")
    if segments:
        for name, gap in segments["beyond"]:
            say(
                f"Gap by {name}",
                f"{gap['head']} ({gap['meaning']}): {gap['highest']} against {gap['lowest']}, wider than chance alone explains.",
            )
        for column in segments["columns"]:
            blind = [gap["head"].lower() for gap in column["gaps"] if not gap["known"]]
            if blind:
                say(
                    f"Not comparable by {column['name']}",
                    f"{_listed(blind).capitalize()} cannot be compared: fewer than two values have enough payments, frauds or alerts.",
                )
    empty = [row["name"] for row in profile if row["missing"] == 1.0 and row["name"] in inputs["all"]]
    sparse = [row for row in profile if _MOSTLY_MISSING <= row["missing"] < 1.0 and row["name"] in inputs["all"]]
    if empty:
        say("Inputs without any value in training", f"{', '.join(empty)}.")
    if sparse:
        say("Inputs mostly missing in training", ", ".join(f"{row['name']} ({percent(row['missing'])} missing)" for row in sparse) + ".")
    importance = report.get("importance") or []
    if importance and importance[0]["share"] > 0.3:
        say("Leans on one input", f"{importance[0]['column']} makes up {percent(importance[0]['share'])} of what moves the score.")
    commit = bundle.origin.get("git_commit")
    if commit is None:
        say(
            "Code version not recorded",
            "The package did not run from a source tree with a commit; the versions below are all that is known of the code.",
        )
    elif str(commit).endswith("+"):
        say("Changed source tree", "The code had changes beyond its commit when this was trained; the commit alone does not reproduce it.")
    for warning in report.get("warnings") or ():
        say("Warning at training", f"{warning}.")
    return out


# --- origin -------------------------------------------------------------------------------------------------------


def _origin(bundle: Bundle, report: Mapping[str, Any]) -> dict[str, Any]:
    origin, data = bundle.origin, bundle.origin.get("data") or {}
    training, test = report.get("training") or {}, report.get("test") or {}
    files = data.get("files") or {}
    command = None
    if training and test.get("period") and files.get("transactions"):
        beside = "".join(f" --{kind} {file['name']}" for kind, file in files.items() if kind != "transactions")
        command = (
            f"fraudloop train {files['transactions']['name']} --columns {data.get('columns')}{beside} --train {training['period']} --test {test['period']}"
            f" --label-delay {training['label_delay_days']:g}d --config train.toml --out model"
        )
    return {
        "rows": [
            ("Bundle", bundle.hash or "not saved yet"), ("Content (the same training gives the same)", bundle.content), ("Created", origin.get("created") or ABSENT),
            ("Commit", origin.get("git_commit") or "not recorded"), ("Seed", ABSENT if origin.get("seed") is None else str(origin["seed"])),
            ("Data set", (origin.get("dataset") or {}).get("hash") or "not kept: only the hashes of its files"),
            ("Versions", ", ".join(f"{name} {version}" for name, version in (origin.get("versions") or {}).items()) or ABSENT),
        ],
        "command": command, "config": config_toml(report.get("config") or {}),
        "files": [{"name": name, "bytes": len(data)} for name, data in sorted(bundle.files.items()) if not name.startswith("report/")],
    }  # fmt: skip


# --- small things -------------------------------------------------------------------------------------------------


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _period(text: str) -> tuple[date, date]:
    first, _, last = text.partition("..")
    return date.fromisoformat(first), date.fromisoformat(last or first)


def _days(text: str) -> str:
    first, last = _period(text)
    return f"{first} to {last} ({(last - first).days + 1} days)"


def _last(text: str) -> str:
    return str(_period(text)[1])


def _odds(chance: float) -> float:
    inside = min(1 - 1e-6, max(1e-6, chance))
    return math.log10(inside / (1 - inside))


def _wilson(share: float, n: float, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927)."""
    n = max(n, 1)
    centre, half = (
        (share + z * z / (2 * n)) / (1 + z * z / n),
        z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    return max(0.0, centre - half), min(1.0, centre + half)
