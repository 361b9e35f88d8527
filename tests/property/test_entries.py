"""Entries against a plain reading of the records: the last of a list, entity and id counts, until it ends."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.decisions.entries import COLUMNS, KINDS, Entries
from fraudloop.ledger.records import Listed, decode, encode

ENTITIES = st.sampled_from(["customer", "device", "country", "shop"])
IDS = st.sampled_from(["a", "b", "c"])
RECORDS = st.lists(
    st.builds(
        Listed, st.sampled_from([*KINDS, "named"]), ENTITIES, IDS, st.one_of(st.none(), st.integers(0, 20)), st.booleans(), st.just("ann"), st.just("why"), st.just(0)
    ),
    max_size=25,
)  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries(
        {column: st.one_of(st.none(), IDS) for column in ("customer_id", "device_id", "country")}, optional={"shop_id": IDS}
    ),
    min_size=1,
    max_size=6,
)


def plain(records: list[Listed], row: dict[str, Any], received_us: int) -> list[str]:
    """The entries that hit a payment, read aloud."""
    columns = {**COLUMNS, "shop": "shop_id"}
    out = []
    for kind in KINDS:
        for entity in columns:
            mine = [r for r in records if r.list == kind and r.entity == entity and r.id == row.get(columns[entity])]
            if mine and not mine[-1].removed and (mine[-1].expires_us is None or received_us < mine[-1].expires_us):
                out.append(f"{kind}:{entity}")
    return out


@given(RECORDS, ROWS, st.integers(0, 20), st.booleans())
@settings(max_examples=300, deadline=None)
def test_entries_hit_as_their_records_say(records: list[Listed], rows: list[dict[str, Any]], now: int, forget: bool) -> None:
    entries = Entries({"shop": "shop_id"}).apply_all(records)
    if forget:
        entries.forget_expired(now)
    received = [now + at for at in range(len(rows))]
    hits = entries.look_up(rows, received)
    for at, row in enumerate(rows):
        expected = plain(records, row, received[at])
        assert hits.codes(at) == expected
        for kind in KINDS:
            assert getattr(hits, kind)[at] == any(code.startswith(kind) for code in expected)


@given(RECORDS)
def test_entries_are_made_again_from_what_they_hold(records: list[Listed]) -> None:
    entries = Entries().apply_all(records)
    again = Entries().apply_all(decode(encode(entry)) for entry in entries)  # type: ignore[misc, arg-type]
    assert list(again) == list(entries) and len(again) == len(list(entries))


def test_the_cost_of_a_look_up_follows_the_payments_and_not_the_entries() -> None:
    """On a quiet core 0.6 to 1.0 us a payment with 100,000 entries of five entities, 0.05 to 0.1 without any. The bounds leave
    room for a busy machine; whoever walks through the entries is far beyond them."""
    entities = ("customer", "merchant", "device", "card", "ip")
    entries = Entries()
    for at in range(100_000):
        entity = entities[at % 5]
        entries.apply(Listed(KINDS[at % 3], entity, f"{entity}-{at:08d}", None, False, "ann", "why", 0))
    batches = [
        [{COLUMNS[entity]: f"{entity}-x{n:08d}" for entity in entities} for n in range(start, start + 32)] for start in range(0, 32_000, 32)
    ]
    received = [1] * 32

    def cost_us(which: Entries) -> float:
        best = float("inf")
        for _ in range(5):
            begin = time.perf_counter_ns()
            for rows in batches:
                which.look_up(rows, received)
            best = min(best, time.perf_counter_ns() - begin)
        return best / 32_000 / 1_000

    full, empty = cost_us(entries), cost_us(Entries())
    assert full < 10.0, full
    assert empty < 1.0, empty
