"""A run trained again from what was kept: the same bits here, close elsewhere, and what is neither is said."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fraudloop.errors import BundleError, InputError, TrackingError
from fraudloop.pipelines import reproduce as module
from fraudloop.pipelines.reproduce import BITS, CLOSE, NOTHING, Reproduced, compare, reproduce
from fraudloop.pipelines.store import keep_candidate
from fraudloop.pipelines.train import Trained
from fraudloop.scoring.bundle import Bundle
from fraudloop.settings import Settings
from fraudloop.training.tracking import Tracking
from fraudloop.training.train import to_json
from tests.tracked import local_tracking, shop, train_shop


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reproduced")


@pytest.fixture(scope="module")
def settings(place: Path) -> Settings:
    return Settings(tracking=local_tracking(place).uri)


@pytest.fixture(scope="module")
def trained(place: Path, settings: Settings) -> Trained:
    """A tracked model whose source files are gone."""
    tracking = Tracking.of(settings.tracking, None, place)
    out = train_shop(shop(place / "shop"), place / "model", tracking)
    shutil.rmtree(place / "shop")
    return out


def test_a_run_gives_the_same_bits_from_what_was_kept_alone(trained: Trained, settings: Settings) -> None:
    assert trained.run is not None
    found = reproduce(trained.run, settings=replace(settings, base_currency="USD", zone="Asia/Tokyo"))
    assert (found.proved, found.ok, found.changed) == (BITS, True, ())
    assert found.after == trained.bundle.content
    assert len(found.figures) > 100


def test_a_bundle_gives_the_same_bits_and_the_new_one_can_be_kept(trained: Trained, settings: Settings, tmp_path: Path) -> None:
    found = reproduce(str(trained.bundle.path), settings=settings, out=tmp_path / "again")
    assert found.proved == BITS
    assert Bundle.load(tmp_path / "again").files["metrics.json"] == trained.bundle.files["metrics.json"]


def test_a_bundle_without_kept_rows_says_how_to_keep_them(place: Path, settings: Settings, tmp_path: Path) -> None:
    plain = train_shop(shop(tmp_path / "shop"), tmp_path / "model")
    with pytest.raises(InputError, match="train with --track"):
        reproduce(str(plain.bundle.path), settings=settings)


def test_what_is_no_run_says_so(settings: Settings) -> None:
    with pytest.raises(BundleError, match="payments: there is no bundle"):
        reproduce("payments", settings=settings)
    with pytest.raises(TrackingError, match=r"run 0{32}|No Run with id"):
        reproduce("0" * 32, settings=settings)


def test_a_model_of_the_store_is_found_by_its_alias(
    trained: Trained, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(settings, store=tmp_path / "store")
    keep_candidate(trained.bundle, own, who="ada", why="to see")
    monkeypatch.setattr(module, "train_again", lambda *_: trained)
    found = reproduce("payments@candidate", settings=own)
    assert (found.proved, found.before) == (BITS, trained.bundle.content)


def altered(bundle: Bundle, change: float, **origin: Any) -> Bundle:
    """The bundle with one metric changed and another origin."""
    metrics = dict(bundle.metrics)
    metrics["training"] = {**metrics["training"], "label_delay_days": metrics["training"]["label_delay_days"] + change}
    return Bundle({**bundle.files, "metrics.json": to_json(metrics)}, bundle.members, {**bundle.origin, **origin})


@pytest.mark.parametrize(
    ("change", "versions", "commit", "proved", "differing"),
    [
        (0.0, {}, "abc", BITS, []),
        (0.0, {"python": "3.99"}, "abc", BITS, ["python"]),
        (1e-9, {}, "abc", NOTHING, []),
        (1e-9, {"python": "3.99"}, "abc", CLOSE, ["python"]),
        (1e-9, {}, "def", CLOSE, ["code"]),
        (1e-3, {"python": "3.99"}, "def", NOTHING, ["python", "code"]),
    ],
)  # fmt: skip
def test_the_same_build_owes_bits_and_another_owes_closeness(
    trained: Trained, change: float, versions: dict[str, str], commit: str, proved: str, differing: list[str]
) -> None:
    before = altered(trained.bundle, 0.0, git_commit="abc")
    after = altered(trained.bundle, change, git_commit=commit, versions={**trained.bundle.origin["versions"], **versions})
    found: Reproduced = compare("run", before, after, "dataset")
    assert (found.proved, list(found.build), found.same_build) == (proved, differing, not differing)
    assert [row.name for row in found.changed] == (["training.label_delay_days"] if change else [])
    assert found.to_dict()["ok"] is (proved != NOTHING)


def test_a_changed_tree_may_be_any_code(trained: Trained) -> None:
    before = altered(trained.bundle, 0.0, git_commit="abc+")
    assert list(compare("run", before, altered(trained.bundle, 1e-9, git_commit="abc+"), "dataset").build) == ["code"]


def test_another_token_key_counts_as_another_build(trained: Trained, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained.run is not None
    monkeypatch.setattr(module, "train_again", lambda *_: trained)
    found = reproduce(trained.run, settings=replace(settings, token_key=b"k" * 32, token_key_id="own"))
    assert found.build["token key"] == ("default", "own")
