"""Tracking around training: keep the rows before the work, write the run after the bundle is stored, or later.

The order is what makes it safe: a store that does not answer stops a run before any work, and one that fails afterwards
finds the bundle saved, with the hash of its rows in the manifest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fraudloop.data.columns import ColumnMap, map_text
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.rates import sample_text
from fraudloop.errors import InputError, TrackingError
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import BundleStore
from fraudloop.settings import DEFAULT_HASH_KEY, Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.config import TrainConfig
from fraudloop.training.datasets import Manifest, StoredFile, describe, keep
from fraudloop.training.registry import Mirrored, mirror
from fraudloop.training.tracking import DEFAULT, DEFAULT_EXPERIMENT, Tracker, Tracking


def tracking_of(
    track: str | None, settings: Settings, *, artifacts: str | None = None, experiment: str | None = None, working: Path | None = None
) -> Tracking | None:
    """Where runs go by option, else by setting; None where neither says anything, or `off` does.

    Artifacts of the settings belong to the tracking URI of the settings: another URI brings its own.
    """
    own = track is None or track == settings.tracking
    return Tracking.of(
        track or settings.tracking, artifacts or (settings.artifacts if own else None), working or Path.cwd(), experiment or DEFAULT_EXPERIMENT
    )  # fmt: skip


def tracking_at(track: str | None, settings: Settings, *, artifacts: str | None = None, working: Path | None = None) -> Tracking:
    """As `tracking_of` for commands that need one: the default place where nothing is said. InputError where it is `off`."""
    found = tracking_of(track or settings.tracking or DEFAULT, settings, artifacts=artifacts, working=working)
    if found is None:
        raise InputError("tracking is off; give --track URI or set FRAUDLOOP_TRACKING")
    return found


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a training run reads and is told, as `pipelines.train.train_file` takes it."""

    path: Path
    columns: str | Path | ColumnMap
    features: FeatureSet
    label_delay: str
    train_days: str | None
    test_days: str | None
    config: TrainConfig
    labels: Path | None
    profiles: Path | None
    max_rejected: float


def keep_inputs(tracker: Tracker, inputs: Inputs, settings: Settings, progress: Progress = silent) -> Manifest:
    """Put the files of a run and its manifest into the tracker's store of datasets, each once."""
    progress("keeping the rows", 0, 1)
    with tempfile.TemporaryDirectory(prefix="fraudloop-") as folder:
        manifest, files = manifest_of(inputs, settings, Path(folder))
        keep(tracker.datasets, manifest, files)
    progress("keeping the rows", 1, 1)
    return manifest


def manifest_of(inputs: Inputs, settings: Settings, folder: Path) -> tuple[Manifest, dict[str, Path]]:
    """The manifest of a run and its files by role. folder: for files that have to be written first."""
    name, text, columns = map_text(inputs.columns, settings.zone)
    given = {
        "transactions": inputs.path, "labels": inputs.labels or (columns.label.file if columns.label else None),
        "profiles": inputs.profiles or (columns.profiles.file if columns.profiles else None), "rates": columns.rates,
    }  # fmt: skip
    files = {role: Path(file) for role, file in given.items() if file is not None}
    if "rates" not in files:  # the rates that ship may change with the version; these are the ones the run had
        files["rates"] = folder / "rates_sample.csv"
        files["rates"].write_text(sample_text(), "utf-8")
    described: dict[str, StoredFile] = {role: describe(file) for role, file in files.items()}
    manifest = Manifest(
        described, {"name": name, "toml": text}, inputs.features.to_dict(), inputs.config.to_dict(), inputs.label_delay, inputs.train_days, inputs.test_days,
        inputs.max_rejected,
        {
            "base_currency": settings.base_currency, "zone": settings.zone, "token_key_id": settings.token_key_id,
            "hash_key": "default" if settings.hash_key == DEFAULT_HASH_KEY else "own",
        },
    )  # fmt: skip
    return manifest, files


def write_run(tracker: Tracker, bundle: Bundle, progress: Progress = silent) -> str:
    """Write the run of a stored bundle; its id. TrackingError says how to track the bundle later: it stays."""
    progress("writing the run", 0, 1)
    try:
        run = tracker.log(bundle)
    except TrackingError as error:
        raise TrackingError(
            f"{error}. The bundle is saved in {bundle.path}; `fraudloop models track {bundle.path}` writes its run later",
            bundle=bundle.hash, path=str(bundle.path),
        ) from error  # fmt: skip
    progress("writing the run", 1, 1)
    return run


@dataclass(frozen=True, slots=True)
class Tracked:
    """The run of a bundle; known: whether it was there already."""

    run: str
    bundle: str
    known: bool


def track_bundle(path: Path, tracking: Tracking, progress: Progress = silent) -> Tracked:
    """Write the run of a bundle that was trained before, unless there is one."""
    bundle = Bundle.load(path)
    tracker = Tracker(tracking)
    found = tracker.find(bundle.hash)
    if found is not None:
        return Tracked(found, bundle.hash, known=True)
    return Tracked(write_run(tracker, bundle, progress), bundle.hash, known=False)


def mirror_store(store: BundleStore, name: str, tracking: Tracking) -> Mirrored:
    """Bring MLflow's registered model `name` to the state of the store; see `training.registry`."""
    return mirror(store, name, Tracker(tracking))


def mirror_into(tracking: Tracking | None) -> Callable[[BundleStore, str], None] | None:
    """What promotion and rollback call once an alias has moved; None where nothing is tracked. MLflow is opened by the call."""
    if tracking is None:
        return None

    def call(store: BundleStore, name: str) -> None:
        mirror_store(store, name, tracking)

    return call
