"""The metrics of a model as rows of a table for people. It takes the plain data of a report and knows no console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = tuple[str, ...]

_ABSENT = "–"

#: How the gaps of segments are headed, and the measures shown in a terminal; a report has all.
SEGMENT_HEADS = ("segment", "measure", "highest", "lowest", "gap", "95 %", "chance", "verdict")
_SEGMENT_MEASURES = {
    "false_positive_rate": "false alarms", "false_decline_rate": "false declines", "recall": "recall", "calibration": "score - fraud",
}  # fmt: skip


def _share(value: Any) -> str:
    return _ABSENT if value is None else f"{100 * value:.1f} %"


def _four(value: Any) -> str:
    return _ABSENT if value is None else f"{value:.4f}"


def _count(value: Any) -> str:
    return _ABSENT if value is None else f"{value:,.0f}"


def metric_rows(columns: Sequence[Mapping[str, Any]], currency: str) -> list[Row]:
    """One row a metric, one column for each evaluated set of transactions (`training.metrics.evaluate`)."""

    def row(name: str, show: Any, key: str) -> Row:
        return (name, *(show(column.get(key)) for column in columns))

    def interval(column: Mapping[str, Any], key: str) -> str:
        found = column.get("intervals_95", {}).get(key)
        return f"  [{found[0]:.4f}, {found[1]:.4f}]" if found else ""

    def precision_recall(column: Mapping[str, Any], key: str) -> str:
        counts = column[key]
        alerts, frauds = counts["true_positive"] + counts["false_positive"], counts["true_positive"] + counts["false_negative"]
        precision = _share(counts["true_positive"] / alerts if alerts else None)
        recall = _share(counts["true_positive"] / frauds if frauds else None)
        return f"{precision} / {recall}"

    def matrix(column: Mapping[str, Any], key: str) -> str:
        counts = column[key]
        return f"{counts['true_positive']:,} / {counts['false_positive']:,} / {counts['false_negative']:,}"

    rows: list[Row] = [
        row("transactions", _count, "transactions"),
        row("frauds", _count, "frauds"),
        row("label maturity", _share, "label_maturity"),
        ("average precision", *(_four(c["average_precision"]) + interval(c, "average_precision") for c in columns)),
        ("AUC-ROC", *(_four(c["auc_roc"]) + interval(c, "auc_roc") for c in columns)),
        row("Card Precision@100", _four, "card_precision_100"),
        row("recall at 90 % precision", _share, "recall_at_90_precision"),
        (
            "precision / recall at review budget",
            *(f"{_share(c['precision_at_budget'])} / {_share(c['recall_at_budget'])}" for c in columns),
        ),
        ("  the budget", *(str(c["budget"]) for c in columns)),
    ]
    for tier in ("review", "decline"):
        rows += [
            (f"above {tier} threshold", *(f"score > {c['thresholds'][tier]:.4f}" for c in columns)),
            ("  precision / recall", *(precision_recall(c, f"confusion_{tier}") for c in columns)),
            ("  hits / false alarms / missed", *(matrix(c, f"confusion_{tier}") for c in columns)),
            row("  F1", _four, f"f1_{tier}"),
        ]
    return [
        *rows,
        row("alerts a day", _count, "alerts_per_day"),
        row(f"cost with the model, {currency}", _count, "cost"),
        row(f"cost without, {currency}", _count, "cost_without_model"),
        row("saved", _share, "saved_share"),
        row("calibration error", _four, "calibration_error"),
        row("Brier score", _four, "brier"),
    ]


def algorithm_rows(validation: Mapping[str, Any], test: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """One row an algorithm, then one an ensemble: chosen or not (or with which weight), average precision on the
    validation folds, ranking metrics on the test."""
    weights = validation.get("weights", {})
    ensembles = validation.get("ensembles", {})
    rows: list[Row] = []
    for name, values in test.items():
        before = ensembles[name] if name in ensembles else validation["algorithms"][name]
        rounds = before.get("params", {}).get("rounds")
        whole = name in ensembles and before["weights"] == weights
        rows.append(
            (
                name,
                "yes" if whole or weights.get(name) == 1.0 else f"{weights[name]:.2g}" if name in weights else "",
                _four(before["average_precision"]),
                _ABSENT if rounds is None else str(rounds),
                _four(values["average_precision"]),
                _four(values["auc_roc"]),
                _four(values["card_precision_100"]),
            )
        )
    return rows


def segment_rows(report: Mapping[str, Any]) -> list[Row]:
    """One row for each column and measure of `training.segments.segment_report`: who is highest and lowest, by how much,
    and whether chance alone would make as wide a gap."""
    rows: list[Row] = []
    for column, found in report["columns"].items():
        for measure, words in _SEGMENT_MEASURES.items():
            gap = found["gaps"][measure]
            if gap["gap"] is None:
                rows.append((column, words, *[_ABSENT] * 5, f"only {gap['judged']} large enough"))
                continue
            ends = tuple(_points(gap[end]) for end in ("low", "high"))
            rows.append((
                column, words, *(f"{gap[end]['value'] or 'no value'} {_points(gap[end]['rate'])} %" for end in ("highest", "lowest")), _points(gap["gap"]),
                f"[{ends[0]}, {ends[1]}]", _points(gap["chance"]), f"beyond chance, p {gap['p_adjusted']:.2g}" if gap["beyond_chance"] else "within chance",
            ))  # fmt: skip
    return rows


def _points(value: Any) -> str:
    """A share as percent (or a difference as points) with as many decimals as it needs."""
    return _ABSENT if value is None else f"{100 * value:.2f}" if abs(value) < 0.1 else f"{100 * value:.1f}"
