"""What a table holds, as plain data: time span, fraud, label maturity, currencies, shares of null, rejections.

It reads canonical tables and counts; it knows no file and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from fraudloop.domain.money import CURRENCIES
from fraudloop.domain.transaction import TRANSACTION_SCHEMA

#: Rejected rows shown for each rule; the quarantine file has them all.
EXAMPLES: Final = 3

#: Made by the door, or always there: their shares of null say nothing about the source.
_MADE: Final = frozenset({"zone_offset", "amount_base", "rate_version", "received_at", "flow"})


def rejections(rejected: pl.DataFrame) -> list[dict[str, Any]]:
    """By table, column and rule, the most frequent first: how many values, why, and a few of them."""
    groups = rejected.group_by("table", "column", "rule", "reason", maintain_order=True).agg(
        values=pl.len(), rows=pl.col("row").n_unique(), examples=pl.struct("row", "value").head(EXAMPLES)
    )
    return groups.sort("values", descending=True, maintain_order=True).to_dicts()


def time_span(table: pl.DataFrame) -> dict[str, Any]:
    """First and last event time, days between, and rows dated before the row above them (`out_of_order`)."""
    if not table.height:
        return {"first": None, "last": None, "days": 0.0, "out_of_order": 0}
    first, last = table.select(pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last")).row(0)
    backward = int((table["timestamp"].to_physical().diff() < 0).sum())
    return {"first": first.isoformat(), "last": last.isoformat(), "days": (last - first).total_seconds() / 86_400, "out_of_order": backward}


def fraud(table: pl.DataFrame, labels: pl.DataFrame, labelled: int | None) -> dict[str, Any]:
    """Share of transactions with a fraud label.

    labelled: transactions whose row says fraud or not (None where labels stand apart: no label means genuine then).
    """
    frauds = labels.filter("is_fraud")["transaction_id"].n_unique()
    of = table.height if labelled is None else labelled
    return {"labelled": of, "frauds": frauds, "rate": frauds / of if of else None}


def maturity(table: pl.DataFrame, labels: pl.DataFrame, delay_us: int) -> dict[str, Any]:
    """How late labels come, and how much of the table is old enough to have them.

    delay_days: quantiles of the time from a transaction to its label. mature_share: share of transactions older than
    `delay_us` at the last event of the table (transaction or label that lies within its span); by_source: labels each.
    """
    events = labels.join(table.select("transaction_id", "timestamp"), on="transaction_id", how="inner")
    days = (events["known_at"] - events["timestamp"]).dt.total_seconds() / 86_400
    quantiles = {f"p{round(100 * q)}": days.quantile(q, "nearest") for q in (0.5, 0.9, 0.99)} if len(days) else {}
    mature = None
    if table.height:
        times = table["timestamp"].to_physical()
        last = int(table.select(pl.col("timestamp").to_physical().max()).item())
        mature = float((times <= last - delay_us).mean() or 0.0)  # type: ignore[arg-type]
    sources = labels.group_by("source").len().sort("len", descending=True).iter_rows()
    return {
        "labels": labels.height,
        "by_source": {str(s): n for s, n in sources},
        "delay_days": quantiles,
        "assumed_delay_days": delay_us / 86_400e6,
        "mature_share": mature,
    }


def currencies(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows and rows with a rate by currency, the most frequent first; code None where a row has no currency."""
    groups = (
        table.group_by("currency")
        .agg(rows=pl.len(), with_rate=pl.col("amount_base").count())
        .sort("rows", "currency", descending=[True, False])
    )
    return [{"currency": c, "known": c in CURRENCIES, "rows": n, "with_rate": r} for c, n, r in groups.iter_rows()]


def null_shares(table: pl.DataFrame, mapped: Mapping[str, str]) -> dict[str, float]:
    """Share of rows without a value, by canonical column that the table's own columns or constants fill."""
    names = [
        n for n in table.columns if n not in _MADE and (n in mapped or n not in TRANSACTION_SCHEMA or table[n].null_count() < table.height)
    ]
    return {n: table[n].null_count() / table.height if table.height else 0.0 for n in names}


def prometheus(report: Mapping[str, Any]) -> str:
    """The report's counts as Prometheus text (exposition format 0.0.4): rows by table and result, values by rule.

    >>> print(prometheus({"counts": {"transactions": {"rows": 2, "accepted": 1, "rejected": 1}}, "rejections": [], "notes": {}}).splitlines()[2])
    fraudloop_ingest_rows_total{table="transactions",result="accepted"} 1
    """
    out = ["# HELP fraudloop_ingest_rows_total Rows read, by table and result.", "# TYPE fraudloop_ingest_rows_total counter"]
    for table, counts in report["counts"].items():
        out += [f'fraudloop_ingest_rows_total{{table="{table}",result="{result}"}} {counts[result]}' for result in ("accepted", "rejected")]
    out += [
        "# HELP fraudloop_ingest_rejected_values_total Values refused, by table, column and rule.",
        "# TYPE fraudloop_ingest_rejected_values_total counter",
    ]
    for row in report["rejections"]:
        labels = ",".join(f'{name}="{_escaped(row[name] or "")}"' for name in ("table", "column", "rule"))
        out.append(f"fraudloop_ingest_rejected_values_total{{{labels}}} {row['values']}")
    out += ["# HELP fraudloop_ingest_noted_total Things seen that are no fault, by name.", "# TYPE fraudloop_ingest_noted_total counter"]
    out += [f'fraudloop_ingest_noted_total{{what="{_escaped(what)}"}} {n}' for what, n in sorted(report["notes"].items())]
    return "\n".join(out) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
