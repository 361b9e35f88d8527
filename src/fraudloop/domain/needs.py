"""What each feature needs: the fields of a transaction, and labels or not, without which it is always missing.

It reads definitions only; `fraudloop profile` tells with it which features a table lacks for want of which column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fraudloop.domain.definitions import FeatureDefinition, FeatureSet, Kind

#: Stands for labels among the fields that a feature needs.
LABELS: Final = "is_fraud"

#: Fields that a column of the canonical table is made from, where its name is not the field's.
_MADE_FROM: Final[Mapping[str, tuple[str, ...]]] = {"amount_minor": ("amount",), "amount_base": ("amount", "currency")}
_PLACE: Final = ("latitude", "longitude")
_TRAVEL: Final = frozenset({Kind.KM_FROM_LAST, Kind.KM_FROM_HOME, Kind.SPEED_KMH, Kind.IMPOSSIBLE_TRAVEL})
_LABELLED: Final = frozenset(
    {Kind.FRAUD_COUNT, Kind.FRAUD_RATE, Kind.FRAUD_STREAK, Kind.SECONDS_SINCE_GENUINE, Kind.SECONDS_SINCE_LAST_FRAUD}
)


def needs(features: FeatureSet) -> dict[str, tuple[str, ...]]:
    """Fields by feature, in order of the set; `is_fraud` stands for labels, an extra column for itself.

    >>> found = needs(FeatureSet.load("default"))
    >>> found["customer_km_from_last"], found["merchant_fraud_rate_7d_after_7d"]
    (('timestamp', 'customer_id', 'latitude', 'longitude'), ('timestamp', 'merchant_id', 'is_fraud'))
    """
    by_name = {f.name: f for f in features.features}
    return {f.name: tuple(dict.fromkeys(_of(f, features, by_name))) for f in features.features}


def _of(feature: FeatureDefinition, features: FeatureSet, by_name: Mapping[str, FeatureDefinition]) -> list[str]:
    if feature.of is not None:
        return [field for name in feature.of for field in _of(by_name[name], features, by_name)]
    columns = {e.name: e.column for e in features.entities} | dict(features.categories)
    numbers = {n.name: n.column for n in features.numbers}
    out = ["timestamp"] if feature.kind is not Kind.NUMBER else []
    if feature.entity is not None:
        out.append(columns[feature.entity])
    if feature.field is not None:
        column = columns[feature.field] if feature.kind in (Kind.DISTINCT, Kind.IS_NEW) else numbers[feature.field]
        out += _MADE_FROM.get(column, (column,))
    if feature.kind in _TRAVEL:
        out += _PLACE
    if feature.kind is Kind.IS_FOREIGN:
        out.append("country")
    if feature.kind in _LABELLED:
        out.append(LABELS)
    return out
