"""Reading a table: what a file can be, what a row can hold, and what becomes of both."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraudloop.data.columns import ColumnMap
from fraudloop.data.ingest import Ingested, read
from fraudloop.domain.label import LABEL_SCHEMA
from fraudloop.domain.profile import PROFILE_SCHEMA
from fraudloop.domain.transaction import TRANSACTION_SCHEMA
from fraudloop.door.table import REJECTED_SCHEMA, polars_schema
from fraudloop.errors import ColumnMapError, DataError, InputError

HEADER = "transaction_id,timestamp,amount,currency,customer_id,merchant_id,is_fraud"
GOOD = "t{i},2026-01-31T12:00:{s:02d}Z,9.99,EUR,c1,m1,0"

#: Published test numbers of the schemes.
CARDS = ("4111111111111111", "5555555555554444", "378282246310005", "6011111111111117", "30569309025904", "3530111333300000")


def lines(*rows: str, good: int = 0, header: str = HEADER) -> bytes:
    body = [header, *(GOOD.format(i=f"g{i}", s=i % 60) for i in range(good)), *rows]
    return ("\n".join(body) + "\n").encode()


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Ingested]:
    """Read a file of these bytes."""

    def make(content: bytes, name: str = "t.csv", columns: Any = "native", **more: Any) -> Ingested:
        path = tmp_path / name
        path.write_bytes(content)
        return read(path, columns, **{"max_rejected": 1.0, **more})

    return make


def rules(got: Ingested) -> list[tuple[int, str]]:
    return list(got.rejected.select("row", "rule").iter_rows())


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "t.csv", "is empty"),
        (b"", "t.parquet", "is empty"),
        (gzip.compress(b"", mtime=0), "t.csv.gz", "is empty"),
        (lines(), "t.csv", "has a header but no rows"),
        (os.urandom(4_096), "t.parquet", "named Parquet but is none"),
        (b"PAR1" + os.urandom(4_096), "t.parquet", "damaged Parquet"),
        (b"\x1f\x8b" + os.urandom(4_096), "t.csv.gz", "damaged gzip"),
        (b"\0" + os.urandom(4_096), "t.csv", "no table"),
        (lines(good=2).replace(b"\n", b"\nt\xe9,", 1), "t.csv", "not written in UTF-8"),
        (b"amount,amount\n1,2\n", "t.csv", "stands twice"),
    ],
)
def test_a_file_that_is_no_table_is_refused_and_says_why(table: Callable[..., Ingested], content: bytes, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        table(content, name)
    assert caught.value.exit_code == 2


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none.csv", "native")
    with pytest.raises(InputError, match="folder"):
        read(tmp_path, "native")


def test_a_cut_gzip_file_is_refused(table: Callable[..., Ingested]) -> None:
    whole = gzip.compress(lines(good=5_000))
    with pytest.raises(InputError, match=r"damaged|breaks off"):
        table(whole[: len(whole) // 2], "t.csv.gz")


def test_the_wrong_delimiter_names_the_columns_it_found(table: Callable[..., Ingested]) -> None:
    columns = ColumnMap.from_dict({"csv": {"delimiter": ";"}}, "map")
    with pytest.raises(ColumnMapError, match="no column for transaction_id"):
        table(lines(good=2), columns=columns)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_any_delimiter_a_byte_order_mark_and_gzip_are_found(table: Callable[..., Ingested], mark: str, packed: bool, bom: bytes) -> None:
    content = bom + lines(good=3).replace(b",", mark.encode())
    got = table(gzip.compress(content) if packed else content, "t.csv.gz" if packed else "t.csv")
    assert got.transactions["transaction_id"].to_list() == ["tg0", "tg1", "tg2"]


def test_text_in_another_encoding_is_read_as_the_map_says(table: Callable[..., Ingested]) -> None:
    columns = ColumnMap.from_dict({"csv": {"encoding": "cp1252"}}, "map")
    got = table(lines("t1,2026-01-31T12:00:00Z,1,EUR,Zoë,m,0").decode().encode("cp1252"), columns=columns)
    assert got.transactions["customer_id"].to_list() == ["Zoë"]


def test_quoted_fields_may_hold_delimiters_quotes_and_line_breaks(table: Callable[..., Ingested]) -> None:
    got = table(lines('t1,2026-01-31T12:00:00Z,1,EUR,"a, ""b""\nc",m,0'))
    assert got.transactions["customer_id"].to_list() == ['a, "b"\nc']


def test_malformed_and_blank_lines_do_not_take_others_with_them(table: Callable[..., Ingested]) -> None:
    got = table(
        lines("t1,2026-01-31T12:00:00Z,1,EUR,c,m,0,too,many", "", 't2,2026-01-31T12:00:00Z,1,EUR,"c"x,m,0', GOOD.format(i=9, s=9), good=2)
    )
    assert rules(got) == [(2, "row.fields")]
    assert got.transactions["transaction_id"].to_list() == ["tg0", "tg1", "t2", "t9"]
    assert got.report["notes"]["row.blank"] == 1
    assert got.report["counts"]["transactions"] == {"rows": 5, "accepted": 4, "rejected": 1, "copies": 0}


def test_a_quote_that_is_never_closed_swallows_no_rows_in_silence(table: Callable[..., Ingested]) -> None:
    got = table(lines('t1,2026-01-31T12:00:00Z,1,EUR,"c,m,0', GOOD.format(i=9, s=9), good=2))
    assert rules(got) == [(2, "row.fields")]
    with pytest.raises(InputError, match="opened and not closed"):
        table(lines('t1,2026-01-31T12:00:00Z,1,EUR,"c,m,0', *[GOOD.format(i=i, s=1) for i in range(2_000)]))


# --- columns -------------------------------------------------------------------------------------------------------


def test_a_missing_column_is_named_with_the_nearest_existing_name(table: Callable[..., Ingested]) -> None:
    with pytest.raises(ColumnMapError, match=r"no column for timestamp .* did you mean 'timestmp'"):
        table(lines(good=1).replace(b"timestamp", b"timestmp"))
    columns = ColumnMap.from_dict({"columns": {"amount": "TX_AMOUNT"}}, "map")
    with pytest.raises(ColumnMapError, match=r"no column 'TX_AMOUNT' .* did you mean 'tx_amnt'"):
        table(lines(good=1).replace(b"amount", b"tx_amnt"), columns=columns)


def test_other_names_and_nested_fields_are_found(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "transaction_id": ["t1"],
            "timestamp": ["2026-01-31T12:00:00+02:00"],
            "amount": [9.99],
            "currency": ["eur"],
            "user_id": [7],
            "merchant_country": ["France"],
            "device": [{"id": "d1", "type": "phone", "ip": "10.0.0.1"}],
            "location": [{"latitude": 48.85, "longitude": 2.35}],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    got = read(tmp_path / "t.parquet", "native")
    row = got.transactions.row(0, named=True)
    assert (row["customer_id"], row["country"], row["device_id"], row["ip"], row["currency"]) == ("7", "FR", "d1", "10.0.0.1", "EUR")
    assert (row["latitude"], row["longitude"], row["amount_minor"], row["utc_offset"]) == (488_500_000, 23_500_000, 999, 120)
    assert got.transactions.schema == pl.Schema(polars_schema(TRANSACTION_SCHEMA))


def test_the_tables_have_their_canonical_columns_and_types(table: Callable[..., Ingested]) -> None:
    got = table(lines("t1,2026-01-31T12:00:00Z,1,EUR,c,m,1"))
    assert got.transactions.schema == pl.Schema(polars_schema(TRANSACTION_SCHEMA))
    assert got.labels.schema == pl.Schema(polars_schema(LABEL_SCHEMA))
    assert got.profiles.schema == pl.Schema(polars_schema(PROFILE_SCHEMA))
    assert got.rejected.schema == pl.Schema(REJECTED_SCHEMA)
    row = got.transactions.row(0, named=True)
    assert row["received_at"] == row["timestamp"]
    assert (row["flow"], row["zone_offset"], row["utc_offset"]) == ("payments", 0, None)


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "rule"),
    [
        ("nan", "finite"), ("NaN", "finite"), ("inf", "finite"), ("-Infinity", "finite"), ("-1.00", "negative"), ("1e300", "range"),
        ("10000000000000.01", "range"), ("1.001", "finer"), ("1,00 ", "format"), ("ten", "format"), ("", "missing"), ("0x10", "format"),
    ],
)  # fmt: skip
def test_an_amount_that_is_none_is_refused_with_its_rule(table: Callable[..., Ingested], amount: str, rule: str) -> None:
    got = table(lines(f't1,2026-01-31T12:00:00Z,"{amount}",EUR,c,m,0', good=1))
    assert rules(got) == [(1, f"amount.{rule}")]
    assert got.rejected["column"].to_list() == ["amount"]
    assert got.transactions.height == 1


@pytest.mark.parametrize(
    ("amount", "rule"),
    [(float("nan"), "finite"), (float("inf"), "finite"), (-0.01, "negative"), (1e300, "range"), (0.005, "finer"), (None, "missing")],
)
def test_a_float_that_is_no_amount_is_refused_with_its_rule(tmp_path: Path, amount: float | None, rule: str) -> None:
    frame = pl.DataFrame(
        {
            "transaction_id": ["a", "b"],
            "timestamp": [datetime(2026, 1, 1, tzinfo=UTC)] * 2,
            "amount": [1.5, amount],
            "currency": ["EUR"] * 2,
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    got = read(tmp_path / "t.parquet", "native", max_rejected=1.0)
    assert rules(got) == [(1, f"amount.{rule}")]


def test_refunds_below_zero_and_finer_amounts_are_taken_where_the_map_says_so(table: Callable[..., Ingested]) -> None:
    columns = ColumnMap.from_dict({"amount": {"negative": "allow", "finer": "round"}}, "map")
    got = table(lines("t1,2026-01-31T12:00:00Z,-1.005,EUR,c,m,0"), columns=columns)
    assert got.transactions["amount_minor"].to_list() == [-100]


def test_amounts_with_other_marks_or_in_minor_units(table: Callable[..., Ingested]) -> None:
    german = ColumnMap.from_dict({"amount": {"decimal": ",", "thousands": "."}}, "map")
    assert table(lines('t1,2026-01-31T12:00:00Z,"1.234,50",EUR,c,m,0'), columns=german).transactions["amount_minor"].to_list() == [123_450]
    minor = ColumnMap.from_dict({"amount": {"unit": "minor"}}, "map")
    assert table(lines("t1,2026-01-31T12:00:00Z,1234,JPY,c,m,0"), columns=minor).transactions["amount_minor"].to_list() == [1_234]


def test_minor_units_follow_the_currency(table: Callable[..., Ingested]) -> None:
    got = table(
        lines("t1,2026-01-31T12:00:00Z,5,JPY,c,m,0", "t2,2026-01-31T12:00:00Z,5.125,KWD,c,m,0", "t3,2026-01-31T12:00:00Z,5.5,JPY,c,m,0")
    )
    assert got.transactions["amount_minor"].to_list() == [5, 5_125]
    assert rules(got) == [(2, "amount.finer")]


def test_an_unknown_currency_is_kept_without_an_amount_in_the_base_and_reported(table: Callable[..., Ingested]) -> None:
    got = table(lines("t1,2026-01-31T12:00:00Z,5.25,QQQ,c,m,0", "t2,2026-01-31T12:00:00Z,5.25,,c,m,0", good=1))
    assert got.transactions["amount_minor"].to_list() == [999, 525, 525]
    assert got.transactions["amount_base"].to_list() == [999, None, None]
    assert got.transactions["rate_version"].to_list()[1:] == [None, None]
    assert [(f["rule"], f["rows"], f["failure"]) for f in got.report["findings"]] == [
        ("currency.known", 2, False),
        ("currency.rate", 2, False),
    ]


def test_mixed_and_naive_times_become_utc(table: Callable[..., Ingested]) -> None:
    columns = ColumnMap.from_dict({"zone": "Europe/Berlin"}, "map")
    stamps = [
        "2026-07-01T12:00:00",
        "2026-07-01T12:00:00Z",
        "2026-07-01 12:00:00.1234567-05:30",
        "2026-07-01",
        "2026-03-29T02:30:00",
        "2026-10-25T02:30:00",
    ]
    got = table(lines(*(f"t{i},{s},1,EUR,c,m,0" for i, s in enumerate(stamps))), columns=columns)
    assert got.transactions["timestamp"].to_list() == [
        datetime(2026, 7, 1, 10, tzinfo=UTC),
        datetime(2026, 7, 1, 12, tzinfo=UTC),
        datetime(2026, 7, 1, 17, 30, 0, 123_456, tzinfo=UTC),
        datetime(2026, 6, 30, 22, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),  # twice that night: the earlier
    ]
    assert got.transactions["utc_offset"].to_list() == [None, None, -330, None, None]
    assert got.transactions["zone_offset"].to_list() == [120, 120, 120, 120, 120]
    assert rules(got) == [(4, "timestamp.gap")]


@pytest.mark.parametrize(
    "stamp", ["yesterday", "2026-13-01T00:00:00Z", "2026-02-30", "2026-01-01T25:00:00", "2016-12-31T23:59:60Z", "1767225600"]
)
def test_a_time_that_is_none_is_refused(table: Callable[..., Ingested], stamp: str) -> None:
    assert rules(table(lines(f"t1,{stamp},1,EUR,c,m,0", good=1))) == [(1, "timestamp.format")]


def test_numbers_as_times_need_a_unit_and_a_wrong_one_shows(tmp_path: Path) -> None:
    frame = pl.DataFrame({"transaction_id": ["a"], "timestamp": [1_767_225_600_000], "amount": ["1"], "currency": ["EUR"]})
    frame.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(ColumnMapError, match="unit"):
        read(tmp_path / "t.parquet", "native")
    right = ColumnMap.from_dict({"time": {"unit": "ms"}}, "map")
    assert read(tmp_path / "t.parquet", right).transactions["timestamp"].to_list() == [datetime(2026, 1, 1, tzinfo=UTC)]
    wrong = ColumnMap.from_dict({"time": {"unit": "s"}}, "map")
    assert rules(read(tmp_path / "t.parquet", wrong, max_rejected=1.0)) == [(0, "timestamp.range")]


def test_ids_of_any_script_are_kept_and_endless_ones_refused(table: Callable[..., Ingested]) -> None:
    long = "x" * 10_240
    got = table(lines("🦊🛒-é,2026-01-31T12:00:00Z,1,EUR,客户,m,0", f"t2,2026-01-31T12:00:00Z,1,EUR,{long},m,0"))
    assert got.transactions.select("transaction_id", "customer_id").rows() == [("🦊🛒-é", "客户")]
    assert rules(got) == [(1, "customer_id.length")]
    assert len(got.rejected["value"][0]) <= 60


def test_an_unknown_category_is_a_category_and_an_unknown_status_is_not_one(table: Callable[..., Ingested]) -> None:
    header = "transaction_id,timestamp,amount,currency,merchant_category,status,country"
    got = table(
        lines(
            "a,2026-01-31,1,EUR,never seen,captured,",
            "b,2026-01-31,1,EUR,,Teapot,",
            "c,2026-01-31,1,EUR,,,Atlantis",
            "d,2026-01-31,1,EUR,,,unknown",
            header=header,
        )
    )
    assert got.transactions.select("transaction_id", "merchant_category", "status", "country").rows() == [
        ("a", "never seen", "captured", None),
        ("d", None, None, None),
    ]
    assert rules(got) == [(1, "status.unknown"), (2, "country.unknown")]


def test_places_out_of_range_are_refused_and_halves_left_out(table: Callable[..., Ingested]) -> None:
    header = "transaction_id,timestamp,amount,currency,latitude,longitude"
    got = table(
        lines(
            "a,2026-01-31,1,EUR,90,-180", "b,2026-01-31,1,EUR,90.1,0", "c,2026-01-31,1,EUR,1,", "d,2026-01-31,1,EUR,north,1", header=header
        )
    )
    assert got.transactions.select("latitude", "longitude").rows() == [(900_000_000, -1_800_000_000), (None, None)]
    assert rules(got) == [(1, "latitude.range"), (3, "latitude.format")]
    assert got.report["notes"]["place.half"] == 1


# --- the same id again ---------------------------------------------------------------------------------------------


def test_an_id_again_with_the_same_body_is_counted_once_and_with_another_refused(table: Callable[..., Ingested]) -> None:
    first = "t1,2026-01-31T12:00:00Z,9.99,EUR,c1,m1,1"
    got = table(lines(first, "t1,2026-01-31T13:00:00+01:00,9.990,EUR,c1,m1,0", first, first.replace("9.99", "9.98"), first, good=1))
    # 13:00+01:00 is the same moment, but says where the clock stood: another body.
    assert rules(got) == [(2, "transaction_id.conflict"), (4, "transaction_id.conflict")]
    assert got.report["counts"]["transactions"] == {"rows": 6, "accepted": 2, "rejected": 2, "copies": 2}
    assert got.labels["transaction_id"].to_list() == ["t1"]


# --- labels --------------------------------------------------------------------------------------------------------


def test_labels_beside_become_known_after_the_stated_delay(table: Callable[..., Ingested]) -> None:
    stated = ColumnMap.from_dict({"label": {"column": "is_fraud", "delay": "7d"}}, "map")
    rows = ("t1,2026-01-31T12:00:00Z,1,EUR,c,m,1", "t2,2026-01-31T12:00:00Z,1,EUR,c,m,0", "t3,2026-01-31T12:00:00Z,1,EUR,c,m,")
    got = table(lines(*rows), columns=stated)
    assert got.labels.rows() == [("t1", True, "file", datetime(2026, 2, 7, 12, tzinfo=UTC), None)]
    assert got.report["fraud"] == {"labelled": 2, "frauds": 1, "rate": 0.5}
    assert not any("become known" in w or "became known" in w for w in got.report["warnings"])
    unstated = table(lines(*rows))
    assert unstated.labels["known_at"].to_list() == [datetime(2026, 1, 31, 12, tzinfo=UTC) + timedelta(days=30)]
    assert any("30 days" in w for w in unstated.report["warnings"])


def test_a_label_that_cannot_be_read_takes_its_row_along(table: Callable[..., Ingested]) -> None:
    got = table(lines("t1,2026-01-31T12:00:00Z,1,EUR,c,m,maybe", good=2))
    assert rules(got) == [(2, "is_fraud.format")]
    assert got.transactions.height == 2


def test_words_of_the_users_own_are_labels_where_the_map_says_so(table: Callable[..., Ingested]) -> None:
    columns = ColumnMap.from_dict({"label": {"column": "is_fraud", "true": ["F"], "false": ["G"]}}, "map")
    got = table(lines("t1,2026-01-31T12:00:00Z,1,EUR,c,m,F", "t2,2026-01-31T12:00:00Z,1,EUR,c,m,G"), columns=columns)
    assert got.labels["transaction_id"].to_list() == ["t1"]


def test_labels_apart_are_held_against_their_transactions(table: Callable[..., Ingested], tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "transaction_id,is_fraud,source,known_at,reason\n"
        "tg0,1,chargeback,2026-02-20T00:00:00Z,10.4\n"
        "tg1,0,review,2026-01-31T12:00:01Z,\n"
        "tg1,1,review,2026-01-31T12:00:00Z,\n"  # before its transaction
        "nobody,1,review,2026-02-20T00:00:00Z,\n"
        "tg2,1,astrology,2026-02-20T00:00:00Z,\n"
    )
    got = table(lines(good=3), labels=labels)
    assert got.labels.select("transaction_id", "is_fraud", "source").rows() == [("tg0", True, "chargeback"), ("tg1", False, "review")]
    assert got.rejected.filter(pl.col("table") == "labels").select("row", "rule").sort("row").rows() == [
        (2, "label.before_transaction"), (3, "label.no_transaction"), (4, "source.unknown"),
    ]  # fmt: skip
    assert got.report["counts"]["labels"] == {"rows": 5, "accepted": 2, "rejected": 2, "without_transaction": 1}


def test_profiles_come_from_their_own_file(table: Callable[..., Ingested], tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.csv"
    profiles.write_text(
        "entity,id,time,home_country,home_latitude,home_longitude,opened_at\ncustomer,c1,2025-01-01,Germany,52.5,13.4,2019-05-01\n"
    )
    got = table(lines(good=1), profiles=profiles)
    row = got.profiles.row(0, named=True)
    assert (row["entity"], row["id"], row["home_country"], row["home_latitude"]) == ("customer", "c1", "DE", 525_000_000)
    assert row["opened_at"] == datetime(2019, 5, 1, tzinfo=UTC)


# --- how many may be bad -------------------------------------------------------------------------------------------


def test_more_bad_rows_than_allowed_stop_the_run_but_the_quarantine_is_written(table: Callable[..., Ingested], tmp_path: Path) -> None:
    bad = "t1,2026-01-31T12:00:00Z,ten,EUR,c,m,0"
    assert table(lines(bad, good=99), max_rejected=0.01).transactions.height == 99
    quarantine = tmp_path / "bad.csv"
    with pytest.raises(DataError, match=r"2 of 100 transactions are bad \(2.0%, at most 1.0%\): 2 x amount.format") as caught:
        table(lines(bad, bad.replace("t1", "t2"), good=98), max_rejected=0.01, quarantine=quarantine)
    assert caught.value.exit_code == 2
    kept = pl.read_csv(quarantine)
    assert kept.columns == ["table", "row", "column", "rule", "reason", "value"]
    assert kept.select("row", "column", "rule", "value").rows() == [
        (98, "amount", "amount.format", "ten"),
        (99, "amount", "amount.format", "ten"),
    ]


def test_a_row_with_two_faults_is_one_bad_row_with_two_reasons(table: Callable[..., Ingested]) -> None:
    got = table(lines("t1,noon,ten,EUR,c,m,0", good=1))
    assert sorted(got.rejected["rule"].to_list()) == ["amount.format", "timestamp.format"]
    assert got.report["counts"]["transactions"]["rejected"] == 1


@pytest.mark.parametrize("name", ["bad.parquet", "bad.csv"])
def test_the_quarantine_is_written_in_the_format_of_its_name(table: Callable[..., Ingested], tmp_path: Path, name: str) -> None:
    got = table(lines("t1,noon,1,EUR,c,m,0", good=1), quarantine=tmp_path / name)
    kept = pl.read_parquet(tmp_path / name) if name.endswith("parquet") else pl.read_csv(tmp_path / name)
    assert kept.select("row", "rule").rows() == rules(got)
    with pytest.raises(InputError, match="ends in"):
        table(lines(good=1), quarantine=tmp_path / "bad.xlsx")
    with pytest.raises(InputError, match="no folder"):
        table(lines(good=1), quarantine=tmp_path / "none" / "bad.csv")


# --- card numbers --------------------------------------------------------------------------------------------------


def everything(got: Ingested) -> bytes:
    """All that a reading gives, as bytes."""
    frames = (got.transactions, got.labels, got.profiles, got.rejected)
    return "".join(f.write_csv() for f in frames).encode() + repr(got.report).encode()


@pytest.mark.parametrize("card", CARDS)
def test_a_card_number_in_an_id_becomes_its_token_and_is_in_no_byte_that_comes_out(table: Callable[..., Ingested], card: str) -> None:
    spaced = " ".join(card[i : i + 4] for i in range(0, len(card), 4))
    header = "transaction_id,timestamp,amount,currency,customer_id,card_id,merchant_category"
    got = table(lines(
        f"a,2026-01-31,1,EUR,{card},{spaced},food", f"b,2026-01-31,1,EUR,c,c,paid with {card}", f"c,2026-01-31,{card},EUR,c,c,food",
        f"{card},noon,1,EUR,c,c,food", f"d,{card},1,EUR,c,c,food", header=header,
    ))  # fmt: skip
    row = got.transactions.row(0, named=True)
    assert row["customer_id"] == row["card_id"]
    assert row["customer_id"].startswith("tok_default_")
    assert (1, "card_number") in rules(got)
    assert got.rejected.filter(pl.col("rule") == "card_number")["column"].to_list() == ["merchant_category"]
    out = everything(got)
    assert card.encode() not in out
    assert spaced.encode() not in out
    assert any("key that everybody has" in w for w in got.report["warnings"])


def test_a_card_number_in_a_column_of_numbers_is_refused_by_name(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "transaction_id": ["a", "b"],
            "timestamp": [datetime(2026, 1, 1, tzinfo=UTC)] * 2,
            "amount": ["1"] * 2,
            "currency": ["EUR"] * 2,
            "points": [5, int(CARDS[0])],
        }
    )
    frame.write_parquet(tmp_path / "t.parquet")
    got = read(tmp_path / "t.parquet", ColumnMap.from_dict({"numbers": {"points": "points"}}, "map"), max_rejected=1.0)
    assert got.rejected.select("row", "column", "rule", "value").rows() == [(1, "points", "card_number", None)]
    assert CARDS[0].encode() not in everything(got)
