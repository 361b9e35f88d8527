"""A data set of another shape (that of a well-known public simulation of card payments) through its column map alone.

The map is the one that `docs/reference/columns.md` works through; it is read from that page, so the page stays true.
"""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fraudloop.data.columns import ColumnMap
from fraudloop.data.ingest import read
from fraudloop.pipelines.data import profile, validate
from fraudloop.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "columns.md"
CARDS = ("4111111111111111", "378282246310005", "5555555555554444", "60416207185", "6011111111111117")
CATEGORIES = ("grocery_pos", "gas_transport", "misc_net", "shopping_net", "travel")


def the_map() -> str:
    """The worked example of the page."""
    found = re.search(r"<!-- example: another shape -->\n```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def sparse(tmp_path: Path) -> tuple[Path, Path, list[dict[str, Any]]]:
    """A file of that shape, its map, and its rows."""
    draw = random.Random(7)
    rows = []
    moment = datetime(2019, 1, 1, 0, 0, 18)  # noqa: DTZ001 - the file has no zone
    for i in range(400):
        moment += timedelta(seconds=draw.randrange(1, 900))
        home = (round(draw.uniform(25, 48), 4), round(draw.uniform(-120, -70), 4))
        rows.append(
            {
                "": i,
                "trans_date_trans_time": moment.strftime("%d/%m/%Y %H:%M:%S"),
                "cc_num": draw.choice(CARDS),
                "merchant": f"fraud_{draw.choice(('Kirlin and Sons', 'Sporer-Keebler', 'Haley Group'))}",
                "category": draw.choice(CATEGORIES),
                "amt": f"{draw.randrange(100, 90_000) / 100:.2f}",
                "gender": draw.choice("FM"),
                "lat": home[0],
                "long": home[1],
                "city_pop": draw.randrange(23, 2_900_000),
                "job": draw.choice(("Psychologist, counselling", "Mechanical engineer")),
                "trans_num": f"{draw.getrandbits(128):032x}",
                "merch_lat": round(home[0] + draw.uniform(-1, 1), 6),
                "merch_long": round(home[1] + draw.uniform(-1, 1), 6),
                "is_fraud": int(draw.random() < 0.05),
            }
        )
    data, columns = tmp_path / "payments.csv", tmp_path / "payments.toml"
    pl.DataFrame(rows).write_csv(data)
    columns.write_text(the_map(), "utf-8")
    return data, columns, rows


def test_it_is_read_by_its_map_alone(sparse: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    data, columns, rows = sparse
    got = read(data, columns)
    assert got.rejected.height == 0
    assert got.transactions.height == len(rows)
    for row, source in zip(got.transactions.iter_rows(named=True), rows, strict=True):
        local = datetime.strptime(source["trans_date_trans_time"], "%d/%m/%Y %H:%M:%S")  # noqa: DTZ007
        assert row["timestamp"] == local.replace(tzinfo=UTC) + timedelta(hours=5)  # winter in New York
        assert row["zone_offset"] == -300
        assert row["transaction_id"] == source["trans_num"]
        assert row["merchant_id"] == source["merchant"]
        assert row["merchant_category"] == source["category"]
        assert row["amount_minor"] == round(float(source["amt"]) * 100)
        assert row["currency"] == "USD"
        assert row["amount_base"] == row["amount_minor"]  # the map says that dollars are the base
        assert row["country"] == "US"
        assert row["latitude"] == round(source["merch_lat"] * 10**7)
        assert row["home_longitude"] == round(source["long"] * 10**7)
        assert row["city_pop"] == source["city_pop"]
        assert (row["gender"], row["job"]) == (source["gender"], source["job"])
    assert got.transactions.schema["city_pop"] == pl.Int64
    assert got.labels["transaction_id"].to_list() == [r["trans_num"] for r in rows if r["is_fraud"]]


def test_its_card_numbers_become_tokens_that_still_tell_customers_apart(sparse: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    data, columns, rows = sparse
    got = read(data, columns)
    ids = dict(zip((r["cc_num"] for r in rows), got.transactions["customer_id"].to_list(), strict=True))
    assert len(set(ids.values())) == len(CARDS)
    assert [number for number, name in ids.items() if not name.startswith("tok_")] == ["60416207185"]  # 11 digits: no card
    out = got.transactions.write_csv() + got.labels.write_csv() + repr(got.report)
    assert not any(number in out for number in CARDS if number != "60416207185")


def test_what_the_map_expects_is_held_against_the_file(sparse: tuple[Path, Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    data, columns, rows = sparse
    text = data.read_text().replace(f",{rows[3]['city_pop']},", ",-1,")
    data.write_text(text)
    got = read(data, columns)
    assert got.rejected.select("row", "column", "rule").rows() == [(3, "city_pop", "expect.city_pop.range")]
    strict = tmp_path / "strict.toml"
    strict.write_text(the_map().replace("fraud_rate = [0.0, 0.2]", "fraud_rate = [0.0, 0.001]"), "utf-8")
    done = validate(data, strict, Settings(), max_rejected=1.0, out=tmp_path / "out.parquet")
    assert [f.split(":")[0] for f in done.failures] == ["fraud_rate"]
    assert not (tmp_path / "out.parquet").exists()


def test_profile_says_which_features_it_can_have(sparse: tuple[Path, Path, list[dict[str, Any]]]) -> None:
    data, columns, _ = sparse
    found = profile(data, columns, "default", Settings())
    assert {"customer_km_from_home", "merchant_fraud_rate_7d_after_7d", "is_foreign"} <= set(found["features"]["given"])
    assert [m["column"] for m in found["missing"]] == ["device_id"]
    assert found["columns"]["category" if "category" in found["columns"] else "merchant_category"]["distinct"] == len(CATEGORIES)
    assert found["columns"]["city_pop"]["quantiles"]["0"] >= 23


def test_the_page_names_every_key_of_a_map() -> None:
    from fraudloop.data.columns import KEYS

    page = PAGE.read_text("utf-8")
    for table, keys in KEYS.items():
        for key in keys:
            assert f"`{f'{table}.' if table else ''}{key}`" in page, f"{table}.{key} is not on the page"
    ColumnMap.from_toml(the_map(), "page")
