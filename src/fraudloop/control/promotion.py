"""Promotion and rollback: who may put which model in force, on what evidence, and what is kept of it.

It knows the store and reads a gate report as plain data; it measures nothing. Every way out is either the old champion
with an error that says why, or the new one with a line in the history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fraudloop.clock import Clock
from fraudloop.errors import CheckFailed, FraudloopError, InputError, StoreError
from fraudloop.scoring.store import CHAMPION, BundleStore, Entry

#: Who is written down where nobody approved and every check passed.
AUTOMATIC: Final = "auto"

#: Called with the store and the model's name once the alias has moved, to keep another registry like it.
Mirror = Callable[[BundleStore, str], None]


@dataclass(frozen=True, slots=True)
class Promotion:
    """What took place. entry: its line in the history. overridden: checks that failed and were overridden, with their
    reasons. outcomes: shares of outcomes under the policy in force, from the gate report, {} for a rollback. mirrored:
    None without a mirror, else "" or why the mirror failed: the promotion stands all the same."""

    name: str
    champion: str
    before: str | None
    entry: Entry
    overridden: Mapping[str, str]
    outcomes: Mapping[str, Any]
    mirrored: str | None


def promote(
    store: BundleStore,
    name: str,
    bundle: str,
    report: Mapping[str, Any] | None,
    *,
    approver: str | None,
    why: str,
    clock: Clock,
    override: bool = False,
    mirror: Mirror | None = None,
) -> Promotion:
    """Make a bundle the champion of a model.

    report: the gate report of exactly this bundle beside exactly the present champion. approver: who answers for it; None
    is for machines (`auto`) and needs every check to have passed. override: put it in force although checks failed; needs
    an approver, and `why` must say the reason; what was overridden goes into the history.

    CheckFailed without such a report, or with one that refuses; StoreConflict if somebody else promotes meanwhile;
    InputError for a missing approver or reason. In each case nothing was changed.
    """
    reference = f"{name}@{CHAMPION}"
    who = _who(approver)
    if override and approver is None:
        raise InputError("--override needs --approver: somebody must answer for it")
    if not why.strip():
        raise InputError("say why (--why): it stands in the history")
    champion = store.alias(reference)
    if bundle == champion:
        raise InputError(f"{bundle[:12]} is the champion of {name} already", bundle=bundle)
    checked = _checked(report, bundle, champion, name)
    failed = {str(check["name"]): str(check["why"]) for check in checked["checks"] if not check["passed"]}
    if checked["verdict"] != "pass" and not failed:
        raise CheckFailed(f"the gate report of {bundle[:12]} refuses it without naming a check; run the gate again")
    if failed and not override:
        reasons = "; ".join(f"{check}: {reason}" for check, reason in failed.items())
        raise CheckFailed(f"the gate refuses {bundle[:12]} by {len(failed)} of {len(checked['checks'])} checks: {reasons}", failed=failed)
    store.get(bundle).model()  # every hash once more, the moment before
    document = store.put_document(checked)
    details: dict[str, Any] = {"gate": document, "verdict": checked["verdict"], "outcomes": checked.get("outcomes", {})}
    if failed:
        details["overridden"] = failed
    entry = store.set_alias(reference, bundle, expected=champion, who=who, why=why, at_us=clock.now_us(), action="promote", details=details)
    return Promotion(name, bundle, champion, entry, failed, checked.get("outcomes", {}), _mirrored(mirror, store, name))


def rollback(
    store: BundleStore, name: str, *, who: str, why: str, clock: Clock, to: str | None = None, mirror: Mirror | None = None
) -> Promotion:
    """Restore the champion there was before the present one (or `to`, a hash, that was champion once); no gate is asked.

    StoreError if there is none, or its bundle is gone; BundleError if it was damaged; StoreConflict if somebody else moved
    the champion meanwhile. In each case nothing was changed.
    """
    reference = f"{name}@{CHAMPION}"
    champion = store.alias(reference)
    if champion is None:
        raise StoreError(f"{name} has no champion to roll back")
    if not why.strip():
        raise InputError("say why (--why): it stands in the history")
    if to is None:
        target = store.previous(reference)
        if target is None:
            raise StoreError(f"{name} had no champion before {champion[:12]}; nothing to go back to")
    else:
        target = store.resolve(to)
        if target == champion:
            raise InputError(f"{target[:12]} is the champion of {name} already", bundle=target)
        if target not in {entry.after for entry in store.history(name) if entry.alias == CHAMPION}:
            raise StoreError(f"{target[:12]} was never champion of {name}; a rollback goes back, `promote` goes on")
    store.get(target).model()
    entry = store.set_alias(reference, target, expected=champion, who=_who(who), why=why, at_us=clock.now_us(), action="rollback")
    return Promotion(name, target, champion, entry, {}, {}, _mirrored(mirror, store, name))


def find_report(store: BundleStore, name: str, bundle: str) -> dict[str, Any] | None:
    """The newest gate report in the store for this bundle beside the present champion; else the newest for this bundle, so
    that a refusal can say what is stale; None if there is none."""
    champion = store.alias(f"{name}@{CHAMPION}")
    found = [body for _, body in store.documents() if body.get("candidate") == bundle and "checks" in body]
    return max(found, key=lambda body: (body.get("champion") == champion, str(body.get("created"))), default=None)


def _who(approver: str | None) -> str:
    if approver is None:
        return AUTOMATIC
    if not approver.strip() or approver.strip() == AUTOMATIC:
        raise InputError(f"--approver needs the name of a person; {approver!r} is none")
    return approver


def _checked(report: Mapping[str, Any] | None, bundle: str, champion: str | None, name: str) -> Mapping[str, Any]:
    again = f"`fraudloop models gate FILE --name {name} --candidate {bundle[:12]}` makes one"
    if report is None:
        raise CheckFailed(f"there is no gate report for {bundle[:12]}; {again}")
    checks = report.get("checks")
    if report.get("verdict") not in ("pass", "refuse") or not _are_checks(checks):
        raise InputError("not a gate report: it needs a verdict and checks, each with name, passed and why")
    if report.get("candidate") != bundle:
        raise CheckFailed(f"the gate report is about {str(report.get('candidate'))[:12]}, not about {bundle[:12]}; {again}")
    if report.get("champion") != champion:
        old, new = (str(value)[:12] if value else "no champion" for value in (report.get("champion"), champion))
        raise CheckFailed(f"the gate report is stale: it compares with {old}, but {name} now has {new}; {again}")
    return report


def _are_checks(checks: object) -> bool:
    return (
        isinstance(checks, Sequence)
        and len(checks) > 0
        and all(isinstance(check, Mapping) and isinstance(check.get("passed"), bool) and {"name", "why"} <= set(check) for check in checks)
    )


def _mirrored(mirror: Mirror | None, store: BundleStore, name: str) -> str | None:
    if mirror is None:
        return None
    try:
        mirror(store, name)
    except FraudloopError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a foreign registry fails in ways of its own; what was promoted stands
        return f"{type(error).__name__}: {error}"
    return ""
