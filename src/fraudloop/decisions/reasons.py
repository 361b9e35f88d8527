"""Reasons in words: a feature, its value and what it contributed, as a sentence that an analyst reads and a stable code.

Pure: it reads definitions and values of one row and knows no model and no file. Codes are a contract with whoever
stores decisions: they are added to, never renamed. The sentence says what is so, not what it means; the sign of the
contribution says which way it pushed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fraudloop.domain.definitions import SECOND_US, FeatureDefinition, FeatureSet, Kind, format_duration
from fraudloop.limits import DAY_US, NOVELTY_DAYS

#: Kind of feature -> code of its reason.
CODES: Final[Mapping[Kind, str]] = {
    Kind.COUNT: "activity",
    Kind.SUM: "total",
    Kind.MEAN: "usual_mean",
    Kind.STD: "usual_spread",
    Kind.MIN: "usual_minimum",
    Kind.MAX: "usual_maximum",
    Kind.DISTINCT: "variety",
    Kind.DEVIATION: "deviation",
    Kind.FRAUD_COUNT: "known_fraud_count",
    Kind.FRAUD_RATE: "known_fraud_rate",
    Kind.FRAUD_STREAK: "known_fraud_streak",
    Kind.SECONDS_SINCE_GENUINE: "since_genuine",
    Kind.SECONDS_SINCE_LAST: "since_last",
    Kind.SECONDS_SINCE_LAST_FRAUD: "since_known_fraud",
    Kind.KM_FROM_LAST: "distance_from_last",
    Kind.KM_FROM_HOME: "distance_from_home",
    Kind.SPEED_KMH: "travel_speed",
    Kind.IMPOSSIBLE_TRAVEL: "impossible_travel",
    Kind.IS_NEW: "novelty",
    Kind.AGE_DAYS: "age",
    Kind.IS_FOREIGN: "foreign",
    Kind.NUMBER: "value",
    Kind.HOUR_OF_DAY: "hour",
    Kind.DAY_OF_WEEK: "weekday",
    Kind.IS_WEEKEND: "weekend",
    Kind.IS_NIGHT: "night",
    Kind.RATIO: "ratio",
    Kind.DIFFERENCE: "difference",
}

#: The code of a column of words (a category), of a number column that is no feature, and of a value that is not there.
CATEGORY: Final = "category"
COLUMN: Final = "column"
MISSING: Final = "missing"

_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Value = float | str | None


@dataclass(frozen=True, slots=True)
class Reason:
    """code: stable. text: one line. contribution: log-odds towards fraud (above 0) or away from it. source: the feature or column."""

    code: str
    text: str
    contribution: float
    source: str


@dataclass(frozen=True, slots=True)
class _Row:
    features: FeatureSet
    values: Mapping[str, Value]
    units: Mapping[str, str]

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        return value if isinstance(value, float | int) and math.isfinite(value) else None

    def unit(self, definition: FeatureDefinition) -> str:
        unit = self.units.get(str(definition.field), "")
        return f" {unit}" if unit else ""


def reasons(
    features: FeatureSet,
    values: Mapping[str, Value],
    contributions: Mapping[str, float],
    *,
    top: int = 4,
    units: Mapping[str, str] | None = None,
) -> list[Reason]:
    """The `top` largest contributions of one row, by absolute size, then by name.

    values: by feature or column, NaN or None where missing. units: of number fields, like {"amount": "EUR"}.

    >>> features = FeatureSet.load("handbook").select(["amount", "customer_amount_mean_30d"])
    >>> row = {"amount": 412.0, "customer_amount_mean_30d": 67.54}
    >>> [r] = reasons(features, row, {"amount": 2.1, "customer_amount_mean_30d": 0.0}, units={"amount": "EUR"})
    >>> r.code, r.text
    ('value', "amount 412.00 EUR, 6.1 × the customer's 30d mean")
    """
    ranked = sorted((item for item in contributions.items() if item[1]), key=lambda item: (-abs(item[1]), item[0]))
    row = _Row(features, values, units or {})
    return [_reason(row, name, contribution) for name, contribution in ranked[:top]]


def _reason(row: _Row, name: str, contribution: float) -> Reason:
    definition = next((f for f in row.features.features if f.name == name), None)
    value = row.values.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Reason(MISSING, f"{name} is not known", contribution, name)
    if isinstance(value, str):
        return Reason(CATEGORY, f"{_words(name)} is {value}", contribution, name)
    if definition is None:
        return Reason(COLUMN, f"{_words(name)} is {_plain(value)}", contribution, name)
    return Reason(CODES[definition.kind], _SENTENCES[definition.kind](row, definition, float(value)), contribution, name)


# --- sentences ---------------------------------------------------------------------------------------------------


def _count(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"{_times(v, 'transaction')} of this {f.entity} {_window(f)}"


def _total(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"{_words(f.field)} adds up to {_money(v)}{row.unit(f)} for this {f.entity} {_window(f)}"


def _aggregate(word: str) -> Callable[[_Row, FeatureDefinition, float], str]:
    def sentence(row: _Row, f: FeatureDefinition, v: float) -> str:
        now = row.number(str(f.field))
        if word in ("largest", "smallest") and now == v and not f.delay_us:
            return f"{_money(v)}{row.unit(f)} is this {f.entity}'s {word} {_words(f.field)} {_window(f)}"
        beside = f"; this one is {_factor(now / v)}" if word == "mean" and now is not None and v > 0 else ""
        return f"this {f.entity}'s {word} {_words(f.field)} {_window(f)} is {_money(v)}{row.unit(f)}{beside}"

    return sentence


def _distinct(row: _Row, f: FeatureDefinition, v: float) -> str:
    what = _words(f.field)
    return f"{_times(v, f'different {what}' if v > 1 else what)} with this {f.entity} {_window(f)}"


def _deviation(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"{_words(f.field)} is {abs(v):.1f} standard deviations {'above' if v >= 0 else 'below'} this {f.entity}'s {_span(f.window_us)} mean"


def _fraud_count(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"{_times(v, 'fraud')} of this {f.entity} became known {_window(f)}"


def _fraud_rate(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"{100 * v:.1f} % of this {f.entity}'s transactions {_window(f)} were fraud"


def _fraud_streak(row: _Row, f: FeatureDefinition, v: float) -> str:
    return (
        f"the last {_times(v, 'transaction')} of this {f.entity} {_window(f)} {'was' if v == 1 else 'were all'} fraud"
        if v
        else f"the latest transaction of this {f.entity} {_window(f)} was genuine"
    )


def _since(what: str) -> Callable[[_Row, FeatureDefinition, float], str]:
    return lambda row, f, v: f"{_ago(v)} after {what.format(entity=f.entity)}"


def _km(what: str) -> Callable[[_Row, FeatureDefinition, float], str]:
    return lambda row, f, v: f"{_plain(round(v, 1) if v < 10 else float(round(v)))} km from {what.format(entity=f.entity)}"


def _speed(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"{v:,.0f} km/h from this {f.entity}'s last place to this one"


def _either(yes: str, no: str) -> Callable[[_Row, FeatureDefinition, float], str]:
    return lambda row, f, v: (yes if v else no).format(entity=f.entity, field=_words(f.field), days=NOVELTY_DAYS)


def _age(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"this {f.entity} is known for {v:,.0f} days" if v >= 1 else f"this {f.entity} is known for less than a day"


def _number(row: _Row, f: FeatureDefinition, v: float) -> str:
    """The number beside the longest usual mean that the row holds of it, the first entity's before others'."""
    entities = [e.name for e in row.features.entities]
    usual = [g for g in row.features.features if g.kind is Kind.MEAN and g.field == f.field and (row.number(g.name) or 0.0) > 0]
    beside = ""
    if usual:
        g = max(usual, key=lambda g: (-entities.index(str(g.entity)), g.window_us))
        mean = row.number(g.name)
        assert mean is not None
        beside = f", {_factor(v / mean)} the {g.entity}'s {_span(g.window_us)} mean"
    return f"{_words(f.field)} {_money(v)}{row.unit(f)}{beside}"


def _hour(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"paid between {int(v):02d}:00 and {(int(v) + 1) % 24:02d}:00 local time"


def _weekday(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"paid on a {_WEEKDAYS[int(v) % 7]}"


def _ratio(row: _Row, f: FeatureDefinition, v: float) -> str:
    assert f.of is not None
    return f"{_words(f.of[0])} is {_factor(v)} {_words(f.of[1])}"


def _difference(row: _Row, f: FeatureDefinition, v: float) -> str:
    assert f.of is not None
    return f"{_words(f.of[0])} is {_money(abs(v))} {'above' if v >= 0 else 'below'} {_words(f.of[1])}"


_SENTENCES: Final[Mapping[Kind, Callable[[_Row, FeatureDefinition, float], str]]] = {
    Kind.COUNT: _count,
    Kind.SUM: _total,
    Kind.MEAN: _aggregate("mean"),
    Kind.STD: _aggregate("standard deviation of"),
    Kind.MIN: _aggregate("smallest"),
    Kind.MAX: _aggregate("largest"),
    Kind.DISTINCT: _distinct,
    Kind.DEVIATION: _deviation,
    Kind.FRAUD_COUNT: _fraud_count,
    Kind.FRAUD_RATE: _fraud_rate,
    Kind.FRAUD_STREAK: _fraud_streak,
    Kind.SECONDS_SINCE_GENUINE: _since("this {entity}'s last genuine transaction"),
    Kind.SECONDS_SINCE_LAST: _since("this {entity}'s last transaction"),
    Kind.SECONDS_SINCE_LAST_FRAUD: _since("a fraud of this {entity} became known"),
    Kind.KM_FROM_LAST: _km("this {entity}'s last place"),
    Kind.KM_FROM_HOME: _km("this {entity}'s home"),
    Kind.SPEED_KMH: _speed,
    Kind.IMPOSSIBLE_TRAVEL: _either("too far from this {entity}'s last place to have travelled", "this {entity}'s last place is near enough to have travelled"),
    Kind.IS_NEW: _either("{field} not seen with this {entity} in {days} days", "{field} seen with this {entity} before"),
    Kind.AGE_DAYS: _age,
    Kind.IS_FOREIGN: _either("outside this {entity}'s home country", "in this {entity}'s home country"),
    Kind.NUMBER: _number,
    Kind.HOUR_OF_DAY: _hour,
    Kind.DAY_OF_WEEK: _weekday,
    Kind.IS_WEEKEND: _either("paid on a weekend", "paid on a working day"),
    Kind.IS_NIGHT: _either("paid at night", "paid by day"),
    Kind.RATIO: _ratio,
    Kind.DIFFERENCE: _difference,
}  # fmt: skip

assert set(CODES) == set(_SENTENCES) == set(Kind), "every kind of feature has a code and a sentence"


# --- words -------------------------------------------------------------------------------------------------------


def _words(name: str | None) -> str:
    return str(name).replace("_", " ")


def _window(f: FeatureDefinition) -> str:
    if f.delay_us:
        return f"in {_span(f.window_us)} up to {_span(f.delay_us)} ago"
    return f"in the last {_span(f.window_us)}"


def _span(us: int) -> str:
    return format_duration(us)


def _times(v: float, one: str) -> str:
    """`no fraud`, `1 fraud`, `2 frauds`, `3 different countries`."""
    n = round(v)
    if n < 2:
        return f"1 {one}" if n == 1 else f"no {one}"
    return f"{n:,} {one[:-1]}ies" if one.endswith("y") else f"{n:,} {one}s"


def _ago(seconds: float) -> str:
    us = seconds * SECOND_US
    for unit, size in (("days", DAY_US), ("h", DAY_US // 24), ("min", DAY_US // 1440)):
        if us >= 2 * size:
            return f"{us / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def _money(v: float) -> str:
    return f"{v:,.2f}"


def _plain(v: float) -> str:
    return f"{v:,.0f}" if v == round(v) else f"{v:,.2f}"


def _factor(v: float) -> str:
    return f"{v:,.0f} ×" if v >= 100 else f"{v:.1f} ×" if v >= 0.1 else f"{v:.2f} ×"
