"""Runs in MLflow: parameters, metrics overall and by fold, the bundle with its plots, versions and hashes as tags.

MLflow is for people: nothing that decides reads it. Its tracking URI may be a SQLite file, PostgreSQL or a server, its
artifacts a folder or a bucket. A run is written from a stored bundle alone, so one whose tracking failed can be tracked later.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fraudloop.errors import InputError, TrackingError
from fraudloop.scoring.bundle import Bundle
from fraudloop.training.datasets import DatasetStore, open_store
from fraudloop.training.mlflow_client import client, load_mlflow, mlflow_errors, redacted

#: What `--track` takes beside URIs: the place without a server, and no tracking whatever the settings say.
DEFAULT: Final = "default"
OFF: Final = "off"

DEFAULT_EXPERIMENT: Final = "fraudloop"

#: The place without a server, under the working folder.
DEFAULT_FOLDER: Final = "fraudloop-tracking"

#: Tags of a run that fraudloop reads again.
TAG_BUNDLE: Final = "fraudloop.bundle"
TAG_CONTENT: Final = "fraudloop.content"
TAG_DATASET: Final = "fraudloop.dataset"
TAG_DATASETS: Final = "fraudloop.datasets"

#: The folder of the bundle among a run's artifacts.
BUNDLE: Final = "bundle"

_RUN_ID = re.compile(r"^[0-9a-f]{32}$")

# Bounds of MLflow's stores, below which no call is refused.
_BATCH: Final = 90
_METRICS_BATCH: Final = 900
_PARAM_CHARS: Final = 6_000
_TAG_CHARS: Final = 5_000
_NAME_CHARS: Final = 240


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where runs go. uri: MLflow's tracking URI. artifacts: folder or URL under which `runs/` and `datasets/` stand
    (None: where the server says). experiment: the name that runs are filed under."""

    uri: str
    artifacts: str | None = None
    experiment: str = DEFAULT_EXPERIMENT

    @staticmethod
    def of(track: str | None, artifacts: str | None, working: Path, experiment: str = DEFAULT_EXPERIMENT) -> Tracking | None:
        """What a command and the settings say, made whole; None: no tracking.

        track: a URI, `default` or `off`. A SQLite file has its artifacts beside it; another database holds no files,
        so InputError asks for `artifacts` then.

        >>> Tracking.of("default", None, Path("/srv"))
        Tracking(uri='sqlite:////srv/fraudloop-tracking/tracking.db', artifacts='/srv/fraudloop-tracking/artifacts', experiment='fraudloop')
        """
        if track is None or track == OFF:
            return None
        if track == DEFAULT:
            track = f"sqlite:///{(working / DEFAULT_FOLDER / 'tracking.db').absolute()}"
        kind = track.partition("://")[0].partition("+")[0]
        if kind == "sqlite":
            path = (working / track.removeprefix("sqlite:///")).absolute()
            track, artifacts = f"sqlite:///{path}", artifacts or str(path.parent / "artifacts")
        elif kind in ("postgresql", "mysql", "mssql"):
            if artifacts is None:
                raise InputError(
                    f"{redacted(track)}: a database holds no files; say where bundles and rows go, like --artifacts s3://bucket/prefix"
                )
        elif kind not in ("http", "https", "databricks"):
            raise InputError(
                f"--track {redacted(track)}: not a tracking URI; give {DEFAULT}, {OFF}, sqlite:///FILE, postgresql+psycopg://… or http://…"
            )
        if artifacts is not None and "://" not in artifacts and not artifacts.startswith("mlflow-artifacts:"):
            artifacts = str((working / artifacts).absolute())
        return Tracking(track, artifacts and artifacts.rstrip("/"), experiment)


class Tracker:
    """An open tracking store and one experiment of it, which is made if it is not there.

    TrackingError, from opening on, says which part did not answer.
    """

    def __init__(self, tracking: Tracking) -> None:
        self.tracking = tracking
        self.client = client(tracking.uri)
        root = tracking.artifacts
        with mlflow_errors(f"experiment {tracking.experiment!r} of {tracking.uri}"):
            found = self.client.get_experiment_by_name(tracking.experiment)
            if found is None:
                self.client.create_experiment(tracking.experiment, artifact_location=root and f"{root}/runs")
                found = self.client.get_experiment_by_name(tracking.experiment)
        if found.lifecycle_stage != "active":
            raise TrackingError(f"experiment {tracking.experiment!r} was deleted in MLflow; restore it there or give another --experiment")
        self.experiment_id: str = found.experiment_id
        self.datasets: DatasetStore = open_store(f"{root or found.artifact_location}/datasets", tracking.uri)

    def log(self, bundle: Bundle, *, name: str | None = None) -> str:
        """Write a run of a stored bundle; its id. Half a run, if the store fails, is marked FAILED where that can be said."""
        assert bundle.path is not None, "a run is written from a stored bundle"
        mlflow = load_mlflow()
        where = self.tracking.uri
        with mlflow_errors(f"writing the run to {where}"):
            run = self.client.create_run(self.experiment_id, run_name=name or f"{bundle.path.name} {bundle.hash[:8]}")
        run_id: str = run.info.run_id
        done = False
        try:
            with mlflow_errors(f"writing the run to {where}"):
                now = int(time.time() * 1_000)
                tags = [mlflow.entities.RunTag(key, value[:_TAG_CHARS]) for key, value in run_tags(bundle, self.datasets.url).items()]
                params = [mlflow.entities.Param(key[:_NAME_CHARS], value[:_PARAM_CHARS]) for key, value in run_params(bundle).items()]
                metrics = [mlflow.entities.Metric(key[:_NAME_CHARS], value, now, step) for key, value, step in run_metrics(bundle.metrics)]
                for part in _parts(tags, _BATCH):
                    self.client.log_batch(run_id, tags=part)
                for part in _parts(params, _BATCH):
                    self.client.log_batch(run_id, params=part)
                for part in _parts(metrics, _METRICS_BATCH):
                    self.client.log_batch(run_id, metrics=part)
                self._log_dataset(run_id, bundle)
            with mlflow_errors(f"sending the bundle to {run.info.artifact_uri}"):
                self.client.log_artifacts(run_id, str(bundle.path), BUNDLE)
            with mlflow_errors(f"closing the run in {where}"):
                self.client.set_terminated(run_id)
            done = True
        finally:
            if not done:
                self._fail(run_id)
        return run_id

    def find(self, bundle_hash: str) -> str | None:
        """The newest finished run of a bundle, in any experiment."""
        with mlflow_errors(f"searching {self.tracking.uri}"):
            experiments = [e.experiment_id for e in self.client.search_experiments()]
            found = self.client.search_runs(
                experiments, f"tags.`{TAG_BUNDLE}` = '{bundle_hash}' and attributes.status = 'FINISHED'", max_results=1
            )
        return found[0].info.run_id if found else None

    def bundle_of(self, run_id: str, folder: Path) -> Bundle:
        """The bundle of a run, fetched into a folder and checked."""
        with mlflow_errors(f"fetching the bundle of run {run_id}"):
            fetched = load_mlflow().artifacts.download_artifacts(
                run_id=run_id, artifact_path=BUNDLE, dst_path=str(folder), tracking_uri=self.tracking.uri
            )
        return Bundle.load(Path(fetched))

    def datasets_of(self, run_id: str) -> DatasetStore:
        """The store that holds the rows of a run."""
        with mlflow_errors(f"run {run_id} of {self.tracking.uri}"):
            url = self.client.get_run(run_id).data.tags.get(TAG_DATASETS)
        return open_store(url, self.tracking.uri) if url else self.datasets

    def _log_dataset(self, run_id: str, bundle: Bundle) -> None:
        entities = load_mlflow().entities
        data = bundle.origin.get("data", {})
        dataset = bundle.origin.get("dataset") or {}
        for role, file in data.get("files", {}).items():
            profile = {"rows": data.get("transactions")} if role == "transactions" else {}
            entry = entities.Dataset(
                name=str(file["name"]), digest=str(file["sha256"])[:36], source_type="fraudloop",
                source=json.dumps({"store": self.datasets.url, "sha256": file["sha256"], "dataset": dataset.get("hash")}), profile=json.dumps(profile),
            )  # fmt: skip
            self.client.log_inputs(run_id, [entities.DatasetInput(entry, [entities.InputTag("mlflow.data.context", role)])])

    def _fail(self, run_id: str) -> None:
        try:
            with mlflow_errors("marking the run as failed"):
                self.client.set_terminated(run_id, status="FAILED")
        except TrackingError:
            return  # the store is gone: what it has says RUNNING, and the caller is being told why


def is_run_id(text: str) -> bool:
    """Whether a text can be the id of an MLflow run.

    >>> is_run_id("0f" * 16), is_run_id("payments@champion")
    (True, False)
    """
    return _RUN_ID.match(text) is not None


def run_tags(bundle: Bundle, datasets: str) -> dict[str, str]:
    """What identifies a run: hashes of bundle, content, dataset, features and code; versions as JSON."""
    origin = bundle.origin
    data, dataset = origin.get("data", {}), origin.get("dataset") or {}
    commit = origin.get("git_commit")
    tags = {
        TAG_BUNDLE: bundle.hash, TAG_CONTENT: bundle.content, "fraudloop.features": bundle.features.hash, "fraudloop.versions": json.dumps(origin.get("versions", {})),
        "fraudloop.data": json.dumps(data), "fraudloop.seed": str(origin.get("seed")), "fraudloop.created": str(origin.get("created")), "mlflow.source.type": "JOB",
        "mlflow.source.name": "fraudloop train",
    }  # fmt: skip
    if commit:
        tags |= {"fraudloop.git_commit": commit, "mlflow.source.git.commit": commit.rstrip("+")}
    if dataset.get("hash"):
        tags |= {TAG_DATASET: dataset["hash"], TAG_DATASETS: datasets}
    return tags


def run_params(bundle: Bundle) -> dict[str, str]:
    """What the run was told and what validation chose, as text by dotted name."""
    metrics, origin = bundle.metrics, bundle.origin
    out = {f"config.{key}": _text(value) for key, value in _leaves(metrics.get("config", {}))}
    training, test, validation = (metrics.get(key, {}) for key in ("training", "test", "validation"))
    out |= {
        "train": _text(training.get("period")), "test": _text(test.get("period")), "label_delay_days": _text(training.get("label_delay_days")),
        "columns": _text(origin.get("data", {}).get("columns")), "features": str(len(bundle.features.names)), "chosen": _text(validation.get("chosen")),
    }  # fmt: skip
    for name, found in validation.get("algorithms", {}).items():
        out |= {f"{name}.{key}": _text(value) for key, value in _leaves(found.get("params", {}))}
    return out


def run_metrics(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """(name, value, step) of every figure of metrics.json that is one number; a fold's figures have its number as step."""
    for part in ("test", "algorithms", "thresholds", "training"):
        for name, value in _leaves(metrics.get(part, {})):
            if _is_number(value):
                yield f"{part}.{name}", float(value), 0
    validation = metrics.get("validation", {})
    for step, fold in enumerate(validation.get("folds", ())):
        for name, value in _leaves(fold):
            if _is_number(value):
                yield f"validation.{name}", float(value), step
    for algorithm, found in validation.get("algorithms", {}).items():
        if _is_number(found.get("average_precision")):
            yield f"validation.{algorithm}.average_precision", float(found["average_precision"]), 0
        for step, value in enumerate(found.get("by_fold", ())):
            if _is_number(value):
                yield f"validation.{algorithm}.average_precision_by_fold", float(value), step


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{name}.")
        else:
            yield re.sub(r"[^\w.\-/ ]", "_", name), item


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(str(item) for item in value)
    return json.dumps(value, default=str)


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
