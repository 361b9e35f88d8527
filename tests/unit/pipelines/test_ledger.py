"""`fraudloop ledger` on a data folder: what each command says, its exit codes, and that erasing survives a kill."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from fraudloop.cli.main import run
from fraudloop.errors import InputError, LedgerError
from fraudloop.ledger.export import read_payments
from fraudloop.ledger.files import FolderFiles
from fraudloop.ledger.log import Log, Reader, segments, verify
from fraudloop.ledger.personal import Sealing, Vault
from fraudloop.ledger.records import Erased, Record, Transacted, decode_all
from fraudloop.pipelines import ledger
from tests.ledgers import BEGIN_US, COLUMNS, FEATURES, activated, configured, decision_of, records_of, row_of, write

RECORDS = records_of(200, seed=4, days=2.5)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(FolderFiles(tmp_path / "data" / "log"), RECORDS)
    return tmp_path / "data"


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A data folder whose records are sealed."""
    folder, random, sealing = tmp_path / "sealed", Random(6), Sealing.of(tuple(COLUMNS))
    vault = Vault.open(folder / "vault")
    rows = [row_of(n, random, BEGIN_US + n * 1_000_000) for n in range(60)]
    held = sealing.seal(vault, rows, sealing.hashes(rows))
    records: list[Record] = [configured(sealed=sealing.sealed, hashed=sealing.hashed), activated()]
    width = len(FEATURES.names)
    records += [Transacted(h.row, BEGIN_US + n * 1_000_000, decision_of(random, width), h.personal, h.hashes) for n, h in enumerate(held)]
    write(FolderFiles(folder / "log"), records)
    return folder


def told(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> Any:
    """What a command says with --json."""
    capsys.readouterr()
    assert run(["ledger", *argv, "--json"]) == code
    out = capsys.readouterr()
    return msgspec.json.decode(out.out if code == 0 else out.err)


def test_verify_says_what_it_checked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "verify", "--data", str(data))
    assert (found["records"], found["first_lsn"], found["next_lsn"], found["torn_bytes"]) == (len(RECORDS), 0, len(RECORDS), 0)
    assert found["digest"] == verify(FolderFiles(data / "log")).digest
    assert run(["ledger", "verify", "--data", str(data)]) == 0
    assert found["digest"] in capsys.readouterr().out


def test_damage_is_said_with_file_and_byte_and_exit_code_one(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = FolderFiles(data / "log")
    path = data / "log" / segments(files)[1].name
    whole = path.read_bytes()
    for at in (3, 200, len(whole) // 2):
        changed = bytearray(whole)
        changed[at] ^= 1
        path.write_bytes(bytes(changed))
        error = told(capsys, "verify", "--data", str(data), code=1)
        assert path.name in error["message"] and (at < 136 or "at byte" in error["message"])
    assert run(["ledger", "verify", "--data", str(data / "nowhere")]) == 2


def test_show_tells_a_payment_by_position_and_by_id_with_and_without_an_index(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lsn, record = next((n, r) for n, r in enumerate(RECORDS) if n > 60 and isinstance(r, Transacted) and r.decision is not None)
    without = told(capsys, "show", str(lsn), "--data", str(data))
    assert without["row"] == dict(zip(COLUMNS, record.row, strict=True))
    assert list(without["features"]) == list(FEATURES.names)
    assert without == told(capsys, "show", "--id", str(record.row[0]), "--data", str(data))
    told(capsys, "index", "--data", str(data))
    labelled = next(r for r in RECORDS if type(r).__name__ == "Labelled")
    found = told(capsys, "show", "--id", labelled.transaction_id, "--data", str(data))  # type: ignore[union-attr]
    assert found["labels"] and found["lsn"] == labelled.lsn  # type: ignore[union-attr]
    assert run(["ledger", "show", "--id", str(record.row[0]), "--data", str(data)]) == 0
    assert "amount_high" in capsys.readouterr().out
    assert told(capsys, "show", "1", "--data", str(data))["kind"] == "Activated"
    for wrong in (["show", "99999"], ["show", "--id", "nobody"], ["show"], ["show", "1", "--id", "t1"]):
        assert run(["ledger", *wrong, "--data", str(data)]) == 2


def test_audit_tells_every_control_record_with_a_digest_that_the_log_has_there(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "audit", "--data", str(data))
    wanted = [n for n, r in enumerate(RECORDS) if type(r).__name__ in ("Configured", "Activated", "Listed", "Changed")]
    assert [row["lsn"] for row in found] == wanted
    reader, digests = Reader(FolderFiles(data / "log")), {}
    for group in reader.read():
        digests[group.next_lsn] = reader.digest.hex()
    assert all(digests[row["digest_lsn"]] == row["digest"] and row["digest_lsn"] > row["lsn"] for row in found)
    assert [row["lsn"] for row in told(capsys, "audit", "--data", str(data), "--after", str(wanted[3]))] == wanted[4:]
    assert run(["ledger", "audit", "--data", str(data)]) == 0


def test_reindex_makes_the_index_that_indexing_made(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = told(capsys, "index", "--data", str(data))
    assert (first["records"], first["next_lsn"]) == (len(RECORDS), len(RECORDS))
    assert told(capsys, "index", "--data", str(data))["records"] == 0
    assert told(capsys, "reindex", "--data", str(data)) == first
    assert run(["ledger", "reindex", "--data", str(data)]) == 0


def test_export_and_retain_say_what_they_did(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [day["day"] for day in told(capsys, "export", "--data", str(data))] == ["2026-01-01", "2026-01-02"]
    assert run(["ledger", "export", "--data", str(data), "--partial"]) == 0
    told(capsys, "index", "--data", str(data))
    kept = told(capsys, "retain", "--data", str(data), "--snapshot-lsn", "0", "--days", "1")
    assert (kept["segments"], kept["kept_for"], kept["room"]["state"]) == ([], "snapshot", kept["room"]["state"])
    gone = told(capsys, "retain", "--data", str(data), "--snapshot-lsn", str(len(RECORDS)), "--days", "1")
    assert gone["segments"] and gone["kept_for"] in ("export", "last")
    assert told(capsys, "verify", "--data", str(data))["first_lsn"] == gone["first_lsn"] > 0
    assert told(capsys, "reindex", "--data", str(data))["next_lsn"] == len(RECORDS)
    assert run(["ledger", "retain", "--data", str(data), "--snapshot-lsn", "0", "--dry-run"]) == 0
    late = told(capsys, "show", str(len(RECORDS) - 1), "--data", str(data))
    assert late["kind"]


def test_erase_makes_one_customer_unreadable_in_log_and_export_and_leaves_the_rest(
    sealed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "export", "--data", str(sealed), "--partial")
    before = [told(capsys, "show", str(lsn), "--data", str(sealed)) for lsn in range(2, 40)]
    gone, other, *_ = sorted({row["row"]["customer_id"] for row in before} - {None})
    done = told(capsys, "erase", "--data", str(sealed), "--customer", gone, "--who", "dpo", "--why", "request 7")
    assert done["generation"] == 0
    for row in before:
        found = told(capsys, "show", str(row["lsn"]), "--data", str(sealed))
        if row["row"]["customer_id"] == gone:
            assert found["erased"] and found["row"]["customer_id"] is None and found["row"]["amount_minor"] == row["row"]["amount_minor"]
            assert found["features"] == row["features"]
        else:
            assert found == row
    [folder] = (sealed / "export").iterdir()
    customers = read_payments(folder, Vault.open(sealed / "vault"))["customer_id"].to_list()
    assert gone not in customers and other in customers
    assert told(capsys, "audit", "--data", str(sealed))[-1]["why"] == "request 7"
    assert run(["ledger", "erase", "--data", str(sealed), "--customer", gone, "--who", "dpo", "--why", "again"]) == 0


def test_erase_refuses_a_log_that_is_not_sealed_a_running_service_and_a_missing_vault(data: Path, sealed: Path) -> None:
    def erase(folder: Path, column: str = "customer_id", who: str = "dpo") -> None:
        ledger.erase(folder, column, "c3", who=who, why="asked")

    with pytest.raises(InputError, match="not sealed"):
        erase(data)
    with pytest.raises(InputError, match="no subject"):
        erase(sealed, "merchant_id")
    with pytest.raises(InputError, match="who has"):
        erase(sealed, who=" ")
    log = Log.open(FolderFiles(sealed / "log"))
    with pytest.raises(LedgerError, match="tell it to erase"):
        erase(sealed)
    log.close()
    (sealed / "vault" / "vault").unlink()
    with pytest.raises(LedgerError, match="no vault"):
        erase(sealed)
    assert run(["ledger", "erase", "--data", str(sealed), "--who", "a", "--why", "b"]) == 2


def test_an_erasure_cut_between_log_and_vault_is_completed_from_the_log(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = (sealed / "vault" / "vault").read_bytes()
    ledger.erase(sealed, "customer_id", "c4", who="dpo", why="asked")
    (sealed / "vault" / "vault").write_bytes(copy)  # killed before, or brought back from a copy
    assert ledger.complete_erasures(sealed) == 1
    [record] = [r for g in Reader(FolderFiles(sealed / "log")).read() for r in decode_all(g.records) if isinstance(r, Erased)]
    assert Vault.open(sealed / "vault").erased == 1 and record.generation == 0
    assert ledger.complete_erasures(sealed) == 1
    assert Vault.open(sealed / "vault").erased == 1
