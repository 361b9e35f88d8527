"""`models reproduce`: train a run again from the rows that were kept, and hold the result to the first one.

Two things can be proved. In the same build (code, Python, machine, libraries) the files of the model are the same to the
last bit. In another one the metrics agree within 1e-6. The answer says which of the two it was, and what differs.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from fraudloop.clock import Clock
from fraudloop.data.columns import ColumnMap
from fraudloop.errors import InputError
from fraudloop.pipelines.store import bundle_of
from fraudloop.pipelines.tracking import tracking_at
from fraudloop.pipelines.train import Trained, train_file
from fraudloop.scoring.bundle import Bundle
from fraudloop.settings import Settings
from fraudloop.telemetry import Progress, silent
from fraudloop.training.datasets import DatasetStore, Manifest, fetch, open_store, restore
from fraudloop.training.tracking import Tracker, is_run_id

#: How far metrics of another build may be from those of the first: SEMANTICS gives scores the same bound.
TOLERANCE: Final = 1e-6

BITS: Final = "the same to the last bit"
CLOSE: Final = "the same within 1e-6"
NOTHING: Final = "not the same"


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of metrics.json, before and after; None where one of them does not have it. difference: after less before."""

    name: str
    before: float | str | None
    after: float | str | None
    difference: float | None


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What training again gave. proved: BITS, CLOSE or NOTHING. build: what differs between the two builds, by name
    (before, after). files: those of the bundle that differ. figures: every figure of metrics.json; `changed` those that
    differ. dataset: hash of the manifest."""

    run: str
    before: str
    after: str
    dataset: str
    proved: str
    same_build: bool
    build: dict[str, tuple[str, str]]
    files: tuple[str, ...]
    figures: tuple[Compared, ...]

    @property
    def ok(self) -> bool:
        return self.proved != NOTHING

    @property
    def changed(self) -> tuple[Compared, ...]:
        return tuple(row for row in self.figures if row.before != row.after)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `--json`; figures only as far as they differ."""
        return {
            "run": self.run, "ok": self.ok, "proved": self.proved, "same_build": self.same_build, "content": {"before": self.before, "after": self.after},
            "dataset": self.dataset, "build_differences": {name: list(pair) for name, pair in self.build.items()}, "files": list(self.files), "figures": len(self.figures),
            "changed": [{"name": row.name, "before": row.before, "after": row.after, "difference": row.difference} for row in self.changed],
        }  # fmt: skip


def reproduce(
    run: str, *, settings: Settings | None = None, track: str | None = None, artifacts: str | None = None, out: Path | None = None,
    clock: Clock | None = None, progress: Progress = silent,
) -> Reproduced:  # fmt: skip
    """Train again what a run trained, in a temporary folder, and compare.

    run: the id of an MLflow run, the folder of a bundle, or NAME@ALIAS or a hash of the store. track, artifacts: where it was tracked, if not where the
    settings say. out: where the new bundle is kept (None: nowhere). InputError: there is no such run. TrackingError: its
    rows or bundle cannot be fetched.
    """
    settings = settings or Settings()
    with tempfile.TemporaryDirectory(prefix="fraudloop-reproduce-") as name:
        folder = Path(name)
        progress("fetching the run", 0, 1)
        before, store = _found(run, settings, track, artifacts, folder)
        dataset = (before.origin.get("dataset") or {}).get("hash")
        if not dataset:
            raise InputError(f"{run}: its rows were not kept; train with --track to make a run that can be reproduced")
        manifest = restore(store, dataset)
        files = fetch(store, manifest, folder / "files")
        progress("fetching the run", 1, 1)
        trained = train_again(manifest, files, out or folder / "again", settings, clock, progress)
        return compare(run, before, trained.bundle, dataset, _keys(manifest, settings))


def train_again(
    manifest: Manifest, files: Mapping[str, Path], out: Path, settings: Settings, clock: Clock | None = None, progress: Progress = silent
) -> Trained:
    """Train from a manifest and its files; the settings give only what the manifest does not: keys and caches."""
    own = replace(settings, base_currency=manifest.settings["base_currency"], zone=manifest.settings["zone"])
    columns = ColumnMap.from_toml(manifest.columns["toml"], manifest.columns["name"], own.zone)
    columns = replace(columns, rates=str(files["rates"]) if "rates" in files else None)
    return train_file(
        files["transactions"], out, columns=columns, features=manifest.feature_set(), train_days=manifest.train_days, test_days=manifest.test_days,
        label_delay=manifest.label_delay, config=manifest.train_config(), labels=files.get("labels"), profiles=files.get("profiles"),
        max_rejected=manifest.max_rejected, settings=own, clock=clock, progress=progress,
    )  # fmt: skip


def compare(run: str, before: Bundle, after: Bundle, dataset: str, keys: Mapping[str, tuple[str, str]] | None = None) -> Reproduced:
    """Hold two bundles of the same dataset to each other. keys: differences of the machines' keys, which count as the build's."""
    build = {**build_differences(before, after), **(keys or {})}
    figures = tuple(compare_figures(before.metrics, after.metrics))
    names = sorted({*before.files, *after.files})
    files = tuple(name for name in names if not name.startswith("report/") and before.files.get(name) != after.files.get(name))
    if before.content == after.content:
        proved = BITS
    else:
        close = build and all(
            row.before == row.after or (row.difference is not None and abs(row.difference) <= TOLERANCE) for row in figures
        )
        proved = CLOSE if close else NOTHING
    return Reproduced(run, before.content, after.content, dataset, proved, not build, build, files, figures)


def build_differences(before: Bundle, after: Bundle) -> dict[str, tuple[str, str]]:
    """What differs between the code and the platforms of two bundles. A tree with changes (`+`) may be any code."""
    out = {}
    versions = before.origin.get("versions", {}), after.origin.get("versions", {})
    for name in sorted({*versions[0], *versions[1]}):
        pair = str(versions[0].get(name, "absent")), str(versions[1].get(name, "absent"))
        if pair[0] != pair[1]:
            out[name] = pair
    commits = str(before.origin.get("git_commit")), str(after.origin.get("git_commit"))
    if commits[0] != commits[1] or commits[0].endswith("+"):
        out["code"] = commits
    return out


def compare_figures(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Compared]:
    """Every leaf of two metrics.json, in the order of the first.

    >>> [row.difference for row in compare_figures({"a": {"b": 0.5}, "c": [1]}, {"a": {"b": 0.75}, "c": [1]})]
    [0.25, 0.0]
    """
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for name in dict.fromkeys((*old, *new)):
        a, b = old.get(name), new.get(name)
        numbers = isinstance(a, int | float) and isinstance(b, int | float)
        yield Compared(name, a, b, float(b) - float(a) if numbers else None)  # type: ignore[arg-type]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, float | str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _leaves(item, f"{name}.{at}")
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name, value
    else:
        yield name, json.dumps(value)


def _found(run: str, settings: Settings, track: str | None, artifacts: str | None, folder: Path) -> tuple[Bundle, DatasetStore]:
    """The bundle of a run and the store of its rows."""
    if Path(run).is_dir() or not is_run_id(run):
        return bundle_of(run, settings), _store(settings, track, artifacts)
    tracker = Tracker(tracking_at(track, settings, artifacts=artifacts))
    (folder / "bundle").mkdir()
    bundle = tracker.bundle_of(run, folder / "bundle")
    return bundle, tracker.datasets if artifacts is not None else tracker.datasets_of(run)


def _store(settings: Settings, track: str | None, artifacts: str | None) -> DatasetStore:
    """Where the rows of a bundle are, without asking MLflow where that is known."""
    tracking = tracking_at(track, settings, artifacts=artifacts)
    return Tracker(tracking).datasets if tracking.artifacts is None else open_store(f"{tracking.artifacts}/datasets", tracking.uri)


def _keys(manifest: Manifest, settings: Settings) -> dict[str, tuple[str, str]]:
    """Keys that are not those of the run: tokens of ids, and in approximate windows hashes, may differ by them."""
    if manifest.settings.get("token_key_id", "default") != settings.token_key_id:
        return {"token key": (manifest.settings["token_key_id"], settings.token_key_id)}
    return {}
