"""`models promote` and `models rollback`: the store, the report and the clock put together for `control.promotion`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fraudloop.clock import Clock, SystemClock
from fraudloop.control.promotion import Mirror, Promotion, find_report, promote, rollback
from fraudloop.errors import InputError
from fraudloop.pipelines.card import read_report
from fraudloop.pipelines.store import open_store
from fraudloop.scoring.store import CANDIDATE, DEFAULT_NAME
from fraudloop.settings import Settings


def promote_model(
    *,
    name: str = DEFAULT_NAME,
    candidate: str | None = None,
    approver: str | None = None,
    why: str,
    report: Path | None = None,
    override: bool = False,
    settings: Settings | None = None,
    clock: Clock | None = None,
    mirror: Mirror | None = None,
) -> Promotion:
    """Make the candidate of a model (or the bundle of a reference) its champion. report: a file; None takes the newest in
    the store that is about the two. See `control.promotion.promote` for what refuses it."""
    settings = settings or Settings()
    store = open_store(settings)
    bundle = store.resolve(candidate or f"{name}@{CANDIDATE}")
    found = find_report(store, name, bundle) if report is None else read_report(report)
    return promote(store, name, bundle, found, approver=approver, why=why, clock=clock or SystemClock(), override=override, mirror=mirror)


def rollback_model(
    *,
    name: str = DEFAULT_NAME,
    who: str,
    why: str,
    to: str | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    mirror: Mirror | None = None,
) -> Promotion:
    """Restore the champion before the present one; see `control.promotion.rollback`."""
    settings = settings or Settings()
    return rollback(open_store(settings), name, who=who, why=why, clock=clock or SystemClock(), to=to, mirror=mirror)


def newest_report(bundle: str, settings: Settings) -> dict[str, Any] | None:
    """The newest gate report of the store about a bundle, whomever it was held against; None if there is none."""
    found = [body for _, body in open_store(settings).documents() if body.get("candidate") == bundle and "checks" in body]
    return max(found, key=lambda body: str(body.get("created")), default=None)


def write_report(report: Mapping[str, Any], out: Path) -> None:
    """Write a gate report as JSON."""
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
