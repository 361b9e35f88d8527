"""What a service is told: a frozen value, checked once. Everything in it can be changed without changing what a number means."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec

from fraudloop.errors import InputError
from fraudloop.limits import (
    GUARD_DECLINE_SHARE_MAX,
    GUARD_LOOK_PAYMENTS,
    GUARD_PAYMENTS_MIN,
    GUARD_RELEASE,
    GUARD_RULE_SHARE_MAX,
    GUARD_STOP_SHARE_MAX,
    GUARD_WINDOWS_S,
    RETENTION_DAYS,
)
from fraudloop.monitoring.canary import Bounds
from fraudloop.scoring.store import DEFAULT_NAME

#: What is answered while the state of the entities is gone.
WITHOUT_STATE: Final = ("degraded", "unavailable")


class GuardConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """rule_share_max: share of payments that one live rule may act on. stop_share_max: share that the champion's tiers may review or
    decline. decline_share_max: share that they may decline. windows_s: seconds of the windows over which shares are taken. payments_min:
    payments in a window before it is believed. release: the part of its limit that a share must fall to before a guard may trip again.
    look_payments: payments after which shares are looked at again."""

    rule_share_max: float = GUARD_RULE_SHARE_MAX
    stop_share_max: float = GUARD_STOP_SHARE_MAX
    decline_share_max: float = GUARD_DECLINE_SHARE_MAX
    windows_s: tuple[int, ...] = GUARD_WINDOWS_S
    payments_min: int = GUARD_PAYMENTS_MIN
    release: float = GUARD_RELEASE
    look_payments: int = GUARD_LOOK_PAYMENTS

    def check(self, where: str) -> None:
        """InputError for a value out of its range."""
        for name in ("rule_share_max", "stop_share_max", "decline_share_max"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{where}: {name} = {getattr(self, name)} must be above 0 and at most 1")
        if not 0 < self.release < 1:
            raise InputError(f"{where}: release = {self.release} must be above 0 and below 1")
        if not self.windows_s or min(*self.windows_s, self.payments_min, self.look_payments) < 1:
            raise InputError(f"{where}: windows_s, payments_min and look_payments must be 1 or more")


_BOUNDS = Bounds()


class CanaryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """stop_rise_max, stop_fall_max: by how much of all payments more or fewer than the champion a canary may review or decline.
    decline_rise_max: by how much of all payments more it may decline. precision_fall_max: by how much its share of fraud among what it
    stops, as far as labels know, may be lower. payments_min: payments of each side before a verdict. labels_min: stopped payments with a label on each side, before precision counts. alpha: the
    chance that a canary that is within all bounds is ever taken back."""

    stop_rise_max: float = _BOUNDS.stop_rise_max
    stop_fall_max: float = _BOUNDS.stop_fall_max
    decline_rise_max: float = _BOUNDS.decline_rise_max
    precision_fall_max: float = _BOUNDS.precision_fall_max
    payments_min: int = _BOUNDS.payments_min
    labels_min: int = _BOUNDS.labels_min
    alpha: float = _BOUNDS.alpha

    @property
    def bounds(self) -> Bounds:
        """As the comparison takes them; InputError for a value out of its range."""
        return Bounds(**msgspec.structs.asdict(self))


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """data: the folder of log, snapshots and index. name: the model in the store whose aliases are followed. features: the set whose
    features are always there, beside those of models and rules. rules, policy: what a new log begins with (later ones are published).

    reason_budget_ms: from a payment's arrival on, until its reasons give way to the payments that wait. batch_max: payments decided together at most. queue_max: payments that may wait.
    queue_ms_max: how long they may have to wait, before new ones are sent away, while more come than can be decided; six times as long until that has lasted a tenth of a second; sixteen may in any case. flush_s_max: a flush that takes longer than this is a log
    that is gone. follow_s: seconds between two looks at the aliases of the store. snapshot_records: a snapshot is written after so many
    records. snapshot_s: and after so many seconds.
    seal: keep what is personal under keys that can be destroyed, so that one customer can be erased from the log.
    observe: answer what would be decided, act on nothing. observed_field: where the decision of the system beside it stands in a request.
    canary_share: share of customers that a canary decides until another one is set. lines_every: one line for each so many decisions, 0 for none.
    shadow_batches_max: batches that may wait for the challenger; further ones are dropped and counted. guard, canary: tables of their own.
    index_url: of PostgreSQL, where the index is not to be the file in `data`. retention_days: what is older goes from the log once it is exported,
    indexed and in a snapshot; 0: nothing goes. without_state: while the state of the entities is gone and is folded anew, `degraded` decides on what
    payments say themselves, by the policy's stricter tiers, and `unavailable` answers 503.
    """

    data: str
    name: str = DEFAULT_NAME
    features: str = "default"
    rules: str = "default"
    policy: str = "default"
    reason_budget_ms: float = 8.0
    batch_max: int = 256
    queue_max: int = 4_096
    queue_ms_max: float = 8.0
    flush_s_max: float = 2.0
    follow_s: float = 0.5
    snapshot_records: int = 1_000_000
    snapshot_s: float = 300.0
    observe: bool = False
    seal: bool = True
    observed_field: str = "existing_decision"
    canary_share: float = 0.05
    lines_every: int = 1
    shadow_batches_max: int = 64
    guard: GuardConfig = GuardConfig()
    canary: CanaryConfig = CanaryConfig()
    index_url: str | None = None
    retention_days: int = RETENTION_DAYS
    without_state: str = "degraded"

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
    def counts(self) -> Path:
        """What was counted beside the decisions (`engine.counts`)."""
        return self.folder / "counts.json"

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
        out.guard.check(f"{where}: guard")
        try:
            _ = out.canary.bounds
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        for name in ("batch_max", "queue_max", "snapshot_records", "shadow_batches_max"):
            if getattr(out, name) < 1:
                raise InputError(f"{where}: {name} = {getattr(out, name)} must be 1 or more")
        for name in ("queue_ms_max", "flush_s_max", "follow_s", "snapshot_s"):
            if not getattr(out, name) > 0:
                raise InputError(f"{where}: {name} = {getattr(out, name)} must be above 0")
        if out.retention_days < 0:
            raise InputError(f"{where}: retention_days = {out.retention_days} must be 0 or more")
        if not 0 <= out.canary_share <= 0.5:
            raise InputError(f"{where}: canary_share = {out.canary_share} must be from 0 to 0.5")
        if out.without_state not in WITHOUT_STATE:
            raise InputError(f"{where}: without_state = {out.without_state!r} must be one of {', '.join(WITHOUT_STATE)}")
        if out.reason_budget_ms < 0:
            raise InputError(f"{where}: reason_budget_ms = {out.reason_budget_ms} must be 0 or more")
        if not out.observed_field:
            raise InputError(f"{where}: observed_field is empty; name the field of a request that holds the other system's decision")
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
