"""The plots of a search are pictures, for any number of trials and kind of parameter."""

from __future__ import annotations

from typing import Any

import pytest

from fraudloop.reports.tuning import draw_study, study_rows


def report(trials: int, *, importance: bool = True) -> dict[str, Any]:
    rows = [
        {
            "number": n, "state": "pruned" if n % 4 == 3 else "complete", "value": 0.5 + 0.01 * (n % 7), "default": n == 0, "rounds": 50, "by_fold": [0.5],
            "params": {"rate": 0.01 * 1.5 ** (n % 9), "depth": 2 + n % 5, "share": "sqrt" if n % 3 else 0.5}, "seconds": 1.0,
        }
        for n in range(trials)
    ]  # fmt: skip
    best = max((row for row in rows if row["state"] == "complete"), key=lambda row: float(str(row["value"])))
    shares = {"depth": 0.7, "rate": 0.2, "share": 0.1} if importance else {}
    return {
        "algorithm": "xgboost",
        "metric": "average_precision",
        "trials": rows,
        "best": best,
        "default": rows[0],
        "gain": 0.06,
        "importance": shares,
    }


@pytest.mark.parametrize("trials", [1, 2, 40])
def test_every_plot_is_a_picture(trials: int) -> None:
    plots = draw_study(report(trials, importance=trials > 2))
    assert set(plots) == {"history.png", "slices.png", "parallel.png"} | ({"importance.png"} if trials > 2 else set())
    assert all(png.startswith(b"\x89PNG") for png in plots.values())


def test_the_table_shows_what_changed_the_most_important_first() -> None:
    rows = study_rows(report(40))
    assert [row[0] for row in rows] == ["depth", "rate", "share"]
    assert rows[2][1:] == ("0.5", "0.5", "10 %")
