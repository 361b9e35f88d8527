"""`fraudloop rules`: prints what `fraudloop.pipelines.rules` found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fraudloop.cli.options import Columns, Features, JsonOutput
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.decisions.rules import State
from fraudloop.pipelines.rules import backtest_file, check_file
from fraudloop.settings import Settings

app = typer.Typer(help="Rules that analysts write: check them, and test them on the past.", no_args_is_help=True)

RuleFile = Annotated[str, typer.Argument(metavar="RULES", help="A TOML file of rules, or a shipped set: default.")]
Lists = Annotated[
    list[Path] | None, typer.Option("--list", metavar="FILE", help="A list that rules look words up in (TOML); may be repeated.")
]


@app.command()
def check(rules: RuleFile = "default", features: Features = None, lists: Lists = None, json: JsonOutput = False) -> None:
    """Is every rule understood? Place, type and nearest name of what is not."""
    found = check_file(rules, features=features, lists=lists or ())
    if json:
        reads = [{**rule.to_dict(), "reads": found.reads[rule.id]} for rule in found.rules.rules]
        print_json(
            {"name": found.rules.name, "hash": found.rules.hash, "rules": reads, "lists": {n: v.version for n, v in found.lists.items()}}
        )
        return
    rows = [(r.id, r.state.value, r.outcome and r.outcome.text, r.score or None, r.when) for r in found.rules.rules]
    print_table(
        f"rules of {found.rules.name!r}, version {found.rules.hash[:12]}",
        ("rule", "state", "outcome", "score", "when"),
        rows,
        right=("score",),
    )
    counts = [f"{len(found.rules.in_state(state).rules)} {state.value}" for state in State]
    note(f"every condition is understood: {', '.join(counts)}")


@app.command()
def backtest(
    context: typer.Context,
    rules: RuleFile,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `fraudloop features`, or a table of transactions.")],
    columns: Columns = "native",
    features: Features = None,
    labels: Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")] = None,
    profiles: Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers in a file apart.")] = None,
    lists: Lists = None,
    label_delay: Annotated[str, typer.Option("--label-delay", metavar="TIME", help="Labels older than this are taken as complete.")] = "7d",
    json: JsonOutput = False,
) -> None:
    """What each rule would have done to the payments of the past, with the values of that moment."""
    settings: Settings = context.obj
    with progress(quiet=json) as show:
        found = backtest_file(
            rules, file, columns=columns, features=features, labels=labels, profiles=profiles, lists=lists or (), label_delay=label_delay,
            settings=settings, progress=show,
        )  # fmt: skip
    if json:
        print_json(found)
        return
    currency, all_mature = settings.base_currency, found.mature == found.payments
    sets = [("", "")] if all_mature else [("", ""), ("mature", ", mature")]
    heads = (
        "rule",
        "hits",
        "a day",
        "alone",
        *(f"{what}{ending}" for _, ending in sets for what in ("precision", "recall")),
        f"{currency} caught",
        f"{currency} blocked",
        "unknown",
    )
    rows = [
        (
            f"{row['rule']} ({row['state']})" if "rule" in row else "all that act", row["hits"], f"{row['a_day']:.1f}", row["alone"] if "rule" in row else None,
            *(percent(part[what]) for part in (row, row["mature"])[: len(sets)] for what in ("precision", "recall")),
            round(row["money_caught"]), round(row["money_blocked"]), row["unknown"] if "rule" in row else None,
        )
        for row in [*found.rules, found.together]
    ]  # fmt: skip
    mature = "labels of all of them mature" if all_mature else f"labels of {found.mature:,} mature"
    print_table(f"{found.payments:,} payments on {found.days} days, {found.frauds:,} frauds known, {mature}", heads, rows, right=heads[1:])
    if found.overlap:
        pairs = [(row["first"], row["second"], row["payments"], percent(row["share_of_first"])) for row in found.overlap[:10]]
        print_table(
            "hit by two rules", ("first", "second", "payments", "share of the first"), pairs, right=("payments", "share of the first")
        )
    note(f"evaluated in {found.seconds:.1f} s")


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"
