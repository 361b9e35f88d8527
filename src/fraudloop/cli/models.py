"""`fraudloop models`: the store of models, and the way of a candidate to champion and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fraudloop.cli import tracking
from fraudloop.cli.options import Artifacts, JsonOutput, Track
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.cli.score import Decline, Review, given_policy
from fraudloop.control.promotion import Promotion
from fraudloop.errors import CheckFailed, InputError
from fraudloop.pipelines.card import card_file, gate_report_file
from fraudloop.pipelines.gate import Source, compare_files, gate_file
from fraudloop.pipelines.models import newest_report, promote_model, rollback_model, write_report
from fraudloop.pipelines.store import bundle_of, keep_candidate, open_store
from fraudloop.pipelines.tracking import mirror_into, tracking_of
from fraudloop.reports.tables import metric_rows
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import CANDIDATE, DEFAULT_NAME
from fraudloop.settings import Settings
from fraudloop.training.gate_config import GateConfig

app = typer.Typer(no_args_is_help=True)
app.command("reproduce")(tracking.reproduce)
app.command("track")(tracking.track_)
app.command("mirror")(tracking.mirror)

Payments = Annotated[
    Path, typer.Argument(metavar="FILE", help="Payments with labels (CSV, gz too, or Parquet), or a Parquet file of `fraudloop features`.")
]

Name = Annotated[str, typer.Option("--name", metavar="NAME", help="The model.")]
Reference = Annotated[str, typer.Argument(metavar="REF", help="NAME@ALIAS, a hash of the store, or a folder.")]
Mapped = Annotated[
    str | None, typer.Option("--columns", metavar="MAP", help="Column map of the file; by default the one the model was trained with.")
]
Days = Annotated[
    str | None, typer.Option("--period", metavar="A..B", help="Days to judge by; by default all after what the model learned from.")
]
Labels = Annotated[Path | None, typer.Option("--labels", metavar="FILE", help="Labels in a file apart.")]
Profiles = Annotated[Path | None, typer.Option("--profiles", metavar="FILE", help="Profiles of customers in a file apart.")]
Delay = Annotated[str | None, typer.Option("--label-delay", metavar="DURATION", help="How long labels take; by default as in training.")]


@app.command("list")
def list_(context: typer.Context, json: JsonOutput = False) -> None:
    """Every bundle of the store, the newest first, with the aliases that name it."""
    store = open_store(context.obj)
    rows = store.list()
    if json:
        print_json({"store": str(store.root), "bundles": rows})
        return
    shown = [(row.hash[:12], row.created, ", ".join(row.algorithms), f"{row.bytes / 1e6:.1f} MB", ", ".join(row.aliases)) for row in rows]
    print_table(f"{store.root}: {len(rows)} bundles", ("bundle", "made", "algorithms", "size", "named by"), shown, right=("size",))


@app.command()
def show(context: typer.Context, reference: Reference, json: JsonOutput = False) -> None:
    """What a bundle is: where it comes from, what it learned from, what it reached."""
    bundle = bundle_of(reference, context.obj)
    told = _told(bundle)
    if json:
        print_json({**told, "origin": bundle.origin, "thresholds": bundle.thresholds, "metrics": bundle.metrics})
        return
    print_table(f"{reference}: {bundle.hash}", ("what", ""), list(told.items()))


def _told(bundle: Bundle) -> dict[str, Any]:
    """A bundle in a few lines."""
    training, test = bundle.metrics.get("training") or {}, bundle.metrics.get("test") or {}
    headline = test.get(test.get("headline", "all")) or {}
    return {
        "bundle": bundle.hash,
        "content": bundle.content,
        "made": bundle.origin.get("created"),
        "commit": bundle.origin.get("git_commit"),
        "members": ", ".join(str(member["name"]) for member in bundle.members),
        "trained on": training.get("period"),
        "payments": training.get("transactions"),
        "known frauds": training.get("frauds"),
        "labels until": training.get("cut"),
        "tested on": test.get("period"),
        "average precision": headline.get("average_precision"),
        "recall at 90 % precision": headline.get("recall_at_90_precision"),
        "review above": bundle.thresholds.get("review"),
        "decline above": bundle.thresholds.get("decline"),
    }


@app.command()
def history(context: typer.Context, name: Name = DEFAULT_NAME, json: JsonOutput = False) -> None:
    """Every move of a model's aliases: who, why and when, the oldest first; exit code 1 if the store is not as it was written."""
    store = open_store(context.obj)
    entries = store.history(name)
    wrong = store.verify()
    if json:
        print_json({"name": name, "history": entries, "wrong": wrong})
    else:
        rows = [(e.at, e.alias, e.action, (e.before or "")[:12], (e.after or "")[:12], e.who, _why(e.why, e.details)) for e in entries]
        print_table(f"{name}: {len(entries)} moves", ("when", "alias", "action", "from", "to", "who", "why"), rows)
    if wrong:
        raise CheckFailed("the store is not as it was written: " + "; ".join(wrong), wrong=wrong)


def _why(why: str, details: Any) -> str:
    overridden = details.get("overridden")
    return why + (f" (overrode {', '.join(overridden)})" if overridden else "")


@app.command()
def put(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a bundle.")],
    name: Name = DEFAULT_NAME,
    alias: Annotated[str, typer.Option("--alias", metavar="ALIAS", help="The alias that is to name it.")] = CANDIDATE,
    who: Annotated[str, typer.Option("--who", metavar="WHO", help="For the history.")] = "put",
    why: Annotated[str, typer.Option("--why", metavar="WHY", help="For the history.")] = "added from a folder",
    json: JsonOutput = False,
) -> None:
    """Put a bundle into the store and let an alias name it (not `champion`: that is what `promote` is for)."""
    if alias == "champion":
        raise InputError("--alias champion: a champion is made by `fraudloop models promote`, after the gate")
    found = keep_candidate(Bundle.load(folder), context.obj, name=name, alias=alias, who=who, why=why)
    if json:
        print_json({"bundle": found, "alias": f"{name}@{alias}"})
    else:
        note(f"{name}@{alias} names {found[:12]}")


@app.command()
def card(
    context: typer.Context,
    reference: Reference,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write: one .html file.")],
    gate: Annotated[
        Path | None, typer.Option("--gate", metavar="FILE", help="A gate report (.json); by default the newest of the bundle in the store.")
    ] = None,
    json: JsonOutput = False,
) -> None:
    """The model card of a bundle: data, features, metrics, segments, limits and the gate's verdict, in one HTML file."""
    if out.suffix != ".html":
        raise InputError(f"--out {out}: the name must end in .html")
    bundle = bundle_of(reference, context.obj)
    written = card_file(bundle, out, gate if gate is not None else newest_report(bundle.hash, context.obj))
    if json:
        print_json({"bundle": bundle.hash, "out": str(written)})
    else:
        note(f"the card of {bundle.hash[:12]} is in {written}")


@app.command()
def remove(context: typer.Context, reference: Reference, json: JsonOutput = False) -> None:
    """Take a bundle out of the store; refused while an alias names it or a rollback would need it."""
    found = open_store(context.obj).remove(reference)
    if json:
        print_json({"removed": found})
    else:
        note(f"{found[:12]} is removed")


@app.command()
def compare(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="NAME@ALIAS, a hash of the store, or a folder.")],
    second: Annotated[str, typer.Argument(metavar="B", help="The one to hold it against.")],
    file: Payments,
    columns: Mapped = None,
    period: Days = None,
    label_delay: Delay = None,
    review: Review = None,
    decline: Decline = None,
    rounds: Annotated[int, typer.Option("--rounds", metavar="N", help="Draws of the paired bootstrap.")] = 400,
    labels: Labels = None,
    profiles: Profiles = None,
    json: JsonOutput = False,
) -> None:
    """Two models on the same payments: metrics side by side, and the difference with its interval (paired bootstrap)."""
    settings: Settings = context.obj
    with progress(quiet=json) as show_progress:
        done = compare_files(
            Source(file, columns, period, labels, profiles, label_delay), first, second, policy=given_policy(review, decline), rounds=rounds,
            settings=settings, progress=show_progress,
        )  # fmt: skip
    if json:
        print_json(done)
        return
    heads = [f"{text} ({name[:8]})" for text, name in zip((first, second), done.hashes, strict=True)]
    rows = [
        *metric_rows(list(done.metrics), settings.base_currency),
        *((f"share: {word}", *(f"{shares[word]:.2%}" for shares in done.outcomes)) for word in done.outcomes[0] if any(s[word] for s in done.outcomes)),
    ]  # fmt: skip
    print_table(
        f"{done.period}, review above {done.policy.review:.4f}, decline above {done.policy.decline:.4f}",
        ("metric", *heads),
        rows,
        right=tuple(heads),
    )
    d = done.difference
    note(
        f"average precision {d.difference:+.4f}, {d.level:.0%} interval [{d.low:+.4f}, {d.high:+.4f}]: "
        f"{first} is worse in {d.worse:.0%} of {d.rounds} draws of {d.blocks:,} {d.by}s"
    )


@app.command()
def gate(
    context: typer.Context,
    file: Payments,
    name: Name = DEFAULT_NAME,
    candidate: Annotated[str | None, typer.Option("--candidate", metavar="REF", help="Whom to judge; by default NAME@candidate.")] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="TOML", help="What is asked of it; see docs/gate.md.")] = None,
    columns: Mapped = None,
    period: Days = None,
    label_delay: Delay = None,
    review: Review = None,
    decline: Decline = None,
    labels: Labels = None,
    profiles: Profiles = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the report too: .html with its JSON beside it, or .json.")
    ] = None,
    json: JsonOutput = False,
) -> None:
    """Judge a candidate beside the champion on payments that it has not learned from; exit code 1 if it is refused.

    The report goes into the store, where `promote` looks for it.
    """
    if out is not None and out.suffix not in (".html", ".json"):
        raise InputError(f"--out {out}: the name must end in .html (with its JSON beside it) or .json")
    with progress(quiet=json) as show_progress:
        done = gate_file(
            Source(file, columns, period, labels, profiles, label_delay), name=name, candidate=candidate, policy=given_policy(review, decline),
            config=None if config is None else GateConfig.load(config), settings=context.obj, progress=show_progress,
        )  # fmt: skip
    report = done.report.to_dict()
    if out is not None and out.suffix == ".html":
        gate_report_file(report, out, f"{name}: gate report")
    elif out is not None:
        write_report(report, out)
    if json:
        print_json({**report, "document": done.document})
    else:
        _show_gate(report)
    failed = done.report.failed
    if failed:
        raise CheckFailed(
            f"{done.report.candidate[:12]} is refused by {len(failed)} of {len(done.report.checks)} checks", failed=[c.name for c in failed]
        )


def _show_gate(report: dict[str, Any]) -> None:
    data = report["data"]
    beside = f"beside {report['champion'][:12]}" if report["champion"] else "no champion yet"
    title = f"{report['candidate'][:12]}, {beside}: {data.get('transactions', 0):,} payments of {data.get('period')}, {data.get('frauds', 0):,} known frauds"
    rows = [("pass" if check["passed"] else "REFUSED", check["title"], check["why"]) for check in report["checks"]]
    print_table(title, ("", "check", "what was found"), rows)
    if report["verdict"] == "pass":
        note(f"all {len(rows)} checks passed")


@app.command()
def promote(
    context: typer.Context,
    name: Name = DEFAULT_NAME,
    candidate: Annotated[str | None, typer.Option("--candidate", metavar="REF", help="Whom to promote; by default NAME@candidate.")] = None,
    approver: Annotated[str | None, typer.Option("--approver", metavar="WHO", help="Who answers for it.")] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Nobody does: only if every check of the gate passed.")] = False,
    why: Annotated[str | None, typer.Option("--why", metavar="WHY", help="For the history.")] = None,
    override: Annotated[bool, typer.Option("--override", help="Although the gate refuses it; needs --approver and --why.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="The gate's report; by default the newest in the store.")
    ] = None,
    track: Track = None,
    artifacts: Artifacts = None,
    json: JsonOutput = False,
) -> None:
    """Make a candidate the champion, on a gate report about exactly it and the present champion.

    It needs a named approver, or --auto. Where runs are tracked, MLflow's registry is brought to the same state after it. Of two who promote at once one wins, and the other is told who.
    """
    if auto == (approver is not None):
        raise InputError("give either --approver WHO or --auto")
    if override and why is None:
        raise InputError("--override needs --why: the reason stands in the history")
    mirror = mirror_into(tracking_of(track, context.obj, artifacts=artifacts))
    done = promote_model(
        name=name, candidate=candidate, approver=approver, why=why or "passed the gate", report=report, override=override, settings=context.obj,
        mirror=mirror,
    )  # fmt: skip
    _show_move(done, as_json=json)


@app.command()
def rollback(
    context: typer.Context,
    who: Annotated[str, typer.Option("--who", metavar="WHO", help="Who does it.")],
    why: Annotated[str, typer.Option("--why", metavar="WHY", help="For the history.")],
    name: Name = DEFAULT_NAME,
    to: Annotated[
        str | None, typer.Option("--to", metavar="HASH", help="An earlier champion; by default the one before the present.")
    ] = None,
    track: Track = None,
    artifacts: Artifacts = None,
    json: JsonOutput = False,
) -> None:
    """Restore the champion before the present one, at once; no gate is asked."""
    mirror = mirror_into(tracking_of(track, context.obj, artifacts=artifacts))
    _show_move(rollback_model(name=name, who=who, why=why, to=to, settings=context.obj, mirror=mirror), as_json=json)


def _show_move(done: Promotion, *, as_json: bool) -> None:
    if as_json:
        print_json(done)
        return
    shares = {key: value for key, value in done.outcomes.items() if key in ("candidate", "champion")}
    if shares:
        rows = [(word, *(f"{part[word]:.2%}" for part in shares.values())) for word in shares["candidate"]]
        heads = tuple({"candidate": "from now on", "champion": "until now"}[key] for key in shares)
        print_table("Outcomes under the policy in force, on the payments of the gate", ("outcome", *heads), rows, right=heads)
    before = f" instead of {done.before[:12]}" if done.before else ""
    note(f"{done.name}@champion names {done.champion[:12]}{before}: {done.entry.action} by {done.entry.who}, {done.entry.why}")
    for check, reason in done.overridden.items():
        note(f"overridden: {check}: {reason}")
    if done.mirrored:
        note(
            f"warning: the champion moved, but MLflow's registry did not follow: {done.mirrored}; `fraudloop models mirror --name {done.name}` brings it there"
        )
