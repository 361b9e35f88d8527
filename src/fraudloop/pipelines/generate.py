"""The job of `fraudloop generate`: options as plain values in, files and a report out. It shows nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from fraudloop.simulation.generator import CHUNK_ROWS, FraudDataGenerator, Report
from fraudloop.simulation.pattern import FraudPattern
from fraudloop.telemetry import Progress, silent

WORLD_KIND: Final = "fraudloop-world"


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
    report = generator.write(out, labels=labels, profiles=profiles, truth=truth, chunk_rows=chunk_rows, threads=threads, progress=progress)
    body = {
        "kind": WORLD_KIND,
        "file": out.name,
        "bytes": out.stat().st_size,
        "seed": seed,
        "pattern": given,
        "drift": list(drift),
        **asdict(report),
    }
    body["files"] = {Path(name).name: size for name, size in report.files.items()}
    beside(out).write_text(json.dumps(body, indent=1, default=str) + "\n", "utf-8")
    return report


def beside(table: Path) -> Path:
    """The file beside a generated table that says what was made, and what the best model could reach on it."""
    return table.with_name(table.name.split(".")[0] + ".world.json")


def reachable(table: Path) -> dict[str, float]:
    """What the best model could reach on a generated table: `average_precision` and `recall_at_90_precision`. Empty for a
    table that was not generated, or was changed since."""
    try:
        body = json.loads(beside(Path(table)).read_bytes())
        if body["kind"] != WORLD_KIND or body["file"] != Path(table).name or body["bytes"] != Path(table).stat().st_size:
            return {}
        return {name: float(body[f"reachable_{name}"]) for name in ("average_precision", "recall_at_90_precision")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
