"""What a service needs of memory and disk for given customers, rate, windows and retention: arithmetic over measured constants.

All constants are in `Measured`, and `measure` measures those of the state and of records again on this machine (`fraudloop size --measure`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from fraudloop.domain.definitions import FeatureSet, parse_duration_us
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.batch import Batcher
from fraudloop.door.row import Row
from fraudloop.engine.recovery import SNAPSHOTS_KEPT
from fraudloop.errors import InputError
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from fraudloop.ledger.personal import Sealing, Vault
from fraudloop.ledger.records import Decision, Reason, Transacted, encode
from fraudloop.ledger.simulated import SimulatedFiles
from fraudloop.limits import DAY_S, LATENESS_MAX_US, RETENTION_DAYS, SECOND_US
from fraudloop.telemetry import Progress, silent


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes, of the feature set `default`.

    key: of an entity with one event. event: of a customer's, merchant's or device's further event while a window holds it. resident: what the process
    has for the state beyond what is in use, as a ratio (docs/benchmarks.md). known: of a payment's id, 16 bytes
    in a table that is three quarters full before it doubles. group: of where a group lies. record: of a payment in the log. index: in SQLite (ADR 0017);
    export: in Parquet, of 20,000 made payments that were decided. process: of a scorer without customers.
    """

    key: float = 601.0
    event: float = 36.0
    resident: float = 1.2
    known: float = 16.0
    known_full: float = 0.75
    group: float = 20.0
    record: float = 1_292.0
    index: float = 170.0
    export: float = 270.0
    process: float = 510e6


#: As of this version. On other machines the bytes are the same but for `process`.
MEASURED: Final = Measured()


@dataclass(frozen=True, slots=True)
class Need:
    """name: of a part. where: `memory` of each of the two processes that hold the state, or `disk`. bytes: of it. why: how it comes about."""

    name: str
    where: str
    bytes: float
    why: str


@dataclass(frozen=True, slots=True)
class Sized:
    """needs: the parts. memory_bytes: of both processes together; disk_bytes: once the retention is reached."""

    needs: tuple[Need, ...]
    memory_bytes: float
    disk_bytes: float
    measured: Measured


def size(
    *,
    customers: int,
    rate: float,
    merchants: int | None = None,
    devices: int | None = None,
    windows: Sequence[str] = ("30d",),
    retention_days: int = RETENTION_DAYS,
    standby: bool = True,
    measured: Measured = MEASURED,
) -> Sized:
    """What they need. rate: payments a second, the mean of a day. merchants, devices: a hundredth of the customers, and as many, unless told.

    >>> small = size(customers=100_000, rate=10)
    >>> large = size(customers=1_000_000, rate=100)
    >>> large.memory_bytes > small.memory_bytes, round(large.disk_bytes / small.disk_bytes)
    (True, 10)
    """
    if customers < 1 or not rate > 0 or retention_days < 1:
        raise InputError(f"customers = {customers}, rate = {rate}, retention = {retention_days} days must be above 0")
    longest_s = (max(parse_duration_us(window) for window in windows) + LATENESS_MAX_US) / SECOND_US
    merchants = max(1, customers // 100) if merchants is None else merchants
    devices = customers if devices is None else devices
    keys, kept, payments = customers + merchants + devices, rate * longest_s, rate * retention_days * DAY_S
    slots = 1 << 12
    while payments > slots * measured.known_full:
        slots *= 2
    groups = payments / max(1.0, rate * 0.002)
    state = (keys * measured.key + 3 * kept * measured.event) * measured.resident
    known, places = slots * measured.known, groups * measured.group
    snapshot = SNAPSHOTS_KEPT * (state + payments * measured.known + places)
    needs = (
        Need("process", "memory", measured.process, "the interpreter, libraries, a model"),
        Need("state", "memory", state, f"{keys:,} customers, merchants and devices; {kept:,.0f} payments in {longest_s / DAY_S:,.0f} days, each kept for three of them"),
        Need("ids", "memory", known, f"of {payments:,.0f} payments, so that a retry gets its stored answer; a table of {slots:,} rows"),
        Need("places", "memory", places, f"of {groups:,.0f} groups of the log"),
        Need("log", "disk", payments * measured.record, f"{payments:,.0f} payments in {retention_days:,} days, with decision, features and reasons"),
        Need("index", "disk", payments * measured.index, "lookups by id, customer, merchant and outcome"),
        Need("export", "disk", payments * measured.export, "Parquet; days stay when the log has let go of them"),
        Need("snapshots", "disk", snapshot, f"{SNAPSHOTS_KEPT} of the state and the ids"),
    )  # fmt: skip
    of = {where: sum(need.bytes for need in needs if need.where == where) for where in ("memory", "disk")}
    return Sized(needs, of["memory"] * (2 if standby else 1), of["disk"], measured)


def measure(progress: Progress = silent) -> Measured:
    """The constants of state and records, measured here; those of the other parts as they stand. Some ten seconds."""
    progress("measuring", 0, 3)
    few = _state(3_000, 1)
    progress("measuring", 1, 3)
    many = _state(3_000, 45, months=3)
    progress("measuring", 2, 3)
    record = _record()
    progress("measuring", 3, 3)
    keys = 6_030
    event = (many - few) / (3 * 3_000 * 45)
    return replace(MEASURED, key=few / keys, event=event, record=record)


def _state(customers: int, each: int, months: int = 1) -> int:
    """Bytes of a state with so many customers, as many devices and a hundredth of merchants, each customer with so many payments in 30 days.

    months: how long that went on: what is remembered beyond the windows counts too.
    """
    features = FeatureSet.load("default")
    fold, batcher = Fold(compile_plan(features)), Batcher(features)
    dice, n, begin = np.random.default_rng(1), months * customers * each, 1_700_000_000 * SECOND_US
    step = 30 * months * DAY_S * SECOND_US // n
    for first in range(0, n, 4_000):
        count = min(n, first + 4_000) - first
        shops, places, kinds = (
            dice.integers(max(1, customers // 100), size=count),
            dice.integers(2_000_000, size=(count, 2)),
            dice.integers(12, size=count),
        )
        rows: list[Row] = [
            {"transaction_id": f"t{i}", "timestamp": begin + i * step, "customer_id": f"c{i % customers}", "merchant_id": f"m{shop}", "device_id": f"d{(i + kind // 11) % customers}",
             "merchant_category": f"k{kind}", "country": ("DE", "FR", "IT")[kind % 3], "amount_minor": 100 + i % 900, "amount_base": 100 + i % 900, "is_online": True,
             "latitude": 500_000_000 + north, "longitude": 100_000_000 + east}
            for i, shop, (north, east), kind in zip(range(first, first + count), shops.tolist(), places.tolist(), kinds.tolist(), strict=True)
        ]  # fmt: skip
        fold.step(batcher.events(rows, [begin + i * step for i in range(first, first + count)]))
    return fold.size_bytes()


def _record() -> float:
    """Bytes of a decided payment in the log, with three reasons, sealed."""
    columns, features = tuple(TRANSACTION_SCHEMA), FeatureSet.load("default")
    row: dict[str, Any] = dict.fromkeys(columns) | {
        "transaction_id": "5f1f9a0c-5c0f-4a57-9be9-1f6f6e6cb0f1", "timestamp": 1_767_225_600_000_000, "customer_id": "c-000123456", "merchant_id": "m-00012345",
        "merchant_category": "electronics", "currency": "EUR", "country": "DE", "device_id": "d-000123456", "device_type": "mobile", "ip": "192.0.2.7",
        "flow": "payments", "amount_minor": 4_990, "amount_base": 4_990, "rate_version": "2026-01-01", "is_online": True, "latitude": 525_000_000, "longitude": 134_000_000,
    }  # fmt: skip
    sealing = Sealing.of(columns, keep_places=True)
    [sealed] = sealing.seal(Vault.open(SimulatedFiles()), [row], sealing.hashes([row]))
    reason = Reason("amount_high", "the amount is 4.2 standard deviations above this customer's mean", 0.41, "customer_amount_deviation")
    vector = np.zeros(len(features.names)).tobytes()
    decision = Decision(2, 2, 2, 0.41, 0.41, ("large_abroad",), (reason,) * 3, False, (), vector, 0, 0, "a" * 16, "b" * 16, "c" * 16, "d" * 16, "0.1.0+linux-x86_64", "champion", None, 3_000, "tree_shap")  # fmt: skip
    return float(len(encode(Transacted(sealed.row, 1_767_225_600_000_000, decision, sealed.personal, sealed.hashes))) + 8)
