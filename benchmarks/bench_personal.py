"""Sealing the personal fields of payments: what it adds to a payment, in micro-batches of 32, and how that grows with erasures.

python -m benchmarks.bench_personal [--quick]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import show
from benchmarks.timing import compare
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.identity import hash_texts
from fraudloop.door.row import Row
from fraudloop.ledger.personal import Sealing, Vault, unseal_rows
from fraudloop.ledger.simulated import SimulatedFiles

BATCH: Final = 32
BATCHES = 1_000
ERASED: tuple[int, ...] = (0, 1_000, 20_000)

Batches: TypeAlias = list[tuple[list[Row], NDArray[np.uint64]]]


def row_of(n: int, customer: str) -> Row:
    """An ordinary payment."""
    row: Row = dict.fromkeys(TRANSACTION_SCHEMA)
    return row | {
        "transaction_id": f"t{n}", "timestamp": n, "customer_id": customer, "device_id": f"device-{n % 999}", "ip": "192.0.2.7", "card_id": f"tok_{n % 997:020d}",
        "latitude": 525_000_000 + n, "longitude": 134_000_000 + n, "amount_minor": 1_999,
    }  # fmt: skip


def vault_after(erasures: int) -> Vault:
    """A vault that so many were erased from."""
    vault = Vault.open(SimulatedFiles())
    subjects = hash_texts([f"gone{n}" for n in range(erasures)])
    vault.erase_many((subject, 0) for subject in subjects)
    return vault


def main(quick: bool = False) -> dict[str, object]:
    """Print the tables and return the figures."""
    batches = BATCHES // 5 if quick else BATCHES
    sealing = Sealing.of(tuple(TRANSACTION_SCHEMA))
    figures: dict[str, object] = {}
    table = []
    for erasures in ERASED[:2] if quick else ERASED:
        vault = vault_after(erasures)
        turn = iter(range(10**9))

        def batch_of(customers: int, turn: Iterator[int] = turn) -> Batches:
            made = []
            for _ in range(batches):
                begin = next(turn) * BATCH
                rows = [row_of(begin + n, f"c{(begin + n) % customers}") for n in range(BATCH)]
                made.append((rows, sealing.hashes(rows)))
            return made

        again, fresh = batch_of(1_000), iter([batch_of(10**12) for _ in range(4)])

        def known(vault: Vault = vault, again: Batches = again) -> None:
            for rows, hashes in again:
                sealing.seal(vault, rows, hashes)

        def new(vault: Vault = vault, fresh: Iterator[Batches] = fresh) -> None:
            for rows, hashes in next(fresh):
                sealing.seal(vault, rows, hashes)

        timings = compare({"known": known, "new": new}, rounds=3)
        us = {name: timing.median_cpu_s / batches / BATCH * 1e6 for name, timing in timings.items()}
        held = sealing.seal(vault, *again[0])
        opened = compare({"it": lambda vault=vault, held=held: unseal_rows(sealing, vault, held)}, rounds=20)["it"]  # type: ignore[misc]
        us["open"] = opened.median_cpu_s / BATCH * 1e6
        figures[f"{erasures} erased"] = {
            **{name: round(value, 2) for name, value in us.items()},
            "nodes": vault.nodes,
            "megabytes": round(vault.nodes * 25 / 1e6, 1),
        }
        table.append([f"{erasures:,}", *(f"{value:.1f}" for value in us.values()), f"{vault.nodes:,}", f"{vault.nodes * 25 / 1e6:.1f}"])
    show(
        f"Sealing a payment in batches of {BATCH}, processor time",
        ["erased", "known customers µs", "new customers µs", "opening µs", "seeds", "file MB"],
        table,
    )
    rows = [row_of(n, f"c{n}") for n in range(BATCH)]
    plain = sealing.to_record_row(rows[0])[1]
    [one, *_] = sealing.seal(vault_after(0), rows, sealing.hashes(rows))
    more = len(one.personal) + len(one.hashes) - len(plain)
    show("A record", ["", "bytes"], [["more than in the clear", more]])
    return figures | {"bytes_more": more}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benchmarks.bench_personal", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer batches and erasures")
    main(parser.parse_args().quick)
