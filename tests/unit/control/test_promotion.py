"""Promotion: only with a report about exactly the two, a name that answers for it, and a reason; and the way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fraudloop.clock import ManualClock
from fraudloop.control.promotion import AUTOMATIC, find_report, promote, rollback
from fraudloop.errors import BundleError, CheckFailed, FraudloopError, InputError, StoreConflict, StoreError
from fraudloop.scoring.store import BundleStore
from tests.bundles import linear_bundle

CHAMP = "payments@champion"
CLOCK = ManualClock(1_700_000_000_000_000)
SHARES = {"candidate": {"approve": 0.99, "decline": 0.01}, "champion": {"approve": 0.98, "decline": 0.02}}


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "store")


def report(candidate: str, champion: str | None, *failed: str, **more: Any) -> dict[str, Any]:
    """A gate report of two checks."""
    checks = [{"name": name, "passed": name not in failed, "why": f"{name} is what it is"} for name in ("integrity", "latency_single")]
    verdict = "refuse" if failed else "pass"
    return {
        "verdict": verdict,
        "candidate": candidate,
        "champion": champion,
        "created": "2024-01-01",
        "checks": checks,
        "outcomes": SHARES,
        **more,
    }


def up(store: BundleStore, weight: float, **options: Any) -> Any:
    """Promote a bundle with an honest report of its own."""
    name = store.put(linear_bundle(weight))
    given = {"approver": "ada", "why": "better", "clock": CLOCK, **options}
    made = given.pop("report", report(name, store.alias(CHAMP)))
    return promote(store, "payments", name, made, **given)


def test_a_promotion_says_who_why_when_and_on_what(store: BundleStore) -> None:
    done = up(store, 0.1)
    assert (done.before, done.champion, done.overridden, done.mirrored) == (None, store.resolve(CHAMP), {}, None)
    [entry] = store.history()
    assert (entry.who, entry.why, entry.at, entry.action) == ("ada", "better", "2023-11-14 22:13:20Z", "promote")
    assert store.document(entry.details["gate"])["candidate"] == done.champion
    assert done.outcomes == entry.details["outcomes"] == SHARES
    assert up(store, 0.2, approver=None).entry.who == AUTOMATIC
    assert store.verify() == ()


@pytest.mark.parametrize("approver", ["ada", None])
def test_a_refused_candidate_is_not_promoted_and_each_reason_is_told(store: BundleStore, approver: str | None) -> None:
    first = up(store, 0.1).champion
    name = store.put(linear_bundle(0.2))
    with pytest.raises(CheckFailed, match=r"by 1 of 2 checks: latency_single: latency_single is what it is"):
        promote(store, "payments", name, report(name, first, "latency_single"), approver=approver, why="now", clock=CLOCK)
    assert store.alias(CHAMP) == first
    assert len(store.history()) == 1


def test_no_report_one_of_another_or_a_stale_one_is_refused(store: BundleStore) -> None:
    a = up(store, 0.1).champion
    b, c = (store.put(linear_bundle(weight)) for weight in (0.2, 0.3))
    about_b = report(b, a)
    cases: list[tuple[Any, str]] = [(None, "no gate report"), (report(c, a), "about"), (report(b, c), "stale"), (report(b, None), "stale")]
    for given, says in cases:
        with pytest.raises(CheckFailed, match=says):
            promote(store, "payments", b, given, approver="ada", why="x", clock=CLOCK)
    up(store, 0.3)
    with pytest.raises(CheckFailed, match="stale: it compares with"):
        promote(store, "payments", b, about_b, approver="ada", why="x", clock=CLOCK)
    assert store.alias(CHAMP) == c


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"verdict": "pass"},
        {"verdict": "maybe", "checks": []},
        {"verdict": "pass", "checks": []},
        {"verdict": "pass", "checks": [{"name": "x"}]},
    ],
)
def test_what_is_no_gate_report_is_refused(store: BundleStore, given: dict[str, Any]) -> None:
    name = store.put(linear_bundle())
    with pytest.raises(InputError, match="not a gate report"):
        promote(store, "payments", name, {"candidate": name, "champion": None, **given}, approver="ada", why="x", clock=CLOCK)


def test_a_verdict_that_its_own_checks_deny_is_not_believed(store: BundleStore) -> None:
    name = store.put(linear_bundle())
    for verdict, failed in (("pass", ("integrity",)), ("refuse", ())):
        body = {**report(name, None, *failed), "verdict": verdict}
        with pytest.raises(CheckFailed, match="refuses"):
            promote(store, "payments", name, body, approver="ada", why="x", clock=CLOCK)


def test_an_override_needs_a_name_and_a_reason_and_is_written_down(store: BundleStore) -> None:
    name = store.put(linear_bundle())
    refused = report(name, None, "latency_single")
    for approver, why in ((None, "x"), ("", "x"), ("auto", "x"), ("ada", " ")):
        with pytest.raises(InputError, match=r"approver|why"):
            promote(store, "payments", name, refused, approver=approver, why=why, clock=CLOCK, override=True)
    assert store.alias(CHAMP) is None
    done = promote(store, "payments", name, refused, approver="ada", why="the machine was busy", clock=CLOCK, override=True)
    assert done.overridden == {"latency_single": "latency_single is what it is"}
    assert store.history()[0].details["overridden"] == done.overridden
    assert store.history()[0].details["verdict"] == "refuse"


def test_an_override_does_not_stand_in_for_a_report(store: BundleStore) -> None:
    name = store.put(linear_bundle())
    with pytest.raises(CheckFailed, match="no gate report"):
        promote(store, "payments", name, None, approver="ada", why="x", clock=CLOCK, override=True)


def test_a_bundle_that_was_tampered_with_since_the_gate_is_refused(store: BundleStore) -> None:
    a = up(store, 0.1).champion
    b = store.put(linear_bundle(0.2))
    (store.root / "bundles" / b / "thresholds.json").write_text('{"decline": 1, "review": 1}')
    with pytest.raises(BundleError, match=r"thresholds\.json"):
        promote(store, "payments", b, report(b, a), approver="ada", why="x", clock=CLOCK)
    assert store.alias(CHAMP) == a


def test_the_champion_itself_is_not_promoted_again(store: BundleStore) -> None:
    a = up(store, 0.1).champion
    with pytest.raises(InputError, match="already"):
        promote(store, "payments", a, report(a, a), approver="ada", why="x", clock=CLOCK)


def test_somebody_else_between_the_check_and_the_move_wins(store: BundleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    a = up(store, 0.1).champion
    b, c = (store.put(linear_bundle(weight)) for weight in (0.2, 0.3))
    put = BundleStore.put_document

    def meanwhile(self: BundleStore, body: Any) -> str:
        monkeypatch.setattr(BundleStore, "put_document", put)
        store.set_alias(CHAMP, c, expected=a, who="bea", why="mine", at_us=0, action="promote")
        return put(self, body)

    monkeypatch.setattr(BundleStore, "put_document", meanwhile)
    with pytest.raises(StoreConflict, match="bea moved it"):
        promote(store, "payments", b, report(b, a), approver="ada", why="x", clock=CLOCK)
    assert store.alias(CHAMP) == c


def test_a_rollback_restores_the_champion_before_and_is_written_down(store: BundleStore) -> None:
    a, b = up(store, 0.1).champion, up(store, 0.2).champion
    done = rollback(store, "payments", who="bea", why="declines doubled", clock=CLOCK)
    assert (done.before, done.champion) == (b, a)
    assert store.get(CHAMP).hash == a
    assert [(entry.action, entry.who) for entry in store.history()] == [("promote", "ada"), ("promote", "ada"), ("rollback", "bea")]
    with pytest.raises(StoreError, match="nothing to go back to"):
        rollback(store, "payments", who="bea", why="again", clock=CLOCK)
    assert up(store, 0.2).champion == b, "with a new report it may come back"


def test_a_rollback_to_an_older_champion_and_to_nothing_else(store: BundleStore) -> None:
    a, b, c = (up(store, weight).champion for weight in (0.1, 0.2, 0.3))
    other = store.put(linear_bundle(0.9))
    with pytest.raises(StoreError, match="never champion"):
        rollback(store, "payments", who="bea", why="x", clock=CLOCK, to=other)
    with pytest.raises(InputError, match="already"):
        rollback(store, "payments", who="bea", why="x", clock=CLOCK, to=c)
    assert rollback(store, "payments", who="bea", why="x", clock=CLOCK, to=a[:8]).champion == a
    assert b


def test_a_rollback_needs_a_champion_a_person_and_a_whole_bundle(store: BundleStore) -> None:
    with pytest.raises(StoreError, match="no champion"):
        rollback(store, "payments", who="bea", why="x", clock=CLOCK)
    a, b = up(store, 0.1).champion, up(store, 0.2).champion
    for who, why in (("", "x"), ("bea", " ")):
        with pytest.raises(InputError):
            rollback(store, "payments", who=who, why=why, clock=CLOCK)
    (store.root / "bundles" / a / "metrics.json").unlink()
    with pytest.raises(BundleError, match=r"metrics\.json"):
        rollback(store, "payments", who="bea", why="x", clock=CLOCK)
    assert store.alias(CHAMP) == b


def test_the_mirror_is_told_after_the_move_and_its_failure_undoes_nothing(store: BundleStore) -> None:
    seen: list[str | None] = []
    done = up(store, 0.1, mirror=lambda store, name: seen.append(store.alias(f"{name}@champion")))
    assert (done.mirrored, seen) == ("", [done.champion])

    def broken(store: BundleStore, name: str) -> None:
        raise ConnectionError("no route to the registry")

    done = up(store, 0.2, mirror=broken)
    assert done.mirrored == "ConnectionError: no route to the registry"
    assert store.alias(CHAMP) == done.champion

    def ours(store: BundleStore, name: str) -> None:
        raise FraudloopError("the registry wants a password")

    assert rollback(store, "payments", who="bea", why="x", clock=CLOCK, mirror=ours).mirrored == "the registry wants a password"


def test_the_report_about_the_present_champion_is_found_before_a_newer_stale_one(store: BundleStore) -> None:
    a = up(store, 0.1).champion
    b = store.put(linear_bundle(0.2))
    assert find_report(store, "payments", b) is None
    store.put_document(report(b, None, created="2024-03-01"))
    stale = find_report(store, "payments", b)
    assert stale is not None
    assert stale["champion"] is None
    for created in ("2024-01-01", "2024-02-01"):
        store.put_document(report(b, a, created=created))
    found = find_report(store, "payments", b)
    assert found is not None
    assert (found["champion"], found["created"]) == (a, "2024-02-01")
