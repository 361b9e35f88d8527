"""`fraudloop rules`: prints what `fraudloop.pipelines.rules` found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloop.cli.options import Columns, Features, JsonOutput
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.cli.publishing import DEFAULT_URL, DataFolder, Expected, Url, Who, Why, remote, show_change, show_history, told
from fraudloop.cli.remote import Remote
from fraudloop.control.rules import diff, in_shadow, moved, unwatched, unwatched_text
from fraudloop.decisions.rules import RuleSet, State
from fraudloop.errors import InputError
from fraudloop.pipelines.history import history as history_of
from fraudloop.pipelines.rules import backtest_file, check_file
from fraudloop.settings import Settings

app = typer.Typer(help="Rules that analysts write: check them, test them on the past, and put them in force.", no_args_is_help=True)

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


AtOnce = Annotated[bool, typer.Option("--at-once", help="Let rules act that were not in shadow as they are now; the log says which.")]


@app.command()
def show(
    context: typer.Context,
    url: Url = DEFAULT_URL,
    toml: Annotated[bool, typer.Option("--toml", help="As a file of rules, to change and publish.")] = False,
    json: JsonOutput = False,
) -> None:
    """The rules in force in a running service."""
    with remote(context, url) as service:
        answer = service.call("GET", "/rules")
    rules = RuleSet.from_dict(answer["rules"])
    if json:
        print_json(answer)
    elif toml:
        typer.echo(rules.to_toml(), nl=False)
    else:
        rows = [(r.id, r.state.value, r.outcome and r.outcome.text, r.score or None, r.when) for r in rules.rules]
        title = f"rules of {rules.name!r}, version {answer['hash'][:12]}, published by {answer['who']}: {answer['why']}"
        print_table(title, ("rule", "state", "outcome", "score", "when"), rows, right=("score",))


@app.command()
def shadow(
    context: typer.Context, rules: RuleFile, why: Why, who: Who = None, url: Url = DEFAULT_URL, expected: Expected = None, json: JsonOutput = False
) -> None:  # fmt: skip
    """Put the rules of a file in shadow beside those in force: evaluated on every payment, acting on none."""
    new = RuleSet.load(rules)
    with remote(context, url) as service:
        now = service.call("GET", "/rules")
        body = in_shadow(RuleSet.from_dict(now["rules"]), new).to_dict()
        answer = service.call("PUT", "/rules", told({"rules": body}, who, why, expected or now["hash"]))
    show_change(answer, as_json=json)


@app.command()
def publish(
    context: typer.Context,
    rules: RuleFile,
    why: Why,
    who: Who = None,
    url: Url = DEFAULT_URL,
    expected: Expected = None,
    at_once: AtOnce = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    json: JsonOutput = False,
) -> None:
    """Put a whole set of rules in force in place of the one that is."""
    new = RuleSet.load(rules)
    with remote(context, url) as service:
        now = service.call("GET", "/rules")
        _put(service, now, new, who, why, expected, at_once=at_once, dry_run=dry_run, as_json=json)


@app.command()
def move(
    context: typer.Context,
    rule: Annotated[str, typer.Argument(metavar="RULE", help="The id of a rule in force.")],
    state: Annotated[State, typer.Argument(metavar="STATE", help="draft, shadow, live or retired.")],
    why: Why,
    who: Who = None,
    url: Url = DEFAULT_URL,
    expected: Expected = None,
    at_once: AtOnce = False,
    json: JsonOutput = False,
) -> None:
    """Move one rule along its life: draft, shadow, live, retired."""
    with remote(context, url) as service:
        now = service.call("GET", "/rules")
        new = moved(RuleSet.from_dict(now["rules"]), rule, state)
        _put(service, now, new, who, why, expected, at_once=at_once, dry_run=False, as_json=json)


@app.command()
def history(data: DataFolder = Path("fraudloop-data"), json: JsonOutput = False) -> None:
    """Every set of rules that was in force, who published it and why, and what it changed; from the log."""
    show_history(history_of(data, "rules"), as_json=json)


def _put(
    service: Remote, now: dict[str, Any], new: RuleSet, who: str | None, why: str, expected: str | None, *, at_once: bool, dry_run: bool, as_json: bool
) -> None:  # fmt: skip
    before = RuleSet.from_dict(now["rules"])
    at_risk = unwatched(before, new)
    if at_risk and not at_once:
        raise InputError(unwatched_text(at_risk) + " (--at-once)", rules=at_risk)
    if dry_run:
        changes = list(diff(now["rules"], new.to_dict()))
        if as_json:
            print_json({"hash": new.hash, "in_force": now["hash"], "diff": changes})
        else:
            typer.echo("\n".join(changes) or "nothing changes")
        return
    reason = f"{why} (at once: {', '.join(at_risk)})" if at_risk else why
    show_change(service.call("PUT", "/rules", told({"rules": new.to_dict()}, who, reason, expected or now["hash"])), as_json=as_json)


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"
