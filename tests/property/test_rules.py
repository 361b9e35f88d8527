"""The evaluator against two oracles: three-valued logic written out row by row, and Polars."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.decisions.rule_language import Expression, InList, InSet, Literal, Name, Type, parse
from fraudloop.decisions.rule_program import NO, UNKNOWN, YES, compile_rules

NAMES = {"a": Type.NUMBER, "b": Type.NUMBER, "f": Type.FLAG, "g": Type.FLAG, "s": Type.TEXT, "t": Type.TEXT}
LISTS = {"odd": {"x", "z"}, "none": set[str]()}

numbers = st.recursive(
    st.one_of(st.sampled_from(["a", "b", "0", "1", "2.5", "f"])),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        inner.map(lambda x: f"abs(-{x})"),
        st.tuples(st.sampled_from(["least", "greatest", "coalesce"]), inner, inner).map(lambda p: f"{p[0]}({p[1]}, {p[2]})"),
    ),
    max_leaves=4,
)
words = st.sampled_from(["s", "t", "'x'", "'y'", "coalesce(s, t)", "coalesce(t, 'z')"])
flags = st.recursive(
    st.one_of(
        st.sampled_from(["f", "g", "true", "false", "in_list(s, 'odd')", "in_list(t, 'none')"]),
        st.tuples(numbers, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), numbers).map(" ".join),
        st.tuples(words, st.sampled_from(["=", "<>"]), words).map(" ".join),
        st.tuples(st.one_of(numbers, words), st.sampled_from(["is null", "is not null"])).map(" ".join),
        words.map(lambda x: f"{x} in ('x', 'q')"),
        numbers.map(lambda x: f"{x} not in (0, 2.5, -1)"),
        numbers.map(lambda x: f"{x} between 0 and 2"),
    ),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"), inner.map(lambda x: f"not ({x})")
    ),
    max_leaves=6,
)
rows = st.tuples(
    *[st.sampled_from([None, 0.0, 1.0, -1.0, 2.5, 1e200])] * 2,
    *[st.sampled_from([None, 0.0, 1.0])] * 2,
    *[st.sampled_from([None, "x", "y", "z"])] * 2,
)
Value = float | str | None


def plain(tree: Expression, row: dict[str, Value]) -> Value:
    """The value of a tree, None for unknown: as one would read the definition aloud."""
    if isinstance(tree, Literal):
        return tree.value
    if isinstance(tree, Name):
        return row[tree.name]
    if isinstance(tree, InList):
        return None if row[tree.name] is None else float(row[tree.name] in LISTS[tree.list_name])
    if isinstance(tree, InSet):
        value = plain(tree.of, row)
        return None if value is None else float(value in tree.values)
    values = [plain(argument, row) for argument in tree.arguments]
    if tree.operator == "is_null":
        return float(values[0] is None)
    if tree.operator == "coalesce":
        return next((value for value in values if value is not None), None)
    if tree.operator == "and":
        return 0.0 if 0.0 in values else None if None in values else 1.0
    if tree.operator == "or":
        return 1.0 if 1.0 in values else None if None in values else 0.0
    if None in values:
        return None
    if tree.operator in ("=", "<>"):
        return float((values[0] == values[1]) == (tree.operator == "="))
    known = [float(value) for value in values if value is not None]
    x, y = known[0], known[-1]
    simple: dict[str, Callable[[], float]] = {
        "not": lambda: 1.0 - x, "<": lambda: float(x < y), "<=": lambda: float(x <= y), ">": lambda: float(x > y), ">=": lambda: float(x >= y),
        "+": lambda: x + y, "-": lambda: x - y, "*": lambda: x * y, "/": lambda: x / y if y else math.nan, "negate": lambda: -x, "abs": lambda: abs(x),
        "least": lambda: min(known), "greatest": lambda: max(known),
    }  # fmt: skip
    value = simple[tree.operator]()
    return value if math.isfinite(value) else None


def in_polars(tree: Expression) -> pl.Expr:
    """The same as an expression of Polars, whose null is unknown."""
    if isinstance(tree, Literal):
        return pl.lit(bool(tree.value) if tree.type is Type.FLAG else tree.value)
    if isinstance(tree, Name):
        return pl.col(tree.name)
    if isinstance(tree, InList):
        return pl.col(tree.name).is_in(sorted(LISTS[tree.list_name]))
    if isinstance(tree, InSet):
        of = in_polars(tree.of)
        return (of if tree.of.type is Type.TEXT else of.cast(pl.Float64)).is_in(list(tree.values))
    given_ = [in_polars(argument) for argument in tree.arguments]
    logical = tree.operator in ("and", "or", "not", "is_null")
    mixed = {argument.type for argument in tree.arguments} != {Type.TEXT}
    values = [x.cast(pl.Float64) for x in given_] if not logical and mixed and tree.type is not Type.TEXT else given_
    if tree.operator == "coalesce" and tree.type is Type.FLAG:
        values = given_
    x, y = values[0], values[-1]

    def finite(e: pl.Expr) -> pl.Expr:
        return pl.when(e.is_finite()).then(e)

    def known(e: pl.Expr) -> pl.Expr:
        return pl.when(pl.all_horizontal(v.is_not_null() for v in values)).then(e)

    made: dict[str, Callable[[], pl.Expr]] = {
        "or": lambda: x | y, "and": lambda: x & y, "not": lambda: ~x, "is_null": lambda: x.is_null(),
        "=": lambda: x == y, "<>": lambda: x != y, "<": lambda: x < y, "<=": lambda: x <= y, ">": lambda: x > y, ">=": lambda: x >= y,
        "+": lambda: finite(x + y), "-": lambda: finite(x - y), "*": lambda: finite(x * y), "/": lambda: finite(x / y), "negate": lambda: -x,
        "abs": lambda: x.abs(), "least": lambda: known(pl.min_horizontal(values)), "greatest": lambda: known(pl.max_horizontal(values)),
        "coalesce": lambda: pl.coalesce(values),
    }  # fmt: skip
    return made[tree.operator]()


def answers(text: str, table: list[tuple[Value, ...]]) -> list[int]:
    by_name = {name: [row[at] for row in table] for at, name in enumerate(NAMES)}
    program = compile_rules([parse(text, NAMES)])
    got = program.run(
        lambda name: np.array([math.nan if v is None else v for v in by_name[name]], np.float64),
        lambda name: [v if v is None else str(v) for v in by_name[name]],
        LISTS,
        len(table),
    )
    return [int(value) for value in got[0]]


@given(text=flags, table=st.lists(rows, min_size=1, max_size=8))
@settings(max_examples=400, deadline=None)
def test_the_evaluator_equals_the_definition_and_polars(text: str, table: list[tuple[Value, ...]]) -> None:
    tree = parse(text, NAMES)
    code: dict[Value, int] = {None: UNKNOWN, 1.0: YES, 0.0: NO}
    expected = [code[plain(tree, dict(zip(NAMES, row, strict=True)))] for row in table]
    assert answers(text, table) == expected
    frame = pl.DataFrame(
        {name: [row[at] for row in table] for at, name in enumerate(NAMES)},
        schema={name: pl.String if kind is Type.TEXT else pl.Float64 for name, kind in NAMES.items()},
    ).with_columns(pl.col("f", "g") == 1.0)
    theirs = frame.select(pl.when(True).then(in_polars(tree)).cast(pl.Boolean).alias("hit"))["hit"].to_list()
    if len(theirs) == 1:  # a condition of constants alone
        theirs *= len(table)
    assert theirs == [{UNKNOWN: None, YES: True, NO: False}[value] for value in expected]


@pytest.mark.parametrize("size", [1, 7, 255, 256, 257, 1_000])
def test_batches_change_nothing(size: int) -> None:
    random = np.random.default_rng(3)
    values = np.where(random.random((2, 1_000)) < 0.1, math.nan, random.normal(size=(2, 1_000)))
    program = compile_rules([parse(text, NAMES) for text in ("a > b and not (a < 0 or b < 0)", "a / b > 1", "coalesce(a, b) is null")])

    def run(part: slice) -> list[list[int]]:
        found: list[list[int]] = program.run(lambda name: values["ab".index(name), part], lambda _: [], {}, len(values[0, part])).tolist()
        return found

    whole = run(slice(None))
    parts = [run(slice(start, start + size)) for start in range(0, 1_000, size)]
    assert [[value for part in parts for value in part[rule]] for rule in range(3)] == whole
    assert {0, 1, 2} == set(whole[0])
