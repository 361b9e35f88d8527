"""Datasets: what was kept comes back to the last byte, under the hash of its bytes, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fraudloop.domain.definitions import FeatureSet
from fraudloop.errors import InputError, TrackingError
from fraudloop.training.config import TrainConfig
from fraudloop.training.datasets import CONTENT, FolderStore, Manifest, describe, fetch, file_hash, keep, restore

CONFIG = TrainConfig.from_dict(
    {
        "seed": 3, "algorithms": ["xgboost", "network"], "weights": {"xgboost": 0.7, "network": 0.3}, "folds": 2, "xgboost": {"rounds": 7}, "forest": {"trees": 9}, "budget": {"share": 0.01}, "costs": {"review": 7.0},
        "candidates": {"xgboost": [{"depth": 3}, {"depth": 5}]}, "categories": ["country"],
    }
)  # fmt: skip


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "rows.csv").write_text("id,amount\n1,2\n")
    (tmp_path / "labels.csv").write_text("id,is_fraud\n1,0\n")
    return {"transactions": tmp_path / "rows.csv", "labels": tmp_path / "labels.csv"}


def manifest(files: dict[str, Path], config: TrainConfig = CONFIG) -> Manifest:
    return Manifest(
        {role: describe(path) for role, path in files.items()}, {"name": "native", "toml": 'zone = "UTC"\n'}, FeatureSet.load("compact").to_dict(),
        config.to_dict(), "7d", None, "2024-02-01..2024-02-29", 0.02, {"base_currency": "EUR", "zone": "UTC"},
    )  # fmt: skip


def test_what_is_kept_comes_back_with_its_meaning(tmp_path: Path, files: dict[str, Path]) -> None:
    store = FolderStore(tmp_path / "store")
    before = {role: path.read_bytes() for role, path in files.items()}
    dataset = keep(store, manifest(files), files)
    for path in files.values():
        path.write_text("edited in place")
    found = restore(store, dataset)
    assert found.hash == dataset
    assert {role: path.read_bytes() for role, path in fetch(store, found, tmp_path / "out").items()} == before
    assert found.feature_set() == FeatureSet.load("compact")
    assert found.train_config() == CONFIG
    assert json.dumps(found.train_config().to_dict()) == json.dumps(CONFIG.to_dict()), "in the same order"
    assert (found.label_delay, found.train_days, found.test_days, found.max_rejected) == ("7d", None, "2024-02-01..2024-02-29", 0.02)


def test_the_same_rows_are_kept_once_and_named_alike_on_every_machine(tmp_path: Path, files: dict[str, Path]) -> None:
    store = FolderStore(tmp_path / "store")
    first = keep(store, manifest(files), files)
    seen = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob(CONTENT)}
    assert keep(store, manifest(files), files) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob(CONTENT)} == seen
    assert len(seen) == 3
    assert keep(FolderStore(tmp_path / "other"), manifest(files), files) == first
    assert keep(store, manifest(files, replace(CONFIG, seed=4)), files) != first


def test_a_damaged_file_is_refused(tmp_path: Path, files: dict[str, Path]) -> None:
    store = FolderStore(tmp_path / "store")
    dataset = keep(store, manifest(files), files)
    stored = tmp_path / "store" / file_hash(files["transactions"]) / CONTENT
    stored.chmod(0o644)
    stored.write_text("id,amount\n1,3\n")
    with pytest.raises(TrackingError, match="no longer those of its name"):
        fetch(store, restore(store, dataset), tmp_path / "out")
    assert not (tmp_path / "out" / "transactions" / "rows.csv").exists()


def test_a_file_that_changes_while_it_is_kept_is_refused_and_leaves_nothing(tmp_path: Path, files: dict[str, Path]) -> None:
    store = FolderStore(tmp_path / "store")
    described = manifest(files)
    files["transactions"].write_text("id,amount\n1,3\n")
    with pytest.raises(InputError, match="changed while"):
        keep(store, described, files)
    assert not store.has(described.files["transactions"].sha256)
    assert not store.has(described.hash)
    assert not list((tmp_path / "store").glob(".*"))


def test_a_dataset_that_is_not_there_says_which_store_was_asked(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"store: holds no file .*--artifacts"):
        restore(FolderStore(tmp_path / "store"), "0" * 64)


@pytest.mark.parametrize("name", ["../rows.csv", "/etc/passwd", "..", ""])
def test_a_manifest_cannot_write_outside_its_folder(tmp_path: Path, files: dict[str, Path], name: str) -> None:
    store = FolderStore(tmp_path / "store")
    good = manifest(files)
    keep(store, good, files)
    bad = replace(good, files={"transactions": replace(good.files["transactions"], name=name)})
    with pytest.raises(TrackingError, match="cannot be"):
        fetch(store, bad, tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"{", "damaged"), (b"[]", "damaged"), (b'{"kind": "x"}', "not the manifest"), (b'{"kind": "fraudloop-dataset", "schema": 9}', "update fraudloop"),
     (b'{"kind": "fraudloop-dataset", "schema": 1}', "damaged")],
)  # fmt: skip
def test_what_is_no_manifest_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(TrackingError, match=message):
        Manifest.from_bytes(data, "here")


def test_a_folder_that_cannot_be_written_says_that_the_rows_were_not_kept(tmp_path: Path, files: dict[str, Path]) -> None:
    (tmp_path / "store").write_text("a file is in the way")
    with pytest.raises(TrackingError, match="rows of the run were not kept"):
        keep(FolderStore(tmp_path / "store"), manifest(files), files)
