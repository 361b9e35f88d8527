"""Events made of rows as they arrive, and of the same rows as a table: the same, so that live and offline folds read the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraudloop.domain.definitions import FeatureSet
from fraudloop.door.assemble import assemble
from fraudloop.door.batch import Batcher
from fraudloop.door.identity import hash_text, hash_texts
from fraudloop.door.rates import RateTable
from fraudloop.door.row import RowDoor
from fraudloop.door.shape import Number, Shape
from fraudloop.errors import InputError
from fraudloop.features.fold import Fold
from fraudloop.features.plan import compile_plan

DEFAULT = FeatureSet.load("default")
OWN = FeatureSet.from_toml(
    """
    features = ["points", "customer_points_sum_1h", "customer_channel_distinct_1h", "customer_is_new_is_online"]
    [entities]
    customer = "customer_id"
    [numbers]
    points = { column = "points", scale = 2 }
    [categories]
    channel = "channel"
    is_online = "is_online"
    """
)
SHAPE = Shape(numbers={"points": Number("points", 2)}, categories={"channel": "channel"})
BODIES = st.fixed_dictionaries(
    {"timestamp": st.integers(0, 300_000).map(lambda s: f"2026-01-{1 + s // 86_400:02d}T{s // 3_600 % 24:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z")},
    optional={
        "customer_id": st.sampled_from(["a", "b", "ä€", None]), "merchant_id": st.sampled_from(["m", "n"]), "device": st.fixed_dictionaries({"id": st.sampled_from(["d", "e"])}),
        "country": st.sampled_from(["DE", "FR", None]), "is_online": st.booleans(), "channel": st.sampled_from(["web", "app"]), "points": st.integers(-500, 500),
        "location": st.fixed_dictionaries({"latitude": st.floats(-90, 90), "longitude": st.floats(-180, 180)}),
    },
)  # fmt: skip


@pytest.mark.parametrize("features", [DEFAULT, OWN], ids=["default", "own fields"])
@given(bodies=st.lists(BODIES, min_size=1, max_size=8), gaps=st.lists(st.integers(0, 10**9), min_size=8, max_size=8))
@settings(max_examples=40, deadline=None)
def test_rows_and_tables_give_the_same_events_and_vectors(features: FeatureSet, bodies: list[dict[str, Any]], gaps: list[int]) -> None:
    door = RowDoor(SHAPE, RateTable.sample())
    filled = [
        {"points": None, "channel": None, "currency": "EUR", "amount": "5.10", "transaction_id": f"t{at}", **b}
        for at, b in enumerate(bodies)
    ]
    rows = [door.admit(body).row for body in filled]
    taken = [row for row in rows if row is not None]
    assert len(taken) == len(rows)
    received = [1_770_000_000_000_000 + sum(gaps[: at + 1]) for at in range(len(taken))]
    got = Batcher(features).events(taken, received)
    table = pl.DataFrame([{**row, "received_at": at} for row, at in zip(taken, received, strict=True)], infer_schema_length=None)
    schema = {"timestamp": pl.Datetime("us", "UTC"), "received_at": pl.Datetime("us", "UTC")}
    wanted = assemble(table.with_columns(pl.col(name).cast(kind) for name, kind in schema.items()), None, None, features)
    for name in ("kind", "time_us", "received_us", "keys", "numbers", "row"):
        assert np.array_equal(getattr(got, name), getattr(wanted, name)), name
    assert (got.key_names, got.number_names) == (wanted.key_names, wanted.number_names)
    one, other = Fold(compile_plan(features)), Fold(compile_plan(features))
    assert one.step(got).values.tobytes() == other.step(wanted).values.tobytes() and one.digest() == other.digest()


@given(st.lists(st.one_of(st.none(), st.text()), max_size=6))
def test_many_hashes_are_those_of_each(texts: list[str | None]) -> None:
    assert hash_texts(texts).tolist() == [list(hash_text(text)) for text in texts]


@pytest.mark.parametrize(("column", "value"), [("amount_base", 1.5), ("amount_base", 10**16), ("customer_id", 5)])
def test_a_value_of_another_type_is_named(column: str, value: object) -> None:
    with pytest.raises(InputError, match="amount_base" if column == "amount_base" else "is not text"):
        Batcher(DEFAULT).events([{"timestamp": 5, column: value}], [5])  # type: ignore[dict-item]
