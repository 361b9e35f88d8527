"""What features need."""

from __future__ import annotations

from fraudloop.domain.definitions import FeatureSet
from fraudloop.domain.needs import needs
from fraudloop.domain.transaction import FIELDS


def test_every_feature_of_every_preset_needs_fields_that_exist() -> None:
    for preset in ("default", "handbook"):
        found = needs(FeatureSet.load(preset))
        assert list(found) == list(FeatureSet.load(preset).names)
        assert all(fields for fields in found.values())
        assert {f for fields in found.values() for f in fields} <= {*FIELDS, "is_fraud"}


def test_needs_follow_the_kind() -> None:
    found = needs(FeatureSet.load("default"))
    assert found["amount"] == ("amount", "currency")
    assert found["hour_of_day"] == ("timestamp",)
    assert found["customer_device_distinct_24h"] == ("timestamp", "customer_id", "device_id")
    assert found["is_foreign"] == ("timestamp", "customer_id", "country")
    assert found["customer_fraud_count_30d"] == ("timestamp", "customer_id", "is_fraud")


def test_a_ratio_needs_what_both_sides_need_and_an_own_column_stands_for_itself() -> None:
    features = FeatureSet.from_dict({
        "entities": {"card": "card_id"}, "numbers": {"points": {"column": "points", "scale": 0}},
        "features": ["card_points_sum_7d", "card_count_24h", {"name": "r", "kind": "ratio", "of": ["card_points_sum_7d", "card_count_24h"]}],
    })  # fmt: skip
    assert needs(features)["r"] == ("timestamp", "card_id", "points")
