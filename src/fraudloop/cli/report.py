"""`fraudloop report`: what a running service found, for people."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fraudloop.cli.options import JsonOutput
from fraudloop.cli.output import note, print_json, print_table
from fraudloop.cli.publishing import DEFAULT_URL, Url, remote

app = typer.Typer(no_args_is_help=True)


@app.callback()
def group() -> None:
    """What a running service found, for people."""


@app.command("observe")
def observe(
    context: typer.Context,
    url: Url = DEFAULT_URL,
    most: Annotated[int, typer.Option("--most", help="Payments to show of those that the two judge most differently.")] = 20,
    as_json: JsonOutput = False,
) -> None:
    """Observe mode: our decisions beside those of the system that decides, by payments, money and known fraud, since the process began."""
    with remote(context, url) as service:
        found = service.call("GET", "/observe")
    if as_json:
        print_json(found)
        return
    names = ("theirs", "ours", "payments", "money", "frauds", "fraud_money")
    print_table(
        "decisions of the other system and ours, those that differ first", ("theirs", "ours", "payments", "money", "known frauds", "their money"),
        [[row[name] for name in names] for row in found["outcomes"]], right=("payments", "money", "known frauds", "their money"),
    )  # fmt: skip
    if found["most_different"] and most > 0:
        print_table(
            "judged most differently", ("payment", "theirs", "ours", "money", "score"),
            [[row[name] for name in ("transaction_id", "theirs", "ours", "money", "score")] for row in found["most_different"][:most]], right=("money", "score"),
        )  # fmt: skip
    note(_summary(found))


def _summary(found: dict[str, Any]) -> str:
    summary = found["summary"]
    if not found["observe"]:
        return "this service decides; start it with `fraudloop serve --observe` to compare"
    if not summary["compared"]:
        return f"nothing to compare yet: send the other system's decision in the field {found['field']!r} (approve, challenge, review, decline)"
    ours, theirs = summary["we_stop_they_pass"], summary["they_stop_we_pass"]
    text = (
        f"{100 * summary['agreeing_share']:.1f} % of {summary['compared']:,} payments alike; we would stop {ours['payments']:,} that they let through "
        f"({ours['money']:,.2f}), they stop {theirs['payments']:,} that we would let through ({theirs['money']:,.2f})"
    )
    return text + (f"; {found['unknown_words']:,} with a word that is not known" if found["unknown_words"] else "")
