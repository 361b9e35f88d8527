"""The notebook's registry: a candidate comes in, is promoted and rolled back, and MLflow shows each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fraudloop.errors import CheckFailed, InputError, StoreError
from fraudloop.pipelines.registry import ModelRegistry
from fraudloop.settings import Settings
from fraudloop.training.tracking import Tracker, Tracking
from tests.bundles import linear_bundle
from tests.tracked import local_tracking


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return local_tracking(tmp_path_factory.mktemp("registry"))


@pytest.fixture
def registry(tmp_path: Path, tracking: Tracking) -> ModelRegistry:
    return ModelRegistry(f"cards-{tmp_path.name[-1]}", tmp_path / "store", track=tracking.uri)


def passed(candidate: str, champion: str | None) -> dict[str, Any]:
    """The report of a gate that found nothing wrong."""
    check = {"name": "integrity", "title": "integrity", "passed": True, "why": "every hash agrees"}
    return {"verdict": "pass", "candidate": candidate, "champion": champion, "created": "2024-01-01", "checks": [check], "outcomes": {}}


def promoted(registry: ModelRegistry, weight: float, why: str) -> str:
    champion = registry.store.alias(f"{registry.name}@champion")
    bundle = registry.add(linear_bundle(weight), who="ada", why="a try")
    registry.store.put_document(passed(bundle, champion))
    assert registry.promote(approver="ada", why=why).mirrored == ""
    return bundle


def test_the_way_to_champion_and_back_shows_in_both_registries(registry: ModelRegistry, tracking: Tracking) -> None:
    first = promoted(registry, 0.1, "the first")
    second = promoted(registry, 0.2, "the second")
    assert registry.load().hash == second
    assert {v.bundle: v.stage for v in registry.versions()} == {first: "Archived", second: "Production"}
    assert registry.rollback(who="bob", why="too many alarms").mirrored == ""
    assert registry.load("champion").hash == registry.load(first).hash == first
    version = Tracker(tracking).client.get_model_version_by_alias(registry.name, "champion")
    assert (version.tags["fraudloop.bundle"], version.tags["who"], version.tags["why"]) == (first, "bob", "too many alarms")
    assert [entry.action for entry in registry.history() if entry.alias == "champion"] == ["promote", "promote", "rollback"]
    assert registry.mirror().changed == ()


def test_nobody_is_promoted_past_the_gate(registry: ModelRegistry) -> None:
    registry.add(linear_bundle(), who="ada", why="a try")
    with pytest.raises(CheckFailed, match="no gate report"):
        registry.promote(approver="ada", why="I like it")
    with pytest.raises(StoreError, match="no such alias"):
        registry.load()


def test_a_folder_of_a_bundle_comes_in_too(registry: ModelRegistry, tmp_path: Path) -> None:
    saved = linear_bundle(0.9).save(tmp_path / "model")
    assert registry.add(tmp_path / "model", who="ada", why="a try") == saved.hash
    assert registry.load("candidate").hash == saved.hash


def test_a_mirror_that_fails_stops_no_promotion_and_is_completed_later(tmp_path: Path, tracking: Tracking) -> None:
    deaf = ModelRegistry("deaf", tmp_path / "store", track="http://127.0.0.1:1", artifacts=str(tmp_path / "artifacts"))
    bundle = deaf.add(linear_bundle(), who="ada", why="a try")
    deaf.store.put_document(passed(bundle, None))
    done = deaf.promote(approver="ada", why="the first")
    assert done.mirrored
    assert "127.0.0.1" in done.mirrored
    assert deaf.load().hash == bundle
    later = ModelRegistry("deaf", tmp_path / "store", track=tracking.uri)
    assert later.mirror().created == (bundle,)


def test_without_tracking_nothing_is_mirrored(tmp_path: Path) -> None:
    plain = ModelRegistry("plain", settings=Settings(store=tmp_path / "store"))
    bundle = plain.add(linear_bundle(), who="ada", why="a try")
    plain.store.put_document(passed(bundle, None))
    assert plain.promote(approver="ada", why="the first").mirrored is None
    with pytest.raises(InputError, match="nothing is tracked"):
        plain.mirror()
