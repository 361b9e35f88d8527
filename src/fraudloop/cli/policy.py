"""`fraudloop policy`: check a policy, show the one in force, and put another in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from fraudloop.cli.options import JsonOutput
from fraudloop.cli.output import note, print_json, print_table
from fraudloop.cli.publishing import DEFAULT_URL, DataFolder, Expected, Url, Who, Why, remote, show_change, show_history, told
from fraudloop.control.policy import diff
from fraudloop.decisions.policy import DecisionPolicy, Policy
from fraudloop.pipelines.history import history as history_of

app = typer.Typer(help="Which score leads to which outcome: check a policy, and put it in force.", no_args_is_help=True)

PolicyFile = Annotated[str, typer.Argument(metavar="POLICY", help="A TOML file, or a shipped policy: default.")]

#: Amounts that a policy with costs is shown for.
_AMOUNTS: Final = (1, 10, 50, 100, 500, 1_000, 5_000)


@app.command()
def check(policy: PolicyFile = "default", json: JsonOutput = False) -> None:
    """Is the policy understood, and what does it say? With costs: above which chance an amount is reviewed and declined."""
    _show(DecisionPolicy.load(policy), "", as_json=json)


@app.command()
def show(
    context: typer.Context,
    url: Url = DEFAULT_URL,
    toml: Annotated[bool, typer.Option("--toml", help="As a file, to change and publish.")] = False,
    json: JsonOutput = False,
) -> None:
    """The policy in force in a running service."""
    with remote(context, url) as service:
        answer = service.call("GET", "/policy")
    policy = DecisionPolicy.from_dict(answer["policy"])
    if json:
        print_json(answer)
    elif toml:
        typer.echo(policy.to_toml(), nl=False)
    else:
        _show(policy, f", published by {answer['who']}: {answer['why']}", as_json=False)


@app.command()
def publish(
    context: typer.Context,
    policy: PolicyFile,
    why: Why,
    who: Who = None,
    url: Url = DEFAULT_URL,
    expected: Expected = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    json: JsonOutput = False,
) -> None:
    """Put a policy in force in place of the one that is."""
    new = DecisionPolicy.load(policy)
    with remote(context, url) as service:
        now = service.call("GET", "/policy")
        if dry_run:
            changes = list(diff(now["policy"], new.to_dict()))
            if json:
                print_json({"hash": new.hash, "in_force": now["hash"], "diff": changes})
            else:
                typer.echo("\n".join(changes) or "nothing changes")
            return
        answer = service.call("PUT", "/policy", told({"policy": new.to_dict()}, who, why, expected or now["hash"]))
    show_change(answer, as_json=json)


@app.command()
def history(data: DataFolder = Path("fraudloop-data"), json: JsonOutput = False) -> None:
    """Every policy that was in force, who published it and why, and what it changed; from the log."""
    show_history(history_of(data, "policy"), as_json=json)


def _show(policy: DecisionPolicy, ending: str, *, as_json: bool) -> None:
    by_amount = {} if policy.costs is None else {amount: policy.costs.thresholds(float(amount)) for amount in _AMOUNTS}
    if as_json:
        print_json({"hash": policy.hash, "policy": policy.to_dict(), "thresholds_by_amount": {str(a): t for a, t in by_amount.items()}})
        return
    named: list[tuple[str, Policy | None]] = [
        ("", policy.tiers),
        ("little history", None if policy.cold_start is None else policy.cold_start.policy),
        ("state gone", policy.degraded),
    ]
    rows = [(who or "everybody", t.challenge, t.review, t.decline) for who, t in named if t is not None]
    print_table(
        f"policy {policy.name!r}, version {policy.hash[:12]}{ending}", ("for", "challenge above", "review above", "decline above"), rows
    )
    if by_amount:
        costs = [
            (f"{amount:,}", *(None if bound is None else f"{bound:.4f}" for bound in found.values())) for amount, found in by_amount.items()
        ]
        print_table(
            "by costs, for a payment of",
            ("amount", "review above", "decline above"),
            costs,
            right=("amount", "review above", "decline above"),
        )
    if policy.control is not None:
        note(f"of what the model alone stops, {100 * policy.control.share:g} % up to {policy.control.amount_max:g} is let through")
    note(f"without a model: {'the fallback rules decide' if policy.without_model == 'rules' else 'an analyst looks at everything'}")
