"""Rules made to run: the trees of a rule set as one program for one compiled evaluator, live and in backtests.

Values are float64 columns: numbers, flags as 0 and 1, words by their place in a dictionary, NaN for what is not there. The
evaluator is a stack machine over blocks of rows, so that each instruction is a short loop over a block. Every row is
evaluated alone: batches change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraudloop.compiled import njit
from fraudloop.decisions.rule_language import Call, Expression, InList, InSet, Literal, Name, Type

#: What a rule says of a payment.
NO: Final = 0
YES: Final = 1
UNKNOWN: Final = 2

#: Rows of a block: a stack of some levels of it stays in the first-level cache.
_BLOCK = 256

_COLUMN, _CONSTANT, _IN_SET = 0, 1, 2
_OPS: Final[Mapping[str, int]] = {
    "or": 3, "and": 4, "not": 5, "=": 6, "<>": 7, "<": 8, "<=": 9, ">": 10, ">=": 11, "is_null": 12, "+": 13, "-": 14, "*": 15, "/": 16,
    "negate": 17, "abs": 18, "least": 19, "greatest": 20, "coalesce": 21,
}  # fmt: skip
_UNARY = frozenset({"not", "is_null", "negate", "abs"})

Words = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Program:
    """numbers: the columns of numbers and flags it reads. words: those of words. members: pairs of a column of words and a list.
    The evaluator's columns stand in this order. dictionary: the words that conditions name, by number."""

    numbers: tuple[str, ...]
    words: tuple[str, ...]
    members: tuple[tuple[str, str], ...]
    dictionary: Mapping[str, int]
    ops: NDArray[np.int32]
    args: NDArray[np.int32]
    counts: NDArray[np.int32]
    starts: NDArray[np.int64]
    constants: NDArray[np.float64]
    depth: int

    def run(
        self,
        numbers: Callable[[str], NDArray[np.float64]],
        words: Callable[[str], Words],
        lists: Mapping[str, Collection[str]],
        rows: int,
    ) -> NDArray[np.int8]:
        """What each rule says of each row: int8 [rules, rows] of NO, YES, UNKNOWN.

        numbers: gives a column as float64 [rows], NaN where missing. words: gives a column of words, None where missing.
        lists: the words on each list; a list that is not there holds none.
        """
        columns = np.empty((len(self.numbers) + len(self.words) + len(self.members), rows))
        for at, name in enumerate(self.numbers):
            columns[at] = numbers(name)
        at = len(self.numbers)
        found = {name: words(name) for name in dict.fromkeys((*self.words, *(name for name, _ in self.members)))}
        codes: dict[str | None, float] = {None: math.nan}
        codes.update(self.dictionary)
        for name in self.words:
            columns[at] = [codes.setdefault(word, len(codes)) for word in found[name]]
            at += 1
        for name, list_name in self.members:
            on = lists.get(list_name, ())
            columns[at] = [math.nan if word is None else float(word in on) for word in found[name]]
            at += 1
        return self.evaluate(columns)

    def evaluate(self, columns: NDArray[np.float64]) -> NDArray[np.int8]:
        """The same, of columns that stand as the evaluator reads them: float64 [numbers + words + members, rows]."""
        out = np.empty((len(self.starts) - 1, columns.shape[1]), np.int8)
        _evaluate(self.ops, self.args, self.counts, self.starts, self.constants, columns, np.empty((self.depth, _BLOCK)), out)
        return out


def compile_rules(conditions: Sequence[Expression]) -> Program:
    """One program for the conditions of a rule set, in their order.

    >>> from fraudloop.decisions.rule_language import parse
    >>> program = compile_rules([parse("amount > 500 and country <> 'DE'", {"amount": Type.NUMBER, "country": Type.TEXT})])
    >>> amounts, countries = np.array([900.0, 900.0, 20.0, np.nan]), ["FR", "DE", None, "FR"]
    >>> program.run(lambda _: amounts, lambda _: countries, {}, 4).tolist()
    [[1, 0, 0, 2]]
    """
    builder = _Builder()
    starts = [0]
    for condition in conditions:
        builder.condition(condition)
        starts.append(len(builder.ops))
    numbers, words = tuple(builder.numbers), tuple(builder.words)
    # Columns of words come after those of numbers, those of lists last: known only once all conditions are read.
    places = {
        **{("number", name): at for at, name in enumerate(numbers)},
        **{("words", name): len(numbers) + at for at, name in enumerate(words)},
    }
    first = len(places)
    places |= {("list", f"{name}\0{of}"): first + at for at, (name, of) in enumerate(builder.members)}
    args = [places[arg] if isinstance(arg, tuple) else arg for arg in builder.args]
    return Program(
        numbers, words, tuple(builder.members), builder.dictionary, np.array(builder.ops, np.int32), np.array(args, np.int32),
        np.array(builder.counts, np.int32), np.array(starts, np.int64), np.array(builder.constants, np.float64), max(1, builder.depth),
    )  # fmt: skip


class _Builder:
    def __init__(self) -> None:
        self.numbers: dict[str, None] = {}
        self.words: dict[str, None] = {}
        self.members: dict[tuple[str, str], None] = {}
        self.dictionary: dict[str, int] = {}
        self.ops: list[int] = []
        self.args: list[int | tuple[str, str]] = []
        self.counts: list[int] = []
        self.constants: list[float] = []
        self.depth = 0
        self._level = 0

    def condition(self, expression: Expression) -> None:
        """One more rule; it leaves its value on an empty stack."""
        self._level = 0
        self.add(expression)
        assert self._level == 1, "every instruction takes what it says"

    def add(self, expression: Expression) -> None:
        """Instructions that leave the value on top of the stack."""
        if isinstance(expression, Name):
            if expression.type is Type.TEXT:
                self.words[expression.name] = None
                self._push(_COLUMN, ("words", expression.name))
            else:
                self.numbers[expression.name] = None
                self._push(_COLUMN, ("number", expression.name))
        elif isinstance(expression, InList):
            self.members[expression.name, expression.list_name] = None
            self._push(_COLUMN, ("list", f"{expression.name}\0{expression.list_name}"))
        elif isinstance(expression, Literal):
            self._push(_CONSTANT, len(self.constants))
            self.constants.append(self._code(expression.value))
        elif isinstance(expression, InSet):
            self.add(expression.of)
            values = sorted(self._code(value) for value in expression.values)
            self._emit(_IN_SET, len(self.constants), len(values))
            self.constants.extend(values)
        elif expression.operator in _UNARY:
            self.add(expression.arguments[0])
            self._emit(_OPS[expression.operator], 0, 0)
        else:
            self.add(expression.arguments[0])
            for argument in expression.arguments[1:]:
                self.add(argument)
                self._emit(_OPS[expression.operator], 0, 0)
                self._level -= 1

    def _push(self, op: int, arg: int | tuple[str, str]) -> None:
        self._emit(op, arg, 0)
        self._level += 1
        self.depth = max(self.depth, self._level)

    def _emit(self, op: int, arg: int | tuple[str, str], count: int) -> None:
        self.ops.append(op)
        self.args.append(arg)
        self.counts.append(count)

    def _code(self, value: float | str) -> float:
        if isinstance(value, str):
            return float(self.dictionary.setdefault(value, len(self.dictionary) + 1))
        return float(value)


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@njit
def take_columns(values: Floats, places: Ints, into: Ints, out: Floats) -> None:
    """Columns of rows as the evaluator reads them: `out[into[j]] = values[:, places[j]]`. values: float64 [rows, features]."""
    for j in range(len(places)):
        for i in range(len(values)):
            out[into[j], i] = values[i, places[j]]


@njit
def _evaluate(
    ops: NDArray[np.int32],
    args: NDArray[np.int32],
    counts: NDArray[np.int32],
    starts: NDArray[np.int64],
    constants: Floats,
    columns: Floats,
    stack: Floats,
    out: NDArray[np.int8],
) -> None:
    """Each rule on each block of rows; the instructions by the numbers of _OPS."""
    rows = columns.shape[1]
    for begin in range(0, rows, stack.shape[1]):
        size = min(stack.shape[1], rows - begin)
        for rule in range(len(starts) - 1):
            top = -1
            for at in range(starts[rule], starts[rule + 1]):
                op, arg = ops[at], args[at]
                if op == 0:
                    top += 1
                    stack[top, :size] = columns[arg, begin : begin + size]
                elif op == 1:
                    top += 1
                    stack[top, :size] = constants[arg]
                elif op == 2:
                    _in_set(stack[top], constants[arg : arg + counts[at]], size)
                elif op == 5 or op == 12 or op == 17 or op == 18:
                    _unary(op, stack[top], size)
                else:
                    top -= 1
                    if op <= 4:
                        _logical(op, stack[top], stack[top + 1], size)
                    elif op <= 11:
                        _compare(op, stack[top], stack[top + 1], size)
                    elif op <= 16:
                        _arithmetic(op, stack[top], stack[top + 1], size)
                    else:
                        _choose(op, stack[top], stack[top + 1], size)
            for i in range(size):
                value = stack[0, i]
                out[rule, begin + i] = 2 if np.isnan(value) else (1 if value != 0.0 else 0)


@njit
def _in_set(s: Floats, values: Floats, size: int) -> None:
    for i in range(size):
        if not np.isnan(s[i]):
            place = np.searchsorted(values, s[i])
            s[i] = 1.0 if place < len(values) and values[place] == s[i] else 0.0


@njit
def _unary(op: int, s: Floats, size: int) -> None:
    if op == 5:
        for i in range(size):
            s[i] = 1.0 - s[i]
    elif op == 12:
        for i in range(size):
            s[i] = 1.0 if np.isnan(s[i]) else 0.0
    elif op == 17:
        for i in range(size):
            s[i] = -s[i]
    else:
        for i in range(size):
            s[i] = abs(s[i])


@njit
def _logical(op: int, s: Floats, t: Floats, size: int) -> None:
    """One side decides alone: 1 an `or`, 0 an `and`."""
    deciding = 1.0 if op == 3 else 0.0
    for i in range(size):
        if s[i] == deciding or t[i] == deciding:
            s[i] = deciding
        elif np.isnan(t[i]):
            s[i] = np.nan


@njit
def _compare(op: int, s: Floats, t: Floats, size: int) -> None:
    for i in range(size):
        a, b = s[i], t[i]
        if np.isnan(a) or np.isnan(b):
            s[i] = np.nan
            continue
        if op == 6:
            found = a == b
        elif op == 7:
            found = a != b
        elif op == 8:
            found = a < b
        elif op == 9:
            found = a <= b
        elif op == 10:
            found = a > b
        else:
            found = a >= b
        s[i] = 1.0 if found else 0.0


@njit
def _arithmetic(op: int, s: Floats, t: Floats, size: int) -> None:
    """What has no finite value is unknown."""
    for i in range(size):
        if op == 13:
            value = s[i] + t[i]
        elif op == 14:
            value = s[i] - t[i]
        elif op == 15:
            value = s[i] * t[i]
        else:
            value = s[i] / t[i]
        s[i] = value if np.isfinite(value) else np.nan


@njit
def _choose(op: int, s: Floats, t: Floats, size: int) -> None:
    for i in range(size):
        a, b = s[i], t[i]
        if op == 21:
            s[i] = b if np.isnan(a) else a
        elif np.isnan(a) or np.isnan(b):
            s[i] = np.nan
        elif op == 19:
            s[i] = min(a, b)
        else:
            s[i] = max(a, b)


@njit
def settle(
    answers: NDArray[np.int8],
    acts: NDArray[np.int8],
    scores: Floats,
    hits: NDArray[np.bool_],
    unknown: NDArray[np.bool_],
    asked: NDArray[np.int8],
    change: Floats,
    counts: Ints,
) -> None:
    """What the answers ask for. acts: int8 [rules, 5]: 1 if unknown counts as a hit; the outcome of a hit; that of an unknown; 1 if the rule is
    live; 1 if an allow entry does not override it. asked: int8 [2, n], of all live rules and of those. Scores are added in the order of rules.
    counts: int64 [rules], the hits of each."""
    for rule in range(answers.shape[0]):
        for i in range(answers.shape[1]):
            answer = answers[rule, i]
            absent = answer == 2
            hit = answer == 1 or (absent and acts[rule, 0] == 1)
            hits[rule, i] = hit
            counts[rule] += hit
            unknown[rule, i] = absent
            if acts[rule, 3] == 1:
                wants = acts[rule, 1] if hit else 0
                if absent:
                    wants = max(wants, acts[rule, 2])
                asked[0, i] = max(asked[0, i], wants)
                if acts[rule, 4] == 1:
                    asked[1, i] = max(asked[1, i], wants)
                if hit:
                    change[i] += scores[rule]


def warm() -> None:
    """Compile the evaluator."""
    none, ints = np.zeros((1, 1), bool), np.zeros(1, np.int64)
    settle(np.zeros((1, 1), np.int8), np.zeros((1, 5), np.int8), np.zeros(1), none, none, np.zeros((2, 1), np.int8), np.zeros(1), ints)
    take_columns(np.zeros((1, 1)), ints, ints, np.zeros((1, 1)))
    condition = Call("not", (InSet(Name("a", Type.NUMBER, 1), (1.0,), Type.FLAG, 1),), Type.FLAG, 1)
    compile_rules([condition]).run(lambda _: np.zeros(1), lambda _: [], {}, 1)
