"""The windows of the Handbook preset by the fold, pandas, Polars and DuckDB: the same numbers, timed in turns.

    python -m benchmarks.bench_fold_vs [--quick]

Each candidate starts from the table in its own format, in time order, and gives one float64 array a feature in the
table's row order. Twice: count and mean windows alone, and with the fraud rates by delayed labels. Before anything is
timed the values are held against the fold's, to 1e-9.

Two differences are of meaning and not of rounding. Where a key has several rows of the same time, the fold lets a row
see only those before it in the log, as a service would; pandas, Polars and DuckDB see all of them (such rows are
counted and left out of the comparison of windows that end at the row itself). And only the fold reads when a label
became known: the others take every label as known exactly when the delay has passed, which holds in this table.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import duckdb
import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray

from benchmarks.tables import show
from benchmarks.timing import compare
from benchmarks.worlds import handbook_shaped, labels_of
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.assemble import assemble
from fraudloop.door.events import TRANSACTION
from fraudloop.features.fold import fold_all
from fraudloop.features.warm import warm

Columns = dict[str, NDArray[np.float64]]

WINDOWS: Final = (1, 7, 30)
DELAY: Final = 7
TOLERANCE: Final = 1e-9

CUSTOMER: Final = tuple(f"customer_{what}_{w}d" for w in WINDOWS for what in ("count", "amount_mean"))
MERCHANT: Final = tuple(f"merchant_count_{w}d_after_7d" for w in WINDOWS)
RATES: Final = tuple(f"merchant_fraud_rate_{w}d_after_7d" for w in WINDOWS)


@dataclass(frozen=True, slots=True)
class Sizes:
    customers: int
    terminals: int
    days: int
    rounds: int


NORMAL: Final = Sizes(5_000, 10_000, 183, 3)
QUICK: Final = Sizes(1_000, 2_000, 90, 3)


def by_pandas(table: pd.DataFrame, rates: bool) -> Columns:
    """As the Handbook does it: rolling sums and counts by group; a delayed window is the difference of two."""
    out: Columns = {}

    def rolled(key: str, value: str, days: int) -> tuple[Any, Any]:
        rolling = table.set_index("timestamp").groupby(key, sort=True)[value].rolling(f"{days}D")
        return rolling.sum().to_numpy(), rolling.count().to_numpy()

    def back(key: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
        made = np.empty(len(values))
        made[np.argsort(table[key].to_numpy(), kind="stable")] = values
        return made

    for w in WINDOWS:
        total, count = rolled("customer_id", "amount", w)
        out[f"customer_count_{w}d"] = back("customer_id", count)
        out[f"customer_amount_mean_{w}d"] = back("customer_id", total / count)
    frauds, late = rolled("merchant_id", "is_fraud", DELAY)
    for w in WINDOWS:
        total, count = rolled("merchant_id", "is_fraud", DELAY + w)
        n = count - late
        out[f"merchant_count_{w}d_after_7d"] = back("merchant_id", n)
        if rates:
            with np.errstate(invalid="ignore"):
                out[f"merchant_fraud_rate_{w}d_after_7d"] = back("merchant_id", np.where(n > 0, (total - frauds) / n, 0.0))
    return out


def by_polars(table: pl.DataFrame, rates: bool) -> Columns:
    """`rolling_*_by` over groups, the fastest of its forms here; a delayed window is the difference of two."""
    one, fraud, amount = pl.col("one"), pl.col("is_fraud"), pl.col("amount")
    made = []
    for w in WINDOWS:
        made.append(one.rolling_sum_by("timestamp", f"{w}d").over("customer_id").alias(f"customer_count_{w}d"))
        made.append(amount.rolling_mean_by("timestamp", f"{w}d").over("customer_id").alias(f"customer_amount_mean_{w}d"))
    for w in (0, *WINDOWS):
        made.append(one.rolling_sum_by("timestamp", f"{DELAY + w}d").over("merchant_id").alias(f"n{w}"))
        if rates:
            made.append(fraud.rolling_sum_by("timestamp", f"{DELAY + w}d").over("merchant_id").alias(f"f{w}"))
    rolled = table.select(made)
    finished = [pl.col(name) for name in CUSTOMER]
    for w in WINDOWS:
        n = pl.col(f"n{w}") - pl.col("n0")
        finished.append(n.alias(f"merchant_count_{w}d_after_7d"))
        if rates:
            rate = pl.when(n > 0).then((pl.col(f"f{w}") - pl.col("f0")) / n).otherwise(0.0)
            finished.append(rate.alias(f"merchant_fraud_rate_{w}d_after_7d"))
    done = rolled.select(finished)
    return {name: done[name].cast(pl.Float64).to_numpy() for name in done.columns}


def duckdb_query(rates: bool) -> str:
    """Windows (t - w, t] and (t - delay - w, t - delay]: RANGE frames are closed at both ends, so they begin 1 us later."""
    named, chosen = [], ["row"]
    for w in WINDOWS:
        start = f"INTERVAL {w * 86_400_000_000 - 1} MICROSECONDS"
        named.append(f"c{w} AS (PARTITION BY customer_id ORDER BY timestamp RANGE BETWEEN {start} PRECEDING AND CURRENT ROW)")
        chosen += [f"count(*) OVER c{w} AS customer_count_{w}d", f"avg(amount) OVER c{w} AS customer_amount_mean_{w}d"]
        start = f"INTERVAL {(w + DELAY) * 86_400_000_000 - 1} MICROSECONDS"
        named.append(
            f"m{w} AS (PARTITION BY merchant_id ORDER BY timestamp RANGE BETWEEN {start} PRECEDING AND INTERVAL {DELAY} DAYS PRECEDING)"
        )
        chosen.append(f"count(*) OVER m{w} AS merchant_count_{w}d_after_7d")
        if rates:
            chosen.append(f"coalesce(avg(is_fraud) OVER m{w}, 0) AS merchant_fraud_rate_{w}d_after_7d")
    return f"SELECT {', '.join(chosen)} FROM payments WINDOW {', '.join(named)} ORDER BY row"


def by_duckdb(connection: duckdb.DuckDBPyConnection, rates: bool) -> Columns:
    done = connection.execute(duckdb_query(rates)).fetchnumpy()
    return {name: np.asarray(values, np.float64) for name, values in done.items() if name != "row"}


def tied(table: pl.DataFrame, key: str) -> NDArray[np.bool_]:
    """Rows that share key and time with another row."""
    return table.select(pl.len().over(key, "timestamp") > 1).to_series().to_numpy()


def check(name: str, found: Columns, wanted: Columns, ties: NDArray[np.bool_]) -> float:
    """The largest difference, relative where the value is above 1; AssertionError beyond TOLERANCE."""
    worst = 0.0
    for feature, values in wanted.items():
        differs = np.abs(found[feature] - values) / np.maximum(1.0, np.abs(values))
        if feature.startswith("customer"):
            differs = differs[~ties]
        assert not np.isnan(differs).any() and float(differs.max(initial=0.0)) <= TOLERANCE, f"{name}: {feature} differs by {differs.max()}"
        worst = max(worst, float(differs.max(initial=0.0)))
    return worst


def main(quick: bool = False, sizes: Sizes | None = None) -> dict[str, object]:
    """Print the tables and return the figures."""
    sizes = sizes or (QUICK if quick else NORMAL)
    warm()
    canonical = handbook_shaped(sizes.customers, sizes.terminals, sizes.days)
    labels = labels_of(canonical, DELAY)
    plain = canonical.select(
        "timestamp", pl.col("customer_id").cast(pl.Int32), pl.col("merchant_id").cast(pl.Int32), (pl.col("amount_base") / 100).alias("amount"),
        pl.col("is_fraud").cast(pl.Float64), pl.lit(1.0).alias("one"),
    )  # fmt: skip
    frame = plain.drop("one").to_pandas()
    connection = duckdb.connect()
    connection.register("given", plain.drop("one").with_row_index("row").to_arrow())
    connection.execute("CREATE TABLE payments AS SELECT * FROM given")
    ties = tied(plain, "customer_id")
    figures: dict[str, object] = {"rows": canonical.height, "tied_rows": int(ties.sum()), "threads": os.cpu_count()}
    preset = FeatureSet.load("handbook")

    for title, names, rates in (
        ("counts and means", CUSTOMER + MERCHANT, False),
        ("counts, means and fraud rates", CUSTOMER + MERCHANT + RATES, True),
    ):
        features = preset.select(names)
        given = labels if rates else None
        events = assemble(canonical, given, None, features)

        def fold_alone(features: FeatureSet = features, events: Any = events) -> Columns:
            values = fold_all(features, events)[0].values
            rows = events.row[events.kind == TRANSACTION]
            assert bool((rows[1:] > rows[:-1]).all()), "the table is in time order"
            return {name: values[:, at] for at, name in enumerate(features.names)}

        def fold_table(features: FeatureSet = features, given: pl.DataFrame | None = given) -> Columns:
            values = fold_all(features, assemble(canonical, given, None, features))[0].values
            return {name: values[:, at] for at, name in enumerate(features.names)}

        candidates: dict[str, Callable[[], Columns]] = {
            "fold": fold_alone,
            "fold, door included": fold_table,
            "Polars": lambda rates=rates: by_polars(plain, rates),  # type: ignore[misc]
            "DuckDB": lambda rates=rates: by_duckdb(connection, rates),  # type: ignore[misc]
            "pandas": lambda rates=rates: by_pandas(frame, rates),  # type: ignore[misc]
        }
        wanted = fold_alone()
        worst = {name: check(name, candidate(), wanted, ties) for name, candidate in candidates.items()}
        timings = compare(candidates, sizes.rounds, warm=False)
        figures[title] = {
            name: {
                "median_cpu_s": round(t.median_cpu_s, 4), "median_s": round(t.median_s, 4),
                "rows_per_cpu_s": round(canonical.height / t.median_cpu_s), "cpu_times_the_fold": round(t.median_cpu_s / timings["fold"].median_cpu_s, 2),
                "wall_times_the_fold": round(t.median_s / timings["fold"].median_s, 2), "largest_difference": worst[name],
            }
            for name, t in timings.items()
        }  # fmt: skip
        show(
            f"{len(names)} features ({title}), {canonical.height:,} rows, median of {sizes.rounds}; values agree to {TOLERANCE:g}",
            ["", "CPU s", "wall s", "rows/s by CPU", "CPU / fold", "wall / fold", "largest difference"],
            _rows(figures[title]),
        )
    print(f"  {int(ties.sum())} rows share customer and time with another row and are left out of the comparison of the customers' windows")
    return figures


def _rows(figures: Any) -> Sequence[Sequence[object]]:
    return [
        [
            name,
            f["median_cpu_s"],
            f["median_s"],
            f"{f['rows_per_cpu_s']:,}",
            f["cpu_times_the_fold"],
            f["wall_times_the_fold"],
            f"{f['largest_difference']:.1e}",
        ]
        for name, f in figures.items()
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_fold_vs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller table")
    main(parser.parse_args().quick)
