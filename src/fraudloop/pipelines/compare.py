"""`compare`: algorithms and strategies against imbalance side by side on past days, as a table, files and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from fraudloop.clock import Clock
from fraudloop.pipelines.past import Source, make_folder, read_past
from fraudloop.reports.comparison import comparison_plot
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.compare import Comparison, compare
from fraudloop.training.config import TrainConfig
from fraudloop.training.day_bootstrap import METRICS
from fraudloop.training.imbalance import STRATEGIES
from fraudloop.training.train import to_json


def compare_file(
    source: Source,
    out: Path | None = None,
    *,
    config: TrainConfig | None = None,
    strategies: Sequence[str] = STRATEGIES,
    metric: str = METRICS[0],
    settings: Settings | None = None,
    clock: Clock | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Read, fold, compare. With `out`: `compare.json`, `compare.csv` and `compare.png` in this folder.

    InputError says what in the file, the map, the periods or the configuration cannot be used.
    """
    settings, config = settings or Settings(), config or TrainConfig()
    if out is not None:
        make_folder(out)
    data, past = read_past(source, config, settings, progress)
    result = compare(data, past, config, strategies, metric, clock=clock, progress=progress)
    if out is not None:
        (out / "compare.json").write_bytes(to_json(result.to_dict()))
        (out / "compare.csv").write_text(comparison_csv(result), "utf-8")
        (out / "compare.png").write_bytes(comparison_plot(result.to_dict()))
    return result


def comparison_csv(result: Comparison) -> str:
    """One line a contender, the best first; full precision; no difference for the best."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(
        ["algorithm", "strategy", *(f"{name}{end}" for name in METRICS for end in ("", "_low", "_high")),
         "difference", "difference_low", "difference_high", "rounds", "fit_s"]
    )  # fmt: skip
    for c in result.contenders:
        measured = [value for name in METRICS for value in (c.values[name], *c.intervals[name])]
        lines.writerow([c.algorithm, c.strategy, *measured, *(c.difference or ("", "", "")), c.params.get("rounds", ""), c.fit_s])
    return out.getvalue()
