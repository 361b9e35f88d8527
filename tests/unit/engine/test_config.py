"""What a service is told: every key checked, with its name in the error."""

from __future__ import annotations

from pathlib import Path

import pytest

from fraudloop.engine.config import ServeConfig
from fraudloop.errors import InputError
from fraudloop.limits import GUARD_RULE_SHARE_MAX
from fraudloop.monitoring.canary import Bounds


def test_tables_for_guards_and_canaries_begin_with_the_shipped_bounds(tmp_path: Path) -> None:
    path = tmp_path / "serve.toml"
    path.write_text("follow_s = 2\n[guard]\npayments_min = 20\n[canary]\nlabels_min = 7\n")
    found = ServeConfig.load(path, {"data": "d"})
    assert (found.guard.payments_min, found.guard.rule_share_max) == (20, GUARD_RULE_SHARE_MAX)
    assert found.canary.bounds == Bounds(labels_min=7)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"canary_share": 0.6}, "canary_share"),
        ({"guard": {"rule_share_max": 0}}, "rule_share_max"),
        ({"guard": {"windows_s": []}}, "windows_s"),
        ({"guard": {"release": 1.0}}, "release"),
        ({"guard": {"rule_share": 0.1}}, "rule_share"),
        ({"canary": {"alpha": 1.5}}, "alpha"),
        ({"canary": {"payments_min": 0}}, "payments_min"),
        ({"shadow_batches_max": 0}, "shadow_batches_max"),
        ({"reason_budget_ms": -1}, "reason_budget_ms"),
        ({"observed_field": ""}, "observed_field"),
        ({"folow_s": 1}, "did you mean 'follow_s'"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(given: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        ServeConfig.from_dict({"data": "d", **given})
