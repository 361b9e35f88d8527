"""Preprocessing as data: from raw numbers and words to the columns a model reads.

It is fitted in `training.preprocessing` and only applied here, by the same code in training and in service. A step
is plain numbers and words, so it is stored as JSON. One compiled kernel goes through the numbers, row by row: the result
of a row does not depend on the rows beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit, plain
from fraudloop.errors import BundleError, InputError
from fraudloop.scoring.inputs import Inputs
from fraudloop.scoring.logarithm import signed_log_of

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


Step = NumberStep | OneHotStep | OrdinalStep
_KINDS: Mapping[str, type[Step]] = {"number": NumberStep, "one_hot": OneHotStep, "ordinal": OrdinalStep}


class _Numbers:
    """All number steps of a preprocessing as arrays, those with a logarithm first, and where each writes to."""

    def __init__(self, steps: Sequence[Step]) -> None:
        found: list[tuple[NumberStep, int]] = []
        at = 0
        for step in steps:
            if isinstance(step, NumberStep):
                found.append((step, at))
            at += len(step.outputs)
        self.columns = tuple(step.column for step, _ in found)
        own = sorted(found, key=lambda pair: not pair[0].log)
        self._ordered = [step.column for step, _ in own]
        self._logs = sum(step.log for step, _ in own)
        self._places = np.array([place for _, place in own], np.int64)
        self._flagged = np.array([index for index, (step, _) in enumerate(own) if step.indicator], np.int64)
        # fill, low, high, centre, scale: a row each
        self._changes = np.array([
            [math.nan if step.fill is None else step.fill for step, _ in own],
            [-math.inf if step.low is None else step.low for step, _ in own],
            [math.inf if step.high is None else step.high for step, _ in own],
            [step.centre for step, _ in own],
            [step.scale for step, _ in own],
        ], np.float64)  # fmt: skip
        self._seen: tuple[tuple[str, ...], NDArray[np.int64]] = ((), np.empty(0, np.int64))

    def _read(self, names: tuple[str, ...]) -> NDArray[np.int64]:
        """Where the columns stand among `names`; a service gives the same tuple again and again."""
        seen, read = self._seen
        if seen is not names:
            at = {name: index for index, name in enumerate(names)}
            for name in self.columns:
                if name not in at:
                    raise _absent(name, at)
            read = np.array([at[name] for name in self._ordered], np.int64)
            self._seen = names, read
        return read

    def apply(self, inputs: Inputs, out: NDArray[np.float64]) -> None:
        """Write the columns of numbers of `out`, float64 [n, all outputs]."""
        read = self._read(inputs.names)
        for start in range(0, len(inputs), _ROWS):
            # Kernels are compiled for arrays as NumPy makes them: rows one after another, and writable.
            values = plain(inputs.values[start : start + _ROWS])
            _prepare(values, read, self._places, self._flagged, self._logs, self._changes, out[start : start + _ROWS])


@njit
def _prepare(
    values: NDArray[np.float64],
    read: NDArray[np.int64],
    places: NDArray[np.int64],
    flagged: NDArray[np.int64],
    logs: int,
    changes: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    columns = len(read)
    row = np.empty(columns)
    fill, low, high, centre, scale = changes[0], changes[1], changes[2], changes[3], changes[4]
    for i in range(len(values)):
        for j in range(columns):
            row[j] = values[i, read[j]]
        for at in range(len(flagged)):
            out[i, places[flagged[at]] + 1] = 0.0 if math.isfinite(row[flagged[at]]) else 1.0
        for j in range(columns):
            value = row[j]
            value = value if abs(value) < math.inf else fill[j]
            value = max(value, low[j])
            row[j] = min(value, high[j])
        for j in range(logs):
            row[j] = signed_log_of(row[j])
        for j in range(columns):
            row[j] = (row[j] - centre[j]) / scale[j]
        for j in range(columns):
            out[i, places[j]] = row[j]


class _Words:
    """The steps of words: what each word becomes is looked up."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._hot: list[tuple[str, int, int, Callable[[str | None, int], int]]] = []
        self._ranked: list[tuple[str, int, float, Callable[[str | None, float], float]]] = []
        at = 0
        for step in steps:
            if isinstance(step, OneHotStep):
                hot: dict[str | None, int] = {level: at + place for place, level in enumerate(step.levels)}
                hot[None] = at + len(step.levels) + 1
                self._hot.append((step.column, at, at + len(step.levels), hot.get))
            elif isinstance(step, OrdinalStep):
                ranked: dict[str | None, float] = {level: float(place) for place, level in enumerate(step.levels)}
                ranked[None] = math.nan if step.fill is None else step.fill
                self._ranked.append((step.column, at, float(len(step.levels)), ranked.get))
            at += len(step.outputs)

    def apply(self, inputs: Inputs, out: NDArray[np.float64]) -> None:
        """Write the columns of words of `out`."""
        rows = np.arange(len(inputs)) if self._hot else None
        for column, begin, other, place in self._hot:
            out[:, begin : other + 2] = 0.0
            out[rows, [place(word, other) for word in _words(inputs, column)]] = 1.0
        for column, at, other_rank, rank in self._ranked:
            out[:, at] = [rank(word, other_rank) for word in _words(inputs, column)]


def _words(inputs: Inputs, column: str) -> Sequence[str | None]:
    if column not in inputs.categories:
        raise _absent(column, inputs.categories)
    return inputs.categories[column]


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
    _words: _Words = field(init=False, repr=False, compare=False)
    _width: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", _Numbers(self.steps))
        object.__setattr__(self, "_words", _Words(self.steps))
        object.__setattr__(self, "_width", sum(len(step.outputs) for step in self.steps))

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
        out = np.empty((len(inputs), self._width), np.float64)
        self._numbers.apply(inputs, out)
        self._words.apply(inputs, out)
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


def warm() -> None:
    """Run the kernel once, so that its machine code is ready."""
    Preprocessing((NumberStep("a", indicator=True, log=True),)).apply(Inputs(("a",), np.zeros((1, 1))))
