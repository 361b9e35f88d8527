"""Every plot is drawn for ordinary and for odd results, and the same data gives the same picture."""

from __future__ import annotations

import io
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from fraudloop.reports import plots
from fraudloop.training.metrics import CostMatrix, average_precision, curve, reliability
from fraudloop.training.thresholds import cost_curve


def data(n: int = 3_000, fraud: float = 1.0) -> plots.PlotData:
    random = np.random.default_rng(0)
    score = np.clip(random.beta(0.1, 3, n), 1e-6, 1 - 1e-6)
    y = random.random(n) < score * fraud
    amount = random.exponential(60, n)
    points, groups = curve(y, score), reliability(y, score)
    return plots.PlotData(
        y=y, score=score, amount=amount, precision=points.precision, recall=points.recall, average_precision=average_precision(y, score),
        reliability={"rows": groups.rows.tolist(), "score": groups.score.tolist(), "fraud": groups.fraud.tolist()}, calibration_error=groups.error,
        cost_curve=cost_curve(y, score, amount, CostMatrix()), importance=[(f"column_{i}", 0.05) for i in range(30)], review=0.2, decline=0.8,
        currency="EUR", costs="as given", subtitle="a test",
    )  # fmt: skip


def test_all_plots_are_pictures_of_a_readable_size() -> None:
    drawn = plots.draw_all(data())
    assert set(drawn) == {
        "precision-recall.png",
        "calibration.png",
        "cost-by-threshold.png",
        "outcomes.png",
        "scores-by-class.png",
        "importance.png",
    }
    for name, png in drawn.items():
        image = Image.open(io.BytesIO(png))
        assert image.format == "PNG", name
        assert image.width >= 1_000, name
        assert image.height >= 500, name
        assert np.asarray(image.convert("L")).std() > 5, f"{name} is blank"


def test_the_same_data_gives_the_same_bytes() -> None:
    assert plots.draw_all(data()) == plots.draw_all(data())


def test_different_data_gives_another_picture() -> None:
    changed = plots.draw_all(
        replace(data(), review=0.4, calibration_error=0.3, average_precision=0.1, importance=[("a", 1.0)], score=data().score ** 2)
    )
    assert all(changed[name] != png for name, png in plots.draw_all(data()).items())


@pytest.mark.parametrize("odd", ["no fraud", "one row", "thresholds at the ends", "one column"])
def test_odd_results_are_drawn_too(odd: str) -> None:
    what = {
        "no fraud": data(fraud=0.0),
        "one row": data(n=1),
        "thresholds at the ends": replace(data(), review=0.0, decline=1.0),
        "one column": replace(data(), importance=[("a" * 100, 1.0)]),
    }[odd]
    assert len(plots.draw_all(what)) == 6


def test_without_importance_there_is_no_plot_of_it() -> None:
    assert "importance.png" not in plots.draw_all(replace(data(), importance=[]))


def test_drawing_leaves_the_style_of_the_process_alone() -> None:
    before = dict(mpl.rcParams)
    plots.draw_all(data())
    assert dict(mpl.rcParams) == before
