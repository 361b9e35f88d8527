"""The door for one payment at a time: ordinary, unusual and refused bodies, and batches of rows becoming events.

    python -m benchmarks.bench_door [--quick]

Every body is read by the exact way too before anything is timed, and the case checks that both say the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, Final

import msgspec

from benchmarks.tables import show
from benchmarks.timing import compare
from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.batch import Batcher
from fraudloop.door.label import admit_label
from fraudloop.door.pan import luhn
from fraudloop.door.profile import admit_profile
from fraudloop.door.rates import RateTable
from fraudloop.door.row import RowDoor, body_hash, same_body
from fraudloop.door.shape import Shape

BATCH: Final = 32
NOW_US: Final = 1_770_000_000_000_000
ORDINARY: Final[dict[str, Any]] = {
    "transaction_id": "tx-000123456", "timestamp": "2026-01-31T12:00:00.123456Z", "customer_id": "C0012345", "merchant_id": "M00123", "merchant_category": "grocery", "amount": 57.16, "currency": "EUR",
    "country": "DE", "is_online": True, "card_present": False, "location": {"latitude": 52.52, "longitude": 13.405}, "device": {"id": "D-99887", "type": "phone", "ip": "10.1.2.3"}, "card_id": "K-0001",
    "status": "authorised",
}  # fmt: skip

#: Each is ordinary but for these fields.
UNUSUAL: Final[dict[str, dict[str, Any]]] = {
    "amount as text with zeros behind": {"amount": "57.1600"},
    "small letters, alpha-3, a name": {"currency": "eur", "country": "DEU", "status": "Authorised"},
    "nine digits of a second": {"timestamp": "2026-01-31T12:00:00.123456789Z"},
    "another way of writing a time": {"timestamp": "2026-01-31 12:00:00,5+0200"},
    "blanks around ids": {"customer_id": " C0012345 ", "merchant_id": "M00123 "},
    "no customer, merchant or currency": {"customer_id": None, "merchant_id": None, "currency": None},
    "UUIDs and snowflakes as ids": {"transaction_id": "550e8400-e29b-41d4-a716-446655440000", "customer_id": 1541815603606036480},
    "fields that are dropped": {"note": "thanks", "sequence": 1_770_000_000_123, "tags": ["a", "b"]},
    "two names of one field": {"user_id": "C0012345"},
}
REFUSED: Final[dict[str, dict[str, Any]]] = {
    "no id": {"transaction_id": None},
    "no time that can be read": {"timestamp": "soon"},
    "an amount below zero": {"amount": -5},
    "a list for an id": {"customer_id": [1]},
    "a card number in free text": {"note": "4" + "1" * 15},
}


def timed(calls: dict[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Microseconds of processor time of each."""

    def repeat(call: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                call()

        return run

    timings = compare({name: repeat(call) for name, call in calls.items()}, rounds=7)
    return {name: round(timing.median_cpu_s / times * 1e6, 2) for name, timing in timings.items()}


def main(quick: bool = False) -> dict[str, object]:
    """Print the tables and return the figures, microseconds of processor time."""
    times = 200 if quick else 5_000
    door = RowDoor(Shape(), RateTable.sample())
    assert luhn(REFUSED["a card number in free text"]["note"])
    raw = msgspec.json.encode(ORDINARY)
    bodies = {name: {**ORDINARY, **change} for name, change in (UNUSUAL | REFUSED).items()}
    for name, body in {"ordinary": ORDINARY, **bodies}.items():
        taken, exact = door.admit(body), door._exactly(body)
        assert taken.row == exact.row and taken.refusals == exact.refusals and (taken.row is None) == (name in REFUSED), name
    row = door.admit(ORDINARY, NOW_US).row
    assert row is not None
    again = dict(row)
    batcher = Batcher(FeatureSet.load("default"))
    rows = [{**row, "transaction_id": f"t{at}", "customer_id": f"C{at:07d}"} for at in range(BATCH)]
    received = [NOW_US] * BATCH
    label = {"transaction_id": "tx-000123456", "is_fraud": True, "source": "chargeback", "known_at": "2026-01-31T12:00:00Z"}
    profile = {"entity": "customer", "id": "C0012345", "time": "2026-01-31T12:00:00Z", "home_country": "DE"}
    calls: dict[str, Callable[[], object]] = {
        "an ordinary body, decoded": lambda: door.admit(ORDINARY, NOW_US),
        "the same from its bytes": lambda: door.admit_bytes(raw, NOW_US),
        "the hash of a row": lambda: body_hash(row),
        "whether two rows are one body": lambda: same_body(row, again),
        f"events of {BATCH} rows": lambda: batcher.events(rows, received),
        "a label": lambda: admit_label(label, NOW_US),
        "a profile": lambda: admit_profile(profile, NOW_US),
    }
    figures = timed(calls, times)
    odd = timed({name: (lambda body=body: door.admit(body, NOW_US)) for name, body in bodies.items()}, times // 2)  # type: ignore[misc]
    table = timed({"a table of one row": lambda: door._by_table(ORDINARY)}, max(times // 200, 2))
    show("The door, processor time a call", ["", "µs"], [[name, f"{figure:,.1f}"] for name, figure in (figures | table).items()])
    show("Bodies that are not ordinary", ["", "answer", "µs"], [[name, "refused" if name in REFUSED else "taken", f"{figure:,.1f}"] for name, figure in odd.items()])  # fmt: skip
    return {"calls": figures | table, "bodies": odd}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_door", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls")
    main(parser.parse_args().quick)
