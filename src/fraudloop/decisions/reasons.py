"""Reasons in words: a feature, its value and what it contributed, as a sentence that an analyst reads and a stable code.

Pure: it reads definitions and values of one row and knows no model and no file. Codes are a contract with whoever
stores decisions: they are added to, never renamed (docs/reference/reasons.md). The sentence says what is so and, where
it is known, what is usual; the contribution says which way it pushed and how far. Everything that does not change from row
to row is settled once, in a `ReasonWriter`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

#: How many texts a sentence keeps: counts, hours and weekdays come again and again.
_KEPT: Final = 256

#: How many layouts of rows a writer keeps: those in force, and of older plans whose decisions are read.
_LAYOUTS: Final = 8

_LOW, _HIGH = -math.inf, math.inf

Value = float | str | None

#: The numbers of one row by place, NaN where one is not known; the last is NaN, for names that the row does not have.
Row = Sequence[float]

#: A sentence of one feature, bound to the places of rows: the row and the feature's value there, no NaN -> text.
Sentence = Callable[[Row, float], str]


class Reason(msgspec.Struct, frozen=True, gc=False):
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
        self._settled = features, units or {}, typical or {}
        self._by_name = {f.name: f for f in reversed(features.features)}
        self._layout = _Layout((), ())
        self._layouts: dict[tuple[tuple[str, ...], tuple[str, ...]], _Layout] = {}

    def of_row(self, values: Mapping[str, Value], contributions: Mapping[str, float], top: int = 4) -> list[Reason]:
        """The `top` largest contributions of one row, by absolute size, then by name. values: by feature or column, NaN or None
        where missing."""
        numbers = {name: math.nan if value is None else value for name, value in values.items() if not isinstance(value, str)}
        words = {name: [value] for name, value in values.items() if isinstance(value, str)}
        row = np.array([list(numbers.values())], np.float64)
        [out] = self.of_batch(
            Inputs(tuple(numbers), row, words), tuple(contributions), np.array([list(contributions.values())], np.float64), top
        )
        return out

    def of_batch(
        self, inputs: Inputs, columns: tuple[str, ...], contributions: NDArray[np.float64], top: int = 4, rows: Sequence[int] | None = None
    ) -> list[list[Any]]:
        """The same of many rows: contributions float64 [n, columns] of the rows of `inputs`, or of those at the places `rows`.

        Sentences look at whatever columns `inputs` holds, also those that the model does not read.
        """
        layout, categories, make = self._layout_of(inputs.names, columns), inputs.categories, self._make
        tellers, width = layout.tellers, len(inputs.names)
        ranked, sizes, wholes = rank(contributions, layout.order, top)
        places, chosen = ranked.ravel().tolist(), sizes.ravel().tolist()
        # Few of the numbers are told of: in an array they become objects only where a sentence reads them.
        values = np.asarray(inputs.values, np.float64)
        numbers = array("d", (values if rows is None else values[np.asarray(rows, np.int64)]).tobytes())
        out = []
        for at, whole in enumerate(wholes.tolist()):
            row = numbers[at * width : at * width + width]
            row.append(math.nan)
            told: list[Any] = []
            for number in range(at * top, at * top + top):
                place = places[number]
                if place < 0:
                    break
                teller = tellers[place] or self._teller(layout, place)
                value, code, contribution = row[teller.at], teller.code, chosen[number]
                if value == value:
                    try:
                        text = teller.sentence(row, value)
                    except OverflowError:  # an infinite number of payments
                        text = f"{teller.noun} is {value:,.0f}"
                else:
                    words = categories.get(teller.name) if teller.at < 0 else None
                    word = None if words is None else words[at if rows is None else rows[at]]
                    code, text = (MISSING, teller.unknown) if word is None else (CATEGORY, teller.start + word)
                told.append(make(code, text, contribution, teller.name, abs(contribution) / whole))
            out.append(told)
        return out

    def _layout_of(self, names: tuple[str, ...], columns: tuple[str, ...]) -> _Layout:
        """Where what stands; kept, since the next batch nearly always has the very same names."""
        layout = self._layout
        if layout.names is names and layout.columns is columns:
            return layout
        found = self._layouts.get((names, columns))
        if found is None:
            if len(self._layouts) >= _LAYOUTS:
                self._layouts.clear()
            found = self._layouts[names, columns] = _Layout(names, columns)
        self._layout = found
        return found

    def _teller(self, layout: _Layout, place: int) -> _Teller:
        """How the reason of a column is written; settled at its first use."""
        features, units, typical = self._settled
        name, scribe = layout.columns[place], _Scribe(features, units, typical, layout.where)
        f = self._by_name.get(name)
        noun, start = _noun(features, f) if f else _words(name), f"{_words(name)} is "
        sentence = _SENTENCES[f.kind](scribe, f) if f else _of_column(start)
        teller = _Teller(name, layout.where.get(name, -1), CODES[f.kind] if f else COLUMN, sentence, start, noun, f"{noun} is not known")
        layout.tellers[place] = teller
        return teller


@dataclass(frozen=True, slots=True)
class _Teller:
    """Writes the reasons of one column. at: its place in a row, -1 where it is no number of it. start: of the sentence about a word.
    noun, unknown: what it is called, and the sentence where it is not known."""

    name: str
    at: int
    code: str
    sentence: Sentence
    start: str
    noun: str
    unknown: str


class _Layout:
    """What is settled for rows of the same names. where: the place of each. order: of the columns, by name. tellers: by column."""

    __slots__ = ("columns", "names", "order", "tellers", "where")

    def __init__(self, names: tuple[str, ...], columns: tuple[str, ...]) -> None:
        self.names, self.columns = names, columns
        self.where: Mapping[str, int] = {name: at for at, name in enumerate(names)}
        self.order = np.array(sorted(range(len(columns)), key=columns.__getitem__), np.int64)
        self.tellers: list[_Teller | None] = [None] * len(columns)


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


class _Texts(dict[float, str]):
    """Texts by the number that they tell, made at the first use and kept, as many as `_KEPT`: for numbers of which few are common.

    >>> texts = _Texts(lambda v: f"{v:,.0f} payments")
    >>> texts[12.0], len(texts)
    ('12 payments', 1)
    """

    __slots__ = ("_tell",)

    def __init__(self, tell: Callable[[float], str]) -> None:
        self._tell = tell

    def __missing__(self, v: float) -> str:
        text = self._tell(v)
        if len(self) < _KEPT:
            self[v] = text
        return text


def _by_value(tell: Callable[[float], str]) -> Sentence:
    """A sentence that goes by a rounded number alone, so that 0 and -0 are told alike."""
    texts = _Texts(tell)
    return lambda row, v: texts[v]


class _Scribe:
    """What the sentences of a feature set are made with. where: the places of names in rows."""

    def __init__(self, features: FeatureSet, units: Mapping[str, str], typical: Mapping[str, float], where: Mapping[str, int]) -> None:
        self.features, self._units, self._typical, self._where = features, units, typical, where

    def unit(self, f: FeatureDefinition) -> str:
        unit = self._units.get(str(f.field), "")
        return f" {unit}" if unit else ""

    def at(self, name: str | None) -> int:
        """The place of a number in rows; -1, where every row has NaN, if they have no such number."""
        return self._where.get(str(name), -1)

    def of_kind(self, kind: Kind, entity: str | None, field: str | None) -> list[FeatureDefinition]:
        """Features of the entity and field that rows have, the longest window first."""
        found = [
            g
            for g in self.features.features
            if (g.kind, g.entity, g.field, g.delay_us) == (kind, entity, field, 0) and g.name in self._where
        ]
        return sorted(found, key=lambda g: -g.window_us)

    def usual(self, f: FeatureDefinition) -> Callable[[Row, float], float | None] | None:
        """What a window of this length usually holds: the rate of the longest window that is known and reaches back before it. None
        where rows have no such window."""
        window_us, least_us, day_us = float(f.window_us), float(_KNOWN_WINDOWS * f.window_us), float(DAY_US)
        longer = [(self.at(g.name), float(g.window_us)) for g in self.of_kind(f.kind, f.entity, f.field) if g.window_us >= least_us]
        if f.delay_us or not longer:
            return None
        ages = [self.at(g.name) for g in self.of_kind(Kind.AGE_DAYS, f.entity, None)]

        def usual(row: Row, v: float) -> float | None:
            for at, reach in longer:
                whole = row[at]
                if not _LOW < whole < _HIGH:
                    continue
                known, rest = reach, whole - v
                for age in ages:
                    days = row[age]
                    if _LOW < days < _HIGH:
                        if days * day_us < reach:
                            known = days * day_us
                        break
                if known < least_us:
                    return None
                return rest * window_us / (known - window_us) if rest > 0.0 else 0.0
            return None

        return usual

    def mean_of_window(self, f: FeatureDefinition) -> Callable[[Row], float]:
        """The mean of the same field over the same window; NaN where it is not known."""
        means = [self.at(g.name) for g in self.of_kind(Kind.MEAN, f.entity, f.field) if g.window_us == f.window_us]

        def mean(row: Row) -> float:
            for at in means:
                if _LOW < row[at] < _HIGH:
                    return row[at]
            return math.nan

        return mean

    def beside(self, f: FeatureDefinition, tell: Callable[[float], str], unit: str = "") -> Callable[[str], str]:
        """What is typical of all payments, where it is told differently from this one, whose number is given as it is told."""
        typical = self._typical.get(f.name)
        if typical is None:
            return lambda own: ""
        told = tell(typical)
        told_beside = f"; typical is {told}{unit}"
        return lambda own: "" if own == told else told_beside


def _of_column(start: str) -> Sentence:
    return lambda row, v: start + _plain(v)


def _count(w: _Scribe, f: FeatureDefinition) -> Sentence:
    usual_of, beside_of, where = w.usual(f), w.beside(f, _whole), f" {_belongs(f)} {_window(f)}"
    alone = _Texts(lambda v: f"{_times(v, 'payment')}{where}{beside_of(_whole(v))}")
    if usual_of is None:
        return lambda row, v: alone[v]
    usually = f"; this {f.entity} usually {_DOES.get(str(f.entity), 'has')} "
    told, fewer, beside = _Texts(lambda v: _times(v, "payment") + where), f"{usually}fewer than 1", _Texts(lambda n: usually + f"{n:,}")

    def sentence(row: Row, v: float) -> str:
        usual = usual_of(row, v)
        if usual is None:
            return alone[v]
        n = round(usual)
        if n == round(v):
            return told[v] + ", as usual"
        return told[v] + (fewer if usual < 0.5 else beside[n])

    return sentence


def _total(w: _Scribe, f: FeatureDefinition) -> Sentence:
    unit, usual_of, beside_of = w.unit(f), w.usual(f), w.beside(f, _money, w.unit(f))
    start = f"{_words(f.field)} of payments {_belongs(f)} {_window(f)} adds up to "

    def sentence(row: Row, v: float) -> str:
        usual = usual_of(row, v) if usual_of else None
        if usual is None:
            money = _money(v)
            return f"{start}{money}{unit}{beside_of(money)}"
        return f"{start}{_money(v)}{unit}; usually {_money(usual)}{unit}"

    return sentence


def _mean(w: _Scribe, f: FeatureDefinition) -> Sentence:
    field, start, unit = w.at(f.field), f"{_noun(w.features, f)} is ", w.unit(f)

    def sentence(row: Row, v: float) -> str:
        now = row[field]
        if v > 0 and _LOW < now < _HIGH:
            return f"{start}{_money(v)}{unit}; this payment is {_factor(now / v)} that"
        return f"{start}{_money(v)}{unit}"

    return sentence


def _spread(w: _Scribe, f: FeatureDefinition) -> Sentence:
    mean_of, unit = w.mean_of_window(f), w.unit(f)
    start, end = f"{_words(f.field)} of payments {_belongs(f)} varied by ", f" {_window(f)} (standard deviation)"

    def sentence(row: Row, v: float) -> str:
        mean = mean_of(row)
        around = f" around a mean of {_money(mean)}{unit}" if mean == mean else ""
        return f"{start}{_money(v)}{unit}{around}{end}"

    return sentence


def _end(word: str) -> Callable[[_Scribe, FeatureDefinition], Sentence]:
    def of(w: _Scribe, f: FeatureDefinition) -> Sentence:
        # What is told with a delay cannot be this payment.
        field, unit = -1 if f.delay_us else w.at(f.field), w.unit(f)
        start = f"this {f.entity}'s {word} {_words(f.field)} {_window(f)}"
        is_it, it_is = f"{unit} is {start}", f"{start} is "
        return lambda row, v: _money(v) + is_it if row[field] == v and _LOW < v < _HIGH else f"{it_is}{_money(v)}{unit}"

    return of


def _distinct(w: _Scribe, f: FeatureDefinition) -> Sentence:
    what, where = _words(f.field), f" in payments {_belongs(f)} {_window(f)}"
    different, beside_of = f"different {what}", w.beside(f, _whole)
    return _by_value(lambda v: f"{_times(v, different if round(v) > 1 else what)}{where}{beside_of(_whole(v))}")


def _deviation(w: _Scribe, f: FeatureDefinition) -> Sentence:
    mean_of, unit, field, words = w.mean_of_window(f), w.unit(f), w.at(f.field), _words(f.field)
    over = f" over {_span(f.window_us)}"
    same, above, below = f" is this {f.entity}'s mean", f" above this {f.entity}'s mean", f" below this {f.entity}'s mean"

    def sentence(row: Row, v: float) -> str:
        mean, now = mean_of(row), row[field]
        value = f" {_money(now)}{unit}" if _LOW < now < _HIGH else ""
        how = same if -0.05 < v < 0.05 else f" is {abs(v):.1f} standard deviations{above if v > 0 else below}"
        return f"{words}{value}{how} of {_money(mean)}{unit}{over}" if mean == mean else f"{words}{value}{how}{over}"

    return sentence


def _fraud_count(w: _Scribe, f: FeatureDefinition) -> Sentence:
    end = f" {_hit(f)} became known {_window(f)}"
    return _by_value(lambda v: _times(v, "fraud") + end)


def _fraud_rate(w: _Scribe, f: FeatureDefinition) -> Sentence:
    return _beside(w, f, _percent, f" of payments {_belongs(f)} {_window(f)} were fraud")


def _fraud_streak(w: _Scribe, f: FeatureDefinition) -> Sentence:
    where = f"{_belongs(f)} {_window(f)}"

    def tell(v: float) -> str:
        n = round(v)
        if n < 2:
            return f"the latest payment {where} was {'fraud' if n else 'genuine'}"
        return f"the latest {n:,} payments {where} were all fraud"

    return _by_value(tell)


def _since(what: str) -> Callable[[_Scribe, FeatureDefinition], Sentence]:
    return lambda w, f: _beside(w, f, _ago, f" after {what.format(belongs=_belongs(f), hit=_hit(f))}")


def _km(what: str) -> Callable[[_Scribe, FeatureDefinition], Sentence]:
    return lambda w, f: _beside(w, f, _distance, f" from {what.format(entity=f.entity)}")


def _beside(w: _Scribe, f: FeatureDefinition, tell: Callable[[float], str], end: str) -> Sentence:
    """What `tell` says of the value, an end that is always the same, and what is typical."""
    beside_of = w.beside(f, tell)

    def sentence(row: Row, v: float) -> str:
        own = tell(v)
        return f"{own}{end}{beside_of(own)}"

    return sentence


def _speed(w: _Scribe, f: FeatureDefinition) -> Sentence:
    end = f" km/h would have been needed from this {f.entity}'s last place to this one"
    return lambda row, v: f"{v:,.0f}{end}"


def _either(yes: str, no: str) -> Callable[[_Scribe, FeatureDefinition], Sentence]:
    def of(w: _Scribe, f: FeatureDefinition) -> Sentence:
        told, untold = (text.format(entity=f.entity, field=_words(f.field), days=NOVELTY_DAYS) for text in (yes, no))
        return lambda row, v: told if v else untold

    return of


def _age(w: _Scribe, f: FeatureDefinition) -> Sentence:
    start = f"this {f.entity} is known for "
    return lambda row, v: start + ("less than a day" if v < 1 else _ago(v * DAY_S))


def _value(w: _Scribe, f: FeatureDefinition) -> Sentence:
    """The number beside the longest usual mean that the row holds of it, the first entity's before others'."""
    entities = [e.name for e in w.features.entities]
    usual = [g for g in w.features.features if g.kind is Kind.MEAN and g.field == f.field]
    usual.sort(key=lambda g: (entities.index(str(g.entity)), -g.window_us))
    unit = w.unit(f)
    means = [(w.at(g.name), f" {_noun(w.features, g)} of ") for g in usual]
    start, beside_of = f"{_words(f.field)} is ", w.beside(f, _money, unit)

    def sentence(row: Row, v: float) -> str:
        money = _money(v)
        for at, noun in means:
            mean = row[at]
            if 0 < mean < _HIGH:
                return f"{start}{money}{unit}, {_factor(v / mean)}{noun}{_money(mean)}{unit}"
        return f"{start}{money}{unit}{beside_of(money)}"

    return sentence


def _hour(w: _Scribe, f: FeatureDefinition) -> Sentence:
    return _by_value(lambda v: f"paid between {int(v):02d}:00 and {(int(v) + 1) % 24:02d}:00 local time")


def _weekday(w: _Scribe, f: FeatureDefinition) -> Sentence:
    return _by_value(lambda v: f"paid on a {_WEEKDAYS[int(v) % 7]}")


def _ratio(w: _Scribe, f: FeatureDefinition) -> Sentence:
    first, second = _pair(w.features, f)
    start, end = f"{first} is ", f" {second}"
    return lambda row, v: f"{start}{_factor(v)}{end}"


def _difference(w: _Scribe, f: FeatureDefinition) -> Sentence:
    first, second = _pair(w.features, f)
    start, above, below = f"{first} is ", f" above {second}", f" below {second}"
    return lambda row, v: f"{start}{_money(abs(v))}{above if v >= 0 else below}"


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
    if seconds >= 2 * DAY_S:
        return f"{seconds / DAY_S:,.0f} days"
    if seconds >= 7_200:
        return f"{seconds / 3_600:.0f} hours"
    if seconds >= 120:
        return f"{seconds / 60:.0f} minutes"
    return _times(seconds, "second") if round(seconds) else "0 seconds"


def _distance(km: float) -> str:
    """`3.20 km`, `5 km`, `1,234 km`: below 10 km to a tenth."""
    if km >= 10:
        return f"{km:,.0f} km"
    if km >= 0:
        tenths = f"{km:.1f}"
        return f"{tenths[:-2]} km" if tenths[-1] == "0" else f"{tenths}0 km"
    return f"{_plain(round(km, 1))} km"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _money(v: float) -> str:
    return f"{v:.2f}" if -999 < v < 999 else f"{v:,.2f}"  # grouping costs half as much again, also where there is nothing to group


def _whole(v: float) -> str:
    return f"{round(v):,}"


def _plain(v: float) -> str:
    return f"{v:,.0f}" if v == round(v) else f"{v:,.2f}"


def _factor(v: float) -> str:
    return f"{v:,.0f} ×" if v >= 100 else f"{v:.1f} ×" if v >= 0.1 else f"{v:.2f} ×"
