"""What a run was trained on and how, kept so that it can be trained again: a manifest and a store addressed by content.

A store holds each file once, under the sha256 of its bytes (`<root>/<sha256>/content`), in a folder or behind any URL
that MLflow's artifact repositories speak (s3://, gs://, mlflow-artifacts:/...). The manifest is a file of the store like
any other, so its hash names the rows, their meaning and the configuration together. It holds no key and no secret.

It knows no command, no tracking run and no model.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from fraudloop.domain.definitions import FeatureSet
from fraudloop.errors import DefinitionError, InputError, TrackingError
from fraudloop.training.config import TrainConfig
from fraudloop.training.mlflow_client import artifact_repository, mlflow_errors

KIND: Final = "fraudloop-dataset"

#: Raised when a manifest written now could not be read by the version before.
SCHEMA: Final = 1

#: The name of every stored file: the first bytes say what it is, the manifest what it was called.
CONTENT: Final = "content"

_CHUNK_BYTES: Final = 1 << 20


class DatasetStore(Protocol):
    """Files by the sha256 of their bytes. What is there is never overwritten."""

    @property
    def url(self) -> str:
        """Where it is: what `open_store` takes."""
        ...

    def has(self, sha256: str) -> bool: ...

    def put(self, path: Path, sha256: str) -> None:
        """Keep a copy of a file whose bytes have this hash, unless it is there; InputError if they have another."""
        ...

    def get(self, sha256: str, to: Path) -> None:
        """Write the file to `to`; TrackingError if it is not there or its bytes are no longer those of its name."""
        ...


@dataclass(frozen=True, slots=True)
class FolderStore:
    """A store in a folder, made at the first `put`."""

    root: Path

    @property
    def url(self) -> str:
        return str(self.root)

    def has(self, sha256: str) -> bool:
        return (self.root / sha256 / CONTENT).is_file()

    def put(self, path: Path, sha256: str) -> None:
        # A copy and no hard link: a file that is edited in place would change under its name.
        if self.has(sha256):
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=f".{sha256[:12]}.", dir=self.root))
        except OSError as error:
            raise TrackingError(f"{self.root}: cannot be written ({error.strerror}); the rows of the run were not kept") from error
        try:
            _copy(path, fresh / CONTENT, sha256)
            (fresh / CONTENT).chmod(0o444)
            fresh.chmod(0o755)
            try:
                fresh.rename(self.root / sha256)
            except OSError:
                if not self.has(sha256):  # another process was first
                    raise
        except OSError as error:
            raise TrackingError(f"{self.root}: cannot be written ({error.strerror}); the rows of the run were not kept") from error
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def get(self, sha256: str, to: Path) -> None:
        source = self.root / sha256 / CONTENT
        if not source.is_file():
            raise TrackingError(f"{self.root}: holds no file {sha256}; give the store that the run was tracked with (--artifacts)")
        try:
            _copy(source, to, sha256)
        except InputError as error:
            raise TrackingError(f"{source}: its bytes are no longer those of its name; restore it from a copy") from error


@dataclass(frozen=True, slots=True)
class ArtifactStore:
    """A store behind a URL of MLflow's artifact repositories. tracking_uri: of the server that serves `mlflow-artifacts:`."""

    url: str
    tracking_uri: str | None = None

    @property
    def _repository(self) -> Any:
        return artifact_repository(self.url, self.tracking_uri)

    def has(self, sha256: str) -> bool:
        with mlflow_errors(f"looking for {sha256[:12]} in {self.url}"):
            return any(found.path.rpartition("/")[2] == CONTENT for found in self._repository.list_artifacts(sha256))

    def put(self, path: Path, sha256: str) -> None:
        if self.has(sha256):
            return
        before = path.stat()
        if file_hash(path) != sha256:
            raise InputError(f"{path}: it changed while it was being kept; try again when nobody writes to it")
        with tempfile.TemporaryDirectory(prefix="fraudloop-") as folder, mlflow_errors(f"sending {path.name} to {self.url}"):
            link = Path(folder) / CONTENT
            link.symlink_to(path.absolute())
            self._repository.log_artifact(str(link), sha256)
        after = path.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise InputError(f"{path}: it changed while it was being kept; try again when nobody writes to it")

    def get(self, sha256: str, to: Path) -> None:
        if not self.has(sha256):
            raise TrackingError(f"{self.url}: holds no file {sha256}; give the store that the run was tracked with (--artifacts)")
        with tempfile.TemporaryDirectory(prefix="fraudloop-", dir=to.parent) as folder:
            with mlflow_errors(f"fetching {sha256[:12]} from {self.url}"):
                found = Path(self._repository.download_artifacts(f"{sha256}/{CONTENT}", folder))
            if file_hash(found) != sha256:
                raise TrackingError(f"{self.url}/{sha256}: its bytes are no longer those of its name; restore it from a copy")
            found.replace(to)


def open_store(url: str | Path, tracking_uri: str | None = None) -> DatasetStore:
    """The store at a folder or URL. Nothing is read or written yet. tracking_uri: of the server behind `mlflow-artifacts:`.

    >>> open_store("/srv/datasets")
    FolderStore(root=PosixPath('/srv/datasets'))
    >>> open_store("s3://bucket/fraud/datasets").url
    's3://bucket/fraud/datasets'
    """
    text = str(url)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    if "://" in text or text.startswith("mlflow-artifacts:"):
        return ArtifactStore(text.rstrip("/"), tracking_uri)
    return FolderStore(Path(text))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a manifest: what it was called, and what it holds."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a training run was told, but keys.

    files: by role: transactions, labels, profiles, rates. columns: name and TOML text of the column map. features: the
    feature set as data. config: the training configuration as data. train_days, test_days: as given (None: chosen by the
    data). settings: base_currency, zone, token_key_id, and whether ids were hashed by an own key.
    """

    files: Mapping[str, StoredFile]
    columns: Mapping[str, str]
    features: Mapping[str, Any]
    config: Mapping[str, Any]
    label_delay: str
    train_days: str | None = None
    test_days: str | None = None
    max_rejected: float = 0.01
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """sha256 of its bytes: the name of the dataset."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """JSON; tables keep their order, because the order of weights or candidates is part of a configuration."""
        body = {
            "kind": KIND, "schema": SCHEMA,
            "files": {role: {"name": file.name, "sha256": file.sha256, "bytes": file.bytes} for role, file in sorted(self.files.items())},
            "columns": dict(self.columns), "features": self.features, "config": self.config, "label_delay": self.label_delay,
            "train": self.train_days, "test": self.test_days, "max_rejected": self.max_rejected, "settings": dict(self.settings),
        }  # fmt: skip
        return json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n"

    @staticmethod
    def from_bytes(data: bytes, where: str) -> Manifest:
        """The inverse of :meth:`to_bytes`; TrackingError says what is wrong with it."""
        try:
            body = json.loads(data)
            if body.get("kind") != KIND:
                raise TrackingError(f"{where}: this is not the manifest of a dataset")
            if body["schema"] > SCHEMA:
                raise TrackingError(f"{where}: written with schema {body['schema']}, this version reads up to {SCHEMA}; update fraudloop")
            files = {role: StoredFile(row["name"], row["sha256"], row["bytes"]) for role, row in body["files"].items()}
            return Manifest(
                files, body["columns"], body["features"], body["config"], body["label_delay"], body["train"], body["test"],
                body["max_rejected"], body["settings"],
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrackingError(f"{where}: the manifest of the dataset is damaged ({error})") from error

    def feature_set(self) -> FeatureSet:
        """The features as they were."""
        try:
            return FeatureSet.from_dict(dict(self.features), "the dataset's features")
        except DefinitionError as error:
            raise TrackingError(f"this version does not know the features of the dataset: {error}") from error

    def train_config(self) -> TrainConfig:
        """The configuration as it was; TrackingError if this version knows a key of it no longer."""
        body = dict(self.config)
        params = body.pop("params", {})  # by algorithm: in a file each has a table of its own
        try:
            return TrainConfig.from_dict({**body, **params}, "the dataset's configuration")
        except InputError as error:
            raise TrackingError(f"this version cannot read the configuration of the dataset: {error}") from error


def describe(path: Path) -> StoredFile:
    """Name, hash and size of a file; InputError if it cannot be read."""
    path = Path(path)
    digest = file_hash(path)
    return StoredFile(path.name, digest, path.stat().st_size)


def keep(store: DatasetStore, manifest: Manifest, files: Mapping[str, Path]) -> str:
    """Put the files of a manifest, then the manifest, into the store: a manifest that is there is complete. Its hash."""
    for role, file in manifest.files.items():
        store.put(Path(files[role]), file.sha256)
    with tempfile.TemporaryDirectory(prefix="fraudloop-") as folder:
        written = Path(folder) / "manifest.json"
        written.write_bytes(manifest.to_bytes())
        store.put(written, manifest.hash)
    return manifest.hash


def restore(store: DatasetStore, dataset: str) -> Manifest:
    """The manifest of this hash."""
    with tempfile.TemporaryDirectory(prefix="fraudloop-") as folder:
        path = Path(folder) / "manifest.json"
        store.get(dataset, path)
        return Manifest.from_bytes(path.read_bytes(), f"{store.url}/{dataset}")


def fetch(store: DatasetStore, manifest: Manifest, folder: Path) -> dict[str, Path]:
    """The files of a manifest in a folder, by role, each in a folder of its role under its own name."""
    out = {}
    for role, file in manifest.files.items():
        if role not in ("transactions", "labels", "profiles", "rates") or Path(file.name).name != file.name or file.name in ("", ".", ".."):
            raise TrackingError(f"the manifest names a file that cannot be: {role} {file.name!r}")
        path = folder / role / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        store.get(file.sha256, path)
        out[role] = path
    return out


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()


def _copy(source: Path, target: Path, sha256: str) -> None:
    """Copy and flush, hashing what is copied."""
    digest = hashlib.sha256()
    with source.open("rb") as file, target.open("wb") as out:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != sha256:
        target.unlink()
        raise InputError(f"{source}: it changed while it was being kept; try again when nobody writes to it")
