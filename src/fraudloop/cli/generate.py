"""`fraudloop generate`: makes a synthetic world by `fraudloop.pipelines.generate` and prints what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import JsonOutput, OutputFile, Seed
from fraudloop.cli.output import print_json, print_table, progress
from fraudloop.pipelines.generate import generate
from fraudloop.simulation.generator import Report
from fraudloop.simulation.pattern import DEFAULT_MIX, FraudPattern, parse_values

_WORLD, _FRAUD, _FILES = "The world", "Fraud", "Files beside the transactions"
_PATTERN = FraudPattern()


def command(
    out: OutputFile,
    transactions: Annotated[int, typer.Option("--transactions", metavar="N", help="Rows to make.", rich_help_panel=_WORLD)] = 100_000,
    fraud_rate: Annotated[
        float, typer.Option("--fraud-rate", metavar="R", help="Share labelled fraud once every label is in.", rich_help_panel=_FRAUD)
    ] = 0.01,
    seed: Seed = 0,
    customers: Annotated[int | None, typer.Option("--customers", help="Default: one for 60 rows.", rich_help_panel=_WORLD)] = None,
    merchants: Annotated[
        int | None, typer.Option("--merchants", help="Default: one for 10 customers, at least 500.", rich_help_panel=_WORLD)
    ] = None,
    days: Annotated[int, typer.Option("--days", help="Length of the period.", rich_help_panel=_WORLD)] = 90,
    start: Annotated[str, typer.Option("--start", metavar="DATE", help="First day, UTC.", rich_help_panel=_WORLD)] = "2025-01-01",
    amount_multiplier: Annotated[
        float, typer.Option("--amount-multiplier", help="Fraudulent amounts are this many times the usual.", rich_help_panel=_FRAUD)
    ] = _PATTERN.amount_multiplier,
    late_night_probability: Annotated[
        float, typer.Option("--late-night-probability", help="Share of fraud from 21:00 to 05:00, local time.", rich_help_panel=_FRAUD)
    ] = _PATTERN.late_night_probability,
    foreign_probability: Annotated[
        float, typer.Option("--foreign-probability", help="Share of fraud abroad.", rich_help_panel=_FRAUD)
    ] = _PATTERN.foreign_probability,
    velocity_multiplier: Annotated[
        float,
        typer.Option("--velocity-multiplier", help="Purchases follow each other this much faster in a fraud.", rich_help_panel=_FRAUD),
    ] = _PATTERN.velocity_multiplier,
    mix: Annotated[
        str | None,
        typer.Option("--mix", metavar="NAME=WEIGHT,...", help=f"Schemes: {', '.join(DEFAULT_MIX)}.", rich_help_panel=_FRAUD),
    ] = None,
    drift: Annotated[
        list[str] | None,
        typer.Option(
            "--drift",
            metavar="SPEC",
            help="DATE:NAME=VALUE,... or a TOML file: changes from a date on. Repeatable.",
            rich_help_panel=_FRAUD,
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="Each report and reversal.", rich_help_panel=_FILES)
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option("--profiles", metavar="FILE", help="Homes, clocks, accounts of customers.", rich_help_panel=_FILES)
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", metavar="FILE", help="What really was: for analysis, never for a model.", rich_help_panel=_FILES),
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Make a synthetic world of payments, with fraud and late labels.

    The same options give the same rows. The suffix of a file says its format: .parquet, .csv or .csv.gz.
    """
    with progress(quiet=json) as show:
        report = generate(
            out,
            seed=seed,
            transactions=transactions,
            customers=customers,
            merchants=merchants,
            days=days,
            fraud_rate=fraud_rate,
            start=start,
            strengths={
                "amount_multiplier": amount_multiplier,
                "late_night_probability": late_night_probability,
                "foreign_probability": foreign_probability,
                "velocity_multiplier": velocity_multiplier,
            },
            mix=parse_values(mix, "mix") if mix else None,
            drift=drift or (),
            labels=labels,
            profiles=profiles,
            truth=truth,
            progress=show,
        )
    if json:
        print_json(report)
    else:
        print_table(f"{out.name}: a synthetic world, seed {seed}", ("what", "figure", ""), _lines(report), right=("figure",))


def _lines(report: Report) -> list[tuple[object, ...]]:
    def share(part: int, whole: int) -> str:
        return f"{part / whole:.2%}" if whole else ""

    labelled = sum(report.sources.values())
    return [
        ("transactions", report.rows, f"{report.days} days, {report.customers:,} customers, {report.merchants:,} merchants"),
        ("fraud known in the end", report.known_fraud, f"{share(report.known_fraud, report.rows)} of transactions"),
        ("fraud in truth", report.true_fraud, f"{share(report.true_fraud, report.rows)} of transactions"),
        *((f"  {name}", count, f"{share(count, report.true_fraud)} of fraud") for name, count in report.by_scheme.items()),
        ("never reported", report.never_reported, f"{share(report.never_reported, report.true_fraud)} of fraud"),
        ("reports", labelled, ", ".join(f"{name} {share(count, labelled)}" for name, count in report.sources.items())),
        ("reports taken back", report.reversed, f"{share(report.reversed, labelled)} of reports"),
        ("best average precision", report.reachable_average_precision, "upper bound for any model, against known fraud"),
        ("", report.reachable_average_precision_true, "the same against fraud in truth"),
        ("best recall at 90 % precision", report.reachable_recall_at_90_precision, "upper bound for any model, against known fraud"),
        *((f"file {Path(name).name}", size, "bytes") for name, size in report.files.items()),
    ]
