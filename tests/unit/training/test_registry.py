"""The mirror shows what the store holds: aliases, stages, who and why, whatever MLflow said before."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from fraudloop.errors import TrackingError
from fraudloop.scoring.store import CANDIDATE, CHALLENGER, CHAMPION, BundleStore
from fraudloop.training import registry
from fraudloop.training.registry import mirror, versions_of
from fraudloop.training.tracking import Tracker
from tests.bundles import linear_bundle
from tests.tracked import local_tracking

ALIASES = (CANDIDATE, CHALLENGER, CHAMPION)


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return Tracker(local_tracking(tmp_path_factory.mktemp("registry")))


@pytest.fixture
def store(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "store")


def move(store: BundleStore, reference: str, to: str | None, why: str = "because", action: str = "set") -> None:
    store.set_alias(reference, to, expected=store.alias(reference), who="ada", why=why, at_us=1_700_000_000_000_000, action=action)


def shown(tracker: Tracker, name: str) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Aliases as bundles, and the tags of every version by bundle, as MLflow has them."""
    versions = list(tracker.client.search_model_versions(f"name='{name}'"))
    tags = {v.tags["fraudloop.bundle"]: dict(v.tags) for v in versions}
    numbers = {str(v.version): v.tags["fraudloop.bundle"] for v in versions}
    return {alias: numbers[str(n)] for alias, n in tracker.client.get_registered_model(name).aliases.items()}, tags


def test_stages_follow_the_aliases(store: BundleStore) -> None:
    a, b, c, d = (store.put(linear_bundle(weight)) for weight in (0.1, 0.2, 0.3, 0.4))
    for bundle in (a, b):
        move(store, "cards@candidate", bundle)
        move(store, "cards@champion", bundle)
    move(store, "cards@candidate", d)
    move(store, "cards@candidate", c)
    found = {version.bundle: (version.stage, version.aliases) for version in versions_of(store, "cards")}
    assert found == {a: ("Archived", ()), b: ("Production", ("champion",)), c: ("Staging", ("candidate",)), d: ("None", ())}


def test_a_promotion_and_a_rollback_show_with_who_and_why(store: BundleStore, tracker: Tracker) -> None:
    a, b = (store.put(linear_bundle(weight)) for weight in (0.1, 0.2))
    move(store, "shown@champion", a)
    first = mirror(store, "shown", tracker)
    assert (first.created, first.tracked, first.gone) == ((a,), (a,), ())
    move(store, "shown@champion", b, "finds more of the new scheme", "promote")
    mirror(store, "shown", tracker)
    aliases, tags = shown(tracker, "shown")
    assert aliases == {"champion": b}
    assert (tags[a]["stage"], tags[b]["stage"]) == ("Archived", "Production")
    assert (tags[b]["who"], tags[b]["why"], tags[b]["at"]) == ("ada", "finds more of the new scheme", "2023-11-14 22:13:20Z")
    move(store, "shown@champion", a, "too many alarms", "rollback")
    mirror(store, "shown", tracker)
    aliases, tags = shown(tracker, "shown")
    assert aliases == {"champion": a}
    assert (tags[a]["stage"], tags[b]["stage"], tags[b]["why"]) == ("Production", "Archived", "too many alarms")


def test_a_version_leads_to_the_run_that_holds_its_bundle(store: BundleStore, tracker: Tracker, tmp_path: Path) -> None:
    bundle = store.put(linear_bundle(0.7))
    move(store, "leads@champion", bundle)
    mirror(store, "leads", tracker)
    [version] = tracker.client.search_model_versions("name='leads'")
    assert tracker.bundle_of(version.run_id, tmp_path).hash == bundle
    assert tracker.find(bundle) == version.run_id


def test_mirroring_twice_changes_nothing(store: BundleStore, tracker: Tracker) -> None:
    move(store, "twice@champion", store.put(linear_bundle(0.5)))
    mirror(store, "twice", tracker)
    again = mirror(store, "twice", tracker)
    assert (again.created, again.tracked, again.changed) == ((), (), ())


def test_what_was_moved_by_hand_in_mlflow_is_put_right(store: BundleStore, tracker: Tracker) -> None:
    a, b = (store.put(linear_bundle(weight)) for weight in (0.1, 0.2))
    for bundle in (a, b):
        move(store, "hand@champion", bundle)
    numbers = mirror(store, "hand", tracker).versions
    tracker.client.set_registered_model_alias("hand", "champion", numbers[a])
    tracker.client.set_registered_model_alias("hand", "favourite", numbers[a])
    tracker.client.set_model_version_tag("hand", numbers[a], "stage", "Production")
    mirror(store, "hand", tracker)
    aliases, tags = shown(tracker, "hand")
    assert aliases == {"champion": b}
    assert tags[a]["stage"] == "Archived"


@pytest.mark.parametrize("seed", range(3))
def test_any_history_mirrored_now_and_then_ends_as_the_store_is(store: BundleStore, tracker: Tracker, seed: int) -> None:
    name, draw = f"walk-{seed}", random.Random(seed)
    bundles = [store.put(linear_bundle(weight)) for weight in (0.1, 0.2, 0.3)]
    for _ in range(12):
        move(store, f"{name}@{draw.choice(ALIASES)}", draw.choice([*bundles, None]))
        if draw.random() < 0.3:
            mirror(store, name, tracker)
    mirror(store, name, tracker)
    aliases, tags = shown(tracker, name)
    assert aliases == {alias: found for alias in ALIASES if (found := store.alias(f"{name}@{alias}"))}
    assert {bundle: row["stage"] for bundle, row in tags.items()} == {v.bundle: v.stage for v in versions_of(store, name)}


def test_a_failure_half_way_is_completed_by_the_next_call(store: BundleStore, tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (store.put(linear_bundle(weight)) for weight in (0.1, 0.2))
    for bundle in (a, b):
        move(store, "half@champion", bundle)

    def gone(*_: Any) -> None:
        raise ConnectionError("the server went away")

    monkeypatch.setattr(registry, "_aliases", gone)
    with pytest.raises(TrackingError, match="went away"):
        mirror(store, "half", tracker)
    monkeypatch.undo()
    assert mirror(store, "half", tracker).created == ()
    assert shown(tracker, "half")[0] == {"champion": b}


def test_a_bundle_that_is_gone_and_was_never_tracked_is_named(store: BundleStore, tracker: Tracker) -> None:
    a, b = (store.put(linear_bundle(weight)) for weight in (0.1, 0.21))
    fresh = store.put(linear_bundle(0.876))
    for bundle in (fresh, a, b):
        move(store, "gone@champion", bundle)
    store.remove(fresh)
    found = mirror(store, "gone", tracker)
    assert found.gone == (fresh,)
    assert shown(tracker, "gone")[0] == {"champion": b}
