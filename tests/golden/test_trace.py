"""A recorded log with the vectors it gave, bit by bit: a change of any value is a difference that somebody reviews.

`trace.jsonl` holds an event a line, and for a transaction its features by preset as hexadecimal floats (missing ones left
out). `python -m tests.golden.test_trace` writes it anew from the same events; what then differs is what changed.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.events import LABEL, PROFILE, TRANSACTION, Events
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan
from tests.oracle import differences, oracle
from tests.strategies import long_run, to_events

TRACE = Path(__file__).with_name("trace.jsonl")
PRESETS = ("default", "handbook")
KINDS = {PROFILE: "profile", LABEL: "label", TRANSACTION: "transaction"}
SEED, LENGTH = 2024, 90


def written() -> list[dict[str, Any]]:
    return [json.loads(line) for line in TRACE.read_text("utf-8").splitlines()]


def events_of(rows: list[dict[str, Any]]) -> Events:
    kinds = {name: kind for kind, name in KINDS.items()}
    return to_events(
        FeatureSet.load("default"),
        [
            (
                kinds[r["kind"]],
                r["time_us"],
                r["received_us"],
                {k: (int(v[:16], 16), int(v[16:], 16)) for k, v in r["keys"].items()},
                r["numbers"],
            )
            for r in rows
        ],
    )


def rows_of(events: Events) -> list[dict[str, Any]]:
    """Events as they are written, without what they gave."""
    out = []
    for i in range(len(events)):
        keys = {
            name: f"{int(events.keys[i, j, 0]):016x}{int(events.keys[i, j, 1]):016x}"
            for j, name in enumerate(events.key_names)
            if events.keys[i, j].any()
        }
        numbers = {
            name: int(events.numbers[i, j]) for j, name in enumerate(events.number_names) if events.numbers[i, j] != np.iinfo(np.int64).min
        }
        out.append(
            {
                "kind": KINDS[int(events.kind[i])],
                "time_us": int(events.time_us[i]),
                "received_us": int(events.received_us[i]),
                "keys": keys,
                "numbers": numbers,
            }
        )
    return out


def record() -> None:
    rows = rows_of(long_run(SEED, FeatureSet.load("default"), LENGTH))
    events = events_of(rows)
    bought = [r for r in rows if r["kind"] == "transaction"]
    for preset in PRESETS:
        features = FeatureSet.load(preset)
        vectors = Fold(compile_plan(features)).step(events)
        for row, values, status in zip(bought, vectors.values.tolist(), vectors.status.tolist(), strict=True):
            row[preset] = {name: value.hex() for name, value in zip(features.names, values, strict=True) if not math.isnan(value)}
            row["status"] = status
    TRACE.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.mark.parametrize("step", [1, 1_000])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_recorded_log_gives_the_recorded_vectors(preset: str, step: int) -> None:
    rows = written()
    features = FeatureSet.load(preset)
    events, fold = events_of(rows), Fold(compile_plan(features))
    parts = [fold.step(events[i : i + step]) for i in range(0, len(events), step)]
    values, status = np.concatenate([p.values for p in parts]), np.concatenate([p.status for p in parts])
    bought = [r for r in rows if r["kind"] == "transaction"]
    assert status.tolist() == [r["status"] for r in bought]
    for i, row in enumerate(bought):
        given = {name: value.hex() for name, value in zip(features.names, values[i].tolist(), strict=True) if not math.isnan(value)}
        assert given == row[preset], f"transaction {i} of {TRACE.name}"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_recorded_vectors_are_those_of_the_plain_definition(preset: str) -> None:
    """So that no mistake is recorded."""
    rows = written()
    features = FeatureSet.load(preset)
    recorded = [[float.fromhex(r[preset].get(name, "nan")) for name in features.names] for r in rows if r["kind"] == "transaction"]
    answer = oracle(features, events_of(rows))
    assert differences(answer, np.array(recorded)) == []


def test_the_recorded_log_holds_what_makes_trouble() -> None:
    rows = written()
    assert {r["kind"] for r in rows} == set(KINDS.values())
    bought = [r for r in rows if r["kind"] == "transaction"]
    assert {r["status"] for r in bought} == {0, 1, 2}
    assert any("customer" not in r["keys"] for r in bought)
    assert any(r["time_us"] < before["time_us"] for before, r in pairwise(bought))
    for preset in PRESETS:
        names = FeatureSet.load(preset).names
        assert {name for r in bought for name in r[preset]} == set(names), "every feature has a value somewhere"
    events = events_of(rows)
    assert rows_of(events) == [{k: v for k, v in r.items() if k not in (*PRESETS, "status")} for r in rows]


if __name__ == "__main__":
    record()
