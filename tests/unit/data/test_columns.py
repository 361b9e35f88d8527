"""Column maps: what is refused in one, and what the presets say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fraudloop.data.columns import DEFAULT_DELAY_US, ColumnMap
from fraudloop.errors import ColumnMapError, FraudloopError


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"colums": {}}, "unknown key 'colums'; did you mean 'columns'"),
        ({"columns": {"amuont": "x"}}, "'amuont', which is no field; did you mean 'amount'"),
        ({"columns": {"amount": 3}}, "columns.amount must be a text"),
        ({"columns": {"currency": "c"}, "constants": {"currency": "EUR"}}, "both a column and a constant"),
        ({"constants": {"currency": "EURO"}}, "not an ISO 4217"),
        ({"zone": "Mars/Olympus"}, "not an IANA time zone"),
        ({"zone": "../../etc/passwd"}, "not an IANA time zone"),
        ({"ambiguous": "maybe"}, "earliest, latest or refuse"),
        ({"time": {"unit": "min"}}, "must be one of s, ms, us, ns"),
        ({"amount": {"unit": "cents"}}, "must be major or minor"),
        ({"amount": {"decimal": ",", "thousands": ","}}, "two different marks"),
        ({"numbers": {"amount_minor": "x"}}, "name of a field"),
        ({"numbers": {"x": "a"}, "categories": {"x": "a"}}, "both numeric and categorical"),
        ({"numbers": {"x": {"column": "a", "scale": 12}}}, "must be 0 to 9"),
        ({"numbers": {"x": {"column": "a", "scal": 1}}}, "unknown key 'scal'"),
        ({"label": {"delay": "7d"}}, "label needs column"),
        ({"label": {"column": "y", "delay": "soon"}}, "is not a duration"),
        ({"label": {"column": 5}}, "must be a text"),
        ({"expect": {"fraud_rate": [0.5, 0.1]}}, "must be \\[lowest, highest\\]"),
        ({"expect": {"range": {"nothing": [0, 1]}}}, "no extra column"),
        ({"values": {"status": "x"}}, "values.status must be a table"),
        ({"aliases": 1}, "must be true or false"),
        ({"csv": {"delimiter": True}}, "must be a text"),
    ],
)
def test_a_map_that_is_wrong_says_where(data: dict[str, Any], message: str) -> None:
    with pytest.raises(FraudloopError, match=message) as caught:
        ColumnMap.from_dict(data, "my.toml")
    assert "my.toml" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_preset_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ColumnMapError, match="did you mean 'handbook'"):
        ColumnMap.load("handbok")
    with pytest.raises(ColumnMapError, match="cannot be read"):
        ColumnMap.load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("zone = ", "utf-8")
    with pytest.raises(ColumnMapError, match="not valid TOML"):
        ColumnMap.load(tmp_path / "bad.toml")


def test_the_handbook_takes_what_it_names_and_nothing_else() -> None:
    columns = ColumnMap.load("handbook")
    assert not columns.shape.aliases
    assert "TX_FRAUD_SCENARIO" not in columns.shape.fields.values()
    assert columns.label is not None
    assert (columns.label.delay_us, columns.label.stated) == (7 * 86_400_000_000, True)


def test_the_native_map_takes_the_zone_it_is_given_and_assumes_a_delay() -> None:
    columns = ColumnMap.load("native", "Asia/Tokyo")
    assert columns.shape.zone == "Asia/Tokyo"
    assert columns.label is not None
    assert (columns.label.delay_us, columns.label.stated) == (DEFAULT_DELAY_US, False)
    assert ColumnMap.from_dict({"zone": "UTC"}, "m", "Asia/Tokyo").shape.zone == "UTC"


def test_files_that_a_map_names_stand_beside_it(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(
        'rates = "r.csv"\n[label]\nfile = "l.csv"\n[profiles]\nfile = "/abs/p.csv"\nentity = "customer"\n', "utf-8"
    )
    columns = ColumnMap.load(tmp_path / "m.toml")
    assert columns.rates == str(tmp_path / "r.csv")
    assert columns.label is not None
    assert columns.label.file == str(tmp_path / "l.csv")
    assert columns.profiles is not None
    assert columns.profiles.file == "/abs/p.csv"
