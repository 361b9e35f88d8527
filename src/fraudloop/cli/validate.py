"""`fraudloop validate`: prints what `fraudloop.pipelines.data.validate` found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloop.cli.options import Columns, InputFile, JsonOutput
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.errors import CheckFailed
from fraudloop.pipelines.data import validate
from fraudloop.settings import Settings


def command(
    context: typer.Context,
    file: InputFile,
    columns: Columns = "native",
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    profiles: Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers and others.")] = None,
    quarantine: Annotated[
        Path | None, typer.Option("--quarantine", metavar="FILE", help="Where bad rows go, with reasons (.parquet or .csv).")
    ] = None,
    max_rejected: Annotated[float, typer.Option("--max-rejected", help="The largest share of bad rows, 0 to 1.")] = 0.01,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the accepted rows go, in canonical columns.")] = None,
    metrics: Annotated[Path | None, typer.Option("--metrics", metavar="FILE", help="Where the counts go, as Prometheus text.")] = None,
    json: JsonOutput = False,
) -> None:
    """Check a table of transactions: types, ranges, formats, and what the business expects.

    Exits with 1 if the table breaks a rule of business (its fraud rate, say), with 2 if it is no table, does not fit the
    column map or has too many bad rows.
    """
    settings = context.obj if isinstance(context.obj, Settings) else Settings()
    with progress(quiet=json) as show:
        done = validate(
            file,
            columns,
            settings,
            labels=labels,
            profiles=profiles,
            quarantine=quarantine,
            max_rejected=max_rejected,
            out=out,
            metrics=metrics,
            progress=show,
        )
    if json:
        print_json({"ok": not done.failures, **done.report})
    else:
        _print(done.report)
    if done.failures:
        raise CheckFailed(f"{file} is not fit: {'; '.join(done.failures)}", failures=list(done.failures))
    if not json:
        note(f"{file} is fit for use" + (f"; accepted rows are in {out}" if out else ""))


def _print(report: Mapping[str, Any]) -> None:
    counts = report["counts"]
    rows = [
        (name, c["rows"], c["accepted"], c["rejected"], f"{c['rejected'] / c['rows']:.3%}" if c["rows"] else "")
        for name, c in counts.items()
    ]
    print_table(
        f"{report['file']} ({report['columns']})",
        ("table", "rows", "accepted", "rejected", "share"),
        rows,
        ("rows", "accepted", "rejected", "share"),
    )
    if report["rejections"]:
        print_table("rejected", ("table", "column", "rule", "reason", "values", "examples"), [
            (r["table"], r["column"], r["rule"], r["reason"], r["values"],
             ", ".join(f"row {e['row']}" + (f": {e['value']}" if e["value"] is not None else "") for e in r["examples"]))
            for r in report["rejections"]
        ], ("values",))  # fmt: skip
    print_table("what it holds", ("what", "value"), _facts(report))
    if report["nulls"] and any(report["nulls"].values()):
        print_table("without a value", ("column", "share"), [(n, f"{s:.3%}") for n, s in report["nulls"].items() if s], ("share",))
    for finding in report["findings"]:
        note(f"{'FAILED' if finding['failure'] else 'remark'}: {finding['rule']}: {finding['message']}")
    for warning in report["warnings"]:
        note(f"warning: {warning}")


def _facts(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    time, fraud, labels = report["time"], report["fraud"], report["labels"]
    facts = [
        ("time span", f"{time['first']} to {time['last']} ({time['days']:.1f} days)"),
        ("time order", "sorted" if not time["out_of_order"] else f"{time['out_of_order']:,} rows dated before the row above"),
        ("fraud rate", f"{fraud['rate']:.4%} ({fraud['frauds']:,} of {fraud['labelled']:,})" if fraud["rate"] is not None else "no labels"),
    ]
    if labels["labels"]:
        delays = ", ".join(f"{q} {d:.1f} d" for q, d in labels["delay_days"].items())
        facts.append(("labels", f"{labels['labels']:,} by " + ", ".join(f"{s} {n:,}" for s, n in labels["by_source"].items())))
        facts.append(("labels come after", delays))
        facts.append(
            ("mature", f"{labels['mature_share']:.1%} of transactions are older than {labels['assumed_delay_days']:g} days at the end")
        )
    shown = report["currencies"][:8]
    more = len(report["currencies"]) - len(shown)
    text = ", ".join(
        f"{c['currency'] or 'none'} {c['rows']:,}"
        + ("" if c["with_rate"] == c["rows"] else f" ({c['rows'] - c['with_rate']:,} without a rate)")
        for c in shown
    )
    facts.append(("currencies", f"{text}{f' and {more} more' if more > 0 else ''} (base {report['base_currency']})"))
    if report["ignored_columns"]:
        facts.append(("columns not used", ", ".join(report["ignored_columns"][:20])))
    for name, n in report["notes"].items():
        if n:
            facts.append((name, f"{n:,}"))
    return facts
