"""What a service is told: a frozen value, checked once. Everything in it can be changed without changing what a number means."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from fraudloop.errors import InputError
from fraudloop.limits import RETENTION_DAYS
from fraudloop.scoring.store import DEFAULT_NAME


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """data: the folder of log, snapshots and index. name: of the model in the store, whose aliases are followed. features: the set whose
    features are always there, beside those of models and rules. rules, policy: what a new log begins with (later ones are published).

    reason_budget_ms: for the reasons of one batch. batch_max: payments decided together. queue_max: that may wait. queue_ms_max: and for how
    long, before new ones are sent away. flush_s_max: a flush that takes longer than this is a log that is gone. follow_s: between two
    looks at the aliases of the store. snapshot_records, snapshot_s: after so many records, or so long, the standby writes a snapshot.
    seal: keep what is personal under keys that can be destroyed, so that one customer can be erased from the log.
    observe: answer what would be decided, act on nothing. observed_field: where the decision of the system beside it stands in a request.
    canary_share: of customers, that a canary decides until another share is set. lines_every: one line for each so many decisions, 0 for none.
    index_url: of PostgreSQL, where the index is not to be the file in `data`. retention_days: what is older goes from the log once it is exported,
    indexed and in a snapshot; 0: nothing goes.
    """

    data: str
    name: str = DEFAULT_NAME
    features: str = "default"
    rules: str = "default"
    policy: str = "default"
    reason_budget_ms: float = 2.0
    batch_max: int = 256
    queue_max: int = 4_096
    queue_ms_max: float = 12.0
    flush_s_max: float = 2.0
    follow_s: float = 0.5
    snapshot_records: int = 1_000_000
    snapshot_s: float = 300.0
    observe: bool = False
    seal: bool = True
    observed_field: str = "existing_decision"
    canary_share: float = 0.05
    lines_every: int = 1
    index_url: str | None = None
    retention_days: int = RETENTION_DAYS

    @property
    def folder(self) -> Path:
        return Path(self.data)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def snapshots(self) -> Path:
        return self.folder / "snapshots"

    @property
    def run(self) -> Path:
        """Sockets and marks of running processes."""
        return self.folder / "run"

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "serve") -> ServeConfig:
        """Checked; InputError names the key and the nearest known one.

        >>> ServeConfig.from_dict({"data": "d", "batch_max": 64}).batch_max
        64
        """
        known = {field.name for field in msgspec.structs.fields(ServeConfig)}
        for key in data:
            if key not in known:
                close = get_close_matches(key, known, n=1, cutoff=0.5)
                raise InputError(f"{where}: unknown key {key!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        try:
            out = msgspec.convert(dict(data), ServeConfig)
        except msgspec.ValidationError as error:
            raise InputError(f"{where}: {error}") from error
        for name in ("batch_max", "queue_max", "snapshot_records"):
            if getattr(out, name) < 1:
                raise InputError(f"{where}: {name} = {getattr(out, name)} must be 1 or more")
        for name in ("queue_ms_max", "flush_s_max", "follow_s", "snapshot_s"):
            if not getattr(out, name) > 0:
                raise InputError(f"{where}: {name} = {getattr(out, name)} must be above 0")
        if out.retention_days < 0:
            raise InputError(f"{where}: retention_days = {out.retention_days} must be 0 or more")
        if not 0 <= out.canary_share <= 0.5:
            raise InputError(f"{where}: canary_share = {out.canary_share} must be from 0 to 0.5")
        return out

    @staticmethod
    def load(path: Path | None, given: Mapping[str, Any]) -> ServeConfig:
        """Of a TOML file and what the command line says, which counts more."""
        data: dict[str, Any] = {}
        if path is not None:
            try:
                data = tomllib.loads(path.read_text("utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{path}: cannot be read ({error}); give a TOML file") from error
            except tomllib.TOMLDecodeError as error:
                raise InputError(f"{path}: not valid TOML: {error}") from error
        return ServeConfig.from_dict({**data, **{key: value for key, value in given.items() if value is not None}}, str(path or "serve"))
