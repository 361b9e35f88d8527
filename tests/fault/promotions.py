"""A promotion as tests do it in processes of their own: a bundle put, a report kept, the champion moved. It imports no pytest."""

from __future__ import annotations

from fraudloop.clock import ManualClock
from fraudloop.control.promotion import Promotion, promote
from fraudloop.scoring.store import BundleStore
from tests.bundles import linear_bundle


def promoted(store: BundleStore, weight: float, champion: str | None, who: str) -> Promotion:
    """Promote the linear bundle of this weight on a passing report beside `champion`."""
    name = store.put(linear_bundle(weight))
    checks = [{"name": "integrity", "passed": True, "why": "whole"}]
    report = {"verdict": "pass", "candidate": name, "champion": champion, "created": "2024-01-01", "checks": checks}
    return promote(store, "payments", name, report, approver=who, why="better", clock=ManualClock(2_000_000))
