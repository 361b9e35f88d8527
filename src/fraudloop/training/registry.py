"""The bundle store mirrored into MLflow's model registry, for people who look there.

The store is the record and MLflow a picture of it: a registered model per name, a version per bundle that an alias ever
named, the aliases, a stage as a tag (MLflow's own stages are deprecated), and who moved it and why. Mirroring brings the
picture to the store's state whatever it was before, so it may be repeated, and what a failed call left behind is put
right by the next. Nothing is ever read back into the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fraudloop.errors import BundleError, StoreError
from fraudloop.scoring.store import CANDIDATE, CHALLENGER, CHAMPION, BundleStore, Entry
from fraudloop.training.mlflow_client import load_mlflow, mlflow_errors
from fraudloop.training.tracking import BUNDLE, TAG_BUNDLE, Tracker

STAGE: Final = "stage"

#: The four words of MLflow's former stages, and what they mean here.
NONE: Final = "None"
STAGING: Final = "Staging"
PRODUCTION: Final = "Production"
ARCHIVED: Final = "Archived"

_TAG_CHARS: Final = 5_000
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Version:
    """A bundle as the registry shows it. aliases: those that name it now. who, why, at: of the last move that touched it."""

    bundle: str
    stage: str
    aliases: tuple[str, ...]
    who: str
    why: str
    at: str

    @property
    def tags(self) -> dict[str, str]:
        return {TAG_BUNDLE: self.bundle, STAGE: self.stage, "who": self.who, "why": self.why[:_TAG_CHARS], "at": self.at}


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What mirroring one model did. versions: number in MLflow by bundle. created: bundles that got a version. tracked:
    bundles that got a run first. changed: aliases and tags that were set or taken away, in words. gone: bundles that are
    no longer in the store and were never tracked, so that there is nothing to show."""

    name: str
    versions: Mapping[str, str]
    created: tuple[str, ...]
    tracked: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]


def versions_of(store: BundleStore, name: str) -> tuple[Version, ...]:
    """Every bundle that an alias of the model ever named, in the order of the history, as it stands now.

    Production: the champion. Staging: candidate and challenger. Archived: was champion once. None: anything else.
    """
    moves: dict[str, list[Entry]] = {}
    for entry in store.history(name):
        for bundle in dict.fromkeys((entry.after, entry.before)):
            if bundle is not None:
                moves.setdefault(bundle, []).append(entry)
    now = {key.partition("@")[2]: bundle for key, bundle in store.aliases().items() if key.partition("@")[0] == name}
    out = []
    for bundle, entries in moves.items():
        aliases = tuple(sorted(alias for alias, named in now.items() if named == bundle))
        last = entries[-1]
        out.append(Version(bundle, _stage(aliases, bundle, entries), aliases, last.who, last.why, last.at))
    return tuple(out)


def _stage(aliases: tuple[str, ...], bundle: str, entries: list[Entry]) -> str:
    if CHAMPION in aliases:
        return PRODUCTION
    if CANDIDATE in aliases or CHALLENGER in aliases:
        return STAGING
    return ARCHIVED if any(entry.alias == CHAMPION and entry.after == bundle for entry in entries) else NONE


def mirror(store: BundleStore, name: str, tracker: Tracker) -> Mirrored:
    """Bring MLflow's registered model of this name to the state of the store. A bundle without a run is tracked first.

    TrackingError if MLflow does not answer; what is in the store stands, and the next call completes the mirror.
    """
    wanted = versions_of(store, name)
    with mlflow_errors(f"mirroring {name} into {tracker.tracking.uri}"):
        registered = _registered(tracker.client, name)
        known = _known(tracker.client, name)
    created, tracked, changed, gone = [], [], [], []
    for version in wanted:
        if version.bundle in known:
            continue
        run = tracker.find(version.bundle)
        if run is None:
            try:
                run = tracker.log(store.get(version.bundle), name=f"{name} {version.bundle[:8]}")
            except (StoreError, BundleError):  # taken away, or damaged: there is nothing sound to show
                gone.append(version.bundle)
                continue
            tracked.append(version.bundle)
        with mlflow_errors(f"mirroring {name} into {tracker.tracking.uri}"):
            source = tracker.client.get_run(run).info.artifact_uri + f"/{BUNDLE}"
            made = tracker.client.create_model_version(name, source, run_id=run, tags=version.tags)
        known[version.bundle] = made
        created.append(version.bundle)
    with mlflow_errors(f"mirroring {name} into {tracker.tracking.uri}"):
        for version in wanted:
            if version.bundle in known:
                changed += _tag(tracker.client, name, known[version.bundle], version)
        named = {alias: str(known[v.bundle].version) for v in wanted if v.bundle in known for alias in v.aliases}
        changed += _aliases(tracker.client, name, {alias: str(n) for alias, n in registered.aliases.items()}, named)
    numbers = {version.bundle: str(known[version.bundle].version) for version in wanted if version.bundle in known}
    return Mirrored(name, numbers, tuple(created), tuple(tracked), tuple(changed), tuple(gone))


def _registered(client: Any, name: str) -> Any:
    exceptions = load_mlflow().exceptions
    try:
        return client.get_registered_model(name)
    except exceptions.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
    client.create_registered_model(name, tags={"fraudloop": "mirror of the bundle store"})
    return client.get_registered_model(name)


def _known(client: Any, name: str) -> dict[str, Any]:
    """The versions that mirroring made, by bundle."""
    out: dict[str, Any] = {}
    token = None
    while True:
        page = client.search_model_versions(f"name='{name}'", max_results=_PAGE, page_token=token)
        for version in page:
            if TAG_BUNDLE in version.tags:
                out[version.tags[TAG_BUNDLE]] = version
        token = page.token
        if not token:
            return out


def _tag(client: Any, name: str, found: Any, version: Version) -> list[str]:
    out = []
    for key, value in version.tags.items():
        if found.tags.get(key) != value:
            client.set_model_version_tag(name, str(found.version), key, value)
            out.append(f"version {found.version}: {key} = {value}")
    return out


def _aliases(client: Any, name: str, before: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    out = []
    for alias, number in wanted.items():
        if before.get(alias) != number:
            client.set_registered_model_alias(name, alias, number)
            out.append(f"{alias} -> version {number}")
    for alias in before:
        if alias not in wanted:
            client.delete_registered_model_alias(name, alias)
            out.append(f"{alias} taken away")
    return out
