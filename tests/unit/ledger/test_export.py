"""The export: a folder a day, equal to the log, whatever ends it in between."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.outcome import Outcome
from fraudloop.errors import LedgerError
from fraudloop.ledger import export as export_module
from fraudloop.ledger.export import Day, check, day_of, days, export, read_payments
from fraudloop.ledger.files import Files, FolderFiles
from fraudloop.ledger.log import Log, verify
from fraudloop.ledger.personal import Sealing, Vault, subject_of
from fraudloop.ledger.records import Configured, Labelled, Profiled, Record, Transacted, encode
from fraudloop.ledger.simulated import SimulatedFiles
from tests.disks import Killing
from tests.ledgers import BEGIN_US, COLUMNS, FEATURES, activated, configured, decision_of, records_of, row_of, write

RECORDS = records_of(500, seed=8, days=3.5)


@pytest.fixture
def files() -> SimulatedFiles:
    found = SimulatedFiles()
    write(found, RECORDS)
    return found


def check_equal(out: Path, records: list[Record], names: tuple[str, ...] = FEATURES.names) -> int:
    """Every exported row is that of the log; how many payments."""
    seen = 0
    for folder in sorted(path for path in out.iterdir() if not path.name.endswith(".partial")):
        frame = read_payments(folder)
        for row in frame.with_columns(pl.col(pl.Datetime).to_physical()).iter_rows(named=True):
            record = records[row["lsn"]]
            assert isinstance(record, Transacted)
            assert [row[name] for name in COLUMNS] == list(record.row)
            assert row["logged_at"] == record.received_us and day_of(record.received_us) == folder.name
            decision = record.decision
            vector = [row[name] for name in names]
            if decision is None:
                assert row["decision_outcome"] is None and vector == [None] * len(names)
            else:
                assert row["decision_outcome"] == Outcome(decision.outcome).name
                assert (row["decision_risk_score"], row["decision_model"], row["decision_latency_us"]) == (
                    decision.risk_score,
                    decision.model,
                    decision.latency_us,
                )
                assert row["decision_hits"] == list(decision.hits)
                assert [tuple(r.values()) for r in row["decision_reasons"]] == [msgspec.structs.astuple(r) for r in decision.reasons]
                assert np.array(vector).tobytes() == decision.vector
            seen += 1
    return seen


def rows_of(out: Path, name: str) -> list[int]:
    return [lsn for path in sorted(out.glob(f"*/{name}.parquet")) for lsn in pl.read_parquet(path)["lsn"]]


def test_whole_days_are_exported_and_equal_the_log(files: SimulatedFiles, tmp_path: Path) -> None:
    written = export(files, tmp_path / "out")
    assert [day.day for day in written] == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert [day.first_lsn for day in written[1:]] == [day.next_lsn for day in written[:-1]] and written[0].first_lsn == 0
    before = [lsn for lsn, record in enumerate(RECORDS) if lsn < written[-1].next_lsn]
    assert (
        check_equal(tmp_path / "out", RECORDS)
        == sum(isinstance(RECORDS[lsn], Transacted) for lsn in before)
        == sum(d.payments for d in written)
    )
    assert rows_of(tmp_path / "out", "labels") == [lsn for lsn in before if isinstance(RECORDS[lsn], Labelled)]
    assert rows_of(tmp_path / "out", "profiles") == [lsn for lsn in before if isinstance(RECORDS[lsn], Profiled)]
    assert rows_of(tmp_path / "out", "controls") == [
        lsn for lsn in before if not isinstance(RECORDS[lsn], Labelled | Profiled | Transacted)
    ]
    assert export(files, tmp_path / "out") == []
    assert days(tmp_path / "out") == written == [check(tmp_path / "out" / day.day) for day in written]


def test_a_half_day_is_exported_only_when_asked_and_then_replaced(files: SimulatedFiles, tmp_path: Path) -> None:
    export(files, tmp_path)
    assert not (tmp_path / "2026-01-04").exists()
    [half] = export(files, tmp_path, partial=True)
    assert half.partial and half.next_lsn == len(RECORDS) and half.digest == verify(files).digest
    assert len(days(tmp_path)) == 3
    assert [path.name for path in tmp_path.glob("*.partial")] == ["2026-01-04.partial"]
    log = Log.open(files)
    last = Transacted(tuple(row_of(10_000, Random(1), BEGIN_US).values()), BEGIN_US + 5 * 86_400_000_000)
    log.append(log.epoch, [encode(last)])
    log.close()
    [whole] = export(files, tmp_path)
    assert (whole.day, whole.first_lsn, whole.next_lsn) == ("2026-01-04", half.first_lsn, len(RECORDS))
    assert not list(tmp_path.glob("*.partial"))


def test_a_file_says_what_it_covers(files: SimulatedFiles, tmp_path: Path) -> None:
    [first, *_] = export(files, tmp_path)
    for name in first.files:
        said = msgspec.json.decode(pq.read_metadata(tmp_path / first.day / name).metadata[b"fraudloop.export"])
        assert (said["first_lsn"], said["next_lsn"], said["digest"], said["day"]) == (
            first.first_lsn,
            first.next_lsn,
            first.digest,
            first.day,
        )
    changed = tmp_path / first.day / "labels.parquet"
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(LedgerError, match="was changed"):
        check(tmp_path / first.day)


def test_memory_follows_the_row_group_and_not_the_day(files: SimulatedFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "EXPORT_ROWS", 16)
    [first, *_] = export(files, tmp_path)
    assert pq.read_metadata(tmp_path / first.day / "payments.parquet").num_row_groups == math.ceil(first.payments / 16)
    check_equal(tmp_path, RECORDS)


def test_a_day_on_which_features_changed_has_a_part_for_each(tmp_path: Path) -> None:
    files, random = SimulatedFiles(), Random(3)
    other = FeatureSet.load("compact")
    width = len(other.names)
    records = records_of(20, seed=1, days=0.5)
    half = len(records)
    records.append(activated(other, BEGIN_US + 43_300_000_000))
    records += [
        Transacted(tuple(row_of(100 + n, random, BEGIN_US).values()), BEGIN_US + 43_300_000_001 + n, decision_of(random, width))
        for n in range(9)
    ]
    write(files, records)
    [day] = export(files, tmp_path, partial=True)
    assert {name: said["rows"] for name, said in day.files.items() if name.startswith("payments")} == {
        "payments.parquet": 20,
        "payments-2.parquet": 9,
    }
    frame = read_payments(tmp_path / "2026-01-01.partial")
    late = frame.filter(pl.col("lsn") > half)
    for at, name in enumerate(other.names):
        vectors = [np.frombuffer(records[lsn].decision.vector, np.float64)[at] for lsn in late["lsn"]]
        assert late[name].to_numpy().tobytes() == np.array(vectors).tobytes()


def test_a_log_that_does_not_say_types_is_exported_by_its_values(tmp_path: Path) -> None:
    files, records = SimulatedFiles(), records_of(60, seed=5)
    write(files, [Configured(tuple(COLUMNS), "k"), *records[1:]])
    export(files, tmp_path, partial=True)
    frame = read_payments(tmp_path / "2026-01-01.partial")
    assert [str(frame.schema[name]) for name in ("basket", "points", "risk_note")] == ["Float64", "Int64", "String"]


def test_days_of_another_log_are_not_gone_on_with(files: SimulatedFiles, tmp_path: Path) -> None:
    export(files, tmp_path)
    other = SimulatedFiles()
    write(other, RECORDS)
    with pytest.raises(LedgerError, match="another log"):
        export(other, tmp_path)


def test_vectors_of_other_features_than_those_in_force_are_not_exported(tmp_path: Path) -> None:
    files = SimulatedFiles()
    write(
        files, [configured(), activated(), Transacted(tuple(row_of(1, Random(1), BEGIN_US).values()), BEGIN_US, decision_of(Random(1), 3))]
    )
    with pytest.raises(LedgerError, match="vectors"):
        export(files, tmp_path, partial=True)


def test_what_is_sealed_stays_sealed_and_opens_with_the_vault_until_it_is_erased(tmp_path: Path) -> None:
    files, vault, sealing, random = SimulatedFiles(), Vault.open(SimulatedFiles()), Sealing.of(tuple(COLUMNS)), Random(6)
    rows = [row_of(n, random, BEGIN_US + n) for n in range(40)]
    held = sealing.seal(vault, rows, sealing.hashes(rows))
    write(
        files,
        [configured(sealed=sealing.sealed, hashed=sealing.hashed), *(Transacted(h.row, BEGIN_US + n, None, h.personal, h.hashes) for n, h in enumerate(held))],
    )  # fmt: skip
    export(files, tmp_path, partial=True)
    folder = tmp_path / "2026-01-01.partial"
    assert all(b"192.0.2.7" not in path.read_bytes() for path in folder.iterdir())
    closed = read_payments(folder)
    assert closed["customer_id"].null_count() == 40
    opened = read_payments(folder, vault).with_columns(pl.col(pl.Datetime).to_physical())
    assert [{name: row[name] for name in COLUMNS} for row in opened.iter_rows(named=True)] == rows
    vault.erase(subject_of("customer_id", "c2"))
    again = read_payments(folder, vault)["customer_id"].to_list()
    assert again == [None if row["customer_id"] == "c2" else row["customer_id"] for row in rows]


def _export_and_die(log: Path, out: Path, at: int) -> None:
    export(FolderFiles(log), out, partial=True, disk=Killing(at))


def test_a_kill_between_any_two_writes_leaves_whole_days_and_the_next_run_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write(FolderFiles(log), RECORDS)
    whole = export(FolderFiles(log), tmp_path / "whole", partial=True)
    context = multiprocessing.get_context("fork")
    for at in range(60):
        out = tmp_path / f"out{at}"
        process = context.Process(target=_export_and_die, args=(log, out, at))
        process.start()
        process.join()
        there = [check(out / day.day) for day in days(out)] if out.is_dir() else []
        assert there == [day for day in whole if not day.partial][: len(there)]
        if process.exitcode == 0:
            break
        export(FolderFiles(log), out, partial=True)
        assert _facts(days(out)) == _facts(days(tmp_path / "whole"))
        assert not list(out.glob("*.writing"))
    else:
        pytest.fail("the export never came to its end")


def _facts(found: list[Day]) -> list[tuple[Any, ...]]:
    return [(day.day, day.first_lsn, day.next_lsn, day.digest, {name: said["rows"] for name, said in day.files.items()}) for day in found]


def test_an_empty_log_exports_nothing(tmp_path: Path) -> None:
    empty: Files = SimulatedFiles()
    assert export(empty, tmp_path / "out", partial=True) == [] and days(tmp_path / "out") == []
