"""For tests of slots and swaps: bundles of any features, a store whose aliases move, and a log held to what its records say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fraudloop.domain.definitions import FeatureSet
from fraudloop.ledger.records import Activated, Transacted
from fraudloop.pipelines.offline import compare
from fraudloop.scoring.bundle import Bundle
from fraudloop.scoring.store import BundleStore
from tests.family import records

NAME = "fraud"


def bundle_of(
    weights: Mapping[str, float], *, intercept: float = -1.0, entities: Mapping[str, str] | None = None, smoke: float | None = None
) -> Bundle:
    """A linear model: margin = intercept + Σ weight · feature. entities: by name their column. smoke: the score that its smoke case claims."""
    names = list(weights)
    features = FeatureSet.from_dict(
        {
            "entities": dict(entities or {"customer": "customer_id"}),
            "numbers": {"amount": {"column": "amount_base", "scale": 2}},
            "features": names,
        }
    )
    steps = [{"kind": "number", "column": name, "fill": 0.0, "indicator": False} for name in names]
    files: dict[str, object] = {
        "features.json": features.to_dict(),
        "preprocessing.json": {"preprocessings": {"linear": {"steps": steps}}},
        "calibration.json": {"method": "given", "margins": [-5.0, 5.0], "chances": [0.01, 0.99]},
        "thresholds.json": {"decline": 0.9, "review": 0.5, "challenge": None},
        "metrics.json": {},
        "models/linear-1.json": {"intercept": intercept, "weights": [weights[name] for name in names]},
    }
    if smoke is not None:
        case = {"name": "made", "fraud": False, "score": smoke, "words": {}, "numbers": dict.fromkeys(names, 1.0)}
        files["smoke.json"] = {"schema": 1, "cases": [case]}
    member = {"name": "linear-1", "file": "models/linear-1.json", "format": "linear-json", "preprocessing": "linear", "weight": 1.0}
    data = {name: json.dumps(body).encode() for name, body in files.items()}
    return Bundle({**data, "reference.parquet": b"PAR1"}, (member,), {"created": "2024-01-01T00:00:00Z", "seed": 1})


def point(store: BundleStore, alias: str, bundle: Bundle | None) -> str | None:
    """Let an alias name a bundle, or nothing; its hash."""
    name = None if bundle is None else store.put(bundle)
    reference = f"{NAME}@{alias}"
    store.set_alias(reference, name, expected=store.alias(reference), who="test", why="test", at_us=1)
    return name


def rule(name: str, when: str, outcome: str = "review", state: str = "live") -> dict[str, object]:
    return {"id": name, "when": when, "outcome": outcome, "reason": name, "state": state}


def rule_set(*rules: Mapping[str, object], name: str = "test") -> dict[str, object]:
    return {"name": name, "rules": list(rules)}


def check_log(data: Path, store: BundleStore) -> int:
    """Hold every vector and decision of a log to its own records, and every version to what was in force then; how many decisions."""
    found = compare(data, store)
    assert found.ok, f"{found.text()}: {found.first}"
    active: dict[str, str | None] = {}
    decided = 0
    for record in records(data):
        if isinstance(record, Activated):
            active[record.what] = record.hash
        elif isinstance(record, Transacted) and record.decision is not None:
            decision, decided = record.decision, decided + 1
            if decision.model is None:
                assert active["champion"] is None
            else:
                assert str(active[decision.slot]).startswith(decision.model)
                assert str(active["rules"]).startswith(decision.rules)
            assert str(active["features"]).startswith(decision.plan)
    assert found.decisions == decided
    return decided


def activations(data: Path, what: str) -> Sequence[Activated]:
    return [record for record in records(data) if isinstance(record, Activated) and record.what == what]


def vectors(data: Path) -> list[bytes]:
    return [bytes(record.decision.vector) for record in records(data) if isinstance(record, Transacted) and record.decision is not None]


def mean_score(data: Path, slot: str) -> float:
    scores = [
        r.decision.fraud_score for r in records(data) if isinstance(r, Transacted) and r.decision is not None and r.decision.slot == slot
    ]
    return float(np.mean([score for score in scores if score is not None]))
