"""The reference page of the synthetic world names every option, column, scheme and share as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from fraudloop.cli.generate import command
from fraudloop.simulation.geography import geography
from fraudloop.simulation.pattern import DEFAULT_MIX
from fraudloop.simulation.schemes import SIZES
from fraudloop.simulation.tables import LABELS, TRANSACTIONS, TRUTH
from fraudloop.simulation.world import CATEGORIES

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "simulation.md").read_text("utf-8")


def options() -> list[str]:
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return [parameter.opts[0] for parameter in typer.main.get_command(app).params if parameter.name not in ("json", "help")]


@pytest.mark.parametrize("option", options())
def test_every_option_is_explained(option: str) -> None:
    assert f"`{option}`" in PAGE


@pytest.mark.parametrize("column", [*TRANSACTIONS, *LABELS, *TRUTH])
def test_every_column_is_named(column: str) -> None:
    assert f"`{column}`" in PAGE


def test_schemes_stand_with_their_shares_and_sizes() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (0\.\d+) \|", PAGE, re.MULTILINE))
    assert {name: float(share) for name, share in rows.items()} == dict(DEFAULT_MIX)
    for scheme in ("card_testing", "account_takeover", "lost_or_stolen"):
        low, high = SIZES[scheme]
        assert re.search(rf"`{scheme}` .*{low}–{high} ", PAGE)


def test_counts_of_the_world_are_right() -> None:
    assert f"live in {len(geography().country_code)} countries" in PAGE
    assert f"belong to {len(CATEGORIES)} categories" in PAGE
