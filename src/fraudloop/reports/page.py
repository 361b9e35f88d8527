"""Pages for people: one self-contained HTML file from a template and plain facts, no script, no request to anywhere.

It holds the templates' environment and how figures are written. It knows no model and no gate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from fraudloop.errors import InputError

if TYPE_CHECKING:
    from jinja2 import Environment

ABSENT: Final = "–"


@cache
def _environment() -> Environment:
    """Templates of this package. Every value is escaped; a name that is not there is an error, never an empty place."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise InputError('reports need jinja2; install "fraudloop[train]"') from error
    environment = Environment(
        loader=PackageLoader("fraudloop.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, count=count, figure=figure, points=points, money=money, short=short, words=words)
    environment.globals["absent"] = ABSENT
    return environment


def render(template: str, facts: Mapping[str, Any]) -> str:
    """The page of a template; `facts` are its values. A figure and its percent sign stay on one line."""
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", _environment().get_template(template).render(**facts))


def percent(value: float | None, digits: int | None = None) -> str:
    """A share as percent, with as many decimals as it needs to say something.

    >>> percent(0.5894), percent(0.00123), percent(0.0), percent(1.0), percent(None)
    ('58.9 %', '0.12 %', '0 %', '100 %', '–')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    if digits is None:
        size = abs(100 * value)
        digits = 0 if size in (0.0, 100.0) else 1 if size >= 0.95 else 2 if size >= 0.095 else 3
    return f"{100 * value:.{digits}f} %"


def points(value: float | None) -> str:
    """A difference of two shares, in percentage points, with its sign.

    >>> points(0.0123), points(-0.5), points(None)
    ('+1.23', '−50.0', '–')
    """
    if value is None or not math.isfinite(value):
        return ABSENT
    text = f"{100 * value:+.{1 if abs(value) >= 0.1 else 2}f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def count(value: float | None) -> str:
    """A whole number with thousands.

    >>> count(1234567)
    '1,234,567'
    """
    return ABSENT if value is None or not math.isfinite(value) else f"{value:,.0f}"


def figure(value: float | None, digits: int = 4) -> str:
    """A measure with a fixed number of decimals.

    >>> figure(0.69971), figure(None)
    ('0.6997', '–')
    """
    return ABSENT if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def money(value: float | None, currency: str = "") -> str:
    """An amount in whole units.

    >>> money(9881.98, "EUR")
    '9,882 EUR'
    """
    return count(value) + (f" {currency}" if currency and value is not None else "")


def short(text: str | None, characters: int = 12) -> str:
    """The beginning of a hash.

    >>> short("57740ef1532c59c1")
    '57740ef1532c'
    """
    return ABSENT if not text else text[:characters]


def words(name: str) -> str:
    """A column's name as words.

    >>> words("merchant_category")
    'merchant category'
    """
    return name.replace("_", " ")
