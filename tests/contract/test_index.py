"""What every index over the log does, whichever store it is in: filled by the indexer, asked, dropped, made anew."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fraudloop.errors import LedgerError
from fraudloop.ledger.index import Ask, Index, Indexer, Rows, Watermark, fingerprint
from fraudloop.ledger.log import Log, drop_before, segments
from fraudloop.ledger.memory_index import MemoryIndex
from fraudloop.ledger.postgres_index import PostgresIndex
from fraudloop.ledger.records import Record, Transacted, encode
from fraudloop.ledger.simulated import SimulatedFiles
from fraudloop.ledger.sqlite_index import SqliteIndex
from tests.ledgers import BEGIN_US, records_of, write
from tests.servers import postgresql_database

RECORDS = records_of(400, seed=3)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgresql_database(f"fraudloop_test_index_{os.getpid()}") as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    if request.param == "memory":
        found: Index = MemoryIndex()
    elif request.param == "sqlite":
        found = SqliteIndex(tmp_path / "index.sqlite")
    else:
        found = PostgresIndex(request.getfixturevalue("database"))
        found.clear()
    yield found
    found.close()


def log_of(records: list[Record], seed: int = 1) -> SimulatedFiles:
    files = SimulatedFiles()
    write(files, records, seed)
    return files


def everything(index: Index) -> tuple[object, ...]:
    """All that an index says."""
    payments = index.page(Ask(), limit=1_000)
    return (
        index.watermark(), index.versions(), payments, index.controls(), [index.labels(p.lsn) for p in payments],
        [index.payments(fingerprint(p.transaction_id)) for p in payments], [index.place(p.lsn) for p in payments],
        [index.page(Ask(customer=fingerprint(f"c{n}")), limit=1_000) for n in range(12)],
    )  # fmt: skip


def oracle(ask: Callable[[Transacted], bool]) -> list[int]:
    return [lsn for lsn, record in reversed(list(enumerate(RECORDS))) if isinstance(record, Transacted) and ask(record)]


def value(record: Transacted, name: str) -> object:
    return dict(zip(RECORDS[0].columns, record.row, strict=True))[name]  # type: ignore[union-attr]


def test_every_payment_is_found_by_its_id_with_its_decision_and_labels(index: Index) -> None:
    Indexer(log_of(RECORDS), index).catch_up()
    for lsn, record in enumerate(RECORDS):
        if isinstance(record, Transacted):
            [found] = index.payments(fingerprint(str(record.row[0])))
            decision = record.decision
            assert (found.lsn, found.transaction_id, found.received_us) == (lsn, record.row[0], record.received_us)
            assert (found.amount_base, found.merchant_id) == (value(record, "amount_base"), value(record, "merchant_id"))
            customer = value(record, "customer_id")
            assert found.customer == (None if customer is None else fingerprint(str(customer)))
            if decision is None:
                assert found[8:] == (None,) * 6
            else:
                assert found[8:13] == (decision.outcome, decision.tier, decision.decided, decision.fraud_score, decision.risk_score)
                assert found.version is not None
                assert index.versions()[found.version][1:4] == (decision.model, decision.rules, decision.policy)
            labels = [n for n, other in enumerate(RECORDS) if getattr(other, "lsn", None) == lsn]
            assert [label.lsn for label in index.labels(lsn)] == labels
    assert index.payments(fingerprint("nobody")) == []


@pytest.mark.parametrize(
    ("ask", "oracle_of"),
    [
        (Ask(), lambda r: True),
        (Ask(outcomes=frozenset({2, 3})), lambda r: r.decision is not None and r.decision.outcome in (2, 3)),
        (Ask(outcomes=frozenset({0})), lambda r: r.decision is not None and r.decision.outcome == 0),
        (Ask(customer=fingerprint("c4")), lambda r: value(r, "customer_id") == "c4"),
        (Ask(merchant=fingerprint("m2")), lambda r: value(r, "merchant_id") == "m2"),
        (Ask(customer=fingerprint("c4"), merchant=fingerprint("m2")), lambda r: (value(r, "customer_id"), value(r, "merchant_id")) == ("c4", "m2")),
        (Ask(from_us=BEGIN_US + 20_000_000_000), lambda r: r.received_us >= BEGIN_US + 20_000_000_000),
        (Ask(until_us=BEGIN_US + 20_000_000_000), lambda r: r.received_us < BEGIN_US + 20_000_000_000),
        (Ask(from_us=BEGIN_US * 2), lambda r: False),
        (Ask(risk_min=0.5, risk_max=0.9), lambda r: r.decision is not None and r.decision.risk_score is not None and 0.5 <= r.decision.risk_score <= 0.9),
        (
            Ask(customer=fingerprint("c4"), outcomes=frozenset({0, 3}), from_us=BEGIN_US + 5_000_000_000, risk_min=0.1),
            lambda r: value(r, "customer_id") == "c4" and r.decision is not None and r.decision.outcome in (0, 3)
            and r.received_us >= BEGIN_US + 5_000_000_000 and (r.decision.risk_score or 0) >= 0.1,
        ),
    ],
)  # fmt: skip
def test_pages_hold_what_is_asked_for_newest_first_and_none_twice(index: Index, ask: Ask, oracle_of: Callable[[Transacted], bool]) -> None:
    Indexer(log_of(RECORDS), index).catch_up()
    found: list[int] = []
    before = None
    while page := index.page(ask, before_lsn=before, limit=7):
        found += [payment.lsn for payment in page]
        before = page[-1].lsn
    assert found == oracle(oracle_of)


def test_control_records_stand_in_order(index: Index) -> None:
    Indexer(log_of(RECORDS), index).catch_up()
    kinds = [
        (lsn, type(record).__name__)
        for lsn, record in enumerate(RECORDS)
        if type(record).__name__ in ("Configured", "Activated", "Listed", "Changed")
    ]
    assert [(control.lsn, control.kind) for control in index.controls()] == kinds
    assert [control.lsn for control in index.controls(after_lsn=kinds[2][0], limit=3)] == [lsn for lsn, _ in kinds[3:6]]


def test_in_any_batches_and_over_restarts_it_is_the_same_index(index: Index) -> None:
    random, files, whole = Random(5), log_of(RECORDS), MemoryIndex()
    Indexer(files, whole).catch_up()
    while Indexer(files, index).step(random.randint(1, 60)):
        pass
    assert everything(index) == everything(whole)


def test_it_follows_a_log_that_grows_and_says_how_far_behind_it_is(index: Index) -> None:
    files = SimulatedFiles()
    indexer = Indexer(files, index)
    assert indexer.step() == 0 and indexer.lag(BEGIN_US).bytes == 0
    write(files, RECORDS[:200], 1)
    assert indexer.lag(BEGIN_US).bytes > 0
    assert indexer.catch_up() == 200
    assert indexer.lag(BEGIN_US).bytes == 0
    write(files, RECORDS[200:], 2)
    behind = indexer.lag(RECORDS[199].received_us + 60_000_000)  # type: ignore[union-attr]
    assert behind.bytes > 0 and behind.seconds > 0
    assert indexer.catch_up() == len(RECORDS) - 200
    again = MemoryIndex()
    Indexer(files, again).catch_up()
    assert everything(index) == everything(again)


def test_another_log_is_told_by_its_id(index: Index) -> None:
    Indexer(log_of(RECORDS), index).catch_up()
    with pytest.raises(LedgerError, match="another log"):
        Indexer(log_of(RECORDS), index).step()
    with pytest.raises(LedgerError, match="not there any more"):
        Indexer(SimulatedFiles(), index).step()


def test_a_log_that_was_cut_and_goes_on_otherwise_is_told_by_its_digest(index: Index) -> None:
    files = SimulatedFiles()
    write(files, RECORDS[:100], 1, segment_bytes=10**6)
    kept = files.after_kill()
    write(files, RECORDS[100:150], 1)
    Indexer(files, index).catch_up()
    with pytest.raises(LedgerError, match="was cut"):
        Indexer(kept, index).step()
    write(kept, RECORDS[150:300], 1)
    with pytest.raises(LedgerError, match="was cut"):
        Indexer(kept, index).step()
    index.clear()
    assert Indexer(kept, index).catch_up() == 250


def test_two_that_fill_one_index_are_told_apart(index: Index) -> None:
    files = log_of(RECORDS)
    first, second = Indexer(files, index), Indexer(files, index)
    first.step(100)
    second.step(50)
    with pytest.raises(LedgerError, match="another process"):
        first.step(50)


def test_a_write_that_fails_leaves_nothing(index: Index) -> None:
    Indexer(log_of(RECORDS), index).step(50)
    before = everything(index)
    mark = index.watermark()
    assert mark is not None
    with pytest.raises(LedgerError):
        index.write(Rows(), mark._replace(next_lsn=9_999), mark.next_lsn - 1)
    if not isinstance(index, MemoryIndex):
        with pytest.raises((LedgerError, ValueError, TypeError)):
            index.write(Rows(payments=index.page(Ask(), limit=1)), mark._replace(next_lsn=9_999), mark.next_lsn)
    assert everything(index) == before


def test_what_retention_removes_is_forgotten_and_the_rest_stays(index: Index) -> None:
    files = log_of(RECORDS)
    Indexer(files, index).catch_up()
    cut = segments(files)[2].first_lsn
    labelled = {payment.lsn: index.labels(payment.lsn) for payment in index.page(Ask(), limit=1_000)}
    index.drop_before(cut)
    assert {p.lsn for p in index.page(Ask(), limit=1_000)} == {lsn for lsn in labelled if lsn >= cut}
    assert all(index.labels(lsn) == [row for row in rows if row.lsn >= cut] for lsn, rows in labelled.items())
    assert index.place(cut - 1) is None
    place = index.place(cut)
    assert place is not None and place.first_lsn == cut
    drop_before(files, cut)
    assert Indexer(files, index).step() == 0


@given(seed=st.integers(0, 10_000), size=st.integers(0, 80), cuts=st.lists(st.integers(1, 40), max_size=8))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_log_in_any_steps_gives_what_the_plain_reading_gives(index: Index, seed: int, size: int, cuts: list[int]) -> None:
    index.clear()
    files = log_of(records_of(size, seed), seed)
    for cut in cuts:
        Indexer(files, index).step(cut)
    Indexer(files, index).catch_up()
    whole = MemoryIndex()
    Indexer(files, whole).catch_up()
    assert everything(index) == everything(whole)


def test_what_is_indexed_was_synced_so_that_no_power_failure_leaves_the_index_ahead(index: Index) -> None:
    files = SimulatedFiles()
    log = Log.open(files)
    log.append(log.epoch, [encode(record) for record in RECORDS[:40]])  # not flushed
    assert Indexer(files, index).step() == 40
    for seed in range(20):
        found = files.after_power_loss(Random(seed))
        Log.open(found).close()
        assert Indexer(found, index).step() == 0


def test_beside_a_writer_it_waits_for_the_writers_own_flushes(index: Index) -> None:
    """A flush that it asked for would hold up those of the writer, and every answer with them."""
    files = SimulatedFiles()
    log = Log.open(files)
    asked: list[str] = []
    sync = files.sync

    def watched(name: str) -> None:
        asked.append(name)
        sync(name)

    files.sync = watched  # type: ignore[method-assign]
    indexer = Indexer(files, index, patient=True)
    parts = [[encode(record) for record in RECORDS[at : at + 40]] for at in (0, 40, 80)]
    log.append(log.epoch, parts[0])
    log.flush()
    assert indexer.step() == 40, "what there was before is not waited for"
    asked.clear()
    log.append(log.epoch, parts[1])
    assert indexer.step() == 0
    log.flush()
    asked.clear()
    log.append(log.epoch, parts[2])
    assert indexer.step() == 40 and index.watermark().next_lsn == 80, "a later group tells that this one is on disk"  # type: ignore[union-attr]
    assert not asked
    assert indexer.step() == 40 and asked, "where nothing follows, the disk is asked"
    assert indexer.step() == 0
    whole = MemoryIndex()
    Indexer(files, whole).catch_up()
    assert everything(index) == everything(whole) and index.watermark() == whole.watermark()


def test_a_watermark_survives_as_it_was(index: Index) -> None:
    mark = Watermark("ab" * 16, 0, "cd" * 32, "{}", 7)
    index.write(Rows(), mark, -1)
    assert index.watermark() == mark
    index.clear()
    assert index.watermark() is None
