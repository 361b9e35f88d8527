"""Search spaces of hyperparameters, as data: read from TOML, checked by name. The shipped ones are in `spaces.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from fraudloop.errors import InputError
from fraudloop.training.algorithms import find_algorithm


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from low to high, both included; whole numbers if both ends are. log: drawn evenly by ratio."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        return type(self.low) is int and type(self.high) is int

    def holding(self, value: Any) -> Range:
        """The range widened to hold a value.

        >>> Range(2, 7).holding(9)
        Range(low=2, high=9, log=False)
        """
        if self.whole and type(value) is not int:
            return Range(float(min(self.low, value)), float(max(self.high, value)), self.log)
        return Range(min(self.low, value), max(self.high, value), self.log)


@dataclass(frozen=True, slots=True)
class Choices:
    """One of some values: numbers, words, true or false."""

    values: tuple[Any, ...]

    def holding(self, value: Any) -> Choices:
        """The choices with a value among them."""
        return self if value in self.values else Choices((value, *self.values))


Space: TypeAlias = Mapping[str, Range | Choices]


def shipped_space(algorithm: str) -> Space:
    """The space that comes with the package; InputError if there is none for this algorithm."""
    text = resources.files("fraudloop.training").joinpath("spaces.toml").read_text("utf-8")
    return space_of(tomllib.loads(text), algorithm, "the shipped search spaces")


def load_space(path: Path, algorithm: str) -> Space:
    """The space of an algorithm from a TOML file of the same form; InputError names what is wrong in it."""
    try:
        data = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    return space_of(data, algorithm, str(path))


def space_of(data: Mapping[str, Any], algorithm: str, where: str) -> Space:
    """Build and check the table of one algorithm.

    >>> space_of({"forest": {"depth": {"low": 4, "high": 9}}}, "forest", "here")
    {'depth': Range(low=4, high=9, log=False)}
    """
    own = find_algorithm(algorithm)
    table = data.get(algorithm)
    if not isinstance(table, dict) or not table:
        raise InputError(f"{where}: no search space [{algorithm}]; there are {', '.join(data) or 'none'}")
    space: dict[str, Range | Choices] = {}
    for name, row in table.items():
        at = f"{where}: {algorithm}.{name}"
        if name not in own.defaults:
            close = get_close_matches(name, list(own.defaults), n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else f"; it takes {', '.join(own.defaults)}"
            raise InputError(f"{at}: {algorithm} has no such parameter{hint}")
        space[name] = _dimension(row, at)
    return space


def _dimension(row: object, at: str) -> Range | Choices:
    if isinstance(row, dict) and set(row) == {"choices"} and isinstance(row["choices"], list) and row["choices"]:
        if any(not isinstance(value, str | int | float | bool) for value in row["choices"]):
            raise InputError(f"{at}: choices are numbers, words, true or false")
        return Choices(tuple(row["choices"]))
    if isinstance(row, dict) and {"low", "high"} <= set(row) <= {"low", "high", "log"}:
        low, high, log = row["low"], row["high"], row.get("log", False)
        numbers = all(type(end) in (int, float) for end in (low, high)) and type(log) is bool
        if numbers and low <= high and (not log or low > 0):
            return Range(low, high, log)
    raise InputError(f"{at}: write {{ low = .., high = .. }} with low not above high (and above 0 if log = true), or {{ choices = [..] }}")
