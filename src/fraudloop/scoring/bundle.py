"""A model bundle: a folder of data files and a manifest with the hash of each. Loading one never runs code from it.

    manifest.json        schema, origin (commit, versions, data, seed), members, hash and size of every other file
    features.json        the feature definitions      preprocessing.json   the steps of each preprocessing
    models/*             the members                  calibration.json     margin -> chance
    thresholds.json      suggested tiers              metrics.json         what it reached, and on what
    reference.parquet    profile of the training data for drift
    report/*             plots

Whatever does not agree with the manifest is refused with a BundleError that names the file: damaged, cut short,
changed, missing, unknown, a link, a path that leaves the folder, a newer schema.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fraudloop.domain.definitions import FeatureSet
from fraudloop.errors import BundleError, DefinitionError
from fraudloop.limits import BUNDLE_FILE_BYTES_MAX, BUNDLE_FILES_MAX
from fraudloop.scoring.calibration import Calibration
from fraudloop.scoring.model import Member, Model
from fraudloop.scoring.preprocessing import Preprocessing
from fraudloop.scoring.scorers import SUFFIXES, load_scorer

KIND: Final = "fraudloop-bundle"

#: Raised when a bundle written now could not be read by the version before.
SCHEMA: Final = 1

MANIFEST: Final = "manifest.json"
NEEDED: Final = ("features.json", "preprocessing.json", "calibration.json", "thresholds.json", "metrics.json", "reference.parquet")

_NAME = re.compile(r"^(?:[a-z0-9][a-z0-9_-]*/)?[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9]+)?$")


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything a decision needs of a model, and where it came from.

    files: by name the bytes of every file but the manifest. origin: what the manifest says beside the files: created,
    git_commit, versions, data, seed, ... members: `{name, file, format, preprocessing, weight}` in order.
    path: the folder it was read from, if any. hash: of the manifest as stored ("" before it is saved).
    """

    files: Mapping[str, bytes]
    members: tuple[Mapping[str, Any], ...]
    origin: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    hash: str = ""

    @property
    def content(self) -> str:
        """sha256 over the names and hashes of all files but the report's: the same training gives the same content."""
        listing = "".join(f"{name} {_sha256(data)}\n" for name, data in sorted(self.files.items()) if not name.startswith("report/"))
        return _sha256(listing.encode())

    @property
    def features(self) -> FeatureSet:
        """The feature definitions whose values the model reads."""
        try:
            return FeatureSet.from_dict(self._json("features.json"), "features.json")
        except (DefinitionError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"features.json: {error}") from error

    @property
    def thresholds(self) -> Mapping[str, Any]:
        """Suggested tiers: `decline`, `review`, `challenge`, and what they were derived from."""
        return self._json("thresholds.json")

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self._json("metrics.json")

    def model(self) -> Model:
        """Read the members; BundleError names the file that is not what it says."""
        body = self._json("preprocessing.json")
        if not isinstance(body.get("preprocessings"), dict):
            raise BundleError("preprocessing.json: no table `preprocessings`")
        preprocessings = {name: Preprocessing.from_dict(p, f"preprocessing.json, {name}") for name, p in body["preprocessings"].items()}
        members = []
        for row in self.members:
            if row["preprocessing"] not in preprocessings:
                raise BundleError(
                    f"{MANIFEST}: member {row['name']!r} names no preprocessing of preprocessing.json: {row['preprocessing']!r}"
                )
            columns = len(preprocessings[row["preprocessing"]].outputs)
            scorer = load_scorer(row["format"], self.files[row["file"]], columns, row["file"])
            members.append(Member(row["name"], scorer, row["preprocessing"], float(row["weight"])))
        return Model(tuple(members), preprocessings, Calibration.from_dict(self._json("calibration.json")))

    def _json(self, name: str) -> dict[str, Any]:
        return _parse(self.files[name], name)

    def manifest(self) -> dict[str, Any]:
        """What the manifest says, its own hash under `bundle`; BundleError for a file whose name cannot be stored."""
        for name in self.files:
            if not _NAME.match(name) or name == MANIFEST:
                raise BundleError(f"{name!r} cannot be the name of a file of a bundle")
        manifest = {
            "kind": KIND,
            "schema": SCHEMA,
            **self.origin,
            "members": [dict(row) for row in self.members],
            "content": self.content,
            "files": {name: {"sha256": _sha256(data), "bytes": len(data)} for name, data in sorted(self.files.items())},
        }
        return {**manifest, "bundle": manifest_hash(manifest)}

    def save(self, path: Path) -> Bundle:
        """Write the folder beside `path` and rename it there, so that no reader sees half a bundle. A bundle that was
        there before is replaced; any other folder with files in it is left alone and refused. The bundle as stored.
        """
        path = Path(path)
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise BundleError(f"{path}: is not a folder; give a new one for the bundle")
        if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file():
            raise BundleError(f"{path}: is a folder with other files in it; give a new or empty one for the bundle")
        manifest = self.manifest()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        except OSError as error:
            raise BundleError(f"{path}: cannot be written ({error.strerror})") from error
        try:
            for name, data in {**self.files, MANIFEST: manifest_bytes(manifest)}.items():
                (fresh / name).parent.mkdir(exist_ok=True)
                _write(fresh / name, data)
            fresh.chmod(0o755)
            _replace(fresh, path)
        except OSError as error:
            raise BundleError(f"{path}: cannot be written ({error.strerror})") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return Bundle(self.files, self.members, self.origin, path, str(manifest["bundle"]))

    @staticmethod
    def load(path: Path) -> Bundle:
        """Read and check a folder, every hash included; BundleError names the file and what is wrong with it."""
        path = Path(path)
        if not path.is_dir():
            raise BundleError(f"{path}: there is no bundle; `fraudloop train ... --out {path}` makes one")
        manifest = _parse(_read(path, MANIFEST), MANIFEST)
        if manifest.get("kind") != KIND:
            raise BundleError(f"{MANIFEST}: this is not a model bundle of fraudloop")
        schema = manifest.get("schema")
        if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
            raise BundleError(f"{MANIFEST}: schema {schema!r} is not a version number")
        if schema > SCHEMA:
            raise BundleError(f"{MANIFEST}: written with bundle schema {schema}, this version reads up to {SCHEMA}; update fraudloop")
        if manifest.get("bundle") != manifest_hash(manifest):
            raise BundleError(f"{MANIFEST}: changed after it was written (its own hash does not match)")
        listed = manifest.get("files")
        if not isinstance(listed, dict) or not all(isinstance(row, dict) for row in listed.values()) or len(listed) > BUNDLE_FILES_MAX:
            raise BundleError(f"{MANIFEST}: no table `files` of at most {BUNDLE_FILES_MAX} files")
        for name in listed:
            if not _NAME.match(name) or name == MANIFEST:
                raise BundleError(f"{MANIFEST}: {name!r} cannot be a file of a bundle (only plain names, at most one folder deep)")
        for name in NEEDED:
            if name not in listed:
                raise BundleError(f"{name}: not in the manifest, but every bundle needs it")
        for name in _found(path):
            if name not in listed and name != MANIFEST:
                raise BundleError(f"{name}: unknown file; the manifest does not list it")
        files = {name: _read(path, name) for name in listed}
        for name, row in listed.items():
            if len(files[name]) != row.get("bytes"):
                raise BundleError(f"{name}: {len(files[name])} bytes, the manifest says {row.get('bytes')}; it was cut short or changed")
            if _sha256(files[name]) != row.get("sha256"):
                raise BundleError(f"{name}: changed after it was written (its hash does not match the manifest)")
        origin = {key: value for key, value in manifest.items() if key not in ("kind", "schema", "members", "content", "files", "bundle")}
        bundle = Bundle(files, _members(manifest.get("members"), files), origin, path, str(manifest["bundle"]))
        if manifest.get("content") != bundle.content:
            raise BundleError(f"{MANIFEST}: the hash of the content does not match the files")
        return bundle


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """The manifest as it lies in the folder."""
    return json.dumps(manifest, indent=1, ensure_ascii=False).encode() + b"\n"


def manifest_hash(manifest: Mapping[str, Any]) -> str:
    """sha256 of the manifest as canonical JSON, without its own `bundle` key."""
    body = {key: value for key, value in manifest.items() if key != "bundle"}
    return _sha256(json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())


def _members(rows: object, files: Mapping[str, bytes]) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(rows, list) or not rows:
        raise BundleError(f"{MANIFEST}: no members")
    for row in rows:
        if not isinstance(row, dict) or not {"name", "file", "format", "preprocessing", "weight"} <= set(row):
            raise BundleError(f"{MANIFEST}: a member needs name, file, format, preprocessing and weight")
        if row["file"] not in files:
            raise BundleError(f"{row['file']}: the file of member {row['name']!r} is not in the bundle")
        if row["format"] not in SUFFIXES:
            raise BundleError(f"{MANIFEST}: member {row['name']!r} has format {row['format']!r}, which this version does not know")
        weight = row["weight"]
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise BundleError(f"{MANIFEST}: member {row['name']!r} needs a weight above 0")
    return tuple(rows)


def _found(path: Path) -> list[str]:
    """The files that lie in a bundle's folder, one folder deep; BundleError for what has no business there."""
    names = []
    for entry in sorted(path.rglob("*")):
        name = entry.relative_to(path).as_posix()
        mode = entry.lstat().st_mode
        if stat.S_ISDIR(mode):
            if "/" in name:
                raise BundleError(f"{name}: unknown folder; the manifest does not list it")
        elif stat.S_ISREG(mode):
            names.append(name)
        else:
            raise BundleError(f"{name}: is a link or a device; a bundle holds plain files only")
        if len(names) > BUNDLE_FILES_MAX + 1:
            raise BundleError(f"{path}: more than {BUNDLE_FILES_MAX} files")
    return names


def _read(path: Path, name: str) -> bytes:
    target = path / name
    try:
        found = target.lstat()
        if not stat.S_ISREG(found.st_mode) or target.parent.is_symlink():
            raise BundleError(f"{name}: is a link, a folder or a device; a bundle holds plain files only")
        if found.st_size > BUNDLE_FILE_BYTES_MAX:
            raise BundleError(f"{name}: {found.st_size} bytes; a file of a bundle has at most {BUNDLE_FILE_BYTES_MAX}")
        return target.read_bytes()
    except FileNotFoundError as error:
        raise BundleError(f"{name}: is missing from {path}") from error
    except OSError as error:
        raise BundleError(f"{name}: cannot be read ({error.strerror})") from error


def _parse(data: bytes, name: str) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name}: damaged; not valid JSON ({error})") from error
    if not isinstance(body, dict):
        raise BundleError(f"{name}: damaged; not a JSON object")
    return body


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace(fresh: Path, path: Path) -> None:
    """Rename `fresh` to `path`; what was there goes away only once the new one is in place."""
    if not path.exists():
        fresh.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
    try:
        path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            old.rename(path)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
