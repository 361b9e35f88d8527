"""The comparison for people: a table that fits a page, a plot that is a picture."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from fraudloop.cli.output import table
from fraudloop.reports.comparison import comparison_columns, comparison_plot, comparison_rows

METRICS = ("average_precision", "auc_roc", "card_precision_100", "recall_at_90_precision")


def report(metric: str = "average_precision") -> dict[str, Any]:
    contenders = []
    for n, (algorithm, strategy) in enumerate((a, s) for a in ("lightgbm", "logistic") for s in ("none", "smote_undersample")):
        gap = None if n == 0 else {"value": -0.1 * n, "low": -0.1 * n - 0.02, "high": 0.05 - 0.05 * n}
        contenders.append(
            {
                "algorithm": algorithm, "strategy": strategy, **dict.fromkeys(METRICS, 0.7 - 0.1 * n), "difference_to_best": gap, "fit_s": 123.4,
                "intervals_95": {m: [0.65 - 0.1 * n, 0.75 - 0.1 * n] for m in METRICS},
            }
        )  # fmt: skip
    return {"metric": metric, "folds": [{}] * 4, "contenders": contenders}


def test_the_table_is_readable_at_100_columns() -> None:
    page = io.StringIO()
    console = Console(file=page, width=100)
    console.print(table(comparison_columns("average_precision"), comparison_rows(report())))
    lines = page.getvalue().splitlines()
    assert max(len(line) for line in lines) <= 100
    assert len(lines) == 4 + 4  # no row is broken
    assert any("−0.300 [−0.320, −0.100]" in line for line in lines)


def test_the_best_has_no_difference_and_the_other_ranking_metric_stands_beside() -> None:
    rows = comparison_rows(report())
    assert rows[0] == ("lightgbm", "none", "0.700 [0.650, 0.750]", "best", "0.700", "123.4")
    assert comparison_columns("auc_roc")[2:5] == ("AUC-ROC", "less than the best", "AP")


def test_the_plot_is_a_picture_and_the_same_each_time() -> None:
    png = comparison_plot(report())
    assert png.startswith(b"\x89PNG") and png == comparison_plot(report())
