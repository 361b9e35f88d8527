"""Small bundles for tests of the store, the gate and promotion: a linear model of two columns, made in a millisecond."""

from __future__ import annotations

import json

from fraudloop.scoring.bundle import Bundle
from tests.worlds import FEATURES


def linear_bundle(weight: float = 0.5, created: str = "2024-01-01T00:00:00Z", report: bytes | None = None) -> Bundle:
    """margin = weight * amount - 1; different weights are different content."""
    files = {
        "features.json": FEATURES.to_dict(),
        "preprocessing.json": {
            "preprocessings": {"linear": {"steps": [{"kind": "number", "column": "amount", "fill": 0.0, "indicator": True}]}}
        },
        "calibration.json": {"method": "given", "margins": [-5.0, 5.0], "chances": [0.01, 0.99]},
        "thresholds.json": {"decline": 0.9, "review": 0.5, "challenge": None},
        "metrics.json": {},
        "models/linear-1.json": {"intercept": -1.0, "weights": [weight, 0.25]},
    }
    member = {"name": "linear-1", "file": "models/linear-1.json", "format": "linear-json", "preprocessing": "linear", "weight": 1.0}
    data = {name: json.dumps(body).encode() for name, body in files.items()}
    more = {} if report is None else {"report/plot.png": report}
    return Bundle({**data, "reference.parquet": b"PAR1", **more}, (member,), {"created": created, "seed": 1})
