"""`fraudloop validate` and `fraudloop profile` as a person runs them: output, exit codes, and no card number anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from fraudloop.cli.main import run

HEADER = "transaction_id,timestamp,amount,currency,customer_id,merchant_id,is_fraud\n"
CARD = "4111111111111111"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = "".join(f"t{i},2026-01-31T12:00:{i % 60:02d}Z,9.99,EUR,c{i % 5},m{i % 3},{int(i % 50 == 0)}\n" for i in range(200))
    (tmp_path / "t.csv").write_text(HEADER + rows, "utf-8")
    return tmp_path / "t.csv"


def test_a_fit_table_exits_with_0_and_its_rows_are_written(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, metrics = table.with_name("out.parquet"), table.with_name("m.prom")
    assert run(["validate", str(table), "--out", str(out), "--metrics", str(metrics)]) == 0
    said = capsys.readouterr()
    assert "2.0000% (4 of 200)" in said.out
    assert "is fit for use" in said.err
    assert "30 days" in said.err  # no known_at: the delay is assumed
    assert pl.read_parquet(out).height == 200
    assert 'fraudloop_ingest_rows_total{table="transactions",result="accepted"} 200' in metrics.read_text("utf-8")


def test_json_is_one_document(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", str(table), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["ok"]
    assert said["counts"]["transactions"] == {"rows": 200, "accepted": 200, "rejected": 0, "copies": 0}


def test_too_many_bad_rows_exit_with_2_and_write_only_the_quarantine(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with table.open("a") as file:
        file.write("x,noon,1,EUR,c,m,0\n" * 5)
    out, quarantine = table.with_name("out.parquet"), table.with_name("bad.csv")
    assert run(["validate", str(table), "--out", str(out), "--quarantine", str(quarantine)]) == 2
    assert "5 of 205 transactions are bad (2.4%, at most 1.0%): 5 x timestamp.format (timestamp)" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not out.exists()
    assert pl.read_csv(quarantine)["row"].to_list() == [200, 201, 202, 203, 204]
    assert run(["validate", str(table), "--max-rejected", "0.05"]) == 0
    assert "timestamp.format" in capsys.readouterr().out


def test_a_broken_rule_of_business_exits_with_1(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = table.with_name("m.toml")
    columns.write_text('[label]\ncolumn = "is_fraud"\ndelay = "7d"\n[expect]\nfraud_rate = [0.0, 0.01]\n', "utf-8")
    assert run(["validate", str(table), "--columns", str(columns)]) == 1
    assert "fraud_rate: 2.0000% outside the expected" in " ".join(capsys.readouterr().err.split())


def test_no_output_ever_holds_a_card_number(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spaced = " ".join(CARD[i : i + 4] for i in range(0, 16, 4))
    with table.open("a") as file:
        file.write(
            f"a,2026-01-31,1,EUR,{CARD},{spaced},0\n{CARD},noon,1,EUR,c,m,0\nb,{CARD},{CARD},EUR,c,m,0\nd,2026-01-31,1,{CARD},c,m,{CARD}\n"
        )
        file.write(f'e,2026-01-31,1,EUR,"{CARD}"x,m,0,{CARD}\n')
    common = [
        "validate",
        str(table),
        "--max-rejected",
        "0.5",
        "--out",
        str(table.with_name("out.csv")),
        "--metrics",
        str(table.with_name("m.prom")),
    ]
    more = (
        ["--quarantine", str(table.with_name("bad.csv"))],
        ["--quarantine", str(table.with_name("bad.parquet")), "--json"],
        ["--max-rejected", "0"],
    )
    codes = [run([*common, *options]) for options in more]
    run(["profile", str(table)])
    run(["profile", str(table), "--json"])
    shown = capfd.readouterr()
    assert codes == [0, 0, 2], shown.err
    written = [p for p in table.parent.iterdir() if p != table]
    assert len(written) == 4
    for content in (
        shown.out.encode(),
        shown.err.encode(),
        *(p.read_bytes() for p in written),
        pl.read_parquet(table.with_name("bad.parquet")).write_csv().encode(),
    ):
        assert CARD.encode() not in content
        assert spaced.encode() not in content
    assert b"tok_default_" in table.with_name("out.csv").read_bytes()


def test_profile_names_what_is_lacking(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", str(table), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [m["column"] for m in said["missing"]] == ["device_id", "latitude", "longitude", "country"]
    assert said["columns"]["amount_minor"]["quantiles"]["0.5"] == 999
    assert run(["profile", str(table)]) == 0
    assert "device_id" in capsys.readouterr().out
