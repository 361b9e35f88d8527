"""Charts as SVG for pages: lines, points and intervals over two axes, in the colours of the page around them.

The kin of `reports.plots`, which draws PNG: same curves, same words. Lines differ in dashes and marks in shape, so that
nothing rests on colour. Each chart has a text for those who cannot see it. It knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 480.0, 316.0
LEFT, RIGHT, TOP, BOTTOM = 66.0, 20.0, 12.0, 44.0

Scale = Callable[[float], float]
Points = Sequence[tuple[float, float]]


@dataclass(slots=True)
class Chart:
    """One pair of axes. x, y: value -> share of the axis from 0 to 1 (values beyond are cut). ticks: (value, label).

    >>> chart = Chart("A line", (0.0, 1.0), (0.0, 1.0), [(0.0, "0"), (1.0, "1")], [(0.0, "0"), (1.0, "1")], "x", "y")
    >>> chart.line([(0.0, 0.0), (1.0, 1.0)])
    >>> '<path class="line"' in chart.svg()
    True
    """

    title: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    x_label: str
    y_label: str
    _marks: list[str] = field(default_factory=list)

    def _x(self, value: float) -> float:
        low, high = self.x_range
        return LEFT + min(1.0, max(0.0, (value - low) / (high - low))) * (WIDTH - LEFT - RIGHT)

    def _y(self, value: float) -> float:
        low, high = self.y_range
        return HEIGHT - BOTTOM - min(1.0, max(0.0, (value - low) / (high - low))) * (HEIGHT - TOP - BOTTOM)

    def _path(self, points: Points) -> str:
        return "M" + "L".join(f"{self._x(x):.1f} {self._y(y):.1f}" for x, y in points)

    def line(self, points: Points, kind: str = "", area: bool = False) -> None:
        """A line through points; `area` shades what lies under it."""
        if len(points) < 2:
            return
        if area:
            base = f"{HEIGHT - BOTTOM:.1f}"
            self._marks.append(
                f'<path class="area" d="{self._path(points)}L{self._x(points[-1][0]):.1f} {base}L{self._x(points[0][0]):.1f} {base}Z"/>'
            )
        self._marks.append(f'<path class="{f"line {kind}".strip()}" d="{self._path(points)}"/>')

    def guide(self, start: tuple[float, float], end: tuple[float, float], label: str = "") -> None:
        """A dashed line to compare with, and its name near where it begins."""
        self._marks.append(f'<path class="guide" d="{self._path([start, end])}"/>')
        if label:
            self._marks.append(f'<text x="{self._x(start[0]) + 6:.1f}" y="{self._y(start[1]) - 6:.1f}">{escape(label)}</text>')

    def upright(self, x: float, label: str, down: float = 0.0) -> None:
        """A dashed line from top to bottom, named at its head; the name goes to the side with more room."""
        at = self._x(x)
        left = at > (LEFT + WIDTH) / 2
        self._marks.append(f'<path class="guide" d="M{at:.1f} {TOP:.1f}V{HEIGHT - BOTTOM:.1f}"/>')
        self._marks.append(
            f'<text class="strong" x="{at + (-5 if left else 5):.1f}" y="{TOP + 11 + down:.1f}" text-anchor="{"end" if left else "start"}">{escape(label)}</text>'
        )

    def dot(self, x: float, y: float, kind: str = "", text: str = "", square: bool = False) -> None:
        """A point, round or square; `text` is shown where a pointer rests on it."""
        title = f"<title>{escape(text)}</title>" if text else ""
        cx, cy = self._x(x), self._y(y)
        name = f"dot {kind}".strip()
        if square:
            self._marks.append(f'<rect class="{name}" x="{cx - 6:.1f}" y="{cy - 6:.1f}" width="12" height="12">{title}</rect>')
        else:
            self._marks.append(f'<circle class="{name}" cx="{cx:.1f}" cy="{cy:.1f}" r="{6.5 if kind else 5}">{title}</circle>')

    def interval(self, x: float, low: float, high: float) -> None:
        """An upright bar from `low` to `high`."""
        self._marks.append(f'<path class="bar" d="M{self._x(x):.1f} {self._y(low):.1f}V{self._y(high):.1f}"/>')

    def svg(self) -> str:
        """The chart, as text that needs nothing else."""
        out = [f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(self.title)}">']
        for value, label in self.x_ticks:
            at = self._x(value)
            out.append(f'<path class="grid" d="M{at:.1f} {TOP:.1f}V{HEIGHT - BOTTOM:.1f}"/>')
            out.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 16:.1f}" text-anchor="middle">{escape(label)}</text>')
        for value, label in self.y_ticks:
            at = self._y(value)
            out.append(f'<path class="grid" d="M{LEFT:.1f} {at:.1f}H{WIDTH - RIGHT:.1f}"/>')
            out.append(f'<text x="{LEFT - 6:.1f}" y="{at + 4:.1f}" text-anchor="end">{escape(label)}</text>')
        out.append(f'<path class="axis" d="M{LEFT:.1f} {TOP:.1f}V{HEIGHT - BOTTOM:.1f}H{WIDTH - RIGHT:.1f}"/>')
        out += self._marks
        middle = (LEFT + WIDTH - RIGHT) / 2
        out.append(f'<text x="{middle:.1f}" y="{HEIGHT - 8:.1f}" text-anchor="middle">{escape(self.x_label)}</text>')
        down = (TOP + HEIGHT - BOTTOM) / 2
        out.append(f'<text transform="translate(11 {down:.1f}) rotate(-90)" text-anchor="middle">{escape(self.y_label)}</text>')
        return "".join([*out, "</svg>"])


def shares(step: float = 0.2) -> list[tuple[float, str]]:
    """Ticks of a share from 0 to 1.

    >>> shares(0.5)
    [(0.0, '0 %'), (0.5, '50 %'), (1.0, '100 %')]
    """
    return [(at * step, f"{100 * at * step:.0f} %") for at in range(round(1 / step) + 1)]


def round_ticks(highest: float, most: int = 5) -> list[float]:
    """Round values from 0 to about `highest`.

    >>> round_ticks(47_000)
    [0.0, 10000.0, 20000.0, 30000.0, 40000.0]
    """
    if not highest > 0:
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(highest / most))
    step = next(m * size for m in (1, 2, 5, 10) if highest / (m * size) <= most)
    return [step * at for at in range(int(highest / step * (1 + 1e-9)) + 1)]
