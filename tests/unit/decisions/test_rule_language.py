"""Conditions as trees: binding, types, and where a mistake is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudloop.decisions.rule_language import OPERATORS, Call, Expression, InList, InSet, Literal, Name, Type, names_of, parse
from fraudloop.decisions.rule_program import _OPS
from fraudloop.errors import RuleError
from fraudloop.limits import RULE_CHARACTERS_MAX, RULE_DEPTH_MAX, RULE_NODES_MAX

NAMES = {"amount": Type.NUMBER, "count_1h": Type.NUMBER, "is_foreign": Type.FLAG, "country": Type.TEXT, "home_country": Type.TEXT}


def shown(expression: Expression) -> str:
    """The tree with all its brackets."""
    if isinstance(expression, Literal):
        return repr(expression.value)
    if isinstance(expression, Name):
        return expression.name
    if isinstance(expression, InList):
        return f"in_list({expression.name}, {expression.list_name})"
    if isinstance(expression, InSet):
        return f"in({shown(expression.of)}, {expression.values})"
    return f"{expression.operator}({', '.join(shown(argument) for argument in expression.arguments)})"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("is_foreign", "is_foreign"),
        ("not is_foreign and is_foreign or is_foreign", "or(and(not(is_foreign), is_foreign), is_foreign)"),
        ("is_foreign or is_foreign and not not is_foreign", "or(is_foreign, and(is_foreign, not(not(is_foreign))))"),
        ("amount > 500 AND is_foreign", "and(>(amount, 500.0), is_foreign)"),
        ("amount + 2 * count_1h - 1 >= -3", ">=(-(+(amount, *(2.0, count_1h)), 1.0), negate(3.0))"),
        ("not amount = 1", "not(=(amount, 1.0))"),
        ("amount != .5e1", "<>(amount, 5.0)"),
        ("country <> home_country", "<>(country, home_country)"),
        ("country in ('DE', 'FR', 'DE')", "in(country, ('DE', 'FR'))"),
        ("amount not in (1, -2)", "not(in(amount, (1.0, -2.0)))"),
        ("amount between 1 and 2 and is_foreign", "and(and(>=(amount, 1.0), <=(amount, 2.0)), is_foreign)"),
        ("amount not between 1 and 2", "not(and(>=(amount, 1.0), <=(amount, 2.0)))"),
        ("country is null or amount is not null", "or(is_null(country), not(is_null(amount)))"),
        ("in_list(country, 'high risk')", "in_list(country, high risk)"),
        ("coalesce(amount, 0) > abs(-1)", ">(coalesce(amount, 0.0), abs(negate(1.0)))"),
        ("least(amount, 1, 2) = greatest(count_1h, is_foreign)", "=(least(amount, 1.0, 2.0), greatest(count_1h, is_foreign))"),
        ("country = 'it''s'", '=(country, "it\'s")'),
        ("is_foreign = true", "=(is_foreign, 1.0)"),
        ('"amount" > 1', ">(amount, 1.0)"),
        ("(amount > 1)", ">(amount, 1.0)"),
    ],
)
def test_conditions_bind_as_in_sql(text: str, tree: str) -> None:
    assert shown(parse(text, NAMES)) == tree


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("amuont > 5", "at character 1: no feature or field 'amuont'; did you mean 'amount'?", 1),
        ("is_foreign and amount", "at character 16: each side of `and` is true or false, and this is a number", 16),
        ("amount", "at character 1: a rule's condition is true or false, and this is a number; compare it with something", 1),
        ("country > 'DE'", "at character 9: text has no order; `>` takes numbers", 9),
        ("country = 5", "at character 9: `=` between country (a text) and a number", 9),
        ("amount + country > 5", "at character 10: `+` takes numbers, not country (a text)", 10),
        ("amount > ", "at the end: the condition ends where a value is wanted", 10),
        ("amount > 5 is_foreign", "at character 12: the condition should end, or go on with `and` or `or`, not 'is_foreign'", 12),
        ("(amount > 5", "at the end: `)` is wanted", 12),
        ("amount > 5)", "at character 11: the condition should end", 11),
        ("amount ; drop", "at character 8: ';' has no meaning in a rule", 8),
        ("country = 'DE", "at character 11: text without its closing quote", 11),
        ("in_list(country, 'hihg')", "at character 18: no list 'hihg'; did you mean 'high'?", 18),
        ("in_list(amount, 'high')", "at character 9: amount is a number; lists hold text", 9),
        ("sqrt(amount) > 1", "at character 1: no function 'sqrt'", 1),
        ("lest(amount, 1) > 1", "at character 1: no function 'lest'; did you mean 'least'?", 1),
        ("abs(amount, 1) > 1", "at character 1: abs takes one argument", 1),
        ("country in ('DE', 5)", "at character 19: `in` between country (a text) and a number", 19),
        ("amount in (count_1h)", "at character 12: `in (…)` takes constants only", 12),
        ("amount not null", "at character 12: `in` or `between` is wanted after `not`, not 'null'", 12),
        ("and", "at character 1: a value is wanted, not 'and'", 1),
        ("", "at the end: the condition ends where a value is wanted", 1),
        ("not amount", "at character 5: `not` is true or false", 5),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(text: str, message: str, at: int) -> None:
    with pytest.raises(RuleError) as error:
        parse(text, NAMES, frozenset({"high"}))
    assert message in str(error.value)
    assert error.value.fields["at"] == at


@pytest.mark.parametrize(
    "text",
    [
        "is_foreign" + " or is_foreign" * RULE_NODES_MAX,
        "(" * (RULE_DEPTH_MAX + 1) + "is_foreign" + ")" * (RULE_DEPTH_MAX + 1),
        "not " * (RULE_DEPTH_MAX + 1) + "is_foreign",
        "amount > " + "-" * (RULE_DEPTH_MAX + 1) + "1",
        "is_foreign" + " " * RULE_CHARACTERS_MAX,
    ],
    ids=["parts", "brackets", "nots", "signs", "characters"],
)
def test_what_is_too_long_or_too_deep_is_refused(text: str) -> None:
    with pytest.raises(RuleError):
        parse(text, NAMES)


@given(st.text(alphabet=st.sampled_from("amount is_foreign and or not in ( ) ' \" 5 . e < > = ! + - * / , null \n é"), max_size=60))
def test_any_text_is_a_tree_or_a_rule_error(text: str) -> None:
    place = 1
    try:
        tree = parse(text, NAMES)
        assert tree.type is Type.FLAG and names_of(tree) <= NAMES.keys()
    except RuleError as error:
        place = int(str(error.fields["at"]))
    assert 1 <= place <= len(text) + 1


def test_every_operator_that_a_tree_may_hold_can_be_run_and_is_described() -> None:
    assert set(OPERATORS) == set(_OPS)


def test_the_names_that_a_condition_reads_are_known() -> None:
    tree = parse("amount > 1 and (in_list(country, 'x') or count_1h in (1, 2))", NAMES)
    assert isinstance(tree, Call) and names_of(tree) == {"amount", "country", "count_1h"}
