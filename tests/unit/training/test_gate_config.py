"""What the gate asks for is read from TOML, and what is not understood is named with the nearest known word."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fraudloop.errors import InputError
from fraudloop.training import gate_config
from fraudloop.training.gate_config import Floor, GateConfig


def test_the_example_of_the_module_is_a_configuration(tmp_path: Path) -> None:
    text = str(gate_config.__doc__).partition("\n\n")[2]
    (tmp_path / "gate.toml").write_text(text)
    (tmp_path / "smoke.toml").write_text('[[case]]\nname = "x"\nfraud = true\ninputs = { amount = 900, country = "BR", online = true }\n')
    config = GateConfig.load(tmp_path / "gate.toml")
    assert config.floors == {
        "average_precision": Floor(0.85, "reachable"), "recall_at_90_precision": Floor(0.3), "precision_at_budget": Floor(10, "base"),
    }  # fmt: skip
    assert (config.segments, config.gaps, config.gain_min) == (("country", "age_group"), {"false_positive_rate": 0.05}, 0.005)
    assert (config.smoke[0].numbers, config.smoke[0].words) == ({"amount": 900.0, "online": 1.0}, {"country": "BR"})


def test_every_setting_stands_in_some_table() -> None:
    config = {name for table in gate_config._TABLES.values() for name in table.values()} | {"floors"}
    assert config == set(GateConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[floor]\naverage_precision = 0.5", "did you mean 'floors'"),
        ("[floors]\naverage_precison = 0.5", "did you mean 'average_precision'"),
        ('[floors]\nauc_roc = { min = 0.5, of = "reachable" }', "cannot be a share of 'reachable'"),
        ('[floors]\nauc_roc = { min = 0.5, of = "base" }', "cannot be a share of 'base'"),
        ("[floors]\nauc_roc = { max = 0.5 }", "a floor is a number"),
        ('[floors]\nauc_roc = "0.5"', "must be a number"),
        ("[champion]\nworst_max = 0.1", "did you mean 'worse_max'"),
        ('[champion]\nby = "hour"', "card or day"),
        ("[evidence]\nmaturity_min = 2", "from 0 to 1"),
        ("[load]\nrate = 0", "above 0"),
        ("[load]\nrate = true", "must be a number"),
        ("[segments]\ncolumns = 'country'", "list of columns"),
        ("[segments]\ngaps = { false_positives = 0.1 }", "did you mean 'false_positive_rate'"),
        ("latency = 5", "must be a table"),
        ("[smoke]\nfile = 'none.toml'", "cannot be read"),
        ("x = ", "not valid TOML"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "gate.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(says)):
        GateConfig.load(tmp_path / "gate.toml")


def test_floors_can_be_none_at_all() -> None:
    assert GateConfig.from_dict(tomllib.loads("[floors]")).floors == {}
