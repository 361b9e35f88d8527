"""Rules: twenty of three comparisons each, in a live micro-batch and over stored history, beside Polars.

    python -m benchmarks.bench_rules [--quick]

Both evaluate the same rules on the same numbers, and the case checks that they agree before anything is timed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.tables import show
from benchmarks.timing import compare
from fraudloop.decisions.rule_language import Type, parse
from fraudloop.decisions.rule_program import compile_rules
from fraudloop.domain.definitions import FeatureSet
from fraudloop.pipelines.rules import backtest_file

RULES: Final = 20
BATCHES: Final = (1, 32, 1_000)
AIM_S: Final = 10.0


def condition(names: list[str], number: int) -> str:
    """Three comparisons over features that differ from rule to rule."""
    a, b, c = (names[(number * step) % len(names)] for step in (3, 7, 11))
    return f"{a} > 0.5 and ({b} < 0.2 or not {c} > 0.9)"


def table(names: list[str], rows: int, seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame({name: np.where(random.random(rows) < 0.05, np.nan, random.random(rows)) for name in names})


def micro(names: list[str], conditions: list[str], quick: bool) -> dict[str, object]:
    """Microseconds of processor time a call."""
    program = compile_rules([parse(text, dict.fromkeys(names, Type.NUMBER)) for text in conditions])
    figures: dict[str, object] = {}
    rows = []
    for size in BATCHES:
        frame = table(names, size, 1)
        columns = np.vstack([frame[name].to_numpy() for name in program.numbers])
        nulls = frame.fill_nan(None).lazy()
        in_polars = nulls.select(*(pl.sql_expr(text).alias(str(at)) for at, text in enumerate(conditions)))
        theirs = in_polars.collect().to_numpy().T
        ours = program.evaluate(columns)
        agree = np.where(theirs == None, 2, theirs).astype(np.int8)  # noqa: E711
        assert np.array_equal(ours, agree), "the two evaluate the same rules"
        calls = 200 if quick else 1_000

        def own(columns: np.ndarray = columns, calls: int = calls) -> None:
            for _ in range(calls):
                program.evaluate(columns)

        def polars(query: pl.LazyFrame = in_polars, calls: int = calls) -> None:
            for _ in range(calls // 20):
                query.collect()

        timings = compare({"own": own, "polars": polars}, rounds=3)
        own_us, polars_us = timings["own"].median_cpu_s / calls * 1e6, timings["polars"].median_cpu_s / (calls // 20) * 1e6
        figures[f"batch_{size}"] = {"own_cpu_us": round(own_us, 1), "polars_cpu_us": round(polars_us, 1)}
        rows.append([f"{size:,}", f"{own_us:,.1f}", f"{polars_us:,.0f}"])
    show(f"{RULES} rules on a batch: processor time a call, µs", ["rows", "own", "Polars"], rows)
    return figures


def history(names: list[str], conditions: list[str], rows: int) -> dict[str, object]:
    """A backtest of stored rows, as the command runs it: read, evaluated, counted."""
    with tempfile.TemporaryDirectory() as folder:
        path, spec = Path(folder) / "features.parquet", Path(folder) / "rules.toml"
        writer: pq.ParquetWriter | None = None
        step = 1_000_000
        for begin in range(0, rows, step):
            size = min(step, rows - begin)
            part = table(names, size, begin).with_columns(
                pl.Series("timestamp", np.arange(begin, begin + size) * 1_000_000).cast(pl.Datetime("us", "UTC")),
                pl.Series("amount_base", np.full(size, 1_000), pl.Int64),
                pl.Series("is_fraud", np.random.default_rng(begin).random(size) < 0.01),
            )
            arrow = part.to_arrow()
            schema: pa.Schema = arrow.schema.with_metadata({b"fraudloop.features": b"made"})
            writer = writer or pq.ParquetWriter(path, schema)
            writer.write_table(arrow.cast(schema))
        assert writer is not None
        writer.close()
        text = "".join(
            f'[[rules]]\nid = "r{at}"\nwhen = "{when}"\noutcome = "review"\nreason = "r"\nstate = "live"\n'
            for at, when in enumerate(conditions)
        )
        spec.write_text(text)
        backtest_file(spec, path)  # reads the file once, so that it does not measure the disk
        start, start_cpu = time.monotonic(), time.process_time()
        found = backtest_file(spec, path)
        seconds, cpu = time.monotonic() - start, time.process_time() - start_cpu
    show(
        f"Backtest of {rows:,} stored payments, {RULES} rules",
        ["", "s"],
        [["wall clock", f"{seconds:.1f}"], ["processor time", f"{cpu:.1f}"], ["aim for ten million", f"{AIM_S:.0f}"]],
    )
    return {"rows": found.payments, "seconds": round(seconds, 2), "cpu_s": round(cpu, 2)}


def main(quick: bool = False) -> dict[str, object]:
    """Print the tables and return the figures."""
    names = list(FeatureSet.load("default").names)[:30]
    conditions = [condition(names, number) for number in range(1, RULES + 1)]
    return {"micro": micro(names, conditions, quick), "history": history(names, conditions, 1_000_000 if quick else 10_000_000)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_rules", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the history")
    main(parser.parse_args().quick)
