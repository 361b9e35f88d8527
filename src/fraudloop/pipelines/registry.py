"""The notebook's way to the models in force: `ModelRegistry`, a thin class over the functions that the commands call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fraudloop.clock import Clock
from fraudloop.control.promotion import Promotion
from fraudloop.errors import InputError
from fraudloop.pipelines.gate import Gated, Source, gate_file
from fraudloop.pipelines.models import promote_model, rollback_model
from fraudloop.pipelines.store import bundle_of, keep_candidate, open_store
from fraudloop.pipelines.tracking import mirror_into, mirror_store, tracking_of
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import CHAMPION, DEFAULT_NAME, BundleStore, Entry
from fraudloop.settings import Settings
from fraudloop.training.gate_config import GateConfig
from fraudloop.training.registry import Mirrored, Version, versions_of
from fraudloop.training.tracking import Tracking


class ModelRegistry:
    """One named model: its versions, its aliases, and the way of a candidate to champion and back.

        registry = ModelRegistry("payments", store="models", track="default")
        registry.add("model", who="ada", why="more devices")
        registry.gate("payments.parquet", columns="native").report.passed
        registry.promote(approver="ada", why="passed the gate")
        registry.load().model()                     # the champion, every hash of it checked
        registry.rollback(who="ada", why="too many alarms")

    The folder store is the record. With `track` (a tracking URI or `default`) each move is mirrored into MLflow's registry;
    a mirror that fails stops nothing: `Promotion.mirrored` says why, and `mirror` completes it.
    """

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        store: str | Path | None = None,
        *,
        track: str | None = None,
        artifacts: str | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = settings or Settings()
        self.name = name
        self.settings = settings if store is None else replace(settings, store=Path(store))
        self.tracking: Tracking | None = tracking_of(track, settings, artifacts=artifacts)
        self._clock = clock

    @property
    def store(self) -> BundleStore:
        """The store underneath."""
        return open_store(self.settings)

    def add(self, bundle: Bundle | str | Path, *, who: str, why: str) -> str:
        """Put a bundle (or the folder of one) into the store and make it the candidate; its hash."""
        found = bundle if isinstance(bundle, Bundle) else Bundle.load(Path(bundle))
        return keep_candidate(found, self.settings, name=self.name, who=who, why=why, clock=self._clock)

    def load(self, which: str = CHAMPION) -> Bundle:
        """The bundle that an alias of this model names, or of a hash. StoreError if there is none."""
        known = f"{self.name}@{which}" in self.store.aliases()
        return bundle_of(f"{self.name}@{which}" if known or which == CHAMPION else which, self.settings)

    def versions(self) -> tuple[Version, ...]:
        """Every bundle that an alias of this model ever named, with its stage, in the order of the history."""
        return versions_of(self.store, self.name)

    def history(self) -> tuple[Entry, ...]:
        """Every move: who, why, when."""
        return self.store.history(self.name)

    def gate(self, path: str | Path, *, columns: str | None = None, period: str | None = None, config: GateConfig | None = None) -> Gated:
        """Judge the candidate beside the champion on a file of payments; the report goes into the store."""
        return gate_file(Source(Path(path), columns, period), name=self.name, config=config, settings=self.settings)

    def promote(self, *, approver: str | None, why: str, override: bool = False) -> Promotion:
        """Make the candidate the champion, on the gate's report about exactly the two; see `control.promotion.promote`."""
        return promote_model(
            name=self.name, approver=approver, why=why, override=override, settings=self.settings, clock=self._clock, mirror=mirror_into(self.tracking)
        )  # fmt: skip

    def rollback(self, *, who: str, why: str, to: str | None = None) -> Promotion:
        """Restore the champion before the present one."""
        return rollback_model(
            name=self.name, who=who, why=why, to=to, settings=self.settings, clock=self._clock, mirror=mirror_into(self.tracking)
        )  # fmt: skip

    def mirror(self) -> Mirrored:
        """Bring MLflow's registry to the state of the store; InputError where nothing is tracked."""
        if self.tracking is None:
            raise InputError("nothing is tracked; give track= or set FRAUDLOOP_TRACKING")
        return mirror_store(self.store, self.name, self.tracking)
