"""Charts as SVG: points lie where their values say, names are escaped, a chart says in words what it shows."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from fraudloop.reports.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, round_ticks, shares


def chart(title: str = "t") -> Chart:
    return Chart(title, (0.0, 1.0), (0.0, 10.0), shares(0.5), [(0.0, "0"), (10.0, "10")], "x", "y")


def test_points_lie_where_their_values_say() -> None:
    made = chart()
    made.dot(0.0, 0.0)
    made.dot(1.0, 10.0)
    made.dot(2.0, -5.0)
    found = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in ET.fromstring(made.svg()).iter("circle")]
    assert found == [(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP), (WIDTH - RIGHT, HEIGHT - BOTTOM)]


def test_everything_together_is_well_formed_and_escaped() -> None:
    made = chart('<script>"&')
    made.line([(0.0, 0.0), (1.0, 5.0)], "second", area=True)
    made.line([(0.0, 0.0)])
    made.guide((0.0, 1.0), (1.0, 1.0), "<b>")
    made.upright(0.9, "<i>")
    made.interval(0.5, 1.0, 2.0)
    made.dot(0.5, 5.0, "decline", "<u>", square=True)
    root = ET.fromstring(made.svg())
    assert root.attrib["aria-label"] == '<script>"&'
    assert "<script>" not in made.svg()
    assert {"<b>", "<i>", "<u>"} <= {element.text for element in root.iter()}


@pytest.mark.parametrize("highest", [0.004, 0.7, 1.0, 9.0, 47_000.0, 1e7])
def test_ticks_are_round_and_few(highest: float) -> None:
    ticks = round_ticks(highest)
    assert ticks[0] == 0.0
    assert 2 <= len(ticks) <= 6
    assert ticks[-1] <= highest * 1.000001
    assert f"{ticks[1]:e}"[0] in "125"


def test_nothing_to_count_still_has_an_axis() -> None:
    assert round_ticks(0.0) == [0.0, 1.0]
