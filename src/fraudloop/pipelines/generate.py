"""The job of `fraudloop generate`: options as plain values in, files and a report out. It shows nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fraudloop.simulation.generator import CHUNK_ROWS, FraudDataGenerator, Report
from fraudloop.simulation.pattern import FraudPattern
from fraudloop.telemetry import Progress, silent


def generate(
    out: Path,
    *,
    seed: int = 0,
    transactions: int = 100_000,
    customers: int | None = None,
    merchants: int | None = None,
    days: int = 90,
    fraud_rate: float = 0.01,
    start: str = "2025-01-01",
    strengths: Mapping[str, float] | None = None,
    mix: Mapping[str, float] | None = None,
    drift: Sequence[str] = (),
    labels: Path | None = None,
    profiles: Path | None = None,
    truth: Path | None = None,
    chunk_rows: int = CHUNK_ROWS,
    threads: int = 2,
    progress: Progress = silent,
) -> Report:
    """Write a synthetic world to files, the format of each by its suffix (.parquet, .csv, .csv.gz).

    strengths: fields of FraudPattern by name; those not given keep their default. mix: weight of each scheme, the
    others none. drift: `DATE:name=value,...` or TOML files. InputError names what does not fit, before anything is written.
    """
    given: dict[str, Any] = {**(strengths or {}), **({"mix": mix} if mix else {})}
    pattern = FraudPattern(**given)
    generator = FraudDataGenerator(
        seed=seed,
        transactions=transactions,
        customers=customers,
        merchants=merchants,
        days=days,
        fraud_rate=fraud_rate,
        pattern=pattern,
        start=start,
        drift=drift,
    )
    return generator.write(out, labels=labels, profiles=profiles, truth=truth, chunk_rows=chunk_rows, threads=threads, progress=progress)
