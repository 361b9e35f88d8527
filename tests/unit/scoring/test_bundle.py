"""Bundles as data: what is saved comes back; whatever was damaged, changed, added, linked or is newer is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudloop.errors import BundleError
from fraudloop.scoring.bundle import MANIFEST, SCHEMA, Bundle, manifest_hash
from fraudloop.scoring.inputs import Inputs
from tests.worlds import FEATURES


def made() -> Bundle:
    """The smallest bundle: a linear model of two columns."""
    files = {
        "features.json": FEATURES.to_dict(),
        "preprocessing.json": {
            "preprocessings": {"linear": {"steps": [{"kind": "number", "column": "amount", "fill": 0.0, "indicator": True}]}}
        },
        "calibration.json": {"method": "given", "margins": [-5.0, 5.0], "chances": [0.01, 0.99]},
        "thresholds.json": {"decline": 0.9, "review": 0.5, "challenge": None},
        "metrics.json": {},
        "models/linear-1.json": {"intercept": -1.0, "weights": [0.5, 0.25]},
    }
    member = {"name": "linear-1", "file": "models/linear-1.json", "format": "linear-json", "preprocessing": "linear", "weight": 1.0}
    data = {name: json.dumps(body).encode() for name, body in files.items()}
    return Bundle({**data, "reference.parquet": b"PAR1"}, (member,), {"created": "2024-01-01T00:00:00Z", "seed": 1})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made().save(tmp_path / "model")
    return tmp_path / "model"


def resign(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and give it a right hash again, as one who wants to be believed would."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    change(manifest)
    manifest["bundle"] = manifest_hash(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_what_is_saved_comes_back_and_scores(folder: Path) -> None:
    bundle = Bundle.load(folder)
    assert bundle.files == made().files
    assert bundle.features == FEATURES
    assert bundle.origin["seed"] == 1
    scores = bundle.model().score(Inputs(("amount",), np.array([[2.0], [np.nan]])))
    np.testing.assert_allclose(scores, [0.01 + (0.0 + 5.0) * 0.098, 0.01 + (-0.75 + 5.0) * 0.098])


def test_the_same_files_have_the_same_content_whenever_they_were_made(tmp_path: Path) -> None:
    first = made().save(tmp_path / "a")
    later = Bundle(made().files, made().members, {"created": "2025-01-01T00:00:00Z"}).save(tmp_path / "b")
    assert first.content == later.content
    assert first.hash != later.hash


def test_plots_do_not_change_the_content() -> None:
    assert Bundle({**made().files, "report/x.png": b"1"}, made().members).content == made().content


@pytest.mark.parametrize("name", sorted(made().files))
def test_a_flipped_bit_in_any_file_is_refused_by_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(BundleError, match=f"{name}.*changed"):
        Bundle.load(folder)


@pytest.mark.parametrize("name", sorted(made().files))
def test_a_file_cut_short_or_missing_is_refused_by_name(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1])
    with pytest.raises(BundleError, match=f"{name}.*cut short"):
        Bundle.load(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name}.*missing"):
        Bundle.load(folder)


def test_every_byte_of_the_manifest_counts(folder: Path) -> None:
    whole = (folder / MANIFEST).read_bytes()
    for at in range(0, len(whole), 13):
        changed = bytearray(whole)
        changed[at] = changed[at] ^ 1
        (folder / MANIFEST).write_bytes(changed)
        try:
            bundle = Bundle.load(folder)
        except BundleError:
            continue
        assert json.loads(changed) == json.loads(whole), f"byte {at} changed the manifest unnoticed: {bundle.hash}"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\x80\x04\x95", b"[" * 100_000, b'{"kind": "other"}'])
def test_a_manifest_that_is_none_is_refused(folder: Path, data: bytes) -> None:
    (folder / MANIFEST).write_bytes(data)
    with pytest.raises(BundleError, match=MANIFEST):
        Bundle.load(folder)


def test_a_newer_schema_says_to_update(folder: Path) -> None:
    resign(folder, lambda m: m.__setitem__("schema", SCHEMA + 1))
    with pytest.raises(BundleError, match="update fraudloop"):
        Bundle.load(folder)


@pytest.mark.parametrize("schema", [0, -1, "1", None, True, 1.5])
def test_a_schema_that_is_no_version_is_refused(folder: Path, schema: object) -> None:
    resign(folder, lambda m: m.__setitem__("schema", schema))
    with pytest.raises(BundleError, match="schema"):
        Bundle.load(folder)


def test_an_unknown_file_or_folder_is_refused(folder: Path) -> None:
    (folder / "extra.pkl").write_bytes(b"\x80")
    with pytest.raises(BundleError, match=r"extra\.pkl: unknown file"):
        Bundle.load(folder)
    (folder / "extra.pkl").unlink()
    (folder / "models" / "deep").mkdir()
    with pytest.raises(BundleError, match="models/deep: unknown folder"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    "name", ["../outside.json", "/etc/passwd", "models/../../x.json", "a/b/c.json", "x\\y.json", ".hidden", "", "manifest.json"]
)
def test_a_name_that_leaves_the_folder_is_refused(folder: Path, name: str) -> None:
    (folder.parent / "outside.json").write_text("{}")
    resign(folder, lambda m: m["files"].__setitem__(name, {"sha256": "0" * 64, "bytes": 2}))
    with pytest.raises(BundleError, match="cannot be a file of a bundle"):
        Bundle.load(folder)
    with pytest.raises(BundleError, match="cannot be the name"):
        Bundle({**made().files, name: b"x"}, made().members).save(folder.parent / "other")


def test_a_link_is_refused_even_to_the_right_bytes(folder: Path) -> None:
    outside = folder.parent / "metrics.json"
    shutil.move(folder / "metrics.json", outside)
    (folder / "metrics.json").symlink_to(outside)
    with pytest.raises(BundleError, match=r"metrics\.json: is a link"):
        Bundle.load(folder)


def test_a_linked_folder_of_models_is_refused(folder: Path) -> None:
    shutil.move(folder / "models", folder.parent / "models")
    (folder / "models").symlink_to(folder.parent / "models")
    with pytest.raises(BundleError, match="is a link"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "pickle", "does not know"),
        ("weight", 0, "weight above 0"),
        ("weight", "1", "weight above 0"),
        ("file", "models/none.json", "is not in the bundle"),
        ("preprocessing", "other", "names no preprocessing"),
    ],
)
def test_a_member_that_makes_no_sense_is_refused(folder: Path, key: str, value: object, message: str) -> None:
    resign(folder, lambda m: m["members"][0].__setitem__(key, value))
    with pytest.raises(BundleError, match=message):
        Bundle.load(folder).model()


def test_a_model_that_was_resigned_with_other_bytes_is_still_checked_as_a_model(folder: Path) -> None:
    bundle = made()
    for data in (b"\x80\x04cposix\nsystem\n", b'{"intercept": 0, "weights": [1]}', b'{"intercept": 0, "weights": [1e999, 0]}'):
        changed = Bundle({**bundle.files, "models/linear-1.json": data}, bundle.members).save(folder)
        with pytest.raises(BundleError, match=r"models/linear-1\.json"):
            Bundle.load(folder).model()
        assert changed.path == folder


def test_saving_replaces_a_bundle_and_leaves_nothing_else_behind(folder: Path) -> None:
    Bundle({**made().files, "report/a.png": b"1"}, made().members).save(folder)
    made().save(folder)
    assert Bundle.load(folder).files == made().files
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_another_folder_with_files_in_it_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years")
    with pytest.raises(BundleError, match="other files"):
        made().save(tmp_path / "precious")
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years"
    with pytest.raises(BundleError, match="not a folder"):
        made().save(tmp_path / "precious" / "thesis.txt")


def test_no_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="there is no bundle"):
        Bundle.load(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"manifest\.json: is missing"):
        Bundle.load(tmp_path / "empty")
