"""The whole Handbook table, offline against one event at a time, as it is and with events late, swapped and doubled.

    FRAUDLOOP_HANDBOOK=transactions.parquet python -m benchmarks.check_handbook

In the second round 5 % of the transactions arrive late (up to 20 hours), 5 % change places with their neighbour and 5 % come twice; the
door takes the copies out. Each round folds the log in one step and again event by event, and counts differing bits.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import polars as pl

from fraudloop.data.ingest import read
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.assemble import assemble
from fraudloop.door.canonical import settle
from fraudloop.door.events import TRANSACTION, Events
from fraudloop.features.fold import Fold, Vectors
from fraudloop.features.plan import compile_plan
from fraudloop.limits import HOUR_US

SEED = 7
SHARE = 0.05


def main() -> int:
    """Print a line a round; 1 if a bit differs, 0 if none does, also where there is no table to check."""
    if not os.environ.get("FRAUDLOOP_HANDBOOK"):
        print("no table: set FRAUDLOOP_HANDBOOK to the Handbook's transactions.parquet")
        return 0
    ingested = read(Path(os.environ["FRAUDLOOP_HANDBOOK"]), "handbook")
    features = FeatureSet.load("handbook")
    differing = 0
    for name, table in (("as it is", ingested.transactions), ("late, swapped, doubled", disturbed(ingested.transactions))):
        events = assemble(table, ingested.labels, ingested.profiles, features)
        bits, same_state, out_of_order = compare(features, events)
        differing += bits + (not same_state)
        print(f"{name}: {events.transactions:,} transactions, {out_of_order:,} behind an event that happened later; "
              f"{bits} differing bits; states {'equal' if same_state else 'DIFFER'}", flush=True)  # fmt: skip
    return int(differing > 0)


def disturbed(table: pl.DataFrame) -> pl.DataFrame:
    """The table as a worse network would have brought it."""
    chance = np.random.default_rng(SEED)
    n = table.height
    late = np.where(chance.random(n) < SHARE, chance.integers(0, 20 * HOUR_US, n), 0)
    arrived = table["timestamp"].cast(pl.Int64).to_numpy() + late
    order = np.argsort(arrived, kind="stable")
    swapped = np.flatnonzero(chance.random(n - 1) < SHARE)
    for i in swapped[np.diff(swapped, prepend=-2) > 1]:
        order[i], order[i + 1] = order[i + 1], order[i]
    received = np.maximum.accumulate(arrived[order])
    out = table[order].with_columns(pl.Series("received_at", received).cast(pl.Datetime("us", "UTC")))
    twice = np.sort(np.concatenate([np.arange(n), np.flatnonzero(chance.random(n) < SHARE)]))
    out = out[twice]
    return out.filter(settle(out).first)


def compare(features: FeatureSet, events: Events) -> tuple[int, bool, int]:
    """(differing bits, equal digests, transactions out of time order) of one step against one event at a time."""
    plan = compile_plan(features)
    whole, single = Fold(plan), Fold(plan)
    expected = whole.step(events)
    got = np.empty_like(expected.values)
    row = 0
    one = Vectors(np.empty((1, len(plan.names))), np.zeros(1, np.uint8), np.zeros(1, np.uint32))
    none = Vectors(np.empty((0, len(plan.names))), np.zeros(0, np.uint8), np.zeros(0, np.uint32))
    for i, kind in enumerate(events.kind.tolist()):
        if kind == TRANSACTION:
            got[row] = single.step(events[i : i + 1], one).values[0]
            row += 1
        else:
            single.step(events[i : i + 1], none)
    bits = int(np.unpackbits((got.view(np.uint64) ^ expected.values.view(np.uint64)).view(np.uint8)).sum())
    times = events.time_us[events.kind == TRANSACTION]
    return bits, whole.digest() == single.digest(), int((times < np.maximum.accumulate(times)).sum())


if __name__ == "__main__":
    sys.exit(main())
