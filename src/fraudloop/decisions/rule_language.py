"""The rule language: one line of SQL that is true, false or unknown of a payment, as a typed tree.

    amount > 500 and is_foreign and customer_count_1h >= 5

It is read here against a vocabulary (which names there are, and of what type); `rule_program` makes it run. Pure: it
knows no column of a table and no value. Logic is three-valued as in SQL: a value that is not there makes a comparison
unknown, `unknown and false` is false, `unknown or true` is true. The grammar is in `docs/reference/rules.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from typing import Final

from fraudloop.errors import RuleError
from fraudloop.limits import RULE_CHARACTERS_MAX, RULE_DEPTH_MAX, RULE_NODES_MAX


class Type(StrEnum):
    """What a value is. A flag is true or false, and stands for 1 or 0 where a number is asked for."""

    NUMBER = "number"
    TEXT = "text"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant; a flag is 1.0 or 0.0 with type FLAG."""

    value: float | str
    type: Type
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    """A feature or field."""

    name: str
    type: Type
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """An operator or function applied to its arguments: a key of OPERATORS."""

    operator: str
    arguments: tuple[Expression, ...]
    type: Type
    at: int


@dataclass(frozen=True, slots=True)
class InSet:
    """Whether a value is one of some literals."""

    of: Expression
    values: tuple[float | str, ...]
    type: Type
    at: int


@dataclass(frozen=True, slots=True)
class InList:
    """Whether a field stands on a named list."""

    name: str
    list_name: str
    type: Type
    at: int


Expression = Literal | Name | Call | InSet | InList

#: Operator -> what it does, for the reference page. `is_null` alone is never unknown.
OPERATORS: Final[Mapping[str, str]] = {
    "or": "true if either side is; unknown if neither is true and one is unknown",
    "and": "false if either side is; unknown if neither is false and one is unknown",
    "not": "the opposite; unknown stays unknown",
    "=": "the same number, text or flag",
    "<>": "not the same (`!=` too)",
    "<": "less", "<=": "less or the same", ">": "more", ">=": "more or the same",
    "is_null": "`x is null`: the value is not there (`x is not null`: it is)",
    "+": "sum", "-": "difference", "*": "product", "/": "quotient; unknown where the divisor is 0",
    "negate": "`-x`",
    "abs": "`abs(x)`: without its sign",
    "least": "`least(a, b, …)`: the smallest; unknown if one is",
    "greatest": "`greatest(a, b, …)`: the largest; unknown if one is",
    "coalesce": "`coalesce(a, b, …)`: the first that is there",
}  # fmt: skip

_COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")
_FUNCTIONS: Final[Mapping[str, int]] = {"abs": 1, "least": 2, "greatest": 2, "coalesce": 2}
_WORDS = frozenset({"and", "or", "not", "in", "between", "is", "null", "true", "false", "in_list", *_FUNCTIONS})
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)|(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r'|"(?P<quoted>[^"]+)"|(?P<symbol><>|!=|<=|>=|[=<>+\-*/(),]))'
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str, names: Mapping[str, Type], lists: frozenset[str] | None = None) -> Expression:
    """The tree of a rule's condition, which is a flag. lists: the lists there are (None: any name is taken).

    RuleError says at which character, what is wrong there, and the nearest name.

    >>> tree = parse("amount > 500", {"amount": Type.NUMBER})
    >>> tree.operator, tree.type.value
    ('>', 'flag')
    """
    if len(text) > RULE_CHARACTERS_MAX:
        raise RuleError(f"the condition has {len(text):,} characters; at most {RULE_CHARACTERS_MAX:,}", at=RULE_CHARACTERS_MAX)
    parser = _Parser(_tokens(text), names, lists, len(text) + 1)
    out = parser.flag(parser.disjunction(0), "a rule's condition")
    parser.end()
    return out


def names_of(expression: Expression) -> frozenset[str]:
    """The features and fields that an expression reads; of lists, the fields that are looked up."""
    if isinstance(expression, Name | InList):
        return frozenset({expression.name})
    if isinstance(expression, InSet):
        return names_of(expression.of)
    if isinstance(expression, Call):
        return frozenset().union(*(names_of(argument) for argument in expression.arguments))
    return frozenset()


def names_in(text: str) -> tuple[str, ...]:
    """The names that stand in a condition, understood or not, in order; RuleError where its words cannot be told apart.

    >>> names_in("amount > 500 and in_list(country, 'high_risk')")
    ('amount', 'country')
    """
    found = [token.text for token in _tokens(text) if token.kind == "name"]
    return tuple(dict.fromkeys(name for name in found if name.lower() not in _WORDS))


def _tokens(text: str) -> list[_Token]:
    out, at = [], 0
    while rest := text[at:].strip():
        found = _TOKEN.match(text, at)
        if found is None:
            place = len(text) - len(text[at:].lstrip()) + 1
            what = "text without its closing quote" if rest[0] in "'\"" else f"{rest[0]!r} has no meaning in a rule"
            raise RuleError(f"at character {place}: {what}", at=place)
        kind = str(found.lastgroup)
        out.append(_Token("name" if kind == "quoted" else kind, found[kind], found.start(kind) + 1))
        at = found.end()
    return out


class _Parser:
    """Recursive descent, one method a level of binding."""

    def __init__(self, tokens: list[_Token], names: Mapping[str, Type], lists: frozenset[str] | None, end: int) -> None:
        self._tokens, self._names, self._lists = tokens, names, lists
        self._at, self._end, self._nodes = 0, end, 0

    def disjunction(self, depth: int) -> Expression:
        left = self._conjunction(depth)
        while token := self._take_word("or"):
            left = self._logical("or", left, self._conjunction(depth), token)
        return left

    def _conjunction(self, depth: int) -> Expression:
        left = self._negation(depth)
        while token := self._take_word("and"):
            left = self._logical("and", left, self._negation(depth), token)
        return left

    def _negation(self, depth: int) -> Expression:
        if token := self._take_word("not"):
            return self._call("not", (self.flag(self._negation(self._deeper(depth, token)), "`not`"),), Type.FLAG, token)
        return self._comparison(depth)

    def _comparison(self, depth: int) -> Expression:
        left = self._sum(depth)
        token = self._peek()
        if token is None:
            return left
        if token.kind == "symbol" and token.text in (*_COMPARISONS, "!="):
            self._at += 1
            operator = "<>" if token.text == "!=" else token.text
            return self._compare(operator, left, self._sum(depth), token)
        if self._take_word("is"):
            negated = self._take_word("not") is not None
            self._expect_word("null")
            return self._unless(negated, self._call("is_null", (left,), Type.FLAG, token), token)
        negated = self._take_word("not") is not None
        if self._take_word("in"):
            return self._unless(negated, self._in(left, token), token)
        if self._take_word("between"):
            low = self._sum(depth)
            self._expect_word("and")
            inside = self._logical("and", self._compare(">=", left, low, token), self._compare("<=", left, self._sum(depth), token), token)
            return self._unless(negated, inside, token)
        if negated:
            raise self._wrong("`in` or `between` is wanted after `not`")
        return left

    def _in(self, left: Expression, token: _Token) -> Expression:
        self._expect("(")
        values: list[float | str] = []
        while True:
            item = self._unary(0)
            if isinstance(item, Call) and item.operator == "negate" and isinstance(item.arguments[0], Literal):
                item = Literal(-float(item.arguments[0].value), Type.NUMBER, item.at)
            if not isinstance(item, Literal):
                raise RuleError(f"at character {item.at}: `in (…)` takes constants only", at=item.at)
            self._comparable(left, item, "in", item.at)
            values.append(item.value)
            if not self._take(","):
                break
        self._expect(")")
        return self._counted(InSet(left, tuple(dict.fromkeys(values)), Type.FLAG, token.at), token)

    def _sum(self, depth: int) -> Expression:
        left = self._product(depth)
        while token := self._take("+", "-"):
            left = self._arithmetic(token.text, (left, self._product(depth)), token)
        return left

    def _product(self, depth: int) -> Expression:
        left = self._unary(depth)
        while token := self._take("*", "/"):
            left = self._arithmetic(token.text, (left, self._unary(depth)), token)
        return left

    def _unary(self, depth: int) -> Expression:
        if token := self._take("-"):
            return self._arithmetic("negate", (self._unary(self._deeper(depth, token)),), token)
        return self._primary(depth)

    def _primary(self, depth: int) -> Expression:
        token = self._peek()
        if token is None:
            raise self._wrong("the condition ends where a value is wanted")
        self._at += 1
        if token.kind == "number":
            return self._counted(Literal(float(token.text), Type.NUMBER, token.at), token)
        if token.kind == "text":
            return self._counted(Literal(token.text[1:-1].replace("''", "'"), Type.TEXT, token.at), token)
        if token.text == "(":
            inner = self.disjunction(self._deeper(depth, token))
            self._expect(")")
            return inner
        word = token.text.lower()
        if token.kind != "name" or (word in _WORDS and word not in (*_FUNCTIONS, "true", "false", "in_list")):
            raise RuleError(f"at character {token.at}: a value is wanted, not {token.text!r}", at=token.at)
        if word in ("true", "false"):
            return self._counted(Literal(float(word == "true"), Type.FLAG, token.at), token)
        following = self._peek()
        if following is not None and following.text == "(":
            return self._function(word, self._deeper(depth, token), token)
        return self._name(token)

    def _function(self, word: str, depth: int, token: _Token) -> Expression:
        self._expect("(")
        if word == "in_list":
            return self._in_list(token)
        if word not in _FUNCTIONS:
            raise RuleError(f"at character {token.at}: no function {token.text!r}{_nearest(word, [*_FUNCTIONS, 'in_list'])}", at=token.at)
        arguments = [self.disjunction(depth)]
        while self._take(","):
            arguments.append(self.disjunction(depth))
        self._expect(")")
        fewest = _FUNCTIONS[word]
        if len(arguments) < fewest or (fewest == 1 and len(arguments) > 1):
            wanted = "one argument" if fewest == 1 else "two arguments or more"
            raise RuleError(f"at character {token.at}: {word} takes {wanted}", at=token.at)
        if word != "coalesce":
            return self._arithmetic(word, tuple(arguments), token)
        for argument in arguments[1:]:
            self._comparable(arguments[0], argument, word, argument.at)
        kinds = {argument.type for argument in arguments}
        return self._call(word, tuple(arguments), kinds.pop() if len(kinds) == 1 else Type.NUMBER, token)

    def _in_list(self, token: _Token) -> Expression:
        field = self._peek()
        if field is None or field.kind != "name":
            raise self._wrong("in_list takes a field and a list, like in_list(country, 'high_risk')")
        self._at += 1
        name = self._name(field)
        self._expect(",")
        chosen = self._peek()
        if chosen is None or chosen.kind != "text":
            raise self._wrong("in_list takes the list's name in quotes")
        self._at += 1
        list_name = chosen.text[1:-1]
        if self._lists is not None and list_name not in self._lists:
            raise RuleError(f"at character {chosen.at}: no list {list_name!r}{_nearest(list_name, sorted(self._lists))}", at=chosen.at)
        self._expect(")")
        assert isinstance(name, Name)
        if name.type is not Type.TEXT:
            raise RuleError(f"at character {field.at}: {name.name} is a {name.type}; lists hold text", at=field.at)
        return self._counted(InList(name.name, list_name, Type.FLAG, token.at), token)

    def _name(self, token: _Token) -> Expression:
        if token.text not in self._names:
            near = _nearest(token.text, list(self._names))
            raise RuleError(f"at character {token.at}: no feature or field {token.text!r}{near}", at=token.at)
        return self._counted(Name(token.text, self._names[token.text], token.at), token)

    # --- types ----------------------------------------------------------------------------------------------------

    def flag(self, expression: Expression, where: str) -> Expression:
        if expression.type is not Type.FLAG:
            raise RuleError(
                f"at character {expression.at}: {where} is true or false, and this is a {expression.type}; compare it with something",
                at=expression.at,
            )
        return expression

    def _logical(self, operator: str, left: Expression, right: Expression, token: _Token) -> Expression:
        return self._call(
            operator, (self.flag(left, f"each side of `{operator}`"), self.flag(right, f"each side of `{operator}`")), Type.FLAG, token
        )

    def _compare(self, operator: str, left: Expression, right: Expression, token: _Token) -> Expression:
        self._comparable(left, right, operator, token.at)
        if Type.TEXT in (left.type, right.type) and operator not in ("=", "<>"):
            raise RuleError(f"at character {token.at}: text has no order; `{operator}` takes numbers", at=token.at)
        return self._call(operator, (left, right), Type.FLAG, token)

    def _comparable(self, left: Expression, right: Expression, operator: str, at: int) -> None:
        if (left.type is Type.TEXT) != (right.type is Type.TEXT):
            raise RuleError(f"at character {at}: `{operator}` between {_described(left)} and {_described(right)}", at=at)

    def _arithmetic(self, operator: str, arguments: tuple[Expression, ...], token: _Token) -> Expression:
        for argument in arguments:
            if argument.type is Type.TEXT:
                raise RuleError(f"at character {argument.at}: `{operator}` takes numbers, not {_described(argument)}", at=argument.at)
        return self._call(operator, arguments, Type.NUMBER, token)

    def _call(self, operator: str, arguments: tuple[Expression, ...], kind: Type, token: _Token) -> Expression:
        return self._counted(Call(operator, arguments, kind, token.at), token)

    def _unless(self, negated: bool, expression: Expression, token: _Token) -> Expression:
        return self._call("not", (expression,), Type.FLAG, token) if negated else expression

    def _counted(self, expression: Expression, token: _Token) -> Expression:
        self._nodes += 1
        if self._nodes > RULE_NODES_MAX:
            raise RuleError(f"at character {token.at}: the condition has more than {RULE_NODES_MAX} parts; make it two rules", at=token.at)
        return expression

    def _deeper(self, depth: int, token: _Token) -> int:
        if depth >= RULE_DEPTH_MAX:
            raise RuleError(f"at character {token.at}: nested more than {RULE_DEPTH_MAX} deep", at=token.at)
        return depth + 1

    # --- tokens ---------------------------------------------------------------------------------------------------

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, *symbols: str) -> _Token | None:
        token = self._peek()
        if token is None or token.kind != "symbol" or token.text not in symbols:
            return None
        self._at += 1
        return token

    def _take_word(self, word: str) -> _Token | None:
        token = self._peek()
        if token is None or token.kind != "name" or token.text.lower() != word:
            return None
        self._at += 1
        return token

    def _expect(self, symbol: str) -> None:
        if self._take(symbol) is None:
            raise self._wrong(f"`{symbol}` is wanted")

    def _expect_word(self, word: str) -> None:
        if self._take_word(word) is None:
            raise self._wrong(f"`{word}` is wanted")

    def end(self) -> None:
        if self._peek() is not None:
            raise self._wrong("the condition should end, or go on with `and` or `or`")

    def _wrong(self, what: str) -> RuleError:
        token = self._peek()
        if token is None:
            return RuleError(f"at the end: {what}", at=self._end)
        return RuleError(f"at character {token.at}: {what}, not {token.text!r}", at=token.at)


def _described(expression: Expression) -> str:
    if isinstance(expression, Name):
        return f"{expression.name} (a {expression.type})"
    return f"a {expression.type}"


def _nearest(word: str, among: list[str]) -> str:
    close = get_close_matches(word, among, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
