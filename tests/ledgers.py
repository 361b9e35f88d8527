"""Small logs with every kind of record, made from a seed."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.ledger.files import Files
from fraudloop.ledger.log import Log
from fraudloop.ledger.records import (
    Activated,
    Changed,
    Configured,
    Decision,
    Labelled,
    Listed,
    Profiled,
    Reason,
    Record,
    Transacted,
    encode,
)
from fraudloop.limits import DAY_US

#: 2026-01-01T00:00Z.
BEGIN_US = 1_767_225_600_000_000

FEATURES = FeatureSet.load("handbook")

#: Canonical columns, and three of a user's own.
COLUMNS = {**TRANSACTION_SCHEMA, "risk_note": "String", "basket": "Float64", "points": "Int64"}


def configured(**more: Any) -> Configured:
    return Configured(tuple(COLUMNS), "key-1", tuple(COLUMNS.values()), **more)


def activated(features: FeatureSet = FEATURES, at: int = BEGIN_US) -> Activated:
    return Activated("features", "plan-1", features.to_dict(), "ann", "first set", at)


def row_of(n: int, random: Random, time_us: int) -> dict[str, Any]:
    """A canonical row."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {
        "transaction_id": f"t{n}", "timestamp": time_us - random.randrange(3_000_000), "received_at": time_us, "zone_offset": 0, "flow": "payments",
        "customer_id": random.choice([None, *(f"c{i}" for i in range(12))]), "merchant_id": random.choice([None, *(f"m{i}" for i in range(5))]),
        "device_id": random.choice([None, "d1", "d2"]), "ip": "192.0.2.7", "card_id": random.choice([None, "k1"]), "currency": "EUR",
        "country": random.choice(["DE", "FR"]), "amount_minor": random.randrange(10_000), "is_online": random.choice([None, True, False]),
        "latitude": random.choice([None, 525_000_000]), "longitude": 134_000_000, "risk_note": random.choice([None, "late", "Ümläut"]),
        "basket": random.choice([None, 0.1, 1e300]), "points": random.choice([None, 0, -7]),
    }  # fmt: skip
    row["amount_base"] = random.choice([None, row["amount_minor"]])
    return row


def decision_of(random: Random, width: int) -> Decision:
    """A decision with a vector in which some values are missing."""
    vector = np.array([random.choice([np.nan, 0.0, random.random() * 1e3]) for _ in range(width)])
    outcome, model = random.choice([0, 0, 0, 1, 2, 3]), random.choice([None, "a" * 16, "b" * 16])
    score = None if model is None else random.random()
    return Decision(
        outcome, max(0, outcome - 1), 2, score, score, ("r1",) if random.random() < 0.2 else (), (Reason("amount_high", "a large amount", 0.4, "amount", 0.0),), False, (),
        vector.tobytes(), 0, 0, model, "rules-1", random.choice(["policy-1", "policy-2"]), "plan-1", "build-1", latency_us=random.randrange(5_000),
    )  # fmt: skip


def records_of(payments: int, seed: int = 1, *, days: float = 1.0, features: FeatureSet = FEATURES) -> list[Record]:
    """What a service would have logged: payments over so many days, labels and control records between."""
    random = Random(seed)
    out: list[Record] = [configured(), activated(features)]
    width = len(features.names)
    told: list[tuple[int, str]] = []
    for n in range(payments):
        at = BEGIN_US + int(n * days * DAY_US / max(1, payments))
        decision = None if random.random() < 0.1 else decision_of(random, width)
        told.append((len(out), f"t{n}"))
        out.append(Transacted(tuple(row_of(n, random, at).values()), at, decision))
        if random.random() < 0.1:
            lsn, name = random.choice(told)
            after = random.randrange(2)
            out.append(
                Labelled(lsn, name, bool(after), "chargeback", at - 5, random.choice([None, "dispute"]), at, 1 - after, after, at, None, 1)
            )
        if random.random() < 0.03:
            out.append(Listed("block", "device", random.choice("de"), None, random.random() < 0.3, "bob", "seen in fraud", at))
        if random.random() < 0.02:
            out.append(Changed("mode", "service", random.choice(["observe", "decide"]), "drill", at))
        if random.random() < 0.02:
            out.append(Profiled({"entity": "customer", "id": "c1", "time": at}, at))
    return out


def write(files: Files, records: list[Record], seed: int = 1, *, segment_bytes: int = 60_000, most: int = 9) -> None:
    """Append records in groups of 1 to `most`, as micro-batches come."""
    random = Random(seed)
    log = Log.open(files, segment_bytes=segment_bytes)
    begin = 0
    while begin < len(records):
        end = begin + random.randint(1, most)
        log.append(log.epoch, [encode(record) for record in records[begin:end]])
        log.flush()
        begin = end
    log.close()
