"""Reasons in words: a feature, its value and what it contributed, as a sentence that an analyst reads and a stable code.

Pure: it reads definitions and values of one row and knows no model and no file. Codes are a contract with whoever
stores decisions: they are added to, never renamed (docs/reference/reasons.md). The sentence says what is so and, where
it is known, what is usual; the contribution says which way it pushed and how far. Everything that does not change from row
to row is settled once, in a `ReasonWriter`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.decisions.ranking import rank
from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind
from fraudloop.limits import DAY_S, DAY_US, HOUR_US, NOVELTY_DAYS, SECOND_US
from fraudloop.scoring.inputs import Inputs

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

#: The value of a feature or column of the row that is told of; None where the row has none.
Get = Callable[[str], Value]

#: A sentence of one feature, all that does not change from row to row put in: the row and the feature's value -> text.
Sentence = Callable[[Get, float], str]

#: Writes one reason: the row, the contribution and its share.
_Tell = Callable[[Get, float, float], "Reason"]


class Reason(msgspec.Struct, frozen=True):
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


class ReasonWriter:
    """Writes the reasons of rows under one feature set; made once, used for batches of any size.

    units: of number fields, like {"amount": "EUR"}. typical: by feature the median of ordinary traffic (`scoring.typical`),
    told where the row itself knows nothing usual. make: what reasons are made with, given code, text, contribution, source and share.
    """

    def __init__(
        self,
        features: FeatureSet,
        units: Mapping[str, str] | None = None,
        typical: Mapping[str, float] | None = None,
        make: Callable[[str, str, float, str, float], Any] = Reason,
    ) -> None:
        self._make = make
        self._scribe = _Scribe(features, units or {}, typical or {})
        self._by_name = {f.name: f for f in reversed(features.features)}
        self._tells: dict[str, _Tell] = {}
        self._columns: tuple[tuple[str, ...], NDArray[np.int64], list[_Tell]] = ((), np.empty(0, np.int64), [])
        self._names: tuple[tuple[str, ...], dict[str, int]] = ((), {})

    def of_row(self, values: Mapping[str, Value], contributions: Mapping[str, float], top: int = 4) -> list[Reason]:
        """The `top` largest contributions of one row, by absolute size, then by name. values: by feature or column, NaN or None
        where missing."""
        names = sorted(contributions)
        places, chosen, whole = rank(np.array([[contributions[name] for name in names]]).reshape(1, -1), np.arange(len(names)), top)
        total = float(whole[0]) or 1.0
        get = values.get
        return [
            self._tell(names[place])(get, contribution, abs(contribution) / total)
            for place, contribution in zip(places[0].tolist(), chosen[0].tolist(), strict=True)
            if place >= 0
        ]

    def of_batch(
        self, inputs: Inputs, columns: tuple[str, ...], contributions: NDArray[np.float64], top: int = 4, rows: Sequence[int] | None = None
    ) -> list[list[Any]]:
        """The same of many rows: contributions float64 [n, columns] of the rows of `inputs`, or of those at the places `rows`.

        Sentences look at whatever columns `inputs` holds, also those that the model does not read.
        """
        known, order, tells = self._columns
        if known is not columns:
            order = np.array(sorted(range(len(columns)), key=columns.__getitem__), np.int64)
            tells = [self._tell(name) for name in columns]
            self._columns = columns, order, tells
        names, where = self._names
        if names is not inputs.names:
            where = {name: at for at, name in enumerate(inputs.names)}
            self._names = inputs.names, where
        values = inputs.values.tolist() if rows is None else inputs.values[np.asarray(rows, np.int64)].tolist()
        places, chosen, whole = rank(contributions, order, top)
        out = []
        for at, (row, own_places, own, total) in enumerate(zip(values, places.tolist(), chosen.tolist(), whole.tolist(), strict=True)):
            get = _getter(row, where, inputs.categories, at if rows is None else rows[at])
            total = total or 1.0
            out.append(
                [
                    tells[place](get, contribution, abs(contribution) / total)
                    for place, contribution in zip(own_places, own, strict=True)
                    if place >= 0
                ]
            )
        return out

    def _tell(self, name: str) -> _Tell:
        """How the reason of a feature or column is written; settled at its first use."""
        tell = self._tells.get(name)
        if tell is None:
            f = self._by_name.get(name)
            code = CODES[f.kind] if f else COLUMN
            sentence = _SENTENCES[f.kind](self._scribe, f) if f else _of_column(name)
            unknown = f"{_noun(self._scribe.features, f) if f else _words(name)} is not known"
            tell = self._tells[name] = _teller(name, code, sentence, unknown, self._make)
        return tell


def _teller(name: str, code: str, sentence: Sentence, unknown: str, make: Callable[[str, str, float, str, float], Any]) -> _Tell:
    words = f"{_words(name)} is "

    def tell(get: Get, contribution: float, share: float) -> Any:
        value = get(name)
        if type(value) is float and value == value:
            return make(code, sentence(get, value), contribution, name, share)
        if value is None or value != value:
            return make(MISSING, unknown, contribution, name, share)
        if isinstance(value, str):
            return make(CATEGORY, words + value, contribution, name, share)
        return make(code, sentence(get, float(value)), contribution, name, share)

    return tell


def _getter(row: list[float], where: Mapping[str, int], categories: Mapping[str, Sequence[str | None]], place: int) -> Get:
    def get(name: str) -> Value:
        at = where.get(name)
        if at is not None:
            return row[at]
        words = categories.get(name)
        return words[place] if words is not None else None

    return get


def reasons(
    features: FeatureSet,
    values: Mapping[str, Value],
    contributions: Mapping[str, float],
    *,
    top: int = 4,
    units: Mapping[str, str] | None = None,
    typical: Mapping[str, float] | None = None,
) -> list[Reason]:
    """The reasons of one row, for who has no more of them; see :class:`ReasonWriter`.

    >>> features = FeatureSet.load("default").select(["customer_count_1h", "customer_count_30d"])
    >>> row = {"customer_count_1h": 12.0, "customer_count_30d": 732.0}
    >>> [r] = reasons(features, row, {"customer_count_1h": 2.1, "customer_count_30d": 0.0})
    >>> r.code, r.text, r.effect
    ('activity', '12 payments by this customer in the last hour; this customer usually makes 1', 'raises the risk strongly')
    """
    return ReasonWriter(features, units, typical).of_row(values, contributions, top)


# --- sentences ---------------------------------------------------------------------------------------------------


class _Scribe:
    """What the sentences of a feature set are made with."""

    def __init__(self, features: FeatureSet, units: Mapping[str, str], typical: Mapping[str, float]) -> None:
        self.features, self._units, self._typical = features, units, typical

    def unit(self, f: FeatureDefinition) -> str:
        unit = self._units.get(str(f.field), "")
        return f" {unit}" if unit else ""

    def of_kind(self, kind: Kind, entity: str | None, field: str | None) -> list[FeatureDefinition]:
        """Features of the entity and field, the longest window first."""
        found = [g for g in self.features.features if (g.kind, g.entity, g.field, g.delay_us) == (kind, entity, field, 0)]
        return sorted(found, key=lambda g: -g.window_us)

    def usual(self, f: FeatureDefinition) -> Callable[[Get, float], float | None]:
        """What a window of this length usually holds: the rate of the longest window that is known and reaches back before it."""
        if f.delay_us:
            return lambda get, v: None
        longer = [(g.name, g.window_us) for g in self.of_kind(f.kind, f.entity, f.field)]
        ages = [g.name for g in self.of_kind(Kind.AGE_DAYS, f.entity, None)]
        window_us, least_us = f.window_us, _KNOWN_WINDOWS * f.window_us

        def usual(get: Get, v: float) -> float | None:
            for name, reach in longer:
                whole = _number(get, name)
                if whole is None:
                    continue
                if reach < least_us:
                    return None
                known: float = reach
                for age in ages:
                    days = _number(get, age)
                    if days is not None:
                        known = min(reach, days * DAY_US)
                        break
                return None if known < least_us else max(0.0, whole - v) * window_us / (known - window_us)
            return None

        return usual

    def mean_of_window(self, f: FeatureDefinition) -> list[str]:
        """The means of the same field over the same window."""
        return [g.name for g in self.of_kind(Kind.MEAN, f.entity, f.field) if g.window_us == f.window_us]

    def beside(self, f: FeatureDefinition, tell: Callable[[float], str]) -> Callable[[float], str]:
        """What is typical of all payments, where it is told differently from this one."""
        typical = self._typical.get(f.name)
        if typical is None:
            return lambda v: ""
        told = tell(typical)
        told_beside = f"; typical is {told}"
        return lambda v: "" if tell(v) == told else told_beside


def _number(get: Get, name: str) -> float | None:
    value = get(name)
    if type(value) is float:  # as nearly always: said apart because this is asked several times for each reason
        return value if -math.inf < value < math.inf else None
    return value if isinstance(value, float | int) and math.isfinite(value) else None


def _first_known(get: Get, names: Sequence[str]) -> float | None:
    for name in names:
        value = _number(get, name)
        if value is not None:
            return value
    return None


def _of_column(name: str) -> Sentence:
    start = f"{_words(name)} is "
    return lambda get, v: start + _plain(v)


def _count(w: _Scribe, f: FeatureDefinition) -> Sentence:
    usual_of, beside_of = w.usual(f), w.beside(f, lambda n: f"{round(n):,}")
    where, usually = f" {_belongs(f)} {_window(f)}", f"; this {f.entity} usually {_DOES.get(str(f.entity), 'has')} "

    def sentence(get: Get, v: float) -> str:
        usual = usual_of(get, v)
        if usual is None:
            beside = beside_of(v)
        elif round(usual) == round(v):
            beside = ", as usual"
        else:
            beside = usually + ("fewer than 1" if usual < 0.5 else f"{usual:,.0f}")
        return f"{_times(v, 'payment')}{where}{beside}"

    return sentence


def _total(w: _Scribe, f: FeatureDefinition) -> Sentence:
    unit, usual_of = w.unit(f), w.usual(f)
    beside_of, start = w.beside(f, lambda n: _money(n) + unit), f"{_words(f.field)} of payments {_belongs(f)} {_window(f)} adds up to "

    def sentence(get: Get, v: float) -> str:
        usual = usual_of(get, v)
        return f"{start}{_money(v)}{unit}{beside_of(v) if usual is None else f'; usually {_money(usual)}{unit}'}"

    return sentence


def _mean(w: _Scribe, f: FeatureDefinition) -> Sentence:
    field, start, unit = str(f.field), f"{_noun(w.features, f)} is ", w.unit(f)

    def sentence(get: Get, v: float) -> str:
        now = _number(get, field)
        beside = f"; this payment is {_factor(now / v)} that" if now is not None and v > 0 else ""
        return f"{start}{_money(v)}{unit}{beside}"

    return sentence


def _spread(w: _Scribe, f: FeatureDefinition) -> Sentence:
    means, unit = w.mean_of_window(f), w.unit(f)
    start, end = f"{_words(f.field)} of payments {_belongs(f)} varied by ", f" {_window(f)} (standard deviation)"

    def sentence(get: Get, v: float) -> str:
        mean = _first_known(get, means)
        around = f" around a mean of {_money(mean)}{unit}" if mean is not None else ""
        return f"{start}{_money(v)}{unit}{around}{end}"

    return sentence


def _end(word: str) -> Callable[[_Scribe, FeatureDefinition], Sentence]:
    def of(w: _Scribe, f: FeatureDefinition) -> Sentence:
        field, unit, at_once = str(f.field), w.unit(f), not f.delay_us
        start = f"this {f.entity}'s {word} {_words(f.field)} {_window(f)}"
        is_it = f" is {start}"

        def sentence(get: Get, v: float) -> str:
            money = _money(v) + unit
            return money + is_it if at_once and _number(get, field) == v else f"{start} is {money}"

        return sentence

    return of


def _distinct(w: _Scribe, f: FeatureDefinition) -> Sentence:
    what, where = _words(f.field), f" in payments {_belongs(f)} {_window(f)}"
    different, beside_of = f"different {what}", w.beside(f, lambda n: f"{round(n):,}")
    return lambda get, v: f"{_times(v, different if round(v) > 1 else what)}{where}{beside_of(v)}"


def _deviation(w: _Scribe, f: FeatureDefinition) -> Sentence:
    means, unit, field, words = w.mean_of_window(f), w.unit(f), str(f.field), _words(f.field)
    over = f" over {_span(f.window_us)}"

    def sentence(get: Get, v: float) -> str:
        mean, now = _first_known(get, means), _number(get, field)
        of = f" of {_money(mean)}{unit}" if mean is not None else ""
        value = f" {_money(now)}{unit}" if now is not None else ""
        if abs(v) < 0.05:
            return f"{words}{value} is this {f.entity}'s mean{of}{over}"
        return f"{words}{value} is {abs(v):.1f} standard deviations {'above' if v > 0 else 'below'} this {f.entity}'s mean{of}{over}"

    return sentence


def _fraud_count(w: _Scribe, f: FeatureDefinition) -> Sentence:
    end = f" {_hit(f)} became known {_window(f)}"
    return lambda get, v: _times(v, "fraud") + end


def _fraud_rate(w: _Scribe, f: FeatureDefinition) -> Sentence:
    middle, beside_of = f" of payments {_belongs(f)} {_window(f)} were fraud", w.beside(f, _percent)
    return lambda get, v: f"{_percent(v)}{middle}{beside_of(v)}"


def _fraud_streak(w: _Scribe, f: FeatureDefinition) -> Sentence:
    where = f"{_belongs(f)} {_window(f)}"

    def sentence(get: Get, v: float) -> str:
        n = round(v)
        if n < 2:
            return f"the latest payment {where} was {'fraud' if n else 'genuine'}"
        return f"the latest {n:,} payments {where} were all fraud"

    return sentence


def _since(what: str) -> Callable[[_Scribe, FeatureDefinition], Sentence]:
    def of(w: _Scribe, f: FeatureDefinition) -> Sentence:
        after, beside_of = f" after {what.format(belongs=_belongs(f), hit=_hit(f))}", w.beside(f, _ago)
        return lambda get, v: f"{_ago(v)}{after}{beside_of(v)}"

    return of


def _km(what: str) -> Callable[[_Scribe, FeatureDefinition], Sentence]:
    def of(w: _Scribe, f: FeatureDefinition) -> Sentence:
        away, beside_of = f" from {what.format(entity=f.entity)}", w.beside(f, _distance)
        return lambda get, v: f"{_distance(v)}{away}{beside_of(v)}"

    return of


def _speed(w: _Scribe, f: FeatureDefinition) -> Sentence:
    end = f" km/h would have been needed from this {f.entity}'s last place to this one"
    return lambda get, v: f"{v:,.0f}{end}"


def _either(yes: str, no: str) -> Callable[[_Scribe, FeatureDefinition], Sentence]:
    def of(w: _Scribe, f: FeatureDefinition) -> Sentence:
        told, untold = (text.format(entity=f.entity, field=_words(f.field), days=NOVELTY_DAYS) for text in (yes, no))
        return lambda get, v: told if v else untold

    return of


def _age(w: _Scribe, f: FeatureDefinition) -> Sentence:
    start = f"this {f.entity} is known for "
    return lambda get, v: start + ("less than a day" if v < 1 else _ago(v * DAY_S))


def _value(w: _Scribe, f: FeatureDefinition) -> Sentence:
    """The number beside the longest usual mean that the row holds of it, the first entity's before others'."""
    entities = [e.name for e in w.features.entities]
    usual = [g for g in w.features.features if g.kind is Kind.MEAN and g.field == f.field]
    usual.sort(key=lambda g: (entities.index(str(g.entity)), -g.window_us))
    means = [(g.name, _noun(w.features, g)) for g in usual]
    start, unit = f"{_words(f.field)} is ", w.unit(f)
    beside_of = w.beside(f, lambda n: _money(n) + unit)

    def sentence(get: Get, v: float) -> str:
        for name, noun in means:
            mean = _number(get, name)
            if mean is not None and mean > 0:
                return f"{start}{_money(v)}{unit}, {_factor(v / mean)} {noun} of {_money(mean)}{unit}"
        return f"{start}{_money(v)}{unit}{beside_of(v)}"

    return sentence


def _hour(w: _Scribe, f: FeatureDefinition) -> Sentence:
    return lambda get, v: f"paid between {int(v):02d}:00 and {(int(v) + 1) % 24:02d}:00 local time"


def _weekday(w: _Scribe, f: FeatureDefinition) -> Sentence:
    return lambda get, v: f"paid on a {_WEEKDAYS[int(v) % 7]}"


def _ratio(w: _Scribe, f: FeatureDefinition) -> Sentence:
    first, second = _pair(w.features, f)
    return lambda get, v: f"{first} is {_factor(v)} {second}"


def _difference(w: _Scribe, f: FeatureDefinition) -> Sentence:
    first, second = _pair(w.features, f)
    return lambda get, v: f"{first} is {_money(abs(v))} {'above' if v >= 0 else 'below'} {second}"


def _pair(features: FeatureSet, f: FeatureDefinition) -> tuple[str, str]:
    assert f.of is not None
    by_name = {g.name: g for g in features.features}
    first, second = (_noun(features, by_name[name]) if name in by_name else _words(name) for name in f.of)
    return first, second


_SENTENCES: Final[Mapping[Kind, Callable[[_Scribe, FeatureDefinition], Sentence]]] = {
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
    Kind.NUMBER: _value,
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


def _noun(features: FeatureSet, f: FeatureDefinition) -> str:
    first, second = _pair(features, f) if f.of else ("", "")
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
    """`no fraud`, `1 fraud`, `2 frauds`, `3 different countries`."""
    n = round(v)
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
