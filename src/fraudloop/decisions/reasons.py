"""Reasons in words: a feature, its value and what it contributed, as a sentence that an analyst reads and a stable code.

Pure: it reads definitions and values of one row and knows no model and no file. Codes are a contract with whoever
stores decisions: they are added to, never renamed (docs/reference/reasons.md). The sentence says what is so and, where
it is known, what is usual; the contribution says which way it pushed and how far.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind
from fraudloop.limits import DAY_S, DAY_US, HOUR_US, NOVELTY_DAYS, SECOND_US

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

#: Code -> what its sentence speaks of.
MEANINGS: Final[Mapping[str, str]] = {
    "activity": "how many payments in a window, beside the usual number",
    "total": "what the payments in a window add up to, beside the usual sum",
    "usual_mean": "the mean of a number in a window, and how many times it this payment is",
    "usual_spread": "how far a number varies in a window",
    "usual_minimum": "the smallest number in a window",
    "usual_maximum": "the largest number in a window",
    "variety": "how many different values in a window",
    "deviation": "how many standard deviations a number is from its usual mean",
    "known_fraud_count": "how many frauds became known in a window",
    "known_fraud_rate": "the share of payments in a past window that were fraud",
    "known_fraud_streak": "how many of the latest payments in a past window were fraud without a break",
    "since_genuine": "how long ago the last payment known as genuine was",
    "since_last": "how long ago the last payment was",
    "since_known_fraud": "how long ago a fraud became known",
    "distance_from_last": "how far the last place is",
    "distance_from_home": "how far home is",
    "travel_speed": "the speed that the way from the last place would have taken",
    "impossible_travel": "whether the way from the last place can have been travelled",
    "novelty": "whether a value was seen before",
    "age": "how long somebody or something is known",
    "foreign": "whether the country is the home country",
    "value": "a number of the payment, beside its usual mean",
    "hour": "the local hour",
    "weekday": "the local day of the week",
    "weekend": "whether it is a weekend",
    "night": "whether it is night",
    "ratio": "one feature by another",
    "difference": "one feature less another",
    CATEGORY: "a word of the payment",
    COLUMN: "a number of the payment that is no feature",
    MISSING: "a value that is not known",
}

#: From which contribution (log-odds, so the odds times e to its power) a reason pushes by itself, and strongly.
MODERATE: Final = 0.3
STRONG: Final = 1.0

_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

#: How a payment belongs to an entity, how a fraud hits it, and what it does with a payment.
_BELONGS: Final[Mapping[str, str]] = {
    "customer": "by this customer", "merchant": "at this merchant", "terminal": "at this terminal", "device": "from this device", "ip": "from this address", "card": "with this card",
}  # fmt: skip
_HIT: Final[Mapping[str, str]] = {**_BELONGS, "customer": "on this customer", "card": "on this card"}
_DOES: Final[Mapping[str, str]] = {"customer": "makes", "merchant": "takes", "terminal": "takes"}

#: An entity known for less than so many times a window has no usual number yet.
_KNOWN_WINDOWS: Final = 3

Value = float | str | None


@dataclass(frozen=True, slots=True)
class Reason:
    """code: stable. text: one line. contribution: log-odds towards fraud (above 0) or away from it. source: the feature or
    column. share: of the absolute contributions of all columns, 0 to 1."""

    code: str
    text: str
    contribution: float
    source: str
    share: float = 0.0

    @property
    def effect(self) -> str:
        """Which way and how far, in words.

        >>> Reason("night", "paid at night", -0.1, "is_night").effect
        'lowers the risk slightly'
        """
        size = abs(self.contribution)
        how = " strongly" if size >= STRONG else "" if size >= MODERATE else " slightly"
        return f"{'raises' if self.contribution > 0 else 'lowers'} the risk{how}"


@dataclass(frozen=True, slots=True)
class _Row:
    features: FeatureSet
    values: Mapping[str, Value]
    units: Mapping[str, str]
    typical: Mapping[str, float] = field(default_factory=dict)

    def number(self, name: str) -> float | None:
        value = self.values.get(name)
        return value if isinstance(value, float | int) and math.isfinite(value) else None

    def unit(self, definition: FeatureDefinition) -> str:
        unit = self.units.get(str(definition.field), "")
        return f" {unit}" if unit else ""

    def of_kind(self, kind: Kind, f: FeatureDefinition) -> list[FeatureDefinition]:
        """Features of the same entity and field whose value is known, the longest window first."""
        found = [g for g in self.features.features if (g.kind, g.entity, g.field, g.delay_us) == (kind, f.entity, f.field, 0)]
        return sorted((g for g in found if self.number(g.name) is not None), key=lambda g: -g.window_us)

    def usual(self, f: FeatureDefinition, v: float) -> float | None:
        """What a window of this length usually holds: the rate of the longest window that reaches back before it."""
        longer = self.of_kind(f.kind, f)
        if f.delay_us or not longer or longer[0].window_us < _KNOWN_WINDOWS * f.window_us:
            return None
        whole = self.number(longer[0].name)
        ages = self.of_kind(Kind.AGE_DAYS, FeatureDefinition("", Kind.AGE_DAYS, entity=f.entity))
        age = self.number(ages[0].name) if ages else None
        reach = longer[0].window_us if age is None else min(longer[0].window_us, age * DAY_US)
        if whole is None or reach < _KNOWN_WINDOWS * f.window_us:
            return None
        return max(0.0, whole - v) * f.window_us / (reach - f.window_us)

    def beside(self, f: FeatureDefinition, v: float, tell: Callable[[float], str]) -> str:
        """What is typical of all payments, where it is told differently from this one."""
        typical = self.typical.get(f.name)
        return f"; typical is {tell(typical)}" if typical is not None and tell(typical) != tell(v) else ""


def reasons(
    features: FeatureSet,
    values: Mapping[str, Value],
    contributions: Mapping[str, float],
    *,
    top: int = 4,
    units: Mapping[str, str] | None = None,
    typical: Mapping[str, float] | None = None,
) -> list[Reason]:
    """The `top` largest contributions of one row, by absolute size, then by name.

    values: by feature or column, NaN or None where missing. units: of number fields, like {"amount": "EUR"}. typical: by
    feature the median of ordinary traffic (`scoring.typical`), told where the row itself knows nothing usual.

    >>> features = FeatureSet.load("default").select(["customer_count_1h", "customer_count_30d"])
    >>> row = {"customer_count_1h": 12.0, "customer_count_30d": 732.0}
    >>> [r] = reasons(features, row, {"customer_count_1h": 2.1, "customer_count_30d": 0.0})
    >>> r.code, r.text, r.effect
    ('activity', '12 payments by this customer in the last hour; this customer usually makes 1', 'raises the risk strongly')
    """
    ranked = sorted((item for item in contributions.items() if item[1]), key=lambda item: (-abs(item[1]), item[0]))
    whole = sum(abs(contribution) for _, contribution in ranked) or 1.0
    row = _Row(features, values, units or {}, typical or {})
    return [_reason(row, name, contribution, abs(contribution) / whole) for name, contribution in ranked[:top]]


def _reason(row: _Row, name: str, contribution: float, share: float) -> Reason:
    definition = next((f for f in row.features.features if f.name == name), None)
    value = row.values.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        code, text = MISSING, f"{_noun(row, definition) if definition else _words(name)} is not known"
    elif isinstance(value, str):
        code, text = CATEGORY, f"{_words(name)} is {value}"
    elif definition is None:
        code, text = COLUMN, f"{_words(name)} is {_plain(value)}"
    else:
        code, text = CODES[definition.kind], _SENTENCES[definition.kind](row, definition, float(value))
    return Reason(code, text, contribution, name, share)


# --- sentences ---------------------------------------------------------------------------------------------------


def _count(row: _Row, f: FeatureDefinition, v: float) -> str:
    usual = row.usual(f, v)
    if usual is None:
        beside = row.beside(f, v, lambda n: _times(n, "").strip())
    elif round(usual) == round(v):
        beside = ", as usual"
    else:
        beside = f"; this {f.entity} usually {_DOES.get(str(f.entity), 'has')} {'fewer than 1' if usual < 0.5 else f'{usual:,.0f}'}"
    return f"{_times(v, 'payment')} {_belongs(f)} {_window(f)}{beside}"


def _total(row: _Row, f: FeatureDefinition, v: float) -> str:
    usual = row.usual(f, v)
    beside = f"; usually {_money(usual)}{row.unit(f)}" if usual is not None else row.beside(f, v, lambda n: _money(n) + row.unit(f))
    return f"{_words(f.field)} of payments {_belongs(f)} {_window(f)} adds up to {_money(v)}{row.unit(f)}{beside}"


def _mean(row: _Row, f: FeatureDefinition, v: float) -> str:
    now = row.number(str(f.field))
    beside = f"; this payment is {_factor(now / v)} that" if now is not None and v > 0 else ""
    return f"{_noun(row, f)} is {_money(v)}{row.unit(f)}{beside}"


def _spread(row: _Row, f: FeatureDefinition, v: float) -> str:
    means = [g for g in row.of_kind(Kind.MEAN, f) if g.window_us == f.window_us]
    around = f" around a mean of {_money(row.number(means[0].name) or 0.0)}{row.unit(f)}" if means else ""
    return f"{_words(f.field)} of payments {_belongs(f)} varied by {_money(v)}{row.unit(f)}{around} {_window(f)} (standard deviation)"


def _end(word: str) -> Callable[[_Row, FeatureDefinition, float], str]:
    def sentence(row: _Row, f: FeatureDefinition, v: float) -> str:
        now = row.number(str(f.field))
        if now == v and not f.delay_us:
            return f"{_money(v)}{row.unit(f)} is this {f.entity}'s {word} {_words(f.field)} {_window(f)}"
        return f"this {f.entity}'s {word} {_words(f.field)} {_window(f)} is {_money(v)}{row.unit(f)}"

    return sentence


def _distinct(row: _Row, f: FeatureDefinition, v: float) -> str:
    what = _words(f.field)
    beside = row.beside(f, v, lambda n: _times(n, "").strip())
    return f"{_times(v, f'different {what}' if round(v) > 1 else what)} in payments {_belongs(f)} {_window(f)}{beside}"


def _deviation(row: _Row, f: FeatureDefinition, v: float) -> str:
    means = [g for g in row.of_kind(Kind.MEAN, f) if g.window_us == f.window_us]
    mean = f" of {_money(row.number(means[0].name) or 0.0)}{row.unit(f)}" if means else ""
    now = row.number(str(f.field))
    value = f" {_money(now)}{row.unit(f)}" if now is not None else ""
    if abs(v) < 0.05:
        return f"{_words(f.field)}{value} is this {f.entity}'s mean{mean} over {_span(f.window_us)}"
    return f"{_words(f.field)}{value} is {abs(v):.1f} standard deviations {'above' if v > 0 else 'below'} this {f.entity}'s mean{mean} over {_span(f.window_us)}"


def _fraud_count(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"{_times(v, 'fraud')} {_hit(f)} became known {_window(f)}"


def _fraud_rate(row: _Row, f: FeatureDefinition, v: float) -> str:
    beside = row.beside(f, v, _percent)
    return f"{_percent(v)} of payments {_belongs(f)} {_window(f)} were fraud{beside}"


def _fraud_streak(row: _Row, f: FeatureDefinition, v: float) -> str:
    n = round(v)
    if n < 2:
        return f"the latest payment {_belongs(f)} {_window(f)} was {'fraud' if n else 'genuine'}"
    return f"the latest {n:,} payments {_belongs(f)} {_window(f)} were all fraud"


def _since(what: str) -> Callable[[_Row, FeatureDefinition, float], str]:
    def sentence(row: _Row, f: FeatureDefinition, v: float) -> str:
        return f"{_ago(v)} after {what.format(belongs=_belongs(f), hit=_hit(f))}{row.beside(f, v, _ago)}"

    return sentence


def _km(what: str) -> Callable[[_Row, FeatureDefinition, float], str]:
    return lambda row, f, v: f"{_distance(v)} from {what.format(entity=f.entity)}{row.beside(f, v, _distance)}"


def _speed(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"{v:,.0f} km/h would have been needed from this {f.entity}'s last place to this one"


def _either(yes: str, no: str) -> Callable[[_Row, FeatureDefinition, float], str]:
    return lambda row, f, v: (yes if v else no).format(entity=f.entity, field=_words(f.field), days=NOVELTY_DAYS)


def _age(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"this {f.entity} is known for {'less than a day' if v < 1 else _ago(v * DAY_S)}"


def _number(row: _Row, f: FeatureDefinition, v: float) -> str:
    """The number beside the longest usual mean that the row holds of it, the first entity's before others'."""
    entities = [e.name for e in row.features.entities]
    usual = [g for g in row.features.features if g.kind is Kind.MEAN and g.field == f.field and (row.number(g.name) or 0.0) > 0]
    if not usual:
        return f"{_words(f.field)} is {_money(v)}{row.unit(f)}{row.beside(f, v, lambda n: _money(n) + row.unit(f))}"
    g = max(usual, key=lambda g: (-entities.index(str(g.entity)), g.window_us))
    mean = row.number(g.name) or 1.0
    return f"{_words(f.field)} is {_money(v)}{row.unit(f)}, {_factor(v / mean)} {_noun(row, g)} of {_money(mean)}{row.unit(f)}"


def _hour(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"paid between {int(v):02d}:00 and {(int(v) + 1) % 24:02d}:00 local time"


def _weekday(row: _Row, f: FeatureDefinition, v: float) -> str:
    return f"paid on a {_WEEKDAYS[int(v) % 7]}"


def _ratio(row: _Row, f: FeatureDefinition, v: float) -> str:
    first, second = _pair(row, f)
    return f"{first} is {_factor(v)} {second}"


def _difference(row: _Row, f: FeatureDefinition, v: float) -> str:
    first, second = _pair(row, f)
    return f"{first} is {_money(abs(v))} {'above' if v >= 0 else 'below'} {second}"


def _pair(row: _Row, f: FeatureDefinition) -> tuple[str, str]:
    assert f.of is not None
    by_name = {g.name: g for g in row.features.features}
    first, second = (_noun(row, by_name[name]) if name in by_name else _words(name) for name in f.of)
    return first, second


_SENTENCES: Final[Mapping[Kind, Callable[[_Row, FeatureDefinition, float], str]]] = {
    Kind.COUNT: _count,
    Kind.SUM: _total,
    Kind.MEAN: _mean,
    Kind.STD: _spread,
    Kind.MIN: _end("smallest"),
    Kind.MAX: _end("largest"),
    Kind.DISTINCT: _distinct,
    Kind.DEVIATION: _deviation,
    Kind.FRAUD_COUNT: _fraud_count,
    Kind.FRAUD_RATE: _fraud_rate,
    Kind.FRAUD_STREAK: _fraud_streak,
    Kind.SECONDS_SINCE_GENUINE: _since("the last genuine payment {belongs}"),
    Kind.SECONDS_SINCE_LAST: _since("the last payment {belongs}"),
    Kind.SECONDS_SINCE_LAST_FRAUD: _since("a fraud {hit} became known"),
    Kind.KM_FROM_LAST: _km("this {entity}'s last place"),
    Kind.KM_FROM_HOME: _km("this {entity}'s home"),
    Kind.SPEED_KMH: _speed,
    Kind.IMPOSSIBLE_TRAVEL: _either("too far from this {entity}'s last place to have travelled", "near enough to this {entity}'s last place to have travelled"),
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

#: A feature as a noun: of a value that is not known, and within the sentences of others.
_NOUNS: Final[Mapping[Kind, str]] = {
    Kind.COUNT: "the number of payments {belongs} {window}",
    Kind.SUM: "the sum of {field} of payments {belongs} {window}",
    Kind.MEAN: "this {entity}'s mean {field} {window}",
    Kind.STD: "the spread of {field} of payments {belongs} {window}",
    Kind.MIN: "this {entity}'s smallest {field} {window}",
    Kind.MAX: "this {entity}'s largest {field} {window}",
    Kind.DISTINCT: "the number of different {fields} in payments {belongs} {window}",
    Kind.DEVIATION: "how unusual {field} is for this {entity}",
    Kind.FRAUD_COUNT: "the number of frauds {hit} that became known {window}",
    Kind.FRAUD_RATE: "the share of fraud among payments {belongs} {window}",
    Kind.FRAUD_STREAK: "whether the latest payments {belongs} {window} were fraud",
    Kind.SECONDS_SINCE_GENUINE: "the time since the last genuine payment {belongs}",
    Kind.SECONDS_SINCE_LAST: "the time since the last payment {belongs}",
    Kind.SECONDS_SINCE_LAST_FRAUD: "the time since a fraud {hit} became known",
    Kind.KM_FROM_LAST: "the distance from this {entity}'s last place",
    Kind.KM_FROM_HOME: "the distance from this {entity}'s home",
    Kind.SPEED_KMH: "the speed from this {entity}'s last place",
    Kind.IMPOSSIBLE_TRAVEL: "whether this {entity} can have travelled here",
    Kind.IS_NEW: "whether {field} is new with this {entity}",
    Kind.AGE_DAYS: "the age of this {entity}",
    Kind.IS_FOREIGN: "whether it is outside this {entity}'s home country",
    Kind.NUMBER: "{field}",
    Kind.HOUR_OF_DAY: "the local hour",
    Kind.DAY_OF_WEEK: "the local day of the week",
    Kind.IS_WEEKEND: "whether it is a weekend",
    Kind.IS_NIGHT: "whether it is night",
    Kind.RATIO: "{first} by {second}",
    Kind.DIFFERENCE: "{first} less {second}",
}

assert set(CODES) == set(_SENTENCES) == set(_NOUNS) == set(Kind), "every kind of feature has a code, a sentence and a noun"
assert set(MEANINGS) == {*CODES.values(), CATEGORY, COLUMN, MISSING}, "every code has a meaning"


# --- words -------------------------------------------------------------------------------------------------------


def _noun(row: _Row, f: FeatureDefinition) -> str:
    first, second = _pair(row, f) if f.of else ("", "")
    fields = _times(2, _words(f.field)).removeprefix("2 ")
    return _NOUNS[f.kind].format(
        entity=f.entity,
        field=_words(f.field),
        fields=fields,
        belongs=_belongs(f),
        hit=_hit(f),
        window=_window(f),
        first=first,
        second=second,
    )


def _words(name: str | None) -> str:
    return str(name).replace("_", " ")


def _belongs(f: FeatureDefinition) -> str:
    return _BELONGS.get(str(f.entity), f"of this {f.entity}")


def _hit(f: FeatureDefinition) -> str:
    return _HIT.get(str(f.entity), f"of this {f.entity}")


def _window(f: FeatureDefinition) -> str:
    if f.delay_us:
        return f"in the {_span(f.window_us)} up to {_span(f.delay_us, one='1 ')} ago"
    return f"in the last {_span(f.window_us)}"


def _span(us: int, one: str = "") -> str:
    """`hour`, `24 hours`, `7 days`: days from two of them on."""
    for unit, size, least in (("day", DAY_US, 2), ("hour", HOUR_US, 1), ("minute", HOUR_US // 60, 1), ("second", SECOND_US, 1)):
        n = us // size
        if us % size == 0 and n >= least:
            return f"{one}{unit}" if n == 1 else f"{n:,} {unit}s"
    return f"{us} microseconds"


def _times(v: float, one: str) -> str:
    """`no fraud`, `1 fraud`, `2 frauds`, `3 different countries`; without a word the number alone."""
    n = round(v)
    if not one:
        return f"{n:,}"
    if n < 2:
        return f"1 {one}" if n == 1 else f"no {one}"
    return f"{n:,} {one[:-1]}ies" if one.endswith("y") else f"{n:,} {one}s"


def _ago(seconds: float) -> str:
    """`45 seconds`, `3 minutes`, `5 hours`, `12 days`: two of a unit or more, else the next smaller one."""
    for unit, size in (("day", DAY_S), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}s"
    return f"{_times(seconds, 'second')}" if round(seconds) else "0 seconds"


def _distance(km: float) -> str:
    return f"{_plain(round(km, 1) if km < 10 else float(round(km)))} km"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _money(v: float) -> str:
    return f"{v:,.2f}"


def _plain(v: float) -> str:
    return f"{v:,.0f}" if v == round(v) else f"{v:,.2f}"


def _factor(v: float) -> str:
    return f"{v:,.0f} ×" if v >= 100 else f"{v:.1f} ×" if v >= 0.1 else f"{v:.2f} ×"
