"""`/predict`: features that a caller brings become the columns that a model reads, and scores become predictions. It knows no HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudloop.api.problems import FieldError
from fraudloop.errors import RefusedError

Floats = NDArray[np.float64]


class Predictor(Protocol):
    """The model in force. numbers, words: its inputs in order. threshold: from which calibrated probability the policy stops a payment."""

    @property
    def version(self) -> str: ...
    @property
    def numbers(self) -> Sequence[str]: ...
    @property
    def words(self) -> Sequence[str]: ...
    @property
    def threshold(self) -> float: ...

    def score(self, values: Floats, words: Mapping[str, Sequence[str | None]]) -> Floats:
        """Calibrated probabilities [n]. values: [n, len(numbers)], NaN = missing. words: n of each."""
        ...


#: Names that callers know -> names of features. In the patterns `w` is a window like 1h, 24h, 7d.
ALIASES: Final[Mapping[str, str]] = {
    "distance_from_home": "customer_km_from_home",
    "distance_from_last": "customer_km_from_last",
    "seconds_since_last": "customer_seconds_since_last",
    "time_since_last_transaction": "customer_seconds_since_last",
    "speed_kmh": "customer_speed_kmh",
    "account_age_days": "customer_age_days",
    "is_new_device": "customer_is_new_device",
    "is_new_country": "customer_is_new_country",
    "is_new_merchant": "customer_is_new_merchant",
}
_PATTERNS: Final = (
    (re.compile(r"transactions_last_(\d+[smhd])"), "customer_count_{}"),
    (re.compile(r"total_amount_last_(\d+[smhd])"), "customer_amount_sum_{}"),
    (re.compile(r"(?:average|avg)_amount_last_(\d+[smhd])"), "customer_amount_mean_{}"),
    (re.compile(r"max_amount_last_(\d+[smhd])"), "customer_amount_max_{}"),
)
_NUMBERS: Final[frozenset[type]] = frozenset({int, float, bool, type(None)})
_MISSING_KEPT: Final = 4_096


def feature_name(name: str) -> str:
    """The feature that a caller's name stands for; the name itself where it stands for none.

    >>> feature_name("transactions_last_1h"), feature_name("amount")
    ('customer_count_1h', 'amount')
    """
    for pattern, form in _PATTERNS:
        found = pattern.fullmatch(name)
        if found:
            return form.format(found[1])
    return ALIASES.get(name, name)


class _Prediction(msgspec.Struct, frozen=True, gc=False):
    """`wire.Prediction`, with the parts that come again as the JSON they were."""

    is_fraud: bool
    fraud_probability: float
    confidence: float
    model_version: msgspec.Raw
    missing_features: msgspec.Raw


class Predictions:
    """Makes predictions with one model; a new model needs a new one."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._columns = {name: at for at, name in enumerate(predictor.numbers)}
        self._words = tuple(predictor.words)
        self._names = (*predictor.numbers, *self._words)
        self._version = msgspec.Raw(msgspec.json.encode(predictor.version))
        self._missing: dict[bytes, msgspec.Raw] = {}
        self._known: dict[str, int | str | None] = {}

    def predict(self, rows: Sequence[Mapping[str, Any]], first: int = 0, *, one: bool = False) -> list[_Prediction]:
        """A prediction for each row. first: the index of the first of them in the batch, for errors. one: it is no batch.

        RefusedError names the fields at fault.
        """
        values, words = self.table(rows, first, one)
        return self._told(self.predictor.score(values, words), values, words)

    def table(self, rows: Sequence[Mapping[str, Any]], first: int, one: bool) -> tuple[Floats, dict[str, list[str | None]]]:
        """The rows as the columns that the model reads."""
        n = len(rows)
        values = np.full((len(self._columns), n), np.nan)
        filled: set[int] = set()
        words: dict[str, list[str | None]] = {}
        errors: list[FieldError] = []
        seen: dict[str, None] = {}
        for row in rows:
            seen.update(dict.fromkeys(row))
        for name in seen:
            place = self._place(name)
            if place is None:
                continue
            column = [row.get(name) for row in rows]
            if isinstance(place, str):
                if not {str, type(None)} >= set(map(type, column)):
                    errors += self._wrong(name, column, first, one, (str, type(None)), "must be a word or null")
                    continue
                known = words.get(place)
                words[place] = column if known is None else [a if a is not None else b for a, b in zip(known, column, strict=True)]
                continue
            if not set(map(type, column)) <= _NUMBERS:
                errors += self._wrong(name, column, first, one, tuple(_NUMBERS), "must be a number, true, false or null")
                continue
            try:
                own = np.array(column, np.float64)
            except OverflowError:
                own = np.array([np.inf])
            if np.isinf(own).any():
                errors += self._wrong(name, column, first, one, (), "is beyond the range of numbers", beyond=True)
                continue
            if place in filled:
                own = np.where(np.isnan(values[place]), own, values[place])
            filled.add(place)
            values[place] = own
        if errors:
            raise RefusedError("; ".join(f"{e.field}: {e.reason}" for e in errors[:3]), errors=tuple(errors[:100]))
        for name in self._words:
            words.setdefault(name, [None] * n)
        return np.ascontiguousarray(values.T), words

    def _place(self, name: str) -> int | str | None:
        """The column of a number, the name of a word, or None for what the model does not read."""
        if name in self._known:
            return self._known[name]
        feature = feature_name(name)
        found: int | str | None = self._columns.get(feature)
        if found is None and feature in self._words:
            found = feature
        if len(self._known) < _MISSING_KEPT:
            self._known[name] = found
        return found

    def _wrong(
        self, name: str, column: Sequence[Any], first: int, one: bool, types: tuple[type, ...], reason: str, *, beyond: bool = False
    ) -> list[FieldError]:
        out = []
        for at, value in enumerate(column):
            if (beyond and isinstance(value, int | float) and not abs(value) < 1e308) or (not beyond and type(value) not in types):
                out.append(FieldError(name, f"{name}.{'range' if beyond else 'type'}", reason, None if one else first + at))
        return out

    def _told(self, scores: Floats, values: Floats, words: Mapping[str, Sequence[str | None]]) -> list[_Prediction]:
        fraud = scores >= self.predictor.threshold
        sure = np.where(fraud, scores, 1.0 - scores)
        absent = np.isnan(values)
        if self._words:
            lacking = np.array([[word is None for word in words[name]] for name in self._words]).T
            absent = np.concatenate([absent, lacking], axis=1)
        width = absent.shape[1]
        keys = absent.tobytes()
        version, known = self._version, self._missing
        out = []
        at = 0
        for is_fraud, score, confidence in zip(fraud.tolist(), scores.tolist(), sure.tolist(), strict=True):
            key = keys[at : at + width]
            at += width
            missing = known.get(key)
            if missing is None:
                missing = self._lacking(key)
            out.append(_Prediction(is_fraud, score, confidence, version, missing))
        return out

    def _lacking(self, key: bytes) -> msgspec.Raw:
        if len(self._missing) >= _MISSING_KEPT:
            self._missing.clear()
        found = self._missing[key] = msgspec.Raw(msgspec.json.encode([name for name, gone in zip(self._names, key, strict=True) if gone]))
        return found
