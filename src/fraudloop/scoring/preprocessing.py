"""Preprocessing as data: from raw numbers and words to the columns a model reads.

It is fitted in `training.preprocessing` and only applied here, by the same code in training and in service. A step
is plain numbers and words, so it is stored as JSON. Every operation goes by element (no sum over rows or columns,
no library matrix product): the result of a row does not depend on the rows beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudloop.errors import BundleError, InputError
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.logarithm import signed_log

Columns = list[NDArray[np.float64]]

#: Rows whose numbers are worked on at once: they stay in the cache, and working memory does not follow the table.
_ROWS = 4_096


@dataclass(frozen=True, slots=True)
class NumberStep:
    """One number column. In this order: infinite becomes missing; missing becomes `fill` (None: stays NaN); what lies
    outside [low, high] becomes the nearer end (None: no end); with `log` the value becomes `sign(v) log(1 + |v|)`;
    `(value - centre) / scale`. With `indicator` a second column says 1 where the value was missing."""

    column: str
    fill: float | None = None
    indicator: bool = False
    centre: float = 0.0
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    log: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.column, f"{self.column}=missing") if self.indicator else (self.column,)


@dataclass(frozen=True, slots=True)
class OneHotStep:
    """One word column as a 0/1 column for each of `levels`, then one for any other word and one for no word."""

    column: str
    levels: tuple[str, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        return (*(f"{self.column}={level}" for level in self.levels), f"{self.column}=other", f"{self.column}=missing")

    def apply(self, words: Sequence[str | None]) -> Columns:
        codes = _codes(words, self.levels)
        return [(codes == code).astype(np.float64) for code in (*range(len(self.levels)), len(self.levels), -1)]


@dataclass(frozen=True, slots=True)
class OrdinalStep:
    """One word column as one number: the place of the word in `levels` (most frequent first), `len(levels)` for any
    other word, `fill` for no word (None: NaN)."""

    column: str
    levels: tuple[str, ...]
    fill: float | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.column,)

    def apply(self, words: Sequence[str | None]) -> Columns:
        codes = _codes(words, self.levels).astype(np.float64)
        return [np.where(codes < 0, math.nan if self.fill is None else self.fill, codes)]


Step = NumberStep | OneHotStep | OrdinalStep
_KINDS: Mapping[str, type[Step]] = {"number": NumberStep, "one_hot": OneHotStep, "ordinal": OrdinalStep}


def _codes(words: Sequence[str | None], levels: Sequence[str]) -> NDArray[np.int64]:
    """The place of each word in `levels`; `len(levels)` where it is not among them, -1 for None."""
    place: dict[str | None, int] = {level: at for at, level in enumerate(levels)}
    place[None] = -1
    other = len(levels)
    return np.fromiter((place.get(word, other) for word in words), np.int64, len(words))


class _Numbers:
    """All number steps of a preprocessing as rows of arrays, so that a small batch costs a few operations, not a few for
    each column."""

    def __init__(self, steps: Sequence[Step]) -> None:
        own: list[tuple[NumberStep, int]] = []
        at = 0
        for step in steps:
            if isinstance(step, NumberStep):
                own.append((step, at))
            at += len(step.outputs)
        self.columns = tuple(step.column for step, _ in own)
        self.places = np.array([place for _, place in own], np.int64)
        self.flagged = np.array([index for index, (step, _) in enumerate(own) if step.indicator], np.int64)
        self.logged = np.array([index for index, (step, _) in enumerate(own) if step.log], np.int64)
        self.fill = np.array([math.nan if step.fill is None else step.fill for step, _ in own])
        self.low = np.array([-math.inf if step.low is None else step.low for step, _ in own])
        self.high = np.array([math.inf if step.high is None else step.high for step, _ in own])
        self.centre = np.array([step.centre for step, _ in own], np.float64)
        self.scale = np.array([step.scale for step, _ in own], np.float64)

    def apply(self, values: NDArray[np.float64], out: NDArray[np.float64]) -> None:
        """values: float64 [n, len(columns)]. out: [n, all outputs], of which the columns of numbers are written."""
        missing = ~np.isfinite(values)
        filled = np.where(missing, self.fill, values)
        np.minimum(np.maximum(filled, self.low, out=filled), self.high, out=filled)
        if len(self.logged):
            filled[:, self.logged] = signed_log(filled[:, self.logged])
        filled -= self.centre
        filled /= self.scale
        out[:, self.places] = filled
        if len(self.flagged):
            out[:, self.places[self.flagged] + 1] = missing[:, self.flagged]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Steps in the order of the output columns.

    >>> steps = Preprocessing((NumberStep("amount", fill=0.0), OneHotStep("country", ("DE",))))
    >>> steps.apply(Inputs(("amount",), np.array([[3.0], [np.nan]]), {"country": ["DE", "XX"]}))
    array([[3., 1., 0., 0.],
           [0., 0., 1., 0.]])
    """

    steps: tuple[Step, ...]
    _numbers: _Numbers = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", _Numbers(self.steps))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the columns a model reads."""
        return tuple(name for step in self.steps for name in step.outputs)

    @property
    def numbers(self) -> tuple[str, ...]:
        """The number columns it needs."""
        return tuple(step.column for step in self.steps if isinstance(step, NumberStep))

    @property
    def words(self) -> tuple[str, ...]:
        """The word columns it needs."""
        return tuple(step.column for step in self.steps if not isinstance(step, NumberStep))

    def apply(self, inputs: Inputs) -> NDArray[np.float64]:
        """float64 [n, len(outputs)]. InputError names a column that is not there; values may be missing or new."""
        at = {name: index for index, name in enumerate(inputs.names)}
        for name in self._numbers.columns:
            if name not in at:
                raise _absent(name, at)
        out = np.empty((len(inputs), sum(len(step.outputs) for step in self.steps)), np.float64)
        read = np.array([at[name] for name in self._numbers.columns], np.int64)
        for start in range(0, len(inputs), _ROWS):
            self._numbers.apply(inputs.values[start : start + _ROWS, read], out[start : start + _ROWS])
        done = 0
        for step in self.steps:
            if not isinstance(step, NumberStep):
                if step.column not in inputs.categories:
                    raise _absent(step.column, inputs.categories)
                for number, column in enumerate(step.apply(inputs.categories[step.column])):
                    out[:, done + number] = column
            done += len(step.outputs)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain data, the inverse of :meth:`from_dict`."""
        kinds = {kind: name for name, kind in _KINDS.items()}
        return {"steps": [{"kind": kinds[type(step)], **asdict(step)} for step in self.steps]}

    @staticmethod
    def from_dict(data: Mapping[str, Any], where: str = "preprocessing.json") -> Preprocessing:
        """Build and check; BundleError names `where` and the step that is not understood."""
        steps: list[Step] = []
        try:
            for number, row in enumerate(data["steps"]):
                fields: dict[str, Any] = {key: tuple(value) if key == "levels" else value for key, value in row.items() if key != "kind"}
                step = _KINDS[row["kind"]](**fields)
                _check(step, f"step {number + 1}")
                steps.append(step)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{where}: not a preprocessing this version understands ({error})") from error
        if len({step.column for step in steps}) != len(steps):
            raise BundleError(f"{where}: a column stands in two steps")
        return Preprocessing(tuple(steps))


def _check(step: Step, at: str) -> None:
    if type(step.column) is not str:
        raise TypeError(f"{at}: column {step.column!r} is not a name")
    numbers: list[float | None] = []
    if isinstance(step, NumberStep):
        numbers = [step.centre, step.scale, *(value for value in (step.fill, step.low, step.high) if value is not None)]
    elif isinstance(step, OrdinalStep) and step.fill is not None:
        numbers = [step.fill]
    for value in numbers:
        if value is None or type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"{at}: {value!r} is not a finite number")
    if isinstance(step, NumberStep):
        if step.scale <= 0:
            raise ValueError(f"{at}: scale must be above 0")
        if any(type(flag) is not bool for flag in (step.log, step.indicator)):
            raise TypeError(f"{at}: log and indicator are true or false")
    elif any(type(level) is not str for level in step.levels) or len(set(step.levels)) != len(step.levels):
        raise ValueError(f"{at}: levels must be different words")


def _absent(column: str, have: Mapping[str, object]) -> InputError:
    close = get_close_matches(column, list(have), n=1, cutoff=0.5)
    hint = f"; the nearest is {close[0]!r}" if close else ""
    return InputError(f"the model reads {column!r}, which the table does not have{hint}", column=column)
