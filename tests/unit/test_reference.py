"""The reference pages say what the code says: commands, errors, kinds of features, presets, bounds, the example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from fraudloop import limits
from fraudloop.cli.main import COMMANDS, EXIT_INTERNAL, EXIT_INTERRUPTED, build
from fraudloop.decisions.reasons import MEANINGS, MODERATE, STRONG
from fraudloop.domain.definitions import WINDOWED, FeatureSet, Kind
from tools import reference

ROOT = Path(__file__).resolve().parents[2]


def page(name: str) -> str:
    return (ROOT / "docs" / "reference" / name).read_text("utf-8")


@pytest.mark.parametrize(
    "name", ["commands.md", "errors.md", "features.md", "http.md", "metrics.md", "reasons.md", "rules.md", "serving.md"]
)
def test_what_is_made_from_the_code_is_as_the_code_is(name: str) -> None:
    assert page(name) == reference.pages()[name], "run python tools/reference.py"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_stands_in_its_section(name: str) -> None:
    command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
    parts = {f"### {name} {part}": inner for part, inner in getattr(command, "commands", {}).items()} or {f"## {name}": command}
    for heading, part in parts.items():
        section = page("commands.md").partition(f"\n{heading}\n")[2].partition("\n##")[0]
        for parameter in part.params:
            word = parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]
            assert f"| `{word}` |" in section, word


def test_every_error_and_exit_code_stands_in_the_page() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (\d) \|", page("errors.md"), re.MULTILINE))
    assert rows == {kind.__name__: str(kind.exit_code) for kind in reference.error_classes()}
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page("errors.md"), re.MULTILINE)}
    assert codes == {0, EXIT_INTERNAL, EXIT_INTERRUPTED} | {kind.exit_code for kind in reference.error_classes()}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_feature_has_its_row(kind: Kind) -> None:
    kinds = page("features.md").partition("\n## Kinds\n")[2].partition("\n## ")[0]
    assert re.search(rf"^\|[^|]*`{kind.value}`", kinds, re.MULTILINE)


@pytest.mark.parametrize("preset", reference.preset_names())
def test_every_feature_of_every_preset_stands_in_its_table(preset: str) -> None:
    section = page("features.md").partition(f"\n### {preset}: ")[2].partition("\n### ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(FeatureSet.load(preset).names)


def test_every_code_of_a_reason_stands_in_its_table_and_no_other() -> None:
    assert re.findall(r"^\| `(\w+)` \|", page("reasons.md"), re.MULTILINE) == list(MEANINGS)
    assert f"| {STRONG:g} or more" in page("reasons.md") and f"less than {MODERATE:g} |" in page("reasons.md")


def test_names_in_the_table_of_names_mean_what_it_says() -> None:
    names = page("features.md").partition("\n## Names\n")[2].partition("\n## ")[0]
    examples = [word for row in names.splitlines() if row.startswith("|") for word in re.findall(r"`([a-z_0-9]+)`", row.split("|")[-2])]
    assert len(examples) >= 8
    for name in examples:
        FeatureSet.load("default").parse_name(name)


def test_the_example_is_a_feature_set() -> None:
    [text] = re.findall(r"```toml\n(.*?)```", page("features.md"), re.DOTALL)
    found = FeatureSet.from_toml(text)
    assert found.features[-1].kind is Kind.RATIO
    assert found.features[4].missing == 0.0
    assert found.features[5].exclude_current
    assert found.features[5].kind in WINDOWED


def test_bounds_are_those_of_the_limits() -> None:
    section = page("features.md").partition("\n## Bounds\n")[2].partition("\n## ")[0]
    for row in section.splitlines():
        for name in re.findall(r"`([A-Z_]+)`", row):
            value = getattr(limits, name)
            shown = {"WINDOW_MIN_US": "1 s", "WINDOW_MAX_US": f"{value // limits.DAY_US} days"}.get(name, f"{value:,}")
            assert shown in row, name
