"""`fraudloop decisions`: what the log says of a payment, and the same decision made again from the log alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fraudloop.cli.options import JsonOutput
from fraudloop.cli.output import note, print_json, print_table, progress
from fraudloop.domain.outcome import Outcome
from fraudloop.door.outward import time_text
from fraudloop.errors import CheckFailed
from fraudloop.ledger.records import Decision
from fraudloop.pipelines import offline
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import Settings

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The transaction_id.")]
Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="The data folder of the service.")]
_DATA = Path("fraudloop-data")


@app.command()
def show(transaction_id: Id, data: Data = _DATA, json: JsonOutput = False) -> None:
    """What was decided of a payment, on what, and why, as it stands in the log."""
    lsn, record, row = offline.show(data, transaction_id)
    decision = record.decision
    payment = {name: value for name, value in row.items() if value is not None}
    if json:
        print_json({"lsn": lsn, "received_at": time_text(record.received_us), "payment": payment, "decision": _plain(decision)})
        return
    print_table(f"{transaction_id}, LSN {lsn}, received {time_text(record.received_us)}", ("field", "value"), payment.items())
    if decision is None:
        note("absorbed without a decision")
        return
    print_table("Decision", ("what", "value"), [(k, v) for k, v in _plain(decision).items() if k != "reasons"])
    print_table(
        "Reasons", ("code", "reason", "contribution", "source"), [(r.code, r.text, r.contribution, r.source) for r in decision.reasons]
    )


@app.command()
def reproduce(context: typer.Context, transaction_id: Id, data: Data = _DATA, json: JsonOutput = False) -> None:
    """Make a decision again from the log: its features, scores and outcome; exit code 1 if they are not the same."""
    settings: Settings = context.obj
    with progress(quiet=json) as shown:
        found = offline.reproduce(data, BundleStore(settings.store), transaction_id, key=settings.hash_key, progress=shown)
    logged = np.frombuffer(found.logged.vector, np.float64).tolist()
    told = {} if found.difference is None else found.difference.values
    if json:
        print_json(
            {
                "transaction_id": found.transaction_id, "lsn": found.lsn, "proved": found.proved, "ok": found.ok, "why": found.why,
                "build": {"logged": found.logged.build, "here": found.build}, "logged": _plain(found.logged),
                "found": {"decision": found.outcome, "fraud_score": found.fraud_score, "risk_score": found.risk_score, "hits": found.hits},
                "features": {name: {"logged": a, "found": b} for name, a, b in zip(found.features, logged, found.vector, strict=True)},
                "differences": {name: {"logged": a, "found": b} for name, (a, b) in told.items()},
            }
        )  # fmt: skip
    else:
        rows: list[tuple[object, ...]] = [
            ("decision", Outcome(found.logged.outcome).text, found.outcome),
            ("fraud_score", found.logged.fraud_score, found.fraud_score),
            ("risk_score", found.logged.risk_score, found.risk_score),
            ("rules that hit", ", ".join(found.logged.hits), ", ".join(found.hits)),
            *((name, _cell(a), _cell(b)) for name, a, b in zip(found.features, logged, found.vector, strict=True)),
        ]
        print_table(f"{transaction_id}, LSN {found.lsn}", ("what", "in the log", "made again"), rows, right=("in the log", "made again"))
        build = "the same build" if found.logged.build == found.build else f"build {found.logged.build} then, {found.build} here"
        note(f"{found.proved} ({build})" + (f": {found.why}" if found.why else ""))
    if not found.ok:
        raise CheckFailed(f"{transaction_id} came out otherwise: {found.why or ', '.join(told)}", differs=sorted(told))


def _cell(value: float) -> object:
    return None if value != value else value


def _plain(decision: Decision | None) -> dict[str, Any]:
    if decision is None:
        return {}
    return {
        "decision": Outcome(decision.outcome).text, "tier": Outcome(decision.tier).text, "fraud_score": decision.fraud_score, "risk_score": decision.risk_score,
        "hits": ", ".join(decision.hits), "degraded": ", ".join(decision.why), "slot": decision.slot, "model": decision.model, "rules": decision.rules,
        "policy": decision.policy, "plan": decision.plan, "build": decision.build, "latency_ms": decision.latency_us / 1_000,
        "reasons": [{"code": r.code, "text": r.text, "contribution": r.contribution, "source": r.source} for r in decision.reasons],
    }  # fmt: skip
